//! Derived expressions: CEL's syntax, typed and checked when loaded, null-propagating, without side effects.
//!
//! **Variables** are `view.feature`, the bare name of a request or derived feature, and `request_time`.
//!
//! **Numbers** promote: an int64 beside a float counts as float64, a float32 computes as float64. Arithmetic on two
//! int64 stays int64, so `7 / 2` is 3: write `double(a) / b` for a fraction. A float64 result rounds to a declared
//! float32, an int64 result fits a float type; the other way needs `int(…)`.
//!
//! **Null** goes through every operator and function, unless `has`, `coalesce`, `? :`, `&&` or `||` handles it. What has
//! no answer is null too: division by zero, int64 overflow, and every float that would be NaN or infinite, be it
//! computed or read. `&&` and `||` are three-valued: `false && null` is false, `true && null` is null. The literal
//! `null` may stand in a branch of `? :`; to ask for null, write `has(x)`.
//!
//! | | |
//! |---|---|
//! | `+ - * / %`, unary `-` | numbers; `+` also joins two strings |
//! | `t1 - t2` | seconds between two timestamps, a float64 |
//! | `t + s`, `t - s` | a timestamp moved by seconds |
//! | `== != < <= > >=` | numbers, strings, timestamps; bools with `==` and `!=` |
//! | `x in ["a", "b"]` | with a list of literals |
//! | `! && \|\| ? :` | bools |
//! | `has(x)` | whether `x` is not null; never null itself |
//! | `coalesce(a, b, …)` | the first that is not null |
//! | `abs(x)`, `min(a, b, …)`, `max(a, b, …)` | of the arguments' type; null if any is null |
//! | `exp(x)`, `log1p(x)`, `sqrt(x)` | float64 |
//! | `floor(x)`, `ceil(x)`, `round(x)` | float64; `round` takes halves away from zero |
//! | `int(x)`, `double(x)` | conversions; `int` drops the fraction |
//! | `hour(t, "America/New_York")` | 0 to 23 on that zone's clocks |
//! | `weekday(t, "America/New_York")` | Monday is 0, Sunday 6 |
//! | `great_circle_km(lat1, lon1, lat2, lon2)` | on a sphere of 6371.0088 km; degrees, latitudes beyond ±90 are null |

mod check;
mod evaluate;
mod functions;
mod parse;
mod syntax;
mod syntax_error;
#[cfg(test)]
mod tests;

use crate::definitions::Origin;
use crate::value::{Value, ValueType};

use evaluate::Code;
use syntax::{Node, NodeKind, Place};

/// The one variable that is always there.
const REQUEST_TIME: &str = "request_time";

/// What is wrong with an expression, and where in its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// A sentence, with the nearest valid name where a name is wrong.
    pub message: String,
    /// The byte offset of the offending part.
    pub offset: usize,
    /// Its length in bytes.
    pub len: usize,
}

impl ExpressionError {
    fn new(place: Place, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            offset: place.start,
            len: place.end - place.start,
        }
    }
}

/// An expression whose syntax is right and whose names and types are not looked at yet.
#[derive(Debug, Clone)]
pub struct Parsed {
    text: String,
    root: Node,
}

impl Parsed {
    /// Parses CEL's syntax. Of CEL, there are no methods, maps, messages, indexes and comprehensions here; lists are only
    /// for `in`. At most 4096 bytes, nested at most 64 deep.
    ///
    /// # Errors
    /// Each syntax error with its place.
    pub fn parse(text: &str) -> Result<Self, Vec<ExpressionError>> {
        parse::parse(text).map(|root| Self {
            text: text.to_owned(),
            root,
        })
    }

    /// The variables it reads, each once: `view.feature` or a bare name; `request_time` is not among them.
    pub fn variables(&self) -> Vec<String> {
        let mut names = Vec::new();
        self.root.visit(&mut |node| {
            if let NodeKind::Variable(name) = &node.kind
                && name != REQUEST_TIME
                && !names.contains(name)
            {
                names.push(name.clone());
            }
        });
        names
    }

    /// Resolves every variable by `resolve` and checks types: the result must be `expected`, or a number that promotes to
    /// it.
    ///
    /// # Errors
    /// Every unknown name and type error with its place.
    pub fn check(
        &self,
        resolve: &dyn Fn(&str) -> Option<(Origin, ValueType)>,
        expected: ValueType,
    ) -> Result<Expression, Vec<ExpressionError>> {
        let code = check::check(&self.text, &self.root, resolve, expected)?;
        let origins = self
            .variables()
            .iter()
            .filter_map(|name| resolve(name))
            .map(|(origin, _)| origin)
            .collect();
        Ok(Expression {
            text: self.text.trim().to_owned(),
            code,
            expected,
            origins,
        })
    }
}

/// A checked expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    text: String,
    code: Code,
    expected: ValueType,
    origins: Vec<Origin>,
}

impl Expression {
    /// As it was declared.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it reads, each once; the moment of the prediction is not among them.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Its value, of the type it was checked for; null where what it needs is null or it has no answer (division by zero,
    /// overflow, logarithm of nothing). `value_of` gives values of the types that `resolve` promised; a value of another
    /// type counts as null.
    pub fn evaluate(&self, value_of: impl Fn(Origin) -> Option<Value>) -> Option<Value> {
        evaluate::evaluate(&self.code, &value_of)?.into_value(self.expected)
    }
}
