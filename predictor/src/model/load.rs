//! From files and definitions to versions of a model that are checked and warm, or the reasons why not.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use feature_defs::definitions::{Definitions, Input, Service};
use feature_defs::value::{Value, ValueType};
use service::nearest;

use super::batcher::{Batcher, Bounds};
use super::config::{CacheTier, Load, ModelFile, Serve, VersionFile, WhenUnavailable};
use super::element::Element;
use super::program::{Inputs, Program, Wanted};
use super::repository::Files;
use super::runtime::{Opened, Runtime};
use super::signature::{Declared, Signature};
use super::tensor::Tensor;
use super::{Featured, Model, ModelName, Operated, Served, Version, repository, signature};
use crate::meters::Meters;
use crate::predict::cache::{Cache, Memory};
use crate::predict::cache_key::KeyMaker;
use crate::predict::redis_cache::RedisCache;
use crate::predict::request::RequestShape;

/// How often a model is run to know what it takes.
const TIMED_RUNS: usize = 51;

/// Loads models of one repository.
#[derive(Debug)]
pub struct Loader {
    /// The repository's folder.
    pub dir: PathBuf,
    /// What runs models.
    pub runtime: Runtime,
    /// How many sessions a model gets that does not say it.
    pub sessions: NonZero<usize>,
    /// The cache tier that predictors share.
    pub redis: Arc<RedisCache>,
}

/// What came of loading one version.
pub(super) type Outcome = Result<Arc<Model>, Vec<String>>;

/// What came of loading one model.
pub(super) struct Loaded {
    /// How it is to be served, if that can be read.
    pub(super) file: Option<ModelFile>,
    /// Every version that there is a folder of, and those that are asked for without; `None` if nobody asks for it.
    pub(super) versions: BTreeMap<Version, Option<Outcome>>,
    /// The version that is to serve: it fits.
    pub(super) serving: Option<Arc<Model>>,
    /// What is wrong with what its files ask for, a sentence each.
    pub(super) problems: Vec<String>,
}

impl Loader {
    /// The versions of this model that its files ask for, as they and the definitions are now. A version that is made of
    /// what it was made of `before` is the same one still, with its sessions and its cache.
    ///
    /// With `for_a_file`, as [`ModelFile::for_a_file`] has it for these versions.
    pub(super) fn load(
        &self,
        name: &ModelName,
        definitions: &Definitions,
        before: Option<&Served>,
        for_a_file: Option<&[Version]>,
    ) -> Loaded {
        let file = repository::read_model(&self.dir, name);
        let file = file.map(|file| match for_a_file {
            Some(versions) => file.for_a_file(versions),
            None => file,
        });
        self.load_by(file, name, definitions, before)
    }

    /// The same by this `model.toml`, if it could be read.
    pub(super) fn load_by(
        &self,
        file: Result<ModelFile, String>,
        name: &ModelName,
        definitions: &Definitions,
        before: Option<&Served>,
    ) -> Loaded {
        let nothing = |problems| Loaded {
            file: None,
            versions: BTreeMap::new(),
            serving: None,
            problems,
        };
        let file = match file {
            Ok(file) => file,
            Err(problem) => return nothing(vec![problem]),
        };
        let problems = file.problems();
        if !problems.is_empty() {
            return nothing(problems);
        }
        let found = match repository::versions(&self.dir, name) {
            Ok(found) => found,
            Err(problem) => return nothing(vec![problem]),
        };
        let mut loading = Loading {
            loader: self,
            name,
            file: &file,
            definitions,
            before,
            versions: found.iter().map(|version| (version.clone(), None)).collect(),
        };
        let (serving, mut problems) = loading.serving(&found);
        for version in beside(&file, &found) {
            if let Err(reasons) = loading.version(&version) {
                let refused = |reason: &String| format!("version {version}: {reason}");
                // One that was tried as the latest has been told of.
                let told = |problem: &String| problems.contains(problem);
                let new: Vec<String> = reasons.iter().map(refused).filter(|p| !told(p)).collect();
                problems.extend(new);
            }
        }
        Loaded {
            versions: loading.versions,
            serving,
            problems,
            file: Some(file),
        }
    }
}

