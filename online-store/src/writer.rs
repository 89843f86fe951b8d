//! Writing values, schemas and markers, so that nothing older ever replaces anything newer.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use feature_defs::codec::{Header, decode_header};
use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, marker_key, schemas_key, value_key};
use feature_defs::name::{ProjectName, ViewName};
use feature_defs::serving::Marker;
use feature_defs::time::Timestamp;
use redis::{Cmd, Pipeline, Value};

use crate::connection::SharedConnection;
use crate::error::StoreError;

/// How long one batch, or one command, may take. A writer has time, but not forever.
const WITHIN: Duration = Duration::from_secs(10);
/// A script call stops Redis for its length: so many keys take about 0.2 ms.
const KEYS_PER_CALL: usize = 100;
/// The same for wide values.
const BYTES_PER_CALL: usize = 64 * 1024;

static WRITE_IF_NEWER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("write_if_newer.lua")));
static SET_MARKER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("set_marker.lua")));

/// Writes one project's values. Cheap to clone; clones share a connection.
#[derive(Debug, Clone)]
pub struct OnlineWriter {
    connection: SharedConnection,
    project: ProjectName,
}

/// What of a value must not be older than what is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// The event timestamp, and between equal ones the created timestamp: row views.
    EventThenCreated,
    /// The as-of: aggregate views.
    AsOf,
}

impl Guard {
    const fn name(self) -> &'static str {
        match self {
            Self::EventThenCreated => "event",
            Self::AsOf => "as_of",
        }
    }

    /// Whether `a` is older than `b`: the order that the script has, too.
    fn is_older(self, a: &Header, b: &Header) -> bool {
        match self {
            Self::EventThenCreated => (a.event, a.created) < (b.event, b.created),
            Self::AsOf => a.as_of < b.as_of,
        }
    }
}

/// What must still be so when a run's marker is set, for everything it wrote to be there.
#[derive(Debug, Clone)]
pub struct RunBegun {
    /// The server process that took the first write: another one may have started from older data.
    server: String,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Values that are stored now.
    pub written: u64,
    /// Values that were not stored because a newer one stands, or stood in the same batch.
    pub older: u64,
    /// Bytes of the values written.
    pub bytes: u64,
}

impl OnlineWriter {
    pub(crate) const fn new(connection: SharedConnection, project: ProjectName) -> Self {
        Self { connection, project }
    }

    /// Stores the layout of a view's values. Before the first value of that layout, or readers can't read it.
    ///
    /// # Errors
    /// Redis is away or refuses.
    pub async fn put_schema(&self, view: &View) -> Result<(), StoreError> {
        let json = serde_json::to_string(&view.schema).expect("a list of names and types is JSON");
        let mut command = redis::cmd("HSET");
        command
            .arg(schemas_key(&self.project, &view.name))
            .arg(view.schema.id())
            .arg(json);
        self.connection.query(command, WITHIN).await
    }

    /// Stores each value of a batch unless the stored one is newer by `guard`; atomic by key, whoever races. Stored
    /// bytes that are too short to be a value are overwritten, for they have no times to compare.
    ///
    /// # Errors
    /// Redis is away or refuses; part of the batch may be stored, and writing it again is harmless. A stored value of
    /// an unknown format is left alone; all the others are written.
    pub async fn write(
        &self,
        view: &ViewName,
        guard: Guard,
        batch: &[(EntityKey, Vec<u8>)],
    ) -> Result<Written, StoreError> {
        let newest = self.newest(view, guard, batch)?;
        let superseded = batch.len() - newest.len();
        let entries: Vec<(String, &[u8])> = newest
            .into_iter()
            .map(|(entity, blob)| (value_key(&self.project, view, entity), blob))
            .collect();
        let groups = groups(&entries);
        let calls = groups.iter().map(|group| Call {
            script: &WRITE_IF_NEWER,
            keys: group.iter().map(|(key, _)| key.as_bytes()).collect(),
            args: [guard.name().as_bytes()]
                .into_iter()
                .chain(group.iter().map(|(_, blob)| *blob))
                .collect(),
        });
        let answers = self.run(&calls.collect::<Vec<_>>()).await?;

        let mut total = Written {
            older: superseded as u64,
            ..Written::default()
        };
        let mut unknown = None;
        for (group, answer) in groups.iter().zip(answers) {
            let (written, older, bytes, left_alone): (u64, u64, u64, usize) = self.connection.read(answer)?;
            total.written += written;
            total.older += older;
            total.bytes += bytes;
            unknown = left_alone
                .checked_sub(1)
                .map(|index| group[index].0.clone())
                .or(unknown);
        }
        match unknown {
            None => Ok(total),
            Some(key) => Err(self.unknown_format(key).await),
        }
    }

