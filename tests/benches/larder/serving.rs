//! Predictions: `:predict` and `/v2/…/infer` beside an echo of the same bodies, `MGET`s of the same values, and the model alone.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use end_to_end::servers::Server;
use serde_json::{Value, json};

use crate::arm::{Arm, Rounds, Work, measure};
use crate::echo::Echo;
use crate::load::{Requests, ask_all, ask_once};
use crate::report::Table;
use crate::stand::{FEATURES, Stand, address};

/// Requests that clients go round in: more than a core's own caches keep.
pub(crate) const DISTINCT: usize = 20_000;

/// A predictor with its yardsticks.
struct Bench<'a> {
    stand: &'a Stand,
    server: (SocketAddr, u32),
    echoes: Vec<Echo>,
    rounds: Rounds,
}

/// All tables about predictions.
pub(crate) async fn tables(stand: &Stand, rounds: Rounds) -> Result<Vec<Table>> {
    let server: Server = stand.predictor().await?;
    let mut bench = Bench {
        stand,
        server: (address(&server)?, server.id()),
        echoes: Vec::new(),
        rounds,
    };
    Ok(vec![
        bench.features_and_model().await?,
        bench.views().await?,
        bench.rows().await?,
        bench.cache().await?,
        bench.tensors().await?,
    ])
}

impl Bench<'_> {
    async fn features_and_model(&mut self) -> Result<Table> {
        let requests = self.of_rows("gbdt_5", 1);
        let echo = self.echo(&requests).await?;
        let mut arms = vec![self.model_alone("gbdt")?];
        for clients in [1, 8, 16, 64] {
            let at = arms.len();
            arms.push(http("echo of the same bodies", clients, &[echo], &requests, None));
            arms.push(self.mget(5, clients).await?);
            arms.push(self.predictor(":predict, 5 views, GBDT", clients, &requests, Some(at)));
        }
        self.measure(":predict beside its parts", &mut arms).await
    }

    async fn views(&mut self) -> Result<Table> {
        let mut arms = Vec::new();
        for views in [1, 5, 15] {
            let requests = self.of_rows(&format!("gbdt_{views}"), 1);
            let echo = self.echo(&requests).await?;
            let at = arms.len();
            arms.push(http(&format!("echo, {views} view(s)"), 8, &[echo], &requests, None));
            arms.push(self.mget(views, 8).await?);
            arms.push(self.predictor(&format!(":predict, {views} view(s)"), 8, &requests, Some(at)));
        }
        self.measure(":predict by number of views", &mut arms).await
    }

    async fn rows(&mut self) -> Result<Table> {
        let mut arms = Vec::new();
        for clients in [1, 8] {
            let at = arms.len();
            for rows in [1, 10, 100] {
                let requests = self.of_rows("gbdt_5", rows);
                let beside = (rows > 1).then_some(at);
                arms.push(self.predictor(&format!(":predict, {rows} row(s)"), clients, &requests, beside));
            }
        }
        self.measure(":predict by rows of a request (beside one row)", &mut arms)
            .await
    }

    async fn cache(&mut self) -> Result<Table> {
        // Asked once before, so that all of them are kept.
        let hits = self.of_users("gbdt_kept", (1..=500).collect());
        let slow_hits = self.of_users("slow_kept", (1..=500).collect());
        let misses = self.of_rows("gbdt_5", 1);
        let (slow, sum) = (self.of_rows("slow", 1), self.of_rows("sum", 1));
        // Of five requests four are of 100 users, which are soon kept, and one of a user that nobody asked for.
        let mixed = |model: &str| {
            let user = |i: usize| if i.is_multiple_of(5) { 1_000 + i } else { 1 + i % 100 };
            self.of_users(model, (0..self.stand.users - 1_000).map(user).collect())
        };
        for kept in [&hits, &slow_hits] {
            ask_all(self.server.0, kept).await?;
        }
        let (mixed_kept, mixed_without) = (mixed("slow_kept"), mixed("slow"));
        let ask = |name: &str, requests: &Arc<Requests>, beside| self.predictor(name, 8, requests, beside);
        let mut arms = vec![
            self.model_alone("slow")?,
            ask("GBDT, no cache", &misses, None),
            ask("GBDT, all hits", &hits, Some(1)),
            ask("slow model, no cache", &slow, None),
            ask("slow model, all hits", &slow_hits, Some(3)),
            ask("slow model, no cache, 80 % repeated", &mixed_without, None),
            ask("slow model, cache, 80 % repeated", &mixed_kept, Some(5)),
            // As good as no model: what a hit saves is seen beside it.
            ask("a sum of the features, no cache", &sum, None),
        ];
        self.measure("The prediction cache (beside the same without)", &mut arms)
            .await
    }

    async fn tensors(&mut self) -> Result<Table> {
        let mut arms = Vec::new();
        for model in ["gbdt", "mlp"] {
            let requests = inferences(&format!("{model}_tensors"));
            let echo = self.echo(&requests).await?;
            arms.push(self.model_alone(model)?);
            for clients in [1, 8, 64] {
                let at = arms.len();
                arms.push(http("echo of the same bodies", clients, &[echo], &requests, None));
                arms.push(http(
                    &format!("/v2/…/infer, {model}"),
                    clients,
                    &[self.server],
                    &requests,
                    Some(at),
                ));
            }
        }
        self.measure("The Open Inference Protocol, tensors in and out", &mut arms)
            .await
    }

    async fn measure(&self, title: &str, arms: &mut [Arm]) -> Result<Table> {
        measure(title, arms, self.rounds).await
    }

    /// Predictions of stored features.
    fn predictor(&self, name: &str, clients: usize, requests: &Arc<Requests>, beside: Option<usize>) -> Arm {
        http(name, clients, &[self.server], requests, beside).asking(self.stand.redis.id())
    }

    /// An echo that answers as the predictor does.
    async fn echo(&mut self, requests: &Requests) -> Result<(SocketAddr, u32)> {
        let answer = ask_once(self.server.0, requests).await?;
        let told: Value = serde_json::from_slice(&answer).context("an answer is JSON")?;
        anyhow::ensure!(
            told["predictions"][0]["prediction"].is_number() || told["outputs"][0]["data"][0].is_number(),
            "no prediction: {told}"
        );
        let echo = Echo::start(self.stand.dir.path(), &format!("echo{}", self.echoes.len()), &answer).await?;
        let at = (echo.address, echo.id());
        self.echoes.push(echo);
        Ok(at)
    }

    fn of_rows(&self, model: &str, rows: usize) -> Arc<Requests> {
        of_rows(model, rows, self.stand.users)
    }

    fn of_users(&self, model: &str, users: Vec<usize>) -> Arc<Requests> {
        let bodies = users
            .into_iter()
            .map(|user| json!({ "instances": [{ "user_id": user }] }).to_string());
        Requests::post(&format!("/v1/models/{model}:predict"), bodies)
    }

    async fn mget(&self, views: usize, clients: usize) -> Result<Arm> {
        Ok(Arm {
            name: format!("MGET of {views} value(s)"),
            clients,
            work: Work::Mget {
                connection: self.stand.connection().await?,
                keys: self.stand.keys(views),
            },
            beside: None,
            redis: Some(self.stand.redis.id()),
            sent: 0,
        })
    }

    fn model_alone(&self, model: &str) -> Result<Arm> {
        Ok(Arm {
            name: format!("model alone, {model}"),
            clients: 1,
            work: Work::Model {
                session: Box::new(self.stand.session(model)?),
                rows: rows(),
                width: FEATURES,
            },
            beside: None,
            redis: None,
            sent: 0,
        })
    }
}

