//! Makes definitions of what Feast's objects say, and notes what can't be made one.

use std::collections::HashMap;
use std::sync::Arc;

use super::draft::{About, Draft};
use super::feature_store::FeatureStore;
use super::report::Notes;
use super::values::{Object, Place};
use super::views::field;
use crate::definition_files::names::{unique, valid};

/// What a view is made by.
pub(super) const VIEWS: [&str; 5] = [
    "FeatureView",
    "BatchFeatureView",
    "StreamFeatureView",
    "batch_feature_view",
    "stream_feature_view",
];
pub(super) const ON_DEMAND: [&str; 2] = ["OnDemandFeatureView", "on_demand_feature_view"];

/// What to do with something that has another name here.
pub(super) const RENAMED: &str =
    "names are a letter, then letters, digits and single underscores, each once: ask for it by that name";

/// Why something is not carried over, and what to do instead.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) why: String,
    pub(super) help: String,
}

impl Left {
    pub(super) fn new(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            help: help.into(),
        }
    }

    /// Something whose value only the running code knows, or that is not what it should be.
    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self::new(
            why,
            "write it as a plain value and import again, or write the definition by hand",
        )
    }
}

/// The objects of a repository while they are carried over. What became of each is known by its id: an index into the
/// draft's list, or `None` if it is not carried over.
pub(super) struct Carry<'c> {
    pub(super) made: &'c [Arc<Object>],
    pub(super) store: &'c FeatureStore,
    pub(super) notes: &'c mut Notes,
    pub(super) draft: Draft,
    pub(super) sources: HashMap<usize, Option<usize>>,
    pub(super) entities: HashMap<usize, Option<usize>>,
    pub(super) views: HashMap<usize, Option<usize>>,
    /// The services that use an on-demand feature view, by its id.
    pub(super) on_demand: HashMap<usize, Vec<String>>,
}

/// Carries over what `made` holds.
pub(super) fn carry(made: &[Arc<Object>], store: &FeatureStore, notes: &mut Notes) -> Draft {
    let mut carry = Carry {
        made,
        store,
        notes,
        draft: Draft::default(),
        sources: HashMap::new(),
        entities: HashMap::new(),
        views: HashMap::new(),
        on_demand: HashMap::new(),
    };
    carry.all_sources();
    carry.all_entities();
    carry.all_views();
    carry.all_services();
    carry.others();
    carry.draft
}

impl<'c> Carry<'c> {
    /// The objects made by one of these classes.
    pub(super) fn of_class(&self, classes: &[&str]) -> Vec<&'c Arc<Object>> {
        let made: &'c [Arc<Object>] = self.made;
        let is_one = |object: &&Arc<Object>| object.class().is_some_and(|class| classes.contains(&class));
        made.iter().filter(is_one).collect()
    }

    pub(super) fn left(&mut self, at: &Place, what: &str, left: Left) {
        self.notes.not_carried(at.clone(), what, left.why, &left.help);
    }

    /// `wanted` as a name that definitions can have and that is not taken, noted if it is another.
    pub(super) fn name(&mut self, what: &str, wanted: &str, at: &Place, is_taken: impl Fn(&str) -> bool) -> String {
        let name = unique(&valid(wanted, "feast"), is_taken);
        if name != wanted {
            let why = format!("it is called `{name}` here");
            self.notes
                .look_at(at.clone(), &format!("{what} `{wanted}`"), why, RENAMED);
        }
        name
    }

    /// Description, owner and tags, as far as they are known.
    pub(super) fn about(&mut self, object: &Object, what: &str) -> About {
        let mut text = |name: &str| match object.text(name) {
            Ok(text) => text.map(str::to_owned),
            Err(why) => {
                let help = "it is left out: add it by hand";
                self.notes.look_at(object.at.clone(), what, why, help);
                None
            }
        };
        About {
            description: text("description"),
            owner: text("owner"),
            tags: object
                .argument("tags")
                .and_then(|tags| tags.text_pairs().ok())
                .unwrap_or_default(),
        }
    }

    /// What has no counterpart and stands by itself.
    fn others(&mut self) {
        for object in self.of_class(&ON_DEMAND) {
            let what = format!("on-demand feature view {}", object.shown());
            let features = field_names(object).join(", ");
            let (mut why, mut add) = ("it is Python code that runs at every request".to_owned(), String::new());
            if let Some(services) = self.on_demand.get(&object.id) {
                let services = services.join(", ");
                why = format!("{why}; without it are written: {services}");
                add = ", and add them to those services".to_owned();
            }
            let help = format!("write `[[derived]]` features, each an expression, for {features}{add}");
            self.left(&object.at, &what, Left::new(why, help));
        }
        for (class, why, help) in [
            (
                "LabelView",
                "there are no label views",
                "give labels as a file: `training-set --entities`",
            ),
            (
                "SavedDataset",
                "there are no saved datasets",
                "write training sets with `training-set --out`",
            ),
            (
                "ValidationReference",
                "there are no references",
                "say what is expected of a feature with `expect`",
            ),
            (
                "Permission",
                "there are no permissions",
                "restrict who reaches the servers",
            ),
        ] {
            for object in self.of_class(&[class]) {
                let what = format!("{class} {}", object.shown());
                self.left(&object.at, &what, Left::new(why, help));
            }
        }
    }
}

/// The name that every object of Feast has.
pub(super) fn name_of(object: &Object) -> Result<&str, Left> {
    if object.is_open {
        let why = "it has arguments that are spread by `*` or `**`, and known only when the code runs";
        return Err(Left::unknown(why));
    }
    let name = object
        .argument_or("name", 0)
        .ok_or_else(|| Left::unknown("it has no name"))?;
    name.text()
        .map_err(|problem| Left::unknown(format!("its `name` {problem}")))
}

/// The names of the fields of a schema, as far as they are known.
pub(super) fn field_names(object: &Object) -> Vec<&str> {
    let schema = object.argument("schema").and_then(|schema| schema.list().ok());
    let fields = schema.unwrap_or_default().iter().filter_map(|known| field(known).ok());
    fields.map(|(name, _)| name).collect()
}
