//! What plan says of each kind of change, and what apply records.

mod changes;

use std::sync::Arc;

use feature_defs::definitions;

use super::describe::Described;
use super::plan::{Changed, Plan, Thing};
use super::{MayNotWrite, NotApplied};
use crate::Mode::Incremental;
use crate::testing::{CREATED, Ground, arrivals_toml};
use crate::{App, Time};

/// How often something was applied.
async fn recorded(ground: &mut Ground) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM larder.applied_definitions")
        .fetch_one(&mut ground.source)
        .await
        .unwrap()
}

fn changed(plan: &Plan) -> Vec<(Changed, Thing, &str)> {
    let changes = plan.changes.iter();
    changes
        .map(|change| (change.change, change.kind, change.name.as_str()))
        .collect()
}

#[tokio::test]
async fn apply_records_what_plan_shows_once() {
    let mut ground = Ground::arrivals().await;
    let first = ground.app.plan(None).await.unwrap();
    assert_eq!((first.last_applied.as_ref(), first.changes.len()), (None, 5));
    assert_eq!(ground.app.apply(None).await.unwrap(), first);
    assert_eq!(recorded(&mut ground).await, 1);
    let again = ground.app.apply(None).await.unwrap();
    assert!(again.changes.is_empty() && again.last_applied.is_some(), "{again}");
    assert_eq!(recorded(&mut ground).await, 1, "nothing has changed");

    ground.run("newest", Incremental, "12:00").await;
    ground.redefine(&arrivals_toml(CREATED).replace(
        "ttl = \"6h\"\nfeatures = [{ name = \"delay\"",
        "features = [{ name = \"delay\", column = \"event\"",
    ));
    let status = ground.app.status().await;
    let problem = status.unwrap().remove(1).problem.unwrap();
    assert!(problem.contains("was never applied"), "{problem}");
    ground.redefine(&arrivals_toml(CREATED).replace("ttl = \"6h\"", "ttl = \"7h\""));
    let plan = ground.app.apply(None).await.unwrap();
    assert_eq!(changed(&plan), [(Changed::Changed, Thing::View, "newest")]);
    assert!(!plan.changes[0].full_run);
    assert_eq!(plan.changes[0].entities, Some(0));
    assert_eq!(recorded(&mut ground).await, 2);
    // Back again.
    ground.redefine(&arrivals_toml(CREATED));
    assert_eq!(ground.app.apply(None).await.unwrap().changes.len(), 1);
    assert_eq!(recorded(&mut ground).await, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_that_apply_at_once_the_later_sees_what_the_earlier_did() {
    let mut ground = Ground::arrivals().await;
    let one = Arc::clone(&ground.app);
    ground
        .redefine(&arrivals_toml(CREATED).replace("windows = [\"1h\", \"3h\"]", "windows = [\"1h\", \"2h\", \"3h\"]"));
    let other = Arc::clone(&ground.app);
    for _ in 0..10 {
        let (first, second) = tokio::join!(one.apply(None), other.apply(None));
        let plans = [first.unwrap(), second.unwrap()];
        // Whoever came last sees one view changed; whoever came first, by whose definitions held before, nothing or that.
        let rows = recorded(&mut ground).await;
        assert!(plans.iter().any(|plan| changed(plan).len() == 1), "{plans:?}");
        let last = ground.app.store().applied().await.unwrap().unwrap();
        let holds: Vec<bool> = [&one, &other]
            .map(|app| last.definitions == serde_json::to_value(Described::new(app.definitions())).unwrap())
            .to_vec();
        assert_eq!(holds.iter().filter(|holds| **holds).count(), 1, "one of them holds");
        // The same twice is recorded once.
        let same = if holds[0] { &other } else { &one };
        let (first, second) = tokio::join!(same.apply(None), same.apply(None));
        let changes = [first.unwrap(), second.unwrap()].map(|plan| plan.changes.len());
        assert!(changes == [0, 1] || changes == [1, 0], "{changes:?}");
        assert_eq!(recorded(&mut ground).await, rows + 1);
    }
}

#[tokio::test]
async fn one_project_does_not_bind_another() {
    let ground = Ground::arrivals().await;
    ground.app.apply(None).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let project = format!("{}x", ground.app.definitions().project);
    let toml = format!("format = 1\nproject = \"{project}\"\n{}", arrivals_toml(""));
    std::fs::write(dir.path().join("other.toml"), toml).unwrap();
    let definitions = definitions::load(dir.path()).unwrap_or_else(|problems| panic!("{problems}"));
    let other = App::open(&ground.settings, definitions, Time::SourceDatabase).unwrap();
    let view = other.view("newest").unwrap();
    assert!(other.may_write(view).await.is_ok());
    assert!(other.plan(None).await.unwrap().last_applied.is_none());
    let theirs = ground.app.may_write(view).await.unwrap_err();
    assert!(
        matches!(theirs, MayNotWrite::NotApplied(NotApplied::Never { .. })),
        "{theirs}"
    );
}
