//! `feature-server migrate`.

use std::process::ExitCode;

use super::Places;
use crate::store;

pub(super) async fn run(places: &Places) -> anyhow::Result<ExitCode> {
    let settings = places.settings()?;
    store::migrate(&settings.database).await?;
    outln!("the `larder` schema of {} is up to date", settings.database);
    Ok(ExitCode::SUCCESS)
}
