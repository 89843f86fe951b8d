//! Histories in which a run ends in the middle: another process goes on after its checkpoint, or begins anew where it must.

use super::midway::{ENTITIES, End, ask, end_midway};
use crate::Mode::{Full, Incremental};
use crate::materialize::RunOutcome;
use crate::store::RunRecord;
use crate::testing::{ARRIVALS, CREATED, Ground, arrivals_toml, at, content};
use crate::{Mode, RunRequest, RunSummary};

const fn resume(mode: Mode) -> RunRequest {
    RunRequest {
        resume: true,
        ..RunRequest::new(mode)
    }
}

/// Many carriers with an arrival each.
async fn many() -> Ground {
    let mut ground = Ground::arrivals().await;
    arrive(&mut ground, "11:00").await;
    ground
}

/// Every one of many carriers arrives.
async fn arrive(ground: &mut Ground, time: &str) {
    ground
        .sql(&format!(
            "INSERT INTO arrivals
             SELECT 'c' || i, at + i * interval '1 millisecond', at + i * interval '1 millisecond', i
             FROM generate_series(1, {ENTITIES}) AS i, (VALUES ('2013-11-05 {time}+00'::timestamptz)) AS moment (at)"
        ))
        .await;
}

/// That a run went on with another, read only what was left, and counts each entity once.
fn assert_went_on(run: &RunSummary, ended: &RunRecord) {
    assert_eq!((run.run, &run.outcome), (ended.id, &RunOutcome::Done));
    let written = ended.rows_written.unsigned_abs();
    assert!(written > 0 && written < ENTITIES, "{written}");
    assert_eq!(run.counts.read, ended.rows_read.unsigned_abs() + ENTITIES - written);
    assert_eq!((run.counts.written, run.counts.older), (ENTITIES, 0));
}

#[tokio::test]
async fn a_run_that_died_goes_on_after_its_checkpoint() {
    for (view, mode, end) in [
        ("newest", Full, End::Crash),
        ("ops", Full, End::RedisAway),
        ("newest", Incremental, End::RedisAway),
        ("ops", Incremental, End::Crash),
    ] {
        let (mut ground, mut undisturbed) = (many().await, many().await);
        for ground in [&mut ground, &mut undisturbed] {
            ground.run(view, Full, "12:00").await;
            arrive(ground, "12:05").await;
        }
        undisturbed.run(view, mode, "12:10").await;
        ground.clock.set(at("12:10"));
        let ended = end_midway(&mut ground, (view, end), RunRequest::new(mode)).await;
        let run = ask(&ground, view, resume(Incremental), "12:20").await.unwrap();
        assert_went_on(&run, &ended);
        assert_eq!((run.as_of, run.kind.name()), (at("12:10"), ended.kind.as_str()));
        assert!(
            content(&ground, view).await == content(&undisturbed, view).await,
            "{view}"
        );
        let status = ground.app.status().await.unwrap();
        let status = status.iter().find(|status| status.view.as_str() == view).unwrap();
        assert_eq!(
            (status.freshness.watermark, status.problem.as_deref()),
            (Some(at("12:10")), None)
        );
        let next = ground.run(view, Incremental, "12:30").await;
        assert_eq!((next.forced_full, next.as_of), (None, at("12:30")), "{view}");
    }
}

#[tokio::test]
async fn a_first_run_that_died_twice_is_full_still() {
    let (mut ground, undisturbed) = (many().await, many().await);
    undisturbed.run("ops", Incremental, "12:00").await;
    let first = end_midway(&mut ground, ("ops", End::Crash), RunRequest::new(Incremental)).await;
    ground.clock.set(at("12:10"));
    let second = end_midway(&mut ground, ("ops", End::Crash), resume(Incremental)).await;
    assert_eq!(second.id, first.id);
    assert!(second.rows_written > first.rows_written);
    let run = ask(&ground, "ops", resume(Incremental), "12:20").await.unwrap();
    assert_went_on(&run, &second);
    assert!(run.forced_full.unwrap().contains("first run"));
    assert!(content(&ground, "ops").await == content(&undisturbed, "ops").await);
}

