//! A client in a Python of its own, driven call by call.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use end_to_end::env::{required, root};
use serde_json::Value as Json;

/// A running `feast_client.py` or `triton_client.py`.
pub(crate) struct Puppet {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _repository: Option<tempfile::TempDir>,
}

/// An error that the client raised.
#[derive(Debug)]
pub(crate) struct Raised {
    /// The exception's class.
    pub(crate) class: String,
    /// What it says.
    pub(crate) message: String,
    /// How long the call took.
    pub(crate) seconds: f64,
}

impl Puppet {
    /// Starts Feast's SDK with its online store at `url`, and applies the objects it needs to a registry of its own.
    pub(crate) fn start(url: &str) -> Self {
        let repository = tempfile::tempdir().unwrap();
        let mut command = Command::new(required("LARDER_TEST_FEAST_PYTHON"));
        command
            .arg(root().join("tests/python/feast_client.py"))
            .arg(url)
            .arg(repository.path())
            .env("FEAST_USAGE", "False");
        Self::of(command, Some(repository))
    }

    /// Starts Triton's client for a server at these addresses.
    pub(crate) fn triton(http: &str, grpc: &str) -> Self {
        let mut command = Command::new(required("LARDER_TEST_TRITON_PYTHON"));
        command
            .arg(root().join("tests/python/triton_client.py"))
            .args([http, grpc]);
        Self::of(command, None)
    }

    fn of(mut command: Command, repository: Option<tempfile::TempDir>) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut puppet = Self {
            stdin: child.stdin.take().unwrap(),
            stdout: BufReader::new(child.stdout.take().unwrap()),
            child,
            _repository: repository,
        };
        assert_eq!(puppet.hear()["said"], "ready");
        puppet
    }

    /// What the client says to a call of its script.
    pub(crate) fn try_call(&mut self, call: &Json) -> Result<Json, Raised> {
        writeln!(self.stdin, "{call}").unwrap();
        let mut answer = self.hear();
        match answer.get("error") {
            None => Ok(answer["said"].take()),
            Some(class) => Err(Raised {
                class: class.as_str().unwrap().to_owned(),
                message: answer["message"].as_str().unwrap().to_owned(),
                seconds: answer["seconds"].as_f64().unwrap(),
            }),
        }
    }

    /// The same, where nothing should go wrong.
    pub(crate) fn call(&mut self, call: &Json) -> Json {
        self.try_call(call)
            .unwrap_or_else(|raised| panic!("{}: {raised:?}", short(call)))
    }

    /// The same, where something should: a client's mistake, which the SDK tells at once rather than to try again.
    pub(crate) fn refused(&mut self, call: &Json, said: &str) {
        let raised = self.try_call(call).expect_err("it should be refused");
        assert!(raised.message.contains(said), "{}: {raised:?}", short(call));
        assert_eq!(raised.class, "RuntimeError", "{raised:?}");
        assert!(raised.seconds < 1.0, "it was tried again: {raised:?}");
    }

    fn hear(&mut self) -> Json {
        let mut line = String::new();
        // Feast's SDK prints lines of its own, too.
        loop {
            line.clear();
            assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the client has ended");
            if let Ok(answer @ Json::Object(_)) = serde_json::from_str(&line) {
                return answer;
            }
        }
    }
}

/// Enough of a call to know it by.
fn short(call: &Json) -> String {
    call.to_string().chars().take(300).collect()
}

impl Drop for Puppet {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
