//! `feature-server cancel`, `pause` and `unpause`.

use std::process::ExitCode;

use clap::Args;
use uuid::Uuid;

use super::{Places, wrong_usage};
use crate::store::Cancelled;

#[derive(Args)]
pub(super) struct Run {
    /// The run's id, as `status --json` and `/v1/runs` show it
    #[arg(value_parser = run_id)]
    run: Uuid,
}

#[derive(Args)]
pub(super) struct View {
    /// The view
    view: String,
}

fn run_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| {
        "a run's id looks like 01a20ee1-e90d-73de-9320-00c4f185cd25; `feature-server status --json` shows each view's last one"
            .to_owned()
    })
}

pub(super) async fn cancel(places: &Places, Run { run }: &Run) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    app.reach_store().await?;
    app.store().check_schema().await?;
    match app.store().cancel(*run).await? {
        Cancelled::Asked => outln!("run {run} is told to stop, which it does within seconds"),
        Cancelled::Done => outln!("run {run} is cancelled: no process was working on it"),
        Cancelled::Over => outln!("run {run} is over already"),
        Cancelled::Unknown => {
            return Ok(wrong_usage(&format_args!(
                "there is no run {run} in project {}; `status --json` shows each view's last one",
                app.definitions().project
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn pause(places: &Places, View { view }: &View) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    let view = match app.view(view) {
        Ok(view) => view,
        Err(unknown) => return Ok(wrong_usage(&unknown)),
    };
    app.reach_store().await?;
    app.store().check_schema().await?;
    let told = if app.store().pause(&view.name).await? {
        "is paused: no server begins a scheduled run of it until `unpause`"
    } else {
        "was paused already"
    };
    outln!("{} {told}", view.name);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn unpause(places: &Places, View { view }: &View) -> anyhow::Result<ExitCode> {
    let app = places.app()?;
    let view = match app.view(view) {
        Ok(view) => view,
        Err(unknown) => return Ok(wrong_usage(&unknown)),
    };
    app.reach_store().await?;
    app.store().check_schema().await?;
    let told = if app.store().unpause(&view.name).await? {
        "goes on: its next scheduled run comes within its interval"
    } else {
        "was not paused"
    };
    outln!("{} {told}", view.name);
    Ok(ExitCode::SUCCESS)
}
