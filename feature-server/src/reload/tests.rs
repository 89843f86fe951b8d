//! Definitions that change under a running server: taken up, refused, mended.

use std::sync::Arc;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::DefinitionFiles;
use crate::serve::ServeOptions;
use crate::testing::{CREATED, Ground, arrivals_toml};

/// A server on a ground, at a port of its own.
struct Running {
    ground: Ground,
    base: String,
    stop: CancellationToken,
    server: JoinHandle<std::io::Result<()>>,
}

impl Running {
    async fn new() -> Self {
        let ground = Ground::arrivals().await;
        let files = DefinitionFiles::watch(ground.folder()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let server = tokio::spawn({
            let (app, stop) = (Arc::clone(&ground.app), stop.clone());
            async move { app.serve(listener, Some(files), stop, ServeOptions::default()).await }
        });
        Self {
            ground,
            base,
            stop,
            server,
        }
    }

    async fn text(&self, path: &str) -> String {
        let answer = reqwest::get(format!("{}{path}", self.base)).await.unwrap();
        answer.text().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path).await).unwrap()
    }

    async fn views(&self) -> Vec<String> {
        let listed = self.json("/v1/views").await;
        let views = listed["views"].as_array().unwrap().iter();
        views.map(|view| view["name"].as_str().unwrap().to_owned()).collect()
    }

    /// What stands in the way of taking up the definitions.
    async fn problem(&self) -> Option<String> {
        let ready = self.json("/health/ready").await;
        assert_eq!(ready["ready"], true, "{ready}");
        let mut checks = ready["checks"].as_array().unwrap().iter();
        let check = checks.find(|check| check["name"] == "definitions").unwrap();
        assert_eq!(check["ok"] == false, check["problem"].is_string(), "{check}");
        check["problem"].as_str().map(str::to_owned)
    }

    async fn until_problem(&self, mention: &str) -> String {
        loop {
            if let Some(problem) = self.problem().await.filter(|problem| problem.contains(mention)) {
                return problem;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn until_taken_up(&self, views: &[&str]) {
        while self.problem().await.is_some() || self.views().await != views {
            tokio::task::yield_now().await;
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.server.await.unwrap().unwrap();
    }
}

/// As an operator would.
fn hang_up() {
    let id = std::process::id().to_string();
    let sent = std::process::Command::new("kill").args(["-HUP", &id]).status();
    assert!(sent.unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_are_taken_up_refused_and_mended() {
    let toml = arrivals_toml(CREATED);
    let more = format!(
        "{toml}\n[[feature_view]]\nname = \"more\"\nentity = \"carrier\"\nsource = \"arrivals\"\nfresh_for = \"1m\"\nfeatures = [{{ name = \"delay\", type = \"float64\" }}]\n"
    );
    let running = Running::new().await;
    running.until_taken_up(&["ops", "newest"]).await;
    let metrics = running.text("/metrics").await;
    assert!(metrics.contains("larder_definitions_broken 0"), "{metrics}");
    // By themselves.
    running.ground.write(&more);
    running.until_taken_up(&["ops", "newest", "more"]).await;
    // With everything that is wrong.
    let wrong = more
        .replace("function = \"mean\"", "function = \"maen\"")
        .replace("ttl = \"6h\"", "ttl = \"six hours\"");
    running.ground.write(&wrong);
    let problem = running.until_problem("wrong").await;
    assert!(problem.contains("maen") && problem.contains("six hours"), "{problem}");
    assert_eq!(running.views().await, ["ops", "newest", "more"], "as before");
    let metrics = running.text("/metrics").await;
    assert!(metrics.contains("larder_definitions_broken 1"), "{metrics}");
    assert!(
        metrics.contains("larder_definitions_reloads_total{outcome=\"refused\"} 1"),
        "{metrics}"
    );
    // When told so.
    let elsewhere = more.replace("table = \"arrivals\"", "table = \"arrivals\"\ndatabase = \"nowhere\"");
    running.ground.write(&elsewhere);
    hang_up();
    running.until_problem("LARDER_DATABASE_NOWHERE_URL").await;
    let project = running.ground.folder().join("project.toml");
    let ours = std::fs::read_to_string(&project).unwrap();
    running.ground.write(&more);
    std::fs::write(&project, "format = 1\nproject = \"others\"\n").unwrap();
    hang_up();
    running.until_problem("these definitions are of project `others`").await;
    std::fs::write(&project, ours).unwrap();
    hang_up();
    running.until_taken_up(&["ops", "newest", "more"]).await;
    let metrics = running.text("/metrics").await;
    assert!(metrics.contains("larder_definitions_broken 0"), "{metrics}");

    // Of a view that is no more, no number stands.
    let told = |view: &str, value: &str| format!("larder_view_fresh_for_seconds{{view=\"{view}\"}} {value}");
    while !running.text("/metrics").await.contains(&told("more", "60")) {
        tokio::task::yield_now().await;
    }
    running.ground.write(&toml);
    hang_up();
    running.until_taken_up(&["ops", "newest"]).await;
    while !running.text("/metrics").await.contains(&told("more", "NaN")) {
        tokio::task::yield_now().await;
    }
    running.end().await;
}
