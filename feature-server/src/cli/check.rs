//! `feature-server check`: definitions alone, or against the database.

use std::process::ExitCode;

use clap::Args;
use clap::builder::BoolishValueParser;
use feature_defs::definitions::Definitions;
use serde_json::json;

use super::{Places, print_json};
use crate::app::{App, Time};

#[derive(Args)]
pub(super) struct Arguments {
    /// Also compare with the database: columns, types and indexes
    #[arg(long, env = "LARDER_CHECK_DATABASE", value_parser = BoolishValueParser::new())]
    database: bool,
    /// Print JSON
    #[arg(long, env = "LARDER_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

pub(super) async fn run(places: &Places, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let definitions = places.definitions()?;
    let summary = summary(&definitions);
    if !arguments.database {
        if arguments.json {
            print_json(&summary)?;
        } else {
            print_summary(&definitions);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let text = (!arguments.json).then(|| print_summary(&definitions));
    let app = App::open(&places.settings()?, definitions, Time::SourceDatabase)?;
    let found = app.check_database().await?;
    if text.is_none() {
        print_json(&json!({"definitions": summary, "database": found}))?;
    } else {
        for problem in &found.problems {
            outln!("problem: {problem}");
        }
        if !found.missing_indexes.is_empty() {
            outln!("missing indexes; these statements add them:");
        }
        for statement in &found.missing_indexes {
            outln!("  {statement}");
        }
        for note in &found.notes {
            outln!("note: {note}");
        }
        if found.problems.is_empty() {
            outln!("the database fits the definitions");
        }
    }
    Ok(if found.problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print_summary(definitions: &Definitions) {
    outln!("project {}", definitions.project);
    for view in &definitions.views {
        let kind = if view.is_aggregate() {
            "aggregate view"
        } else {
            "row view"
        };
        let schedule = view
            .schedule
            .map_or_else(|| "by command".to_owned(), |span| format!("every {span}"));
        let ttl = view
            .ttl
            .map_or_else(|| "no ttl".to_owned(), |span| format!("ttl {span}"));
        outln!(
            "{kind} {} of {}: {} features, {ttl}, {schedule}",
            view.name,
            view.entity.name,
            view.fields().len()
        );
    }
    for service in &definitions.services {
        outln!(
            "feature service {}: {} inputs from {} views",
            service.name,
            service.inputs.len(),
            service.joins.len()
        );
    }
}

fn summary(definitions: &Definitions) -> serde_json::Value {
    json!({
        "project": definitions.project,
        "views": definitions.views.iter().map(|view| json!({
            "name": view.name,
            "kind": if view.is_aggregate() { "aggregate" } else { "row" },
            "entity": view.entity.name,
            "features": view.fields(),
            "ttl": view.ttl,
            "schedule": view.schedule,
        })).collect::<Vec<_>>(),
        "services": definitions.services.iter().map(|service| json!({
            "name": service.name,
            "inputs": service.inputs.iter().map(|input| json!({"name": input.name, "type": input.value_type})).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}
