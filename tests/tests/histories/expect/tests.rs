//! What readers may find, on histories of one entity with one row or two.

use super::*;
use crate::views::{Join, OVERLAP, SOURCES};
use crate::world::{HOUR, MINUTE, Stamp};

const NOON: Time = 12 * HOUR;
const ENTITY: Entity = Entity {
    user: Some(0),
    item: None,
};

/// A row of the first user at noon and some minutes, which appears in the same minute.
fn row(source: usize, visible: usize, minute: i64) -> Row {
    let at = Stamp::At(NOON + minute * MINUTE);
    Row {
        source,
        tag: u32::try_from(minute).unwrap(),
        visible,
        removed: None,
        user: Some(0),
        item: None,
        event: at,
        created: at,
        id: Some(0),
        leg: Some(0),
        deleted: None,
        x: Some(1.0),
        y: None,
        n: None,
        s: None,
        b: None,
        w: Stamp::Null,
    }
}

/// Moments at noon, 30 minutes past and so on; one user with these rows.
fn case(rows: Vec<Row>) -> Case {
    let ticks = (0..8).map(|tick| NOON + tick * 30 * MINUTE).collect();
    let group = Group {
        number: 0,
        rows,
        labels: Vec::new(),
    };
    Case {
        ticks,
        groups: vec![group],
        views: Vec::new(),
    }
}

fn view(source: usize, kind: Kind) -> View {
    View {
        source: &SOURCES[source],
        kind,
        join: Join::User,
    }
}

