//! docker-compose.yml and Dockerfile against the programs: no variable, flag or port that they do not know.
//!
//! `cargo xtask test --compose` runs them for real, where there is a Docker engine.

use std::fs;
use std::process::Command;

use end_to_end::env::{program, root};
use serde_json::Value;

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

fn services() -> serde_json::Map<String, Value> {
    let compose: Value = serde_norway::from_str(&read("docker-compose.yml")).unwrap();
    compose["services"].as_object().unwrap().clone()
}

/// A service of ours, and the program and arguments that it runs.
struct Service {
    name: String,
    settings: Value,
    command: Vec<String>,
}

fn ours() -> Vec<Service> {
    let built = services()
        .into_iter()
        .filter(|(_, settings)| settings.get("build").is_some());
    let ours: Vec<Service> = built
        .map(|(name, settings)| {
            let words = settings["command"].as_array().unwrap();
            let mut command: Vec<String> = words.iter().map(|word| word.as_str().unwrap().to_owned()).collect();
            if settings["build"]["target"] == "flights" {
                // Its image's ENTRYPOINT.
                command.insert(0, "flights".to_owned());
            }
            Service {
                name,
                settings,
                command,
            }
        })
        .collect();
    assert_eq!(ours.len(), 4);
    ours
}

/// What a program says of itself, and of the command that it is given: its words, with single spaces.
fn help(command: &[String]) -> String {
    let words: Vec<&String> = command[1..].iter().take_while(|word| !word.starts_with('-')).collect();
    let asked = |words: &[&String]| {
        let mut asked = Command::new(program(&command[0]));
        let output = asked.args(words).arg("--help").output().unwrap();
        assert!(output.status.success(), "no command {command:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    format!("{} {}", asked(&[]), asked(&words))
}

/// Whether the help has this variable: `[env: NAME]`, or `[env: NAME=value]` where its value may be shown.
fn knows(help: &str, variable: &str) -> bool {
    let has = |variable: &str| {
        [']', '=']
            .iter()
            .any(|end| help.contains(&format!("[env: {variable}{end}")))
    };
    // Sources name databases: `LARDER_DATABASE_WAREHOUSE_URL`.
    let is_named = variable
        .strip_prefix("LARDER_DATABASE_")
        .is_some_and(|rest| rest.ends_with("_URL"));
    has(variable) || (is_named && has("LARDER_DATABASE_URL"))
}

#[test]
fn the_programs_know_every_variable_and_flag() {
    for Service {
        name,
        settings,
        command,
    } in ours()
    {
        let help = help(&command);
        for variable in settings["environment"].as_object().unwrap().keys() {
            assert!(
                knows(&help, variable),
                "{name}: `{}` does not know {variable}",
                command.join(" ")
            );
        }
        for flag in command.iter().filter(|word| word.starts_with("--")) {
            let flag = flag.split('=').next().unwrap();
            assert!(help.contains(&format!("{flag} ")), "{name}: no flag {flag}");
        }
    }
}

#[test]
fn a_variable_that_nobody_knows_is_found() {
    let help = help(&["predictor".to_owned(), "serve".to_owned()]);
    assert!(knows(&help, "LARDER_MODELS"));
    assert!(!knows(&help, "LARDER_MODEL"));
    assert!(!knows(&help, "LARDER_DATABASE_WAREHOUSE_URL"));
    let help = self::help(&["feature-server".to_owned(), "serve".to_owned()]);
    assert!(knows(&help, "LARDER_DATABASE_WAREHOUSE_URL"));
    assert!(!knows(&help, "LARDER_DATABASE_WAREHOUSE"));
}

#[test]
fn the_programs_know_what_the_images_set() {
    let helps: Vec<String> = ours().iter().map(|service| help(&service.command)).collect();
    let dockerfile = read("Dockerfile");
    let set: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("ENV "))
        .collect();
    assert_eq!(set.len(), 2);
    for variable in set.iter().filter_map(|set| set.split('=').next()) {
        assert!(
            helps.iter().any(|help| knows(help, variable)),
            "Dockerfile sets {variable}"
        );
    }
}

/// `rust:1.95.0-slim-bookworm` as its name and tag.
fn tagged(image: &str) -> (&str, &str) {
    image.split_once(':').unwrap_or_else(|| panic!("{image} has no tag"))
}

#[test]
fn images_are_pinned() {
    let version = env!("CARGO_PKG_VERSION");
    for (name, service) in services() {
        let (image, tag) = tagged(service["image"].as_str().unwrap());
        if service.get("build").is_some() {
            assert_eq!(tag, version, "{name}: {image} has the workspace's version");
        } else {
            assert!(
                tag.matches('.').count() >= 1 && tag.starts_with(char::is_numeric),
                "{name}: {image}:{tag}"
            );
        }
    }
    let (dockerfile, toolchain) = (read("Dockerfile"), read("rust-toolchain.toml"));
    let mut stages = Vec::new();
    for line in dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        let (base, stage) = line.split_once(" AS ").unwrap();
        if !stages.contains(&base) {
            match tagged(base) {
                ("rust", tag) => {
                    let version = tag.split('-').next().unwrap();
                    assert!(toolchain.contains(&format!("channel = \"{version}\"")), "{base}");
                }
                // Debian's images are dated.
                (_, tag) => assert!(
                    tag.split('-')
                        .any(|part| part.len() == 8 && part.parse::<u32>().is_ok()),
                    "{base}"
                ),
            }
        }
        stages.push(stage);
    }
    assert_eq!(stages.len(), 4);
}

