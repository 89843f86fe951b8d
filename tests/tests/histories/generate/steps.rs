//! What happens to a view, at random.

use crate::random::Random;
use crate::views::View;
use crate::world::{Action, HOUR, MINUTE, Mode, Step, Time};

/// A run of one of these worlds is over after about so many steps of its own.
const MOST_POLLS: i64 = 150;

/// How eventful a view's life is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Incremental runs, one after the other, and hardly anything else.
    Calm,
    /// Everything, all the time.
    Wild,
}

/// What happens to a view.
pub(super) fn steps(random: &mut Random, view: View, ticks: &[Time]) -> Vec<Step> {
    let life = random.pick(&[Life::Calm, Life::Wild]);
    let last = ticks.len() - 1;
    let mut actions = Vec::new();
    for tick in 0..=last {
        let count = if life == Life::Calm {
            random.pick(&[0, 1, 1, 1, 1])
        } else {
            random.pick(&[0, 1, 1, 1, 2, 2])
        };
        for _ in 0..count {
            let action = action(random, (ticks, tick), life);
            actions.push((tick, action));
            if matches!(action, Action::Interrupted { .. }) && random.percent(60) {
                let later = tick + random.below(2);
                actions.push((later.min(last), Action::Resume));
            }
            if let Action::Part { mode, of, .. } = action {
                // The other processes, now or later, in any order.
                let mut later = tick;
                let first = random.below(2);
                for other in 2..=of {
                    later += random.pick(&[0, 0, 0, 1]);
                    let index = if first == 0 { other } else { of + 2 - other };
                    actions.push((later.min(last), Action::Part { mode, index, of }));
                }
            }
        }
    }
    let mode = random.pick(&[
        Mode::Incremental,
        Mode::Incremental,
        Mode::Incremental,
        Mode::Full,
        Mode::Replace,
    ]);
    actions.push((last, Action::Run { mode, as_of: None }));
    actions.sort_by_key(|(tick, _)| *tick);
    let ttl = view.ttl().unwrap_or(HOUR);
    let asked = [0, 0, 0, 1, MINUTE, 30 * MINUTE, ttl - 1, ttl, 3 * HOUR];
    actions
        .into_iter()
        .map(|(tick, action)| Step {
            tick,
            action,
            asked_after: random.pick(&asked),
        })
        .collect()
}

fn action(random: &mut Random, (ticks, tick): (&[Time], usize), life: Life) -> Action {
    let mode = random.pick(&[Mode::Incremental, Mode::Incremental, Mode::Incremental, Mode::Full]);
    let earlier = |random: &mut Random| {
        let passed = &ticks[..=tick];
        random.pick(passed) + random.pick(&[0, 0, 1, MINUTE])
    };
    if life == Life::Calm && random.percent(85) {
        return Action::Run {
            mode: Mode::Incremental,
            as_of: None,
        };
    }
    match random.below(100) {
        0..=29 => Action::Run { mode, as_of: None },
        30..=41 => Action::Run {
            mode,
            as_of: Some(earlier(random)),
        },
        42..=46 => Action::Run {
            mode: Mode::Replace,
            as_of: None,
        },
        47..=59 => {
            let mode = if random.percent(15) { Mode::Replace } else { mode };
            Action::Part { mode, index: 1, of: 3 }
        }
        60..=76 => {
            let mode = if random.percent(15) { Mode::Replace } else { mode };
            let polls = u32::try_from(random.between(1, MOST_POLLS)).expect("it is small");
            Action::Interrupted { mode, polls }
        }
        77..=82 => {
            let start = earlier(random);
            let every = random.pick(&[7 * MINUTE, 30 * MINUTE, HOUR]);
            let end = ticks[tick].min(start + every * random.between(0, 3) + random.pick(&[0, MINUTE]));
            Action::Backfill {
                start: start.min(end - MINUTE),
                end,
                every,
                all_steps: random.percent(50),
            }
        }
        83..=86 => Action::LoseMarker,
        87..=90 => Action::LoseAll,
        91..=95 => Action::Save,
        _ => Action::RollBack,
    }
}
