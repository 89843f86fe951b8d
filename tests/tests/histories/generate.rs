//! Random cases, which seek the edges: ties, window and ttl bounds to the microsecond, corrections, moves, holes.

mod steps;

use crate::model::is_in_time;
use crate::random::Random;
use crate::views::{OVERLAP, SOURCES, Source, View};
use crate::world::{Case, Group, HOUR, Label, MINUTE, Row, SECOND, Stamp, Time};
use steps::steps;

/// Out of a hundred rows, so many appear later than their stamps allow. Runs that look at news only may miss them.
const TOO_LATE: usize = 1;
/// Out of a hundred rows, so many are taken out of the table by hand.
const REMOVED: usize = 1;

/// Where worlds begin: the present, the first second of Unix time, and long before it.
const BEGINNINGS: [&str; 3] = ["2013-11-05T12:00:00Z", "1970-01-01T00:00:00Z", "1931-06-30T23:00:00Z"];

/// A world of so many groups.
pub(crate) fn case(random: &mut Random, groups: usize) -> Case {
    let ticks = ticks(random);
    let mut tag = 0;
    let groups = (0..groups)
        .map(|number| {
            let mut rows = Vec::new();
            for source in 0..SOURCES.len() {
                rows.extend(
                    History {
                        random,
                        ticks: &ticks,
                        source,
                        tag: &mut tag,
                    }
                    .rows(),
                );
            }
            let labels = (0..random.below(10)).map(|_| label(random, &ticks)).collect();
            Group { number, rows, labels }
        })
        .collect();
    let views = View::all()
        .into_iter()
        .map(|view| (view, steps(random, view, &ticks)))
        .collect();
    Case { ticks, groups, views }
}

/// The moments at which something happens, in order.
fn ticks(random: &mut Random) -> Vec<Time> {
    let beginning: feature_defs::time::Timestamp = random.pick(&BEGINNINGS).parse().expect("it is a moment");
    let mut now = beginning.as_micros();
    let mut ticks = vec![now];
    for _ in 0..random.between(5, 9) {
        now += random.pick(&[
            SECOND,
            MINUTE,
            4 * MINUTE,
            10 * MINUTE,
            20 * MINUTE,
            30 * MINUTE,
            HOUR,
            2 * HOUR,
        ]);
        now += random.pick(&[0, 0, 0, 1, 17 * SECOND]);
        ticks.push(now);
    }
    ticks
}

/// A moment that something may depend on: one at the edge of a window or ttl that ends at a tick, or any.
fn moment(random: &mut Random, ticks: &[Time]) -> Time {
    if random.percent(40) {
        let spans = [
            0,
            0,
            10 * MINUTE,
            20 * MINUTE,
            30 * MINUTE,
            45 * MINUTE,
            HOUR,
            2 * HOUR,
            3 * HOUR,
        ];
        return random.pick(ticks) - random.pick(&spans) + random.pick(&[0, 0, -1, 1]);
    }
    let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
    first + random.between(-200, (last - first) / MINUTE + 60) * MINUTE
}

fn label(random: &mut Random, ticks: &[Time]) -> Label {
    Label {
        source: random.below(SOURCES.len()),
        tick: random.below(ticks.len()),
        user: (!random.percent(3)).then(|| one_of_two(random)),
        item: (!random.percent(3)).then(|| one_of_two(random)),
        moment: moment(random, ticks),
    }
}

fn one_of_two(random: &mut Random) -> u8 {
    u8::from(random.percent(50))
}

/// Makes one group's rows of one source.
struct History<'a> {
    random: &'a mut Random,
    ticks: &'a [Time],
    source: usize,
    tag: &'a mut u32,
}

