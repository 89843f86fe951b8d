//! `model.toml` and `version.toml`: what an operator decides, and what belongs to the artifact.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZero;
use std::str::FromStr;

use feature_defs::assemble::Stale;
use feature_defs::name::{FeatureName, ServiceName};
use feature_defs::time::Span;
use serde::Deserialize;

use super::{ModelName, Version};

/// `model.toml`: what an operator decides.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelFile {
    /// Which version takes the traffic: `"latest"` (the default), the highest whole number among the version folders that
    /// fits, or a version's folder.
    pub serve: Serve,
    /// Further versions to hold ready for those who ask for them by number: `"all"`, or a list. Default none.
    pub load: Load,
    /// A version that takes a share of the traffic. Default none.
    pub canary: Option<CanarySettings>,
    /// A version that predicts what the serving one predicts, after the caller has its answer. Default none.
    pub shadow: Option<Version>,
    /// How long an answer may take; past it the caller gets 504. Default 50 ms: longer lets a slow store or model finish,
    /// shorter falls back sooner.
    pub deadline: Span,
    /// Where predictions are kept.
    pub cache: CacheSettings,
    /// How many rows run together, and where.
    pub batching: BatchingSettings,
    /// Who answers when the store cannot be read and the version's `when_unavailable` is `"fallback"`.
    pub fallback: Option<FallbackSettings>,
}

impl Default for ModelFile {
    fn default() -> Self {
        Self {
            serve: Serve::Latest,
            load: Load::default(),
            canary: None,
            shadow: None,
            batching: BatchingSettings::default(),
            deadline: "50ms".parse().expect("a length of time"),
            cache: CacheSettings::default(),
            fallback: None,
        }
    }
}

/// More sessions of a model, or threads of a run, than any machine has use for.
const MOST_AT_ONCE: usize = 256;

/// No cached prediction is worth keeping longer.
const LONGEST_TTL: Span = Span::from_secs(366 * 86_400);

impl ModelFile {
    /// The same for the rows of a file, predicted by these versions, the first of which serves (the one that serves requests
    /// if there is none): no other version takes part. Nobody else sends rows that are worth waiting for, or could be kept
    /// waiting; and millions of rows would push out of Redis what predictors share for requests.
    #[must_use]
    pub(super) fn for_a_file(mut self, versions: &[Version]) -> Self {
        if let [first, others @ ..] = versions {
            self.serve = Serve::Version(first.clone());
            self.load = Load::These(others.iter().cloned().collect());
        } else {
            self.load = Load::default();
        }
        self.canary = None;
        self.shadow = None;
        self.batching.max_wait = None;
        self.batching.max_waiting = None;
        if self.cache.tier == CacheTier::MemoryRedis {
            self.cache.tier = CacheTier::Memory;
        }
        self
    }

    /// What is wrong with values that have the right type, a sentence each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.deadline == Span::ZERO {
            problems.push("model.toml says deadline = \"0ms\": nothing can be answered in no time".to_owned());
        }
        if let Some(canary) = &self.canary
            && !(0.0..=1.0).contains(&canary.share)
        {
            problems.push(format!(
                "model.toml says canary share = {}, which is no share: it is from 0 to 1",
                canary.share
            ));
        }
        for (what, count) in [("sessions", self.batching.sessions), ("threads", self.batching.threads)] {
            if count.is_some_and(|count| count.get() > MOST_AT_ONCE) {
                problems.push(format!(
                    "model.toml says more than {MOST_AT_ONCE} {what}: more than there are processors only take turns"
                ));
            }
        }
        if self.cache.tier != CacheTier::Off && (self.cache.ttl == Span::ZERO || self.cache.max_bytes.0 == 0) {
            problems.push("model.toml says a cache that keeps nothing: say tier = \"off\"".to_owned());
        }
        if self.batching.max_wait.is_some_and(|wait| wait >= self.deadline) {
            problems.push("model.toml says batching max_wait, which is not shorter than the deadline".to_owned());
        }
        if self.cache.ttl > LONGEST_TTL {
            problems.push(format!(
                "model.toml says cache ttl = \"{}\", at most {LONGEST_TTL} is possible",
                self.cache.ttl
            ));
        }
        problems
    }
}

