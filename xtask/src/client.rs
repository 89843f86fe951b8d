//! Talking to the servers over HTTP, and the curl lines that say the same.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::{Agent, Body, http::Response};

/// A server that answers HTTP on 127.0.0.1.
#[derive(Clone)]
pub(crate) struct Server {
    port: u16,
    agent: Agent,
}

/// An answer whatever its status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Server {
    pub(crate) fn at(port: u16) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            // A server that is started anew has closed them: each request stands for itself.
            .max_idle_connections(0);
        Self {
            port,
            agent: config.build().into(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.agent
            .get(self.url("/health/ready"))
            .call()
            .is_ok_and(|answer| answer.status() == 200)
    }

    /// Posts JSON and returns what comes back.
    pub(crate) fn ask(&self, path: &str, body: &Value) -> Result<Answer> {
        let url = self.url(path);
        let answer = self.agent.post(&url).send_json(body);
        Answer::read(answer.with_context(|| format!("cannot reach {url}"))?, &url)
    }

    /// Posts JSON and returns the JSON of a successful answer.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask(path, body)?.success(&self.url(path))
    }

    /// The JSON of a successful answer.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let url = self.url(path);
        let answer = self.agent.get(&url).call();
        Answer::read(answer.with_context(|| format!("cannot reach {url}"))?, &url)?.success(&url)
    }

    /// The shell's words for `post`.
    pub(crate) fn curl(&self, path: &str, body: &Value) -> String {
        let body = body.to_string().replace('\'', r"'\''");
        format!(
            "curl -s '{}' -H 'content-type: application/json' -d '{body}'",
            self.url(path)
        )
    }
}

impl Answer {
    fn read(mut answer: Response<Body>, url: &str) -> Result<Self> {
        let text = answer
            .body_mut()
            .read_to_string()
            .with_context(|| format!("cannot read the answer of {url}"))?;
        let body = serde_json::from_str(&text).with_context(|| format!("{url} answered no JSON: {text}"))?;
        Ok(Self {
            status: answer.status().as_u16(),
            body,
        })
    }

    fn success(self, url: &str) -> Result<Value> {
        if self.status != 200 {
            bail!("{url} answered {}: {}", self.status, self.body);
        }
        Ok(self.body)
    }
}
