//! Writing values of a row view online as they are given, with nothing appended anywhere: what a run of the view finds at its
//! source is compared with them as with any other value.

use feature_defs::codec::{Body, Header, encode};
use feature_defs::definitions::View;
use feature_defs::key::{EntityKey, KeyValue};
use feature_defs::time::Timestamp;
use feature_defs::value::Value;
use service::nearest;

use super::error::shortened;
use super::recompute::moment;
use super::{PushError, PushOptions, Pushed, PushedRow, PushedView, RowError, cells, check_count};
use crate::app::App;
use crate::materialize::guard;

/// What the times of a value are called, whatever its source calls them.
const EVENT_TIMESTAMP: &str = "event_timestamp";
const CREATED: &str = "created";

impl App {
    /// Writes values of a row view online as they are given, and appends nothing: by join key and feature name, with
    /// `event_timestamp` (or the source's name for it) and, if they like, `created` (or the source's name for that; else it
    /// is now). A feature that is not given is null.
    ///
    /// # Errors
    /// See [`PushError`]. A row of the future is refused.
    pub async fn write_online(
        &self,
        view: &str,
        rows: &[PushedRow],
        options: PushOptions,
    ) -> Result<Pushed, PushError> {
        let unknown = |error: crate::app::UnknownView| PushError::UnknownTarget(error.to_string());
        let view = self.view(view).map_err(unknown)?;
        if view.is_recomputed_whole() {
            return Err(PushError::NotWritten {
                view: view.name.clone(),
                reason: match view.is_aggregate() {
                    true => "its values are computed from all events of their windows",
                    false => "its source has a `key`, so that a value is computed from all versions of its events",
                },
            });
        }
        check_count(rows)?;
        let database = self.primary_of(&view.source);
        let (written, errors) = loop {
            let now = self.now_in(database).await?;
            // After the moment was read: see `App::push`.
            self.may_write(view).await?;
            let marker = self.ready_online(view).await?;
            let reading = Given {
                view,
                now: moment(now, marker.as_ref()),
            };
            let (batch, errors) = reading.values(rows);
            if !errors.is_empty() && !options.partial {
                return Err(PushError::of_rows(errors));
            }
            let guard = guard(view, marker.and_then(|marker| marker.complete_as_of));
            let written = self.writer().write(&view.name, guard, &batch).await?;
            if !self.is_overtaken(view, reading.now).await? {
                break (written, errors);
            }
        };
        Ok(Pushed {
            appended: 0,
            views: vec![PushedView {
                view: view.name.clone(),
                written: written.written,
                older: written.older,
            }],
            future: Vec::new(),
            errors,
            not_online: None,
        })
    }
}

/// A view that values are given for, and the moment that is now.
struct Given<'a> {
    view: &'a View,
    now: Timestamp,
}

/// What a name in a row stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    JoinKey(usize),
    Feature(usize),
    Event,
    Created,
}

impl Given<'_> {
    /// What a name stands for; the view's own names first.
    fn name(&self, name: &str) -> Option<Name> {
        let source = &self.view.source;
        let join_key = self
            .view
            .entity
            .join_keys
            .iter()
            .position(|key| key.name.as_str() == name);
        let feature = self.view.fields().iter().position(|field| field.name.as_str() == name);
        let event = name == EVENT_TIMESTAMP || name == source.event_timestamp;
        let created = name == CREATED || source.created_timestamp.as_deref() == Some(name);
        join_key
            .map(Name::JoinKey)
            .or(feature.map(Name::Feature))
            .or(event.then_some(Name::Event))
            .or(created.then_some(Name::Created))
    }

    /// The values of the rows that are right, and what is wrong with the others.
    fn values(&self, rows: &[PushedRow]) -> (Vec<(EntityKey, Vec<u8>)>, Vec<RowError>) {
        let (mut values, mut errors) = (Vec::with_capacity(rows.len()), Vec::new());
        for (number, row) in rows.iter().enumerate() {
            match self.value(row) {
                Ok(value) => values.push(value),
                Err(problems) => errors.push(RowError::of(number, &problems)),
            }
        }
        (values, errors)
    }

    fn value(&self, row: &PushedRow) -> Result<(EntityKey, Vec<u8>), Vec<String>> {
        let view = self.view;
        let mut problems = Vec::new();
        let mut keys: Vec<Option<KeyValue>> = vec![None; view.entity.join_keys.len()];
        let mut values: Vec<Option<Value>> = vec![None; view.fields().len()];
        let (mut event, mut created) = (None, None);
        for (name, json) in row {
            let told = |problem: String| format!("`{name}`: {problem}");
            let read = match self.name(name) {
                None => Err(self.unknown(name)),
                Some(Name::Feature(i)) => cells::feature(view.fields()[i].value_type, json)
                    .map(|value| values[i] = value)
                    .map_err(told),
                Some(Name::JoinKey(i)) => Value::from_json(view.entity.join_keys[i].key_type.value_type(), json)
                    .map(|value| keys[i] = value.and_then(|value| value.try_into().ok()))
                    .map_err(|error| told(error.to_string())),
                Some(Name::Event | Name::Created) if json.is_null() => Ok(()),
                Some(Name::Event) => cells::moment(json).map(|at| event = Some(at)).map_err(told),
                Some(Name::Created) => cells::moment(json).map(|at| created = Some(at)).map_err(told),
            };
            problems.extend(read.err());
        }
        let lacking = view
            .entity
            .join_keys
            .iter()
            .zip(&keys)
            .filter(|(_, value)| value.is_none());
        let lacking = lacking.filter(|(key, _)| row.get(key.name.as_str()).is_none_or(serde_json::Value::is_null));
        problems.extend(lacking.map(|(key, _)| format!("join key `{}` is missing, or null", key.name)));
        match event {
            None if problems.is_empty() => problems.push(format!("`{EVENT_TIMESTAMP}` is missing, or null")),
            Some(event) if event > self.now => problems.push(format!(
                "`{EVENT_TIMESTAMP}` {event} is in the future: it is {} where the view's source is; push the row to the source, and a run serves it when its time has come",
                self.now
            )),
            _ => {}
        }
        let (Some(event), Some(keys)) = (event, keys.into_iter().collect::<Option<Vec<_>>>()) else {
            return Err(problems);
        };
        if !problems.is_empty() {
            return Err(problems);
        }
        let header = Header {
            event,
            // A clock that is ahead must not make a value that nothing corrects.
            created: Some(created.map_or(self.now, |created| created.min(self.now))),
            as_of: self.now,
        };
        let mut blob = Vec::with_capacity(64);
        encode(&view.schema, header, &Body::Values(values), &mut blob);
        let names = view.entity.join_keys.iter().map(|key| &key.name);
        Ok((EntityKey::new(names.zip(&keys)), blob))
    }

    fn unknown(&self, name: &str) -> String {
        let view = self.view;
        let keys = view.entity.join_keys.iter().map(|key| key.name.as_str());
        let features = view.fields().iter().map(|field| field.name.as_str());
        let hint = nearest::hint(name, keys.chain(features).chain([EVENT_TIMESTAMP, CREATED]));
        format!(
            "view {} has no join key or feature `{}`{hint}",
            view.name,
            shortened(name)
        )
    }
}
