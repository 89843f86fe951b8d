//! Rows of request features, the same at every run: of what each feature has been trained on and of what it has not, and
//! nulls.

use serde_json::{Value, json};

/// One value in so many is null.
const NULL_EVERY: u64 = 10;
/// Ids that a table of the network has.
const IDS: u64 = 32;
const EMBEDDING: usize = 8;
const RECENT: usize = 3;

/// Numbers that look random: SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        let most = f64::from(u32::MAX);
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / most
    }

    /// About normal.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.share()).sum::<f64>() - 6.0
    }

    fn one_of(&mut self, texts: &[&str]) -> Value {
        let end = u64::try_from(texts.len()).unwrap();
        json!(texts[usize::try_from(self.below(end)).unwrap()])
    }

    /// A value of the feature of this name, of any family.
    pub(super) fn value(&mut self, feature: &str) -> Value {
        if self.below(NULL_EVERY) == 0 {
            return Value::Null;
        }
        match feature {
            "amount" => json!((3.0 + self.normal()).exp()),
            "balance" => json!(500.0 * self.normal()),
            "wind" | "slope" | "load" | "drift" => json!(self.normal()),
            "ratio" => json!(self.share()),
            "tenure" => json!(self.below(120)),
            "hour" => json!(self.below(24)),
            "visits" => json!(self.below(10)),
            "level" => json!(self.below(5)),
            // Categories 8 to 11 are new to the models.
            "channel" => json!(self.below(12)),
            // One that no double holds.
            "count" if self.below(50) == 0 => json!((1_u64 << 53) + 1),
            "count" => json!(self.below(40)),
            "is_weekend" | "is_member" | "flag" => json!(self.below(2) == 1),
            "embedding" => (0..EMBEDDING).map(|_| self.normal()).collect(),
            "recent" => (0..RECENT).map(|_| self.below(IDS)).collect(),
            "city" => self.one_of(&["Berlin", "Lagos", "Lima", "Osaka", "São Paulo", "", "Atlantis"]),
            "plan" => self.one_of(&["free", "team", "company", "", "lifetime"]),
            other => panic!("what `{other}` may be is not said"),
        }
    }
}
