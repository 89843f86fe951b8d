//! `predictor check`: does a model fit, what does it take and give, and is its cache worth it? Needs no Redis.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use feature_defs::time::SystemClock;
use feature_defs::value::Value;

use super::args::{LoadArgs, RedisArgs};
use super::check_cache;
use crate::app::{App, LoadError, Settings};
use crate::model::config::CacheTier;
use crate::model::signature::Declared;
use crate::model::{Fallback, ModelName, Served};

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Folder of the model: the one with model.toml, in its repository
    model_dir: PathBuf,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

impl Check {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let dir = self
            .model_dir
            .canonicalize()
            .with_context(|| format!("there is no folder {}", self.model_dir.display()))?;
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let name: ModelName = name
            .parse()
            .with_context(|| format!("{} cannot be a model's folder", dir.display()))?;
        // Nothing here connects.
        let nowhere: online_store::RedisUrl = "redis://127.0.0.1:6379".parse()?;
        let settings = Settings {
            features: self.load.features.clone(),
            models: dir
                .parent()
                .context("a model's folder stands in a repository")?
                .to_owned(),
            onnxruntime: self.load.onnxruntime.clone(),
            redis: nowhere.clone(),
            cache_redis: nowhere,
            sessions: std::num::NonZero::<usize>::MIN,
            max_instances: Settings::MAX_INSTANCES,
            model_control: false,
            limits: Settings::LIMITS,
        };
        let app = App::load(&settings, &self.load.definitions()?, Arc::new(SystemClock), Some(&name));
        let app = match app {
            Err(LoadError::NoneServes(refused)) => {
                for model in refused {
                    eprintln!("{model}");
                }
                bail!("model `{name}` cannot be served");
            }
            app => app?,
        };
        match app.models().serving().find(|served| served.serving.model.name == name) {
            Some(served) => {
                print!("{}", describe(served));
                let model = &served.serving.model;
                if model.operated.cache.tier == CacheTier::MemoryRedis {
                    print!("{}", check_cache::describe(model, self.redis.cache_if_said()?).await);
                }
            }
            None => bail!("model `{name}` cannot be served"),
        }
        let refused: Vec<_> = app
            .models()
            .refused()
            .filter(|refused| refused.name == name.as_str())
            .collect();
        for refused in &refused {
            eprintln!("{refused}");
        }
        if !refused.is_empty() {
            bail!("not all that the files of model `{name}` ask for can be served");
        }
        Ok(())
    }
}

fn describe(served: &Served) -> String {
    let model = &served.serving.model;
    let mut text = String::new();
    let mut line = |l: String| {
        // Unwrap safety: writing to a String cannot fail.
        writeln!(text, "{l}").expect("a String takes all");
    };
    let tensors = |tensors: &[Declared]| {
        let one = |tensor: &Declared| format!("  {} {}", tensor.name, tensor.type_text);
        tensors.iter().map(one).collect::<Vec<_>>()
    };
    let Some(featured) = &model.featured else {
        line(format!("model {} version {} takes tensors", model.name, model.version));
        line("inputs:".to_owned());
        tensors(&model.inputs).into_iter().for_each(&mut line);
        line("outputs:".to_owned());
        tensors(&model.outputs).into_iter().for_each(&mut line);
        return text;
    };
    line(format!(
        "model {} version {} fits feature service {}",
        model.name, model.version, featured.service.name
    ));
    line("request:".to_owned());
    for key in &featured.service.keys {
        line(format!("  {} {} (join key)", key.name, key.key_type.value_type()));
    }
    for field in &featured.service.request {
        line(format!("  {} {}", field.name, field.value_type));
    }
    line("inputs:".to_owned());
    for (i, input) in featured.service.inputs.iter().enumerate() {
        let (element, list) = featured.signature.cell(i);
        let list = list.map(|length| format!(" of {length}")).unwrap_or_default();
        let default = input
            .default
            .as_ref()
            .map(|d| format!(", default {}", Value::to_text(d)))
            .unwrap_or_default();
        line(format!(
            "  {} {} -> {} tensor{list}{default}",
            input.name,
            input.value_type,
            element.name()
        ));
    }
    line("outputs:".to_owned());
    for field in featured.signature.outputs.fields() {
        line(format!("  {} {}", field.name, field.value_type));
    }
    match &served.serving.fallback {
        None => {}
        Some(Fallback::Model(other)) => line(format!(
            "fallback: model {} version {}",
            other.model.name, other.model.version
        )),
        Some(Fallback::Output(_)) => line("fallback: a constant".to_owned()),
    }
    text
}