/// The versions that are held ready besides the one that serves.
fn beside(file: &ModelFile, found: &[Version]) -> BTreeSet<Version> {
    let mut wanted = match &file.load {
        Load::All => found.iter().cloned().collect(),
        Load::These(versions) => versions.clone(),
    };
    wanted.extend(file.canary.iter().map(|canary| canary.version.clone()));
    wanted.extend(file.shadow.clone());
    wanted
}

/// One model on its way.
struct Loading<'a> {
    loader: &'a Loader,
    name: &'a ModelName,
    file: &'a ModelFile,
    definitions: &'a Definitions,
    before: Option<&'a Served>,
    versions: BTreeMap<Version, Option<Outcome>>,
}

impl Loading<'_> {
    /// The version that serves, with what is wrong with those that should rather.
    fn serving(&mut self, found: &[Version]) -> (Option<Arc<Model>>, Vec<String>) {
        let candidates = match repository::candidates(&self.loader.dir, self.name, &self.file.serve, found) {
            Ok(candidates) => candidates,
            Err(problem) => return (None, vec![problem]),
        };
        let mut problems = Vec::new();
        for version in &candidates {
            match self.version(version) {
                Ok(model) => return (Some(model), problems),
                // Of one that was asked for by name, or is the only one, it is clear which one is meant.
                Err(reasons) if candidates.len() == 1 => problems.extend(reasons),
                Err(reasons) => problems.extend(reasons.iter().map(|reason| format!("version {version}: {reason}"))),
            }
        }
        if self.file.serve == Serve::Latest && candidates.len() > 1 {
            problems.push("no version fits".to_owned());
        }
        (None, problems)
    }

    fn version(&mut self, version: &Version) -> Outcome {
        if let Some(Some(outcome)) = self.versions.get(version) {
            return outcome.clone();
        }
        let outcome = if self.versions.contains_key(version) {
            self.load(version)
        } else {
            Err(vec!["there is no folder of it with a version.toml".to_owned()])
        };
        self.versions.insert(version.clone(), Some(outcome.clone()));
        outcome
    }

    fn load(&self, version: &Version) -> Outcome {
        let files = repository::read_version(&self.loader.dir, self.name, version).map_err(|e| vec![e])?;
        let service = service_of(self.file, &files.settings, self.definitions)?;
        let operated = Operated::from(self.file);
        if let Some(arm) = self.before.and_then(|before| before.versions.get(version))
            && arm.model.is_made_of(&files, &operated, service)
        {
            return Ok(Arc::clone(&arm.model));
        }
        self.loader
            .build((self.name, version), files, operated, service)
            .map(Arc::new)
    }
}

impl Loader {
    fn build(
        &self,
        (name, version): (&ModelName, &Version),
        files: Files,
        operated: Operated,
        service: Option<&Arc<Service>>,
    ) -> Result<Model, Vec<String>> {
        let (onnx, artifact) = files.read().map_err(|e| vec![e])?;
        let settings = files.settings;
        let batching = operated.batching;
        let opened = self
            .runtime
            .open(
                &onnx,
                batching.sessions.unwrap_or(self.sessions),
                batching.threads.unwrap_or(NonZero::<usize>::MIN),
            )
            .map_err(|e| vec![e])?;
        let Opened {
            sessions,
            inputs,
            outputs,
        } = opened;
        let meters = Meters::new(name, version, service.map(|service| &**service));
        let bounds = Bounds {
            max_rows: batching.max_rows,
            max_wait: batching.max_wait.map(|wait| wait.to_std()),
            max_waiting: batching.max_waiting,
            aim: operated.deadline / 4,
        };
        let batcher = Batcher::new(sessions, bounds, meters.batches());
        let key = |by_row: bool| KeyMaker::of_tensors(name, &artifact.digest, (&inputs, &outputs), by_row);
        let tensors = |by_row: bool| Program {
            inputs: inputs.iter().map(|input| input.name.clone()).collect(),
            by_row,
            wanted: Wanted::Tensors(spoken(&outputs).map(|output| output.name.clone()).collect()),
            keys: key(by_row),
        };
        let (tensors, featured) = match service {
            None => {
                let program = tensors(settings.batch);
                try_out_tensors(&batcher, &program, &inputs, &outputs)?;
                (program, None)
            }
            Some(service) => {
                let signature = signature::check(&settings, service, &inputs, &outputs)?;
                let program = Program {
                    inputs: signature.layout.names(),
                    by_row: true,
                    wanted: Wanted::Values(signature.places.clone()),
                    keys: KeyMaker::of_features(name, &artifact.digest, &signature),
                };
                let row = neutral(service, &signature).map_err(|e| vec![e])?;
                batcher.warm_up(&program, &row).map_err(|e| vec![e])?;
                let by_row = is_by_row(&batcher, &tensors(true), &program, &row);
                let featured = Featured {
                    shape: RequestShape::new(service, &signature, settings.overrides),
                    service: Arc::clone(service),
                    output_schema: Arc::new(signature.outputs.clone()),
                    signature: Arc::new(signature),
                    program: Arc::new(program),
                };
                (tensors(by_row), Some(featured))
            }
        };
        Ok(Model {
            cache: self.cache(operated.cache, &meters),
            name: name.clone(),
            version: version.clone(),
            artifact,
            settings,
            operated,
            inputs,
            outputs,
            tensors: Arc::new(tensors),
            featured,
            batcher: Arc::new(batcher),
            meters,
        })
    }