#[test]
fn servers_are_published_asked_and_given_time_where_they_listen_and_drain() {
    for Service {
        name,
        settings,
        command,
    } in ours()
    {
        let help = help(&command);
        let listens = |variable: &str| {
            let listen = settings["environment"].get(variable)?.as_str().unwrap();
            Some(listen.strip_prefix("0.0.0.0:").unwrap())
        };
        let Some(port) = listens("LARDER_LISTEN") else {
            continue;
        };
        let ports: Vec<&str> = std::iter::once(port).chain(listens("LARDER_GRPC_LISTEN")).collect();
        let published = settings["ports"].as_array().unwrap();
        assert_eq!(published.len(), ports.len(), "{name}: {published:?}");
        for (port, published) in ports.into_iter().zip(published) {
            assert!(
                help.contains(&format!("[default: 127.0.0.1:{port}]")),
                "{name}: {port} is not its port"
            );
            let published = published.as_str().unwrap();
            assert!(published.starts_with("127.0.0.1:$"), "{name}: {published}");
            assert!(
                published.ends_with(&format!(":-{port}}}:{port}")),
                "{name}: {published}"
            );
        }
        let asked = settings["healthcheck"]["test"].as_array().unwrap();
        assert_eq!(
            asked.last().unwrap(),
            &format!("http://127.0.0.1:{port}/health/ready"),
            "{name}"
        );

        let (_, drain) = help.split_once("[env: LARDER_DRAIN=]").unwrap();
        let drain = drain.split_once("[default: ").unwrap().1.split_once("s]").unwrap().0;
        let grace = settings["stop_grace_period"]
            .as_str()
            .unwrap()
            .strip_suffix('s')
            .unwrap();
        let seconds = |text: &str| text.parse::<u32>().unwrap();
        assert!(seconds(grace) > seconds(drain), "{name}: killed before it has drained");
    }
}

#[test]
fn what_is_mounted_is_there_and_looked_for() {
    let dockerfile = read("Dockerfile");
    let folder = dockerfile.lines().rfind(|line| line.starts_with("WORKDIR ")).unwrap();
    let folder = folder.strip_prefix("WORKDIR ").unwrap();
    for Service {
        name,
        settings,
        command,
    } in ours()
    {
        let help = help(&command);
        for mount in settings.get("volumes").and_then(Value::as_array).into_iter().flatten() {
            let [source, target, mode] = mount.as_str().unwrap().split(':').collect::<Vec<_>>()[..] else {
                panic!("{name}: {mount}");
            };
            assert!(root().join(source).is_dir(), "{name}: no {source}");
            let default = target.strip_prefix(&format!("{folder}/")).unwrap();
            assert!(
                help.contains(&format!("[default: {default}]")),
                "{name}: {target} is not looked into"
            );
            assert_eq!(mode, "ro", "{name}: {mount}");
        }
    }
}