/// Which version takes the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Serve {
    /// The highest whole number among the version folders.
    Latest,
    /// This one.
    Version(Version),
}

impl fmt::Display for Serve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Version(version) => version.fmt(f),
        }
    }
}

impl TryFrom<String> for Serve {
    type Error = super::InvalidVersion;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "latest" {
            Ok(Self::Latest)
        } else {
            text.parse().map(Self::Version)
        }
    }
}

/// Versions to hold ready besides those in traffic.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawLoad")]
pub enum Load {
    /// All there are.
    All,
    /// These.
    These(BTreeSet<Version>),
}

impl Default for Load {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawLoad {
    Word(String),
    Versions(BTreeSet<Version>),
}

impl TryFrom<RawLoad> for Load {
    type Error = &'static str;
    fn try_from(raw: RawLoad) -> Result<Self, Self::Error> {
        match raw {
            RawLoad::Word(word) if word == "all" => Ok(Self::All),
            RawLoad::Word(_) => Err("`load` is either \"all\" or a list of versions, such as [\"2\", \"3\"]"),
            RawLoad::Versions(versions) => Ok(Self::These(versions)),
        }
    }
}

/// A version that takes a share of the traffic.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanarySettings {
    /// The version.
    pub version: Version,
    /// Its share of the values of `key`, from 0 to 1.
    pub share: f64,
    /// A join key or request feature of the service: rows of one value of it are always answered by one version. Default:
    /// all join keys together.
    pub key: Option<FeatureName>,
}

/// How many rows run together, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchingSettings {
    /// The rows of one run at most. Default: as many as are expected to run in a quarter of the deadline, learned from
    /// runs; 1,024 at most.
    pub max_rows: Option<NonZero<usize>>,
    /// How long a row may wait for others to run with. Default: not at all, for under load rows wait by themselves.
    pub max_wait: Option<Span>,
    /// Requests that may wait for a session; one more is refused with 429. Default: 64 a session.
    pub max_waiting: Option<NonZero<usize>>,
    /// How many batches run at once. Default: `--sessions`, which is one a processor.
    pub sessions: Option<NonZero<usize>>,
    /// How many threads one run uses. Default 1: more pay for large models only.
    pub threads: Option<NonZero<usize>>,
}

/// Where predictions are kept, how long, and how much of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettings {
    /// `"memory"` (the default), `"memory+redis"` or `"off"`.
    pub tier: CacheTier,
    /// How long each tier keeps a prediction. Default 10 minutes. Values that change make another key, so this bounds
    /// memory rather than age.
    pub ttl: Span,
    /// How much memory the predictions of each version may take. Default 64 MiB.
    pub max_bytes: ByteSize,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            tier: CacheTier::Memory,
            ttl: Span::from_secs(600),
            max_bytes: ByteSize(64 << 20),
        }
    }
}

/// The tiers of the prediction cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum CacheTier {
    /// No cache: every row runs the model.
    #[serde(rename = "off")]
    Off,
    /// This process's memory.
    #[serde(rename = "memory")]
    Memory,
    /// Memory, then a Redis that all predictors share.
    #[serde(rename = "memory+redis")]
    MemoryRedis,
}

impl CacheTier {
    /// Its name in `model.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Memory => "memory",
            Self::MemoryRedis => "memory+redis",
        }
    }
}

/// A number of bytes, written `64MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ByteSize(pub u64);

/// A text that is not a number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: write a whole number and B, KiB, MiB or GiB, such as 64MiB")]
pub struct InvalidByteSize(String);

impl FromStr for ByteSize {
    type Err = InvalidByteSize;
    fn from_str(text: &str) -> Result<Self, InvalidByteSize> {
        let invalid = || InvalidByteSize(text.to_owned());
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(invalid)?;
        let (number, unit) = text.split_at(unit_at);
        let shift = match unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => return Err(invalid()),
        };
        let number: u64 = number.parse().map_err(|_| invalid())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(invalid)
    }
}

impl TryFrom<String> for ByteSize {
    type Error = InvalidByteSize;
    fn try_from(text: String) -> Result<Self, InvalidByteSize> {
        text.parse()
    }
}

