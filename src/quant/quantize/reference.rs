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
