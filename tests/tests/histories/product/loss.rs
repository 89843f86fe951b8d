//! What Redis loses of a view, and what it comes back with.

use anyhow::Result;
use feature_defs::key::{marker_key, schemas_key, value_key};

use super::{Product, key};
use crate::outcome::Outcome;
use crate::views::View;
use crate::world::{Case, Entity};

/// Each key of a view with what it held.
pub(super) type Saved = Vec<(String, Option<Vec<u8>>)>;

impl Product {
    /// Every key that Redis may hold of a view.
    fn keys(&self, case: &Case, view: View) -> Result<Vec<String>> {
        let declared = self.declared(view)?;
        let mut keys = vec![
            marker_key(self.project(), &declared.name),
            schemas_key(self.project(), &declared.name),
        ];
        for group in &case.groups {
            let entities = Entity::all(view.join).into_iter();
            keys.extend(
                entities.map(|entity| value_key(self.project(), &declared.name, &key(&declared, group, entity))),
            );
        }
        Ok(keys)
    }

    pub(super) async fn lose_marker(&mut self, view: View) -> Result<Outcome> {
        let key = marker_key(self.project(), &self.declared(view)?.name);
        redis::cmd("DEL").arg(key).exec_async(&mut self.redis).await?;
        Ok(Outcome::Happened)
    }

    pub(super) async fn lose_all(&mut self, case: &Case, view: View) -> Result<Outcome> {
        let keys = self.keys(case, view)?;
        redis::cmd("DEL").arg(keys).exec_async(&mut self.redis).await?;
        Ok(Outcome::Happened)
    }

    pub(super) async fn save(&mut self, case: &Case, view: View) -> Result<Outcome> {
        let keys = self.keys(case, view)?;
        let mut commands = redis::pipe();
        for key in &keys {
            commands.cmd("DUMP").arg(key);
        }
        let held: Vec<Option<Vec<u8>>> = commands.query_async(&mut self.redis).await?;
        self.saved.insert(view.name(), keys.into_iter().zip(held).collect());
        Ok(Outcome::Happened)
    }

    pub(super) async fn roll_back(&mut self, case: &Case, view: View) -> Result<Outcome> {
        let Some(saved) = self.saved.get(&view.name()) else {
            return self.lose_all(case, view).await;
        };
        let mut commands = redis::pipe();
        for (key, held) in saved {
            match held {
                Some(held) => commands.cmd("RESTORE").arg(key).arg(0).arg(held).arg("REPLACE"),
                None => commands.cmd("DEL").arg(key),
            };
        }
        commands.exec_async(&mut self.redis).await?;
        Ok(Outcome::Happened)
    }
}
