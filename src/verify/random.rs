//! Made-up input: the same for the same seed.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// `count` numbers of the standard normal distribution.
pub fn normal(seed: u64, count: usize) -> Vec<f64> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // Box and Muller's transform gives two at a time; 1 - u keeps the logarithm finite.
        let (u, v): (f64, f64) = (random.random(), random.random());
        let (radius, angle) = ((-2.0 * (1.0 - u).ln()).sqrt(), std::f64::consts::TAU * v);
        values.extend([radius * angle.cos(), radius * angle.sin()]);
    }
    values.truncate(count);
    values
}
