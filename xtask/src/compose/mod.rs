//! `cargo xtask test --compose`: docker-compose.yml and Dockerfile as a user has them: built, started, broken, upgraded, taken down.

mod base_images;
mod engine;
mod freshness;
mod stack;
mod stand_ins;
mod story;
mod traffic;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};

use self::{engine::Engine, stack::Stack};
use crate::{folder, instance::Instance, say};

pub(crate) fn run() -> Result<ExitCode> {
    say::title("Larder in Docker, as docker-compose.yml has it. The first build takes minutes.");
    let mut instance = Instance::open("test")?;
    let engine = Engine::find()?;
    for left in clear(&engine)? {
        say::note(&format!("An earlier run had left {left}: removed."));
    }
    stack::refuse_another()?;
    let proved = prove(&mut instance, &engine);
    let removed = clear(&engine);
    let stand_ins = proved?;
    removed.context("the stack was tested, but could not be removed. `cargo xtask down` tries again")?;
    say::title(
        "\nAll that was tried in Docker went well, and is removed again, but for Docker's build cache: \
         `docker builder prune` empties that.",
    );
    if !stand_ins.is_empty() {
        say::title(&format!(
            "Not with the official images: {} could not be pulled and had stand-ins, as told above.",
            stand_ins.join(", ")
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// The base images that had stand-ins.
fn prove(instance: &mut Instance, engine: &Engine) -> Result<Vec<String>> {
    let stand_ins = base_images::provide(instance)?;
    let stack = Stack::prepare(instance, engine)?;
    let told = story::tell(instance, &stack);
    stack.keep_logs(instance);
    told?;
    Ok(stand_ins)
}

/// For `cargo xtask down`: what a killed run has left, in words.
pub(crate) fn stop() -> Result<Vec<String>> {
    if !stack::may_be_up() && !stand_ins::may_be_there() {
        return Ok(Vec::new());
    }
    clear(&Engine::find()?)
}

/// Removes containers, volumes and images that a test has made. Says what there was.
fn clear(engine: &Engine) -> Result<Vec<String>> {
    let mut removed = stack::clear(engine)?;
    removed.extend(stand_ins::clear()?);
    Ok(removed)
}

/// The folder for what is made here.
fn home() -> Result<PathBuf> {
    let home = folder::larder().join("compose");
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    Ok(home)
}
