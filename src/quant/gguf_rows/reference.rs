//! The rows as the format defines them, sharing no code with the kernel.

use half::{bf16, f16};

use super::Problem;
use crate::DType;

/// Rows `[rows, k]` of packed bytes, row-major, in f32, scaled: those that `ids` names, or all.
///
/// A row that does not exist is NaN.
pub fn reference(problem: &Problem, packed: &[u8], ids: Option<&[i32]>) -> Vec<f32> {
    let row_bytes = problem.format.row_bytes(problem.k).unwrap_or(0);
    let row = |id: i64| match usize::try_from(id) {
        Ok(id) if id < problem.n => problem.format.dequantise(&packed[id * row_bytes..][..row_bytes]),
        _ => vec![f32::NAN; problem.k],
    };
    let weights: Vec<f32> = match ids {
        Some(ids) => ids.iter().flat_map(|&id| row(id.into())).collect(),
        None => (0..problem.n as i64).flat_map(row).collect(),
    };
    weights.into_iter().map(|weight| weight * problem.scale).collect()
}

/// Numbers rounded to an element type, to nearest even.
pub fn rounded(dtype: DType, values: &[f32]) -> Vec<f64> {
    // Not by way of f64: `half` drops its last 32 bits before it rounds.
    let round = |x: f32| match dtype {
        DType::F16 => f16::from_f32(x).to_f64(),
        DType::BF16 => bf16::from_f32(x).to_f64(),
        _ => x.into(),
    };
    values.iter().copied().map(round).collect()
}
