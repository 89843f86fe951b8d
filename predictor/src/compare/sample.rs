//! Rows that no two of are the same, to measure runs with: a model may be faster on what it has just seen.

use std::collections::HashSet;

use crate::model::Featured;
use crate::model::program::Inputs;
use crate::predict::cache_key::CacheKey;

/// How many rows are measured with at most.
const MOST: usize = 2_048;

/// The first distinct rows that both versions predicted, as each of them takes them.
pub(super) struct Sample {
    pub(super) inputs: [Inputs; 2],
    seen: HashSet<[CacheKey; 2]>,
}

impl Sample {
    pub(super) fn none(featured: [&Featured; 2]) -> Self {
        Self {
            inputs: featured.map(|featured| Inputs::none(&featured.signature)),
            seen: HashSet::new(),
        }
    }

    /// Adds a row, of which the inputs of each version are the units `at` of `inputs`, unless it is there already.
    pub(super) fn add(&mut self, featured: [&Featured; 2], inputs: [&Inputs; 2], at: [usize; 2]) {
        if self.rows() >= MOST {
            return;
        }
        let key = |i: usize| featured[i].program.keys.key(inputs[i], at[i]);
        if self.seen.insert([key(0), key(1)]) {
            for ((own, inputs), at) in self.inputs.iter_mut().zip(inputs).zip(at) {
                own.append(&inputs.select(std::iter::once(at)));
            }
        }
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.inputs[0].units()
    }
}
