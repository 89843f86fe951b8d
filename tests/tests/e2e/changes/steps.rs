//! The changes: what is edited, what readers see until the next run, and what after it.

use super::seen::Seen;
use super::seen::Seen::{Missing, TooOld};

/// The rows that stay as they are all the while: customer, days ago, amount, quantity, pieces, rival and store.
pub(super) const ORDERS: &str = "
    CREATE TABLE public.orders (customer int8, at timestamptz, amount float8, qty int8, pieces int8, rival int8, store int8);
    INSERT INTO public.orders
    SELECT customer, now() - days * interval '1 day', amount, qty, pieces, rival, 1
    FROM (VALUES (7, 10, 10, 1, 5, 8), (7, 2, 40, 2, 6, 9), (8, 3, 100, 9, 90, 7), (9, 40, 7, 3, 30, 5))
        AS row (customer, days, amount, qty, pieces, rival)";

pub(super) const QUERY: &str = "SELECT customer, at, amount AS total FROM public.orders";

/// What stands at the beginning, after `project = …`.
pub(super) const DEFINITIONS: &str = r#"
format = 1

[[entity]]
name = "customer"
join_keys = [{ name = "customer", type = "int64" }]

[[entity]]
name = "store"
join_keys = [{ name = "store", type = "int64" }]

[[source]]
name = "orders"
table = "public.orders"
event_timestamp = "at"

[[source]]
name = "queried"
sql = "queried.sql"
event_timestamp = "at"

[[feature_view]]
name = "spending"
entity = "customer"
source = "orders"
aggregate = [{ name = "amount", function = "mean", column = "amount", windows = ["30d"] }]

[[feature_view]]
name = "latest"
entity = "customer"
source = "orders"
features = [{ name = "amount", type = "float64" }, { name = "qty", type = "int64" }]

[[feature_view]]
name = "asked"
entity = "customer"
source = "queried"
features = [{ name = "total", type = "float64" }]

[[feature_view]]
name = "by_store"
entity = "store"
source = "orders"
aggregate = [{ name = "orders", function = "count", windows = ["30d"] }]

[[feature_service]]
name = "fraud"
request = [{ name = "amount", type = "float64" }]
features = ["request:amount", { feature = "spending:amount_30d", default = 0.0 }]

[[feature_service]]
name = "watch"
features = [
  "spending:amount_30d",
  "latest:amount",
  "latest:qty",
  "asked:total",
  "by_store:orders_30d",
]
"#;

/// What readers see of them once every view has run.
pub(super) const BEGINNING: &[(&str, Seen)] = &[
    ("spending__amount_30d", Seen::of(25.0)),
    ("latest__amount", Seen::of(40.0)),
    ("latest__qty", Seen::of(2.0)),
    ("asked__total", Seen::of(40.0)),
    ("by_store__orders_30d", Seen::of(3.0)),
];

/// One change.
pub(super) struct Step {
    pub(super) what: &'static str,
    /// Texts of the files, and what replaces them.
    pub(super) edits: &'static [(&'static str, &'static str)],
    /// What readers see at once; a feature that is not named is seen as before.
    pub(super) at_once: &'static [(&'static str, Seen)],
    /// What readers see no more.
    pub(super) gone: &'static [&'static str],
    /// The views that are run then, and what readers see after that.
    pub(super) runs: &'static [&'static str],
    pub(super) after: &'static [(&'static str, Seen)],
}

/// Nothing happens.
const NOTHING: Step = Step {
    what: "",
    edits: &[],
    at_once: &[],
    gone: &[],
    runs: &[],
    after: &[],
};