impl History<'_> {
    fn source(&self) -> &'static Source {
        &SOURCES[self.source]
    }

    fn rows(mut self) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        for _ in 0..self.random.below(20) {
            let row = match rows.len() {
                0 => self.row(),
                len => {
                    let model = rows[self.random.below(len)];
                    match self.random.below(10) {
                        0 => self.duplicate(model),
                        1..=3 => self.correction(model),
                        4 => self.tie(model),
                        _ => self.row(),
                    }
                }
            };
            let row = if self.random.percent(TOO_LATE) {
                row
            } else {
                self.in_time(row)
            };
            rows.push(row);
        }
        for i in 0..rows.len() {
            // What has a twin in time or text is left alone, for its place would be taken by the twin.
            let twins = rows.iter().filter(|row| row.event == rows[i].event).count();
            if twins == 1 && self.random.percent(REMOVED) {
                let visible = rows[i].visible;
                rows[i].removed = (visible + 1 < self.ticks.len())
                    .then(|| visible + 1 + self.random.below(self.ticks.len() - visible - 1));
            }
        }
        rows
    }

    /// The moment before which a row of this place had not appeared.
    fn previous(&self, visible: usize) -> Option<Time> {
        visible.checked_sub(1).map(|before| self.ticks[before])
    }

    fn row(&mut self) -> Row {
        *self.tag += 1;
        let visible = if self.random.percent(30) {
            0
        } else {
            self.random.below(self.ticks.len())
        };
        let random = &mut *self.random;
        let event = match random.below(50) {
            0 => Stamp::Null,
            1 => random.pick(&[Stamp::Infinity, Stamp::MinusInfinity]),
            2 => Stamp::At(-random.between(1, 80) * 365 * 24 * HOUR - 1),
            // Most events are news.
            3..=24 => Stamp::At(self.ticks[visible] - random.between(0, 90) * MINUTE),
            _ => Stamp::At(moment(random, self.ticks)),
        };
        let row = Row {
            source: self.source,
            tag: *self.tag,
            visible,
            removed: None,
            user: (!random.percent(4)).then(|| one_of_two(random)),
            item: (!random.percent(4)).then(|| one_of_two(random)),
            event,
            created: Stamp::Null,
            id: (!random.percent(3)).then(|| u8::try_from(random.below(5)).expect("below five")),
            leg: (!random.percent(3)).then(|| one_of_two(random)),
            deleted: random.pick(&[Some(false), Some(false), Some(false), Some(true), None]),
            x: None,
            y: None,
            n: None,
            s: None,
            b: None,
            w: Stamp::Null,
        };
        let row = self.with_values(row);
        self.stamped(row)
    }

    /// The same row once more, perhaps later.
    fn duplicate(&mut self, row: Row) -> Row {
        let visible = row.visible + self.random.below(self.ticks.len() - row.visible);
        let later = Row { visible, ..row };
        if is_in_time(self.source(), &later, self.previous(visible)) {
            later
        } else {
            row
        }
    }

    /// A later version of what a row says: perhaps about somebody else, at another time, or that it is not so.
    fn correction(&mut self, row: Row) -> Row {
        *self.tag += 1;
        let visible = row.visible + self.random.below(self.ticks.len() - row.visible);
        let mut row = Row {
            tag: *self.tag,
            visible,
            ..row
        };
        if self.random.percent(30) {
            row.event = Stamp::At(moment(self.random, self.ticks));
        }
        if self.random.percent(30) {
            row.user = row.user.map(|user| 1 - user);
        }
        if self.random.percent(30) {
            row.item = row.item.map(|item| 1 - item);
        }
        if self.random.percent(40) {
            row.deleted = self.random.pick(&[Some(true), Some(false), None]);
        }
        if self.random.percent(60) {
            row = self.with_values(row);
        }
        self.stamped(row)
    }

    /// Another row at the same time, seen and stamped together with the first.
    fn tie(&mut self, row: Row) -> Row {
        *self.tag += 1;
        let id = if self.random.percent(50) { row.id } else { Some(4) };
        let deleted = self.random.pick(&[Some(true), Some(false), None]);
        self.with_values(Row {
            tag: *self.tag,
            id,
            deleted,
            ..row
        })
    }

    fn with_values(&mut self, row: Row) -> Row {
        let random = &mut *self.random;
        let quarters = f64::from(i32::try_from(random.between(-40, 40)).expect("it is small")) / 4.0;
        let tenths = f64::from(i32::try_from(random.between(1, 99)).expect("it is small")) / 10.0;
        Row {
            x: random.pick(&[
                Some(quarters),
                Some(quarters),
                Some(1.0),
                Some(2.0),
                Some(0.0),
                Some(-0.0),
                Some(f64::NAN),
                None,
            ]),
            y: random.pick(&[Some(tenths), Some(tenths), Some(0.1), None]),
            n: random.pick(&[Some(random.clone().between(-9, 9)), Some(1 << 53), Some(0), None]),
            s: random.pick(&[Some("a"), Some("Z"), Some("é"), Some(""), Some("a b"), None]),
            b: random.pick(&[Some(true), Some(false), None]),
            w: match random.below(6) {
                0 => Stamp::Null,
                1 => Stamp::Infinity,
                _ => Stamp::At(moment(random, self.ticks)),
            },
            ..row
        }
    }

    /// A row with a created timestamp: about when it became visible.
    fn stamped(&mut self, row: Row) -> Row {
        let now = self.ticks[row.visible];
        let random = &mut *self.random;
        let created = match random.below(20) {
            0 => Stamp::Null,
            1 => Stamp::Infinity,
            2 => Stamp::At(now + MINUTE),
            3..=5 => Stamp::At(now - OVERLAP + 1),
            6..=8 => Stamp::At(now - MINUTE),
            _ => Stamp::At(now),
        };
        Row { created, ..row }
    }

    /// The row, changed so that no run that looks at news has an excuse to miss it.
    fn in_time(&mut self, row: Row) -> Row {
        let previous = self.previous(row.visible);
        match previous {
            Some(previous) if !is_in_time(self.source(), &row, Some(previous)) => {
                if self.source().created {
                    let since = previous - OVERLAP;
                    let created = self.random.pick(&[since + 1, since + MINUTE, previous, previous + 1]);
                    Row {
                        created: Stamp::At(created),
                        ..row
                    }
                } else {
                    let since = previous - self.source().lateness;
                    let event = since + self.random.pick(&[1, SECOND, 5 * MINUTE, 20 * MINUTE]);
                    Row {
                        event: Stamp::At(event),
                        ..row
                    }
                }
            }
            _ => row,
        }
    }
}
