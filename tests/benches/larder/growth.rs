//! How cost grows: with rows, views, entities and processes.

use std::sync::Arc;

use anyhow::{Context, Result};
use end_to_end::servers::Server;
use redis::Pipeline;
use serde_json::json;

use crate::arm::{Arm, Rounds, Work, measure};
use crate::load::Requests;
use crate::report::Table;
use crate::serving::{DISTINCT, http, of_rows};
use crate::stand::{FEW, MANY_VIEWS, Stand, VIEWS, address};

pub(crate) async fn tables(stand: &Stand, rounds: Rounds, most_entities: usize) -> Result<Vec<Table>> {
    let servers = [stand.predictor().await?, stand.predictor().await?];
    let mut at = Vec::new();
    for server in &servers {
        at.push((address(server)?, server.id()));
    }
    let redis = stand.redis.id();
    let one = vec![at[0]];
    let mut arms: Vec<Arm> = Vec::new();
    for rows in [1, 10, 100, 1_000] {
        let requests = of_rows("gbdt_5", rows, stand.users);
        arms.push(http(&format!("{rows} row(s)"), 1, &one, &requests, (rows > 1).then_some(0)).asking(redis));
    }
    let by_rows = measure("Growth: rows of a request, 5 views (beside one row)", &mut arms, rounds).await?;
    let mut arms: Vec<Arm> = Vec::new();
    for views in VIEWS.into_iter().chain([MANY_VIEWS]) {
        let requests = of_rows(&format!("gbdt_{views}"), 1, stand.users.min(FEW));
        arms.push(
            http(
                &format!("{views} view(s)"),
                8,
                &one,
                &requests,
                (views > 1).then_some(0),
            )
            .asking(redis),
        );
    }
    let by_views = measure(
        "Growth: views of a row of 30 features; 50 views have 50 (beside one view)",
        &mut arms,
        rounds,
    )
    .await?;
    let requests = of_rows("gbdt_5", 1, stand.users);
    let mut arms = vec![
        http("one predictor", 16, &one, &requests, None).asking(redis),
        http("two predictors, connections in turn", 16, &at, &requests, Some(0)).asking(redis),
    ];
    let by_processes = measure("Growth: predictors on the same cores (beside one)", &mut arms, rounds).await?;
    let by_entities = entities(stand, &servers[0], rounds, most_entities).await?;
    Ok(vec![by_rows, by_views, by_processes, by_entities])
}

/// The same with more and more entities in Redis: copies of those that are there, under other keys.
async fn entities(stand: &Stand, server: &Server, rounds: Rounds, most: usize) -> Result<Table> {
    let (mut connection, redis) = (stand.connection().await?, stand.redis.id());
    let keys = stand.keys(1);
    let sample: Vec<&String> = keys.iter().take(1_000).flatten().collect();
    let values: Vec<Vec<u8>> = redis::cmd("MGET").arg(&sample).query_async(&mut connection).await?;
    let mut table: Option<Table> = None;
    let (mut there, mut wanted) = (stand.users, stand.users);
    loop {
        for first in (there + 1..=wanted).step_by(1_000) {
            let mut sets = Pipeline::with_capacity(1_000);
            for (user, value) in (first..first + 1_000).zip(&values) {
                sets.cmd("SET")
                    .arg(sample[0].replace("user_id=1}", &format!("user_id={user}}}")))
                    .arg(value)
                    .ignore();
            }
            sets.query_async::<()>(&mut connection).await?;
        }
        there = wanted;
        let users = (0..DISTINCT).map(|i| 1 + i * 7_919 % there);
        let keys: Vec<Vec<String>> = users
            .clone()
            .map(|user| vec![sample[0].replace("user_id=1}", &format!("user_id={user}}}"))])
            .collect();
        let requests = Requests::post(
            "/v1/models/gbdt_1:predict",
            users.map(|user| json!({ "instances": [{ "user_id": user }] }).to_string()),
        );
        let mut arms = vec![
            Arm {
                name: format!("{there} entities: MGET of 1 value"),
                clients: 8,
                work: Work::Mget {
                    connection: connection.clone(),
                    keys: Arc::new(keys),
                },
                beside: None,
                redis: Some(redis),
                sent: 0,
            },
            http(
                &format!("{there} entities: :predict, 1 view"),
                8,
                &[(address(server)?, server.id())],
                &requests,
                Some(0),
            )
            .asking(redis),
        ];
        let more = measure("Growth: entities in Redis (beside MGET)", &mut arms, rounds).await?;
        match &mut table {
            None => table = Some(more),
            Some(table) => table.lines.extend(more.lines),
        }
        if there >= most {
            break;
        }
        wanted = (there * 10).min(most);
    }
    table.context("at least one")
}
