//! A draft as the text of a definition file, commented so that a newcomer learns the format from it.

use std::fmt::Write as _;

use super::draft::{Draft, Feature, WindowsDraft};
use crate::definition_files::text::{self, plain, quoted, reference};

/// The windows of a first aggregate view.
const WINDOWS: [&str; 3] = ["1d", "7d", "30d"];

/// The whole file.
pub(super) fn definitions(draft: &Draft) -> String {
    let parts = [
        header(draft),
        entity(draft),
        source(draft),
        row_view(draft),
        aggregate_view(draft),
        service(draft),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

fn header(draft: &Draft) -> String {
    let mut text = format!(
        "# Features from {}: a first draft, to be changed.\n",
        plain(&draft.table)
    );
    if let Some(project) = &draft.project {
        text.push('\n');
        text.push_str(&text::header(project));
    }
    text
}

fn entity(draft: &Draft) -> String {
    let entity = &draft.entity;
    if entity.is_declared {
        return format!("# The entity `{}` is declared in another file.\n", entity.name);
    }
    let keys = entity.keys.iter().map(|key| (key.name.as_str(), key.key_type));
    format!(
        "# What the features are about, and the keys by which a request names one.\n# Guessed: {}.\n{}",
        plain(&entity.why),
        text::entity(&entity.name, keys)
    )
}

fn source(draft: &Draft) -> String {
    let mut lines = vec![
        "# Where rows come from. A row counts from its event timestamp on: a training set never sees it before.".to_owned(),
        format!("# Guessed: {}.", plain(&draft.event_why)),
        "# A row that is rewritten in place has its newest values for the past too: prefer tables that rows are added to."
            .to_owned(),
        "[[source]]".to_owned(),
        format!("name = {}", quoted(&draft.source)),
        match &draft.query {
            Some(query) => format!("sql = {}", quoted(&query.file)),
            None => format!("table = {}", quoted(&draft.table)),
        },
        format!("event_timestamp = {}", quoted(&draft.event)),
    ];
    match &draft.created {
        Some(created) => lines.extend([
            format!(
                "created_timestamp = {}  # when the row was written: late and corrected rows are found by it",
                quoted(created)
            ),
            "# overlap = \"5m\"  # how far behind the last run to look again, since rows are visible only after they are stamped"
                .to_owned(),
            "# key = [\"event_id\"]  # if a corrected event comes as a new row: the columns that say which event it is".to_owned(),
        ]),
        None => lines.extend([
            "# created_timestamp = \"…\"  # a column that says when the row was written: late and corrected rows are found by it"
                .to_owned(),
            "# lateness = \"2h\"  # without such a column: how late rows may come and still be found by incremental runs".to_owned(),
        ]),
    }
    lines.push(match &draft.deleted {
        Some(deleted) => format!("deleted = {}  # a true row takes the value away", quoted(deleted)),
        None => "# deleted = \"is_deleted\"  # a bool column: a true row takes the value away".to_owned(),
    });
    lines.join("\n") + "\n"
}

/// What all views begin with.
fn view(draft: &Draft, name: &str) -> String {
    let mut text = text::view(name, &draft.entity.name, &draft.source);
    let keys = draft.entity.keys.iter().filter(|key| key.name != key.column);
    let renamed = text::pairs(keys.map(|key| (key.name.as_str(), key.column.as_str())));
    if !renamed.is_empty() {
        let _infallible = writeln!(
            text,
            "columns = {{ {renamed} }}  # the source's columns for join keys of other names"
        );
    }
    text.push_str("schedule = \"5m\"  # how often `feature-server serve` computes it\n");
    text
}

fn row_view(draft: &Draft) -> String {
    let Some(rows) = &draft.rows else {
        return String::new();
    };
    let mut text = "# A row view: the newest row of an entity is its value.\n".to_owned();
    text.push_str(&view(draft, &rows.view));
    text.push_str("# ttl = \"30d\"  # an older value counts as missing\nfeatures = [\n");
    for Feature {
        name,
        value_type,
        column,
    } in &rows.features
    {
        text.push_str(&text::row_feature(name, *value_type, column));
    }
    text.push_str(&left_out(draft));
    text.push_str("]\n");
    text
}

fn left_out(draft: &Draft) -> String {
    let lines = draft.left_out.iter();
    lines
        .map(|(column, why)| format!("  # left out: {}: {}\n", plain(column), plain(why)))
        .collect()
}

fn aggregate_view(draft: &Draft) -> String {
    let Some(windows) = &draft.windows else {
        return String::new();
    };
    let mut text = view(draft, &windows.view);
    let list: Vec<String> = WINDOWS.iter().map(|window| quoted(window)).collect();
    let list = list.join(", ");
    text.push_str("ttl = \"1d\"  # how long a value is used if it can't be computed anew\naggregate = [\n");
    let _infallible = writeln!(
        text,
        "  {{ name = \"rows\", function = \"count\", windows = [{list}] }},"
    );
    for (name, column) in &windows.means {
        let (name, column) = (quoted(name), quoted(column));
        let _infallible = writeln!(
            text,
            "  {{ name = {name}, function = \"mean\", column = {column}, windows = [{list}] }},"
        );
    }
    if draft.rows.is_none() {
        text.push_str(&left_out(draft));
    }
    text.push_str("]\n");
    let what = "# An aggregate view: functions of an entity's rows in windows up to now, one feature a window (rows_1d, rows_7d, …).\n\
                # Functions: count, sum, mean, min, max, stddev, last, last_time, distinct_count.\n";
    if windows.is_comment {
        let commented: String = text.lines().map(|line| format!("# {line}\n")).collect();
        format!("{what}# No entity with several rows was seen: if they come, take this up.\n{commented}")
    } else {
        format!("{what}{text}")
    }
}

fn aggregate_references(windows: &WindowsDraft) -> Vec<String> {
    let of = |feature: &str| {
        let references = WINDOWS.map(|window| reference(&windows.view, &format!("{feature}_{window}")));
        references.to_vec()
    };
    let counts = of("rows")
        .into_iter()
        .map(|reference| format!("{{ feature = {reference}, default = 0 }}"));
    counts
        .chain(windows.means.iter().flat_map(|(name, _)| of(name)))
        .collect()
}

fn service(draft: &Draft) -> String {
    let mut inputs: Vec<String> = Vec::new();
    if let Some(rows) = &draft.rows {
        let references = rows.features.iter();
        inputs.extend(references.map(|feature| reference(&rows.view, &feature.name)));
    }
    if let Some(windows) = draft.windows.as_ref().filter(|windows| !windows.is_comment) {
        inputs.extend(aggregate_references(windows));
    }
    let inputs: String = inputs.iter().map(|input| format!("  {input},\n")).collect();
    format!(
        "# A feature service: what one model takes in, in order. Leave only what it needs; `default` stands in for a missing value.\n\
         # What only a request knows is declared here too: request = [{{ name = \"amount\", type = \"float64\" }}], and read as \"request:amount\".\n\
         [[feature_service]]\nname = {}\nfeatures = [\n{inputs}]\n",
        quoted(&draft.service)
    )
}