pub(super) const STEPS: &[Step] = &[
    Step {
        what: "a feature is added to a row view",
        edits: &[
            (
                r#"{ name = "qty", type = "int64" }]"#,
                r#"{ name = "qty", type = "int64" }, { name = "pieces", type = "int64" }]"#,
            ),
            (r#""latest:qty","#, r#""latest:qty", "latest:pieces","#),
        ],
        at_once: &[("latest__pieces", Missing)],
        runs: &["latest"],
        after: &[("latest__pieces", Seen::of(6.0))],
        ..NOTHING
    },
    Step {
        what: "a feature is dropped",
        edits: &[(r#"{ name = "qty", type = "int64" }, "#, ""), (r#""latest:qty", "#, "")],
        gone: &["latest__qty"],
        runs: &["latest"],
        ..NOTHING
    },
    Step {
        what: "it comes back",
        edits: &[
            (
                r#"{ name = "pieces", type = "int64" }]"#,
                r#"{ name = "pieces", type = "int64" }, { name = "qty", type = "int64" }]"#,
            ),
            (r#""latest:pieces","#, r#""latest:qty", "latest:pieces","#),
        ],
        at_once: &[("latest__qty", Missing)],
        runs: &["latest"],
        after: &[("latest__qty", Seen::of(2.0))],
        ..NOTHING
    },
    Step {
        what: "a feature is retyped",
        edits: &[(r#"name = "qty", type = "int64""#, r#"name = "qty", type = "float64""#)],
        at_once: &[("latest__qty", Missing)],
        runs: &["latest"],
        after: &[("latest__qty", Seen::of(2.0))],
        ..NOTHING
    },
    Step {
        what: "and back",
        edits: &[(r#"name = "qty", type = "float64""#, r#"name = "qty", type = "int64""#)],
        at_once: &[("latest__qty", Missing)],
        runs: &["latest"],
        after: &[("latest__qty", Seen::of(2.0))],
        ..NOTHING
    },
    Step {
        what: "features are reordered",
        edits: &[(
            r#"{ name = "amount", type = "float64" }, { name = "pieces", type = "int64" }"#,
            r#"{ name = "pieces", type = "int64" }, { name = "amount", type = "float64" }"#,
        )],
        ..NOTHING
    },
    Step {
        what: "an aggregate is added",
        edits: &[
            (
                r#"function = "count", windows = ["30d"]"#,
                r#"function = "count", windows = ["30d", "5d"]"#,
            ),
            (
                r#""by_store:orders_30d","#,
                r#""by_store:orders_30d", "by_store:orders_5d","#,
            ),
        ],
        at_once: &[("by_store__orders_5d", Missing)],
        runs: &["by_store"],
        after: &[("by_store__orders_5d", Seen::of(2.0))],
        ..NOTHING
    },
    Step {
        what: "a window is changed",
        edits: &[
            (r#"windows = ["30d", "5d"]"#, r#"windows = ["60d", "5d"]"#),
            (r#""by_store:orders_30d""#, r#""by_store:orders_60d""#),
        ],
        gone: &["by_store__orders_30d"],
        at_once: &[("by_store__orders_60d", Missing)],
        runs: &["by_store"],
        after: &[("by_store__orders_60d", Seen::of(4.0))],
    },
    Step {
        what: "a function is changed: the old value serves until the run",
        edits: &[(
            r#"function = "mean", column = "amount""#,
            r#"function = "max", column = "amount", type = "float64""#,
        )],
        runs: &["spending"],
        after: &[("spending__amount_30d", Seen::of(40.0))],
        ..NOTHING
    },
    Step {
        what: "a column is changed",
        edits: &[(
            r#"{ name = "qty", type = "int64" }"#,
            r#"{ name = "qty", type = "int64", column = "pieces" }"#,
        )],
        runs: &["latest"],
        after: &[("latest__qty", Seen::of(6.0))],
        ..NOTHING
    },
    Step {
        what: "a query is changed",
        edits: &[("amount AS total", "amount * 2 AS total")],
        runs: &["asked"],
        after: &[("asked__total", Seen::of(80.0))],
        ..NOTHING
    },
    Step {
        what: "a query becomes a table",
        edits: &[
            ("source = \"queried\"\n", "source = \"orders\"\n"),
            (
                r#"{ name = "total", type = "float64" }"#,
                r#"{ name = "total", type = "float64", column = "amount" }"#,
            ),
        ],
        runs: &["asked"],
        after: &[("asked__total", Seen::of(40.0))],
        ..NOTHING
    },
    Step {
        what: "a view is new",
        edits: &[
            (
                "[[feature_service]]\nname = \"watch\"\n",
                r#"[[feature_view]]
name = "rivals"
entity = "customer"
source = "orders"
features = [{ name = "rival", type = "int64" }]

[[feature_service]]
name = "watch"
"#,
            ),
            (r#"  "asked:total","#, "  \"asked:total\",\n  \"rivals:rival\","),
        ],
        at_once: &[("rivals__rival", Missing)],
        runs: &["rivals"],
        after: &[("rivals__rival", Seen::of(9.0))],
        ..NOTHING
    },
    Step {
        what: "an entity is new",
        edits: &[
            (
                "[[source]]\nname = \"orders\"\n",
                r#"[[entity]]
name = "size"
join_keys = [{ name = "pieces", type = "int64" }]

[[feature_view]]
name = "by_size"
entity = "size"
source = "orders"
aggregate = [{ name = "n", function = "count", windows = ["30d"] }]

[[source]]
name = "orders"
"#,
            ),
            (r#"  "asked:total","#, "  \"asked:total\",\n  \"by_size:n_30d\","),
        ],
        at_once: &[("by_size__n_30d", Missing)],
        runs: &["by_size"],
        after: &[("by_size__n_30d", Seen::of(1.0))],
        ..NOTHING
    },
    Step {
        what: "a view is removed",
        edits: &[
            (
                r#"[[feature_view]]
name = "rivals"
entity = "customer"
source = "orders"
features = [{ name = "rival", type = "int64" }]
"#,
                "",
            ),
            ("  \"rivals:rival\",\n", ""),
        ],
        gone: &["rivals__rival"],
        ..NOTHING
    },
    Step {
        what: "a view is renamed",
        edits: &[
            ("name = \"asked\"", "name = \"answered\""),
            ("\"asked:total\"", "\"answered:total\""),
        ],
        gone: &["asked__total"],
        at_once: &[("answered__total", Missing)],
        runs: &["answered"],
        after: &[("answered__total", Seen::of(40.0))],
    },
    Step {
        what: "join keys come from another column",
        edits: &[(
            "name = \"latest\"\nentity = \"customer\"\n",
            "name = \"latest\"\nentity = \"customer\"\ncolumns = { customer = \"rival\" }\n",
        )],
        runs: &["latest"],
        after: &[
            ("latest__amount", Seen::of(100.0)),
            ("latest__qty", Seen::of(90.0)),
            ("latest__pieces", Seen::of(90.0)),
        ],
        ..NOTHING
    },
    Step {
        what: "a join key is renamed",
        edits: &[
            (
                r#"join_keys = [{ name = "store", type = "int64" }]"#,
                r#"join_keys = [{ name = "shop", type = "int64" }]"#,
            ),
            (
                "entity = \"store\"\n",
                "entity = \"store\"\ncolumns = { shop = \"store\" }\n",
            ),
        ],
        at_once: &[("by_store__orders_60d", Missing), ("by_store__orders_5d", Missing)],
        runs: &["by_store"],
        after: &[
            ("by_store__orders_60d", Seen::of(4.0)),
            ("by_store__orders_5d", Seen::of(2.0)),
        ],
        ..NOTHING
    },
    Step {
        what: "a ttl is set: no run is needed",
        edits: &[("name = \"latest\"\n", "name = \"latest\"\nttl = \"1d\"\n")],
        at_once: &[
            ("latest__amount", TooOld),
            ("latest__qty", TooOld),
            ("latest__pieces", TooOld),
        ],
        ..NOTHING
    },
    Step {
        what: "and taken away",
        edits: &[("ttl = \"1d\"\n", "")],
        at_once: &[
            ("latest__amount", Seen::of(100.0)),
            ("latest__qty", Seen::of(90.0)),
            ("latest__pieces", Seen::of(90.0)),
        ],
        ..NOTHING
    },
    Step {
        what: "a derived feature and a default are new",
        edits: &[
            (
                "[[feature_service]]\nname = \"watch\"\n",
                r#"[[derived]]
name = "twice"
type = "float64"
expression = "spending.amount_30d * 2.0"

[[feature_service]]
name = "watch"
"#,
            ),
            (
                "  \"spending:amount_30d\",\n",
                "  \"spending:amount_30d\",\n  \"derived:twice\",\n",
            ),
        ],
        at_once: &[("twice", Seen::of(80.0))],
        ..NOTHING
    },
    Step {
        what: "words and a promise change nothing",
        edits: &[(
            "name = \"spending\"\n",
            "name = \"spending\"\nowner = \"risk\"\nfresh_for = \"1d\"\n",
        )],
        ..NOTHING
    },
];
