//! Whether the cache tier in Redis saves what it costs: a lookup there is a round trip, and many models run in less.

use std::fmt::Write;
use std::time::Duration;

use online_store::{RedisUrl, StoreError};

use crate::model::Model;
use crate::predict::redis_cache::RedisCache;

/// What a lookup and a run take, and a warning if the lookup takes longer.
pub(super) async fn describe(model: &Model, redis: Option<RedisUrl>) -> String {
    let run = model.time_of_one_row();
    let lookup = match &redis {
        None => Err(
            "not measured: with --cache-redis-url (LARDER_CACHE_REDIS_URL) or --redis-url (LARDER_REDIS_URL) it is compared"
                .to_owned(),
        ),
        Some(url) => {
            let lookup = async { RedisCache::open(url)?.time_of_a_lookup().await };
            lookup.await.map_err(|error: StoreError| format!("not measured: {error}"))
        }
    };
    let mut text = "cache: memory, then Redis\n".to_owned();
    let mut line = |what: &str, took: String| {
        // Unwrap safety: writing to a String cannot fail.
        writeln!(text, "  {what}: {took}").expect("a String takes all");
    };
    line(
        "the model on one row",
        run.map_or_else(|| "not measured".to_owned(), micros),
    );
    line("a lookup in Redis", lookup.clone().map_or_else(|why| why, micros));
    if let (Some(run), Ok(lookup)) = (run, lookup)
        && lookup > run
    {
        text.push_str(&format!(
            "warning: to look a row up in Redis takes {}, to run the model {}: `cache = {{ tier = \"memory\" }}` in model.toml \
             answers sooner; batches, which are looked up in one round trip, may still gain\n",
            micros(lookup),
            micros(run)
        ));
    }
    text
}

fn micros(took: Duration) -> String {
    format!("{:.1} µs", took.as_secs_f64() * 1e6)
}
