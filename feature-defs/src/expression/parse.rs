//! From text to our own syntax tree, by way of the `cel` crate's parser. Says which of CEL's constructs are not taken.

use std::thread;

use cel::Env;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo, operators};

use super::syntax::{Arithmetic, Comparison, Node, NodeKind, Place};
use super::{ExpressionError, syntax_error};

/// An expression this long belongs into several derived features.
const MAX_LEN: usize = 4096;

/// Everything after parsing recurses over the tree: this keeps it far from the end of a worker's stack.
const MAX_DEPTH: usize = 64;

/// The generated parser recurses once an operator in a chain, which its own limit does not count: the worst texts of
/// `MAX_LEN` take between ¼ and 1 MiB where it is optimized a little, more where it is not.
const PARSER_STACK: usize = 32 << 20;

/// Parses `text`, or says each thing that is wrong with its syntax.
pub(super) fn parse(text: &str) -> Result<Node, Vec<ExpressionError>> {
    let whole = Place {
        start: 0,
        end: text.len(),
    };
    let fail = |message: String| Err(vec![ExpressionError::new(whole, message)]);
    if text.len() > MAX_LEN {
        return fail(format!(
            "the expression has {} bytes: at most {MAX_LEN} are taken",
            text.len()
        ));
    }
    if text.trim().is_empty() {
        return fail("the expression is empty".to_owned());
    }
    // A thread of its own, for the parser's deep recursion, and so that a panic of generated code ends there.
    thread::scope(|scope| {
        match thread::Builder::new()
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || parse_here(text))
        {
            Ok(parsing) => parsing
                .join()
                .unwrap_or_else(|_| fail("the expression cannot be parsed: simplify it".to_owned())),
            Err(error) => fail(format!("no thread could be started to parse the expression: {error}")),
        }
    })
}

fn parse_here(text: &str) -> Result<Node, Vec<ExpressionError>> {
    // Without macros, `has(x)` and `list.map(…)` arrive as the calls they are written as.
    let parser = Env::default()
        .with_optional_support(false)
        .parser()
        .max_recursion_depth(64);
    let (expr, source) = parser
        .parse_with_source_info(text)
        .map_err(|e| syntax_error::explain(text, e))?;
    let mut converter = Converter {
        text,
        source: &source,
        errors: Vec::new(),
    };
    match converter.node(expr, 1) {
        Some(root) if converter.errors.is_empty() => Ok(root),
        _ => Err(converter.errors),
    }
}

/// What a tree too deep is answered with.
pub(super) fn too_deep(text: &str) -> ExpressionError {
    ExpressionError::new(
        Place {
            start: 0,
            end: text.len(),
        },
        format!(
            "the expression is nested more than {MAX_DEPTH} deep (in a chain of operators each nests the ones before): \
             split it into several derived features"
        ),
    )
}

struct Converter<'a> {
    text: &'a str,
    source: &'a SourceInfo,
    errors: Vec<ExpressionError>,
}

