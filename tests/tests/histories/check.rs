//! Lets a case happen to the product and to the model, and compares them after every step.

use anyhow::Result;

use crate::definitions::features;
use crate::expect::Expected;
use crate::model::{Cell, value};
use crate::outcome::Answer;
use crate::product::Product;
use crate::views::{Join, Kind, SOURCES, View};
use crate::world::{Case, Entity, Group, Label, Row, Step, written};

/// Where product and model differ.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    pub(crate) view: View,
    /// The group's number, if one entity differs.
    pub(crate) group: Option<usize>,
    /// What was expected and what was found.
    pub(crate) what: String,
}

/// How many values were compared, and the first difference.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) online: u64,
    pub(crate) trained: u64,
    pub(crate) difference: Option<Difference>,
}

/// Runs a case to its end or to its first difference.
///
/// # Errors
/// Something failed that no case can be to blame for.
pub(crate) async fn check(product: &mut Product, case: &Case) -> Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut expected: Vec<Expected> = case.views.iter().map(|(view, _)| Expected::new(*view)).collect();
    for tick in 0..case.ticks.len() {
        product.tick(case, tick).await?;
        for ((view, steps), expected) in case.views.iter().zip(&mut expected) {
            for step in steps.iter().filter(|step| step.tick == tick) {
                verdict.difference = match product.act(case, *view, step.action).await {
                    Ok(outcome) => match expected.after(case, tick, step.action, &outcome) {
                        Ok(()) => online(product, case, (expected, *view), *step, &mut verdict.online).await?,
                        Err(what) => Some(Difference {
                            view: *view,
                            group: None,
                            what: at(case, *step, &what),
                        }),
                    },
                    Err(error) => Some(Difference {
                        view: *view,
                        group: None,
                        what: at(case, *step, &error.to_string()),
                    }),
                };
                if verdict.difference.is_some() {
                    return Ok(verdict);
                }
            }
        }
        verdict.difference = training(product, case, tick, &mut verdict.trained).await?;
        if verdict.difference.is_some() {
            return Ok(verdict);
        }
    }
    Ok(verdict)
}

fn at(case: &Case, step: Step, what: &str) -> String {
    format!("at {}, after {:?}: {what}", written(case.ticks[step.tick]), step.action)
}

/// Compares every entity of a view, at the step's moment and when the step says that readers ask.
async fn online(
    product: &Product,
    case: &Case,
    (expected, view): (&Expected, View),
    step: Step,
    compared: &mut u64,
) -> Result<Option<Difference>> {
    let now = case.ticks[step.tick];
    let mut moments = vec![now, now + step.asked_after];
    moments.dedup();
    for asked in moments {
        let found = product.read(case, view, asked).await?;
        let entities = case
            .groups
            .iter()
            .flat_map(|group| Entity::all(view.join).into_iter().map(move |e| (group, e)));
        for ((group, entity), found) in entities.zip(found) {
            let Some(possible) = expected.answers(case, group, entity, asked) else {
                continue;
            };
            *compared += 1;
            if !possible.contains(&found) {
                let all: Vec<&Answer> = possible.iter().chain([&found]).collect();
                let expected: Vec<String> = possible.iter().map(|answer| shown(view, answer, &all)).collect();
                let what = format!(
                    "a reader at {} of {}\n  expected {}\n  found    {}",
                    written(asked),
                    spelled(group, entity),
                    expected.join("\n        or "),
                    shown(view, &found, &all)
                );
                let what = at(case, step, &what);
                return Ok(Some(Difference {
                    view,
                    group: Some(group.number),
                    what,
                }));
            }
        }
    }
    Ok(None)
}

