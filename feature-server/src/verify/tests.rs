//! What a verification says of values that are right, wrong, lost, left over and not yet right.

use std::sync::Arc;

use feature_defs::codec::{Body, Header, Schema, encode};
use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, KeyValue};
use feature_defs::value::Value;
use online_store::Guard;

use super::{Verdict, Verification, VerifyError};
use crate::Mode::{Full, Incremental, Replace};
use crate::Progress;
use crate::testing::{CREATED, Ground, arrivals_toml, at};

async fn verify(ground: &Ground, view: &str) -> Verification {
    ground.app.verify(view, 100, &Progress::hidden()).await.unwrap()
}

fn counts(v: &Verification) -> [u64; 6] {
    [v.entities, v.matched, v.different, v.missing, v.extra, v.stale]
}

/// Somebody writes a value of their own, or takes one away.
async fn tamper(ground: &Ground, view: &str, carrier: &str, value: Option<f64>) {
    let view = ground.app.view(view).unwrap();
    let key = KeyValue::String(carrier.to_owned());
    let entity = EntityKey::new([(&view.entity.join_keys[0].name, &key)]);
    let writer = ground.online().writer();
    writer.forget(&entity, &[&view.name]).await.unwrap();
    let Some(value) = value else { return };
    let header = Header {
        event: at("11:30"),
        created: Some(at("11:30")),
        as_of: at("12:00"),
    };
    let values = view.fields().iter().map(|field| match field.name.as_str() {
        "delay" => Some(Value::Float64(value)),
        _ => None,
    });
    let mut blob = Vec::new();
    encode(&view.schema, header, &Body::Values(values.collect()), &mut blob);
    let written = writer.write(&view.name, Guard::AsOf, &[(entity, blob)]).await.unwrap();
    assert_eq!(written.written, 1);
}

#[tokio::test]
async fn what_is_right_matches_and_what_is_wrong_is_told_with_both_values() {
    let mut ground = Ground::arrivals().await;
    for (carrier, delay) in [("UA", "1"), ("AA", "2"), ("DL", "3"), ("B6", "0.1"), ("B6", "0.2")] {
        ground.arrival(carrier, "11:30", "11:30", delay).await;
    }
    ground.arrival("WN", "08:00", "08:00", "4").await;
    for view in ["newest", "ops"] {
        ground.run(view, Full, "11:45").await;
        // An entity that does not change is as of its marker; one that leaves its windows is none.
        ground.run(view, Incremental, "12:00").await;
    }
    assert_eq!(counts(&verify(&ground, "newest").await), [5, 5, 0, 0, 0, 0]);
    let ops = verify(&ground, "ops").await;
    assert_eq!((ops.matched, ops.wrong_share()), (ops.entities, 0.0));

    tamper(&ground, "newest", "UA", Some(7.0)).await;
    tamper(&ground, "newest", "AA", None).await;
    tamper(&ground, "newest", "ZZ", Some(9.0)).await;
    let wrong = verify(&ground, "newest").await;
    assert_eq!(counts(&wrong), [6, 3, 1, 1, 1, 0]);
    assert!((wrong.wrong_share() - 0.5).abs() < 1e-9);
    let told: Vec<String> = wrong
        .differences
        .iter()
        .map(|d| {
            let [feature] = d.features.as_slice() else {
                panic!("{d:?}")
            };
            format!(
                "{} {:?} {} {} {}",
                d.entity, d.verdict, feature.feature, feature.online, feature.source
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "carrier=AA Missing delay null 2.0",
            "carrier=UA Different delay 7.0 1.0",
            "carrier=ZZ Extra delay 9.0 null"
        ]
    );
    // The remedy.
    ground.run("newest", Replace, "12:05").await;
    assert_eq!(counts(&verify(&ground, "newest").await), [5, 5, 0, 0, 0, 0]);
}

#[tokio::test]
async fn a_value_that_lacks_a_feature_is_different() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "1").await;
    ground.run("newest", Full, "12:00").await;
    let view = ground.app.view("newest").unwrap();
    let without = View {
        schema: Schema::new(Vec::new()),
        ..View::clone(view)
    };
    let key = KeyValue::String("UA".to_owned());
    let entity = EntityKey::new([(&view.entity.join_keys[0].name, &key)]);
    let header = Header {
        event: at("11:30"),
        created: Some(at("11:30")),
        as_of: at("12:00"),
    };
    let mut blob = Vec::new();
    encode(&without.schema, header, &Body::Values(Vec::new()), &mut blob);
    let writer = ground.online().writer();
    writer.put_schema(&without).await.unwrap();
    let written = writer.write(&view.name, Guard::AsOf, &[(entity, blob)]).await.unwrap();
    assert_eq!(written.written, 1);
    let wrong = verify(&ground, "newest").await;
    assert_eq!(counts(&wrong), [1, 0, 1, 0, 0, 0]);
    assert_eq!(wrong.differences[0].features[0].feature, "delay");
}

