//! What a reader knows of a view besides its values: the marker, and how stored layouts map to the view's features.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use feature_defs::codec::{Body, DecodeError, Schema, decode_body};
use feature_defs::definitions::View;
use feature_defs::serving::Marker;
use feature_defs::value::Value;

/// One view of a reader. Readers see each part whole: parts are swapped, never changed.
#[derive(Debug)]
pub(crate) struct ViewState {
    pub(crate) view: Arc<View>,
    pub(crate) marker: ArcSwapOption<Marker>,
    layouts: ArcSwap<HashMap<u64, Option<Arc<Layout>>>>,
}

/// A stored layout, seen from the view.
#[derive(Debug)]
pub(crate) struct Layout {
    stored: Schema,
    /// For each feature of the view, where it stands in the stored layout; `None` if all stand where the view has them.
    positions: Option<Vec<Option<usize>>>,
    /// The features that the stored layout has none of.
    lacking: Vec<usize>,
}

impl ViewState {
    pub(crate) fn new(view: Arc<View>) -> Self {
        let own = Layout {
            stored: view.schema.clone(),
            positions: None,
            lacking: Vec::new(),
        };
        let layouts = HashMap::from([(view.schema.id(), Some(Arc::new(own)))]);
        Self {
            view,
            marker: ArcSwapOption::empty(),
            layouts: ArcSwap::from_pointee(layouts),
        }
    }

    /// The layout of this id: `None` if it is not known, `Some(None)` if it was looked for and is not stored.
    pub(crate) fn layout(&self, id: u64) -> Option<Option<Arc<Layout>>> {
        self.layouts.load().get(&id).cloned()
    }

    /// Learns the layouts that are stored, and forgets in which ids it was disappointed.
    pub(crate) fn learn(&self, stored: &[Schema]) {
        let known = self.layouts.load();
        if stored
            .iter()
            .all(|schema| matches!(known.get(&schema.id()), Some(Some(_))))
            && known.values().all(Option::is_some)
        {
            return;
        }
        let mut layouts: HashMap<_, _> = known
            .iter()
            .filter(|(_, layout)| layout.is_some())
            .map(|(id, layout)| (*id, layout.clone()))
            .collect();
        for schema in stored {
            layouts
                .entry(schema.id())
                .or_insert_with(|| Some(Arc::new(Layout::new(schema.clone(), &self.view))));
        }
        self.layouts.store(Arc::new(layouts));
    }

    /// Notes that a layout is not stored, so that not every read looks for it again.
    pub(crate) fn miss(&self, id: u64) {
        self.layouts.rcu(|known| {
            let mut layouts = HashMap::clone(known);
            layouts.entry(id).or_insert(None);
            layouts
        });
    }
}

impl Layout {
    fn new(stored: Schema, view: &View) -> Self {
        let positions = stored.positions(view.fields());
        let lacking = (0..).zip(&positions).filter(|(_, position)| position.is_none());
        Self {
            lacking: lacking.map(|(feature, _)| feature).collect(),
            stored,
            positions: Some(positions),
        }
    }

    /// The features of the view that blobs of this layout lack.
    pub(crate) fn lacking(&self) -> &[usize] {
        &self.lacking
    }

    /// The values of a blob, one a feature of the view; null where the layout lacks it. `None`: a tombstone.
    pub(crate) fn values(&self, blob: &[u8]) -> Result<Option<Vec<Option<Value>>>, DecodeError> {
        let mut values = match decode_body(blob, &self.stored)? {
            Body::Tombstone => return Ok(None),
            Body::Values(values) => values,
        };
        Ok(Some(match &self.positions {
            None => values,
            // A view names a feature once, so each stored value is wanted once at most.
            Some(positions) => positions
                .iter()
                .map(|position| position.and_then(|i| values[i].take()))
                .collect(),
        }))
    }
}