    /// The marker of a view, if there is one.
    ///
    /// # Errors
    /// Redis is away or refuses, or what is there is no marker.
    pub async fn marker(&self, view: &ViewName) -> Result<Option<Marker>, StoreError> {
        let key = marker_key(&self.project, view);
        let mut command = redis::cmd("HGET");
        command.arg(&key).arg("json");
        let json: Option<String> = self.connection.query(command, WITHIN).await?;
        json.map(|json| serde_json::from_str(&json))
            .transpose()
            .map_err(|error| StoreError::BadMarker {
                key,
                cause: error.to_string(),
            })
    }

    /// Notes that a run begins to write a view's values. Before its first write: its marker will be set only if Redis
    /// has kept all its data since.
    ///
    /// # Errors
    /// Redis is away or refuses.
    pub async fn begin_run(&self, view: &ViewName, run: &str) -> Result<RunBegun, StoreError> {
        let mut commands = Pipeline::with_capacity(2);
        commands
            .cmd("HSET")
            .arg(marker_key(&self.project, view))
            .arg("writing")
            .arg(run);
        // After the note: if the server restarts in between, the note is gone or the id is new.
        commands.cmd("INFO").arg("server");
        let mut answers = self.connection.send(&commands, WITHIN).await?;
        let info: String = self.connection.read(answers.pop().unwrap_or(Value::Nil))?;
        self.connection.read::<Value>(answers.pop().unwrap_or(Value::Nil))?;
        let server = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        Ok(RunBegun {
            server: server.unwrap_or_default().trim().to_owned(),
        })
    }

    /// Sets the marker after a full run. `false`, and nothing changed, if one with a later as-of (of the run, or of the
    /// last full run) stands.
    ///
    /// # Errors
    /// Redis is away or refuses, or may have lost what the run wrote.
    pub async fn create_marker(&self, view: &ViewName, marker: &Marker, begun: &RunBegun) -> Result<bool, StoreError> {
        self.set_marker(view, marker, begun, None).await
    }

    /// Sets the marker after an incremental run that followed `previous_run`. `false`, and nothing changed, if there is
    /// no marker, or another run's, or one with a later as-of.
    ///
    /// # Errors
    /// Redis is away or refuses, or may have lost what the run wrote.
    pub async fn advance_marker(
        &self,
        view: &ViewName,
        previous_run: &str,
        marker: &Marker,
        begun: &RunBegun,
    ) -> Result<bool, StoreError> {
        self.set_marker(view, marker, begun, Some(previous_run)).await
    }

    async fn set_marker(
        &self,
        view: &ViewName,
        marker: &Marker,
        begun: &RunBegun,
        previous: Option<&str>,
    ) -> Result<bool, StoreError> {
        let key = marker_key(&self.project, view);
        let json = serde_json::to_string(marker).expect("a marker is JSON");
        let (as_of_s, as_of_us) = seconds_and_micros(marker.as_of);
        let (full_s, full_us) = seconds_and_micros(marker.full_as_of);
        let mut args = vec![json.as_bytes(), marker.run.as_bytes()];
        args.extend([&as_of_s, &as_of_us, &full_s, &full_us].map(|number| number.as_bytes()));
        args.push(begun.server.as_bytes());
        args.extend(previous.map(str::as_bytes));
        let mut answers = self
            .run(&[Call {
                script: &SET_MARKER,
                keys: vec![key.as_bytes()],
                args,
            }])
            .await?;
        match self.connection.read::<i64>(answers.pop().unwrap_or(Value::Nil))? {
            -1 => Err(StoreError::DataLost { view: view.clone() }),
            set => Ok(set == 1),
        }
    }

