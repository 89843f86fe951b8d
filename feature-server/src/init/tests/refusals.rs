//! What is there already, what is refused, and that nothing is written then.

use std::path::Path;

use super::{Place, options};
use crate::WriteError;
use crate::init::{InitError, InitOptions};

#[tokio::test]
async fn a_second_table_joins_what_is_there() {
    let place = Place::new(
        "CREATE TABLE orders (order_id int PRIMARY KEY, customer_id int, amount int, at timestamptz);
         CREATE TABLE customers (id int PRIMARY KEY, age int, at timestamptz);
         CREATE TABLE visits (visit_id int PRIMARY KEY, customer_id text, pages int, at timestamptz);
         CREATE TABLE clicks (click_id int PRIMARY KEY, customer_id text, x int, at timestamptz)",
    )
    .await;
    place.init("orders", &options()).await.unwrap();
    let customers = place.init("customers", &options()).await.unwrap();
    assert_eq!(customers.join_keys, ["customer_id"], "the entity that orders have");
    place.init("visits", &options()).await.unwrap();
    let app = place.app();
    let entities: Vec<String> = app
        .definitions()
        .entities
        .iter()
        .map(|entity| entity.name.to_string())
        .collect();
    assert_eq!(
        entities,
        ["customer", "customer_2"],
        "a key of another type is another entity"
    );
    assert_eq!(app.definitions().view("customers").unwrap().key_columns, ["id"]);
    assert_eq!(app.check_database().await.unwrap().problems, []);
    let asked = InitOptions {
        entity: Some("customer".parse().unwrap()),
        ..options()
    };
    let refused = place.init("clicks", &asked).await.unwrap_err().to_string();
    assert!(refused.contains("customer_id int64"), "{refused}");
    assert!(!place.features().join("clicks.toml").exists());
}

#[tokio::test]
async fn refusals_say_what_to_do_and_write_nothing() {
    let place = Place::new(
        "CREATE TABLE orders (order_id int PRIMARY KEY, customer_id int, amount float8, at timestamptz);
         CREATE TABLE local (id int PRIMARY KEY, x int, at timestamp);
         CREATE TABLE dated (id int PRIMARY KEY, x int, day date);
         CREATE TABLE timeless (id int PRIMARY KEY, x int);
         CREATE TABLE nobodys (carrier text, x float8, at timestamptz)",
    )
    .await;
    let with = |change: fn(&mut InitOptions)| {
        let mut changed = options();
        change(&mut changed);
        changed
    };
    for (table, options, expected) in [
        ("public.order", options(), "the nearest is `public.orders`"),
        ("larder.markers", options(), "has no table `larder.markers`"),
        ("local", options(), "--time-zone UTC"),
        (
            "local",
            with(|o| o.time_zone = Some("Nowhere".into())),
            "pg_timezone_names",
        ),
        ("dated", options(), "(day + 1)::timestamp AT TIME ZONE"),
        ("timeless", options(), "ADD COLUMN updated_at timestamptz"),
        ("nobodys", options(), "`--join-key COLUMN`, one of `carrier`"),
        (
            "orders",
            with(|o| o.join_keys = vec!["custmer_id".into()]),
            "--join-key: the table public.orders has no column `custmer_id`; the nearest is `customer_id`",
        ),
        (
            "orders",
            with(|o| o.join_keys = vec!["amount".into()]),
            "is double precision: a join key is of integers or text",
        ),
        (
            "orders",
            with(|o| o.join_keys = vec!["order_id".into(), "order_id".into()]),
            "is named twice",
        ),
        (
            "orders",
            with(|o| o.event_timestamp = Some("amount".into())),
            "not timestamptz",
        ),
        (
            "orders",
            with(|o| o.created_timestamp = Some("at".into())),
            "is the only column with a time",
        ),
    ] {
        let error = place.init(table, &options).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{table} {options:?}: {error}");
        assert!(!place.features().exists(), "{table} {options:?}");
    }
}

#[tokio::test]
async fn files_that_are_there_stay_as_they_are() {
    let place =
        Place::new("CREATE TABLE orders (order_id int PRIMARY KEY, customer_id int, amount int, at timestamp)").await;
    let zone = InitOptions {
        time_zone: Some("UTC".into()),
        ..options()
    };
    let names = |dir: &Path| {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    std::fs::create_dir(place.features()).unwrap();
    let own = "format = 1\nproject = \"mine\"\n";
    std::fs::write(place.features().join("orders.toml"), own).unwrap();
    let error = place.init("orders", &zone).await.unwrap_err();
    assert!(matches!(error, InitError::Write(WriteError::FileExists(_))), "{error}");
    assert_eq!(
        (names(&place.features()), place.text("orders.toml").as_str()),
        (vec!["orders.toml".to_owned()], own)
    );

    std::fs::rename(
        place.features().join("orders.toml"),
        place.features().join("project.toml"),
    )
    .unwrap();
    place.init("orders", &zone).await.unwrap();
    assert_eq!(names(&place.features()), ["orders.sql", "orders.toml", "project.toml"]);
    assert_eq!(place.app().definitions().project.as_str(), "mine");

    std::fs::write(place.features().join("broken.toml"), "projekt = 1").unwrap();
    let error = place.init("orders", &zone).await.unwrap_err();
    assert!(matches!(error, InitError::Definitions(_)), "{error}");
}
