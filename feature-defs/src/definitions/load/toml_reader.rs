//! Reads TOML by hand, so that every mistake is reported at its place and none hides another.
//!
//! Whatever is wrong is reported by the reader where it is met; callers see `None` and go on.

use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::{Place, suggest};
use crate::key::KeyType;
use crate::name::InvalidName;
use crate::time::Span;
use crate::value::ValueType;

/// A table, and the keys that were asked for so far: those that it may have.
#[derive(Debug)]
pub(super) struct Table<'a> {
    entries: &'a DeTable<'a>,
    pub(super) place: Place<'a>,
    what: &'static str,
    asked: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// `what` names the table in messages: `[[entity]]`, `request`.
    pub(super) fn new(entries: &'a DeTable<'a>, place: Place<'a>, what: &'static str) -> Self {
        Self {
            entries,
            place,
            what,
            asked: Vec::new(),
        }
    }

    pub(super) fn optional(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.asked.push(key);
        let value = self.entries.get(key)?;
        Some(Item {
            value,
            place: Place::new(self.place.file, self.place.problems, value.span()),
            key,
        })
    }

    pub(super) fn required(&mut self, key: &'static str) -> Option<Item<'a>> {
        let item = self.optional(key);
        if item.is_none() {
            self.place.error(format!("`{key}` is missing in {}", self.what), None);
        }
        item
    }

    /// A required key whose value is a text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Text<'a>> {
        self.required(key).and_then(Item::text)
    }

    /// A key that may be absent (`Some(None)`); `None` if it is there and not a text.
    pub(super) fn optional_text(&mut self, key: &'static str) -> Option<Option<Text<'a>>> {
        match self.optional(key) {
            None => Some(None),
            Some(item) => item.text().map(Some),
        }
    }

    /// The values of the keys that nobody has asked for.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &'a DeValue<'a>> {
        let unknown = self
            .entries
            .iter()
            .filter(|(key, _)| !self.asked.contains(&key.get_ref().as_ref()));
        unknown.map(|(_, value)| value.get_ref())
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.entries.iter() {
            let text = key.get_ref().as_ref();
            if !self.asked.contains(&text) {
                let place = Place::new(self.place.file, self.place.problems, key.span());
                place.error(
                    format!("unknown key `{text}` in {}", self.what),
                    suggest(text, self.asked.iter().copied()),
                );
            }
        }
    }
}

/// A value, and the key it stands at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    value: &'a Spanned<DeValue<'a>>,
    pub(super) place: Place<'a>,
    key: &'static str,
}

impl<'a> Item<'a> {
    pub(super) fn value(self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// The value as it is written, shortened for a message.
    pub(super) fn quoted(self) -> String {
        let raw = self.place.raw();
        let first: String = raw.lines().next().unwrap_or_default().chars().take(40).collect();
        if first.len() < raw.len() {
            format!("{first}…")
        } else {
            first
        }
    }

    pub(super) fn text(self) -> Option<Text<'a>> {
        match self.value() {
            DeValue::String(text) => Some(Text {
                str: text,
                place: self.place,
            }),
            _ => self.wrong_type("a string", None),
        }
    }

