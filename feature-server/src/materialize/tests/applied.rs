//! Who may write while definitions change: only who has the applied ones, whatever kind of run it is.

use std::sync::Arc;

use super::midway::{End, end_midway};
use crate::Mode::{Full, Incremental, Replace};
use crate::applied::NotApplied;
use crate::materialize::{Backfill, RunError};
use crate::shard::Shard;
use crate::testing::{CREATED, Ground, arrivals_toml, at};
use crate::{App, Mode, Progress, RunRequest};

/// The same views, of which `newest` is computed otherwise.
fn other_toml() -> String {
    arrivals_toml(CREATED).replace(
        "features = [{ name = \"delay\", type = \"float64\" }]",
        "features = [{ name = \"delay\", type = \"float64\", column = \"later\" }]",
    )
}

/// Without the view `newest`.
fn without_toml() -> String {
    let toml = arrivals_toml(CREATED);
    let (from, to) = (
        toml.find("[[feature_view]]\nname = \"newest\"").unwrap(),
        toml.find("[[feature_service]]").unwrap(),
    );
    format!("{}{}", &toml[..from], &toml[to..]).replace("{ feature = \"newest:delay\", default = -1.0 },", "")
}

async fn ground() -> Ground {
    let mut ground = Ground::arrivals().await;
    ground
        .sql("ALTER TABLE arrivals ADD later float8 GENERATED ALWAYS AS (delay + 1000) STORED")
        .await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    ground
}

/// Why every kind of run of the view is refused, of which nothing remains.
async fn refused(ground: &Ground, app: &App) -> NotApplied {
    let runs = async || ground.app.store().runs(None, 99).await.unwrap().len();
    let view = "newest".parse().unwrap();
    let (before, marker) = (runs().await, ground.app.writer().marker(&view).await.unwrap());
    ground.clock.set(at("12:30"));
    let request = |mode: Mode| RunRequest::new(mode);
    let mut refusals = Vec::new();
    for request in [
        request(Full),
        request(Incremental),
        request(Replace),
        RunRequest {
            resume: true,
            ..request(Incremental)
        },
        RunRequest {
            shard: Shard::new(1, 2).unwrap(),
            ..request(Full)
        },
        RunRequest {
            as_of: Some(at("12:20")),
            ..request(Full)
        },
    ] {
        let run = app.materialize("newest", &request, &Progress::hidden()).await;
        refusals.push(run.unwrap_err());
    }
    let backfill = Backfill {
        start: at("10:00"),
        end: at("12:00"),
        every: "1h".parse().unwrap(),
        all_steps: false,
        shard: Shard::WHOLE,
        resume: false,
    };
    let run = app.backfill("newest", &backfill, &Progress::hidden()).await;
    refusals.push(run.unwrap_err());
    assert_eq!(runs().await, before, "a refusal is no run");
    assert_eq!(ground.app.writer().marker(&view).await.unwrap(), marker);
    let refusals: Vec<NotApplied> = refusals
        .into_iter()
        .map(|error| match error {
            RunError::NotApplied(refusal) => refusal,
            other => panic!("{other}"),
        })
        .collect();
    assert!(refusals.windows(2).all(|two| two[0] == two[1]), "{refusals:?}");
    refusals[0].clone()
}

#[tokio::test]
async fn who_has_not_the_applied_definition_writes_nothing() {
    let mut ground = ground().await;
    let old = Arc::clone(&ground.app);
    ground.redefine(&other_toml());
    let new = Arc::clone(&ground.app);
    // Nothing was applied: anybody writes.
    ground.run("newest", Incremental, "12:00").await;
    assert_eq!(ground.values("newest", "UA", "12:00").await.as_deref(), Some("1010.0"));

    old.apply(None).await.unwrap();
    let never = refused(&ground, &new).await;
    assert!(
        matches!(&never, NotApplied::Never { view, .. } if view.as_str() == "newest"),
        "{never}"
    );
    assert!(never.to_string().contains("feature-server apply"), "{never}");
    let run = new
        .materialize("ops", &RunRequest::new(Full), &Progress::hidden())
        .await;
    assert!(run.is_ok(), "of a view that is the same in both");

    new.apply(None).await.unwrap();
    let older = refused(&ground, &old).await;
    let NotApplied::Older { since, applied, .. } = &older else {
        panic!("{older}")
    };
    assert!(since < applied, "{older}");
    ground.run("newest", Incremental, "12:40").await;

    ground.redefine(&without_toml());
    ground.app.apply(None).await.unwrap();
    for app in [&old, &new] {
        let retired = refused(&ground, app).await;
        assert!(matches!(retired, NotApplied::Retired { .. }), "{retired}");
    }

    // To go back is to apply again.
    old.apply(None).await.unwrap();
    let older = refused(&ground, &new).await;
    assert!(matches!(older, NotApplied::Older { .. }), "{older}");
    ground.redefine(&arrivals_toml(CREATED));
    let run = ground.run("newest", Incremental, "12:50").await;
    assert!(run.forced_full.unwrap().contains("definition has changed"));
    assert_eq!(ground.values("newest", "UA", "12:50").await.as_deref(), Some("10.0"));
}

