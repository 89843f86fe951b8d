//! What a file defines in a way that only running it would tell: in functions, classes, loops, conditions and comprehensions.

use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{Expr, Stmt, StmtIf};
use ruff_text_size::Ranged;

use super::python::{MAX_DEPTH, Reader, called};
use super::values::{Value, is_feast, last};

/// What Feast's repositories are made of.
const DEFINITIONS: [&str; 9] = [
    "Entity",
    "FeatureView",
    "BatchFeatureView",
    "StreamFeatureView",
    "OnDemandFeatureView",
    "on_demand_feature_view",
    "batch_feature_view",
    "stream_feature_view",
    "FeatureService",
];

/// Whether a statement is `if __name__ == "__main__":`, which Feast does not run either.
pub(super) fn is_main_guard(branch: &StmtIf) -> bool {
    let Expr::Compare(compare) = &*branch.test else {
        return false;
    };
    matches!(&*compare.left, Expr::Name(name) if name.id.as_str() == "__name__")
}

/// Notes every definition in `body` that was not read.
pub(super) fn note(reader: &mut Reader<'_>, body: &[Stmt]) {
    let mut unread = Unread {
        reader,
        within: Vec::new(),
        depth: 0,
    };
    body.iter().for_each(|statement| unread.visit_stmt(statement));
}

struct Unread<'u, 'r> {
    reader: &'u mut Reader<'r>,
    /// The statements around, from the outermost on: "the function `make_view`".
    within: Vec<String>,
    depth: usize,
}

impl Unread<'_, '_> {
    /// The class of Feast that an expression names.
    fn definition(&mut self, expr: &Expr) -> Option<String> {
        match self.reader.value(expr).value {
            Value::Outside(path) if is_feast(&path) => Some(last(&path).to_owned()),
            _ => None,
        }
        .filter(|class| DEFINITIONS.contains(&class.as_str()))
    }

    fn note(&mut self, at: &impl Ranged, what: &str) {
        let place = match self.within.last() {
            Some(within) => format!("it is made in {within}"),
            None => "it is made by an expression that is not followed".to_owned(),
        };
        let at = self.reader.place(at);
        let why = format!("{place}, which would have to be run");
        let help = "write in TOML what it makes, or in Python as plain assignments, and import again";
        self.reader.repository.notes.not_carried(at, what, why, help);
    }
}

impl<'a> Visitor<'a> for Unread<'_, '_> {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        if self.depth > MAX_DEPTH {
            return;
        }
        let within = match statement {
            Stmt::If(branch) if is_main_guard(branch) => return,
            Stmt::FunctionDef(function) => Some(format!("the function `{}`", function.name.as_str())),
            Stmt::ClassDef(class) => {
                let bases: Vec<Expr> = class.arguments.iter().flat_map(|a| a.args.iter().cloned()).collect();
                if let Some(base) = bases.iter().find_map(|base| self.definition(base)) {
                    self.note(
                        class,
                        &format!("what is made of the class `{}`, a {base}", class.name.as_str()),
                    );
                }
                Some(format!("the class `{}`", class.name.as_str()))
            }
            Stmt::For(_) | Stmt::While(_) => Some("a loop".to_owned()),
            Stmt::If(_) | Stmt::Match(_) => Some("a condition".to_owned()),
            Stmt::Try(_) => Some("a `try`".to_owned()),
            _ => None,
        };
        let is_within = within.is_some();
        self.within.extend(within);
        self.depth += 1;
        visitor::walk_stmt(self, statement);
        self.depth -= 1;
        if is_within {
            self.within.pop();
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if self.depth > MAX_DEPTH {
            return;
        }
        if let Expr::Call(call) = expr
            && !self.reader.read.contains(&call.start().to_usize())
            && self.definition(&call.func).is_some()
        {
            let name = call.arguments.find_keyword("name");
            let name = name.and_then(|name| {
                self.reader
                    .value(&name.value)
                    .text()
                    .ok()
                    .map(|name| format!(" `{name}`"))
            });
            let what = format!("{}{}", called(&call.func), name.unwrap_or_default());
            self.note(call, &what);
            return;
        }
        self.depth += 1;
        visitor::walk_expr(self, expr);
        self.depth -= 1;
    }
}
