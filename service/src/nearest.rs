//! "Did you mean …?", for names that come over HTTP.

/// A longer name is no misspelling of a known one, and comparing it takes its time: the caller decides how long it is.
const LONGEST: usize = 64;

/// `; did you mean `x`?` for the known name nearest to `wrong`, or nothing if none is near.
pub fn hint<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    if wrong.len() > LONGEST {
        return String::new();
    }
    let near = known.map(|name| (strsim::damerau_levenshtein(wrong, name), name)).min();
    match near {
        Some((distance, name)) if distance <= 1.max(wrong.len() / 3) => format!("; did you mean `{name}`?"),
        _ => String::new(),
    }
}
