//! The language: what is known without running it, and what is not.

use super::{IMPORTS, check, import};

#[test]
fn constants_are_followed() {
    let view = "v = FeatureView(name=N, entities=[user], schema=[Field(name='y', dtype=Bool)], source=events)";
    for constant in [
        "N = 'name'",
        "N: str = 'name'",
        "N = 'na' 'me'",
        "N = 'na' + 'me'",
        "A = 'na'\nN = f'{A}me'",
        "N, M = 'name', 'other'",
        "M = N = 'name'",
        "N = {'a': 'name'}['a']",
        "N = ['other', 'name'][1]",
        "N = dict\nN = view.name\nN = 'name'",
        "try:\n    N = 'name'\nexcept ImportError:\n    N = 'other'",
        "with open('x') as f:\n    N = 'name'",
    ] {
        check(&format!("{constant}\n{view}"), &["name = \"name\"\nentity"], &[]);
    }
    for (constant, said) in [
        ("N = f'{os.environ[\"X\"]}_v'", "its `name` is an f-string with"),
        (
            "N = f'{1:03}'",
            "its `name` is an f-string, and known only when the code runs",
        ),
        (
            "N = os.getenv('N')",
            "its `name` is what `getenv(…)` gives, and known only when the code runs",
        ),
        ("N = os.environ.get('N', 'x')", "its `name` is what `get(…)` gives"),
        ("N = 'a' if user else 'b'", "its `name` is decided by an `if`"),
        (
            "N = 'a'\nif os.environ:\n    N = 'b'",
            "its `name` is `N`, which is set under a condition",
        ),
        (
            "for N in ['a', 'b']:\n    pass",
            "its `name` is `N`, which is set in a loop",
        ),
        (
            "N = 'a'\nN += 'b'",
            "its `name` is `N`, which is changed after it is set",
        ),
        ("def N():\n    return 'a'", "its `name` is the function `N`"),
        (
            "class N:\n    pass",
            "its `name` is `N`, which is a class of this repository",
        ),
        ("N = 'name'.upper()", "its `name` is what `upper(…)` gives"),
        ("N = [x for x in 'ab']", "its `name` is a comprehension"),
        ("N = lambda: 'a'", "its `name` is computed"),
        ("N = 3", "its `name` is not a text"),
        ("N = None\n", "it has no name"),
    ] {
        check(&format!("{constant}\n{view}"), &[], &[said]);
    }
}

#[test]
fn lists_and_arguments_are_spread() {
    check(
        "COMMON = [Field(name='a', dtype=Int64)]
ALL = dict
KEYWORDS = {'entities': [user], 'source': events}
v = FeatureView(name='v', schema=COMMON + [*COMMON[:0], Field(name='b', dtype=Bool)] if False else COMMON, **KEYWORDS)
w = FeatureView(name='w', schema=[*COMMON, Field(name='b', dtype=Bool)], **KEYWORDS)
u = FeatureView(name='u', schema=COMMON + [Field(name='c', dtype=Bool)], **KEYWORDS)",
        &[
            "name = \"w\"\nentity = \"user\"\nsource = \"events\"\nfeatures = [\n  { name = \"a\", type = \"int64\" },\n  { name = \"b\", type = \"bool\" },\n]",
            "features = [\n  { name = \"a\", type = \"int64\" },\n  { name = \"c\", type = \"bool\" },\n]",
        ],
        &["feature view `v`: its `schema` is decided by an `if`"],
    );
    check(
        "v = FeatureView(name='v', **os.environ)",
        &[],
        &["feature view `v`: it has arguments that are spread by `*` or `**`, and known only when the code runs"],
    );
}

