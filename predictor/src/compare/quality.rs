//! How good predictions are by a label.

use feature_defs::value::{Value, ValueType};
use serde::Serialize;
use table_files::{Cell, ColumnType};

/// Probabilities are taken for so much more than 0 and less than 1: the log of 0 is no loss that could be compared.
const LEAST: f64 = 1e-15;

/// How good both versions are, by one measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measure {
    /// `auc`, `log_loss`, `accuracy` or `rmse`.
    pub measure: &'static str,
    /// The rows that have a label, and that both predicted.
    pub rows: u64,
    /// Of the first version, then of the second.
    pub values: [f64; 2],
}

/// What a row's label says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Truth {
    text: String,
    /// If it is one: `true` is 1.
    number: Option<f64>,
}

impl Truth {
    /// The label in this cell, if there is one.
    pub(super) fn of(column_type: ColumnType, cell: &Cell) -> Option<Self> {
        cell.as_ref()?;
        let text = column_type.text(cell);
        let number = match text.to_ascii_lowercase().as_str() {
            "true" => Some(1.0),
            "false" => Some(0.0),
            text => text.parse::<f64>().ok(),
        };
        // A number that is none is no label.
        number.is_none_or(f64::is_finite).then_some(Self { text, number })
    }
}

/// How good the predictions of one output are.
#[derive(Debug)]
pub(super) struct Quality {
    output: ValueType,
    rows: u64,
    hits: [u64; 2],
    /// Sums of squared errors.
    squares: [f64; 2],
    /// Whether all labels are numbers, whole numbers, 0 and 1.
    are: Labels,
    /// Whether all predictions are between 0 and 1.
    in_unit: bool,
    /// Both predictions with the label, while labels are 0 and 1.
    scores: Vec<([f64; 2], bool)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Labels {
    Texts,
    Numbers,
    Whole,
    Binary,
}

impl Quality {
    /// Of an output of this type, nothing seen yet.
    pub(super) fn of(output: ValueType) -> Self {
        Self {
            output,
            rows: 0,
            hits: [0; 2],
            squares: [0.0; 2],
            are: Labels::Binary,
            in_unit: true,
            scores: Vec::new(),
        }
    }

    fn is_float(&self) -> bool {
        matches!(self.output, ValueType::Float32 | ValueType::Float64)
    }

    /// Adds a row.
    pub(super) fn add(&mut self, truth: &Truth, values: [&Value; 2]) {
        let numbers = values.map(|value| value.as_f64().filter(|x| !x.is_nan()));
        if self.is_float() && numbers.contains(&None) {
            return;
        }
        self.rows += 1;
        let is_hit = |(value, number): (&Value, Option<f64>)| match value {
            Value::String(text) => *text == truth.text,
            _ => truth.number.is_some() && number == truth.number,
        };
        for (hits, pair) in self.hits.iter_mut().zip(values.into_iter().zip(numbers)) {
            *hits += u64::from(is_hit(pair));
        }
        let Some(label) = truth.number else {
            self.are = Labels::Texts;
            self.scores = Vec::new();
            return;
        };
        let kind = match label {
            0.0 | 1.0 => Labels::Binary,
            label if label.fract() == 0.0 => Labels::Whole,
            _ => Labels::Numbers,
        };
        self.are = self.are.min(kind);
        if let [Some(one), Some(other)] = numbers {
            for (squares, number) in self.squares.iter_mut().zip([one, other]) {
                *squares += (number - label).powi(2);
            }
            self.in_unit &= [one, other].iter().all(|x| (0.0..=1.0).contains(x));
            if self.are == Labels::Binary && self.is_float() {
                self.scores.push(([one, other], label > 0.5));
            } else {
                self.scores = Vec::new();
            }
        }
    }

