//! The stack under test: docker-compose.yml under a project, ports and image names of the test's own, so that a user's is left alone.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{engine::Engine, home};
use crate::{
    client::Server,
    folder,
    instance::{Instance, Output},
    interrupt, say,
};

/// What Compose calls it, and the beginning of the names of whatever belongs to it.
const PROJECT: &str = "larder-compose-test";
/// Those that are built here, and their images' names under test.
const BUILT: [(&str, &str); 4] = [
    ("migrate", "larder-compose-test:servers"),
    ("feature-server", "larder-compose-test:servers"),
    ("predictor", "larder-compose-test:servers"),
    ("flights", "larder-compose-test:flights"),
];
/// The containers that stay up.
pub(crate) const SERVICES: [&str; 4] = ["postgres", "redis", "feature-server", "predictor"];
/// Starting anew takes seconds; a shared machine may take its time.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) struct Stack<'e> {
    engine: &'e Engine,
    environment: Vec<(&'static str, String)>,
    pub(crate) predictor: Server,
    pub(crate) feature_server: Server,
}

/// What differs between the images of before and after an upgrade.
#[derive(Clone, Copy)]
pub(crate) enum Edition {
    First,
    Second,
}

impl<'e> Stack<'e> {
    pub(crate) fn prepare(instance: &mut Instance, engine: &'e Engine) -> Result<Self> {
        write_override(Edition::First)?;
        let predictor = instance.port("compose-predictor", None)?;
        let feature_server = instance.port("compose-feature-server", None)?;
        let mut environment = settings();
        environment.push(("PREDICTOR_PORT", predictor.to_string()));
        environment.push(("FEATURE_SERVER_PORT", feature_server.to_string()));
        Ok(Self {
            engine,
            environment,
            predictor: Server::at(predictor),
            feature_server: Server::at(feature_server),
        })
    }

    /// From now on, building gives images of another identity.
    pub(crate) fn change_images() -> Result<()> {
        write_override(Edition::Second)
    }

    pub(crate) fn compose(&self, arguments: &[&str]) -> Command {
        let mut command = self.engine.compose(arguments);
        set(&mut command, &self.environment);
        command
    }

    /// Runs Compose to its end, with these arguments, and returns what it printed.
    pub(crate) fn run(&self, instance: &mut Instance, arguments: &[&str]) -> Result<String> {
        say::note(&format!("docker compose {}", arguments.join(" ")));
        let mut arguments = arguments.to_vec();
        // Nobody is at a terminal: Compose 1 has to be told.
        if ["run", "exec"].contains(&arguments[0]) && !arguments.contains(&"-T") {
            arguments.insert(1, "-T");
        }
        let log = format!("compose-{}", arguments[0]);
        let printed = instance.run(&log, self.compose(&arguments), Output::Log)?;
        printed.success("Docker Compose")
    }

    /// The same for what takes minutes: Docker shows how far it is.
    pub(crate) fn build(&self, instance: &mut Instance) -> Result<()> {
        let built = instance.run(
            "compose-build",
            self.compose(&["--profile", "flights", "build"]),
            Output::Terminal,
        )?;
        built.success("building the images")?;
        Ok(())
    }

    /// What a service has printed.
    pub(crate) fn said(&self, service: &str) -> Result<String> {
        Engine::ask(self.compose(&["logs", "--no-color", service]))
    }

    /// Looks at a service's container through one of `docker inspect`'s templates.
    pub(crate) fn inspect(&self, service: &str, template: &str) -> Result<String> {
        let container = Engine::ask(self.compose(&["ps", "--all", "--quiet", service]))?;
        ensure!(!container.is_empty(), "{service} has no container");
        Engine::ask(Engine::docker(&["inspect", "--format", template, &container]))
    }

    /// Waits until all health checks are passed.
    pub(crate) fn await_healthy(&self) -> Result<()> {
        let mut states = Vec::new();
        let healthy = await_that(|| {
            states = SERVICES
                .iter()
                .map(|service| {
                    let health = self.inspect(service, "{{.State.Health.Status}}");
                    (*service, health.unwrap_or_else(|error| error.to_string()))
                })
                .collect();
            states.iter().all(|(_, health)| health == "healthy")
        })?;
        ensure!(healthy, "not healthy after {} s: {states:?}", PATIENCE.as_secs());
        Ok(())
    }

