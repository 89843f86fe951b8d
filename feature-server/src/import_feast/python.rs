//! Reads the expressions of a Python file into values. Nothing is run: what would have to be is unknown, and says so.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use ruff_python_ast::{
    Arguments, ConversionFlag, Expr, ExprCall, ExprFString, FStringPart, InterpolatedStringElement, Number, Operator,
    UnaryOp,
};
use ruff_text_size::Ranged;

use super::modules::Repository;
use super::values::{Known, Made, Object, Place, Value, is_feast, last};

/// How deep expressions may be nested: deeper ones are made by programs, and not looked into.
pub(super) const MAX_DEPTH: usize = 200;

/// One file, while it is read.
pub(super) struct Reader<'r> {
    pub(super) repository: &'r mut Repository,
    /// Without `.py`.
    pub(super) path: PathBuf,
    pub(super) file: Arc<str>,
    pub(super) line_starts: Vec<usize>,
    pub(super) names: HashMap<String, Known>,
    /// Modules from outside whose names are all imported.
    pub(super) stars: Vec<String>,
    /// Where the calls stand that were read.
    pub(super) read: HashSet<usize>,
    pub(super) depth: usize,
}

impl Reader<'_> {
    pub(super) fn place(&self, node: &impl Ranged) -> Place {
        let start = node.start().to_usize();
        Place {
            file: self.file.clone(),
            line: self.line_starts.partition_point(|line| *line <= start),
        }
    }

    pub(super) fn value(&mut self, expr: &Expr) -> Known {
        let at = self.place(expr);
        if self.depth > MAX_DEPTH {
            return Known::unknown("nested too deeply", at);
        }
        self.depth += 1;
        let value = self.value_of(expr, &at);
        self.depth -= 1;
        match value {
            Value::Unknown(what) => Known::unknown(what, at),
            value => Known { value, at },
        }
    }

    fn value_of(&mut self, expr: &Expr, at: &Place) -> Value {
        match expr {
            Expr::NoneLiteral(_) => Value::None,
            Expr::BooleanLiteral(literal) => Value::Bool(literal.value),
            Expr::StringLiteral(literal) => Value::Text(literal.value.to_str().into()),
            Expr::NumberLiteral(literal) => number(&literal.value),
            Expr::List(list) => self.list(&list.elts),
            Expr::Tuple(list) => self.list(&list.elts),
            Expr::Set(list) => self.list(&list.elts),
            Expr::Dict(dict) => self.dict(&dict.items),
            Expr::Name(name) => self.name(name.id.as_str()),
            Expr::Attribute(attribute) => {
                let of = self.value(&attribute.value);
                self.attribute(of, attribute.attr.as_str())
            }
            Expr::Subscript(subscript) => {
                let (of, index) = (self.value(&subscript.value), self.value(&subscript.slice));
                self.item(of, index, at)
            }
            Expr::Call(call) => self.call(call, at),
            Expr::UnaryOp(operation) if operation.op == UnaryOp::USub => match self.value(&operation.operand).value {
                Value::Int(int) => int.checked_neg().map_or_else(too_large, Value::Int),
                Value::Float(float) => Value::Float(-float),
                _ => Value::Unknown("computed".to_owned()),
            },
            Expr::BinOp(operation) => {
                let (left, right) = (self.value(&operation.left), self.value(&operation.right));
                binary(left.value, operation.op, right.value)
            }
            Expr::FString(string) => self.f_string(string),
            Expr::If(_) => Value::Unknown("decided by an `if`".to_owned()),
            Expr::ListComp(_) | Expr::SetComp(_) | Expr::DictComp(_) | Expr::Generator(_) => {
                Value::Unknown("a comprehension".to_owned())
            }
            _ => Value::Unknown("computed".to_owned()),
        }
    }

    /// An f-string of what is known, without formats: `f"SELECT * FROM {SCHEMA}.orders"`.
    fn f_string(&mut self, string: &ExprFString) -> Value {
        let mut text = String::new();
        for part in string.value.iter() {
            let elements = match part {
                FStringPart::Literal(literal) => {
                    text.push_str(literal.as_str());
                    continue;
                }
                FStringPart::FString(part) => &part.elements,
            };
            for element in elements.iter() {
                match element {
                    InterpolatedStringElement::Literal(literal) => text.push_str(&literal.value),
                    InterpolatedStringElement::Interpolation(inner) => {
                        let is_plain = inner.format_spec.is_none()
                            && inner.debug_text.is_none()
                            && matches!(inner.conversion, ConversionFlag::None | ConversionFlag::Str);
                        match self.value(&inner.expression).value {
                            Value::Text(known) if is_plain => text.push_str(&known),
                            Value::Int(known) if is_plain => text.push_str(&known.to_string()),
                            Value::Unknown(what) => return Value::Unknown(format!("an f-string with {what}")),
                            Value::Object(object) => {
                                return Value::Unknown(format!("an f-string with what `{}(…)` gives", object.maker()));
                            }
                            _ => return Value::Unknown("an f-string".to_owned()),
                        }
                    }
                }
            }
        }
        Value::Text(text.into())
    }

    fn list(&mut self, elements: &[Expr]) -> Value {
        let mut list = Vec::new();
        for element in elements {
            match element {
                Expr::Starred(starred) => {
                    let spread = self.value(&starred.value);
                    match spread.value {
                        Value::List(elements) => list.extend(elements),
                        _ => list.push(Known::unknown("a list that is spread by `*`", spread.at)),
                    }
                }
                element => list.push(self.value(element)),
            }
        }
        Value::List(list)
    }

    fn dict(&mut self, items: &[ruff_python_ast::DictItem]) -> Value {
        let mut pairs = Vec::new();
        for item in items {
            let value = self.value(&item.value);
            match (&item.key, value.value) {
                (Some(key), of) => {
                    let (key, at) = (self.value(key), value.at);
                    pairs.push((key, Known { value: of, at }));
                }
                (None, Value::Dict(spread)) => pairs.extend(spread),
                (None, _) => return Value::Unknown("a dict with another one that is spread by `**`".to_owned()),
            }
        }
        Value::Dict(pairs)
    }

    fn name(&self, name: &str) -> Value {
        if let Some(known) = self.names.get(name) {
            return known.value.clone();
        }
        // What `import *` brings is not known, but what Feast calls so is; the rest may be Python's own.
        let mut stars = self.stars.iter().filter(|module| is_feast(module));
        match stars.next() {
            Some(module) if name.starts_with(char::is_uppercase) || name.ends_with("_feature_view") => {
                Value::Outside(format!("{module}.{name}"))
            }
            _ => Value::Unknown(format!("`{name}`, which the file does not set")),
        }
    }

    pub(super) fn attribute(&mut self, of: Known, name: &str) -> Value {
        match of.value {
            Value::Outside(path) => Value::Outside(format!("{path}.{name}")),
            Value::Module(path) => self.repository.member(&path, name),
            Value::Object(object) => {
                let found = object.keywords.iter().find(|(keyword, _)| keyword == name);
                let computed = || Value::Unknown(format!("the attribute `{name}` of an object"));
                found.map_or_else(computed, |(_, value)| value.value.clone())
            }
            _ => Value::Unknown(format!("the attribute `{name}` of something")),
        }
    }

    fn item(&mut self, of: Known, index: Known, at: &Place) -> Value {
        match (of.value, &index.value) {
            (Value::Object(of), _) => {
                let object = Object {
                    id: self.repository.next_id(),
                    made: Made::Item { of },
                    positional: vec![index],
                    keywords: Vec::new(),
                    is_open: false,
                    at: at.clone(),
                };
                Value::Object(Arc::new(object))
            }
            (Value::List(mut list), Value::Int(index)) => match usize::try_from(*index) {
                Ok(index) if index < list.len() => list.swap_remove(index).value,
                _ => Value::Unknown("an element of a list".to_owned()),
            },
            (Value::Dict(pairs), Value::Text(wanted)) => {
                let is_wanted = |key: &Known| matches!(&key.value, Value::Text(key) if key == wanted);
                let found = pairs.into_iter().rev().find(|(key, _)| is_wanted(key));
                found.map_or_else(|| Value::Unknown("an entry of a dict".to_owned()), |(_, v)| v.value)
            }
            _ => Value::Unknown("an element of something".to_owned()),
        }
    }

    fn call(&mut self, call: &ExprCall, at: &Place) -> Value {
        let method = match &*call.func {
            Expr::Attribute(attribute) => match self.value(&attribute.value).value {
                Value::Object(of) => Some((of, attribute.attr.as_str().to_owned())),
                _ => None,
            },
            _ => None,
        };
        let made = match method {
            Some((of, name)) => Made::Method { of, name },
            None => match self.value(&call.func).value {
                Value::Outside(path) => Made::By(path),
                _ => return Value::Unknown(format!("what `{}(…)` gives", called(&call.func))),
            },
        };
        self.read.insert(call.start().to_usize());
        Value::Object(self.object(made, &call.arguments, at))
    }

    fn object(&mut self, made: Made, arguments: &Arguments, at: &Place) -> Arc<Object> {
        let (mut positional, mut keywords, mut is_open) = (Vec::new(), Vec::new(), false);
        for argument in &arguments.args {
            match argument {
                Expr::Starred(_) => is_open = true,
                argument => positional.push(self.value(argument)),
            }
        }
        for keyword in &arguments.keywords {
            let value = self.value(&keyword.value);
            match (&keyword.arg, value.value) {
                (Some(name), of) => keywords.push((
                    name.as_str().to_owned(),
                    Known {
                        value: of,
                        at: value.at,
                    },
                )),
                (None, Value::Dict(spread)) => {
                    for (key, value) in spread {
                        match key.text() {
                            Ok(name) => keywords.push((name.to_owned(), value)),
                            Err(_) => is_open = true,
                        }
                    }
                }
                (None, _) => is_open = true,
            }
        }
        let object = Arc::new(Object {
            id: self.repository.next_id(),
            made,
            positional,
            keywords,
            is_open,
            at: at.clone(),
        });
        self.repository.made.push(object.clone());
        object
    }
}

