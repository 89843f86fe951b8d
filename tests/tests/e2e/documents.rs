//! What the pages under docs/ show is run, and their links lead somewhere. (docs/definitions.md: feature-defs.)

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use end_to_end::documents::Document;
use end_to_end::env::root;
use end_to_end::flights;
use end_to_end::redis_server::RedisServer;
use end_to_end::shell::Shell;
use feature_defs::definitions;
use feature_defs::time::SystemClock;
use feature_server::{App, ServeOptions, Settings, Time};
use predictor::model::config::{ModelFile, VersionFile};
use serde_json::Value as Json;
use sqlx::AssertSqlSafe;
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn one_fact_is_followed_as_the_concepts_say() {
    let page = Document::read("docs/concepts.md");
    let shell = Shell::new().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(page.block("sql", "CREATE TABLE")))
        .execute(&shell.database.pool)
        .await
        .unwrap();
    shell.write("features/concepts.toml", &page.block("toml", "format = 1"));
    assert_eq!(
        shell.sh(&page.block("sh", "training-set")),
        page.block("text", "train.csv")
    );
    // What a materialization as of the same moment writes.
    shell.sh("feature-server migrate");
    for (moment, orders) in [("2024-05-01T12:30:00Z", 3), ("2024-05-01T13:00:00Z", 2)] {
        shell.sh(&format!("feature-server materialize --as-of {moment}"));
        let online = shell.sh("feature-server get habits customer_id=7 --json");
        let online: serde_json::Value = serde_json::from_str(&online).unwrap();
        assert_eq!(online[1]["value"], orders, "{online}");
        // The order is older than its ttl by now.
        assert_eq!(online[0]["status"], "OUTSIDE_MAX_AGE", "{online}");
    }
}

#[tokio::test]
async fn definitions_change_as_operations_say() {
    let (readme, page) = (Document::read("README.md"), Document::read("docs/operations.md"));
    let shell = Shell::new().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(readme.block("sql", "CREATE TABLE")))
        .execute(&shell.database.pool)
        .await
        .unwrap();
    shell.write("features/shop.toml", &readme.block("toml", "format = 1"));
    shell.write(
        "models/fraud/1/version.toml",
        &readme.block("toml", "feature_service = "),
    );
    let spending = || {
        let online = shell.sh("feature-server get fraud customer_id=7 amount=80 --json");
        let online: serde_json::Value = serde_json::from_str(&online).unwrap();
        online[1]["value"].as_f64().unwrap()
    };
    shell.sh(&page.block("sh", "feature-server migrate"));
    assert!((spending() - 30.0).abs() < 1e-9);
    let later = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    let said = shell.sh(&page.block("sh", "feature-server plan --models"));
    assert_eq!(later(&said), later(&page.block("text", "unused: view")));
    let said = shell.sh(&page.block("sh", "materialize --incremental"));
    for run in [
        "spending    forced full: the view's definition has changed",
        "last_order  forced full: it is the view's first run",
    ] {
        assert!(
            said.contains(run) && page.block("text", "forced full").contains(run),
            "{said}"
        );
    }
    let said = shell.sh(&page.block("sh", "rm features/"));
    assert!(said.ends_with(&page.block("text", "value removed")), "{said}");
    assert_eq!(shell.sh("feature-server prune"), "nothing is left of retired views\n");
    assert!((spending() - 30.0).abs() < 1e-9);
}

#[tokio::test]
async fn rows_are_pushed_as_the_operations_say() {
    let page = Document::read("docs/operations.md");
    let shell = Shell::new().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(page.block("sql", "CREATE TABLE payments")))
        .execute(&shell.database.pool)
        .await
        .unwrap();
    shell.write("features/payments.toml", &page.block("toml", "push_to = \"payments\""));
    shell.sh("feature-server migrate");
    let checked = shell.sh("feature-server check --database");
    assert!(checked.contains("the database fits the definitions"), "{checked}");
    assert_eq!(
        shell.sh(&page.block("sh", "payments.ndjson")),
        page.block("text", "rows appended")
    );
}

