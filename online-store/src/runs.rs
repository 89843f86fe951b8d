//! What a run leaves beside the values it writes: the note that it is writing, and in the end the view's marker.

use std::sync::LazyLock;

use feature_defs::key::marker_key;
use feature_defs::name::ViewName;
use feature_defs::serving::Marker;
use feature_defs::time::Timestamp;
use redis::{Pipeline, Value};

use crate::error::StoreError;
use crate::script::{Call, Script, run};
use crate::writer::{OnlineWriter, WITHIN};

static SET_MARKER: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("set_marker.lua")));

/// What must still be so when a run's marker is set, for everything it wrote to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunBegun {
    /// The server process that took the first write: another one may have started from older data.
    server: String,
}

impl RunBegun {
    /// The server process that took the note of the run: what [`OnlineWriter::resume_run`] asks for.
    pub fn server(&self) -> &str {
        &self.server
    }
}

impl OnlineWriter {
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
    /// has kept all its data since. Once a run: whoever shares it or goes on with it calls [`Self::resume_run`], for a
    /// second note would hide that the first was lost.
    ///
    /// # Errors
    /// Redis is away or refuses.
    pub async fn begin_run(&self, view: &ViewName, run: &str) -> Result<RunBegun, StoreError> {
        let mut note = redis::cmd("HSET");
        note.arg(marker_key(&self.project, view)).arg("writing").arg(run);
        let (answer, server) = self.with_server(note).await?;
        self.connection.read::<Value>(answer)?;
        Ok(RunBegun { server })
    }

    /// The server process that answers now, for a run that writes values and sets no marker.
    ///
    /// # Errors
    /// Redis is away or refuses.
    pub async fn server(&self) -> Result<RunBegun, StoreError> {
        let (answer, server) = self.with_server(redis::cmd("PING")).await?;
        self.connection.read::<Value>(answer)?;
        Ok(RunBegun { server })
    }

    /// Goes on with a run that was begun with this server process, whether it was interrupted or others share it. `None`
    /// if what it wrote may not be there any more, because Redis was flushed, restarted or failed over since, or if
    /// another run has begun, or this one has set its marker: then a new run must begin.
    ///
    /// # Errors
    /// Redis is away or refuses.
    pub async fn resume_run(&self, view: &ViewName, run: &str, server: &str) -> Result<Option<RunBegun>, StoreError> {
        let mut note = redis::cmd("HGET");
        note.arg(marker_key(&self.project, view)).arg("writing");
        let (answer, now) = self.with_server(note).await?;
        let note: Option<Vec<u8>> = self.connection.read(answer)?;
        let stands = note.as_deref() == Some(run.as_bytes()) && now == server;
        Ok(stands.then_some(RunBegun { server: now }))
    }

    /// The answer to a command about a run's note, and the id of the server process that gave it.
    async fn with_server(&self, note: redis::Cmd) -> Result<(Value, String), StoreError> {
        let mut commands = Pipeline::with_capacity(2);
        commands.add_command(note);
        // After the note: if the server restarts in between, the note is gone or the id is new.
        commands.cmd("INFO").arg("server");
        let mut answers = self.connection.send(&commands, WITHIN).await?;
        let info: String = self.connection.read(answers.pop().unwrap_or(Value::Nil))?;
        let server = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        let answer = answers.pop().unwrap_or(Value::Nil);
        Ok((answer, server.unwrap_or_default().trim().to_owned()))
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
        let call = Call {
            script: &SET_MARKER,
            keys: vec![key.as_bytes()],
            args,
        };
        let mut answers = run(&self.connection, &[call], WITHIN).await?;
        match self.connection.read::<i64>(answers.pop().unwrap_or(Value::Nil))? {
            -1 => Err(StoreError::DataLost { view: view.clone() }),
            set => Ok(set == 1),
        }
    }
}

fn seconds_and_micros(at: Timestamp) -> (String, String) {
    const SECOND: i64 = 1_000_000;
    (
        at.as_micros().div_euclid(SECOND).to_string(),
        at.as_micros().rem_euclid(SECOND).to_string(),
    )
}
