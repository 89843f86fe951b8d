//! Mistakes of a client: 4xx, in the envelope, with words that help.

use serde_json::json;

use super::Server;

#[tokio::test]
async fn mistakes_of_reads_are_told() {
    let server = Server::new().await;
    let tails = json!({"tail": ["N1"]});
    let of = |features: &[&str]| json!({"entities": tails, "features": features}).to_string();
    let flight = |change: (&str, serde_json::Value)| {
        let mut entities = json!({"origin": ["JFK"], "dest": ["LGA"], "carrier": ["UA"], "tail": ["N1"], "distance": [1.0],
            "gate": [1]});
        match change.1 {
            serde_json::Value::Null => {
                entities.as_object_mut().unwrap().remove(change.0);
            }
            value => entities[change.0] = value,
        }
        json!({"entities": entities, "feature_service": "flight", "full_feature_names": true}).to_string()
    };
    let many: Vec<String> = (0..50_001).map(|i| format!("N{i}")).collect();
    for (body, status, code, said) in [
        (String::from("{\"entities\": "), 400, "invalid_json", "EOF"),
        (r#"{"entities": {"tail": [NaN]}}"#.into(), 400, "invalid_json", "no NaN"),
        ("[]".into(), 422, "invalid_request", "invalid length 0"),
        ("{}".into(), 422, "invalid_request", "missing field `entities`"),
        (
            json!({"entities": {"tail": "N1"}}).to_string(),
            422,
            "invalid_request",
            "column `tail` is not a list",
        ),
        (
            json!({"entities": tails, "features": "x"}).to_string(),
            422,
            "invalid_request",
            "expected a sequence",
        ),
        (
            json!({"entities": tails}).to_string(),
            422,
            "invalid_request",
            "nothing is asked for",
        ),
        (of(&[]), 422, "invalid_request", "nothing is asked for"),
        (
            of(&["seats"]),
            422,
            "invalid_request",
            "`seats` is not a feature: write \"view:feature\"",
        ),
        (of(&["plan:seats"]), 404, "unknown_view", "did you mean `plane`?"),
        (
            of(&["origin_ops:arrivals_1h"]),
            404,
            "unknown_view",
            "feature service `flight` calls one so",
        ),
        (
            of(&["derived:per_km"]),
            422,
            "invalid_request",
            "name the `feature_service`",
        ),
        (of(&["plane:seat"]), 404, "unknown_feature", "did you mean `seats`?"),
        (
            of(&["plane:seats", "plane:note", "plane:seats"]),
            422,
            "invalid_request",
            "`plane__seats` is asked for twice",
        ),
        (
            json!({"entities": tails, "feature_service": "plans"}).to_string(),
            404,
            "unknown_feature_service",
            "did you mean `planes`?",
        ),
        (
            json!({"entities": {}, "features": ["plane:note"]}).to_string(),
            422,
            "invalid_request",
            "join key `tail`",
        ),
        (
            json!({"entities": {"tail": ["N1"], "x": [1, 2]}, "features": ["plane:note"]}).to_string(),
            422,
            "invalid_request",
            "column `x` has 2 values, and `tail` has 1",
        ),
        (
            json!({"entities": {"tail": ["N1", 7]}, "features": ["plane:note"]}).to_string(),
            422,
            "invalid_request",
            "row 1, `tail`: expected string, got 7",
        ),
        // What an older SDK asks for a view of two join keys: it sends the first one only.
        (
            json!({"entities": {"carrier": ["UA"]}, "features": ["route_last:delay"]}).to_string(),
            422,
            "invalid_request",
            "join key `dest` is missing",
        ),
        (
            flight(("distance", json!(null))),
            422,
            "invalid_request",
            "request feature `distance` is missing",
        ),
        (
            flight(("gate", json!([1.5]))),
            422,
            "invalid_request",
            "row 0, `gate`: expected int64",
        ),
        (
            flight(("origin", json!(null))),
            422,
            "invalid_request",
            "join key `origin` is missing",
        ),
        (
            flight(("origin", json!(["JFK"]))).replace("\"full_feature_names\":true", "\"full_feature_names\":false"),
            422,
            "invalid_request",
            "would be called `arrivals_1h`: ask with \"full_feature_names\": true",
        ),
        (
            json!({"entities": {"tail": many}, "features": ["plane:note"]}).to_string(),
            422,
            "invalid_request",
            "50001 rows of 1 view(s) are more than the 50000",
        ),
        (
            format!("{{\"entities\": {{\"tail\": [\"{}\"]}}}}", "x".repeat(5 << 20)),
            413,
            "body_too_large",
            "larger",
        ),
    ] {
        let shown: String = body.chars().take(200).collect();
        let (got, answer) = server.post("/get-online-features", body).await;
        let error = answer["error"].as_str().unwrap();
        assert_eq!(
            (got, answer["code"].as_str()),
            (status, Some(code)),
            "{shown}: {answer}"
        );
        assert!(error.contains(said), "{shown}: {error}");
        assert!(
            answer["details"].is_object() && answer["request_id"].is_string(),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn every_problem_of_the_rows_is_told_and_not_more_than_a_hundred() {
    let server = Server::new().await;
    let body = json!({"entities": {"tail": vec![7; 150]}, "feature_service": "planes"});
    let (status, answer) = server.post("/get-online-features", body.to_string()).await;
    assert_eq!(status, 422);
    assert_eq!(answer["details"]["count"], 150);
    assert_eq!(answer["details"]["problems"].as_array().unwrap().len(), 100);
    assert_eq!(
        answer["details"]["problems"][1],
        "row 1, `tail`: expected string, got 7"
    );
}