#[test]
fn what_only_running_makes_is_listed() {
    let view = "FeatureView(name='v', entities=[user], schema=[Field(name='y', dtype=Bool)], source=events)";
    for (python, said) in [
        (
            format!("def make():\n    return {view}"),
            "FeatureView `v`: it is made in the function `make`",
        ),
        (
            format!("class C:\n    v = {view}"),
            "FeatureView `v`: it is made in the class `C`",
        ),
        (
            format!("for n in [1]:\n    v = {view}"),
            "FeatureView `v`: it is made in a loop",
        ),
        (
            format!("if user:\n    v = {view}"),
            "FeatureView `v`: it is made in a condition",
        ),
        (
            format!("try:\n    pass\nexcept Exception:\n    v = {view}"),
            "FeatureView `v`: it is made in a `try`",
        ),
        (
            format!("views = [{view} for n in [1]]"),
            "FeatureView `v`: it is made by an expression that is not followed",
        ),
        (
            "class Own(FeatureView):\n    pass\nv = Own(name='v')".to_owned(),
            "what is made of the class `Own`, a FeatureView",
        ),
    ] {
        check(&python, &[], &[said]);
    }
    // Feast does not run it either.
    check(&format!("if __name__ == '__main__':\n    v = {view}"), &[], &[]);
    // What is given to something that is made is made, too; what another function makes of it is not known.
    check(
        &format!("FeatureStore(repo_path='.').apply([{view}])"),
        &["name = \"v\""],
        &[],
    );
    let said = "FeatureView `v`: it is made by an expression that is not followed";
    check(&format!("v = changed({view})"), &[], &[said]);
}

#[test]
fn modules_of_the_repository_are_followed() {
    let definitions = format!(
        "{IMPORTS}import shared.keys as keys\nfrom shared import tables\nfrom shared.keys import shop as s\nfrom .shared.keys import DAYS
a = FeatureView(name='a', entities=[keys.shop], schema=[Field(name='x', dtype=Int64)], source=tables.orders, ttl=timedelta(days=DAYS))
b = FeatureView(name='b', entities=[s], schema=[Field(name='x', dtype=Int64)], source=tables.orders)
c = FeatureView(name='c', entities=[tables.again], schema=[Field(name='x', dtype=Int64)], source=tables.gone)"
    );
    let keys = "from feast import Entity, ValueType
DAYS = 3
shop = Entity(name='shop', value_type=ValueType.STRING)";
    let tables =
        "from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource
from .keys import *
from .keys import shop as again
from repo import view
orders = PostgreSQLSource(name='orders', table='orders', timestamp_field='at')";
    let imported = import(&[
        ("repo.py", &definitions),
        ("shared/keys.py", keys),
        ("shared/tables.py", tables),
        ("venv/lib.py", keys),
        (".hidden/lib.py", keys),
    ])
    .unwrap();
    let (text, said) = (&imported.text, imported.said());
    for wanted in [
        "== shared_keys.toml\n# From Feast's shared/keys.py.\n\n# shared/keys.py:3\n[[entity]]\nname = \"shop\"",
        "== shared_tables.toml\n",
        "name = \"a\"\nentity = \"shop\"\nsource = \"orders\"\nttl = \"3d\"",
        "name = \"b\"\nentity = \"shop\"",
    ] {
        assert!(text.contains(wanted), "{wanted}:\n{text}");
    }
    assert_eq!(
        said.lines().collect::<Vec<_>>(),
        [
            "repo.py:15: feature view `c`: its source is `gone` of `shared/tables`, which does not set it, and known only when the code runs",
            "    help: write it as a plain value and import again, or write the definition by hand",
        ]
    );
}

#[test]
fn other_names_of_imports_are_known() {
    let python = "import feast as f
from feast import Entity as Thing
from feast.types import Int64 as Whole
import feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source as pg
from elsewhere import FeatureView
thing = Thing(name='thing', value_type=f.ValueType.INT64)
source = pg.PostgreSQLSource(name='s', table='s', timestamp_field='at')
a = f.FeatureView(name='a', entities=[thing], schema=[f.Field(name='x', dtype=Whole)], source=source)
b = FeatureView(name='b')";
    let imported = import(&[("repo.py", python)]).unwrap();
    assert!(
        imported
            .text
            .contains("name = \"a\"\nentity = \"thing\"\nsource = \"s\""),
        "{}",
        imported.text
    );
    assert!(!imported.text.contains("\"b\""), "another's class is not Feast's");
    assert_eq!(imported.said(), "");
}

#[test]
fn code_that_a_program_made_breaks_nothing() {
    let deep = format!("x = {}1{}", "(".repeat(3_000), ")".repeat(3_000));
    let long = format!("x = {}", vec!["1"; 5_000].join(" + "));
    let lists = format!("x = {}{}", "[".repeat(150), "]".repeat(150));
    for python in [deep, long, lists] {
        let imported = import(&[("repo.py", IMPORTS), ("generated.py", &python)]).unwrap();
        assert!(imported.text.contains("name = \"view\""));
    }
}
