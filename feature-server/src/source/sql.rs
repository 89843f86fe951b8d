//! The parts that all generated SQL is made of: identifiers, literals, moments, relations and typed columns.

use feature_defs::definitions::{Relation, Source};
use feature_defs::name::SourceName;
use feature_defs::time::{Span, Timestamp};
use feature_defs::value::ValueType;

use super::columns::{ColumnType, Columns};

/// A lower bound that lies further back than this (4,000 years) is no bound at all: Postgres's times begin in 4714 BC.
const LONGEST_SPAN_MICROS: i64 = 4_000 * 366 * 86_400_000_000;
/// What lies before this moment (about 4370 BC, in microseconds since 1970) Postgres may not be able to write.
const EARLIEST_MICROS: i64 = -200_000_000_000_000_000;

/// A source that cannot be read.
#[derive(Debug)]
pub(crate) struct SourceError {
    pub(crate) source: SourceName,
    pub(crate) message: String,
}

/// The moment that values are as of: a literal for a run, a column for a training set.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment<'a> {
    /// A fixed one.
    At(Timestamp),
    /// A SQL expression of type `timestamptz`.
    Of(&'a str),
}

impl Moment<'_> {
    /// As SQL.
    pub(crate) fn sql(self) -> String {
        match self {
            Self::At(at) => instant(at),
            Self::Of(expression) => expression.to_owned(),
        }
    }

    /// The moment `span` earlier, as SQL.
    pub(crate) fn minus(self, span: Span) -> String {
        if span.as_micros() > LONGEST_SPAN_MICROS {
            return "'-infinity'::timestamptz".to_owned();
        }
        match self {
            Self::At(at) => instant(at.minus(span)),
            Self::Of(expression) => format!("({expression} - {})", interval(span)),
        }
    }
}

/// What an incremental run has to look at again, given the run before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since {
    /// Rows with an event timestamp after this are looked at, whenever they were created.
    pub(crate) event: Timestamp,
    /// Rows created at or after this are looked at, whatever their event timestamp. `None`: the source does not say when
    /// rows were created.
    pub(crate) created: Option<Timestamp>,
    /// As of when the run before saw the world: what has left a window since then is found by it.
    pub(crate) as_of: Timestamp,
}

impl Since {
    /// Whether a row is among what is looked at again.
    pub(crate) fn looks_at(&self, event: Timestamp, created: Option<Timestamp>) -> bool {
        let since_created = self.created.zip(created);
        event > self.event || since_created.is_some_and(|(since, created)| created >= since)
    }
}

/// A moment as a SQL literal, exact to the microsecond and independent of session settings.
pub(crate) fn instant(at: Timestamp) -> String {
    use chrono::Datelike;
    if at.as_micros() < EARLIEST_MICROS {
        return "'-infinity'::timestamptz".to_owned();
    }
    match at.to_chrono() {
        None => "'infinity'::timestamptz".to_owned(),
        Some(time) => {
            let year = time.year();
            let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
            format!("'{year:04}-{}+00{era}'::timestamptz", time.format("%m-%d %H:%M:%S%.6f"))
        }
    }
}

/// A span as SQL. Hours and less only: days and months would follow the session's time zone. Before Postgres 15 the
/// number in front of a unit has 32 bits, which microseconds and even seconds outgrow; hours do not.
fn interval(span: Span) -> String {
    let micros = span.as_micros();
    let (secs, micros) = (micros / 1_000_000, micros % 1_000_000);
    format!(
        "'{}:{:02}:{:02}.{micros:06}'::interval",
        secs / 3_600,
        secs / 60 % 60,
        secs % 60
    )
}

