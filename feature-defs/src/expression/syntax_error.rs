//! Makes sentences of what the generated parser says about broken syntax.

use cel::{ParseError, ParseErrors};

use super::ExpressionError;
use super::parse::too_deep;
use super::syntax::Place;

const SYNTAX_ERROR: &str = "Syntax error: ";

/// How the parser's recursion limit shows: as a debug text, when it stopped amid a construct; else as an error without a
/// place.
const RECURSION_LIMIT: &str = "Syntax error: OtherError(ParseError";

/// What people of other languages write, and what it is here.
const ELSEWHERE: [(&str, &str); 6] = [
    ("=", "=="),
    ("and", "&&"),
    ("or", "||"),
    ("not", "!"),
    ("&", "&&"),
    ("|", "||"),
];

/// Each error once, in the order of the text.
pub(super) fn explain(text: &str, errors: ParseErrors) -> Vec<ExpressionError> {
    if errors
        .errors
        .iter()
        .any(|e| e.msg.starts_with(RECURSION_LIMIT) || e.pos == (0, 0))
    {
        return vec![too_deep(text)];
    }
    // After a syntax error the walk over the broken tree complains of what is missing in it: the same errors again.
    let syntax = errors.errors.iter().any(|e| e.msg.starts_with(SYNTAX_ERROR));
    let mut explained: Vec<ExpressionError> = Vec::new();
    for error in errors.errors {
        if syntax && !error.msg.starts_with(SYNTAX_ERROR) {
            continue;
        }
        let error = explain_one(text, &error);
        // An error right behind another is its echo.
        let echo = explained.last().is_some_and(|last| {
            let end = last.offset + last.len;
            error.offset <= end || text[end..error.offset].trim().is_empty()
        });
        if !echo {
            explained.push(error);
        }
    }
    explained
}

fn explain_one(text: &str, error: &ParseError) -> ExpressionError {
    let message = error.msg.strip_prefix(SYNTAX_ERROR).unwrap_or(&error.msg);
    let mut place = word_at(text, offset(text, error.pos));
    let found = &text[place.start..place.end];
    let message = if message.contains("'<EOF>'") && text[place.end..].trim().is_empty() {
        "the expression ends too early".to_owned()
    } else if let Some(name) = message.strip_prefix("reserved identifier: ") {
        format!("`{name}` is a reserved word: it can't be a bare name")
    } else if message.starts_with("invalid ") {
        format!("`{found}` is an {message}")
    } else if let Some((_, here)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == found) {
        format!("`{found}` is no operator here: write `{here}`")
    } else if found == "\"" || found == "'" {
        place.end += text[place.end..].lines().next().map_or(0, str::len);
        "a string begins here that does not end, or holds a `\\` that escapes nothing".to_owned()
    } else {
        format!("`{found}` is not expected here")
    };
    ExpressionError::new(place, message)
}

/// The byte offset of a line and column, both from 1, in characters.
fn offset(text: &str, (line, column): (isize, isize)) -> usize {
    let index = |n: isize| usize::try_from(n - 1).unwrap_or(0);
    let start: usize = text.split_inclusive('\n').take(index(line)).map(str::len).sum();
    let rest = &text[start.min(text.len())..];
    start + rest.char_indices().nth(index(column)).map_or(rest.len(), |(at, _)| at)
}

/// The word, string or sign at `start`; at the end of the text, the last one.
fn word_at(text: &str, start: usize) -> Place {
    let start = match text[start..].chars().next() {
        Some(c) if !c.is_whitespace() => start,
        _ => text[..start]
            .trim_end()
            .char_indices()
            .next_back()
            .map_or(0, |(at, _)| at),
    };
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let rest = &text[start..];
    let first = rest.chars().next();
    let len = match first {
        Some(c) if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
        Some(quote @ ('"' | '\'')) => rest[1..].find(quote).map_or(1, |end| end + 2),
        first => first.map_or(0, char::len_utf8),
    };
    Place {
        start,
        end: start + len,
    }
}