/// Requests at these servers, in turn.
pub(crate) fn http(
    name: &str,
    clients: usize,
    servers: &[(SocketAddr, u32)],
    requests: &Arc<Requests>,
    beside: Option<usize>,
) -> Arm {
    Arm {
        name: name.to_owned(),
        clients,
        work: Work::Http {
            servers: servers.to_vec(),
            requests: Arc::clone(requests),
        },
        beside,
        redis: None,
        sent: 0,
    }
}

/// Requests of so many rows, of one user after the other.
pub(crate) fn of_rows(model: &str, rows: usize, users: usize) -> Arc<Requests> {
    let bodies = (0..(DISTINCT / rows).max(20)).map(|i| {
        let instances: Vec<Value> = (0..rows)
            .map(|row| json!({ "user_id": (i * rows + row) % users + 1 }))
            .collect();
        json!({ "instances": instances }).to_string()
    });
    Requests::post(&format!("/v1/models/{model}:predict"), bodies)
}

/// Requests with the tensors of one row after the other.
pub(crate) fn inferences(model: &str) -> Arc<Requests> {
    let bodies = (0..DISTINCT).map(|i| {
        let row = &rows()[i * FEATURES..(i + 1) * FEATURES];
        json!({ "inputs": [{ "name": "features", "datatype": "FP32", "shape": [1, FEATURES], "data": row }] })
            .to_string()
    });
    Requests::post(&format!("/v2/models/{model}/infer"), bodies)
}

/// Distinct rows, the same in every run: the same row again and again looks faster than it is.
fn rows() -> Arc<Vec<f32>> {
    static ROWS: std::sync::OnceLock<Arc<Vec<f32>>> = std::sync::OnceLock::new();
    let rows = ROWS.get_or_init(|| {
        let mut state = 42_u64;
        let next = || {
            // A linear congruential generator: its high bits are random enough.
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1_u64 << 24) as f32
        };
        Arc::new(std::iter::repeat_with(next).take(DISTINCT * FEATURES).collect())
    });
    Arc::clone(rows)
}
