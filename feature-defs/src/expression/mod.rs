//! Derived expressions: CEL's syntax, typed and checked when loaded, null-propagating, without side effects.

use crate::definitions::Origin;
use crate::value::{Value, ValueType};

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

/// An expression whose syntax is right and whose names and types are not looked at yet.
#[derive(Debug, Clone)]
pub struct Parsed {}

impl Parsed {
    /// Parses CEL's syntax.
    ///
    /// # Errors
    /// Each syntax error with its place.
    pub fn parse(_text: &str) -> Result<Self, Vec<ExpressionError>> {
        Ok(Self {})
    }

    /// The variables it reads, each once: `view.feature` or a bare name; `request_time` is not among them.
    pub fn variables(&self) -> Vec<String> {
        Vec::new()
    }

    /// Resolves every variable by `resolve` and checks types: the result must be `expected`, or a number that promotes to
    /// it.
    ///
    /// # Errors
    /// Every unknown name and type error with its place.
    pub fn check(
        &self,
        _resolve: &dyn Fn(&str) -> Option<(Origin, ValueType)>,
        _expected: ValueType,
    ) -> Result<Expression, Vec<ExpressionError>> {
        Ok(Expression {})
    }
}

/// A checked expression.
#[derive(Debug, Clone)]
pub struct Expression {}

impl Expression {
    /// Its value, of the type it was checked for; null where what it needs is null or it has no answer (division by zero,
    /// overflow, logarithm of nothing).
    pub fn evaluate(&self, _value_of: impl Fn(Origin) -> Option<Value>) -> Option<Value> {
        None
    }
}
