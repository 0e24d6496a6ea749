//! How the kernels for many rows share the work out: the numbers of `MatrixTile` in `kernels/quant/gguf_matrix.cuh`, of
//! `DenseTile` in `kernels/quant/gguf_dense_load.cuh` and of `ExactTile` in `kernels/quant/gguf_exact.cuh`.

use super::{Activations, Problem};
use crate::{DType, Format, Limits};

/// How many rows are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixTile {
    /// What tensor cores multiply: `I8`, activations quantised in blocks of 32 and weights as they are packed; `BF16`, both
    /// rounded; or `F32`, neither.
    pub elements: DType,
    /// Rows and columns of the result that a thread block computes.
    pub rows: usize,
    /// See `rows`.
    pub columns: usize,
    /// Threads of a block.
    pub threads: u32,
    /// Its shared memory.
    pub shared_bytes: usize,
}

/// Fewer rows are bound by the decoding of weights, to which bf16 adds.
const MIN_DENSE_ROWS: usize = 129;

impl MatrixTile {
    /// Chooses what is multiplied.
    ///
    /// Scaling the integer sums of each 32 products takes 12 instructions of f32 for each mma of int8. Where multiprocessors
    /// have 64 lanes for them, or tensor cores multiply bf16 at full rate (A100, H100, B200), that is longer than the two
    /// mma of bf16 take; where they have 128 lanes and bf16 at half rate (the others), it is shorter.
    pub(super) fn new(problem: &Problem, limits: &Limits) -> Self {
        if problem.activations == Activations::Exact {
            let shared_bytes = exact_shared_bytes(problem.format);
            return Self { elements: DType::F32, rows: 64, columns: 64, threads: 128, shared_bytes };
        }
        let full_rate = matches!(limits.compute_capability, (8..=10, 0));
        let dense = Self {
            elements: DType::BF16,
            rows: 256,
            columns: 128,
            threads: 256,
            shared_bytes: dense_shared_bytes(problem.format),
        };
        let fits = dense.shared_bytes <= limits.shared_bytes_per_block as usize;
        // Its copies are words, at offsets of 32 bits in a tile.
        let row_bytes = problem.k / problem.format.block_weights() * problem.format.block_bytes();
        let fits = fits && row_bytes.is_multiple_of(4) && row_bytes < 1 << 23;
        if full_rate && fits && problem.m >= MIN_DENSE_ROWS {
            return dense;
        }
        let shared_bytes = matrix_shared_bytes(problem.format);
        Self { elements: DType::I8, rows: 128, columns: 64, threads: 128, shared_bytes }
    }
}

/// Packed bytes of a column that lie in shared memory at once: two blocks or one, in an odd number of words.
fn packed_bytes(format: Format) -> usize {
    let bytes = format.block_bytes();
    let blocks = if format.block_weights() == 32 { 2 } else { 1 };
    4 * ((blocks * bytes + bytes % 4).div_ceil(4) | 1)
}

/// Two stages of activations and packed bytes, one of weights.
fn exact_shared_bytes(format: Format) -> usize {
    (2 * 64 + 64) * 64 * 4 + 2 * 64 * packed_bytes(format)
}

/// Two stages of activations, weights and packed bytes.
fn dense_shared_bytes(format: Format) -> usize {
    2 * ((256 + 128) * 64 * 2 + 128 * packed_bytes(format))
}

/// Two stages.
fn matrix_shared_bytes(format: Format) -> usize {
    let (halves, has_minimum) = match format {
        Format::Q2K => (2, true),
        Format::Q3K | Format::Q6K => (2, false),
        Format::Q4_1 | Format::Q5_1 | Format::Q4K | Format::Q5K => (1, true),
        _ => (1, false),
    };
    let (rows, columns, depth) = (128, 64, 64);
    let row_factors = if has_minimum { 1 + halves } else { 1 };
    let factors = if has_minimum { 2 * halves } else { halves };
    2 * ((rows + columns) * depth + columns * packed_bytes(format) + (row_factors * rows + factors * columns) * 8)
}
