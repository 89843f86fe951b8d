//! The images that Dockerfile and docker-compose.yml build upon: present, pulled, or stood in for.

use std::fs;

use anyhow::{Context, Result};

use super::{engine::Engine, stand_ins};
use crate::{
    folder,
    instance::{Instance, Output},
    interrupt, say,
};

/// Makes sure of all of them, and names those that are stand-ins.
pub(crate) fn provide(instance: &mut Instance) -> Result<Vec<String>> {
    say::step("The base images");
    let (mut missing, mut stand_ins) = (Vec::new(), Vec::new());
    for image in named()? {
        match Presence::of(&image) {
            Presence::Official => {
                say::note(&format!("{image} is here"));
                continue;
            }
            Presence::StandIn => {
                say::note(&format!("{image} is here, as a STAND-IN that another run has made"));
                stand_ins.push(image);
                continue;
            }
            Presence::Missing => {}
        }
        let pulled = instance.run("docker-pull", Engine::docker(&["pull", &image]), Output::Log)?;
        interrupt::check()?;
        match pulled.success("pulling") {
            Ok(_) => say::note(&format!("{image} was pulled")),
            Err(error) => {
                let last = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
                say::note(&format!("{image} cannot be pulled: {last}"));
                missing.push(image);
            }
        }
    }
    if !missing.is_empty() {
        stand_ins::make(instance, &missing)?;
    }
    stand_ins.extend(missing);
    Ok(stand_ins)
}

enum Presence {
    Official,
    StandIn,
    Missing,
}

impl Presence {
    fn of(image: &str) -> Self {
        let label = format!("{{{{index .Config.Labels \"{}\"}}}}", stand_ins::LABEL);
        match Engine::ask(Engine::docker(&["image", "inspect", "--format", &label, image])) {
            Ok(label) if label.is_empty() => Self::Official,
            Ok(_) => Self::StandIn,
            Err(_) => Self::Missing,
        }
    }
}

fn named() -> Result<Vec<String>> {
    let read = |name: &str| {
        let path = folder::workspace().join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(named_in(&read("Dockerfile")?, &read("docker-compose.yml")?))
}

/// Those that are not built here: no stage of the Dockerfile, and no `larder…`. Each once, in the order of first mention.
fn named_in(dockerfile: &str, compose: &str) -> Vec<String> {
    let (mut stages, mut images) = (Vec::new(), Vec::<String>::new());
    let mut add = |image: &str| {
        if !images.iter().any(|known| known == image) {
            images.push(image.to_owned());
        }
    };
    for line in dockerfile.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["FROM", base, "AS", stage] = words[..] {
            if !stages.contains(&base) {
                add(base);
            }
            stages.push(stage);
        }
    }
    for line in compose.lines() {
        if let Some(image) = line.trim().strip_prefix("image: ")
            && !image.starts_with("larder")
        {
            add(image);
        }
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_images_are_those_that_are_not_built() {
        let dockerfile =
            "FROM rust:1 AS build\nFROM debian:12 AS larder\nFROM larder AS flights\nFROM debian:12 AS more\n";
        let compose = "services:\n  redis:\n    image: redis:8\n  predictor:\n    image: larder:1\n";
        assert_eq!(named_in(dockerfile, compose), ["rust:1", "debian:12", "redis:8"]);
    }

    #[test]
    fn there_is_a_stand_in_for_each() {
        for image in named().unwrap() {
            stand_ins::Recipe::of(&image).unwrap();
        }
    }
}
