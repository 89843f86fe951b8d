//! Old and new definitions of a view, side by side on values that either of them wrote.

use feature_defs::codec::Body;
use feature_defs::definitions::View;
use feature_defs::serving::Status;
use feature_defs::value::{Value, ValueType};
use online_store::{Lookup, OnlineReader};

use crate::support::{
    SECOND, Server, Times, aggregate_view, at, blob, carrier, counter_view, create, marker, put, read_one, row_view,
    store, store_at,
};

/// What a definition's reader finds of a row: each feature's value, or else its status.
async fn found(reader: &OnlineReader, view: &View, name: &str) -> String {
    let row = read_one(reader, view, &carrier(name), 1).await;
    assert_eq!(row.status, Status::Present, "the row is there, whatever it lacks");
    let features = (0..view.fields().len()).map(|feature| match row.feature(feature) {
        (Some(value), Status::Present) => value.to_text(),
        (None, status) => status.name().to_owned(),
        (Some(value), status) => panic!("{value:?} is {status:?}"),
    });
    features.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn features_are_found_by_name_and_type_and_what_a_row_lacks_is_not_found() {
    use ValueType::{Float64, Int64, String};
    let int = |n| Some(Value::Int64(n));
    let float = |x| Some(Value::Float64(x));
    let text = |text: &str| Some(Value::String(text.into()));
    // Each definition with what it writes, and what each of them finds of that, in its own order.
    let definitions = [
        (
            row_view(&[("a", Int64), ("b", String), ("c", Float64)]),
            vec![int(1), text("x"), None],
            [
                "1 x NULL_VALUE",
                "NULL_VALUE x 1",
                "1 NULL_VALUE",
                "1 x NULL_VALUE NOT_FOUND",
                "NOT_FOUND x NULL_VALUE",
            ],
        ),
        // Reordered.
        (
            row_view(&[("c", Float64), ("b", String), ("a", Int64)]),
            vec![float(0.5), text("y"), int(2)],
            ["2 y 0.5", "0.5 y 2", "2 0.5", "2 y 0.5 NOT_FOUND", "NOT_FOUND y 0.5"],
        ),
        // One dropped.
        (
            row_view(&[("a", Int64), ("c", Float64)]),
            vec![int(3), float(1.5)],
            [
                "3 NOT_FOUND 1.5",
                "1.5 NOT_FOUND 3",
                "3 1.5",
                "3 NOT_FOUND 1.5 NOT_FOUND",
                "NOT_FOUND NOT_FOUND 1.5",
            ],
        ),
        // One added.
        (
            row_view(&[("a", Int64), ("b", String), ("c", Float64), ("d", Int64)]),
            vec![int(4), None, float(2.5), int(40)],
            [
                "4 NULL_VALUE 2.5",
                "2.5 NULL_VALUE 4",
                "4 2.5",
                "4 NULL_VALUE 2.5 40",
                "NOT_FOUND NULL_VALUE 2.5",
            ],
        ),
        // One of another type.
        (
            row_view(&[("a", Float64), ("b", String), ("c", Float64)]),
            vec![float(5.0), text("z"), float(3.5)],
            [
                "NOT_FOUND z 3.5",
                "3.5 z NOT_FOUND",
                "NOT_FOUND 3.5",
                "NOT_FOUND z 3.5 NOT_FOUND",
                "5.0 z 3.5",
            ],
        ),
    ];
    let store = store();
    let writer = store.writer();
    let views = definitions.each_ref().map(|(view, ..)| view.clone());
    let together = store.reader(views.to_vec());
    let readers = views.each_ref().map(|view| store.reader(vec![view.clone()]));
    for (i, (view, values, expected)) in definitions.iter().enumerate() {
        // All but the first meet readers that have refreshed already, and have never heard of this layout.
        let name = i.to_string();
        writer.put_schema(view).await.unwrap();
        let body = Body::Values(values.clone());
        put(&writer, view, &name, blob(view, Times::all(1), &body)).await;
        for (other, expected) in expected.iter().enumerate() {
            for reader in [&readers[other], &together] {
                let told = found(reader, &views[other], &name).await;
                assert_eq!(told, *expected, "definition {other} of what definition {i} wrote");
            }
        }
    }
}

#[tokio::test]
async fn a_type_may_change_and_change_back() {
    use ValueType::{Float64, Int64};
    let (int, float) = (row_view(&[("n", Int64)]), row_view(&[("n", Float64)]));
    let store = store();
    let writer = store.writer();
    let write = async |view: &View, time: i64, value: Value| {
        writer.put_schema(view).await.unwrap();
        let body = Body::Values(vec![Some(value)]);
        put(&writer, view, "UA", blob(view, Times::all(time), &body)).await;
    };
    let readers = [&int, &float].map(|view| store.reader(vec![view.clone()]));
    let both = async || {
        (
            found(&readers[0], &int, "UA").await,
            found(&readers[1], &float, "UA").await,
        )
    };
    let told = |of_int: &str, of_float: &str| (of_int.to_owned(), of_float.to_owned());
    write(&int, 1, Value::Int64(7)).await;
    assert_eq!(both().await, told("7", "NOT_FOUND"));
    write(&float, 2, Value::Float64(7.5)).await;
    assert_eq!(both().await, told("NOT_FOUND", "7.5"));
    write(&int, 3, Value::Int64(8)).await;
    assert_eq!(both().await, told("8", "NOT_FOUND"));
}

#[tokio::test]
async fn definitions_of_one_name_share_what_is_stored_beside_its_values() {
    let server = Server::start();
    let (store, raw) = store_at(&server.url());
    let writer = store.writer();
    let calls = async |command: &str| {
        let stats: String = raw.run(&[b"INFO", b"commandstats"]).await;
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.map_or(0, |line| line.split(',').next().unwrap().parse::<u64>().unwrap())
    };
    let reset = async || raw.run::<()>(&[b"CONFIG", b"RESETSTAT"]).await;
    let (old, equal) = (counter_view(), counter_view());
    let new = row_view(&[("added", ValueType::Bool), ("n", ValueType::Int64)]);
    let rows = [&old, &equal, &new];
    let aggregates = aggregate_view();
    let reader = store.reader(vec![old.clone(), equal.clone(), new.clone(), old.clone(), aggregates]);
    reader.refresh().await.unwrap();
    assert_eq!((calls("hget").await, calls("hvals").await), (2, 2), "once a name");

    // An unknown layout is looked for once a name, whoever meets it, and in the same read.
    let newest = row_view(&[("n", ValueType::Int64), ("z", ValueType::Bool)]);
    writer.put_schema(&newest).await.unwrap();
    let values = Body::Values(vec![Some(Value::Int64(7)), Some(Value::Bool(true))]);
    put(&writer, &newest, "UA", blob(&newest, Times::all(5), &values)).await;
    reset().await;
    let ua = carrier("UA");
    let lookups = rows.map(|view| Lookup { view, key: Some(&ua) });
    let found = reader.read(&lookups, at(5), 5 * SECOND).await.unwrap();
    assert_eq!(
        found.iter().map(|row| row.lacking.clone()).collect::<Vec<_>>(),
        [vec![], vec![], vec![0]]
    );
    assert_eq!(found[0], found[1]);
    assert_eq!(found[2].feature(1), (Some(&Value::Int64(7)), Status::Present));
    assert_eq!(
        (calls("mget").await, calls("hget").await, calls("hvals").await),
        (1, 1, 1)
    );
    reset().await;
    reader.read(&lookups, at(5), 5 * SECOND).await.unwrap();
    assert_eq!(
        (calls("mget").await, calls("hget").await, calls("hvals").await),
        (1, 0, 0)
    );

    // The marker is the name's, and each definition judges by it.
    let replaced = marker("r", 6, 6);
    assert!(create(&writer, &new, &replaced).await);
    let found = reader.read_stored(&lookups, at(6), 5 * SECOND).await.unwrap();
    for found in &found {
        assert_eq!(
            (found.status, found.marker.as_deref()),
            (Status::NotFound, Some(&replaced))
        );
    }
    assert_eq!((calls("hget").await, calls("hvals").await), (1, 1));
}
