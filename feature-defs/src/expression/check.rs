//! The checker: resolves variables, gives every node its type, and turns the syntax tree into [`Code`].

use crate::definitions::Origin;
use crate::value::ValueType;

use super::evaluate::{Code, Kind, Scalar, to_float};
use super::syntax::{Arithmetic, Comparison, Node, NodeKind, Place};
use super::{ExpressionError, REQUEST_TIME};

/// What says where a variable's value comes from, and its type.
type Resolve<'a> = &'a dyn Fn(&str) -> Option<(Origin, ValueType)>;

/// Checks `root`, whose text is `text`, for a result that promotes to `expected`.
pub(super) fn check(
    text: &str,
    root: &Node,
    resolve: Resolve<'_>,
    expected: ValueType,
) -> Result<Code, Vec<ExpressionError>> {
    let mut checker = Checker {
        text,
        resolve,
        errors: Vec::new(),
    };
    let typed = checker.node(root);
    let code = typed.and_then(|typed| checker.result(typed, expected));
    match code {
        Some(code) if checker.errors.is_empty() => Ok(code),
        _ => {
            checker.errors.sort_by_key(|e| e.offset);
            Err(checker.errors)
        }
    }
}

/// Code with its type; no type is that of the literal `null`.
pub(super) struct Typed {
    pub(super) code: Code,
    pub(super) kind: Option<Kind>,
}

impl Typed {
    pub(super) const fn of(kind: Kind, code: Code) -> Self {
        Self { code, kind: Some(kind) }
    }

    pub(super) fn kind_name(&self) -> &'static str {
        self.kind.map_or("null", Kind::name)
    }

    /// Promotes an integer. Whatever else stays what it is.
    pub(super) fn into_float(self) -> Self {
        match (self.kind, self.code) {
            (Some(Kind::Int), Code::Literal(Scalar::Int(i))) => {
                Self::of(Kind::Float, Code::Literal(Scalar::Float(to_float(i))))
            }
            (Some(Kind::Int), code) => Self::of(Kind::Float, Code::IntToFloat(Box::new(code))),
            (kind, code) => Self { code, kind },
        }
    }

    fn is_number(&self) -> bool {
        self.kind.is_some_and(Kind::is_number)
    }
}

pub(super) struct Checker<'a> {
    text: &'a str,
    resolve: Resolve<'a>,
    errors: Vec<ExpressionError>,
}

