//! Every view there is: over each kind of source, of users, items and pairs, newest rows and aggregates.

use crate::world::{HOUR, MINUTE, Time};

/// How far behind its watermark a run looks again, where rows say when they were created.
pub(crate) const OVERLAP: Time = 5 * MINUTE;

/// What a source says of its rows. One table each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) created: bool,
    /// Without a created timestamp: how far behind its watermark a run looks again, in event time.
    pub(crate) lateness: Time,
    /// The columns that say which event a row is a version of.
    pub(crate) key: &'static [&'static str],
    pub(crate) deleted: bool,
}

/// Every kind of source that definitions can describe.
pub(crate) static SOURCES: [Source; 7] = [
    source("created", true, 0, &[], false),
    source("plain", false, 0, &[], false),
    source("late", false, 30 * MINUTE, &[], false),
    source("late_deleted", false, 30 * MINUTE, &[], true),
    source("deleted", true, 0, &[], true),
    source("keyed", true, 0, &["id"], false),
    source("keyed_deleted", true, 0, &["id", "leg"], true),
];

const fn source(
    name: &'static str,
    created: bool,
    lateness: Time,
    key: &'static [&'static str],
    deleted: bool,
) -> Source {
    Source {
        name,
        created,
        lateness,
        key,
        deleted,
    }
}

/// Who a view's values are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    /// a string
    User,
    /// an int64
    Item,
    /// both
    Pair,
}

impl Join {
    pub(crate) const ALL: [Self; 3] = [Self::User, Self::Item, Self::Pair];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Item => "item",
            Self::Pair => "pair",
        }
    }

    /// The windows of aggregates about it.
    pub(crate) const fn windows(self) -> &'static [Time] {
        match self {
            Self::User => &[10 * MINUTE, HOUR, 3 * HOUR],
            Self::Item => &[HOUR],
            Self::Pair => &[2 * HOUR, 30 * MINUTE],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Row,
    Aggregate,
}

/// A feature view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) source: &'static Source,
    pub(crate) kind: Kind,
    pub(crate) join: Join,
}

impl View {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for source in &SOURCES {
            for kind in [Kind::Row, Kind::Aggregate] {
                all.extend(Join::ALL.map(|join| Self { source, kind, join }));
            }
        }
        all
    }

    pub(crate) fn name(self) -> String {
        let kind = match self.kind {
            Kind::Row => "row",
            Kind::Aggregate => "aggregate",
        };
        format!("{}_{kind}_{}", self.source.name, self.join.name())
    }

    pub(crate) const fn ttl(self) -> Option<Time> {
        match (self.kind, self.join) {
            (_, Join::Item) => None,
            (Kind::Row, Join::User) => Some(2 * HOUR),
            (Kind::Row, Join::Pair) => Some(45 * MINUTE),
            (Kind::Aggregate, Join::User) => Some(HOUR),
            (Kind::Aggregate, Join::Pair) => Some(20 * MINUTE),
        }
    }

    /// Whether every run computes an entity's value from all its rows. Else it looks at new rows only.
    pub(crate) fn is_recomputed_whole(self) -> bool {
        self.kind == Kind::Aggregate || !self.source.key.is_empty()
    }
}

/// A column that features are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// float8 of both signs whose sums are exact
    X,
    /// float8 above zero whose sums are rounded
    Y,
    /// int8
    N,
    /// text
    S,
    /// bool
    B,
    /// timestamptz
    W,
}

impl Column {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::X => "x",
            Self::Y => "y",
            Self::N => "n",
            Self::S => "s",
            Self::B => "b",
            Self::W => "w",
        }
    }
}

/// The features of row views: each a column of the same name.
pub(crate) const ROW_FEATURES: [(Column, &str); 5] = [
    (Column::X, "float64"),
    (Column::N, "int64"),
    (Column::S, "string"),
    (Column::B, "bool"),
    (Column::W, "timestamp"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Count,
    Sum,
    Mean,
    Min,
    Max,
    Stddev,
    Last,
    LastTime,
    DistinctCount,
}

impl Function {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Mean => "mean",
            Self::Min => "min",
            Self::Max => "max",
            Self::Stddev => "stddev",
            Self::Last => "last",
            Self::LastTime => "last_time",
            Self::DistinctCount => "distinct_count",
        }
    }
}

/// A feature of aggregate views, once for each window.
pub(crate) struct Aggregate {
    pub(crate) name: &'static str,
    pub(crate) function: Function,
    pub(crate) column: Option<Column>,
    /// The type that is declared where the function has several.
    pub(crate) declared: Option<&'static str>,
}

/// The features of aggregate views, each once for every window.
pub(crate) const AGGREGATES: [Aggregate; 15] = [
    aggregate("events", Function::Count, None, None),
    aggregate("xs", Function::Count, Some(Column::X), None),
    aggregate("sum_x", Function::Sum, Some(Column::X), Some("float64")),
    aggregate("sum_n", Function::Sum, Some(Column::N), Some("int64")),
    aggregate("mean_y", Function::Mean, Some(Column::Y), None),
    aggregate("share_b", Function::Mean, Some(Column::B), None),
    aggregate("min_x", Function::Min, Some(Column::X), Some("float64")),
    aggregate("min_s", Function::Min, Some(Column::S), Some("string")),
    aggregate("max_n", Function::Max, Some(Column::N), Some("int64")),
    aggregate("spread_x", Function::Stddev, Some(Column::X), None),
    aggregate("last_s", Function::Last, Some(Column::S), Some("string")),
    aggregate("last_w", Function::Last, Some(Column::W), Some("timestamp")),
    aggregate("at", Function::LastTime, None, None),
    aggregate("at_n", Function::LastTime, Some(Column::N), None),
    aggregate("kinds_s", Function::DistinctCount, Some(Column::S), None),
];

const fn aggregate(
    name: &'static str,
    function: Function,
    column: Option<Column>,
    declared: Option<&'static str>,
) -> Aggregate {
    Aggregate {
        name,
        function,
        column,
        declared,
    }
}