fn number(number: &Number) -> Value {
    match number {
        Number::Int(int) => int.as_i64().map_or_else(too_large, Value::Int),
        Number::Float(float) => Value::Float(*float),
        Number::Complex { .. } => Value::Unknown("a complex number".to_owned()),
    }
}

fn too_large() -> Value {
    Value::Unknown("a number that is too large".to_owned())
}

/// The few operations that constants are written with: `60 * 60 * 24`, `PREFIX + "_stats"`, `COMMON + [Field(…)]`.
fn binary(left: Value, operator: Operator, right: Value) -> Value {
    match (left, operator, right) {
        (Value::Int(left), Operator::Add, Value::Int(right)) => {
            left.checked_add(right).map_or_else(too_large, Value::Int)
        }
        (Value::Int(left), Operator::Sub, Value::Int(right)) => {
            left.checked_sub(right).map_or_else(too_large, Value::Int)
        }
        (Value::Int(left), Operator::Mult, Value::Int(right)) => {
            left.checked_mul(right).map_or_else(too_large, Value::Int)
        }
        (Value::Text(left), Operator::Add, Value::Text(right)) => Value::Text(format!("{left}{right}").into()),
        (Value::List(mut left), Operator::Add, Value::List(right)) => {
            left.extend(right);
            Value::List(left)
        }
        _ => Value::Unknown("computed".to_owned()),
    }
}

/// What a call calls, for people.
pub(super) fn called(func: &Expr) -> String {
    match func {
        Expr::Name(name) => name.id.as_str().to_owned(),
        Expr::Attribute(attribute) => last(attribute.attr.as_str()).to_owned(),
        _ => String::new(),
    }
}
