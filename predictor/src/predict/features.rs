//! Stored features: read for all rows at once, and merged with what a request carries, as the model's policies say.

use std::collections::HashMap;
use std::time::Duration;

use feature_defs::assemble::{Assembled, Parts, assemble};
use feature_defs::definitions::{Join, Origin, Service, View};
use feature_defs::key::EntityKey;
use feature_defs::name::{FeatureName, ViewName};
use feature_defs::serving::{Status, StoredRow};
use feature_defs::time::Timestamp;
use online_store::{Lookup, OnlineReader};

use super::answer::{Degraded, RowError};
use super::request::Instance;
use crate::model::Model;
use crate::model::config::{WhenMissing, WhenStale};

/// The stored rows of every instance, one a join of its service. What several instances have in common is read once. A store
/// that cannot be read in time makes them `UNAVAILABLE`, never late.
pub(crate) async fn read<'i>(
    reader: &OnlineReader,
    instances: impl Iterator<Item = (&'i Service, &'i Instance)> + Clone,
    now: Timestamp,
    within: Duration,
) -> Vec<Vec<StoredRow>> {
    let joins = instances.clone().flat_map(|(service, instance)| {
        let key = |join: &'i Join| (&*join.view, join.entity_key(&instance.keys));
        service.joins.iter().map(key)
    });
    let wanted: Vec<(&View, Option<EntityKey>)> = joins.collect();
    if wanted.is_empty() {
        return instances.map(|_| Vec::new()).collect();
    }
    // One row has nothing in common with others.
    let (lookups, places) = match instances.clone().nth(1) {
        None => (wanted.iter().map(lookup).collect(), None),
        Some(_) => distinct(&wanted),
    };
    let rows = match reader.read(&lookups, now, within).await {
        Ok(rows) => rows,
        Err(error) => {
            // The reader's own upkeep warns once; this would be a line a request.
            tracing::debug!(%error, "stored features could not be read");
            // Of a null join key it is known without the store that it has no row.
            let row = |lookup: &Lookup<'_>| match lookup.key {
                Some(_) => StoredRow::unavailable(),
                None => StoredRow::not_found(),
            };
            lookups.iter().map(row).collect()
        }
    };
    let rows: Vec<StoredRow> = match places {
        None => rows,
        Some(places) => places.into_iter().map(|place| rows[place].clone()).collect(),
    };
    let mut rows = rows.into_iter();
    instances
        .map(|(service, _)| rows.by_ref().take(service.joins.len()).collect())
        .collect()
}

fn lookup<'w>((view, key): &'w (&View, Option<EntityKey>)) -> Lookup<'w> {
    Lookup {
        view,
        key: key.as_ref(),
    }
}

/// What to look up, and for each that is wanted its place there, if any is wanted more than once.
fn distinct<'w>(wanted: &'w [(&View, Option<EntityKey>)]) -> (Vec<Lookup<'w>>, Option<Vec<usize>>) {
    // By the view's address: one view may be there in several definitions.
    let mut seen: HashMap<(usize, Option<&EntityKey>), usize> = HashMap::with_capacity(wanted.len());
    let mut first: Vec<&(&View, Option<EntityKey>)> = Vec::with_capacity(wanted.len());
    let places = wanted.iter().map(|one| {
        *seen
            .entry((std::ptr::from_ref(one.0).addr(), one.1.as_ref()))
            .or_insert_with(|| {
                first.push(one);
                first.len() - 1
            })
    });
    let places: Vec<usize> = places.collect();
    let places = (first.len() < wanted.len()).then_some(places);
    (first.into_iter().map(lookup).collect(), places)
}

/// Whether any view of a row could not be read.
pub(crate) fn is_unavailable(stored: &[StoredRow]) -> bool {
    stored.iter().any(|row| row.status == Status::Unavailable)
}

