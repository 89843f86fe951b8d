//! What is done to the stack, and what must come of it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{
    freshness::Runs,
    stack::{self, SERVICES, Stack},
    traffic::{Tally, Traffic},
};
use crate::{instance::Instance, say};

/// As README.md has them.
const UP: &str = "up --detach";
const LOAD: &str = "run --rm flights begin";
const LOOK: &str = "restart feature-server";
const DOWN: &str = "down";
/// As docs/operations.md has them.
const FEED: &str = "up --detach flights";
const FEED_NO_MORE: &str = "rm --stop --force flights";
const STATUS: &str = "exec feature-server feature-server status";
const UPGRADE: &str = "up --detach --build";
const BACKUP: &str = "exec -T postgres pg_dump --username=larder --format=custom larder";

const PREDICT: &str = "/v1/models/flight_delay:predict";
/// The image's user.
const USER: &str = "10001";

pub(crate) fn tell(instance: &mut Instance, stack: &Stack) -> Result<()> {
    say::step(
        "Building the images, with Cargo's profile `dev`: sooner done than the `release` that they have by default",
    );
    stack.build(instance)?;
    say::step("Starting on empty volumes");
    run(instance, stack, UP)?;
    stack.await_healthy()?;
    say::note(&format!("All are healthy: {}.", SERVICES.join(", ")));
    check_containers(stack)?;

    say::step("Loading the flights, and asking for a prediction");
    say::note(run(instance, stack, LOAD)?.trim_end());
    run(instance, stack, LOOK)?;
    let printed = run(instance, stack, "run --rm flights instance")?;
    let flight: Value = serde_json::from_str(&printed).context("`flights instance` printed no JSON")?;
    let body = json!({"instances": [flight]});
    let answer = await_fresh(stack, &body)?;
    say::note(&format!("From the host: {}", answer["predictions"][0]));
    ask_from_container(instance, stack, &body)?;
    let before = Runs::await_full(stack)?;
    use_by_hand(instance, stack)?;

    restart_redis(instance, stack, &body)?;
    before.check_none_is_lost(stack)?;
    restart_postgres(instance, stack, &body)?;
    before.check_none_is_lost(stack)?;
    upgrade(instance, stack, &body)?;
    before.check_none_is_lost(stack)?;
    replace_stores(instance, stack, &body)?;
    before.check_none_is_lost(stack)?;
    take_down(instance, stack)
}

fn run(instance: &mut Instance, stack: &Stack, line: &str) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    stack.run(instance, &words)
}

/// What the file promises of them: the schema is there, nobody is root, and the host's loopback is the only way in.
fn check_containers(stack: &Stack) -> Result<()> {
    let migrated = stack.inspect("migrate", "{{.State.Status}} {{.State.ExitCode}}")?;
    ensure!(migrated == "exited 0", "migrate has not ended well: {migrated}");
    for service in ["migrate", "feature-server", "predictor"] {
        let user = stack.inspect(service, "{{.Config.User}}")?;
        ensure!(user.starts_with(USER), "{service} runs as {user:?}");
    }
    for service in SERVICES {
        let addresses = stack.inspect(
            service,
            "{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}",
        )?;
        let expected = if ["feature-server", "predictor"].contains(&service) {
            "127.0.0.1"
        } else {
            ""
        };
        ensure!(addresses.trim() == expected, "{service} is published at {addresses:?}");
    }
    say::note("The servers run without root, published on 127.0.0.1; the stores are not published.");
    Ok(())
}

/// Asks until every view has a value that is not too old, and nothing is degraded.
fn await_fresh(stack: &Stack, body: &Value) -> Result<Value> {
    let mut last = String::new();
    let mut fresh = None;
    stack::await_that(|| {
        match stack.predictor.post(PREDICT, body) {
            Ok(answer) if is_fresh(&answer) => fresh = Some(answer),
            Ok(answer) => last = answer.to_string(),
            Err(error) => last = error.to_string(),
        }
        fresh.is_some()
    })?;
    fresh.with_context(|| format!("no prediction from fresh features; the last answer: {last}"))
}

fn is_fresh(answer: &Value) -> bool {
    let row = &answer["rows"][0];
    let present = |view: &Value| view["status"] == "PRESENT";
    row["degraded"] == json!([])
        && row["features"]
            .as_object()
            .is_some_and(|views| views.values().all(present))
        && answer["predictions"][0]["late_probability"].is_f64()
}

/// By the service's name, as an application beside it would.
fn ask_from_container(instance: &mut Instance, stack: &Stack, body: &Value) -> Result<()> {
    let (url, body) = (format!("http://predictor:8080{PREDICT}"), body.to_string());
    let curl = [
        "curl",
        "--fail-with-body",
        "--silent",
        "--show-error",
        "--data",
        &body,
        &url,
    ];
    let printed = stack.run(
        instance,
        &[&["run", "--rm", "--no-deps", "feature-server"], &curl[..]].concat(),
    )?;
    let answer: Value = serde_json::from_str(&printed).context("the predictor answered another container no JSON")?;
    ensure!(is_fresh(&answer), "another container was answered {answer}");
    say::note(&format!("From another container: {}", answer["predictions"][0]));
    Ok(())
}

