//! Rounding as it is defined, sharing no code with the kernels.

use half::{bf16, f16};

use crate::DType;
use crate::quant::{Codes, GroupedFormat, GroupedMatrix, NF4};

/// Rows of i8 and e4m3: scale and codes, as numbers, of a row.
pub use crate::attention::append_kv::reference::quantise as quantize_row;

/// Rounds a matrix `[n, k]`, row-major, to codes of groups with scales of type `dtype`.
///
/// With `a` the least of a group's weights and 0, `b` the largest, `m` the larger of `-a` and `b`, and `c` the largest code:
///
/// - symmetric: scale `2 m / c`; code `w / scale` rounded to an integer, plus 8 or 128
/// - with zero-points: scale `(b - a) / c`, zero `-a / scale` rounded, code `w / scale` rounded plus zero
/// - NF4: scale `m`, code of the value nearest to `w / scale`, of two the lower one
///
/// each operation rounded to f32, the scale then to `dtype`, codes and zeros to 0 to `c`. A group whose scale is 0 has codes that
/// stand for 0, and one that is not all finite, or whose scale is not, those and a scale of NaN.
pub fn quantize_groups(format: GroupedFormat, x: &[f32], has_zeros: bool, dtype: DType) -> GroupedMatrix {
    let GroupedFormat { codes: kind, n, k, group } = format;
    let mut matrix =
        GroupedMatrix { format, codes: vec![], scales: vec![], zeros: has_zeros.then(Vec::new), g_idx: None };
    for row in 0..n {
        for weights in x[row * k..][..k].chunks(group) {
            let (scale, zero, codes) = quantize_group(kind, weights, has_zeros, dtype);
            matrix.codes.extend(codes);
            matrix.scales.push(scale);
            if let Some(zeros) = &mut matrix.zeros {
                zeros.push(zero);
            }
        }
    }
    matrix
}

fn quantize_group(kind: Codes, weights: &[f32], has_zeros: bool, dtype: DType) -> (f32, u8, Vec<u8>) {
    let lowest = weights.iter().fold(0.0, |lowest: f32, &w| lowest.min(w));
    let highest = weights.iter().fold(0.0, |highest: f32, &w| highest.max(w));
    let largest = highest.max(-lowest);
    let most = if kind == Codes::Int8 { 255.0 } else { 15.0 };
    let scale = match kind {
        Codes::Nf4 => largest,
        _ if has_zeros => (highest - lowest) / most,
        _ => (largest + largest) / most,
    };
    let scale = match dtype {
        DType::BF16 => bf16::from_f32(scale).to_f32(),
        _ => f16::from_f32(scale).to_f32(),
    };
    let finite = scale.is_finite() && weights.iter().all(|w| w.is_finite());
    let none = if has_zeros { 0 } else { kind.middle() };
    if !finite || scale == 0.0 {
        let codes = vec![none; weights.len()];
        return (if finite { scale } else { f32::NAN }, none, codes);
    }
    let zero = if has_zeros { (-lowest / scale).round_ties_even().clamp(0.0, most) } else { f32::from(kind.middle()) };
    let code = |&w: &f32| {
        let quotient = w / scale;
        match kind {
            Codes::Nf4 => NF4.windows(2).filter(|pair| quotient > (pair[0] + pair[1]) * 0.5).count() as u8,
            _ => (quotient.round_ties_even() + zero).clamp(0.0, most) as u8,
        }
    };
    (scale, zero as u8, weights.iter().map(code).collect())
}

/// Codes of NF4 in blocks, of a matrix whose rows are whole blocks: a byte of two, the first in the upper bits; and the
/// blocks' largest magnitudes.
///
/// The code is that of the value nearest to `w / magnitude`, rounded to f32, of two the lower one. A block of zeros, and one that is
/// not all finite, whose magnitude is NaN, has codes that stand for 0.
pub fn quantize_blocks(block: usize, x: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let (mut codes, mut magnitudes) = (vec![], vec![]);
    for weights in x.chunks(block) {
        let finite = weights.iter().all(|w| w.is_finite());
        let magnitude = weights.iter().fold(0.0, |largest: f32, w| largest.max(w.abs()));
        magnitudes.push(if finite { magnitude } else { f32::NAN });
        codes.extend(weights.iter().map(|w| {
            let above = |pair: &&[f32]| w / magnitude > (pair[0] + pair[1]) * 0.5;
            if finite && magnitude > 0.0 { NF4.windows(2).filter(above).count() as u8 } else { 7 }
        }));
    }
    (codes.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect(), magnitudes)
}

/// Magnitudes that were quantised themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct NestedMagnitudes {
    /// One for each block of weights.
    pub codes: Vec<u8>,
    /// One for each 256 of them.
    pub magnitudes: Vec<f32>,
    /// The mean of all.
    pub offset: f32,
}

/// Quantises magnitudes in blocks of 256, as `table[code] * magnitude + offset`.
///
/// The offset is the mean of those that are finite, over the number of all: each is divided by that number, 256 of them are
/// added up by adding numbers 128 apart, then 64, to 1; of those sums each 256th one after the other, and the results like
/// the first. A code is that of the value nearest to the difference from the offset over the largest of a block, of several the
/// first; each operation is rounded to f32. A block that is not all finite has the magnitude NaN, and codes nearest to 0.
pub fn quantize_magnitudes(all: &[f32], table: &[f32; 256]) -> NestedMagnitudes {
    let halving = |mut sums: Vec<f32>| {
        sums.resize(256, 0.0);
        for half in [128, 64, 32, 16, 8, 4, 2, 1] {
            (0..half).for_each(|i| sums[i] += sums[i + half]);
        }
        sums[0]
    };
    let term = |m: &f32| if m.is_finite() { m / all.len() as f32 } else { 0.0 };
    let parts: Vec<f32> = all.chunks(256).map(|block| halving(block.iter().map(term).collect())).collect();
    let offset =
        halving((0..256).map(|i| parts.iter().skip(i).step_by(256).fold(0.0, |sum, part| sum + part)).collect());
    let mut nested = NestedMagnitudes { codes: vec![], magnitudes: vec![], offset };
    for block in all.chunks(256) {
        let distances: Vec<f32> = block.iter().map(|m| m - offset).collect();
        let finite = distances.iter().all(|distance| distance.is_finite());
        let largest = distances.iter().fold(0.0, |largest: f32, distance| largest.max(distance.abs()));
        nested.magnitudes.push(if finite { largest } else { f32::NAN });
        nested.codes.extend(distances.iter().map(|distance| {
            let fraction = if finite && largest > 0.0 { distance / largest } else { 0.0 };
            let distance = |i: &usize| (fraction - table[*i]).abs();
            // Of equals the first.
            (0..256).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0) as u8
        }));
    }
    nested
}
