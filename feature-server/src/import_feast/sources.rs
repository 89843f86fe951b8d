//! Sources: tables and queries of Postgres, and what pushes rows to them.

use std::sync::Arc;

use super::carry::{Carry, Left, name_of};
use super::draft::{Relation, Source};
use super::values::{Known, Object, Place, Value};

const POSTGRES: &str = "PostgreSQLSource";
/// Sources that bring rows one by one, and name the table that the same rows are in.
const STREAMS: [&str; 3] = ["PushSource", "KafkaSource", "KinesisSource"];
/// What only a request carries: the services that need it say so.
pub(super) const REQUEST: &str = "RequestSource";

/// Whether a class of Feast is one of sources.
fn is_source(class: &str) -> bool {
    class.ends_with("Source")
}

impl Carry<'_> {
    pub(super) fn all_sources(&mut self) {
        for object in self.of_class(&[POSTGRES]) {
            self.source(object);
        }
        for object in self.made {
            match object.class() {
                Some("PushSource") => self.push_source(object),
                Some(class)
                    if is_source(class) && class != POSTGRES && class != REQUEST && !STREAMS.contains(&class) =>
                {
                    let what = format!("source {}", object.shown());
                    let why = format!("it is a {class}, and features are read from Postgres only");
                    self.left(
                        &object.at,
                        &what,
                        Left::new(why, "load its rows into a table, and declare that"),
                    );
                }
                _ => {}
            }
        }
    }

    fn source(&mut self, object: &Arc<Object>) {
        let what = format!("source {}", shown(object));
        let known = |carry: &Self| {
            carry
                .draft
                .sources
                .iter()
                .position(|known| named(object).is_ok_and(|name| name == known.feast))
        };
        let index = match (known(self), self.read_source(object)) {
            (_, Err(left)) => {
                self.left(&object.at, &what, left);
                None
            }
            (Some(known), Ok(_)) => {
                let why = "there is a source of this name already, and that one counts";
                self.notes
                    .look_at(object.at.clone(), &what, why, "rename one if they differ");
                Some(known)
            }
            (None, Ok(mut source)) => {
                let names: Vec<String> = self.draft.sources.iter().map(|known| known.name.clone()).collect();
                let is_taken = |name: &str| names.iter().any(|known| known == name);
                source.name = self.name("source", &source.feast, &object.at, is_taken);
                self.draft.sources.push(source);
                Some(self.draft.sources.len() - 1)
            }
        };
        self.sources.insert(object.id, index);
    }

    fn read_source(&mut self, object: &Arc<Object>) -> Result<Source, Left> {
        let (table, query) = (text(object, "table")?, text(object, "query")?);
        let feast = named(object)?.to_owned();
        let relation = match (query.map(|query| whole_table(query).ok_or(query)), table) {
            (Some(Err(query)), _) => self.query(object, query),
            (Some(Ok(table)), _) | (None, Some(table)) => self.table(table),
            (None, None) => return Err(Left::unknown("it has neither `table` nor `query`")),
        };
        let mapping = match object.argument("field_mapping") {
            None => Vec::new(),
            Some(mapping) => {
                let pairs = mapping.text_pairs();
                pairs.map_err(|problem| Left::unknown(format!("its `field_mapping` {problem}")))?
            }
        };
        let event = text(object, "timestamp_field")?.or(text(object, "event_timestamp_column")?);
        let event = event.ok_or_else(|| {
            let why = "it has no `timestamp_field`";
            Left::new(
                why,
                "say which timestamptz column tells when a row was true, and import again",
            )
        })?;
        let created = text(object, "created_timestamp_column")?.map(str::to_owned);
        let about = self.about(object, &format!("source `{feast}`"));
        let mut source = Source {
            name: feast.clone(),
            feast,
            relation,
            event_timestamp: String::new(),
            created_timestamp: None,
            push_to: None,
            mapping,
            about,
            at: object.at.clone(),
        };
        source.event_timestamp = source.column(event);
        source.created_timestamp = created.map(|created| source.column(&created));
        Ok(source)
    }

    /// Feast puts a table's name into SQL as it stands: what is more than a plain name is a query here.
    fn table(&self, table: &str) -> Relation {
        let parts: Vec<&str> = table.split('.').collect();
        match (parts.as_slice(), &self.store.schema) {
            ([table], Some(schema)) if is_plain(table) => Relation::Table(format!("{schema}.{table}")),
            ([_] | [_, _], _) if parts.iter().all(|part| is_plain(part)) => Relation::Table(table.to_owned()),
            _ => Relation::Query(format!("SELECT * FROM {table}")),
        }
    }

    fn query(&mut self, object: &Object, query: &str) -> Relation {
        if let Some(schema) = &self.store.schema {
            let what = format!("source {}", shown(object));
            let why = format!("Feast runs its query with `search_path={schema}`");
            let help = "write the schema before the tables in its .sql file";
            self.notes.look_at(object.at.clone(), &what, why, help);
        }
        Relation::Query(query.to_owned())
    }

    /// Rows that are pushed go where the batch source reads.
    fn push_source(&mut self, object: &Arc<Object>) {
        let what = format!("push source {}", object.shown());
        let batch = object.argument("batch_source").map(|batch| self.source_of(batch));
        let index = match batch {
            None => {
                let why = "it has no `batch_source`, so that nothing says where its rows are kept";
                self.left(
                    &object.at,
                    &what,
                    Left::new(why, "declare the table they are appended to as a source"),
                );
                return;
            }
            Some(Err(left)) => {
                self.left(&object.at, &what, left);
                return;
            }
            Some(Ok(index)) => index,
        };
        let source = &mut self.draft.sources[index];
        let (name, at) = (source.name.clone(), object.at.clone());
        match &source.relation {
            Relation::Table(table) => {
                source.push_to = Some(table.clone());
                let why = format!("rows are pushed to source `{name}`, and appended to its table");
                let help = "let whoever posts to `/push` give the name of that source, or of a view of it, as `push_source_name`";
                self.notes.look_at(at, &what, why, help);
            }
            Relation::Query(_) => {
                let why =
                    format!("source `{name}` is a query, and which table pushed rows are appended to is not known");
                let left = Left::new(why, "add `push_to` to that source: the table that its query reads");
                self.left(&at, &what, left);
            }
        }
    }

    /// The carried source that an argument names: itself, or the batch source of a stream.
    pub(super) fn source_of(&mut self, known: &Known) -> Result<usize, Left> {
        if let Value::List(_) = &known.value {
            return Err(derived());
        }
        let object = known
            .object()
            .map_err(|problem| Left::unknown(format!("its source {problem}")))?;
        match object.class() {
            Some(POSTGRES) => self.sources.get(&object.id).copied().flatten().ok_or_else(|| {
                let why = format!("its source {} is not carried over", shown(object));
                Left::new(why, "carry it over first")
            }),
            Some(stream) if STREAMS.contains(&stream) => {
                let batch = object.argument("batch_source");
                let batch = batch.ok_or_else(|| Left::unknown(format!("its {stream} has no `batch_source`")))?;
                self.source_of(batch)
            }
            Some(class) if is_source(class) => {
                let why = format!(
                    "its source {} is a {class}, and features are read from Postgres only",
                    object.shown()
                );
                Err(Left::new(why, "load its rows into a table, and declare that"))
            }
            Some(_) => Err(derived()),
            None => Err(Left::unknown(format!("its source {}", known.instead_of("a source")))),
        }
    }

    /// Notes a stream that a view reads besides its table.
    pub(super) fn note_stream(&mut self, known: &Known, what: &str, at: &Place) {
        let stream = known.object().ok().and_then(|object| object.class());
        if let Some(class @ ("KafkaSource" | "KinesisSource")) = stream {
            let why = format!("it is carried over from its batch source: no {class} is read");
            let help = "push the stream's rows, or let them reach the table and be found by the next run";
            self.notes.look_at(at.clone(), what, why, help);
        }
    }
}

/// The table that a query reads all of, as the queries of many repositories do.
fn whole_table(query: &str) -> Option<&str> {
    let query = query.trim().trim_end_matches(';');
    let words: Vec<&str> = query.split_whitespace().collect();
    match words.as_slice() {
        [select, "*", from, table] if select.eq_ignore_ascii_case("select") && from.eq_ignore_ascii_case("from") => {
            table.split('.').all(is_plain).then_some(*table)
        }
        _ => None,
    }
}

/// Whether Postgres reads a part of a table's name as it stands.
pub(super) fn is_plain(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && part
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn derived() -> Left {
    let why = "it is made of other feature views";
    Left::new(why, "write the query that makes it as a source")
}

fn text<'o>(object: &'o Object, name: &str) -> Result<Option<&'o str>, Left> {
    object.text(name).map_err(Left::unknown)
}

/// The name of a source; without one it is called as its table.
fn named(object: &Object) -> Result<&str, Left> {
    match (object.argument_or("name", 0), object.text("table")) {
        (None, Ok(Some(table))) if !object.is_open => Ok(table),
        _ => name_of(object),
    }
}

fn shown(object: &Object) -> String {
    named(object).map_or_else(|_| object.shown(), |name| format!("`{name}`"))
}
