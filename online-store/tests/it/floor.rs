//! What a complete run did not find any more is gone for readers, and keeps nothing out.

use feature_defs::codec::Body;
use feature_defs::serving::Status;
use online_store::Guard;

use crate::support::{Times, at, blob, carrier, counter, counter_view, create, marker, number, read_one, store};

const STORED: i64 = 1;
const NEW: i64 = 2;

#[tokio::test]
async fn what_is_as_of_before_the_last_complete_run_counts_as_absent() {
    const LOW: i64 = 1 << 20;
    const HIGH: i64 = 1 << 40;
    let by_event = |complete_as_of: Option<i64>| Guard::EventThenCreated {
        complete_as_of: complete_as_of.map(at),
    };
    // The stored value's event is the newer one; its as-of decides.
    let cases = [
        ("no complete run", by_event(None), i64::MIN, STORED),
        ("before", by_event(Some(5)), 4, NEW),
        ("at the same time", by_event(Some(5)), 5, STORED),
        ("after", by_event(Some(5)), 6, STORED),
        ("before 1970, before", by_event(Some(-5)), -6, NEW),
        ("before 1970, after", by_event(Some(-5)), -4, STORED),
        ("over 1970, before", by_event(Some(0)), -1, NEW),
        ("over 1970, after", by_event(Some(-1)), 0, STORED),
        ("high half decides, before", by_event(Some(HIGH)), HIGH - 1, NEW),
        ("high half decides, after", by_event(Some(HIGH - 1)), HIGH, STORED),
        ("halves disagree, before", by_event(Some(HIGH)), LOW, NEW),
        ("halves disagree, after", by_event(Some(LOW)), HIGH, STORED),
        ("ends of time, before", by_event(Some(i64::MAX)), i64::MIN, NEW),
        ("ends of time, after", by_event(Some(i64::MIN)), i64::MAX, STORED),
    ];
    let (store, view) = (store(), counter_view());
    let (reader, writer) = (store.reader(vec![view.clone()]), store.writer());
    writer.put_schema(&view).await.unwrap();
    for (i, (what, guard, as_of, expected)) in cases.into_iter().enumerate() {
        let entity = carrier(&i.to_string());
        let stored = Times {
            event: 9,
            created: Some(9),
            as_of,
        };
        let new = Times {
            event: 1,
            created: None,
            as_of: i64::MAX,
        };
        let first = [(entity.clone(), counter(&view, stored, STORED))];
        writer.write(&view.name, Guard::AsOf, &first).await.unwrap();
        let second = [(entity.clone(), counter(&view, new, NEW))];
        let outcome = writer.write(&view.name, guard, &second).await.unwrap();
        let landed = if expected == NEW { (1, 0) } else { (0, 1) };
        assert_eq!((outcome.written, outcome.older), landed, "{what}");
        let row = read_one(&reader, &view, &entity, 0).await;
        assert_eq!(number(&row), Some(expected), "{what}");
    }
}

#[tokio::test]
async fn an_entity_that_reappears_with_an_older_row_is_found_again() {
    let (store, view) = (store(), counter_view());
    let (reader, writer) = (store.reader(vec![view.clone()]), store.writer());
    writer.put_schema(&view).await.unwrap();
    let times = |event, as_of| Times {
        event,
        created: None,
        as_of,
    };
    let write = async |guard, name: &str, blob| {
        let outcome = writer.write(&view.name, guard, &[(carrier(name), blob)]).await.unwrap();
        outcome.written == 1
    };
    let before = Guard::EventThenCreated { complete_as_of: None };
    assert!(write(before, "value", counter(&view, times(5, 6), 1)).await);
    assert!(write(before, "deleted", blob(&view, times(5, 6), &Body::Tombstone)).await);

    // A complete run finds neither.
    assert!(create(&writer, &view, &marker("complete", 10, 10)).await);
    reader.refresh().await.unwrap();
    for name in ["value", "deleted"] {
        let row = read_one(&reader, &view, &carrier(name), 10).await;
        assert_eq!(row.status, Status::NotFound, "{name}");
    }

    // The next one finds older rows of both. A writer that does not know of the complete run can't bring them back.
    let after = Guard::EventThenCreated {
        complete_as_of: Some(at(10)),
    };
    for name in ["value", "deleted"] {
        let again = counter(&view, times(4, 11), 2);
        assert!(!write(before, name, again.clone()).await, "{name}");
        assert!(write(after, name, again).await, "{name}");
        let row = read_one(&reader, &view, &carrier(name), 11).await;
        assert_eq!((row.status, number(&row)), (Status::Present, Some(2)), "{name}");
        // And it is guarded as any other.
        assert!(!write(after, name, counter(&view, times(3, 12), 3)).await, "{name}");
    }
}

#[tokio::test]
async fn within_a_batch_the_floor_changes_nothing() {
    let (store, view) = (store(), counter_view());
    let (reader, writer) = (store.reader(vec![view.clone()]), store.writer());
    writer.put_schema(&view).await.unwrap();
    let guard = Guard::EventThenCreated {
        complete_as_of: Some(at(10)),
    };
    let value = |event, n| {
        let times = Times {
            event,
            created: None,
            as_of: 10,
        };
        (carrier("UA"), counter(&view, times, n))
    };
    let outcome = writer
        .write(&view.name, guard, &[value(2, 1), value(3, 2), value(1, 3)])
        .await
        .unwrap();
    assert_eq!((outcome.written, outcome.older), (1, 2));
    assert_eq!(number(&read_one(&reader, &view, &carrier("UA"), 10).await), Some(2));
}