/// A text as a SQL literal, whatever the session holds backslashes for.
pub(crate) fn text(value: &str) -> String {
    format!("E'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name as a quoted SQL identifier.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What stands behind `FROM`. Its rows go by the name `src`.
pub(crate) fn relation(source: &Source) -> String {
    relation_as(source, "src")
}

/// The same under another name.
pub(crate) fn relation_as(source: &Source, alias: &str) -> String {
    match &source.relation {
        Relation::Table(table) => format!("{} AS {alias}", table_ident(table)),
        // The line break ends a comment in the query's last line.
        Relation::Query { sql, .. } => format!("(\n{sql}\n) AS {alias}"),
    }
}

/// `table` or `schema.table`, quoted.
pub(crate) fn table_ident(table: &str) -> String {
    match table.split_once('.') {
        Some((schema, table)) => format!("{}.{}", ident(schema), ident(table)),
        None => ident(table),
    }
}

/// The event timestamp of a row.
pub(crate) fn event(source: &Source) -> String {
    format!("src.{}", ident(&source.event_timestamp))
}

/// The created timestamp of a row as it stands in its column, which an index can serve.
pub(crate) fn raw_created(source: &Source) -> Option<String> {
    source
        .created_timestamp
        .as_ref()
        .map(|column| format!("src.{}", ident(column)))
}

/// The created timestamp of a row, null where there is none.
pub(crate) fn created(source: &Source) -> String {
    match raw_created(source) {
        Some(created) => format!("CASE WHEN isfinite({created}) THEN {created} END"),
        None => "NULL::timestamptz".to_owned(),
    }
}

/// A column of the source.
pub(crate) fn src(column: &str) -> String {
    format!("src.{}", ident(column))
}

/// A column without what no feature can hold: NaN, and times that are infinite, are null.
pub(crate) fn cleaned(column: &str, columns: &Columns) -> String {
    let column_sql = src(column);
    match columns.kind(column) {
        Some(ColumnType::Float) => format!("NULLIF({column_sql}, 'NaN')"),
        Some(ColumnType::Timestamp) => format!("CASE WHEN isfinite({column_sql}) THEN {column_sql} END"),
        _ => column_sql,
    }
}

/// A column as a value of a feature of this type.
pub(crate) fn typed(column: &str, columns: &Columns, value_type: ValueType) -> String {
    let value = cleaned(column, columns);
    // Postgres casts booleans to no number but int4.
    let value = if columns.kind(column) == Some(ColumnType::Bool) && value_type.is_number() {
        format!("{value}::int4")
    } else {
        value
    };
    format!("({value})::{}", pg_type(value_type))
}

/// The Postgres type that values of this type are cast to, whose binary form the decoder reads.
pub(crate) const fn pg_type(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Bool => "bool",
        ValueType::Int64 => "int8",
        ValueType::Float32 => "float4",
        ValueType::Float64 => "float8",
        ValueType::String => "text",
        ValueType::Bytes => "bytea",
        ValueType::Timestamp => "timestamptz",
        ValueType::Float32List => "float4[]",
        ValueType::Int64List => "int8[]",
        ValueType::StringList => "text[]",
    }
}

/// A value for sorting: text by its bytes, so that the order is the same on every machine. The two zeros of
/// floats have one place in it: once they are read, they are one value.
pub(crate) fn sortable(expression: &str, value_type: ValueType) -> String {
    match value_type {
        ValueType::String | ValueType::StringList => format!("{expression} COLLATE \"C\""),
        _ => expression.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_exact_literals() {
        let at = |text: &str| instant(text.parse().unwrap());
        assert_eq!(
            at("2013-11-05T16:30:00.000001Z"),
            "'2013-11-05 16:30:00.000001+00'::timestamptz"
        );
        assert_eq!(
            at("1969-12-31T23:59:59.999999Z"),
            "'1969-12-31 23:59:59.999999+00'::timestamptz"
        );
        assert_eq!(
            instant(Timestamp::from_micros(-62_135_596_800_000_001)),
            "'0001-12-31 23:59:59.999999+00 BC'::timestamptz"
        );
        assert_eq!(instant(Timestamp::from_micros(i64::MIN)), "'-infinity'::timestamptz");
        let at = Moment::At("2013-11-05T16:30:00Z".parse().unwrap());
        assert_eq!(
            at.minus("1d".parse().unwrap()),
            "'2013-11-04 16:30:00.000000+00'::timestamptz"
        );
        assert_eq!(
            Moment::Of("m").minus("1s".parse().unwrap()),
            "(m - '0:00:01.000000'::interval)"
        );
        assert_eq!(
            interval("9999d".parse().unwrap()),
            "'239976:00:00.000000'::interval",
            "hours of 27 years"
        );
        assert_eq!(at.minus("9999999d".parse().unwrap()), "'-infinity'::timestamptz");
    }

    #[test]
    fn names_cannot_break_out() {
        assert_eq!(ident("a\"; DROP TABLE b --"), "\"a\"\"; DROP TABLE b --\"");
        assert_eq!(table_ident("public.planes"), "\"public\".\"planes\"");
        assert_eq!(text(r"O'Hare\"), r"E'O''Hare\\'");
    }
}