#[tokio::test]
async fn what_the_next_run_mends_is_stale() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "1").await;
    ground.arrival("AA", "11:30", "11:30", "1").await;
    for view in ["newest", "ops"] {
        ground.run(view, Full, "12:00").await;
    }
    // A correction, and an entity that is new, both late.
    ground.arrival("UA", "11:30", "12:10", "2").await;
    ground.arrival("DL", "11:40", "12:10", "2").await;
    // Not yet: it happens after the moment that is verified.
    ground.arrival("AA", "12:05", "12:05", "3").await;
    ground.clock.set(at("12:20"));
    for view in ["newest", "ops"] {
        let verified = verify(&ground, view).await;
        assert_eq!(counts(&verified), [3, 1, 0, 0, 0, 2], "{view} {verified:?}");
        assert!(verified.differences.iter().all(|d| d.verdict == Verdict::Stale));
        ground.run(view, Incremental, "12:20").await;
        assert_eq!(counts(&verify(&ground, view).await), [3, 3, 0, 0, 0, 0], "{view}");
    }
}

#[tokio::test]
async fn nothing_is_said_of_values_that_nobody_vouches_for() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "1").await;
    let refused = async |ground: &Ground| {
        let error = ground.app.verify("newest", 10, &Progress::hidden()).await.unwrap_err();
        assert!(matches!(error, VerifyError::NotMaterialized(_)), "{error}");
        assert!(
            error.to_string().contains("feature-server materialize newest"),
            "{error}"
        );
    };
    refused(&ground).await;
    ground.run("newest", Full, "12:00").await;
    assert_eq!(verify(&ground, "newest").await.matched, 1);
    let changed = arrivals_toml(CREATED).replace(
        "features = [{ name = \"delay\",",
        "features = [{ name = \"delay\", column = \"delay\",",
    );
    ground.redefine(&changed);
    assert_eq!(
        verify(&ground, "newest").await.matched,
        1,
        "the same definition in other words"
    );
    ground.redefine(&arrivals_toml(""));
    refused(&ground).await;
}

#[tokio::test]
async fn a_sample_is_no_larger_than_asked_for() {
    let mut ground = Ground::arrivals().await;
    ground
        .sql("INSERT INTO arrivals SELECT 'c' || g, '2013-11-05 11:30+00', '2013-11-05 11:30+00', g FROM generate_series(1, 3000) g")
        .await;
    ground.run("newest", Full, "12:00").await;
    let app = Arc::clone(&ground.app);
    let some = app.verify("newest", 200, &Progress::hidden()).await.unwrap();
    assert!((100..=200).contains(&some.entities), "{}", some.entities);
    assert_eq!(some.matched, some.entities);
    let all = app.verify("newest", 10_000, &Progress::hidden()).await.unwrap();
    assert_eq!((all.entities, all.matched), (3_000, 3_000));
    tamper(&ground, "newest", "c17", None).await;
    let all = app.verify("newest", 3_000, &Progress::hidden()).await.unwrap();
    assert_eq!((all.entities, all.missing), (3_000, 1), "all are compared");
}