/// Who answers when the store cannot be read: exactly one of the two.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FallbackSettings {
    /// Another model of the repository, whose service reads no stored features.
    pub model: Option<ModelName>,
    /// A constant answer: a value for each output.
    pub output: Option<BTreeMap<FeatureName, toml::Value>>,
}

/// `version.toml`: what belongs to the artifact.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionFile {
    /// The service whose inputs the model takes. Absent: tensors in, tensors out.
    pub feature_service: Option<ServiceName>,
    /// How the service's inputs become tensors.
    pub inputs: Option<InputsSetting>,
    /// The answer's outputs, by name.
    #[serde(default)]
    pub outputs: BTreeMap<FeatureName, OutputSetting>,
    /// The model's classes in the order of its probabilities' columns, for outputs that are named by `class`.
    pub classes: Option<Vec<String>>,
    /// Of a model without a service: whether the first dimension of all tensors is the row, and rows do not depend on each
    /// other, so that those of several requests may run together, and are cached one by one. Default: a request is one run.
    #[serde(default)]
    pub batch: bool,
    /// What to do with values older than their view's ttl.
    #[serde(default)]
    pub when_stale: WhenStale,
    /// What to do when a view has no row for the instance, or one that was written without a feature that the model reads.
    #[serde(default)]
    pub when_missing: WhenMissing,
    /// What to do when the store could not be read.
    #[serde(default)]
    pub when_unavailable: WhenUnavailable,
    /// Whether an instance may carry stored features (`view__feature`) itself. Off by default.
    #[serde(default)]
    pub overrides: bool,
    /// The SHA-256 of `model.onnx` in hexadecimal: a file of another digest is refused.
    pub sha256: Option<String>,
}

impl VersionFile {
    /// What is wrong with values that have the right type, a sentence each.
    pub fn problems(&self) -> Vec<String> {
        if self.feature_service.is_some() {
            let batch = "version.toml says batch = true, which is for models without a feature_service: rows of a service \
                         are batched anyway";
            let mut problems: Vec<String> = self.batch.then(|| batch.to_owned()).into_iter().collect();
            let classes = self.classes.as_deref().unwrap_or_default();
            if (1..classes.len()).any(|i| classes[..i].contains(&classes[i])) {
                problems.push("version.toml says one class twice in `classes`".to_owned());
            }
            if self.classes.is_some() && self.outputs.values().all(|output| output.class.is_none()) {
                problems.push("version.toml says `classes`, but no output says its `class`".to_owned());
            }
            return problems;
        }
        let mut needless = Vec::new();
        let mut needs = |is_set: bool, key: &str| {
            if is_set {
                needless.push(format!("version.toml says `{key}`, which needs a feature_service"));
            }
        };
        needs(self.inputs.is_some(), "inputs");
        needs(!self.outputs.is_empty(), "outputs");
        needs(self.classes.is_some(), "classes");
        needs(self.when_stale != WhenStale::default(), "when_stale");
        needs(self.when_missing != WhenMissing::default(), "when_missing");
        needs(self.when_unavailable != WhenUnavailable::default(), "when_unavailable");
        needs(self.overrides, "overrides");
        needless
    }
}

/// How inputs become tensors: `"each"`, or one tensor's name and element type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawInputs")]
pub enum InputsSetting {
    /// One named tensor per input.
    Each,
    /// One `[n, f]` tensor of this name, in service order; doubles if `double`, else singles.
    Matrix {
        /// The tensor's name.
        tensor: String,
        /// float64 rather than float32.
        double: bool,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawInputs {
    Word(String),
    Tensors(BTreeMap<String, String>),
}

/// An `inputs` that is neither form.
#[derive(Debug)]
pub struct InvalidInputs;

impl fmt::Display for InvalidInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "`inputs` is either \"each\" (one named tensor per input) or one tensor's name and type, \
             such as { features = \"float32\" } (float32 or float64)",
        )
    }
}

