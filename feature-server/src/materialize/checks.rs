//! What a view's definition expects of its data, looked at before anything is written.

use feature_defs::definitions::{Expectation, Otherwise};
use feature_defs::value::Value;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::RunError;
use super::run::Run;
use crate::source;

/// What was found of one feature's values.
#[derive(Debug, Clone, Default)]
struct Found {
    values: i64,
    nulls: i64,
    below: i64,
    above: i64,
    smallest: Option<String>,
    largest: Option<String>,
}

impl Run<'_> {
    /// Computes, in the same snapshot that is about to be read, what is expected of the values of `select`.
    ///
    /// # Errors
    /// [`RunError::Unexpected`] with everything that is not as expected, if that stops a run.
    pub(super) async fn check_expectations(&self, source: &mut PgConnection, select: &str) -> Result<(), RunError> {
        if self.view.expectations.is_empty() {
            return Ok(());
        }
        let query = source::expectations_query(self.view, select);
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .fetch_one(source)
            .await
            .map_err(|error| self.source_error(&error))?;
        let found = counts(&row, self.view.expectations.len()).map_err(|error| self.source_error(&error))?;
        let is_whole = self.reached.lock().checkpoint.is_empty();
        let (mut stops, mut warnings) = (Vec::new(), Vec::new());
        for (expectation, found) in self.view.expectations.iter().zip(found) {
            let name = &self.view.fields()[expectation.feature].name;
            // What is left of a run that goes on is no sample of the whole, which was judged when it began.
            let expectation = &Expectation {
                null_share: expectation.null_share.filter(|_| is_whole),
                ..*expectation
            };
            let told = broken(expectation, &found)
                .into_iter()
                .map(|what| format!("{name}: {what}"));
            match expectation.otherwise {
                Otherwise::Stop => stops.extend(told),
                Otherwise::Warn => warnings.extend(told),
            }
        }
        for warning in warnings {
            let mut reached = self.reached.lock();
            if !reached.warnings.contains(&warning) {
                reached.warnings.push(warning);
            }
        }
        if stops.is_empty() {
            return Ok(());
        }
        Err(RunError::Unexpected {
            view: self.view.name.clone(),
            findings: stops.join("; "),
        })
    }
}

fn counts(row: &PgRow, expectations: usize) -> Result<Vec<Found>, sqlx::Error> {
    let values = row.try_get(0)?;
    (0..expectations)
        .map(|i| {
            let at = 1 + 5 * i;
            Ok(Found {
                values,
                nulls: row.try_get(at)?,
                below: row.try_get(at + 1)?,
                above: row.try_get(at + 2)?,
                smallest: row.try_get(at + 3)?,
                largest: row.try_get(at + 4)?,
            })
        })
        .collect()
}

/// What is not as expected. A share of nulls is judged where it allows at least one: of a few values, each is a large one.
#[expect(clippy::cast_precision_loss, reason = "counts of rows, compared with a share")]
fn broken(expected: &Expectation, found: &Found) -> Vec<String> {
    let mut told = Vec::new();
    let number = |bound: f64| Value::Float64(bound).to_text();
    let mut beyond = |count: i64, side: &str, bound: Option<f64>, end: &Option<String>| {
        if let Some(bound) = bound.filter(|_| count > 0) {
            let (values, bound, end) = (found.values, number(bound), end.as_deref().unwrap_or("null"));
            told.push(format!(
                "{count} of {values} values are {side} {bound}, as far as {end}"
            ));
        }
    };
    beyond(found.below, "below", expected.min, &found.smallest);
    beyond(found.above, "above", expected.max, &found.largest);
    if let Some(share) = expected.null_share {
        let allowed = share * found.values as f64;
        if (allowed >= 1.0 || share == 0.0) && found.nulls as f64 > allowed {
            told.push(format!(
                "{} of {} values are null, more than the expected share of {}",
                found.nulls,
                found.values,
                number(share)
            ));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_inclusive_and_few_values_have_no_share() {
        let expected = |null_share| Expectation {
            feature: 0,
            min: Some(0.0),
            max: Some(1.0),
            null_share: Some(null_share),
            otherwise: Otherwise::Stop,
        };
        for (share, values, nulls, fine) in [
            (0.05, 100, 5, true),
            (0.05, 100, 6, false),
            (0.05, 3, 1, true),
            (0.05, 19, 19, true),
            (0.05, 20, 2, false),
            (0.0, 1_000, 1, false),
            (0.0, 0, 0, true),
            (1.0, 5, 5, true),
        ] {
            let found = Found {
                values,
                nulls,
                ..Found::default()
            };
            assert_eq!(broken(&expected(share), &found).is_empty(), fine, "{share} {found:?}");
        }
        let found = Found {
            values: 9,
            nulls: 0,
            below: 2,
            above: 1,
            smallest: Some("-7".into()),
            largest: Some("1.5".into()),
        };
        assert_eq!(
            broken(&expected(0.0), &found),
            [
                "2 of 9 values are below 0.0, as far as -7",
                "1 of 9 values are above 1.0, as far as 1.5"
            ]
        );
    }
}