fn use_by_hand(instance: &mut Instance, stack: &Stack) -> Result<()> {
    say::step("The example's feed, and what an operator types");
    run(instance, stack, FEED)?;
    let feeds = |said: String| said.contains("feeding later events");
    let fed = stack::await_that(|| stack.said("flights").is_ok_and(feeds))?;
    ensure!(fed, "the flights are not fed: {}", stack.said("flights")?);
    run(instance, stack, FEED_NO_MORE)?;
    let status = run(instance, stack, STATUS)?;
    ensure!(
        status.contains("carrier_ops"),
        "status does not tell of the views: {status}"
    );
    let dump = run(instance, stack, BACKUP)?;
    ensure!(dump.starts_with("PGDMP"), "the backup is no dump of Postgres'");
    Ok(())
}

fn restart_redis(instance: &mut Instance, stack: &Stack, body: &Value) -> Result<()> {
    say::step("Restarting Redis under requests");
    let traffic = Traffic::start(&stack.predictor, PREDICT, body.clone());
    run(instance, stack, "restart redis")?;
    await_fresh(stack, body)?;
    stack.await_healthy()?;
    let tally = traffic.end()?;
    check_all_answered(&tally)?;
    say::note(&format!("{tally}"));
    Ok(())
}

fn restart_postgres(instance: &mut Instance, stack: &Stack, body: &Value) -> Result<()> {
    say::step("Restarting Postgres under requests");
    let traffic = Traffic::start(&stack.predictor, PREDICT, body.clone());
    run(instance, stack, "restart postgres")?;
    stack.await_healthy()?;
    Runs::await_another(stack)?;
    let tally = traffic.end()?;
    check_all_answered(&tally)?;
    ensure!(tally.degraded == 0, "predictions do not need Postgres: {tally}");
    say::note(&format!("{tally}"));
    Ok(())
}

fn check_all_answered(tally: &Tally) -> Result<()> {
    ensure!(tally.answered > 0, "nothing was asked");
    ensure!(
        tally.unreached == 0 && tally.refused.is_empty(),
        "requests failed: {tally} {:?}",
        tally.refused
    );
    Ok(())
}

/// There is one predictor: while its container is replaced nobody answers, but none of its answers may be an error.
fn upgrade(instance: &mut Instance, stack: &Stack, body: &Value) -> Result<()> {
    say::step("Upgrading the images in place");
    let images = |stack: &Stack| -> Result<Vec<String>> {
        let built = ["migrate", "feature-server", "predictor"];
        built
            .iter()
            .map(|service| stack.inspect(service, "{{.Image}}"))
            .collect()
    };
    let before = images(stack)?;
    Stack::change_images()?;
    let traffic = Traffic::start(&stack.predictor, PREDICT, body.clone());
    run(instance, stack, UPGRADE)?;
    stack.await_healthy()?;
    await_fresh(stack, body)?;
    Runs::await_another(stack)?;
    let tally = traffic.end()?;
    let after = images(stack)?;
    ensure!(
        before.iter().zip(&after).all(|(before, after)| before != after),
        "the images were {before:?}, and are {after:?}"
    );
    ensure!(tally.refused.is_empty(), "requests were refused: {:?}", tally.refused);
    say::note(&format!("{tally}"));
    check_containers(stack)
}

/// New containers on the same volumes, as when Postgres' or Redis' tag is changed to one of a newer patch.
fn replace_stores(instance: &mut Instance, stack: &Stack, body: &Value) -> Result<()> {
    say::step("Replacing the stores' containers under requests");
    let traffic = Traffic::start(&stack.predictor, PREDICT, body.clone());
    run(instance, stack, "up --detach --force-recreate --no-deps postgres redis")?;
    stack.await_healthy()?;
    await_fresh(stack, body)?;
    Runs::await_another(stack)?;
    let tally = traffic.end()?;
    check_all_answered(&tally)?;
    say::note(&format!("{tally}"));
    Ok(())
}

fn take_down(instance: &mut Instance, stack: &Stack) -> Result<()> {
    say::step("Taking it down");
    run(instance, stack, DOWN)?;
    let left = stack::remains()?;
    ensure!(
        left.len() == 2 && left.iter().all(|left| left.starts_with("volume ")),
        "after `down`, only the two volumes should be left: {left:?}"
    );
    run(instance, stack, "down --volumes")?;
    let left = stack::remains()?;
    ensure!(
        left.is_empty(),
        "after `down --volumes`, nothing should be left: {left:?}"
    );
    say::note("`down` left the data, `down --volumes` nothing.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::folder;

    /// The lines of a page that begin with `docker compose`, without it, comments and where the output goes.
    fn commands(page: &str) -> Vec<String> {
        let text = fs::read_to_string(folder::workspace().join(page)).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("docker compose "));
        lines
            .map(|line| line.split(['#', '>']).next().unwrap().trim().to_owned())
            .collect()
    }

    #[test]
    fn what_the_pages_say_to_type_is_tested() {
        assert_eq!(commands("README.md"), [UP, LOAD, LOOK, DOWN]);
        let in_containers = [FEED, FEED_NO_MORE, STATUS, UPGRADE, BACKUP];
        assert_eq!(commands("docs/operations.md"), in_containers);
    }
}