impl TryFrom<RawInputs> for InputsSetting {
    type Error = InvalidInputs;
    fn try_from(raw: RawInputs) -> Result<Self, InvalidInputs> {
        match raw {
            RawInputs::Word(word) if word == "each" => Ok(Self::Each),
            RawInputs::Tensors(tensors) if tensors.len() == 1 => {
                let (tensor, element) = tensors.into_iter().next().ok_or(InvalidInputs)?;
                match element.as_str() {
                    "float32" => Ok(Self::Matrix { tensor, double: false }),
                    "float64" => Ok(Self::Matrix { tensor, double: true }),
                    _ => Err(InvalidInputs),
                }
            }
            _ => Err(InvalidInputs),
        }
    }
}

/// Where an output's value stands in the model's answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSetting {
    /// The tensor.
    pub tensor: String,
    /// Its column, from 0, for a tensor of shape `[n, k]`; absent for `[n]` and `[n, 1]`.
    pub column: Option<usize>,
    /// In place of `column`, the name of its class among `classes`.
    pub class: Option<String>,
}

/// What to do with values older than their view's ttl.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenStale {
    /// They are null, and so their default, as in training.
    #[default]
    Default,
    /// They are served, and the row is flagged.
    Serve,
    /// The row is rejected.
    Reject,
}

impl WhenStale {
    /// What it means for putting inputs together.
    pub const fn stale(self) -> Stale {
        match self {
            Self::Serve => Stale::Serve,
            Self::Default | Self::Reject => Stale::Default,
        }
    }
}

/// What to do when a view has no row for the instance, or one that was written without a feature that the model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenMissing {
    /// What is missing is null, and so its default, as in training.
    #[default]
    Default,
    /// The row is rejected.
    Reject,
}

/// What to do when the store could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenUnavailable {
    /// Stored features are null, and so their default; the row is flagged.
    #[default]
    Default,
    /// The model's fallback answers; the row is flagged.
    Fallback,
    /// The whole request is refused with 503.
    Reject,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_files_are_read() {
        let model: ModelFile = toml::from_str(
            r#"
            serve = "latest"
            deadline = "50ms"
            cache = { tier = "memory+redis", ttl = "10m", max_bytes = "64MiB" }
            fallback = { model = "flight_delay_request_only" }
            "#,
        )
        .unwrap();
        assert_eq!(model.cache.max_bytes, ByteSize(67_108_864));
        assert_eq!(model.cache.tier, CacheTier::MemoryRedis);
        let version: VersionFile = toml::from_str(
            r#"
            feature_service = "flight_delay"
            inputs = { features = "float32" }
            outputs = { late_probability = { tensor = "probabilities", column = 1 } }
            when_stale = "default"
            when_missing = "default"
            when_unavailable = "fallback"
            overrides = false
            "#,
        )
        .unwrap();
        assert_eq!(
            version.inputs,
            Some(InputsSetting::Matrix {
                tensor: "features".into(),
                double: false
            })
        );
        assert_eq!(version.when_unavailable, WhenUnavailable::Fallback);
    }

    #[test]
    fn unknown_keys_and_wrong_values_are_refused() {
        for (text, expected) in [
            ("canari = 1", "unknown field `canari`"),
            ("canary = { version = \"4\" }", "missing field `share`"),
            ("load = \"some\"", "`load` is either"),
            ("batching = { max_rows = 0 }", "nonzero"),
            ("serve = \"a/b\"", "is not a version"),
            ("deadline = \"soon\"", "is not a length of time"),
            ("cache = { tier = \"disk\" }", "unknown variant `disk`"),
            ("cache = { max_bytes = \"64MB\" }", "is not a size"),
            ("fallback = { modell = \"x\" }", "unknown field `modell`"),
        ] {
            let message = toml::from_str::<ModelFile>(text).unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
        let base = "feature_service = \"s\"\noutputs = {}\n";
        for (text, expected) in [
            ("inputs = \"all\"", "`inputs` is either"),
            ("inputs = { x = \"int8\" }", "`inputs` is either"),
            ("inputs = \"each\"\nwhen_stale = \"drop\"", "unknown variant `drop`"),
            ("inputs = \"each\"\nbatsh = true", "unknown field `batsh`"),
        ] {
            let message = toml::from_str::<VersionFile>(&format!("{base}{text}"))
                .unwrap_err()
                .to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
