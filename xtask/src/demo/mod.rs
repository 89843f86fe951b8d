//! `cargo xtask demo`: from nothing to a prediction that changes because the world did, in one command.

mod build;
mod story;

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use self::build::Programs;
use crate::{
    client::Server,
    folder::{self, SetupLock},
    instance::{Instance, Output},
    interrupt,
    machine::{self, Need},
    postgres::{self, Durability, Postgres},
    process::StopBy,
    python,
    redis::Redis,
    say,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// End after the story, instead of staying up with live flights
    #[arg(long)]
    once: bool,
}

/// The demo's programs and where they find things.
pub(crate) struct Demo {
    instance: Instance,
    programs: Programs,
    /// Variables that all of the programs understand.
    environment: Vec<(&'static str, String)>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    say::title("Larder's demo: real flights out of New York, real features, real predictions.");
    say::title("The first start builds everything and takes minutes; later ones take seconds. Ctrl-C stops it.");
    let mut demo = Demo::set_up()?;
    demo.fill()?;
    say::step("Starting the predictor");
    let predictor = demo.start_server("predictor", 8080)?;
    let flight = story::tell(&mut demo, &predictor)?;
    if args.once {
        say::title("\nDone. Without --once, it stays up and goes on with live flights.");
        return Ok(());
    }
    demo.stay_up(&predictor, &flight)
}

impl Demo {
    fn set_up() -> Result<Self> {
        let mut instance = Instance::open("demo")?;
        let lock = SetupLock::take()?;
        machine::provide(&[Need::Postgres, Need::Redis, Need::Pip])?;
        drop(lock);
        let programs = Programs::build(&mut instance)?;
        let lock = SetupLock::take()?;
        let onnxruntime = python::onnxruntime(&mut instance)?;
        let flights = python::flights(&mut instance)?;
        drop(lock);

        say::step("Starting a private Postgres and Redis");
        let postgres = Postgres::start(&mut instance, Durability::Normal)?;
        let redis = Redis::start(&mut instance)?;
        postgres.recreate(&mut instance, "larder")?;
        say::note(&postgres::describe(&postgres, &instance));
        say::note(&format!("Redis on 127.0.0.1:{}, in memory only", redis.port()));
        let example = folder::workspace().join("examples/flights");
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let environment = vec![
            ("DATABASE_URL", postgres.url("larder")),
            ("REDIS_URL", redis.url()),
            ("LARDER_FEATURES", text(example.join("features"))),
            ("LARDER_MODELS", text(example.join("models"))),
            ("LARDER_ONNXRUNTIME", text(onnxruntime)),
            ("LARDER_FLIGHTS_DATA", text(flights)),
        ];
        let demo = Self {
            instance,
            programs,
            environment,
        };
        demo.write_environment()?;
        Ok(demo)
    }

    /// Flights in Postgres, features in Redis.
    fn fill(&mut self) -> Result<()> {
        say::step("Loading flights up to an hour ago into Postgres");
        let loaded = self.run_program("flights", &["begin"])?;
        say::note(&loaded);
        say::step("Checking the feature definitions, and creating Larder's own tables");
        let checked = self.run_program("feature-server", &["check", "--database"])?;
        say::note(checked.lines().last().unwrap_or_default());
        say::note(&self.run_program("feature-server", &["migrate"])?);
        say::step("Materializing: Postgres computes the features, Redis serves them");
        say::note(&self.run_program("feature-server", &["materialize", "--as-of", "-1h"])?);
        Ok(())
    }

    fn stay_up(mut self, predictor: &Server, flight: &story::Flight) -> Result<()> {
        say::step("Going live: features are refreshed every minute, flights happen at their own time");
        let server = self.start_server("feature-server", 8090)?;
        self.start_program("flights", "flights-feed", &["feed"])?;
        say::note(&story::to_try(predictor, &server, flight));
        say::note(&format!(
            "\nThe command lines work too, in a shell that has read its settings:\n\n    . {}\n    feature-server status",
            self.environment_file().display()
        ));
        say::title("\nReady. Ctrl-C stops everything that was started here.");
        loop {
            for name in ["postgres", "redis", "predictor", "feature-server", "flights-feed"] {
                self.instance.check_running(name)?;
            }
            if interrupt::pause().is_err() {
                say::title("\nStopping.");
                return Ok(());
            }
        }
    }

    fn start_server(&mut self, program: &str, preferred_port: u16) -> Result<Server> {
        let port = self.instance.port(program, Some(preferred_port))?;
        let listen = format!("127.0.0.1:{port}");
        let mut arguments = vec!["serve", "--listen", &listen];
        if program == "predictor" {
            // Its port may be taken, and nothing here asks it.
            arguments.extend(["--grpc-listen", "off"]);
        }
        self.start_program(program, program, &arguments)?;
        let server = Server::at(port);
        self.instance.await_ready(program, || server.is_ready())?;
        say::note(&format!("{program} on {}", server.url("")));
        Ok(server)
    }

    fn start_program(&mut self, program: &str, name: &str, arguments: &[&str]) -> Result<()> {
        let command = self.command(program, arguments);
        self.instance.start(name, command, StopBy::Terminate)
    }

    /// Runs one of our programs and returns what it printed, without the last line's end.
    pub(crate) fn run_program(&mut self, program: &str, arguments: &[&str]) -> Result<String> {
        let command = self.command(program, arguments);
        let words: Vec<&str> = [program].iter().chain(arguments).copied().collect();
        let finished = self.instance.run(&words[..2].join("-"), command, Output::Log)?;
        Ok(finished
            .success(&format!("`{}`", words.join(" ")))?
            .trim_end()
            .to_owned())
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.programs.path(program));
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (*name, value)));
        command
    }

    fn environment_file(&self) -> PathBuf {
        self.instance.dir().join("env")
    }

    /// For shells, so that a visitor can try the command lines. It holds passwords: for its owner only.
    fn write_environment(&self) -> Result<()> {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
        let mut text = String::new();
        for (name, value) in &self.environment {
            text.push_str(&format!("export {name}={}\n", quoted(value)));
        }
        text.push_str(&format!(
            "export PATH={}:\"$PATH\"\n",
            quoted(&self.programs.folder().to_string_lossy())
        ));
        let path = self.environment_file();
        let written = fs::write(&path, "")
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
            .and_then(|()| fs::write(&path, text));
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}
