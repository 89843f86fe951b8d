//! Samples of the entities that have something stored.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use feature_defs::codec::Body;
use feature_defs::definitions::{Entity, JoinKey, View};
use feature_defs::key::{EntityKey, KeyType, KeyValue};
use online_store::{Guard, KeySample, OnlineStore};

use crate::support::{Raw, Server, Times, blob, carrier, counter, counter_view, store_at};

/// Places all over the keyspace, the first and the last among them; the same in each run of the tests.
fn starts() -> impl Iterator<Item = u64> + Clone {
    let spread = (1..50_u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    [0, u64::MAX].into_iter().chain(spread)
}

async fn put(store: &OnlineStore, view: &View, entities: impl IntoIterator<Item = EntityKey>) {
    let batch: Vec<_> = entities
        .into_iter()
        .map(|entity| (entity, blob(view, Times::all(1), &Body::Tombstone)))
        .collect();
    store.writer().write(&view.name, Guard::AsOf, &batch).await.unwrap();
}

fn entities(sample: &KeySample) -> HashSet<EntityKey> {
    let set: HashSet<_> = sample.entities.iter().map(|(entity, _)| entity.clone()).collect();
    assert_eq!(set.len(), sample.entities.len(), "each once");
    set
}

#[tokio::test]
async fn entities_are_read_back_with_the_values_of_their_join_keys() {
    let join_key = |name: &str, key_type| JoinKey {
        name: name.parse().unwrap(),
        key_type,
    };
    let view = View {
        entity: Arc::new(Entity {
            name: "route".parse().unwrap(),
            join_keys: vec![join_key("origin", KeyType::String), join_key("number", KeyType::Int64)],
        }),
        ..View::clone(&counter_view())
    };
    let mut expected = HashSet::new();
    for (i, text) in ["", "UA", "a:b", "{}", "*", "[", "a,b=c", "%41", "日本 é"]
        .into_iter()
        .enumerate()
    {
        expected.insert(vec![KeyValue::String(text.into()), KeyValue::Int64(i as i64 - 3)]);
    }
    let server = Server::start();
    let (store, raw) = store_at(&server.url());
    let name = |i: usize| &view.entity.join_keys[i].name;
    put(
        &store,
        &view,
        expected
            .iter()
            .map(|values| EntityKey::new([(name(0), &values[0]), (name(1), &values[1])])),
    )
    .await;

    // What is stored under other names, or spelled otherwise, is passed over; what is no value is none of its business.
    put(&store, &view, [carrier("UA"), carrier("number=1")]).await;
    let other = View {
        name: "rows_2".parse().unwrap(),
        ..View::clone(&view)
    };
    put(&store, &other, [carrier("UA")]).await;
    store.writer().put_schema(&view).await.unwrap();
    raw.run::<()>(&[b"SET", b"@rows:{origin=UA,number=+1}", b"x"]).await;
    let no_text = [&b"@rows:{origin="[..], b"\xff,number=1}"].concat();
    raw.run::<()>(&[b"SET", &no_text, b"x"]).await;
    // Damaged, or of another type, but stored.
    raw.run::<()>(&[b"SET", b"@rows:{origin=damaged,number=1}", b"x"]).await;
    raw.run::<()>(&[b"RPUSH", b"@rows:{origin=list,number=1}", b"x"]).await;
    expected.extend(["damaged", "list"].map(|text| vec![KeyValue::String(text.into()), KeyValue::Int64(1)]));

    for start in starts() {
        let sample = store.sample_keys(&view, 100, start).await.unwrap();
        assert_eq!(entities(&sample).len(), expected.len());
        for (entity, values) in &sample.entities {
            assert!(expected.contains(values), "{values:?}");
            assert_eq!(*entity, EntityKey::new([(name(0), &values[0]), (name(1), &values[1])]));
        }
        assert_eq!(sample.unreadable, 4, "from {start}");
    }
}

#[tokio::test]
async fn a_sample_begins_where_it_is_told_and_holds_as_many_as_asked_for() {
    let server = Server::start();
    let (store, _) = store_at(&server.url());
    let view = counter_view();
    assert_eq!(store.sample_keys(&view, 10, 7).await.unwrap(), KeySample::default());
    put(&store, &view, (0..1_000).map(|i| carrier(&i.to_string()))).await;
    let mut first = HashSet::new();
    for start in starts() {
        for limit in [0, 1, 30, 999, 1_000, 1_001] {
            let sample = store.sample_keys(&view, limit, start).await.unwrap();
            assert_eq!(entities(&sample).len(), limit.min(1_000), "{limit} from {start}");
            first.extend(sample.entities.into_iter().take(1));
        }
    }
    assert!(first.len() > 25, "51 starts began with {} entities", first.len());
}

/// How often `SCAN` was called on a server.
async fn scans(raw: &Raw) -> u64 {
    let info: String = raw.run(&[b"INFO", b"commandstats"]).await;
    let calls = info.lines().find_map(|line| line.strip_prefix("cmdstat_scan:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn few_entities_among_many_others_are_found_in_two_turns_at_most() {
    let server = Server::start();
    let (store, raw) = store_at(&server.url());
    let (few, many) = (counter_view(), "rows_2");
    let others = View {
        name: many.parse().unwrap(),
        ..View::clone(&few)
    };
    put(&store, &others, (0..20_000).map(|i| carrier(&i.to_string()))).await;
    put(&store, &few, ["a", "b", "c"].map(carrier)).await;
    for start in starts() {
        let before = scans(&raw).await;
        let sample = store.sample_keys(&few, 100, start).await.unwrap();
        assert_eq!(entities(&sample), ["a", "b", "c"].map(carrier).into());
        let steps = scans(&raw).await - before;
        assert!(steps <= 2 * (20_003 / 1_000 + 1), "{steps} steps from {start}");
    }
    // And it goes no further than it has to.
    let before = scans(&raw).await;
    store.sample_keys(&others, 100, 0).await.unwrap();
    assert_eq!(scans(&raw).await - before, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_all_the_while_is_found_while_the_keyspace_grows() {
    let server = Server::start();
    let (store, _) = store_at(&server.url());
    let view = counter_view();
    put(&store, &view, (0..100).map(|i| carrier(&format!("stands{i}")))).await;
    let (written, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let growth = {
        let (writer, view, written, done) = (store.writer(), view.clone(), written.clone(), done.clone());
        tokio::spawn(async move {
            while !done.load(Ordering::SeqCst) {
                let name = written.load(Ordering::SeqCst).to_string();
                let batch = [(carrier(&name), counter(&view, Times::all(1), 1))];
                writer.write(&view.name, Guard::AsOf, &batch).await.unwrap();
                written.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    // Redis's table grows at each power of two.
    for start in starts().cycle() {
        let sample = store.sample_keys(&view, usize::MAX, start).await.unwrap();
        let found = entities(&sample);
        assert!((0..100).all(|i| found.contains(&carrier(&format!("stands{i}")))));
        if written.load(Ordering::SeqCst) > 2_500 {
            break;
        }
    }
    done.store(true, Ordering::SeqCst);
    growth.await.unwrap();
}