impl Converter<'_> {
    /// The node for `expr`, or `None` once an error is noted.
    fn node(&mut self, expr: IdedExpr, depth: usize) -> Option<Node> {
        if depth > MAX_DEPTH {
            let error = too_deep(self.text);
            if !self.errors.contains(&error) {
                self.errors.push(error);
            }
            return None;
        }
        let token = self.token(expr.id);
        match expr.expr {
            Expr::Literal(literal) => self.literal(literal, token),
            Expr::Ident(name) if name.starts_with('.') => self.unsupported(token, "a leading dot"),
            Expr::Ident(name) => Some(Node {
                place: token,
                kind: NodeKind::Variable(name),
            }),
            Expr::Select(select) => self.select(select, token),
            Expr::Call(call) => self.call(call, token, depth),
            Expr::List(list) => {
                let items = self.all(list.elements, depth)?;
                Some(Node {
                    place: self.bracketed(token),
                    kind: NodeKind::List(items),
                })
            }
            Expr::Map(_) => self.unsupported(self.bracketed(token), "a map `{…}`"),
            Expr::Struct(_) => self.unsupported(self.bracketed(token), "a message `Name{…}`"),
            Expr::Comprehension(_) => self.unsupported(token, "a comprehension"),
            Expr::Unspecified => self.unsupported(token, "this"),
        }
    }

    /// All of them, so that every error is found.
    fn all(&mut self, exprs: Vec<IdedExpr>, depth: usize) -> Option<Vec<Node>> {
        let nodes: Vec<_> = exprs.into_iter().map(|expr| self.node(expr, depth + 1)).collect();
        nodes.into_iter().collect()
    }

    fn literal(&mut self, literal: LiteralValue, place: Place) -> Option<Node> {
        let kind = match literal {
            LiteralValue::Null => NodeKind::Null,
            LiteralValue::Boolean(b) => NodeKind::Bool(b.into_inner()),
            LiteralValue::Int(i) => NodeKind::Int(i.into_inner()),
            LiteralValue::Double(x) => NodeKind::Float(x.into_inner()),
            LiteralValue::String(s) => NodeKind::Text(s.into_inner()),
            LiteralValue::UInt(u) => match i64::try_from(u.into_inner()) {
                Ok(i) => NodeKind::Int(i),
                Err(_) => return self.fail(place, "the number does not fit into int64"),
            },
            LiteralValue::Bytes(_) => return self.unsupported(place, "a bytes literal"),
        };
        Some(Node {
            place: self.with_sign(place, &kind),
            kind,
        })
    }

    /// The place of a literal with its minus sign, which the parser leaves out.
    fn with_sign(&self, place: Place, kind: &NodeKind) -> Place {
        let negative = match kind {
            NodeKind::Int(i) => *i < 0,
            NodeKind::Float(x) => x.is_sign_negative(),
            _ => false,
        };
        let sign = if negative {
            self.text[..place.start].rfind('-')
        } else {
            None
        };
        Place {
            start: sign.unwrap_or(place.start),
            end: place.end,
        }
    }

    fn select(&mut self, select: SelectExpr, dot: Place) -> Option<Node> {
        let field = self.text[dot.start..]
            .find(select.field.as_str())
            .map_or(dot.end, |at| dot.start + at);
        let end = (field + select.field.len()).min(self.text.len());
        match select.operand.expr {
            Expr::Ident(view) if !view.starts_with('.') => {
                let start = self.token(select.operand.id).start;
                let kind = NodeKind::Variable(format!("{view}.{}", select.field));
                Some(Node {
                    place: Place { start, end },
                    kind,
                })
            }
            _ => self.fail(
                Place { start: dot.start, end },
                "a variable is `view.feature` or a bare name: nothing else has fields",
            ),
        }
    }

    fn call(&mut self, call: CallExpr, token: Place, depth: usize) -> Option<Node> {
        let name = call.func_name;
        let before = self.text[..token.start].trim_end();
        let name_place = before.rfind(&name).map_or(token, |start| Place {
            start,
            end: start + name.len(),
        });
        if call.target.is_some() {
            return self.fail(
                name_place,
                format!("method calls are not supported in expressions: there is no `.{name}(…)`"),
            );
        }
        if name == operators::INDEX {
            return self.unsupported(token, "an index `[…]`");
        }
        let args = self.all(call.args, depth)?;
        let place = match (args.first(), args.last()) {
            (Some(first), Some(last)) => Place {
                start: first.place.start.min(token.start),
                end: last.place.end.max(token.end),
            },
            _ => token,
        };
        match operator(&name, args) {
            Ok(kind) => Some(Node { place, kind }),
            Err(_) if name.starts_with('.') => self.unsupported(name_place, "a leading dot"),
            Err(args) => {
                let place = Place {
                    start: name_place.start,
                    end: self.bracketed(token).end,
                };
                Some(Node {
                    place,
                    kind: NodeKind::Call { name, name_place, args },
                })
            }
        }
    }

    fn unsupported(&mut self, place: Place, construct: &str) -> Option<Node> {
        self.fail(place, format!("{construct} is not supported in expressions"))
    }

    fn fail(&mut self, place: Place, message: impl Into<String>) -> Option<Node> {
        self.errors.push(ExpressionError::new(place, message));
        None
    }

    /// The place of the token that gave the node `id`: an operator, a literal, an opening bracket.
    fn token(&self, id: u64) -> Place {
        let (start, last) = self.source.offset_for(id).unwrap_or((0, 0));
        let start = self.text.floor_char_boundary(usize::try_from(start).unwrap_or(0));
        let end = usize::try_from(last).map_or(start, |last| last.saturating_add(1));
        Place {
            start,
            end: self.text.ceil_char_boundary(end).max(start),
        }
    }

    /// From the bracket at `open` to the one that closes it. Brackets in strings don't count.
    fn bracketed(&self, open: Place) -> Place {
        let (mut depth, mut quote) = (0_usize, None);
        let mut bytes = self.text.bytes().enumerate().skip(open.start);
        while let Some((at, byte)) = bytes.next() {
            match (quote, byte) {
                (Some(_), b'\\') => {
                    bytes.next();
                }
                (Some(q), _) if q == byte => quote = None,
                (Some(_), _) => {}
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, b'(' | b'[' | b'{') => depth += 1,
                (None, b')' | b']' | b'}') if depth <= 1 => {
                    return Place {
                        start: open.start,
                        end: at + 1,
                    };
                }
                (None, b')' | b']' | b'}') => depth -= 1,
                (None, _) => {}
            }
        }
        open
    }
}

