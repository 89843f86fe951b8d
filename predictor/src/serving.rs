//! What is served at one moment: models, and the reader of what is stored for them. Never changed, but replaced whole: a
//! request takes it once and ends with what it began with.

use std::sync::Arc;
use std::time::Duration;

use online_store::{OnlineReader, OnlineStore};
use tokio_util::sync::CancellationToken;

use crate::model::Models;

/// How often to look whether requests still use what has been replaced.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One state of what is served.
#[derive(Debug)]
pub(crate) struct Serving {
    /// Every model.
    pub(crate) models: Arc<Models>,
    /// Reads by each definition of a view that one of them was loaded with.
    pub(crate) reader: Arc<OnlineReader>,
    /// Cancelled when another state has taken this one's place.
    pub(crate) replaced: CancellationToken,
}

impl Serving {
    pub(crate) fn new(models: Models, store: &OnlineStore) -> Self {
        let arms = models.serving().flat_map(|served| served.versions.values());
        let featured = arms.filter_map(|arm| arm.model.featured.as_ref());
        let joins = featured.flat_map(|featured| &featured.service.joins);
        let views = joins.map(|join| Arc::clone(&join.view)).collect();
        Self {
            reader: Arc::new(store.reader(views)),
            models: Arc::new(models),
            replaced: CancellationToken::new(),
        }
    }

    /// Waits until no request uses it any more, and takes down sessions and caches where no request has to wait for that.
    pub(crate) async fn retire(self: Arc<Self>) {
        self.replaced.cancel();
        while Arc::strong_count(&self) > 1 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        tokio::task::spawn_blocking(move || drop(self));
    }
}
