//! What readers see of features.

use std::collections::BTreeMap;

use serde_json::Value;

/// A feature's value or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(super) enum Seen {
    Value(f64),
    /// `NOT_FOUND`
    Missing,
    /// `OUTSIDE_MAX_AGE`
    TooOld,
}

/// By name, `view__feature`.
pub(super) type Features = BTreeMap<String, Seen>;

impl Seen {
    pub(super) const fn of(value: f64) -> Self {
        Self::Value(value)
    }

    /// What the model makes of it, beside a request of 80: (80 - mean) / 64, with the service's default for what is not
    /// there.
    pub(super) fn score(self) -> f64 {
        let mean = match self {
            Self::Value(value) => value,
            Self::Missing | Self::TooOld => 0.0,
        };
        (80.0 - mean) / 64.0
    }
}

/// The first row of an answer of `/get-online-features`, without its join keys.
pub(super) fn features(answer: &Value) -> Result<Features, String> {
    let wrong = || format!("not an answer: {answer}");
    let names = answer["metadata"]["feature_names"].as_array().ok_or_else(wrong)?;
    let results = answer["results"].as_array().ok_or_else(wrong)?;
    let mut features = Features::new();
    for (name, result) in names.iter().zip(results) {
        let name = name.as_str().ok_or_else(wrong)?;
        if matches!(name, "customer" | "store" | "shop" | "pieces") {
            continue;
        }
        let seen = match (result["statuses"][0].as_str(), result["values"][0].as_f64()) {
            (Some("PRESENT"), Some(value)) => Seen::Value(value),
            (Some("NOT_FOUND"), None) => Seen::Missing,
            (Some("OUTSIDE_MAX_AGE"), _) => Seen::TooOld,
            _ => return Err(format!("{name} is neither there nor missing: {result}")),
        };
        features.insert(name.to_owned(), seen);
    }
    Ok(features)
}