impl Checker<'_> {
    /// The node, checked, or `None` once an error is noted.
    pub(super) fn node(&mut self, node: &Node) -> Option<Typed> {
        let literal = |kind, scalar| Some(Typed::of(kind, Code::Literal(scalar)));
        match &node.kind {
            NodeKind::Null => Some(Typed {
                code: Code::Null,
                kind: None,
            }),
            NodeKind::Bool(b) => literal(Kind::Bool, Scalar::Bool(*b)),
            NodeKind::Int(i) => literal(Kind::Int, Scalar::Int(*i)),
            NodeKind::Float(x) => literal(Kind::Float, Scalar::Float(*x)),
            NodeKind::Text(text) => literal(Kind::Text, Scalar::Text(text.clone().into())),
            NodeKind::Variable(name) => self.variable(name, node.place),
            NodeKind::List(_) => self.fail(node.place, "a list can only stand to the right of `in`"),
            NodeKind::Not(of) => {
                let of = self.bool("!", of)?;
                Some(Typed::of(Kind::Bool, Code::Not(Box::new(of))))
            }
            NodeKind::Negate(of) => {
                let typed = self.node(of)?;
                if !typed.is_number() {
                    return self.fail(node.place, format!("`-` takes a number, not {}", typed.kind_name()));
                }
                Some(Typed {
                    code: Code::Negate(Box::new(typed.code)),
                    kind: typed.kind,
                })
            }
            NodeKind::Arithmetic(operator, of) => self.arithmetic(*operator, of, node.place),
            NodeKind::Compare(comparison, of) => self.compare(*comparison, of, node.place),
            NodeKind::In(of) => self.is_in(of),
            NodeKind::And(of) => self.logic("&&", of, Code::And),
            NodeKind::Or(of) => self.logic("||", of, Code::Or),
            NodeKind::If(of) => self.choice(of),
            NodeKind::Call { name, name_place, args } => self.call(name, *name_place, node.place, args),
        }
    }

    /// All of them, so that every error is found.
    pub(super) fn all(&mut self, nodes: &[Node]) -> Option<Vec<Typed>> {
        let typed: Vec<_> = nodes.iter().map(|node| self.node(node)).collect();
        typed.into_iter().collect()
    }

    pub(super) fn fail<T>(&mut self, place: Place, message: impl Into<String>) -> Option<T> {
        self.errors.push(ExpressionError::new(place, message));
        None
    }

    pub(super) fn resolve(&self, name: &str) -> Option<(Origin, ValueType)> {
        if name == REQUEST_TIME {
            return Some((Origin::RequestTime, ValueType::Timestamp));
        }
        (self.resolve)(name)
    }

    /// Brings `typed` (the nodes `nodes`, checked) to one type: numbers promote, null fits all.
    pub(super) fn unify(&mut self, typed: Vec<Typed>, nodes: &[Node], what: &str) -> Option<(Vec<Code>, Option<Kind>)> {
        let mut common: Option<Kind> = None;
        for (typed, node) in typed.iter().zip(nodes) {
            common = match (common, typed.kind) {
                (None, kind) | (kind, None) => kind,
                (Some(a), Some(b)) if a == b => Some(a),
                (Some(a), Some(b)) if a.is_number() && b.is_number() => Some(Kind::Float),
                (Some(a), Some(b)) => {
                    return self.fail(node.place, format!("`{what}` mixes {} and {}", a.name(), b.name()));
                }
            };
        }
        let promote = |typed: Typed| {
            if common == Some(Kind::Float) {
                typed.into_float()
            } else {
                typed
            }
        };
        Some((typed.into_iter().map(|t| promote(t).code).collect(), common))
    }

    fn variable(&mut self, name: &str, place: Place) -> Option<Typed> {
        let Some((origin, value_type)) = self.resolve(name) else {
            return self.fail(place, format!("unknown variable `{name}`"));
        };
        match Kind::of(value_type) {
            Some(kind) => Some(Typed::of(kind, Code::Variable(origin, kind))),
            None => self.fail(
                place,
                format!("`{name}` is {value_type}: expressions can't calculate with it, only ask `has({name})`"),
            ),
        }
    }

    fn result(&mut self, typed: Typed, expected: ValueType) -> Option<Code> {
        let place = self.whole();
        match (typed.kind, Kind::of(expected)) {
            (_, None) => self.fail(place, format!("expressions can't give {expected}")),
            (None, _) => self.fail(place, "the expression is always null"),
            (Some(Kind::Int), Some(Kind::Float)) => Some(typed.into_float().code),
            (Some(Kind::Float), Some(Kind::Int)) => self.fail(
                place,
                format!(
                    "the expression gives float64, declared is int64: write `int({})`",
                    self.text.trim()
                ),
            ),
            (Some(kind), Some(wanted)) if kind == wanted => Some(typed.code),
            (Some(kind), Some(_)) => self.fail(
                place,
                format!("the expression gives {}, declared is {expected}", kind.name()),
            ),
        }
    }

    /// The text without the space around it.
    fn whole(&self) -> Place {
        let end = self.text.trim_end().len();
        Place {
            start: end - self.text.trim().len(),
            end,
        }
    }

    fn bool(&mut self, operator: &str, of: &Node) -> Option<Code> {
        let typed = self.node(of)?;
        match typed.kind {
            Some(Kind::Bool) => Some(typed.code),
            _ => self.fail(of.place, format!("`{operator}` takes bools, not {}", typed.kind_name())),
        }
    }

    fn logic(&mut self, operator: &str, of: &[Node; 2], make: fn(Box<[Code; 2]>) -> Code) -> Option<Typed> {
        let (left, right) = (self.bool(operator, &of[0]), self.bool(operator, &of[1]));
        Some(Typed::of(Kind::Bool, make(Box::new([left?, right?]))))
    }

    fn choice(&mut self, of: &[Node; 3]) -> Option<Typed> {
        let condition = self.bool("? :", &of[0]);
        let branches = self.all(&of[1..])?;
        let (codes, kind) = self.unify(branches, &of[1..], "? :")?;
        let [yes, no] = <[Code; 2]>::try_from(codes).ok()?;
        Some(Typed {
            code: Code::If(Box::new([condition?, yes, no])),
            kind,
        })
    }

    fn arithmetic(&mut self, operator: Arithmetic, of: &[Node; 2], place: Place) -> Option<Typed> {
        let (left, right) = (self.node(&of[0]), self.node(&of[1]));
        let (left, right) = (left?, right?);
        let (Some(a), Some(b)) = (left.kind, right.kind) else {
            return self.fail(place, format!("`{}` with null is always null", operator.symbol()));
        };
        let (kind, left, right) = match (a, operator, b) {
            (Kind::Int, _, Kind::Int) => (Kind::Int, left, right),
            (a, _, b) if a.is_number() && b.is_number() => (Kind::Float, left.into_float(), right.into_float()),
            (Kind::Text, Arithmetic::Add, Kind::Text) => (Kind::Text, left, right),
            (Kind::Time, Arithmetic::Subtract, Kind::Time) => (Kind::Float, left, right),
            (Kind::Time, Arithmetic::Add | Arithmetic::Subtract, b) if b.is_number() => {
                (Kind::Time, left, right.into_float())
            }
            (a, Arithmetic::Add, Kind::Time) if a.is_number() => (Kind::Time, right, left.into_float()),
            _ => {
                let hint = if a == Kind::Bool || b == Kind::Bool {
                    ": write `condition ? 1 : 0` for a bool"
                } else {
                    ""
                };
                let message = format!(
                    "`{}` does not take {} and {}{hint}",
                    operator.symbol(),
                    a.name(),
                    b.name()
                );
                return self.fail(place, message);
            }
        };
        Some(Typed::of(
            kind,
            Code::Arithmetic(operator, Box::new([left.code, right.code])),
        ))
    }

    fn compare(&mut self, comparison: Comparison, of: &[Node; 2], place: Place) -> Option<Typed> {
        let (left, right) = (self.node(&of[0]), self.node(&of[1]));
        let (left, right) = (left?, right?);
        let equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        let (left, right) = match (left.kind, right.kind) {
            (None, _) | (_, None) => {
                let other = if left.kind.is_none() { &of[1] } else { &of[0] };
                let not = if comparison == Comparison::Equal { "!" } else { "" };
                let other = &self.text[other.place.start..other.place.end];
                let message = format!("a comparison with null is always null: write `{not}has({other})`");
                return self.fail(place, message);
            }
            (Some(a), Some(b)) if a.is_number() && b.is_number() && a != b => (left.into_float(), right.into_float()),
            (Some(a), Some(b)) if a == b && (equality || a != Kind::Bool) => (left, right),
            (Some(a), Some(b)) => {
                let message = format!("`{}` does not take {} and {}", comparison.symbol(), a.name(), b.name());
                return self.fail(place, message);
            }
        };
        Some(Typed::of(
            Kind::Bool,
            Code::Compare(comparison, Box::new([left.code, right.code])),
        ))
    }

    fn is_in(&mut self, of: &[Node; 2]) -> Option<Typed> {
        let item = self.node(&of[0]);
        let NodeKind::List(list) = &of[1].kind else {
            return self.fail(
                of[1].place,
                "`in` takes a list of literals on its right, such as `[\"a\", \"b\"]`",
            );
        };
        if list.is_empty() {
            return self.fail(of[1].place, "nothing is in an empty list");
        }
        if let Some(other) = list.iter().find(|node| !is_literal(node)) {
            return self.fail(other.place, "the list of `in` takes literals only");
        }
        let mut typed = vec![item?];
        typed.extend(self.all(list)?);
        let nodes: Vec<Node> = std::iter::once(&of[0]).chain(list).cloned().collect();
        let (codes, _) = self.unify(typed, &nodes, "in")?;
        let mut codes = codes.into_iter();
        let item = codes.next()?;
        let literals = codes.filter_map(|code| match code {
            Code::Literal(scalar) => Some(scalar),
            _ => None,
        });
        Some(Typed::of(Kind::Bool, Code::In(Box::new(item), literals.collect())))
    }
}

/// Whether the node is a literal that is not null.
const fn is_literal(node: &Node) -> bool {
    matches!(
        node.kind,
        NodeKind::Bool(_) | NodeKind::Int(_) | NodeKind::Float(_) | NodeKind::Text(_)
    )
}