/// The inputs of one row, or why policy rejects it.
///
/// # Errors
/// A view has no row, one too old, or one that was written without a feature that the model reads, and the model's policy
/// is to reject then.
pub(crate) fn merge(
    (model, service): (&Model, &Service),
    instance: &Instance,
    stored: &[StoredRow],
    now: Timestamp,
    degraded: &mut Vec<Degraded>,
) -> Result<Vec<Assembled>, RowError> {
    let of = |status: Status| {
        let at = stored.iter().position(|row| row.status == status);
        at.map(|i| service.joins[i].alias.clone())
    };
    if model.settings.when_missing == WhenMissing::Reject {
        let absent = match of(Status::NotFound) {
            Some(view) => Some(format!("view `{view}` has no row for this instance")),
            None => lacked(service, instance, stored)
                .map(|(view, feature)| format!("view `{view}` has no `{feature}` for this instance yet")),
        };
        if let Some(absent) = absent {
            return Err(RowError {
                code: "feature_missing",
                message: format!("{absent}, and the model's policy is to reject then"),
            });
        }
    }
    match (model.settings.when_stale, of(Status::OutsideMaxAge)) {
        (WhenStale::Reject, Some(view)) => {
            return Err(RowError {
                code: "feature_stale",
                message: format!(
                    "view `{view}` is too old for this instance, and the model's policy is to reject then"
                ),
            });
        }
        (WhenStale::Serve, Some(_)) => degraded.push(Degraded::StaleServed),
        _ => {}
    }
    let stale = model.settings.when_stale.stale();
    let parts = |stored| Parts {
        request: &instance.request,
        stored,
        now,
        stale,
    };
    if instance.overrides.is_empty() {
        return Ok(assemble(service, parts(stored)));
    }
    let overridden = overridden((model, service), instance, stored);
    let mut inputs = assemble(service, parts(&overridden));
    restore_statuses(service, instance, stored, &mut inputs);
    Ok(inputs)
}

/// A feature that the model reads, and that its row was written without: of a view and by a name.
fn lacked<'a>(
    service: &'a Service,
    instance: &Instance,
    stored: &[StoredRow],
) -> Option<(&'a ViewName, &'a FeatureName)> {
    if stored.iter().all(|row| row.lacking.is_empty()) {
        return None;
    }
    let inputs = service.inputs.iter().map(|input| &input.origin);
    let derived = service.derived.iter().flat_map(|d| d.expression.origins());
    inputs.chain(derived).find_map(|origin| match *origin {
        Origin::Stored { join, feature } if stored[join].lacks(feature) && !instance.sets(join, feature) => {
            let join = &service.joins[join];
            Some((&join.alias, &join.view.fields()[feature].name))
        }
        _ => None,
    })
}

/// The stored rows as a caller would have them: those it touches count as present, with nulls where policy would not
/// use what is there.
fn overridden((model, service): (&Model, &Service), instance: &Instance, stored: &[StoredRow]) -> Vec<StoredRow> {
    let mut rows = stored.to_vec();
    for (join, row) in rows.iter_mut().enumerate() {
        let touched: Vec<_> = instance.overrides.iter().filter(|o| o.join == join).collect();
        if touched.is_empty() {
            continue;
        }
        let usable = row.status == Status::Present
            || row.status == Status::OutsideMaxAge && model.settings.when_stale == WhenStale::Serve;
        if !usable {
            row.values = vec![None; service.joins[join].view.fields().len()];
        }
        row.status = Status::Present;
        for touch in touched {
            row.values[touch.feature].clone_from(&touch.value);
            row.lacking.retain(|feature| *feature != touch.feature);
        }
    }
    rows
}

/// Inputs whose row a caller touched, but not themselves, keep the status the store gave them.
fn restore_statuses(service: &Service, instance: &Instance, stored: &[StoredRow], inputs: &mut [Assembled]) {
    for (input, assembled) in service.inputs.iter().zip(inputs) {
        if let Origin::Stored { join, feature } = input.origin
            && stored[join].status != Status::Present
            && !instance.sets(join, feature)
        {
            assembled.status = stored[join].feature(feature).1;
        }
    }
}
