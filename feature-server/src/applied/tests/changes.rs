//! What plan says of each kind of change.

mod services;

use std::collections::BTreeMap;
use std::fs;

use feature_defs::definitions::{self, Definitions};
use feature_defs::time::Timestamp;

use crate::applied::compare::{Before, Online, compare};
use crate::applied::describe::Described;
use crate::applied::models::ModelVersions;
use crate::applied::plan::{AppliedBy, Plan};

const BASE: &str = r#"
format = 1
project = "shop"

[[entity]]
name = "customer"
join_keys = [{ name = "customer_id", type = "int64" }]

[[source]]
name = "orders"
sql = "orders.sql"
event_timestamp = "ordered_at"
created_timestamp = "written_at"

[[feature_view]]
name = "spending"
entity = "customer"
source = "orders"
ttl = "1d"
schedule = "1m"
aggregate = [
  { name = "amount", function = "mean", column = "amount", windows = ["1d", "30d"] },
  { name = "orders", function = "count", windows = ["30d"] },
]

[[feature_view]]
name = "profile"
entity = "customer"
source = "orders"
features = [{ name = "city", type = "string" }, { name = "age", type = "int64" }]

[[derived]]
name = "relative"
type = "float64"
expression = "amount / spending.amount_30d"

[[feature_service]]
name = "fraud"
request = [{ name = "amount", type = "float64" }]
features = ["request:amount", "spending:amount_1d", { feature = "profile:age", default = 40 }, "derived:relative"]
"#;