    fn cache(&self, settings: super::config::CacheSettings, meters: &Meters) -> Cache {
        let memory = || Memory::new(settings.max_bytes.0, settings.ttl.to_std(), meters.cache());
        match settings.tier {
            CacheTier::Off => Cache::Off,
            CacheTier::Memory => Cache::Memory(memory()),
            CacheTier::MemoryRedis => Cache::MemoryRedis(memory(), Arc::clone(&self.redis)),
        }
    }
}

/// The outputs that are tensors of a type that we speak.
fn spoken(outputs: &[Declared]) -> impl Iterator<Item = &Declared> {
    outputs.iter().filter(|output| output.element.is_some())
}

/// A row to warm up with: the service's defaults, or zeros.
fn neutral(service: &Service, signature: &Signature) -> Result<Inputs, String> {
    let value = |(i, input): (usize, &Input)| {
        let zero = || zero(input.value_type, signature.cell(i).1.unwrap_or_default());
        input.default.clone().or_else(zero)
    };
    let values: Vec<Option<Value>> = service.inputs.iter().enumerate().map(value).collect();
    let mut row = Inputs::none(signature);
    row.push_values(signature, values.iter().map(Option::as_ref))
        .map_err(|(i, why)| format!("warming up: input `{}` is {why}", service.inputs[i].name))?;
    Ok(row)
}

/// A value that every tensor takes which takes its type; none if no tensor does.
fn zero(value_type: ValueType, list: usize) -> Option<Value> {
    match value_type {
        ValueType::Bool => Some(Value::Bool(false)),
        ValueType::Int64 => Some(Value::Int64(0)),
        ValueType::Float32 | ValueType::Float64 => Some(Value::Float64(0.0)),
        ValueType::String => Some(Value::String(String::new())),
        ValueType::Float32List => Some(Value::Float32List(vec![0.0; list])),
        ValueType::Int64List => Some(Value::Int64List(vec![0; list])),
        ValueType::StringList => Some(Value::StringList(vec![String::new(); list])),
        ValueType::Bytes | ValueType::Timestamp => None,
    }
}

/// Whether the answers of `tensors` are a row for each of the inputs'.
fn is_by_row(batcher: &Batcher, tensors: &Program, features: &Program, row: &Inputs) -> bool {
    // Its inputs stand in the model's order, those of features in the service's.
    let order: Option<Vec<usize>> = tensors
        .inputs
        .iter()
        .map(|name| features.inputs.iter().position(|other| other == name))
        .collect();
    order.is_some_and(|order| {
        let tries = |rows: usize| {
            let inputs = row.select(std::iter::repeat_n(0, rows));
            let tensors_of = order.iter().map(|&i| inputs.tensors()[i].clone()).collect();
            batcher.try_out(tensors, &Inputs::rows(tensors_of, rows)).is_ok()
        };
        tries(1) && tries(3)
    })
}