    /// The batch without what another value of the same key in it supersedes: one script call must not name a key twice.
    fn newest<'a>(
        &self,
        view: &ViewName,
        guard: Guard,
        batch: &'a [(EntityKey, Vec<u8>)],
    ) -> Result<Vec<(&'a EntityKey, &'a [u8])>, StoreError> {
        let mut newest: Vec<(&EntityKey, &[u8])> = Vec::with_capacity(batch.len());
        let mut seen: HashMap<&EntityKey, (usize, Header)> = HashMap::with_capacity(batch.len());
        for (entity, blob) in batch {
            let (header, _) = decode_header(blob).map_err(|cause| StoreError::NotAValue {
                key: value_key(&self.project, view, entity),
                cause,
            })?;
            match seen.get_mut(entity) {
                None => {
                    seen.insert(entity, (newest.len(), header));
                    newest.push((entity, blob));
                }
                Some((_, other)) if guard.is_older(&header, other) => {}
                Some((index, other)) => {
                    newest[*index].1 = blob;
                    *other = header;
                }
            }
        }
        Ok(newest)
    }

    /// The answers to script calls that are sent together.
    async fn run(&self, calls: &[Call<'_>]) -> Result<Vec<Value>, StoreError> {
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let by_hash = pipeline(calls.iter().map(|call| call.command("EVALSHA", &call.script.hash)));
        let mut answers = self.connection.send(&by_hash, WITHIN).await?;
        let unknown: Vec<usize> = (0..answers.len()).filter(|&i| is_noscript(&answers[i])).collect();
        if !unknown.is_empty() {
            // Redis is new or forgot its scripts. Sending the text runs it and teaches it, too.
            let by_text = pipeline(unknown.iter().map(|&i| calls[i].command("EVAL", calls[i].script.text)));
            for (i, answer) in unknown.into_iter().zip(self.connection.send(&by_text, WITHIN).await?) {
                answers[i] = answer;
            }
        }
        Ok(answers)
    }

    async fn unknown_format(&self, key: String) -> StoreError {
        let mut command = redis::cmd("GETRANGE");
        command.arg(&key).arg(0).arg(0);
        match self.connection.query::<Vec<u8>>(command, WITHIN).await {
            Ok(first) => StoreError::UnknownFormat {
                key,
                version: first.first().copied().unwrap_or_default(),
            },
            Err(error) => error,
        }
    }
}

/// A script's text, and the hash that Redis knows it by once it has run.
struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self {
            text,
            hash: redis::Script::new(text).get_hash().to_owned(),
        }
    }
}

/// One call of a script.
struct Call<'a> {
    script: &'a Script,
    keys: Vec<&'a [u8]>,
    args: Vec<&'a [u8]>,
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

/// Splits entries into the script calls that write them. The one place that decides which keys share a call: on a
/// standalone server any may; on a cluster only those of one slot could.
fn groups<'a, 'b>(entries: &'b [(String, &'a [u8])]) -> Vec<&'b [(String, &'a [u8])]> {
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

fn pipeline(commands: impl ExactSizeIterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    commands.for_each(|command| {
        pipeline.add_command(command);
    });
    pipeline
}

fn is_noscript(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

fn seconds_and_micros(at: Timestamp) -> (String, String) {
    const SECOND: i64 = 1_000_000;
    (
        at.as_micros().div_euclid(SECOND).to_string(),
        at.as_micros().rem_euclid(SECOND).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use feature_defs::codec::{AS_OF_OFFSET, Body, EVENT_OFFSET, Schema, encode};

    use super::*;

    #[test]
    fn the_script_knows_a_header_as_the_codec_does() {
        let zero = Timestamp::from_micros(0);
        let header = Header {
            event: zero,
            created: None,
            as_of: zero,
        };
        let mut blob = Vec::new();
        encode(&Schema::new(Vec::new()), header, &Body::Tombstone, &mut blob);
        let text = WRITE_IF_NEWER.text;
        let constants = format!("local FORMAT, HEADER_LENGTH = {}, {}\n", blob[0], blob.len());
        assert!(text.contains(&constants), "{constants}");
        // After the format byte: what is skipped to the event timestamp, and to the as-of.
        assert!(text.contains(&format!("'>B{}I4I4I4I4'", "x".repeat(EVENT_OFFSET - 1))));
        assert!(text.contains(&format!("string.rep('x', {})", AS_OF_OFFSET - 1)));
    }
}
