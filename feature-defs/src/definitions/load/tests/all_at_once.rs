//! Several files with several mistakes, and directories that are none.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::{FLIGHTS, directory, load, load_text};

/// The report, with the directory called `features`.
fn report(dir: &Path) -> String {
    let problems = load(dir).expect_err("something is wrong");
    problems.to_string().replace(&dir.display().to_string(), "features")
}

#[test]
fn everything_wrong_in_every_file_is_told_at_once_and_nothing_twice() {
    let dir = directory(&[
        (
            "a.toml",
            "format = 1\nproject = \"shop\"\n\n[[entity]]\nname = \"customer\"\njoin_keys = [{ name = \"id\", type = \"int\" }]\n",
        ),
        (
            "b.toml",
            "[[feature_view]]\nname = \"spending\"\nentity = \"customer\"\nsource = \"orders\"\n\tttl = \"soon\"\nfeatures = [{ name = \"größe\", type = \"int64\" }]\n",
        ),
        ("c.toml", "[[source]]\nname = \"orders\"\ntable = orders\n"),
        (
            "d.toml",
            "[[feature_service]]\nname = \"churn\"\nfeatures = [\"spending:size\", \"spendings:x\", \"request:é\", \"oops\"]\n",
        ),
    ]);
    insta::assert_snapshot!(report(dir.path()), @r#"
    error: unknown type `int`
      --> features/a.toml:6:36
      |
    6 | join_keys = [{ name = "id", type = "int" }]
      |                                    ^^^^^
      = help: valid: `bool`, `int64`, `float32`, `float64`, `string`, `bytes`, `timestamp`, `float32_list`, `int64_list`, `string_list`

    error: `soon` is not a length of time: write a whole number and ms, s, m, h or d, such as 90s or 7d
      --> features/b.toml:5:8
      |
    5 |  ttl = "soon"
      |        ^^^^^^

    error: `größe` is not a name: use a letter, then letters, digits and single underscores (two together separate a view from its feature)
      --> features/b.toml:6:22
      |
    6 | features = [{ name = "größe", type = "int64" }]
      |                      ^^^^^^^

    error: not TOML: string values must be quoted, expected literal string
      --> features/c.toml:3:9
      |
    3 | table = orders
      |         ^^^^^^

    error: unknown view `spendings`
      --> features/d.toml:3:30
      |
    3 | features = ["spending:size", "spendings:x", "request:é", "oops"]
      |                              ^^^^^^^^^^^^^
      = help: did you mean `spending`?

    error: service `churn` has no request feature `é`
      --> features/d.toml:3:45
      |
    3 | features = ["spending:size", "spendings:x", "request:é", "oops"]
      |                                             ^^^^^^^^^^^

    error: `oops` is not a reference: write `view:feature`, `request:name` or `derived:name`
      --> features/d.toml:3:58
      |
    3 | features = ["spending:size", "spendings:x", "request:é", "oops"]
      |                                                          ^^^^^^

    7 errors in 4 files
    "#);
}

#[test]
fn a_file_that_is_not_toml_hides_no_mistake_elsewhere_and_causes_none() {
    let broken = FLIGHTS.replace("[[entity]]\nname = \"aircraft\"", "[[entity]\nname = \"aircraft\"");
    let dir = directory(&[
        ("flights.toml", &broken),
        (
            "more.toml",
            "[[feature_view]]\nname = \"seats\"\nentity = \"aircraft\"\nsource = \"plains\"\nfeatures = []\n",
        ),
    ]);
    insta::assert_snapshot!(report(dir.path()), @r#"
    error: not TOML: unclosed array table, expected `]`
      --> features/flights.toml:12:10
       |
    12 | [[entity]
       |          ^

    error: unknown source `plains`
      --> features/more.toml:4:10
      |
    4 | source = "plains"
      |          ^^^^^^^^

    error: a view needs at least one feature
      --> features/more.toml:5:12
      |
    5 | features = []
      |            ^^

    3 errors in 2 files
    "#);
}

#[test]
fn one_file_says_format_and_project() {
    let dir = directory(&[
        ("a.toml", "format = 1\nproject = \"shop\"\n"),
        ("b.toml", "project = \"shop\"\nformat = 1\n"),
    ]);
    insta::assert_snapshot!(report(dir.path()), @r#"
    error: only one file says `format` and `project`
      --> features/b.toml:1:11
      |
    1 | project = "shop"
      |           ^^^^^^
      = help: features/a.toml:2:11 does

    1 error in 1 file
    "#);
}

#[test]
fn a_directory_without_definitions_says_what_to_do() {
    let dir = directory(&[("notes.txt", ""), (".hidden.toml", "not = = toml")]);
    insta::assert_snapshot!(report(dir.path()), @r#"
    error: there is no .toml file in the directory
      --> features
      = help: write one that says `format = 1` and `project = "…"`, or name another directory

    1 error in 1 file
    "#);
    insta::assert_snapshot!(report(&dir.path().join("none")), @r#"
    error: the directory cannot be read: No such file or directory (os error 2)
      --> features
      = help: name the directory of the definition files: `--features DIR` or `LARDER_FEATURES`

    1 error in 1 file
    "#);
}

#[test]
fn a_file_that_is_not_text_is_told_without_guessing_what_it_declares() {
    let dir = directory(&[(
        "flights.toml",
        &FLIGHTS.replace("sql = \"arrivals.sql\"", "table = \"arrivals\""),
    )]);
    fs::write(dir.path().join("latin1.toml"), b"# \xe9\n").unwrap();
    insta::assert_snapshot!(report(dir.path()), @r#"
    error: the file cannot be read: stream did not contain valid UTF-8
      --> features/latin1.toml
      = help: save it as UTF-8

    1 error in 1 file
    "#);
}

#[test]
fn a_link_out_of_the_directory_is_not_followed() {
    let outside = directory(&[("secret.sql", "SELECT 1")]);
    let dir = directory(&[("flights.toml", FLIGHTS)]);
    std::os::unix::fs::symlink(outside.path().join("secret.sql"), dir.path().join("arrivals.sql")).unwrap();
    let problems = load(dir.path()).expect_err("the link leads out").0;
    assert_eq!(problems.len(), 1);
    assert_eq!(
        problems[0].message,
        "`arrivals.sql` lies outside the definitions' directory"
    );
}

#[test]
fn the_report_is_the_same_every_time() {
    let broken = FLIGHTS
        .replace("\"carrier_ops:", "\"carier_ops:")
        .replace("type = \"int64\"", "typ = \"int64\"");
    let once = |_: usize| {
        let (dir, loaded) = load_text(&broken);
        loaded
            .expect_err("it is broken")
            .to_string()
            .replace(&dir.path().display().to_string(), "")
    };
    let reports: Vec<String> = (0..5).map(once).collect();
    assert!(reports.iter().all(|report| *report == reports[0]), "{reports:#?}");
}

/// What a slip of the keyboard may leave behind.
const TYPED: [&str; 12] = [
    "",
    "\"",
    "é",
    "]",
    "}",
    "\n",
    "=",
    "\"\"\"",
    "[[",
    "#",
    "1979-05-27",
    "\\u00e9",
];

proptest! {
    /// Whatever is left of a file, there is an answer, and each part of it points into the file.
    #[test]
    fn no_slip_of_the_keyboard_panics(
        at in 0..FLIGHTS.len(),
        cut in 0..60_usize,
        typed in prop::sample::select(&TYPED[..]),
    ) {
        let text = format!("{}{typed}{}", &FLIGHTS[..at], &FLIGHTS[(at + cut).min(FLIGHTS.len())..]);
        let (_dir, loaded) = load_text(&text);
        for problem in loaded.map_or_else(|problems| problems.0, |_| Vec::new()) {
            prop_assert!(problem.line <= text.lines().count() + 1, "{problem}");
            if let Some(snippet) = &problem.snippet {
                prop_assert!(problem.column <= snippet.text.chars().count() + 1, "{problem}");
            }
        }
    }
}
