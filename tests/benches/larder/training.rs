//! Training sets, beside the bare SQL of the same join.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Result, ensure};
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::report::{Table, median};
use crate::stand::{FEATURES, Stand};

/// Labels of users at moments, as many as this.
const LABELS: usize = 100_000;

pub(crate) async fn tables(stand: &Stand, rounds: usize) -> Result<Vec<Table>> {
    let labels = stand.dir.path().join("labels.csv");
    let mut csv = "user_id,event_timestamp\n".to_owned();
    let made = "CREATE TABLE labels AS SELECT 1 + (hashint8(g) & 2147483647) % $1 AS user_id, now() - g % 600 * interval '1 s' AS at
         FROM generate_series(1::int8, $2) AS g";
    let counts = (i64::try_from(stand.users)?, i64::try_from(LABELS)?);
    sqlx::query(made)
        .bind(counts.0)
        .bind(counts.1)
        .execute(&stand.database.pool)
        .await?;
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT user_id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') FROM labels",
    )
    .fetch_all(&stand.database.pool)
    .await?;
    rows.iter().for_each(|(user, at)| _ = writeln!(csv, "{user},{at}"));
    std::fs::write(&labels, csv)?;
    let mut taken: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds {
        taken[0].push(bare(stand).await?);
        let out = stand.dir.path().join("training.csv");
        let _none_yet = std::fs::remove_file(&out);
        let started = Instant::now();
        stand.feature_server(&[
            "training-set",
            "s1",
            "--entities",
            &labels.display().to_string(),
            "--out",
            &out.display().to_string(),
        ])?;
        taken[1].push(started.elapsed().as_secs_f64());
    }
    let mut table = Table::new(
        &format!("Training set of {LABELS} labels, a view of {FEATURES} features"),
        &["labels/s", "of the bare SQL"],
    );
    let ratio = median(taken[0].iter().zip(&taken[1]).map(|(bare, ours)| bare / ours).collect());
    for (name, (seconds, ratio)) in ["bare SQL, COPY to nowhere", "training-set, CSV to CSV"]
        .into_iter()
        .zip(taken.into_iter().zip([None, Some(ratio)]))
    {
        table.line(name, [Some(LABELS as f64 / median(seconds)), ratio]);
    }
    print!("{}", table.text());
    Ok(vec![table])
}

/// The join as one would write it by hand.
async fn bare(stand: &Stand) -> Result<f64> {
    let mut database = PgConnection::connect(&stand.database.url).await?;
    sqlx::query(AssertSqlSafe("SET jit = off".to_owned()))
        .execute(&mut database)
        .await?;
    let started = Instant::now();
    let columns: Vec<String> = (0..FEATURES).map(|i| format!("f{i}")).collect();
    let select = format!(
        "COPY (SELECT labels.*, {} FROM labels LEFT JOIN LATERAL (
           SELECT * FROM events WHERE events.user_id = labels.user_id AND happened_at <= at AND happened_at > at - interval '30 days'
           ORDER BY happened_at DESC, created_at DESC LIMIT 1) AS newest ON true) TO STDOUT (FORMAT binary)",
        columns.join(", ")
    );
    let mut rows = database.copy_out_raw(&select).await?;
    let mut count = 0;
    while rows.try_next().await?.is_some() {
        count += 1;
    }
    ensure!(count >= LABELS, "{count} rows of {LABELS}");
    Ok(started.elapsed().as_secs_f64())
}
