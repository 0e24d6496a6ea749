//! Made-up packed weights.

use half::f16;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Format;
use crate::verify::random;

/// Random bytes: every pattern there is, scales that are infinite or NaN among them.
pub fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count).map(|_| random.random()).collect()
}

/// `count` blocks of random bits with scales such that weights are about as large as those of a model.
pub fn weights(format: Format, seed: u64, count: usize) -> Vec<u8> {
    let mut packed = bytes(seed, count * format.block_bytes());
    // Where the scales lie, and the largest integer that they are multiplied with.
    let (offsets, largest): (&[usize], f64) = match format {
        Format::Q4_0 => (&[0], 8.0),
        Format::Q4_1 => (&[0, 2], 8.0),
        Format::Q5_0 => (&[0], 16.0),
        Format::Q5_1 => (&[0, 2], 16.0),
        Format::Q8_0 | Format::IQ4NL => (&[0], 127.0),
        Format::Q2K => (&[80, 82], 32.0),
        Format::Q3K => (&[108], 128.0),
        Format::Q4K | Format::Q5K => (&[0, 2], 512.0),
        Format::Q6K => (&[208], 4096.0),
        Format::IQ4XS => (&[0], 4096.0),
    };
    let factors = random::normal(seed ^ 0x5ca1e, 2 * count);
    for (block, factor) in packed.chunks_exact_mut(format.block_bytes()).zip(factors.chunks(2)) {
        for (&offset, factor) in offsets.iter().zip(factor) {
            let scale = f16::from_f64(0.1 / largest * (1.0 + 0.2 * factor));
            block[offset..offset + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    packed
}