    /// A whole number or a float, finite.
    pub(super) fn number(self) -> Option<f64> {
        let number = match self.value() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            _ => return self.wrong_type("a number", None),
        };
        number
            .filter(|number: &f64| number.is_finite())
            .or_else(|| self.wrong_type("a finite number", None))
    }

    /// The elements of an array.
    pub(super) fn list(self) -> Option<Vec<Self>> {
        let DeValue::Array(items) = self.value() else {
            return self.wrong_type("an array", None);
        };
        let place = |item: &Spanned<_>| Place::new(self.place.file, self.place.problems, item.span());
        Some(
            items
                .iter()
                .map(|value| Self {
                    value,
                    place: place(value),
                    key: self.key,
                })
                .collect(),
        )
    }

    /// `what` names the table in messages.
    pub(super) fn table(self, what: &'static str) -> Option<Table<'a>> {
        match self.value() {
            DeValue::Table(entries) => Some(Table::new(entries, self.place, what)),
            _ => self.wrong_type("a table, `{ … }`", None),
        }
    }

    /// The keys and values of a table with keys of the user's own.
    pub(super) fn entries(self) -> Option<Vec<(Text<'a>, Self)>> {
        let DeValue::Table(entries) = self.value() else {
            return self.wrong_type("a table, `{ … }`", None);
        };
        let place = |range| Place::new(self.place.file, self.place.problems, range);
        let entry = |(key, value): (&'a Spanned<toml::de::DeString<'a>>, &'a Spanned<DeValue<'a>>)| {
            let text = Text {
                str: key.get_ref(),
                place: place(key.span()),
            };
            (
                text,
                Self {
                    value,
                    place: place(value.span()),
                    key: self.key,
                },
            )
        };
        Some(entries.iter().map(entry).collect())
    }

    /// Reads each table of an array; `complete` is whether all of them made a value.
    pub(super) fn each<T>(self, what: &'static str, mut read: impl FnMut(Table<'a>) -> Option<T>) -> Each<T> {
        let Some(list) = self.list() else {
            return Each {
                items: Vec::new(),
                complete: false,
            };
        };
        let count = list.len();
        let items: Vec<T> = list.into_iter().filter_map(|item| read(item.table(what)?)).collect();
        Each {
            complete: items.len() == count,
            items,
        }
    }

    /// Reports that the value is not `wanted`.
    pub(super) fn wrong_type<T>(self, wanted: &str, help: Option<String>) -> Option<T> {
        let article = if self.value().type_str().starts_with(['a', 'i']) {
            "an"
        } else {
            "a"
        };
        let got = match self.value() {
            DeValue::Array(_) | DeValue::Table(_) => format!("{article} {}", self.value().type_str()),
            _ => format!("the {} `{}`", self.value().type_str(), self.quoted()),
        };
        self.place
            .error(format!("`{}` must be {wanted}, not {got}", self.key), help);
        None
    }
}

/// What could be read of a list.
#[derive(Debug)]
pub(super) struct Each<T> {
    pub(super) items: Vec<T>,
    /// Whether every element was right.
    pub(super) complete: bool,
}

impl<T> Each<T> {
    /// All elements, if every one was right.
    pub(super) fn all(self) -> Option<Vec<T>> {
        self.complete.then_some(self.items)
    }
}

/// A text and where it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) str: &'a str,
    pub(super) place: Place<'a>,
}

impl<'a> Text<'a> {
    /// The text as a name of some kind.
    pub(super) fn name<N: FromStr<Err = InvalidName>>(self) -> Option<N> {
        self.str
            .parse()
            .map_err(|invalid: InvalidName| self.place.error(invalid.to_string(), None))
            .ok()
    }

    /// The text as a length of time.
    pub(super) fn span(self) -> Option<Span> {
        self.str
            .parse()
            .map_err(|invalid: crate::time::InvalidSpan| self.place.error(invalid.to_string(), None))
            .ok()
    }

    /// The text as a length of time above zero.
    pub(super) fn positive_span(self, what: &str) -> Option<Span> {
        let span = self.span()?;
        if span == Span::ZERO {
            self.place.error(
                format!("{what} of `{}` is no time at all: it must be above 0", self.str),
                None,
            );
            return None;
        }
        Some(span)
    }

    pub(super) fn value_type(self) -> Option<ValueType> {
        let known = self.str.parse().ok();
        if known.is_none() {
            let help = suggest(self.str, ValueType::ALL.map(ValueType::name));
            self.place.error(format!("unknown type `{}`", self.str), help);
        }
        known
    }

    pub(super) fn key_type(self) -> Option<KeyType> {
        match self.value_type()? {
            ValueType::String => Some(KeyType::String),
            ValueType::Int64 => Some(KeyType::Int64),
            other => {
                self.place
                    .error(format!("a join key is `string` or `int64`, not `{other}`"), None);
                None
            }
        }
    }

    /// The text as a column's name, as Postgres has it.
    pub(super) fn column(self) -> Option<String> {
        if self.str.is_empty() || self.str.contains(char::is_control) {
            self.place
                .error(format!("{:?} is not the name of a column", self.str), None);
            return None;
        }
        Some(self.str.to_owned())
    }

    /// Where bytes `offset` to `offset + len` of the text are written; the whole text where escapes make that unclear.
    pub(super) fn part(self, offset: usize, len: usize) -> Place<'a> {
        match self.place.raw().find(self.str) {
            Some(start) if !self.str.is_empty() => self.place.part(start + offset, len),
            _ => self.place,
        }
    }
}