#[tokio::test]
async fn keys_of_every_spelling_are_gone_on_after() {
    let toml = r#"
[[entity]]
name = "thing"
join_keys = [{ name = "name", type = "string" }, { name = "id", type = "int64" }]
[[entity]]
name = "number"
join_keys = [{ name = "id", type = "int64" }]
[[source]]
name = "things"
table = "things"
event_timestamp = "event"
[[feature_view]]
name = "composite"
entity = "thing"
source = "things"
features = [{ name = "x", type = "int64" }]
[[feature_view]]
name = "numbers"
entity = "number"
source = "things"
aggregate = [{ name = "x", function = "sum", column = "x", type = "int64", windows = ["1d"] }]
"#;
    // A name of each spelling ends many a batch, for there are few of them and they sort by bytes.
    let tables = format!(
        "CREATE TABLE things (name text, id int8, event timestamptz, x int4);
         INSERT INTO things
         SELECT (ARRAY['', '''', '\"', '\\', ',', '{{}}', 'NULL', E'\\n', ' ', 'a', 'B', 'ä', '日本', '😀', '%', '\\x'])[i % 16 + 1],
                (i - {ENTITIES} / 2) * 768614336404564, '2013-11-05 11:00+00', i
         FROM generate_series(1, {ENTITIES}) AS i"
    );
    for view in ["composite", "numbers"] {
        let (mut ground, undisturbed) = (Ground::new(&tables, toml).await, Ground::new(&tables, toml).await);
        undisturbed.run(view, Full, "12:00").await;
        let ended = end_midway(&mut ground, (view, End::RedisAway), RunRequest::new(Full)).await;
        let run = ask(&ground, view, resume(Full), "12:10").await.unwrap();
        assert_went_on(&run, &ended);
        let whole = content(&undisturbed, view).await;
        assert_eq!(whole.len() as u64, ENTITIES);
        assert!(content(&ground, view).await == whole, "{view}");
        // From each entity, as if a run had ended after just this one.
        let after_each = "SELECT DISTINCT ON (name) name, id FROM things ORDER BY name, id DESC";
        let ends: Vec<(String, i64)> = sqlx::query_as(after_each).fetch_all(&mut ground.source).await.unwrap();
        for (name, id) in ends {
            let join_keys = match view {
                "composite" => vec![name, id.to_string()],
                _ => vec![id.to_string()],
            };
            reopen_at(&mut ground, &join_keys).await;
            let left = "SELECT count(*) FROM things WHERE ($1::text IS NULL OR name COLLATE \"C\" > $1 OR name = $1 AND id > $2) AND ($1 IS NOT NULL OR id > $2)";
            let name = (view == "composite").then(|| join_keys[0].clone());
            let left: i64 = sqlx::query_scalar(left)
                .bind(name)
                .bind(id)
                .fetch_one(&mut ground.source)
                .await
                .unwrap();
            let run = ask(&ground, view, resume(Full), "12:10").await.unwrap();
            assert_eq!(run.counts.read, left.unsigned_abs(), "{join_keys:?}");
        }
    }
}

/// Makes the only run one that ended after this entity, with no marker set.
async fn reopen_at(ground: &mut Ground, join_keys: &[String]) {
    let run: sqlx::types::Uuid = sqlx::query_scalar(
        "WITH run AS (UPDATE larder.materialization_runs SET outcome = 'failed' RETURNING id),
         left_off AS (UPDATE larder.run_shards SET outcome = 'failed', checkpoint = $1, rows_read = 0),
         forgotten AS (DELETE FROM larder.views)
         SELECT id FROM run",
    )
    .bind(join_keys)
    .fetch_one(&mut ground.source)
    .await
    .unwrap();
    let view = ground.app.definitions().views.iter();
    for view in view {
        ground.lose_marker(view.name.as_str()).await;
        let writer = ground.online().writer();
        writer.begin_run(&view.name, &run.to_string()).await.unwrap();
    }
}

#[tokio::test]
async fn a_moment_that_is_done_is_left_alone_and_another_is_not() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    let as_of = |time| RunRequest {
        as_of: Some(at(time)),
        ..resume(Full)
    };
    let done = ask(&ground, "newest", as_of("12:00"), "12:00").await.unwrap();
    assert_eq!(done.outcome, RunOutcome::Done, "there is nothing to go on with");
    ground.arrival("UA", "11:40", "11:40", "20").await;
    let again = ask(&ground, "newest", as_of("12:00"), "12:10").await.unwrap();
    let already = RunOutcome::AlreadyDone {
        waiting_for: Vec::new(),
    };
    assert_eq!((again.run, &again.outcome), (done.run, &already));
    assert_eq!(ground.values("newest", "UA", "12:10").await.as_deref(), Some("10.0"));
    assert_eq!(ground.app.store().runs(None, 9).await.unwrap().len(), 1);
    let later = ask(&ground, "newest", as_of("12:05"), "12:10").await.unwrap();
    assert_eq!(later.outcome, RunOutcome::Done);
    assert_eq!(ground.values("newest", "UA", "12:10").await.as_deref(), Some("20.0"));
    // An incremental run of that moment is another thing than the full one that is done.
    let other = RunRequest {
        mode: Incremental,
        ..as_of("12:05")
    };
    let other = ask(&ground, "newest", other, "12:10").await.unwrap();
    assert_eq!((other.outcome, other.forced_full), (RunOutcome::Done, None));
}

#[tokio::test]
async fn what_redis_has_lost_is_written_again() {
    for (view, loses_note) in [("newest", true), ("newest", false), ("ops", true)] {
        let mut ground = many().await;
        let ended = end_midway(&mut ground, (view, End::Crash), RunRequest::new(Full)).await;
        if loses_note {
            drop_values(&ground, view).await;
            ground.lose_marker(view).await;
        } else {
            // A server that was started from older data has another id.
            ground
                .sql("UPDATE larder.materialization_runs SET redis_process = reverse(redis_process)")
                .await;
        }
        let run = ask(&ground, view, resume(Full), "12:10").await.unwrap();
        assert_ne!(run.run, ended.id);
        assert_eq!((run.as_of, run.counts.read), (at("12:10"), ENTITIES));
        assert_eq!(content(&ground, view).await.len() as u64, ENTITIES);
    }
}

async fn drop_values(ground: &Ground, view: &str) {
    let view = ground.app.view(view).unwrap();
    let removed = ground.online().writer().sweep(&view.name, at("23:59")).await.unwrap();
    assert!(removed > 0);
}

#[tokio::test]
async fn a_run_that_set_its_marker_is_only_recorded() {
    for as_of in [None, Some(at("12:00"))] {
        let mut ground = Ground::arrivals().await;
        ground.arrival("UA", "11:30", "11:30", "10").await;
        ground
            .sql(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
                CREATE TRIGGER refuse BEFORE INSERT ON larder.views EXECUTE FUNCTION refuse()",
            )
            .await;
        let died = ground.try_run("newest", Full, "12:00").await.unwrap_err().to_string();
        assert!(died.contains("not now"), "{died}");
        ground.sql("DROP TRIGGER refuse ON larder.views").await;
        ground.arrival("UA", "11:40", "11:40", "20").await;
        let request = RunRequest { as_of, ..resume(Full) };
        let run = ask(&ground, "newest", request, "12:10").await.unwrap();
        let already = RunOutcome::AlreadyDone {
            waiting_for: Vec::new(),
        };
        assert_eq!((run.as_of, run.outcome), (at("12:00"), already));
        assert_eq!(ground.values("newest", "UA", "12:10").await.as_deref(), Some("10.0"));
        let status = ground.app.status().await.unwrap().remove(1);
        assert_eq!((status.freshness.watermark, status.problem), (Some(at("12:00")), None));
        assert_eq!(
            (status.freshness.entities, status.freshness.newest_row),
            (Some(1), Some(at("11:30")))
        );
        let next = ground.run("newest", Incremental, "12:20").await;
        assert_eq!(next.forced_full, None);
    }
}

#[tokio::test]
async fn a_run_that_another_has_followed_is_not_gone_on_with() {
    let mut ground = many().await;
    let ended = end_midway(&mut ground, ("newest", End::Crash), RunRequest::new(Full)).await;
    ground.run("newest", Full, "12:10").await;
    let run = ask(&ground, "newest", resume(Incremental), "12:20").await.unwrap();
    assert_ne!(run.run, ended.id);
    assert_eq!((run.as_of, run.forced_full, run.counts.read), (at("12:20"), None, 0));
    let runs = ground.app.store().runs(Some("newest"), 9).await.unwrap();
    let outcomes: Vec<&str> = runs.iter().map(|run| run.outcome.as_str()).collect();
    assert_eq!(outcomes, ["done", "done", "interrupted"]);
}

#[tokio::test]
async fn a_run_of_another_definition_or_moment_is_not_gone_on_with() {
    let mut ground = Ground::new(ARRIVALS, &arrivals_toml(CREATED)).await;
    arrive(&mut ground, "11:00").await;
    let ended = end_midway(&mut ground, ("ops", End::Crash), RunRequest::new(Full)).await;
    let other_moment = RunRequest {
        as_of: Some(at("12:05")),
        ..resume(Full)
    };
    let run = ask(&ground, "ops", other_moment, "12:10").await.unwrap();
    assert_ne!(run.run, ended.id);
    assert_eq!((run.as_of, run.counts.read), (at("12:05"), ENTITIES));

    ground.clock.set(at("12:20"));
    let ended = end_midway(&mut ground, ("ops", End::Crash), RunRequest::new(Full)).await;
    let toml = arrivals_toml(CREATED).replace("function = \"mean\"", "function = \"max\"");
    ground.redefine(&toml.replace(
        "column = \"delay\", windows",
        "column = \"delay\", type = \"float64\", windows",
    ));
    let run = ask(&ground, "ops", resume(Incremental), "12:30").await.unwrap();
    assert_ne!(run.run, ended.id);
    assert_eq!((run.as_of, run.counts.read), (at("12:30"), ENTITIES));
    assert!(run.forced_full.unwrap().contains("definition"));
}
