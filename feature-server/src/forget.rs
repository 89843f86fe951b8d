//! Forgetting an entity: its values are removed online, physically, in every view of it.

use std::time::{Duration, Instant};

use feature_defs::definitions::{JoinKey, View};
use feature_defs::key::{EntityKey, KeyType, KeyValue};
use feature_defs::name::{FeatureName, ViewName};
use online_store::StoreError;
use serde::Serialize;

use crate::app::App;
use crate::database::DatabaseError;
use crate::materialize::{Lock, RunError};
use crate::shard::Shard;

/// How long a run may go on before forgetting is given up.
const RUN_ENDS_WITHIN: Duration = Duration::from_secs(60);

/// What became of an entity's values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Forgotten {
    /// As Redis keys spell it: `carrier=UA`.
    pub entity: String,
    /// Each view of it, and whether there was a value.
    pub views: Vec<ForgottenIn>,
    /// Views of entities that these join keys are only a part of: their values stay.
    pub part_of: Vec<ViewName>,
}

/// A view that has forgotten an entity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForgottenIn {
    /// The view.
    pub view: ViewName,
    /// Whether it had a value, or the memory that it has none any more.
    pub had_value: bool,
}

/// Why an entity could not be forgotten.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ForgetError {
    #[error("{0}")]
    Entity(String),
    #[error(transparent)]
    Online(#[from] StoreError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("{0}; values of views before it are removed: forget again once it is over, or cancel it")]
    Busy(RunError),
}

impl App {
    /// Removes what is stored for the entity with these join keys, given as text, and records that it did. The values
    /// return with the next run that finds its rows at the source.
    ///
    /// # Errors
    /// No view is of such an entity; or a store is away, and then part of the values may be removed.
    pub async fn forget(&self, keys: &[(String, String)]) -> Result<Forgotten, ForgetError> {
        self.store().check_schema().await?;
        let views = &self.definitions().views;
        let of: Vec<&View> = views
            .iter()
            .map(|view| &**view)
            .filter(|view| is_of(view, keys))
            .collect();
        let Some(first) = of.first() else {
            return Err(ForgetError::Entity(self.no_entity(keys)));
        };
        // The spelling depends on the declared order, which entities of the same keys may have in two ways.
        let mut forgotten: Vec<ForgottenIn> = Vec::new();
        let mut spelled: Vec<EntityKey> = Vec::new();
        for view in &of {
            let entity = entity_key(view, keys).map_err(ForgetError::Entity)?;
            if !spelled.contains(&entity) {
                spelled.push(entity);
            }
        }
        for entity in &spelled {
            let same = of.iter().filter(|view| entity_key(view, keys).as_ref() == Ok(entity));
            for view in same {
                // A run under way may have read the entity before its rows were removed, and would write it again.
                let lock = self.lock_when_idle(view).await?;
                let had_value = self.writer().forget(entity, &[&view.name]).await? == [true];
                lock.release().await;
                forgotten.push(ForgottenIn {
                    view: view.name.clone(),
                    had_value,
                });
            }
        }
        let had: Vec<String> = forgotten
            .iter()
            .filter(|f| f.had_value)
            .map(|f| f.view.to_string())
            .collect();
        let entity = entity_key(first, keys).map_err(ForgetError::Entity)?;
        self.store().record_forgotten(&entity, &had).await?;
        let is_part = |view: &&View| keys.iter().all(|(name, _)| has_key(view, name));
        Ok(Forgotten {
            entity: entity.to_string(),
            views: forgotten,
            part_of: views
                .iter()
                .map(|view| &**view)
                .filter(|view| !is_of(view, keys))
                .filter(is_part)
                .map(|view| view.name.clone())
                .collect(),
        })
    }

    /// The view's lock, once no run holds it; runs of schedules are short.
    async fn lock_when_idle<'a>(&'a self, view: &'a View) -> Result<Lock<'a>, ForgetError> {
        let waited = Instant::now();
        loop {
            match Lock::take(self.store(), &view.name, Shard::WHOLE).await {
                Ok(lock) => return Ok(lock),
                Err(RunError::Busy { .. }) if waited.elapsed() < RUN_ENDS_WITHIN => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(RunError::Database(error)) => return Err(error.into()),
                Err(error) => return Err(ForgetError::Busy(error)),
            }
        }
    }

    fn no_entity(&self, keys: &[(String, String)]) -> String {
        let given: Vec<&str> = keys.iter().map(|(name, _)| name.as_str()).collect();
        let mut known: Vec<String> = self
            .definitions()
            .views
            .iter()
            .map(|view| {
                let names = view.entity.join_keys.iter().map(|key| format!("{}=…", key.name));
                names.collect::<Vec<_>>().join(" ")
            })
            .collect();
        known.sort();
        known.dedup();
        format!(
            "no view is of an entity with the join keys {}; there are: {}",
            given.join(", "),
            known.join("; ")
        )
    }
}

fn has_key(view: &View, name: &str) -> bool {
    view.entity.join_keys.iter().any(|key| key.name.as_str() == name)
}

/// Whether a view's entity is identified by these join keys, each given once.
fn is_of(view: &View, keys: &[(String, String)]) -> bool {
    keys.len() == view.entity.join_keys.len()
        && view
            .entity
            .join_keys
            .iter()
            .all(|key| keys.iter().filter(|(name, _)| name == key.name.as_str()).count() == 1)
}

fn entity_key(view: &View, keys: &[(String, String)]) -> Result<EntityKey, String> {
    let values: Vec<(&FeatureName, KeyValue)> = view
        .entity
        .join_keys
        .iter()
        .map(|key| Ok((&key.name, value(key, keys)?)))
        .collect::<Result<_, String>>()?;
    Ok(EntityKey::new(values.iter().map(|(name, value)| (*name, value))))
}

fn value(key: &JoinKey, keys: &[(String, String)]) -> Result<KeyValue, String> {
    let text = keys
        .iter()
        .find(|(name, _)| name == key.name.as_str())
        .map_or("", |(_, value)| value.as_str());
    match key.key_type {
        KeyType::String => Ok(KeyValue::String(text.to_owned())),
        KeyType::Int64 => text
            .parse()
            .map(KeyValue::Int64)
            .map_err(|_| format!("join key `{}` is an int64, which `{text}` is not", key.name)),
    }
}
