//! Reads: the envelope, statuses, types, names; equal to what `get` says; also while a view is being materialized.

use serde_json::{Value as Json, json};

use super::Server;
use crate::Mode;

/// A read's results as lines: name, values, statuses, event timestamps.
fn lines(answer: &Json) -> String {
    let names = answer["metadata"]["feature_names"].as_array().unwrap();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(names.len(), results.len(), "{answer}");
    let line = |(name, result): (&Json, &Json)| {
        format!(
            "{} {} {} {}",
            name.as_str().unwrap(),
            result["values"],
            result["statuses"],
            result["event_timestamps"]
        )
    };
    names.iter().zip(results).map(line).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_answer_is_feasts_with_true_statuses_in_the_order_asked() {
    let server = Server::new().await;
    let body = json!({
        "entities": {"tail": ["N1", "N2", "N3", "N9", null]},
        "features": ["plane:note", "plane:single", "plane:seats", "plane:raw", "plane:seen", "plane:parts"],
    });
    let (status, answer) = server.post("/get-online-features", body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    insta::assert_snapshot!(lines(&answer), @r#"
    tail ["N1","N2","N3","N9",null] ["PRESENT","PRESENT","PRESENT","PRESENT","NULL_VALUE"] ["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
    note ["new",null,null,null,null] ["PRESENT","NULL_VALUE","OUTSIDE_MAX_AGE","NOT_FOUND","NOT_FOUND"] ["2013-11-05T11:00:00.500Z","2013-11-05T11:00:00Z","2013-11-01T11:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
    single [0.1,"Infinity",null,null,null] ["PRESENT","PRESENT","OUTSIDE_MAX_AGE","NOT_FOUND","NOT_FOUND"] ["2013-11-05T11:00:00.500Z","2013-11-05T11:00:00Z","2013-11-01T11:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
    seats [9007199254740993,null,null,null,null] ["PRESENT","NULL_VALUE","OUTSIDE_MAX_AGE","NOT_FOUND","NOT_FOUND"] ["2013-11-05T11:00:00.500Z","2013-11-05T11:00:00Z","2013-11-01T11:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
    raw ["aGkg",null,null,null,null] ["PRESENT","NULL_VALUE","OUTSIDE_MAX_AGE","NOT_FOUND","NOT_FOUND"] ["2013-11-05T11:00:00.500Z","2013-11-05T11:00:00Z","2013-11-01T11:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
    seen [1383523201,null,null,null,null] ["PRESENT","NULL_VALUE","OUTSIDE_MAX_AGE","NOT_FOUND","NOT_FOUND"] ["2013-11-05T11:00:00.500Z","2013-11-05T11:00:00Z","2013-11-01T11:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
    parts [[1,2],[],null,null,null] ["PRESENT","PRESENT","OUTSIDE_MAX_AGE","NOT_FOUND","NOT_FOUND"] ["2013-11-05T11:00:00.500Z","2013-11-05T11:00:00Z","2013-11-01T11:00:00Z","1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
    "#);
    assert_eq!(answer["metadata"].as_object().unwrap().len(), 1, "{answer}");
}

#[tokio::test]
async fn views_of_several_keys_are_read_together_and_the_rest_is_ignored() {
    let server = Server::new().await;
    // `place` is the entity's name, which older clients send; nobody knows `colour`, nor `user`.
    let body = json!({
        "entities": {"dest": ["JFK", "LGA"], "colour": [1, 2], "place": ["LGA", "JFK"], "carrier": ["UA", "AA"]},
        "features": ["route_last:delay", "airport_ops:delay_1h"],
        "full_feature_names": true,
        "include_feature_view_version_metadata": true,
        "feature_service": null,
        "user": 7,
    });
    let (status, answer) = server.post("/get-online-features", body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    insta::assert_snapshot!(lines(&answer), @r#"
    dest ["JFK","LGA"] ["PRESENT","PRESENT"] ["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
    airport ["LGA","JFK"] ["PRESENT","PRESENT"] ["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
    carrier ["UA","AA"] ["PRESENT","PRESENT"] ["1970-01-01T00:00:00Z","1970-01-01T00:00:00Z"]
    route_last__delay [30.0,null] ["PRESENT","NOT_FOUND"] ["2013-11-05T11:40:00Z","1970-01-01T00:00:00Z"]
    airport_ops__delay_1h [10.0,30.0] ["PRESENT","PRESENT"] ["2013-11-05T12:00:00Z","2013-11-05T12:00:00Z"]
    "#);
    let views = &answer["metadata"]["feature_view_metadata"];
    assert_eq!(*views, json!([{"name": "route_last"}, {"name": "airport_ops"}]));
}

#[tokio::test]
async fn a_service_answers_what_get_says() {
    let server = Server::new().await;
    let rows = [
        ("JFK", "LGA", "UA", "N1", Some(2.0)),
        ("LGA", "JFK", "AA", "N3", Some(-0.5)),
        ("XXX", "JFK", "UA", "N9", None),
    ];
    let body = json!({
        "entities": {
            "origin": rows.map(|row| row.0), "dest": rows.map(|row| row.1), "carrier": rows.map(|row| row.2),
            "tail": rows.map(|row| row.3), "distance": rows.map(|row| row.4), "gate": [7, 8.0, null],
        },
        "feature_service": "flight",
        "full_feature_names": true,
        "features": ["ignored:beside", "a service"],
    });
    let (status, answer) = server.post("/get-online-features", body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let names: Vec<&str> = answer["metadata"]["feature_names"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "origin",
            "dest",
            "carrier",
            "tail",
            "per_km",
            "dest_ops__arrivals_1h",
            "origin_ops__arrivals_1h",
            "route_last__delay",
            "plane__seats"
        ]
    );
    for (at, (origin, dest, carrier, tail, distance)) in rows.iter().enumerate() {
        let mut values = vec![
            ("origin", *origin),
            ("dest", *dest),
            ("carrier", *carrier),
            ("tail", *tail),
        ];
        let distance = distance.map(|x| x.to_string());
        values.extend(distance.as_deref().map(|x| ("distance", x)));
        let values: Vec<_> = values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let said = server.ground.app.get("flight", &values).await.unwrap();
        for feature in said.iter().filter(|f| names.contains(&f.feature.as_str())) {
            let place = names.iter().position(|name| *name == feature.feature).unwrap();
            let result = &answer["results"][place];
            assert_eq!(result["values"][at], feature.value, "{feature:?}");
            assert_eq!(result["statuses"][at], feature.status.name(), "{feature:?}");
            let event = feature
                .event_timestamp
                .map_or("1970-01-01T00:00:00Z".to_owned(), |at| at.to_string());
            assert_eq!(result["event_timestamps"][at], event, "{feature:?}");
        }
        assert_eq!(said.len(), 7);
    }
}

#[tokio::test]
async fn no_rows_and_no_joins_are_answered_too() {
    let server = Server::new().await;
    let body = json!({"entities": {"tail": []}, "feature_service": "planes"});
    let (status, answer) = server.post("/get-online-features", body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(lines(&answer), "tail [] [] []\nseats [] [] []");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_is_read_while_it_is_materialized() {
    let mut server = Server::new().await;
    server
        .ground
        .sql("INSERT INTO planes SELECT 'T' || i, '2013-11-05 11:00+00', i FROM generate_series(1, 20000) i")
        .await;
    let app = std::sync::Arc::clone(&server.ground.app);
    let run = tokio::spawn(async move {
        let request = crate::RunRequest::new(Mode::Full);
        app.materialize("plane", &request, &crate::Progress::hidden())
            .await
            .unwrap()
    });
    let body = json!({"entities": {"tail": ["N1", "N9"]}, "features": ["plane:seats"]}).to_string();
    let mut reads = 0;
    while !run.is_finished() || reads == 0 {
        let (status, answer) = server.post("/get-online-features", body.clone()).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["results"][1]["statuses"], json!(["PRESENT", "NOT_FOUND"]));
        reads += 1;
    }
    assert_eq!(run.await.unwrap().counts.written, 20_000 + 3);
}
