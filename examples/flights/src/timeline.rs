//! What happens when: the events of a dataset in order of time, in 2013.

use std::ops::Range;

use feature_defs::time::Timestamp;

use crate::dataset::Dataset;
use crate::flight::Flight;

/// The events of a [`Dataset`], each kind in order of time. Indexes are into the dataset's lists.
#[derive(Debug)]
pub(crate) struct Timeline {
    pub(crate) departures: Events,
    pub(crate) arrivals: Events,
    pub(crate) cancellations: Events,
    pub(crate) observations: Events,
}

/// Moments with the index of what happened, in order.
#[derive(Debug)]
pub(crate) struct Events(Vec<(Timestamp, usize)>);

impl Timeline {
    /// Puts the events of `dataset` in order.
    pub(crate) fn new(dataset: &Dataset) -> Self {
        let flights =
            |when: fn(&Flight) -> Option<Timestamp>| Events::in_order(dataset.flights.iter().map(when).enumerate());
        Self {
            departures: flights(Flight::departed),
            arrivals: flights(Flight::arrived),
            cancellations: flights(Flight::cancelled),
            observations: Events::in_order(dataset.weather.iter().map(|w| Some(w.observed)).enumerate()),
        }
    }

    /// The moment of the last event.
    pub(crate) fn end(&self) -> Option<Timestamp> {
        let kinds = [
            &self.departures,
            &self.arrivals,
            &self.cancellations,
            &self.observations,
        ];
        kinds
            .iter()
            .filter_map(|events| events.0.last())
            .map(|&(at, _)| at)
            .max()
    }
}

impl Events {
    fn in_order(moments: impl Iterator<Item = (usize, Option<Timestamp>)>) -> Self {
        let mut events: Vec<_> = moments.filter_map(|(index, at)| Some((at?, index))).collect();
        events.sort_unstable();
        Self(events)
    }

    /// The events of `(after, until]`.
    pub(crate) fn between(&self, after: Timestamp, until: Timestamp) -> &[(Timestamp, usize)] {
        let place = |moment| self.0.partition_point(|&(at, _)| at <= moment);
        let Range { start, end } = place(after)..place(until);
        self.0.get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_hold_their_end_and_not_their_start() {
        let at = Timestamp::from_micros;
        let events = Events::in_order(
            [Some(at(30)), None, Some(at(10)), Some(at(20)), Some(at(20))]
                .into_iter()
                .enumerate(),
        );
        assert_eq!(events.between(at(10), at(20)), [(at(20), 3), (at(20), 4)]);
        assert_eq!(events.between(at(0), at(10)), [(at(10), 2)]);
        assert_eq!(events.between(at(30), at(40)), []);
        assert_eq!(events.between(at(20), at(10)), []);
    }
}
