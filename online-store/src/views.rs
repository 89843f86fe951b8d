//! What a reader knows of views besides their values: markers, and how stored layouts map to each view's features.
//!
//! While definitions change, some callers still read by the old definition of a view and others by the new one. What is
//! stored beside the values belongs to the view's name; how it is understood, to each definition.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use feature_defs::codec::{Body, DecodeError, Schema, decode_body};
use feature_defs::definitions::View;
use feature_defs::key::ValueKeys;
use feature_defs::name::{ProjectName, ViewName};
use feature_defs::serving::Marker;
use feature_defs::value::Value;

/// The views of a reader.
#[derive(Debug)]
pub(crate) struct Views {
    names: Vec<NamedView>,
    /// Where each definition stands, by its address, in the order of these: who looks up the very view that the reader was made
    /// with is not kept waiting by a comparison.
    places: Vec<(usize, Place)>,
    /// Keeps those addresses taken, though an equal view may be what is read by.
    _given: Vec<Arc<View>>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    name: usize,
    definition: usize,
}

/// One name, with every definition of it that is read by. Readers see each part whole: parts are swapped, never changed.
#[derive(Debug)]
pub(crate) struct NamedView {
    pub(crate) name: ViewName,
    pub(crate) keys: ValueKeys,
    pub(crate) marker: ArcSwapOption<Marker>,
    definitions: Vec<ViewState>,
}

/// One definition, and the stored layouts as it sees them.
#[derive(Debug)]
pub(crate) struct ViewState {
    pub(crate) view: Arc<View>,
    /// The layout that it writes itself, as nearly every stored value has it.
    own: Arc<Layout>,
    /// All of them.
    layouts: ArcSwap<HashMap<u64, Option<Arc<Layout>>>>,
}

/// A definition that is read by, under its name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) named: &'a NamedView,
    pub(crate) state: &'a ViewState,
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

impl Views {
    /// These views of a project: of one name there may be several, and equal ones count once.
    pub(crate) fn new(project: &ProjectName, views: Vec<Arc<View>>) -> Self {
        let mut names: Vec<NamedView> = Vec::new();
        let mut places = Vec::with_capacity(views.len());
        for view in &views {
            let name = names.iter().position(|named| named.name == view.name);
            let name = name.unwrap_or_else(|| {
                names.push(NamedView {
                    name: view.name.clone(),
                    keys: ValueKeys::new(project, &view.name),
                    marker: ArcSwapOption::empty(),
                    definitions: Vec::new(),
                });
                names.len() - 1
            });
            let definitions = &mut names[name].definitions;
            let definition = definitions.iter().position(|state| state.view == *view);
            let definition = definition.unwrap_or_else(|| {
                definitions.push(ViewState::new(Arc::clone(view)));
                definitions.len() - 1
            });
            places.push((address(view), Place { name, definition }));
        }
        places.sort_unstable_by_key(|(address, _)| *address);
        Self {
            names,
            places,
            _given: views,
        }
    }

    /// What is known of a view: of this very one, or of one that equals it.
    pub(crate) fn find(&self, view: &View) -> Option<Known<'_>> {
        if let Ok(at) = self
            .places
            .binary_search_by_key(&address(view), |(address, _)| *address)
        {
            let (_, place) = self.places[at];
            let named = &self.names[place.name];
            let state = &named.definitions[place.definition];
            return Some(Known { named, state });
        }
        let named = self.named(&view.name)?;
        let state = named.definitions.iter().find(|state| *state.view == *view)?;
        Some(Known { named, state })
    }

    pub(crate) fn named(&self, name: &ViewName) -> Option<&NamedView> {
        self.names.iter().find(|named| named.name == *name)
    }

    /// Each name once.
    pub(crate) fn names(&self) -> impl Iterator<Item = &NamedView> {
        self.names.iter()
    }
}

fn address(view: &View) -> usize {
    std::ptr::from_ref(view).addr()
}

impl NamedView {
    /// Learns the layouts that are stored, for every definition.
    pub(crate) fn learn(&self, stored: &[Schema]) {
        self.definitions.iter().for_each(|state| state.learn(stored));
    }
}

impl ViewState {
    fn new(view: Arc<View>) -> Self {
        let own = Arc::new(Layout {
            stored: view.schema.clone(),
            positions: None,
            lacking: Vec::new(),
        });
        let layouts = HashMap::from([(view.schema.id(), Some(Arc::clone(&own)))]);
        Self {
            view,
            own,
            layouts: ArcSwap::from_pointee(layouts),
        }
    }

    /// The layout of this id: `None` if it is not known, `Some(None)` if it was looked for and is not stored.
    pub(crate) fn layout(&self, id: u64) -> Option<Option<Arc<Layout>>> {
        if id == self.own.stored.id() {
            return Some(Some(Arc::clone(&self.own)));
        }
        self.layouts.load().get(&id).cloned()
    }

    /// Learns the layouts that are stored, and forgets in which ids it was disappointed.
    fn learn(&self, stored: &[Schema]) {
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