    /// What the containers have said, for whoever looks into a failure.
    pub(crate) fn keep_logs(&self, instance: &Instance) {
        let path = instance.log("compose-containers");
        let kept = Engine::ask(self.compose(&["--profile", "flights", "logs", "--no-color", "--timestamps"]))
            .and_then(|logs| fs::write(&path, logs).with_context(|| format!("cannot write {}", path.display())));
        match kept {
            Ok(()) => say::note(&format!("What the containers said is in {}", path.display())),
            Err(error) => say::note(&format!("What the containers said could not be kept: {error}")),
        }
    }
}

/// Whether it came true within `PATIENCE`; an error if Ctrl-C came first.
pub(crate) fn await_that(mut is_true: impl FnMut() -> bool) -> Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        if Instant::now() > deadline {
            return Ok(false);
        }
        interrupt::pause()?;
    }
    Ok(true)
}

/// What is left of the project: containers, volumes, networks.
pub(crate) fn remains() -> Result<Vec<String>> {
    let label = format!("label=com.docker.compose.project={PROJECT}");
    let mut left = Vec::new();
    for (what, arguments) in [
        ("container", ["ps", "--all", "--format", "{{.Names}}"].as_slice()),
        ("volume", &["volume", "ls", "--format", "{{.Name}}"]),
        ("network", &["network", "ls", "--format", "{{.Name}}"]),
    ] {
        let names = Engine::list(&[arguments, &["--filter", &label]].concat())?;
        left.extend(names.iter().map(|name| format!("{what} {name}")));
    }
    Ok(left)
}

/// A stack of that name that is not of this folder is another run's.
pub(crate) fn refuse_another() -> Result<()> {
    let left = remains()?;
    if !left.is_empty() {
        bail!(
            "`test --compose` runs in another folder, or was killed there and `cargo xtask down` not said: {}",
            left.join(", ")
        );
    }
    Ok(())
}

pub(crate) fn may_be_up() -> bool {
    override_path().exists()
}

/// Takes it down with its data and its images, if this folder has started it.
pub(crate) fn clear(engine: &Engine) -> Result<Vec<String>> {
    if !may_be_up() {
        return Ok(Vec::new());
    }
    let mut removed = remains()?;
    let mut down = engine.compose(&["--profile", "flights", "down", "--volumes", "--remove-orphans"]);
    set(&mut down, &settings());
    Engine::ask(down)?;
    let name = format!("reference={PROJECT}");
    let images = Engine::list(&["image", "ls", "--filter", &name, "--format", "{{.Repository}}:{{.Tag}}"])?;
    for image in images {
        Engine::ask(Engine::docker(&["image", "rm", &image]))?;
        removed.push(format!("image {image}"));
    }
    let labelled = format!("label={PROJECT}");
    Engine::ask(Engine::docker(&["image", "prune", "--force", "--filter", &labelled]))?;
    let path = override_path();
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    Ok(removed)
}

/// Compose reads these instead of what the user has set for another stack. They win over a file `.env`, too.
fn settings() -> Vec<(&'static str, String)> {
    let file = |path: PathBuf| path.to_string_lossy().into_owned();
    let files = [folder::workspace().join("docker-compose.yml"), override_path()].map(file);
    vec![
        ("COMPOSE_PROJECT_NAME", PROJECT.to_owned()),
        ("COMPOSE_FILE", files.join(":")),
        ("COMPOSE_PATH_SEPARATOR", ":".to_owned()),
        ("COMPOSE_PROFILES", String::new()),
        ("POSTGRES_PASSWORD", "of-the-test".to_owned()),
    ]
}

fn set(command: &mut Command, environment: &[(&'static str, String)]) {
    command.envs(environment.iter().map(|(name, value)| (*name, value)));
}

fn override_path() -> PathBuf {
    folder::larder().join("compose/override.yml")
}

/// Names of the test's own for the images, and a build that is sooner done.
fn write_override(edition: Edition) -> Result<()> {
    let edition = match edition {
        Edition::First => 1,
        Edition::Second => 2,
    };
    let mut text = "services:\n".to_owned();
    for (service, image) in BUILT {
        text.push_str(&format!(
            "  {service}:\n    image: {image}\n    build:\n      args: {{PROFILE: dev}}\n      labels: {{{PROJECT}: \"{edition}\"}}\n"
        ));
    }
    home()?;
    let path = override_path();
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