#[tokio::test]
async fn an_interrupted_run_is_not_gone_on_with_by_an_older_definition() {
    let mut ground = ground().await;
    let many = "INSERT INTO arrivals SELECT 'c' || i, '2013-11-05 11:00+00', '2013-11-05 11:00+00', i FROM generate_series(1, 12000) AS i";
    ground.sql(many).await;
    ground.app.apply(None).await.unwrap();
    let interrupted = end_midway(&mut ground, ("newest", End::Crash), RunRequest::new(Full)).await;
    let old = Arc::clone(&ground.app);
    ground.redefine(&other_toml());
    ground.app.apply(None).await.unwrap();
    let older = refused(&ground, &old).await;
    assert!(matches!(older, NotApplied::Older { .. }), "{older}");
    let run = ground.run("newest", Incremental, "12:40").await;
    assert!(run.run != interrupted.id && run.forced_full.is_some());
    assert_eq!(ground.values("newest", "c7", "12:40").await.as_deref(), Some("1007.0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_under_way_when_others_are_applied_is_finished_and_not_built_upon() {
    let through = |toml: String| toml.replace("table = \"arrivals\"", "table = \"gated\"");
    for mode in [Full, Incremental] {
        let mut ground = ground().await;
        let gated = "CREATE VIEW gated AS
            SELECT carrier, event, created, delay, later FROM arrivals, (SELECT pg_advisory_lock_shared(42), pg_advisory_unlock_shared(42)) AS gate";
        ground.sql(gated).await;
        ground.redefine(&through(arrivals_toml(CREATED)));
        ground.app.apply(None).await.unwrap();
        ground.run("newest", Incremental, "12:00").await;
        ground.sql("SELECT pg_advisory_lock(42)").await;
        ground.clock.set(at("12:10"));
        let app = Arc::clone(&ground.app);
        let run = tokio::spawn(async move {
            app.materialize("newest", &RunRequest::new(mode), &Progress::hidden())
                .await
        });
        super::midway::until_outcome(&ground, "newest", "running").await;
        ground.redefine(&through(other_toml()));
        ground.app.apply(None).await.unwrap();
        ground.sql("SELECT pg_advisory_unlock(42)").await;
        run.await.unwrap().unwrap();
        let row = ground.values("newest", "UA", "12:10").await;
        assert_eq!(row.as_deref(), Some("10.0"), "the old value until the full run");
        let run = ground.run("newest", Incremental, "12:20").await;
        assert!(run.forced_full.unwrap().contains("definition has changed"));
        assert_eq!(ground.values("newest", "UA", "12:20").await.as_deref(), Some("1010.0"));
    }
}

#[tokio::test]
async fn features_in_another_order_are_the_same_definition() {
    let mut ground = ground().await;
    let declared = "features = [{ name = \"delay\", type = \"float64\" }]";
    let both = |features: &str| arrivals_toml(CREATED).replace(declared, &format!("features = [{features}]"));
    let (delay, later) = (
        "{ name = \"delay\", type = \"float64\" }",
        "{ name = \"later\", type = \"float64\" }",
    );
    ground.redefine(&both(&format!("{delay}, {later}")));
    ground.app.apply(None).await.unwrap();
    ground.arrival("AA", "11:30", "11:30", "20").await;
    ground.run("newest", Incremental, "12:00").await;
    ground.arrival("UA", "12:01", "12:01", "11").await;
    let reordered = both(&format!("{later}, {delay}"));
    ground.redefine(&reordered);
    let run = ground.run("newest", Incremental, "12:10").await;
    assert_eq!((run.forced_full, run.counts.written), (None, 1));
    assert_eq!(
        ground.values("newest", "UA", "12:10").await.as_deref(),
        Some("1011.0 11.0")
    );
    assert_eq!(
        ground.values("newest", "AA", "12:10").await.as_deref(),
        Some("1020.0 20.0")
    );
}

#[tokio::test]
async fn a_run_is_gone_on_with_by_another_order_of_the_features() {
    let mut ground = ground().await;
    let many = "INSERT INTO arrivals SELECT 'c' || i, '2013-11-05 11:00+00', '2013-11-05 11:00+00', i FROM generate_series(1, 12000) AS i";
    ground.sql(many).await;
    let declared = "features = [{ name = \"delay\", type = \"float64\" }]";
    let both = |features: &str| arrivals_toml(CREATED).replace(declared, &format!("features = [{features}]"));
    let (delay, later) = (
        "{ name = \"delay\", type = \"float64\" }",
        "{ name = \"later\", type = \"float64\" }",
    );
    ground.redefine(&both(&format!("{delay}, {later}")));
    let interrupted = end_midway(&mut ground, ("newest", End::Crash), RunRequest::new(Full)).await;
    ground.redefine(&both(&format!("{later}, {delay}")));
    let resume = RunRequest {
        resume: true,
        ..RunRequest::new(Full)
    };
    let run = super::midway::ask(&ground, "newest", resume, "12:10").await.unwrap();
    assert_eq!(run.run, interrupted.id);
    for carrier in ["c1", "c6000", "c9999", "UA"] {
        let values = ground.values("newest", carrier, "12:10").await.unwrap();
        let (later, delay) = values.split_once(' ').unwrap();
        let of = |text: &str| text.parse::<f64>().unwrap();
        assert!((of(later) - of(delay) - 1000.0).abs() < 1e-9, "{carrier} {values}");
    }
}