#[tokio::test]
async fn the_page_about_models_shows_files_and_requests_that_are_taken() {
    let page = Document::read("docs/models.md");
    for text in page.blocks("toml") {
        let outcome = if text.contains("serve = ") {
            toml::from_str::<ModelFile>(text).map(|file| file.problems())
        } else {
            toml::from_str::<VersionFile>(text).map(|file| file.problems())
        };
        assert_eq!(outcome, Ok(Vec::new()), "{text}");
    }
    let redis = RedisServer::start().unwrap();
    let models = flights::patient_models().unwrap();
    let app = flights::load_predictor(models.path(), &redis.url(), Arc::new(SystemClock)).unwrap();
    let mut asked = 0;
    for request in page.blocks("sh").filter(|request| request.contains("curl")) {
        let (_, rest) = request.split_once("localhost:8080").unwrap();
        let (path, body) = rest.split_once(" -d '").unwrap();
        let (body, _) = body.rsplit_once('\'').unwrap();
        let request = axum::http::Request::builder()
            .method("POST")
            .uri(path)
            .body(axum::body::Body::from(body.to_owned()))
            .unwrap();
        let response = tower::ServiceExt::oneshot(app.router(), request).await.unwrap();
        // This predictor lets nobody control its models.
        let expected = if path.ends_with(":promote") { 403 } else { 200 };
        assert_eq!(response.status().as_u16(), expected, "{path}");
        asked += 1;
    }
    assert_eq!(asked, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_as_the_page_about_http_shows() {
    let page = Document::read("docs/http.md");
    let shell = Shell::new().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(page.block("sql", "CREATE TABLE")))
        .execute(&shell.database.pool)
        .await
        .unwrap();
    shell.write("features/taxi.toml", &page.block("toml", "format = 1"));
    shell.sh("feature-server migrate");
    let settings = Settings {
        database: shell.database.url.parse().unwrap(),
        source_database: None,
        named_databases: BTreeMap::new(),
        redis: shell.redis.url().parse().unwrap(),
    };
    let definitions = definitions::load(&shell.dir.path().join("features")).unwrap_or_else(|error| panic!("{error}"));
    let app = App::open(&settings, definitions, Time::SourceDatabase).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    let server = tokio::spawn({
        let stop = stop.clone();
        async move { app.serve(listener, None, stop, ServeOptions::default()).await }
    });
    let mut asked = 0;
    for (curl, shown) in page.exchanges() {
        let (_, path) = curl.split_once("localhost:8090").unwrap();
        let (path, body) = path.split_once(" -d '").unwrap();
        let (body, _) = body.rsplit_once('\'').unwrap();
        let url = format!("http://{address}{}", path.trim_end_matches('\''));
        let request = reqwest::Client::new().post(url).body(body.to_owned());
        let mut answer: Json = request.send().await.unwrap().json().await.unwrap();
        let mut shown: Json = serde_json::from_str(shown).unwrap();
        for body in [&mut answer, &mut shown] {
            if let Some(id) = body.get_mut("request_id") {
                *id = Json::Null;
            }
        }
        assert_eq!(answer, shown, "{curl}");
        asked += 1;
    }
    assert_eq!(asked, 7);
    stop.cancel();
    server.await.unwrap().unwrap();
}

#[test]
fn links_lead_somewhere() {
    let mut pages = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned()];
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        pages.push(format!("docs/{}", entry.unwrap().file_name().to_string_lossy()));
    }
    for page in pages {
        let text = std::fs::read_to_string(root().join(&page)).unwrap();
        let folder = root().join(Path::new(&page).parent().unwrap());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                root().join(&page)
            } else {
                folder.join(path)
            };
            assert!(target.exists(), "{page} links to {link}");
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(
                    headings.into_iter().any(|found| found == heading),
                    "{page} links to {link}"
                );
            }
        }
    }
}

/// What a heading's link is called.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