/// The operator of CEL's internal name `name` on `args`, or the arguments back if it is a function.
fn operator(name: &str, args: Vec<Node>) -> Result<NodeKind, Vec<Node>> {
    if let operators::LOGICAL_NOT | operators::NEGATE = name {
        let [of] = <[Node; 1]>::try_from(args)?;
        let of = Box::new(of);
        return Ok(if name == operators::NEGATE {
            NodeKind::Negate(of)
        } else {
            NodeKind::Not(of)
        });
    }
    if name == operators::CONDITIONAL {
        return args.try_into().map(|of| NodeKind::If(Box::new(of)));
    }
    let make: fn(Box<[Node; 2]>) -> NodeKind = match name {
        operators::ADD => |of| NodeKind::Arithmetic(Arithmetic::Add, of),
        operators::SUBSTRACT => |of| NodeKind::Arithmetic(Arithmetic::Subtract, of),
        operators::MULTIPLY => |of| NodeKind::Arithmetic(Arithmetic::Multiply, of),
        operators::DIVIDE => |of| NodeKind::Arithmetic(Arithmetic::Divide, of),
        operators::MODULO => |of| NodeKind::Arithmetic(Arithmetic::Remainder, of),
        operators::EQUALS => |of| NodeKind::Compare(Comparison::Equal, of),
        operators::NOT_EQUALS => |of| NodeKind::Compare(Comparison::NotEqual, of),
        operators::LESS => |of| NodeKind::Compare(Comparison::Less, of),
        operators::LESS_EQUALS => |of| NodeKind::Compare(Comparison::LessOrEqual, of),
        operators::GREATER => |of| NodeKind::Compare(Comparison::Greater, of),
        operators::GREATER_EQUALS => |of| NodeKind::Compare(Comparison::GreaterOrEqual, of),
        operators::LOGICAL_AND => NodeKind::And,
        operators::LOGICAL_OR => NodeKind::Or,
        operators::IN => NodeKind::In,
        _ => return Err(args),
    };
    args.try_into().map(|of| make(Box::new(of)))
}
