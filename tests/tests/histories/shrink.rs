//! Makes a case that fails small: fewer groups, then fewer steps, then fewer rows, as long as it still fails.

use std::time::{Duration, Instant};

use crate::check::{Difference, check};
use crate::product::Product;
use crate::views::SOURCES;
use crate::world::{Case, Group, written};

/// How long shrinking may take.
const WITHIN: Duration = Duration::from_secs(60);

/// The smallest case found that differs in the same view, in words.
pub(crate) async fn report(product: Product, case: Case, difference: Difference) -> String {
    let mut shrink = Shrink {
        product: Some(product),
        until: Instant::now() + WITHIN,
        case,
        difference,
        tried: 0,
    };
    shrink.run().await;
    format!(
        "{}\n\nafter {} tries, this is left of the case\n{}",
        shrink.difference.what,
        shrink.tried,
        shown(&shrink.case)
    )
}

struct Shrink {
    /// `None` after it has failed for a reason of its own.
    product: Option<Product>,
    until: Instant,
    case: Case,
    difference: Difference,
    tried: u32,
}

impl Shrink {
    async fn run(&mut self) {
        // Views share nothing but their source: one alone should do.
        let (view, number) = (self.difference.view, self.difference.group);
        let mut alone = self.case.clone();
        alone.views.retain(|(other, _)| *other == view);
        for group in &mut alone.groups {
            group.rows.retain(|row| SOURCES[row.source] == *view.source);
            group.labels.retain(|label| SOURCES[label.source] == *view.source);
        }
        let mut one = alone.clone();
        one.groups.retain(|group| Some(group.number) == number);
        if !self.fails(one).await {
            self.fails(alone).await;
        }
        loop {
            let before = self.size();
            let steps = |case: &Case| case.views.iter().map(|(_, steps)| steps.len()).sum();
            self.parts(|case| case.groups.len(), |case, i| drop(case.groups.remove(i)))
                .await;
            self.parts(steps, remove_step).await;
            self.parts(|case| case.groups.iter().map(|g| g.rows.len()).sum(), remove_row)
                .await;
            self.parts(|case| case.groups.iter().map(|g| g.labels.len()).sum(), remove_label)
                .await;
            if self.size() == before || Instant::now() > self.until {
                return;
            }
        }
    }

    fn size(&self) -> usize {
        let inside = |group: &Group| 1 + group.rows.len() + group.labels.len();
        self.case.groups.iter().map(inside).sum::<usize>() + self.case.views.iter().map(|(_, s)| s.len()).sum::<usize>()
    }

    /// Leaves out parts, half of them at first and one at a time at last, as long as the case fails without them.
    async fn parts(&mut self, count: impl Fn(&Case) -> usize, remove: impl Fn(&mut Case, usize)) {
        let mut together = count(&self.case).div_ceil(2);
        while together > 0 {
            let mut from = 0;
            while from < count(&self.case) {
                let mut smaller = self.case.clone();
                for i in (from..(from + together).min(count(&self.case))).rev() {
                    remove(&mut smaller, i);
                }
                if !self.fails(smaller).await {
                    from += together;
                }
                if Instant::now() > self.until {
                    return;
                }
            }
            together /= 2;
        }
    }

    /// Whether a case still differs in the same view; if so, it is the case from now on.
    async fn fails(&mut self, case: Case) -> bool {
        let Some(product) = self.product.take() else {
            return false;
        };
        self.tried += 1;
        let Ok(mut product) = product.emptied().await else {
            return false;
        };
        let verdict = check(&mut product, &case).await;
        self.product = Some(product);
        match verdict.map(|verdict| verdict.difference) {
            Ok(Some(difference)) if difference.view == self.difference.view => {
                self.case = case;
                self.difference = difference;
                true
            }
            _ => false,
        }
    }
}

fn remove_step(case: &mut Case, mut i: usize) {
    for (_, steps) in &mut case.views {
        if i < steps.len() {
            steps.remove(i);
            return;
        }
        i -= steps.len();
    }
}

fn remove_row(case: &mut Case, mut i: usize) {
    for group in &mut case.groups {
        if i < group.rows.len() {
            group.rows.remove(i);
            return;
        }
        i -= group.rows.len();
    }
}

fn remove_label(case: &mut Case, mut i: usize) {
    for group in &mut case.groups {
        if i < group.labels.len() {
            group.labels.remove(i);
            return;
        }
        i -= group.labels.len();
    }
}

/// A case in words, in order of time.
fn shown(case: &Case) -> String {
    let mut text = String::new();
    for (tick, at) in case.ticks.iter().enumerate() {
        let mut lines = Vec::new();
        for group in &case.groups {
            for row in &group.rows {
                if row.visible == tick {
                    lines.push(format!("    a row of group {} appears: {row:?}", group.number));
                }
                if row.removed == Some(tick) {
                    lines.push(format!("    a row of group {} is gone: tag {}", group.number, row.tag));
                }
            }
        }
        for (view, steps) in &case.views {
            let steps = steps.iter().filter(|step| step.tick == tick);
            lines.extend(steps.map(|step| {
                format!(
                    "    {}: {:?}, read {} µs later",
                    view.name(),
                    step.action,
                    step.asked_after
                )
            }));
        }
        for group in &case.groups {
            let labels = group.labels.iter().filter(|label| label.tick == tick);
            lines.extend(labels.map(|label| {
                format!(
                    "    a label of group {}: {label:?} as of {}",
                    group.number,
                    written(label.moment)
                )
            }));
        }
        if !lines.is_empty() {
            text.push_str(&format!("  {}\n{}\n", written(*at), lines.join("\n")));
        }
    }
    text
}
