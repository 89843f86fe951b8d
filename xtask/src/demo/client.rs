//! Talking to the servers over HTTP, and the curl lines that say the same.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::Agent;

/// One of the demo's servers.
pub(crate) struct Server {
    port: u16,
    agent: Agent,
}

impl Server {
    pub(crate) fn at(port: u16) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false);
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

    /// Posts JSON and returns the JSON of a successful answer.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = self.url(path);
        let mut answer = self
            .agent
            .post(&url)
            .send_json(body)
            .with_context(|| format!("cannot reach {url}"))?;
        let status = answer.status();
        let text = answer
            .body_mut()
            .read_to_string()
            .with_context(|| format!("cannot read the answer of {url}"))?;
        if status != 200 {
            bail!("{url} answered {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{url} answered no JSON: {text}"))
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