    /// What can be said: of numbers by 0 and 1 how well they tell these apart, and as probabilities, if they are; of labels
    /// and whole numbers how often they are right; of other numbers how far they are off.
    pub(super) fn finish(self) -> Vec<Measure> {
        let rows = self.rows;
        let measure = |measure, values| Measure { measure, rows, values };
        if rows == 0 {
            return Vec::new();
        }
        let accuracy = || measure("accuracy", self.hits.map(|hits| count(hits) / count(rows)));
        let rmse = || measure("rmse", self.squares.map(|squares| (squares / count(rows)).sqrt()));
        match (self.output, self.are) {
            (ValueType::Int64, Labels::Whole | Labels::Binary) => vec![accuracy()],
            (ValueType::Int64, Labels::Numbers) => vec![rmse()],
            (ValueType::Int64, Labels::Texts) => Vec::new(),
            (ValueType::Float32 | ValueType::Float64, Labels::Binary) => {
                let has = |wanted: bool| self.scores.iter().any(|(_, label)| *label == wanted);
                let mut measures = Vec::new();
                if has(true) && has(false) {
                    measures.push(measure("auc", [0, 1].map(|side| auc(&self.scores, side))));
                }
                measures.push(if self.in_unit {
                    measure("log_loss", [0, 1].map(|side| log_loss(&self.scores, side)))
                } else {
                    rmse()
                });
                measures
            }
            (ValueType::Float32 | ValueType::Float64, Labels::Texts) => Vec::new(),
            (ValueType::Float32 | ValueType::Float64, _) => vec![rmse()],
            _ => vec![accuracy()],
        }
    }
}

/// How probable it is that a row of label 1 scores more than one of label 0; equal scores count half.
fn auc(scores: &[([f64; 2], bool)], side: usize) -> f64 {
    let mut scores: Vec<(f64, bool)> = scores.iter().map(|(scores, label)| (scores[side], *label)).collect();
    scores.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let (mut below, mut ones, mut won) = (0.0, 0.0, 0.0);
    #[expect(clippy::float_cmp, reason = "equal scores are a group")]
    for group in scores.chunk_by(|(a, _), (b, _)| a == b) {
        let in_group = count(group.iter().filter(|(_, label)| *label).count() as u64);
        let zeros = count(group.len() as u64) - in_group;
        won += in_group * (below + zeros / 2.0);
        below += zeros;
        ones += in_group;
    }
    won / (below * ones)
}

/// The mean of what the label costs by the logarithm of its probability.
fn log_loss(scores: &[([f64; 2], bool)], side: usize) -> f64 {
    let loss = |(scores, label): &([f64; 2], bool)| {
        let p = if *label { scores[side] } else { 1.0 - scores[side] };
        -p.clamp(LEAST, 1.0 - LEAST).ln()
    };
    scores.iter().map(loss).sum::<f64>() / count(scores.len() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "files have no 2^53 rows")]
fn count(rows: u64) -> f64 {
    rows as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(output: ValueType, rows: &[(&str, [Value; 2])]) -> Vec<Measure> {
        let mut quality = Quality::of(output);
        for (label, [one, other]) in rows {
            let cell = Some(Value::String((*label).to_owned())).filter(|_| !label.is_empty());
            if let Some(truth) = Truth::of(ColumnType::Text, &cell) {
                quality.add(&truth, [one, other]);
            }
        }
        quality.finish()
    }

    fn doubles(rows: &[(&'static str, f64, f64)]) -> Vec<(&'static str, [Value; 2])> {
        let row = |(label, one, other): &(&'static str, f64, f64)| (*label, [*one, *other].map(Value::Float64));
        rows.iter().map(row).collect()
    }

    fn check(measures: &[Measure], expected: &[(&str, u64, [f64; 2])]) {
        assert_eq!(measures.len(), expected.len(), "{measures:?}");
        for (measure, (name, rows, values)) in measures.iter().zip(expected) {
            assert_eq!((measure.measure, measure.rows), (*name, *rows));
            for (got, expected) in measure.values.iter().zip(values) {
                assert!((got - expected).abs() < 1e-12, "{name}: {got}, not {expected}");
            }
        }
    }

    #[test]
    fn probabilities_are_measured_by_auc_and_log_loss() {
        // The first: of 4 pairs, 0.8 wins both, 0.4 wins one and ties none: 3 of 4. The second: ties everywhere.
        let rows = doubles(&[
            ("1", 0.8, 0.5),
            ("0", 0.6, 0.5),
            ("true", 0.4, 0.5),
            ("FALSE", 0.2, 0.5),
            ("", 0.9, 0.1),
            ("1", f64::NAN, 0.5),
        ]);
        let loss = -(0.8_f64.ln() + 0.4_f64.ln() + 0.4_f64.ln() + 0.8_f64.ln()) / 4.0;
        let expected = [("auc", 4, [0.75, 0.5]), ("log_loss", 4, [loss, 2.0_f64.ln()])];
        check(&measured(ValueType::Float64, &rows), &expected);
        // One class only: nothing to tell apart. A certainty that is wrong costs no infinity.
        let rows = doubles(&[("1", 1.0, 0.0)]);
        let expected = [("log_loss", 1, [-(1.0 - LEAST).ln(), -LEAST.ln()])];
        check(&measured(ValueType::Float64, &rows), &expected);
        // Scores that are no probabilities.
        let rows = doubles(&[("1", 3.0, -1.0), ("0", 0.0, 2.0)]);
        let expected = [("auc", 2, [1.0, 0.0]), ("rmse", 2, [2.0_f64.sqrt(), 2.0])];
        check(&measured(ValueType::Float64, &rows), &expected);
    }

    #[test]
    fn numbers_are_measured_by_their_errors_and_labels_by_hits() {
        let rows = doubles(&[("3", 0.0, 3.0), ("-4.5", -0.5, -4.5)]);
        check(
            &measured(ValueType::Float64, &rows),
            &[("rmse", 2, [12.5_f64.sqrt(), 0.0])],
        );
        assert_eq!(measured(ValueType::Float64, &doubles(&[("late", 0.0, 1.0)])), []);
        let texts = |a: &str, b: &str| [a, b].map(|text| Value::String(text.to_owned()));
        let rows = [("UA", texts("UA", "DL")), ("1", texts("1", "1"))];
        check(&measured(ValueType::String, &rows), &[("accuracy", 2, [1.0, 0.5])]);
        let rows = [
            ("true", [true, false].map(Value::Bool)),
            ("0", [true, false].map(Value::Bool)),
        ];
        check(&measured(ValueType::Bool, &rows), &[("accuracy", 2, [0.5, 0.5])]);
        let rows = [("2", [2, 3].map(Value::Int64)), ("7", [8, 7].map(Value::Int64))];
        check(&measured(ValueType::Int64, &rows), &[("accuracy", 2, [0.5, 0.5])]);
    }
}