fn load(toml: &str, sql: &str) -> Definitions {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("shop.toml"), toml).unwrap();
    fs::write(dir.path().join("orders.sql"), sql).unwrap();
    definitions::load(dir.path()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Definitions with these texts, each there once, replaced.
fn edited(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(BASE.to_owned(), |text, (old, new)| {
        assert_eq!(text.matches(old).count(), 1, "{old}");
        text.replace(old, new)
    })
}

/// The model repository: two versions of the service, one of which takes a single tensor.
fn models() -> ModelVersions {
    let dir = tempfile::tempdir().unwrap();
    for (version, inputs) in [("1", "{ features = \"float32\" }"), ("2", "\"each\"")] {
        let folder = dir.path().join("fraud").join(version);
        fs::create_dir_all(&folder).unwrap();
        let text = format!("feature_service = \"fraud\"\ninputs = {inputs}\n");
        fs::write(folder.join("version.toml"), text).unwrap();
    }
    ModelVersions::read(dir.path()).unwrap()
}

const SQL: &str = "SELECT * FROM orders";

/// What is known when `BASE` was applied and both of its views have been materialized.
fn before() -> Before {
    let described = Described::new(&load(BASE, SQL));
    let online = described.digests().into_iter().map(|(view, digest)| {
        let digest = Some(digest.to_owned());
        (
            view.to_owned(),
            Online {
                digest,
                entities: 1_200,
            },
        )
    });
    let by = AppliedBy {
        at: "2026-11-05T12:00:00Z".parse::<Timestamp>().unwrap(),
        host: "here".to_owned(),
    };
    Before {
        online: online.collect(),
        applied: Some((by, described)),
        models: Some(models()),
    }
}

fn beside(before: &Before, toml: &str, sql: &str) -> Plan {
    let definitions = load(toml, sql);
    compare(&definitions.project, &Described::new(&definitions), before)
}

/// What plan says of `BASE` after these edits, without its first line.
fn told(edits: &[(&str, &str)]) -> String {
    told_with(edits, SQL)
}

fn told_with(edits: &[(&str, &str)], sql: &str) -> String {
    let plan = beside(&before(), &edited(edits), sql).to_string();
    let (first, rest) = plan.split_once('\n').unwrap();
    assert_eq!(
        first,
        "project shop, beside what was applied 2026-11-05T12:00:00Z on here"
    );
    rest.to_owned()
}

#[test]
fn at_first_everything_is_new() {
    let before = Before {
        online: BTreeMap::new(),
        ..Before::default()
    };
    insta::assert_snapshot!(beside(&before, BASE, SQL), @r"
    project shop, of which nothing was applied before
    new entity customer
      views: profile, spending
    new source orders
      views: profile, spending
    new view profile
      2 features of entity customer, from source orders
      full run needed: until it is done, every feature is NOT_FOUND
      services: fraud
    new view spending
      3 features of entity customer, from source orders
      full run needed: until it is done, every feature is NOT_FOUND
      services: fraud
    new service fraud
      4 inputs, from views profile, spending
    ");
}

#[test]
fn what_ran_before_the_first_apply_need_not_run_again_and_what_is_left_of_before_is_told() {
    let mut known = before();
    known.applied = None;
    known.online.insert(
        "forgotten".to_owned(),
        Online {
            digest: Some("0".to_owned()),
            entities: 7,
        },
    );
    insta::assert_snapshot!(beside(&known, BASE, SQL), @r"
    project shop, of which nothing was applied before
    new entity customer
      views: profile, spending
    new source orders
      views: profile, spending
    new view profile
      2 features of entity customer, from source orders
      what is online is of this definition already
      services: fraud
      model versions: fraud/1, fraud/2
    new view spending
      3 features of entity customer, from source orders
      what is online is of this definition already
      services: fraud
      model versions: fraud/1, fraud/2
    retired view forgotten
      it was materialized once, and is not in these definitions
      `feature-server prune` removes its values, of about 7 entities
    new service fraud
      4 inputs, from views profile, spending
      model versions: fraud/1, fraud/2
    ");
}

#[test]
fn nothing_has_changed() {
    insta::assert_snapshot!(told(&[]), @"nothing has changed");
    insta::assert_snapshot!(told(&[("[[derived]]", "# A remark\n[[derived]]")]), @"nothing has changed");
}

#[test]
fn features_are_added_dropped_retyped_and_reordered() {
    insta::assert_snapshot!(told(&[("[\"1d\", \"30d\"]", "[\"1d\", \"7d\", \"30d\"]")]), @r"
    changed view spending
      feature amount_7d float64 added (computed: mean of amount over 7d)
      full run needed, of about 1200 entities: until it is done, amount_7d is NOT_FOUND, and the others have the values they have, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[("{ name = \"city\", type = \"string\" }, ", "")]), @r"
    changed view profile
      feature city dropped
      full run needed, of about 1200 entities: until it is done, every feature has the value it has, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[("\"city\", type = \"string\"", "\"city\", type = \"int64\"")]), @r"
    changed view profile
      feature city: int64 (was string)
      full run needed, of about 1200 entities: until it is done, city is NOT_FOUND, and the others have the values they have, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[("[\"1d\", \"30d\"]", "[\"30d\", \"1d\"]")]), @r"
    changed view spending
      features reordered: nothing to do, readers find them by name
      services: fraud
      model versions: fraud/1, fraud/2
    ");
}

#[test]
fn a_feature_is_computed_or_expected_otherwise() {
    insta::assert_snapshot!(told(&[("function = \"mean\"", "function = \"max\"")]), @r"
    changed view spending
      feature amount_1d, computed: max of amount over 1d (was mean of amount over 1d)
      feature amount_30d, computed: max of amount over 30d (was mean of amount over 30d)
      full run needed, of about 1200 entities: until it is done, every feature has the value it has, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[("{ name = \"city\", type = \"string\" }", "{ name = \"city\", type = \"string\", column = \"town\" }")]), @r"
    changed view profile
      feature city, computed: column town (was column city)
      full run needed, of about 1200 entities: until it is done, every feature has the value it has, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[("\"city\", type = \"string\"", "\"city\", type = \"string\", expect = { null_share = 0.5, otherwise = \"warn\" }")]), @r"
    changed view profile
      feature city, expect: null_share = 0.5, otherwise warn (was none), at once
      services: fraud
      model versions: fraud/1, fraud/2
    ");
}

