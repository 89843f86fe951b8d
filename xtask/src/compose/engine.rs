//! The Docker engine and its Compose, as they are found here.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{folder, instance};

pub(crate) struct Engine {
    /// `docker compose`, or `docker-compose` where the plugin is missing.
    compose: &'static [&'static str],
}

impl Engine {
    /// # Errors
    /// What is missing, and where it comes from.
    pub(crate) fn find() -> Result<Self> {
        let Ok(asked) = command(&["docker", "version", "--format", "{{.Server.Version}}"]).output() else {
            bail!(
                "`test --compose` needs Docker, and there is no `docker` in PATH. \
                 Debian and Ubuntu have it in the packages docker.io and docker-compose."
            );
        };
        if !asked.status.success() {
            bail!(
                "`test --compose` needs a Docker engine, and none answers `docker version`: {}\n\
                 Does it run, and may this user use it (as a member of the group `docker`)?",
                String::from_utf8_lossy(&asked.stderr).trim()
            );
        }
        for compose in [["docker", "compose"].as_slice(), &["docker-compose"]] {
            let found = command(&[compose, &["version"]].concat()).output();
            if found.is_ok_and(|output| output.status.success()) {
                return Ok(Self { compose });
            }
        }
        bail!(
            "`test --compose` needs Docker Compose, and neither `docker compose` nor `docker-compose` (1.29 or newer) is here. \
             It is in the package docker-compose-plugin, docker-compose-v2 or docker-compose, as the distribution has it."
        );
    }

    /// `docker` with these arguments.
    pub(crate) fn docker(arguments: &[&str]) -> Command {
        command(&[&["docker"], arguments].concat())
    }

    /// Compose with these arguments.
    pub(crate) fn compose(&self, arguments: &[&str]) -> Command {
        command(&[self.compose, arguments].concat())
    }

    /// What a short command prints. Ctrl-C does not reach it: it is for looking and cleaning up.
    pub(crate) fn ask(mut command: Command) -> Result<String> {
        let described = instance::described(&command);
        let output = command
            .stdin(Stdio::null())
            .process_group(0)
            .output()
            .with_context(|| format!("cannot run {described}"))?;
        if !output.status.success() {
            bail!("{described} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The lines that `docker` prints.
    pub(crate) fn list(arguments: &[&str]) -> Result<Vec<String>> {
        let listed = Self::ask(Self::docker(arguments))?;
        Ok(listed.lines().map(str::to_owned).collect())
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(folder::workspace());
    command
}
