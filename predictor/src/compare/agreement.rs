//! How much the outputs of two versions differ, row by row.

use feature_defs::value::{Value, ValueType};
use serde::Serialize;
use serde_json::Value as Json;
use table_files::Place;

use super::quality::{Measure, Quality, Truth};
use crate::model::Featured;
use crate::model::program::Outputs;

/// Numbers that differ by less are the same but for rounding.
const SAME_WITHIN: f64 = 1e-6;
/// Numbers that differ by less are the same for most purposes.
const NEAR_WITHIN: f64 = 1e-3;
/// How many rows that differ are told.
const SHOWN: usize = 5;

/// An output that both versions have, on the rows that both predicted.
#[derive(Debug, Clone, Serialize)]
pub struct OutputComparison {
    /// The output.
    pub output: String,
    /// The rows.
    pub rows: u64,
    /// The share of them on which both say the same: the same label, or numbers that differ by 1e-6 at most (of the larger,
    /// where that is more than 1).
    pub same: Option<f64>,
    /// The same with 1e-3, of numbers.
    pub near: Option<f64>,
    /// The largest difference of numbers.
    pub largest_difference: Option<f64>,
    /// The mean of all differences of numbers, without their signs.
    pub mean_difference: Option<f64>,
    /// Rows that differ: of numbers those that differ most, of labels the first.
    pub differing: Vec<RowDifference>,
    /// How good both are by the label.
    pub quality: Vec<Measure>,
}

/// A row on which two versions differ.
#[derive(Debug, Clone, Serialize)]
pub struct RowDifference {
    /// Where it stands in the file.
    pub row: String,
    /// What each of them says.
    pub values: [Json; 2],
    /// By how much numbers differ; nothing if only one of them is a number.
    pub difference: Option<f64>,
}

/// The outputs that both versions have.
pub(super) struct Agreements {
    outputs: Vec<Agreement>,
    not_compared: Vec<String>,
}

/// One of them.
struct Agreement {
    name: String,
    /// Where it stands among the outputs of each.
    places: [usize; 2],
    is_number: bool,
    rows: u64,
    same: u64,
    near: u64,
    /// Of differences that are numbers.
    sum: f64,
    count: u64,
    /// By how much they differ, from the most.
    differing: Vec<(f64, RowDifference)>,
    quality: Quality,
}

impl Agreements {
    /// Nothing compared yet.
    pub(super) fn of(featured: [&Featured; 2]) -> Self {
        let fields = featured.map(|featured| featured.output_schema.fields());
        let mut outputs = Vec::new();
        let mut not_compared = Vec::new();
        for (i, field) in fields[0].iter().enumerate() {
            let Some(j) = fields[1].iter().position(|other| other.name == field.name) else {
                not_compared.push(format!("the second version has no output `{}`", field.name));
                continue;
            };
            let types = [field.value_type, fields[1][j].value_type];
            let is_number = types.iter().all(|t| t.is_number());
            if !is_number && types[0] != types[1] {
                not_compared.push(format!(
                    "output `{}` is {} and {}: one cannot be told from the other",
                    field.name, types[0], types[1]
                ));
                continue;
            }
            let float = types.iter().find(|t| **t != ValueType::Int64);
            outputs.push(Agreement {
                name: field.name.to_string(),
                places: [i, j],
                is_number,
                rows: 0,
                same: 0,
                near: 0,
                sum: 0.0,
                count: 0,
                differing: Vec::new(),
                quality: Quality::of(float.copied().unwrap_or(ValueType::Int64)),
            });
        }
        for field in fields[1] {
            if fields[0].iter().all(|other| other.name != field.name) {
                not_compared.push(format!("the first version has no output `{}`", field.name));
            }
        }
        Self { outputs, not_compared }
    }

    /// Compares a row.
    pub(super) fn add(&mut self, place: Place, outputs: [&Outputs; 2], truth: Option<&Truth>) {
        for agreement in &mut self.outputs {
            let [i, j] = agreement.places;
            if let (Some(one), Some(other)) = (outputs[0].values().get(i), outputs[1].values().get(j)) {
                agreement.add(place, [one, other]);
                if let Some(truth) = truth {
                    agreement.quality.add(truth, [one, other]);
                }
            }
        }
    }

    /// What came of it, and what could not be compared.
    pub(super) fn finish(self) -> (Vec<OutputComparison>, Vec<String>) {
        let outputs = self.outputs.into_iter().map(Agreement::finish).collect();
        (outputs, self.not_compared)
    }
}

impl Agreement {
    fn add(&mut self, place: Place, values: [&Value; 2]) {
        self.rows += 1;
        let difference = match (self.is_number, values.map(Value::as_f64)) {
            (true, [Some(a), Some(b)]) => {
                let difference = difference(a, b);
                let scale = a.abs().max(b.abs()).max(1.0);
                self.same += u64::from(difference <= SAME_WITHIN * scale);
                self.near += u64::from(difference <= NEAR_WITHIN * scale);
                if difference.is_finite() {
                    self.sum += difference;
                    self.count += 1;
                }
                difference
            }
            _ => {
                let is_same = values[0] == values[1];
                self.same += u64::from(is_same);
                if is_same { 0.0 } else { 1.0 }
            }
        };
        let is_number = self.is_number;
        self.keep(difference, || RowDifference {
            row: place.to_string(),
            values: values.map(Value::to_json),
            difference: (is_number && difference.is_finite()).then_some(difference),
        });
    }

    /// Keeps a row if it is among those that differ most; of equal ones the first.
    fn keep(&mut self, difference: f64, row: impl FnOnce() -> RowDifference) {
        let at = self.differing.partition_point(|(kept, _)| *kept >= difference);
        if difference > 0.0 && at < SHOWN {
            let row = row();
            self.differing.insert(at, (difference, row));
            self.differing.truncate(SHOWN);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "files have no 2^53 rows")]
    fn finish(self) -> OutputComparison {
        let of = |part: f64, whole: u64| (whole > 0).then(|| part / whole as f64);
        let largest = self.differing.iter().find_map(|(_, row)| row.difference);
        OutputComparison {
            output: self.name,
            rows: self.rows,
            same: of(self.same as f64, self.rows),
            near: of(self.near as f64, self.rows).filter(|_| self.is_number),
            largest_difference: largest.or((self.is_number && self.count > 0).then_some(0.0)),
            mean_difference: of(self.sum, self.count).filter(|_| self.is_number),
            differing: self.differing.into_iter().map(|(_, row)| row).collect(),
            quality: self.quality.finish(),
        }
    }
}

/// By how much two numbers differ, infinitely if one of them is none.
fn difference(a: f64, b: f64) -> f64 {
    if a.total_cmp(&b).is_eq() || a == b || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    let difference = (a - b).abs();
    if difference.is_nan() { f64::INFINITY } else { difference }
}
