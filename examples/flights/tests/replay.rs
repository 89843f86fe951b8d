//! Events reach Postgres at their own time, once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use feature_defs::time::{ManualClock, Timestamp};
use flights::{Dataset, Ingested, LabelRange, Loaded, Moment, Replay, Shift, write_labels};
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{AssertSqlSafe, Connection, Row};
use tokio_util::sync::CancellationToken;

static DATA: LazyLock<Arc<Dataset>> = LazyLock::new(|| {
    let dir = std::env::var_os("LARDER_TEST_FLIGHTS").expect("run the tests with `cargo xtask test`");
    Arc::new(Dataset::read(Path::new(&dir)).unwrap())
});

fn replay(shift: Shift, ingested: Ingested) -> Replay {
    Replay::new(Arc::clone(&DATA), shift, ingested)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A database of its own; the name says whose.
async fn database(name: &str) -> PgPool {
    let url = std::env::var("LARDER_TEST_DATABASE_URL").expect("run the tests with `cargo xtask test`");
    let options: PgConnectOptions = url.parse().unwrap();
    let name = format!("flights_{name}_{}", std::process::id());
    let mut conn = sqlx::PgConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut conn)
        .await
        .unwrap();
    PgPool::connect_with(options.database(&name)).await.unwrap()
}

async fn drop_database(pool: PgPool) {
    let options = pool.connect_options().as_ref().clone();
    pool.close().await;
    let name = options.get_database().unwrap().to_owned();
    let mut conn = sqlx::PgConnection::connect_with(&options.database("postgres"))
        .await
        .unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("DROP DATABASE {name}")))
        .execute(&mut conn)
        .await
        .unwrap();
}

async fn number(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query(sql).fetch_one(pool).await.unwrap().get(0)
}

#[tokio::test]
async fn events_are_loaded_once_and_none_ahead_of_time() {
    let pool = database("once").await;
    let replayed = replay(Shift::NONE, Ingested::AtEvent);
    let after = at("2013-12-28T05:00:00Z");
    let (morning, noon) = (at("2013-12-29T14:00:00Z"), at("2013-12-29T17:00:00Z"));

    let first = replayed.start(&pool, after, morning).await.unwrap();
    assert_eq!(
        (first.departures, first.cancellations, first.observations),
        (1_006, 1, 99)
    );
    assert_eq!(
        number(&pool, "SELECT count(*) FROM flights.flight_scheduled").await,
        3_446
    );
    assert_eq!(number(&pool, "SELECT count(*) FROM flights.plane").await, 3_322);
    let ahead = "SELECT count(*) FROM flights.flight_arrived WHERE event_ts > '2013-12-29T14:00:00Z'";
    assert_eq!(number(&pool, ahead).await, 0);
    let otherwise = "SELECT count(*) FROM flights.flight_arrived WHERE ingested_at <> event_ts";
    assert_eq!(number(&pool, otherwise).await, 0);

    let again = replayed.start(&pool, after, morning).await.unwrap();
    assert_eq!(again, Loaded::default(), "nothing is missing");
    let more = replayed.load(&pool, morning, noon).await.unwrap();
    assert!(more.arrivals > 0 && more.observations == 9, "{more:?}");
    let other = replay(Shift::minutes(5), Ingested::AtInsertion)
        .start(&pool, after, noon)
        .await
        .unwrap_err();
    assert!(other.to_string().contains("shifted by 0 minutes, not 5"), "{other}");
    drop_database(pool).await;
}

#[tokio::test]
async fn the_feed_follows_its_clock() {
    let pool = database("feed").await;
    let shift = Shift::minutes(60 * 24 * 365 * 13);
    let replayed = replay(shift, Ingested::AtInsertion);
    let start = shift.apply(at("2013-12-31T12:00:00Z"));
    replayed
        .start(&pool, shift.apply(at("2013-12-31T00:00:00Z")), start)
        .await
        .unwrap();
    let before = number(&pool, "SELECT count(*) FROM flights.flight_departed").await;

    let (clock, stop) = (
        ManualClock::new(shift.apply(at("2013-12-31T12:30:00Z"))),
        CancellationToken::new(),
    );
    let watch = async {
        while number(&pool, "SELECT count(*) FROM flights.flight_departed").await == before {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    let (fed, ()) = tokio::join!(replayed.feed(&pool, &clock, start, &stop), watch);
    fed.unwrap();
    let newest: Timestamp =
        sqlx::query_scalar::<_, chrono::DateTime<chrono::Utc>>("SELECT max(event_ts) FROM flights.flight_departed")
            .fetch_one(&pool)
            .await
            .unwrap()
            .into();
    assert!(
        newest > start && newest <= shift.apply(at("2013-12-31T12:30:00Z")),
        "{newest}"
    );
    drop_database(pool).await;
}

#[test]
fn labels_name_what_a_request_names() {
    let range = LabelRange {
        from: at("2013-11-01T04:00:00Z"),
        until: at("2013-11-02T04:00:00Z"),
    };
    let mut exact = Vec::new();
    let rows = write_labels(&DATA, range, Moment::Exact, Shift::NONE, &mut exact).unwrap();
    let mut reader = csv::Reader::from_reader(exact.as_slice());
    let names = reader.headers().unwrap().clone();
    let instance = DATA.flights[0].instance();
    let asked: Vec<_> = instance.keys().map(String::as_str).collect();
    assert_eq!(names.iter().collect::<Vec<_>>()[1..=asked.len()], asked);
    let lines: Vec<_> = reader.records().map(Result::unwrap).collect();
    assert_eq!(u64::try_from(lines.len()).unwrap(), rows);
    let column = |name| names.iter().position(|n| n == name).unwrap();
    assert!(
        lines
            .iter()
            .all(|line| line[0] == line[column("prediction_time")] && !line[column("tailnum")].is_empty())
    );

    let mut hourly = Vec::new();
    write_labels(&DATA, range, Moment::FullHour, Shift::NONE, &mut hourly).unwrap();
    for (line, exact) in csv::Reader::from_reader(hourly.as_slice())
        .records()
        .map(Result::unwrap)
        .zip(&lines)
    {
        assert!(line[0].ends_with(":00:00Z") && line[0] <= exact[0], "{line:?}");
        assert_eq!(
            line.iter().skip(1).collect::<Vec<_>>(),
            exact.iter().skip(1).collect::<Vec<_>>()
        );
    }
}

/// The whole range of the training data, counted before.
#[test]
fn labels_are_of_all_flights_that_arrived() {
    let count = |from, until| {
        write_labels(
            &DATA,
            LabelRange {
                from: at(from),
                until: at(until),
            },
            Moment::Exact,
            Shift::NONE,
            std::io::sink(),
        )
        .unwrap()
    };
    assert_eq!(count("2013-01-29T05:00:00Z", "2013-09-01T04:00:00Z"), 193_835);
    assert_eq!(count("2013-09-01T04:00:00Z", "2013-11-01T04:00:00Z"), 55_628);
    assert_eq!(count("2013-11-01T04:00:00Z", "2014-01-01T05:00:00Z"), 53_991);
}
