//! Which versions of a model answer whom.

use std::collections::BTreeMap;
use std::sync::Arc;

use feature_defs::value::Value;

use super::config::CanarySettings;
use super::counterpart::{Carried, Counterpart, carried};
use super::{Fallback, Model, Version};
use crate::predict::request::Instance;

/// A version with who answers in its place when the store cannot be read.
#[derive(Debug, Clone)]
pub struct Arm {
    /// The version.
    pub model: Arc<Model>,
    /// Its fallback, if it has one.
    pub fallback: Option<Fallback>,
}

/// A model with all its versions that are ready to answer.
#[derive(Debug)]
pub struct Served {
    /// The version that takes the traffic.
    pub serving: Arm,
    /// The version that takes a share of it.
    pub canary: Option<Canary>,
    /// The version that predicts what the serving one predicts, when nobody waits for it any more.
    pub shadow: Option<Counterpart>,
    /// All that can be asked for by number.
    pub versions: BTreeMap<Version, Arm>,
}

/// A version that takes a share of the traffic.
#[derive(Debug, Clone)]
pub struct Canary {
    /// How it answers requests for the serving version.
    pub counterpart: Counterpart,
    /// Its fallback, if it has one.
    pub fallback: Option<Fallback>,
    /// Its share of the values of `key`, from 0 to 1.
    pub share: f64,
    key: Vec<Carried>,
    hasher: blake3::Hasher,
}

impl Canary {
    /// Lets `canary` take its share of the requests for `serving`.
    ///
    /// # Errors
    /// Everything that does not fit, a sentence each.
    pub(super) fn link(serving: &Model, canary: &Arm, settings: &CanarySettings) -> Result<Self, Vec<String>> {
        let called = format!("version {}, the canary,", settings.version);
        let counterpart = Counterpart::link(serving, &canary.model, &called)?;
        let service = serving.featured.iter().map(|featured| &featured.service);
        let mut key = Vec::new();
        for service in service {
            match &settings.key {
                None => key.extend((0..service.keys.len()).map(Carried::Key)),
                Some(name) => {
                    let keys = service.keys.iter().map(|k| (k.name.as_str(), k.key_type.value_type()));
                    let request = service.request.iter().map(|f| (f.name.as_str(), f.value_type));
                    let found = keys.clone().chain(request.clone()).find(|(n, _)| *n == name.as_str());
                    key.extend(found.and_then(|(name, value_type)| carried(service, name, value_type)));
                    if found.is_none() {
                        let names = keys.chain(request).map(|(name, _)| name);
                        return Err(vec![format!(
                            "model.toml says canary key = \"{name}\", which is neither a join key nor a request feature{}",
                            service::nearest::hint(name.as_str(), names)
                        )]);
                    }
                }
            }
        }
        if key.is_empty() {
            return Err(vec![format!(
                "{called} needs a `key`: the service has no join key by which to keep an entity at one version"
            )]);
        }
        // Of the version, too: or the same entities would try out every new one.
        let mut hasher = blake3::Hasher::new();
        for text in [serving.name.as_str(), settings.version.as_str()] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        Ok(Self {
            counterpart,
            fallback: canary.fallback.clone(),
            share: settings.share,
            key,
            hasher,
        })
    }

    /// Whether it answers this instance: always the same for the same value of its key, and still so when its share grows.
    pub(crate) fn takes(&self, instance: &Instance) -> bool {
        let mut hasher = self.hasher.clone();
        for carried in &self.key {
            let value = match *carried {
                Carried::Key(index) => instance.keys[index].clone().map(Value::from),
                Carried::Request(index) => instance.request[index].clone(),
            };
            // Values of one key are of one type, so that texts tell them apart; a null is none of them.
            let text = value.map(|value| value.to_text());
            hasher.update(&[u8::from(text.is_some())]);
            hasher.update(text.unwrap_or_default().as_bytes());
            hasher.update(&[0]);
        }
        let hash = hasher.finalize();
        let bytes = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "53 bits are left, which a double holds")]
        let place = (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64;
        place < self.share
    }
}
