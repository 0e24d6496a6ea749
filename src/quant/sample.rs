//! Made-up weights.

use half::{bf16, f16};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Codes, Format, GroupedFormat, GroupedMatrix};
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

/// A matrix of random codes whose weights are about as large as those of a model.
pub fn grouped(format: GroupedFormat, with_zeros: bool, seed: u64) -> GroupedMatrix {
    let GroupedFormat { codes, n, k, .. } = format;
    let largest = if codes == Codes::Nf4 { 1.0 } else { f64::from(codes.middle()) };
    let count = n * format.groups();
    let mask = ((1_u32 << codes.bits()) - 1) as u8;
    // Near the middle, as they are where weights are spread about 0.
    let zero = |byte: u8| (codes.middle() as i16 + i16::from(byte % 5) - 2) as u8;
    let scale = |factor: &f64| bf16::from_f64(0.1 / largest * (1.0 + 0.2 * factor).abs()).to_f32();
    GroupedMatrix {
        format,
        codes: bytes(seed, n * k).into_iter().map(|byte| byte & mask).collect(),
        // Both types hold these.
        scales: random::normal(seed ^ 0x5ca1e, count).iter().map(scale).collect(),
        zeros: with_zeros.then(|| bytes(seed ^ 0x2e20, count).into_iter().map(zero).collect()),
        g_idx: None,
    }
}
