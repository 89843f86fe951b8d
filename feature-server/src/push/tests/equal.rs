//! A push writes what the next incremental run would.

use super::*;
use crate::Mode;

/// Small numbers without end, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        // Constants of Knuth's MMIX.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// A row that is pushed at this minute of the day: late or in time, sometimes of the future, often tied with another.
    fn row(&mut self, minute: u64) -> String {
        let time = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
        let event = match self.below(8) {
            0 => minute + 15 * self.below(4),
            _ => minute - 15 * self.below(16),
        };
        let created = match self.below(3) {
            0 => "-".to_owned(),
            _ => time(minute - self.below(3)),
        };
        let carrier = ["UA", "AA", "ua", "DL"][usize::try_from(self.below(4)).unwrap()];
        let gone = if self.below(6) == 0 { "gone" } else { "" };
        let (flight, leg, delay) = (self.below(5), 1 + self.below(2), self.below(9));
        format!("F{flight} {leg} {carrier} {} {created} {delay} {gone}", time(event))
    }
}

#[tokio::test]
async fn pushed_values_are_those_of_the_next_incremental_run() {
    for (kind, source) in KINDS.iter().enumerate() {
        let ground = events(source).await;
        let mut dice = Dice(7 + kind as u64);
        let mut compared = 0;
        for round in 0..6_u64 {
            let minute = 9 * 60 + 17 * round;
            let time = format!("{:02}:{:02}", minute / 60, minute % 60);
            for view in VIEWS {
                ground.run(view, Mode::Incremental, &time).await;
            }
            let lines: Vec<String> = (0..=dice.below(8)).map(|_| dice.row(minute)).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let pushed = ground.push(&time, &lines).await;
            assert_eq!(
                (pushed.appended, pushed.not_online),
                (lines.len() as u64, None),
                "{source}"
            );
            for view in VIEWS {
                let (left, pushed) = (values(&ground, view).await, online(&ground, view).await);
                let mut connection = connect().await;
                for carrier in CARRIERS {
                    let _: () = connection.del(key(&ground, view, carrier)).await.unwrap();
                }
                ground.run(view, Mode::Incremental, &time).await;
                for (carrier, value) in online(&ground, view).await {
                    let found = pushed.get(carrier);
                    let nothing = found.is_none() && value.1 == Body::Tombstone;
                    assert!(
                        nothing || found == Some(&value),
                        "{source}\n{view} {carrier} {lines:?}: {found:?}, {value:?}"
                    );
                    compared += 1;
                }
                for (carrier, value) in left {
                    let _: () = connection.set(key(&ground, view, carrier), value).await.unwrap();
                }
            }
        }
        assert!(compared > 20, "{source}: {compared}");
    }
}
