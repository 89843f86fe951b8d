//! Scripts that Redis runs whole: their texts' hashes, their calls, and which keys may share one.

use std::time::Duration;

use redis::{Cmd, Pipeline, Value};

use crate::connection::SharedConnection;
use crate::error::StoreError;

/// A call stops Redis for its length: so many keys take less than 0.1 ms. More would cost a key as much, and readers wait longer.
const KEYS_PER_CALL: usize = 32;
/// The same for wide values.
const BYTES_PER_CALL: usize = 32 * 1024;

/// A script's text, and the hash that Redis knows it by once it has run.
pub(crate) struct Script {
    pub(crate) text: &'static str,
    hash: String,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self {
            text,
            hash: redis::Script::new(text).get_hash().to_owned(),
        }
    }
}

/// One call of a script.
pub(crate) struct Call<'a> {
    pub(crate) script: &'a Script,
    pub(crate) keys: Vec<&'a [u8]>,
    pub(crate) args: Vec<&'a [u8]>,
}

impl Call<'_> {
    fn command(&self, name: &str, script: &str) -> Cmd {
        let bytes = self.keys.iter().chain(&self.args).map(|arg| arg.len()).sum::<usize>() + script.len();
        let mut command = Cmd::with_capacity(3 + self.keys.len() + self.args.len(), bytes + 32);
        command.arg(name).arg(script).arg(self.keys.len());
        self.keys.iter().chain(&self.args).for_each(|arg| {
            command.arg(*arg);
        });
        command
    }
}

/// The answers to script calls that are sent together, one each, in order.
///
/// # Errors
/// No answer within that time, or no connection; an answer may be an error, too.
pub(crate) async fn run(
    connection: &SharedConnection,
    calls: &[Call<'_>],
    within: Duration,
) -> Result<Vec<Value>, StoreError> {
    if calls.is_empty() {
        return Ok(Vec::new());
    }
    let by_hash = pipeline(calls.iter().map(|call| call.command("EVALSHA", &call.script.hash)));
    let mut answers = connection.send(&by_hash, within).await?;
    let unknown: Vec<usize> = (0..answers.len()).filter(|&i| is_noscript(&answers[i])).collect();
    if !unknown.is_empty() {
        // Redis is new or forgot its scripts. Sending the text runs it and teaches it, too.
        let by_text = pipeline(unknown.iter().map(|&i| calls[i].command("EVAL", calls[i].script.text)));
        for (i, answer) in unknown.into_iter().zip(connection.send(&by_text, within).await?) {
            answers[i] = answer;
        }
    }
    Ok(answers)
}

/// Splits keys, each with what is sent along for it, into the commands that name them. The one place that decides which
/// keys share a command: on a standalone server any may; on a cluster only those of one slot could.
pub(crate) fn groups<'b, K>(entries: &'b [(K, &[u8])]) -> Vec<&'b [(K, &'b [u8])]> {
    let mut groups = Vec::with_capacity(entries.len() / KEYS_PER_CALL + 1);
    let (mut start, mut bytes) = (0, 0);
    for (i, (_, blob)) in entries.iter().enumerate() {
        if i > start && (i - start == KEYS_PER_CALL || bytes + blob.len() > BYTES_PER_CALL) {
            groups.push(&entries[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += blob.len();
    }
    if start < entries.len() {
        groups.push(&entries[start..]);
    }
    groups
}

pub(crate) fn pipeline(commands: impl ExactSizeIterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    commands.for_each(|command| {
        pipeline.add_command(command);
    });
    pipeline
}

fn is_noscript(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT")
}
