//! Names made from names: what something is called elsewhere, as the definitions' rule for names allows it.

use feature_defs::name;

/// Words that say "this column identifies something", and nothing of what.
const ID_WORDS: [&str; 4] = ["id", "key", "uuid", "guid"];

/// The words of a name, in lower case: `customerId`, `customer_id` and `"Customer ID"` are all `customer`, `id`.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut after_lower = false;
    for c in text.chars() {
        let begins = !c.is_alphanumeric() || c.is_uppercase() && after_lower;
        if begins && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase() || c.is_numeric();
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// Whether a column is called like something that identifies: `customer_id`, `userKey`.
pub(crate) fn looks_like_id(column: &str) -> bool {
    words(column)
        .last()
        .is_some_and(|word| ID_WORDS.contains(&word.as_str()))
}

/// What a column that identifies something identifies: `customer` for `customer_id`; `None` for a bare `id`.
pub(crate) fn identified(column: &str) -> Option<String> {
    let mut words = words(column);
    if words.last().is_some_and(|word| ID_WORDS.contains(&word.as_str())) {
        words.pop();
    }
    (!words.is_empty()).then(|| valid(&words.join("_"), "entity"))
}

/// One row of a table of this name: `order` for `orders`.
pub(crate) fn singular(table: &str) -> String {
    let name = valid(table, "entity");
    if let Some(stem) = name.strip_suffix("ies") {
        return valid(&format!("{stem}y"), "entity");
    }
    match name.strip_suffix('s') {
        Some(stem) if !stem.ends_with('s') => valid(stem, "entity"),
        _ => name,
    }
}

/// The text itself if it is a name, else a name made of its words; `fallback` stands in where none can be used.
pub(crate) fn valid(text: &str, fallback: &str) -> String {
    if name::check(text).is_ok() {
        return text.to_owned();
    }
    // Letters that names can't have would leave gaps that read as other words, so that they end a word.
    let ascii: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    let words = words(&ascii);
    let made = words.join("_");
    if name::check(&made).is_ok() {
        made
    } else if made.is_empty() {
        fallback.to_owned()
    } else {
        format!("{fallback}_{made}")
    }
}

/// `wanted`, or with a number behind it if that is taken.
pub(crate) fn unique(wanted: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut name = wanted.to_owned();
    let mut number = 2_u32;
    while is_taken(&name) {
        name = format!("{wanted}_{number}");
        number += 1;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_begin_at_marks_and_capitals() {
        for (text, expected) in [
            ("customer_id", "customer id"),
            ("customerId", "customer id"),
            ("Order ID", "order id"),
            ("größe", "größe"),
            ("__", ""),
        ] {
            assert_eq!(words(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn every_text_makes_a_name() {
        for (text, expected) in [
            ("amount", "amount"),
            ("orderTotal", "orderTotal"),
            ("Order ID", "order_id"),
            ("a__b", "a_b"),
            ("trailing_", "trailing"),
            ("2nd", "column_2nd"),
            ("größe", "gr_e"),
            ("名前", "column"),
            ("\"quoted\"", "quoted"),
        ] {
            let made = valid(text, "column");
            assert_eq!(made, expected, "{text}");
            assert!(name::check(&made).is_ok(), "{made}");
        }
        assert_eq!(unique("a", |name| ["a", "a_2"].contains(&name)), "a_3");
    }

    #[test]
    fn ids_say_what_they_identify() {
        for (column, id, expected) in [
            ("customer_id", true, Some("customer")),
            ("productKey", true, Some("product")),
            ("id", true, None),
            ("carrier", false, Some("carrier")),
            ("paid", false, Some("paid")),
        ] {
            assert_eq!(
                (looks_like_id(column), identified(column).as_deref()),
                (id, expected),
                "{column}"
            );
        }
        for (table, expected) in [
            ("orders", "order"),
            ("countries", "country"),
            ("address", "address"),
            ("s", "entity"),
        ] {
            assert_eq!(singular(table), expected, "{table}");
        }
    }
}
