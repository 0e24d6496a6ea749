//! Order as a variable: under a seed warps and blocks take their turns in any order, and for any time.

use super::block::Block;
use super::engine::Engine;
use super::level::Interpreter;
use super::warp::NONE;
use crate::fault::Fault;

impl Block {
    /// One turn for each warp, in any order and of any length, where that is left to chance; whether any got anywhere.
    pub(super) fn run_shuffled(
        &mut self,
        engine: &mut Engine<'_>,
        interpreter: Interpreter,
    ) -> Result<bool, Box<Fault>> {
        let Some(mut random) = self.random.take() else { return Ok(false) };
        let mut order = std::mem::take(&mut self.order);
        random.shuffle(&mut order);
        let mut progress = false;
        for &index in &order {
            engine.quantum = random.quantum();
            progress |= self.run_warp(engine, interpreter, index, NONE)?;
        }
        (self.order, self.random) = (order, Some(random));
        Ok(progress)
    }
}

/// Numbers without a pattern, the same for the same seed (SplitMix64: Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for each `stream` of a seed.
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        let mut random = Random(seed);
        random.0 = random.next() ^ stream;
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// One of `0..count`, which is not 0.
    pub(crate) fn below(&mut self, count: u64) -> u64 {
        (u128::from(self.next()) * u128::from(count) >> 64) as u64
    }

    /// Warp instructions of a turn: mostly few, so that warps come between one another often.
    pub(crate) fn quantum(&mut self) -> i64 {
        1 << self.below(13)
    }

    /// Any order of the items.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// The order in which blocks start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    step: u64,
    start: u64,
    count: u64,
}

impl Order {
    /// Of `count` blocks; without a seed the order of their numbers.
    pub(crate) fn new(seed: Option<u64>, count: u64) -> Order {
        let Some(seed) = seed.filter(|_| count > 1) else { return Order { step: 1, start: 0, count } };
        let mut random = Random::new(seed, u64::MAX);
        let start = random.below(count);
        let step = loop {
            // Every block comes once if the step has no factor in common with their number.
            let step = 1 + random.below(count - 1);
            if common_factor(step, count) == 1 {
                break step;
            }
        };
        Order { step, start, count }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The block that starts after `position` others.
    pub(crate) fn block(&self, position: u64) -> u64 {
        let number = u128::from(position) * u128::from(self.step) + u128::from(self.start);
        (number % u128::from(self.count.max(1))) as u64
    }
}

fn common_factor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { common_factor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_starts_once_in_an_order_of_the_seed() {
        for count in [1, 2, 3, 12, 97, 1000] {
            let orders: Vec<Vec<u64>> = (0..4)
                .map(|seed| (0..count).map(|position| Order::new(Some(seed), count).block(position)).collect())
                .collect();
            for order in &orders {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            }
            assert!(count < 97 || orders.windows(2).all(|pair| pair[0] != pair[1]));
            assert!((0..count).all(|position| Order::new(None, count).block(position) == position));
        }
    }

    #[test]
    fn a_seed_gives_one_sequence_a_stream() {
        let sequence = |seed, stream| {
            let mut random = Random::new(seed, stream);
            [(); 4].map(|()| random.below(1000))
        };
        assert_eq!(sequence(1, 2), sequence(1, 2));
        assert_ne!(sequence(1, 2), sequence(1, 3));
        assert_ne!(sequence(1, 2), sequence(2, 2));
        let mut items: Vec<u32> = (0..20).collect();
        Random::new(7, 0).shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
    }
}