/// Checks that a model without a service takes and gives tensors, and tries it with zeros, if it takes these.
fn try_out_tensors(
    batcher: &Batcher,
    program: &Program,
    inputs: &[Declared],
    outputs: &[Declared],
) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    for (what, tensor) in inputs
        .iter()
        .map(|t| ("takes", t))
        .chain(outputs.iter().map(|t| ("gives", t)))
    {
        if tensor.element.is_none() {
            problems.push(format!(
                "the model {what} `{}` of type {}: export it so that it is a plain tensor (for scikit-learn's \
                 classifiers, with zipmap off)",
                tensor.name, tensor.type_text
            ));
        } else if program.by_row && tensor.shape.first() != Some(&-1) && what == "takes" {
            problems.push(format!(
                "version.toml says batch = true, but `{}` has no open first dimension: {}",
                tensor.name, tensor.type_text
            ));
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let zeros = |rows: usize| {
        let tensor = |input: &Declared| {
            let open = |(i, d): (usize, &i64)| match usize::try_from(*d) {
                Ok(fixed) => fixed,
                Err(_) if i == 0 && program.by_row => rows,
                Err(_) => 1,
            };
            let shape = input.shape.iter().enumerate().map(open).collect();
            Tensor::filled(input.element.unwrap_or(Element::Float32), shape)
        };
        let tensors = inputs.iter().map(tensor).collect();
        if program.by_row {
            Inputs::rows(tensors, rows)
        } else {
            Inputs::whole(tensors)
        }
    };
    // A model may have good reasons not to take zeros, or open dimensions of one.
    if let Err(why) = batcher.try_out(program, &zeros(1)) {
        tracing::warn!("a model is served that is not warm, since it does not take zeros: {why}");
        return Ok(());
    }
    if program.by_row {
        let tried = batcher.try_out(program, &zeros(2));
        return tried.map(|_took| ()).map_err(|why| {
            vec![format!(
                "version.toml says batch = true, but with 2 rows of zeros: {why}. Leave `batch` out if the first dimension is \
                 not the row"
            )]
        });
    }
    Ok(())
}

/// The service that feeds a version, if it has one, and its files do not contradict themselves.
fn service_of<'a>(
    file: &ModelFile,
    settings: &VersionFile,
    definitions: &'a Definitions,
) -> Result<Option<&'a Arc<Service>>, Vec<String>> {
    let problems = settings.problems();
    if !problems.is_empty() {
        return Err(problems);
    }
    let Some(name) = &settings.feature_service else {
        return Ok(None);
    };
    let name = name.as_str();
    let service = definitions.service(name).ok_or_else(|| {
        let hint = nearest::hint(name, definitions.services.iter().map(|s| s.name.as_str()));
        vec![format!(
            "version.toml says feature_service = \"{name}\", which is not declared{hint}"
        )]
    })?;
    if settings.when_unavailable == WhenUnavailable::Fallback && file.fallback.is_none() {
        return Err(vec![
            "version.toml says when_unavailable = \"fallback\", but model.toml has no fallback".to_owned(),
        ]);
    }
    Ok(Some(service))
}

impl Model {
    /// What running it on one row takes, while nobody else uses it: the median of some runs on the service's defaults, or
    /// what is expected, if the caller's tensors feed it. Nothing, if nothing is known.
    pub(crate) fn time_of_one_row(&self) -> Option<Duration> {
        let Some(featured) = &self.featured else {
            return self.batcher.expected(1);
        };
        let row = neutral(&featured.service, &featured.signature).ok()?;
        let run = |_| self.batcher.try_out(&featured.program, &row).ok();
        let mut took: Vec<Duration> = (0..TIMED_RUNS).map(run).collect::<Option<_>>()?;
        took.sort();
        took.get(TIMED_RUNS / 2).copied()
    }

    /// Whether these files and this service would make the same model. Who answers in its place is no part of it.
    fn is_made_of(&self, files: &Files, operated: &Operated, service: Option<&Arc<Service>>) -> bool {
        files.are_of(&self.artifact)
            && self.settings == files.settings
            && self.operated == *operated
            && self.featured.as_ref().map(|featured| &*featured.service) == service.map(|service| &**service)
    }
}