/// Compares the training sets of a tick's labels.
async fn training(product: &Product, case: &Case, tick: usize, compared: &mut u64) -> Result<Option<Difference>> {
    for (number, source) in SOURCES.iter().enumerate() {
        let mine = |label: &&Label| label.tick == tick && label.source == number;
        let labels: Vec<(&Group, Label)> = case
            .groups
            .iter()
            .flat_map(|group| group.labels.iter().filter(mine).map(move |label| (group, *label)))
            .collect();
        if labels.is_empty() {
            continue;
        }
        let trained = product.train(source.name, &labels).await?;
        for ((group, label), row) in labels.iter().zip(&trained) {
            let rows: Vec<&Row> = group
                .rows
                .iter()
                .filter(|row| row.source == number && row.is_visible(tick))
                .collect();
            for (view, _) in case.views.iter().filter(|(view, _)| view.source == source) {
                *compared += 1;
                let expected = known(*view, &rows, *label);
                for (feature, cell) in features(*view).iter().zip(expected) {
                    let found = &row[&format!("{}__{feature}", view.name())];
                    if !reads_as(found, &cell) {
                        let what = format!(
                            "a training set built at {}, of a label {label:?} as of {}\n  expected {feature} {cell:?}\n  found    {found:?}",
                            written(case.ticks[tick]),
                            written(label.moment),
                        );
                        return Ok(Some(Difference {
                            view: *view,
                            group: Some(group.number),
                            what,
                        }));
                    }
                }
            }
        }
    }
    Ok(None)
}

/// What a view's features were for a label, from what is known now. Age limits rows; of aggregates it limits only how
/// long ago they were computed.
fn known(view: View, rows: &[&Row], label: Label) -> Vec<Cell> {
    let entity = match view.join {
        Join::User => label.user.map(|user| Entity {
            user: Some(user),
            item: None,
        }),
        Join::Item => label.item.map(|item| Entity {
            user: None,
            item: Some(item),
        }),
        Join::Pair => label.user.zip(label.item).map(|(user, item)| Entity {
            user: Some(user),
            item: Some(item),
        }),
    };
    entity
        .and_then(|entity| value(view, entity, rows, label.moment))
        .filter(|found| {
            let ttl = view.ttl().filter(|_| view.kind == Kind::Row);
            ttl.is_none_or(|ttl| found.event > label.moment - ttl)
        })
        .map_or_else(|| vec![Cell::Null; features(view).len()], |found| found.cells)
}

/// Whether a cell of a CSV file holds this value. An empty text and null look the same there.
fn reads_as(text: &str, cell: &Cell) -> bool {
    match cell {
        Cell::Null => text.is_empty(),
        Cell::Text(expected) => text == expected,
        Cell::Bool(expected) => text == expected.to_string(),
        Cell::Int(expected) => text == expected.to_string(),
        Cell::Time(expected) => text == written(*expected),
        Cell::Float(_) => text.parse().is_ok_and(|found| Cell::Float(found) == *cell),
    }
}

/// An entity as people write it.
fn spelled(group: &Group, entity: Entity) -> String {
    let user = entity.user.map(|user| format!("user={:?} ({user})", group.user(user)));
    let item = entity.item.map(|item| format!("item={} ({item})", group.item(item)));
    user.into_iter().chain(item).collect::<Vec<_>>().join(", ")
}

/// An answer as people read it: features by name, but for those in which all of these answers agree.
fn shown(view: View, answer: &Answer, all: &[&Answer]) -> String {
    let mut text = answer.status.to_owned();
    if let Some(event) = answer.event {
        text.push_str(&format!(" of {}", written(event)));
    }
    for (i, (feature, cell)) in features(view).iter().zip(&answer.cells).enumerate() {
        if all.iter().all(|other| other.cells.get(i) == Some(cell)) {
            continue;
        }
        let value = match cell {
            Cell::Null => "null".to_owned(),
            Cell::Bool(b) => b.to_string(),
            Cell::Int(n) => n.to_string(),
            Cell::Float(x) => format!("{x:?}"),
            Cell::Text(s) => format!("{s:?}"),
            Cell::Time(at) => written(*at),
        };
        text.push_str(&format!(" {feature}={value}"));
    }
    text
}
