//! The syntax tree of an expression, with the place of each node in the text.

/// A part of an expression's text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// A node of the syntax tree.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) kind: NodeKind,
}

#[derive(Debug, Clone)]
pub(super) enum NodeKind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// `view.feature` or a bare name
    Variable(String),
    List(Vec<Node>),
    Not(Box<Node>),
    Negate(Box<Node>),
    Arithmetic(Arithmetic, Box<[Node; 2]>),
    Compare(Comparison, Box<[Node; 2]>),
    In(Box<[Node; 2]>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    If(Box<[Node; 3]>),
    Call {
        name: String,
        name_place: Place,
        args: Vec<Node>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Arithmetic {
    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

impl Comparison {
    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

impl Node {
    /// Shows `see` this node and all below it, in the order of the text.
    pub(super) fn visit(&self, see: &mut impl FnMut(&Self)) {
        see(self);
        let below: &[Self] = match &self.kind {
            NodeKind::Null
            | NodeKind::Bool(_)
            | NodeKind::Int(_)
            | NodeKind::Float(_)
            | NodeKind::Text(_)
            | NodeKind::Variable(_) => &[],
            NodeKind::Not(of) | NodeKind::Negate(of) => std::slice::from_ref(of),
            NodeKind::Arithmetic(_, of)
            | NodeKind::Compare(_, of)
            | NodeKind::In(of)
            | NodeKind::And(of)
            | NodeKind::Or(of) => of.as_slice(),
            NodeKind::If(of) => of.as_slice(),
            NodeKind::List(of) | NodeKind::Call { args: of, .. } => of,
        };
        for node in below {
            node.visit(see);
        }
    }
}