/// Status and event time, in minutes past noon, of what a reader may find.
type Found = (&'static str, Option<i64>);

fn found(expected: &Expected, case: &Case, minute: i64) -> Option<Vec<Found>> {
    let answers = expected.answers(case, &case.groups[0], ENTITY, NOON + minute * MINUTE)?;
    let mut found: Vec<Found> = answers
        .iter()
        .map(|answer| (answer.status, answer.event.map(|event| (event - NOON) / MINUTE)))
        .collect();
    found.dedup();
    Some(found)
}

fn run(mode: Mode) -> Action {
    Action::Run { mode, as_of: None }
}

/// A run that ended well, as it must have.
fn ran(case: &Case, tick: usize, mode: Mode, forced: bool) -> Outcome {
    let full = forced || mode != Mode::Incremental;
    Outcome::Done(Ran {
        run: uuid::Uuid::nil(),
        as_of: case.ticks[tick],
        full,
        forced,
        replaced: mode == Mode::Replace,
    })
}

#[test]
fn a_value_is_what_the_last_run_found_and_ages() {
    use Mode::Incremental;
    let case = case(vec![row(0, 0, 0)]);
    for (kind, events) in [(Kind::Row, [0, 0]), (Kind::Aggregate, [0, 30])] {
        let mut expected = Expected::new(view(0, kind));
        assert_eq!(found(&expected, &case, 0), Some(vec![("NOT_FOUND", None)]));
        expected
            .after(&case, 0, run(Incremental), &ran(&case, 0, Incremental, true))
            .unwrap();
        assert_eq!(found(&expected, &case, 0), Some(vec![("PRESENT", Some(events[0]))]));
        expected
            .after(&case, 1, run(Incremental), &ran(&case, 1, Incremental, false))
            .unwrap();
        assert_eq!(
            found(&expected, &case, 30),
            Some(vec![("PRESENT", Some(events[1]))]),
            "{kind:?}"
        );
        let ttl = expected.view.ttl().unwrap() / MINUTE;
        let last = events[1];
        assert_eq!(
            found(&expected, &case, last + ttl - 1),
            Some(vec![("PRESENT", Some(last))])
        );
        assert_eq!(
            found(&expected, &case, last + ttl),
            Some(vec![("OUTSIDE_MAX_AGE", Some(last))])
        );
    }
}

#[test]
fn what_runs_must_and_must_not_do() {
    use Mode::{Full, Incremental};
    let case = case(Vec::new());
    let mut expected = Expected::new(view(0, Kind::Aggregate));
    let mut after = |tick, action, outcome: &Outcome| expected.after(&case, tick, action, outcome).is_ok();
    assert!(
        !after(1, run(Incremental), &ran(&case, 1, Incremental, false)),
        "the first run is full"
    );
    assert!(after(1, run(Incremental), &ran(&case, 1, Incremental, true)));
    assert!(
        !after(1, run(Incremental), &ran(&case, 1, Incremental, true)),
        "nothing forces another"
    );
    assert!(
        !after(2, run(Full), &ran(&case, 2, Incremental, false)),
        "full was asked for"
    );
    assert!(!after(2, run(Incremental), &Outcome::Earlier), "it is not earlier");
    let earlier = Action::Run {
        mode: Full,
        as_of: Some(case.ticks[0]),
    };
    assert!(after(2, earlier, &Outcome::Earlier));
    assert!(!after(2, earlier, &ran(&case, 0, Full, false)), "time goes forward");
    let future = Action::Run {
        mode: Full,
        as_of: Some(case.ticks[3]),
    };
    assert!(after(2, future, &Outcome::Future));
    assert!(!after(2, future, &ran(&case, 3, Full, false)));
    assert!(after(2, Action::LoseMarker, &Outcome::Happened));
    assert!(
        !after(2, run(Incremental), &ran(&case, 2, Incremental, false)),
        "without marker it is full"
    );
}

#[test]
fn what_redis_lost_is_not_found_and_what_it_rolled_back_to_is() {
    use Mode::{Full, Incremental};
    let case = case(vec![row(0, 0, 0), row(0, 1, 20)]);
    let mut expected = Expected::new(view(0, Kind::Row));
    let mut after = |tick, action, outcome: &Outcome| {
        expected.after(&case, tick, action, outcome).unwrap();
        found(&expected, &case, 60)
    };
    let present = |minute| Some(vec![("PRESENT", Some(minute))]);
    assert_eq!(after(0, run(Full), &ran(&case, 0, Full, false)), present(0));
    assert_eq!(after(0, Action::Save, &Outcome::Happened), present(0));
    assert_eq!(
        after(1, run(Incremental), &ran(&case, 1, Incremental, false)),
        present(20)
    );
    assert_eq!(
        after(1, Action::LoseMarker, &Outcome::Happened),
        None,
        "nobody says how to take the values"
    );
    assert_eq!(after(1, Action::RollBack, &Outcome::Happened), present(0));
    assert_eq!(
        after(1, Action::LoseAll, &Outcome::Happened),
        Some(vec![("NOT_FOUND", None)])
    );
    assert_eq!(
        after(1, run(Incremental), &ran(&case, 1, Incremental, true)),
        present(20)
    );
}

#[test]
fn after_an_interruption_old_or_new_until_a_run_is_done() {
    use Mode::{Full, Incremental};
    let case = case(vec![row(0, 0, 0), row(0, 1, 20)]);
    let mut expected = Expected::new(view(0, Kind::Aggregate));
    expected
        .after(&case, 0, run(Full), &ran(&case, 0, Full, false))
        .unwrap();
    let died = Action::Interrupted {
        mode: Incremental,
        polls: 9,
    };
    expected.after(&case, 1, died, &Outcome::Died).unwrap();
    assert_eq!(
        found(&expected, &case, 30),
        Some(vec![("PRESENT", Some(0)), ("PRESENT", Some(30))])
    );
    let mut resumed = expected.clone();
    resumed
        .after(&case, 2, Action::Resume, &ran(&case, 1, Incremental, false))
        .unwrap();
    assert_eq!(found(&resumed, &case, 60), Some(vec![("PRESENT", Some(30))]));
    expected
        .after(&case, 2, run(Incremental), &ran(&case, 2, Incremental, false))
        .unwrap();
    assert_eq!(found(&expected, &case, 60), Some(vec![("PRESENT", Some(60))]));
    let elsewhere = expected.after(&case, 3, Action::Resume, &ran(&case, 1, Incremental, false));
    assert!(elsewhere.is_err(), "no run of that moment is open");
}

#[test]
fn what_vanished_from_a_source_stays_until_a_run_replaces() {
    use Mode::{Full, Incremental, Replace};
    let case = case(vec![
        row(0, 0, 0),
        Row {
            removed: Some(2),
            ..row(0, 1, 20)
        },
    ]);
    let mut expected = Expected::new(view(0, Kind::Row));
    for (tick, mode, minute) in [
        (0, Full, 0),
        (1, Incremental, 20),
        (2, Incremental, 20),
        (3, Full, 20),
        (3, Replace, 0),
    ] {
        expected
            .after(&case, tick, run(mode), &ran(&case, tick, mode, false))
            .unwrap();
        assert_eq!(
            found(&expected, &case, 90),
            Some(vec![("PRESENT", Some(minute))]),
            "{mode:?}"
        );
    }
    // Where every run computes an entity whole, a full run is enough, and what is before it is left open.
    let mut expected = Expected::new(view(0, Kind::Aggregate));
    for (tick, mode, open) in [
        (0, Full, false),
        (1, Incremental, false),
        (2, Incremental, true),
        (3, Full, false),
    ] {
        expected
            .after(&case, tick, run(mode), &ran(&case, tick, mode, false))
            .unwrap();
        assert_eq!(found(&expected, &case, 90).is_none(), open, "{tick}");
    }
}

#[test]
fn a_row_stamped_too_long_before_it_appears_may_be_missed_until_a_full_run() {
    use Mode::{Full, Incremental};
    // The run at noon looks back to five minutes before it: a stamp at just that moment is too old.
    for (created, answers) in [(NOON - OVERLAP, 2), (NOON - OVERLAP + 1, 1)] {
        let late = Row {
            created: Stamp::At(created),
            event: Stamp::At(NOON - MINUTE),
            ..row(0, 1, 0)
        };
        let case = case(vec![late]);
        let mut expected = Expected::new(view(0, Kind::Row));
        expected
            .after(&case, 0, run(Full), &ran(&case, 0, Full, false))
            .unwrap();
        expected
            .after(&case, 1, run(Incremental), &ran(&case, 1, Incremental, false))
            .unwrap();
        assert_eq!(found(&expected, &case, 30).unwrap().len(), answers);
        expected
            .after(&case, 2, run(Full), &ran(&case, 2, Full, false))
            .unwrap();
        assert_eq!(found(&expected, &case, 60), Some(vec![("PRESENT", Some(-1))]));
    }
}

#[test]
fn a_backfill_adds_its_range_and_nothing_else() {
    let backfill = Action::Backfill {
        start: NOON,
        end: NOON + 20 * MINUTE,
        every: HOUR,
        all_steps: false,
    };
    for (minute, status) in [(0, "NOT_FOUND"), (1, "PRESENT"), (20, "PRESENT"), (21, "NOT_FOUND")] {
        let case = case(vec![row(0, 1, minute)]);
        let mut expected = Expected::new(view(0, Kind::Row));
        expected
            .after(&case, 1, backfill, &ran(&case, 1, Mode::Full, false))
            .unwrap();
        assert_eq!(found(&expected, &case, 60).unwrap()[0].0, status, "{minute}");
    }
}