#[test]
fn a_view_changes_at_once_or_by_a_run() {
    insta::assert_snapshot!(told(&[
        ("ttl = \"1d\"\nschedule = \"1m\"", "ttl = \"2d\"\nfresh_for = \"10m\"\nowner = \"ann\"")
    ]), @r"
    changed view spending
      fresh_for: 10m (was none), at once
      owner: ann (was none), at once
      schedule: none (was 1m), at once
      ttl: 2d (was 1d), at once
      services: fraud
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[
        ("source = \"orders\"\nttl", "source = \"orders\"\ncolumns = { customer_id = \"buyer\" }\nttl")
    ]), @r"
    changed view spending
      columns: customer_id = buyer (was none)
      full run needed, of about 1200 entities: until it is done, every feature has the value it has, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    ");
    let row = "features = [{ name = \"amount_30d\", column = \"amount\", type = \"float64\" }, { name = \"amount_1d\", type = \"float64\" }]\n\n[[feature_view]]\nname = \"profile\"";
    let from = BASE.find("aggregate = [").unwrap();
    let to = BASE.find("name = \"profile\"").unwrap() + "name = \"profile\"".len();
    insta::assert_snapshot!(told(&[(&BASE[from..to], row)]), @r"
    changed view spending
      kind: row (was aggregate)
      feature amount_30d, computed: column amount (was mean of amount over 30d)
      feature amount_1d, computed: column amount_1d (was mean of amount over 1d)
      feature orders_30d dropped
      features reordered: nothing to do, readers find them by name
      full run needed, of about 1200 entities: until it is done, every feature has the value it has, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    ");
}

#[test]
fn a_source_or_an_entity_changes_with_its_views() {
    insta::assert_snapshot!(told_with(&[], "SELECT * FROM orders WHERE NOT cancelled"), @r"
    changed source orders
      sql: another query
      views: profile, spending
    changed view profile
      source orders has changed
      full run needed, of about 1200 entities: until it is done, every feature has the value it has, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    changed view spending
      source orders has changed
      full run needed, of about 1200 entities: until it is done, every feature has the value it has, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[("sql = \"orders.sql\"", "table = \"orders\"\ndatabase = \"warehouse\"\noverlap = \"10m\"\npush_to = \"orders\"")]), @r"
    changed source orders
      database: warehouse (was none)
      overlap: 10m (was 5m), at once
      push_to: orders (was none), at once
      sql: none (was query)
      table: orders (was none)
      views: profile, spending
    changed view profile
      source orders has changed
      full run needed, of about 1200 entities: until it is done, every feature has the value it has, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    changed view spending
      source orders has changed
      full run needed, of about 1200 entities: until it is done, every feature has the value it has, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    ");
    insta::assert_snapshot!(told(&[("event_timestamp = \"ordered_at\"", "event_timestamp = \"ordered_at\"\noverlap = \"10m\"")]), @r"
    changed source orders
      overlap: 10m (was 5m), at once
      views: profile, spending
    ");
    insta::assert_snapshot!(told(&[("type = \"int64\" }]\n\n[[source]]", "type = \"string\" }]\n\n[[source]]")]), @r"
    changed entity customer
      join_keys: customer_id string (was customer_id int64)
      views: profile, spending
    changed view profile
      entity customer has changed
      full run needed, of about 1200 entities: until it is done, every feature is NOT_FOUND, since keys are spelled otherwise; `materialize profile --replace` also removes what stands under the old keys
      services: fraud
      model versions: fraud/1, fraud/2
    changed view spending
      entity customer has changed
      full run needed, of about 1200 entities: until it is done, every feature is NOT_FOUND, since keys are spelled otherwise; `materialize spending --replace` also removes what stands under the old keys
      services: fraud
      model versions: fraud/1, fraud/2
    ");
}

#[test]
fn a_run_that_is_not_needed_or_needed_still() {
    // Back to what is online: another definition was applied since, and never ran.
    let mut known = before();
    known.applied = Some((
        known.applied.unwrap().0,
        Described::new(&load(&edited(&[("function = \"mean\"", "function = \"max\"")]), SQL)),
    ));
    insta::assert_snapshot!(beside(&known, BASE, SQL), @r"
    project shop, beside what was applied 2026-11-05T12:00:00Z on here
    changed view spending
      feature amount_1d, computed: mean of amount over 1d (was max of amount over 1d)
      feature amount_30d, computed: mean of amount over 30d (was max of amount over 30d)
      what is online is of this definition already
      services: fraud
      model versions: fraud/1, fraud/2
    ");
    // As before, but a run of that definition has begun.
    known.online.get_mut("spending").unwrap().digest = None;
    insta::assert_snapshot!(beside(&known, BASE, SQL), @r"
    project shop, beside what was applied 2026-11-05T12:00:00Z on here
    changed view spending
      feature amount_1d, computed: mean of amount over 1d (was max of amount over 1d)
      feature amount_30d, computed: mean of amount over 30d (was max of amount over 30d)
      full run needed, of about 1200 entities: until it is done, every feature has the value it has, by the definition before
      services: fraud
      model versions: fraud/1, fraud/2
    ");
}

#[test]
fn what_is_recorded_is_read_again_by_programs_of_other_ages() {
    let described = Described::new(&load(BASE, SQL));
    let mut json = serde_json::to_value(&described).unwrap();
    assert_eq!(serde_json::from_value::<Described>(json.clone()).unwrap(), described);
    json["views"]["spending"]["invented"] = "later".into();
    json["inventions"] = 7.into();
    assert_eq!(serde_json::from_value::<Described>(json.clone()).unwrap(), described);
    json.as_object_mut().unwrap().remove("services");
    let without = serde_json::from_value::<Described>(json).unwrap();
    assert_eq!(without.views, described.views);
}
