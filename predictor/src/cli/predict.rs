//! `predictor predict`: one prediction from the shell, explained, by the code that serves.

use std::sync::Arc;

use anyhow::bail;
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use feature_defs::definitions::Service;
use feature_defs::time::SystemClock;
use feature_defs::value::{Value, ValueType};
use serde_json::{Map, Value as Json, json};

use super::WrongUsage;
use super::args::{LoadArgs, ModelArgs, RedisArgs};
use crate::app::{App, LoadError, Settings};
use crate::meters::Fault;
use crate::model::ModelName;
use crate::predict::answer::{Answer, Row};
use crate::predict::{Asked, Explain, Freshness, PredictError};

#[derive(Debug, Args)]
pub(super) struct Predict {
    /// The model
    model: ModelName,
    /// Join keys and request features; nothing after `=` is null (but for text)
    #[arg(value_name = "KEY=VALUE")]
    fields: Vec<String>,
    /// Print the answer as the server would send it
    #[arg(long, env = "LARDER_JSON", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    json: bool,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    models: ModelArgs,
    #[command(flatten)]
    redis: RedisArgs,
}

impl Predict {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let settings = Settings {
            features: self.load.features.clone(),
            models: self.models.models.clone(),
            onnxruntime: self.load.onnxruntime.clone(),
            redis: self.redis.features()?,
            cache_redis: self.redis.cache()?,
            sessions: std::num::NonZero::<usize>::MIN,
            max_instances: Settings::MAX_INSTANCES,
            model_control: false,
            limits: Settings::LIMITS,
        };
        let app = App::load(
            &settings,
            &self.load.definitions()?,
            Arc::new(SystemClock),
            Some(&self.model),
        );
        let app = match app {
            Err(error @ LoadError::NoSuchModel { .. }) => return Err(WrongUsage::new(error).into()),
            app => app?,
        };
        let served = app
            .models()
            .get(self.model.as_str())
            .and_then(|entry| entry.served.clone());
        let Some(served) = served else {
            bail!("model `{}` cannot be served", self.model);
        };
        let Some(featured) = &served.serving.model.featured else {
            bail!("model `{}` has no feature service: it takes tensors", self.model);
        };
        let service = Arc::clone(&featured.service);
        let body = json!({ "instances": [instance(&service, &self.fields)?] }).to_string();
        let asked = Asked {
            model: self.model.as_str(),
            version: None,
            body: body.as_bytes(),
            explain: Explain::Yes,
            freshness: Freshness::Any,
        };
        // A server's connection stands when a request comes, and no deadline has to pay for it. Where Redis is away, the
        // answer says so.
        let _said_by_the_answer = app.refresh().await;
        let answer = match app.predict(asked).await {
            Ok(answer) => answer,
            Err(error) if error.fault() == Fault::Client => return Err(WrongUsage(told(&error)).into()),
            Err(error) => return Err(error.into()),
        };
        if self.json {
            println!("{}", serde_json::to_string_pretty(&answer)?);
        } else {
            print(&answer);
        }
        if answer.predictions.iter().any(Option::is_none) {
            bail!("there is no prediction");
        }
        Ok(())
    }
}

/// The instance that the arguments spell; names and types are the request's to check.
fn instance(service: &Service, fields: &[String]) -> Result<Map<String, Json>, WrongUsage> {
    let mut instance = Map::new();
    for field in fields {
        let (name, text) = field
            .split_once('=')
            .ok_or_else(|| WrongUsage(format!("`{field}` is not KEY=VALUE")))?;
        let value = match type_of(service, name) {
            Some(value_type) => {
                let value = Value::from_text(value_type, text).map_err(|e| WrongUsage(format!("`{name}`: {e}")))?;
                value.map_or(Json::Null, |v| v.to_json())
            }
            None => Json::String(text.to_owned()),
        };
        if instance.insert(name.to_owned(), value).is_some() {
            return Err(WrongUsage(format!("`{name}` is given twice")));
        }
    }
    Ok(instance)
}

fn type_of(service: &Service, name: &str) -> Option<ValueType> {
    let key = service
        .keys
        .iter()
        .find(|k| k.name.as_str() == name)
        .map(|k| k.key_type.value_type());
    let request = || {
        service
            .request
            .iter()
            .find(|f| f.name.as_str() == name)
            .map(|f| f.value_type)
    };
    let stored = || {
        let (alias, feature) = name.split_once("__")?;
        let join = service.joins.iter().find(|j| j.alias.as_str() == alias)?;
        join.view
            .fields()
            .iter()
            .find(|f| f.name.as_str() == feature)
            .map(|f| f.value_type)
    };
    key.or_else(request).or_else(stored)
}

fn told(error: &PredictError) -> String {
    let problems = match error {
        PredictError::InvalidRequest(problems) if problems.count() > 1 => problems,
        _ => return error.to_string(),
    };
    let line = |p: &crate::predict::Problem| format!("\n  - `{}`: {}", p.name.as_deref().unwrap_or("?"), p.problem);
    format!(
        "{} problems:{}",
        problems.count(),
        problems.shown().iter().map(line).collect::<String>()
    )
}

fn print(answer: &Answer) {
    println!("model {} version {}", answer.model_name, answer.model_version);
    for (prediction, row) in answer.predictions.iter().zip(&answer.rows) {
        match prediction {
            Some(prediction) => {
                for (field, value) in prediction.schema.fields().iter().zip(prediction.outputs.values()) {
                    println!("  {} = {}", field.name, value.to_text());
                }
            }
            None => {
                let why = row.error.as_ref().map_or("unknown", |e| e.message.as_str());
                println!("  no prediction: {why}");
            }
        }
        print_row(row);
    }
}

fn print_row(row: &Row) {
    let reasons: Vec<&str> = row.degraded.iter().map(|d| d.name()).collect();
    if !reasons.is_empty() {
        println!("degraded: {}", reasons.join(", "));
    }
    println!("cache: {}", row.cache.name());
    if !row.features.rows.is_empty() {
        println!("views:");
    }
    for (view, found) in row.features.iter() {
        let age = found
            .age_ms
            .map(|ms| format!(", {} s old", ms / 1_000))
            .unwrap_or_default();
        println!("  {view}: {}{age}", found.status.name());
    }
    let Some(explained) = &row.explained else { return };
    for (title, inputs) in [
        ("inputs:", &explained.inputs),
        ("read by derived features:", &explained.read_by_derived),
    ] {
        if inputs.is_empty() {
            continue;
        }
        println!("{title}");
        for (name, input) in inputs {
            let value = input.value.as_ref().map_or_else(|| "null".to_owned(), Value::to_text);
            let default = if input.defaulted { ", default" } else { "" };
            println!(
                "  {name} = {value} ({}, {}{default})",
                input.origin.name(),
                input.status.name()
            );
        }
    }
}
