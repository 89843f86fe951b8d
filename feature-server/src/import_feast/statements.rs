//! What the statements of a Python file set: assignments, imports, and functions that Feast makes views of.

use std::sync::Arc;

use ruff_python_ast::statement_visitor::{self, StatementVisitor};
use ruff_python_ast::{Alias, Expr, Stmt, StmtFunctionDef, StmtImportFrom};

use super::python::Reader;
use super::unread;
use super::values::{Known, Object, Place, Value};

/// The functions of Feast that make a view of the function below them.
const DECORATORS: [&str; 3] = ["on_demand_feature_view", "batch_feature_view", "stream_feature_view"];

impl Reader<'_> {
    pub(super) fn statement(&mut self, statement: &Stmt) {
        match statement {
            Stmt::Assign(assign) => {
                let value = self.value(&assign.value);
                assign.targets.iter().for_each(|target| self.set(target, &value));
            }
            Stmt::AnnAssign(assign) => {
                if let Some(value) = &assign.value {
                    let value = self.value(value);
                    self.set(&assign.target, &value);
                }
            }
            Stmt::Expr(expression) => {
                self.value(&expression.value);
            }
            Stmt::Import(import) => import.names.iter().for_each(|alias| self.import(alias)),
            Stmt::ImportFrom(import) => self.import_from(import),
            Stmt::FunctionDef(function) => self.function(function),
            // Their first part runs, unless something fails.
            Stmt::With(with) => with.body.iter().for_each(|inner| self.statement(inner)),
            Stmt::Try(attempt) => {
                let parts = attempt.body.iter().chain(&attempt.orelse).chain(&attempt.finalbody);
                parts.for_each(|inner| self.statement(inner));
            }
            Stmt::If(branch) if unread::is_main_guard(branch) => {}
            other => self.forget(other),
        }
    }

    fn set(&mut self, target: &Expr, value: &Known) {
        match (target, &value.value) {
            (Expr::Name(name), _) => {
                self.names.insert(name.id.as_str().to_owned(), value.clone());
            }
            (Expr::Tuple(targets), Value::List(values)) if targets.elts.len() == values.len() => {
                let pairs = targets.elts.iter().zip(values);
                pairs.for_each(|(target, value)| self.set(target, value));
            }
            (Expr::Tuple(targets), _) => {
                let part = Known::unknown("a part of something", value.at.clone());
                targets.elts.iter().for_each(|target| self.set(target, &part));
            }
            (Expr::Attribute(attribute), _) => {
                let (of, at) = (self.value(&attribute.value), self.place(attribute));
                if let Value::Object(object) = &of.value
                    && let Some(class) = object.class()
                {
                    let what = format!(
                        "the change of `{}` of {class} {}",
                        attribute.attr.as_str(),
                        object.shown()
                    );
                    let why = "it is made after the object is";
                    self.repository.notes.not_carried(
                        at,
                        &what,
                        why,
                        "say it where the object is made, or in the definitions",
                    );
                }
            }
            _ => {}
        }
    }

    fn import(&mut self, alias: &Alias) {
        let dotted = alias.name.as_str();
        let (name, path) = match &alias.asname {
            Some(name) => (name.as_str(), dotted),
            // `import a.b` sets `a`.
            None => {
                let first = dotted.split('.').next().unwrap_or(dotted);
                (first, first)
            }
        };
        let value = match self.repository.module(path, 0, &self.path) {
            Some(module) => Value::Module(module),
            None => Value::Outside(path.to_owned()),
        };
        let at = self.place(alias);
        self.names.insert(name.to_owned(), Known { value, at });
    }

    fn import_from(&mut self, import: &StmtImportFrom) {
        let dotted = import.module.as_ref().map_or("", |module| module.as_str());
        let module = self.repository.module(dotted, import.level, &self.path);
        for alias in &import.names {
            let (name, at) = (alias.name.as_str(), self.place(alias));
            match (&module, name) {
                (Some(module), "*") => {
                    self.repository.read(module);
                    if let Some(Some(names)) = self.repository.modules.get(module) {
                        let public = names.iter().filter(|(name, _)| !name.starts_with('_'));
                        self.names
                            .extend(public.map(|(name, known)| (name.clone(), known.clone())));
                    }
                }
                (None, "*") => self.stars.push(dotted.to_owned()),
                (module, name) => {
                    let value = match module {
                        Some(module) => self.repository.member(module, name),
                        None => Value::Outside(format!("{dotted}.{name}")),
                    };
                    let set = alias.asname.as_ref().map_or(name, |name| name.as_str());
                    self.names.insert(set.to_owned(), Known { value, at });
                }
            }
        }
    }

    /// A function is not run; but Feast makes views of those that its decorators stand above.
    fn function(&mut self, function: &StmtFunctionDef) {
        let (name, at) = (function.name.as_str(), self.place(&function.name));
        let decorators = function.decorator_list.iter();
        let decorated: Vec<Known> = decorators.map(|decorator| self.value(&decorator.expression)).collect();
        let view = decorated.into_iter().find_map(|known| match known.value {
            Value::Object(object) if object.class().is_some_and(|class| DECORATORS.contains(&class)) => Some(object),
            _ => None,
        });
        let value = match view {
            None => Value::Unknown(format!("the function `{name}`")),
            Some(view) => Value::Object(self.named(&view, name, &at)),
        };
        self.names.insert(name.to_owned(), Known { value, at });
    }

    /// The view that a decorator makes, which is called as the function unless it says otherwise.
    fn named(&mut self, view: &Arc<Object>, name: &str, at: &Place) -> Arc<Object> {
        let mut keywords = view.keywords.clone();
        if view.argument("name").is_none() {
            let value = Value::Text(name.into());
            keywords.push(("name".to_owned(), Known { value, at: at.clone() }));
        }
        let object = Arc::new(Object {
            id: view.id,
            made: view.made.clone(),
            positional: view.positional.clone(),
            keywords,
            is_open: view.is_open,
            at: at.clone(),
        });
        for made in self.repository.made.iter_mut().filter(|made| made.id == view.id) {
            *made = object.clone();
        }
        object
    }

    /// What a statement that may or may not run sets is not known after it.
    fn forget(&mut self, statement: &Stmt) {
        let what = match statement {
            Stmt::If(_) | Stmt::Match(_) => "set under a condition",
            Stmt::For(_) | Stmt::While(_) => "set in a loop",
            Stmt::ClassDef(_) => "a class of this repository",
            _ => "changed after it is set",
        };
        let mut names = SetNames(Vec::new());
        names.visit_stmt(statement);
        let at = self.place(statement);
        for name in names.0 {
            let known = Known::unknown(format!("`{name}`, which is {what}"), at.clone());
            self.names.insert(name, known);
        }
    }
}

/// The names that statements set.
struct SetNames(Vec<String>);

impl SetNames {
    fn target(&mut self, target: &Expr) {
        match target {
            Expr::Name(name) => self.0.push(name.id.as_str().to_owned()),
            Expr::Tuple(tuple) => tuple.elts.iter().for_each(|target| self.target(target)),
            _ => {}
        }
    }
}

impl<'a> StatementVisitor<'a> for SetNames {
    fn visit_stmt(&mut self, statement: &'a Stmt) {
        match statement {
            Stmt::Assign(assign) => assign.targets.iter().for_each(|target| self.target(target)),
            Stmt::AnnAssign(assign) => self.target(&assign.target),
            Stmt::AugAssign(assign) => self.target(&assign.target),
            Stmt::Delete(delete) => delete.targets.iter().for_each(|target| self.target(target)),
            Stmt::For(each) => {
                self.target(&each.target);
                statement_visitor::walk_stmt(self, statement);
            }
            Stmt::FunctionDef(function) => self.0.push(function.name.as_str().to_owned()),
            Stmt::ClassDef(class) => self.0.push(class.name.as_str().to_owned()),
            other => statement_visitor::walk_stmt(self, other),
        }
    }
}
