//! The checked problem.

use super::OP;
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernel sees them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[n, b, s_q, h_q, d]`
    pub parts_out: Operand,
    /// `[n, b, h_q, s_q]`
    pub parts_lse: Operand,
    /// `[b, s_q, h_q, d]`
    pub out: Operand,
    /// `[b, h_q, s_q]`
    pub lse: Option<Operand>,
}

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Parts.
    pub n: usize,
    /// Batch.
    pub b: usize,
    /// Queries of a sequence.
    pub s_q: usize,
    /// Heads.
    pub h_q: usize,
    /// Elements of a row.
    pub d: usize,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element type of the parts: f16, bf16 or f32.
    pub part_dtype: DType,
    /// Element type of the result.
    pub dtype: DType,
    /// Sizes.
    pub shape: Shape,
}

const CHECKS: Checks = Checks { op: OP };
/// The kernel loads 16 bytes a lane.
const ALIGNMENT: u64 = 16;
/// Most positions, batches or heads.
const MAX_SIZE: usize = 1 << 29;
/// Most parts: their weights of 32 rows lie in shared memory.
const MAX_PARTS: usize = 256;
const MAX_HEAD_DIM: usize = 256;

impl Problem {
    /// Checks tensors.
    ///
    /// # Errors
    /// Rank, element types, head dimension, sizes that disagree, more than 256 parts, a last stride other than 1,
    /// misaligned rows, an output that overlaps itself or another tensor, sizes beyond 2^29: each its own [`Error`],
    /// naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands) -> Result<Self> {
        let Operands { parts_out, parts_lse, out, lse } = operands;
        CHECKS.rank("parts_out", parts_out, 5, "[n, b, s_q, h_q, d]")?;
        CHECKS.rank("parts_lse", parts_lse, 4, "[n, b, h_q, s_q]")?;
        CHECKS.rank("out", out, 4, "[b, s_q, h_q, d]")?;
        let [n, b, s_q, h_q, d] = std::array::from_fn(|dim| parts_out.layout.shape()[dim]);
        let problem = Self::new(parts_out.dtype, out.dtype, Shape { n, b, s_q, h_q, d })?;
        CHECKS.element_type("parts_lse", parts_lse, DType::F32, "")?;
        let of = "parts_out";
        CHECKS.sizes("parts_lse", parts_lse, [("n", n, of), ("b", b, of), ("h_q", h_q, of), ("s_q", s_q, of)])?;
        CHECKS.sizes("out", out, [("b", b, of), ("s_q", s_q, of), ("h_q", h_q, of), ("head_dim", d, of)])?;
        CHECKS.contiguous("parts_lse", parts_lse)?;
        CHECKS.rows("parts_out", parts_out, ALIGNMENT)?;
        CHECKS.rows("out", out, ALIGNMENT)?;
        let inputs = [("parts_out", parts_out), ("parts_lse", parts_lse)];
        CHECKS.writable("out", out, &inputs)?;
        if let Some(lse) = lse {
            CHECKS.rank("lse", lse, 3, "[b, h_q, s_q]")?;
            CHECKS.element_type("lse", lse, DType::F32, "")?;
            CHECKS.sizes("lse", lse, [("b", b, of), ("h_q", h_q, of), ("s_q", s_q, of)])?;
            CHECKS.contiguous("lse", lse)?;
            CHECKS.writable("lse", lse, &[&inputs[..], &[("out", out)]].concat())?;
        }
        Ok(problem)
    }

    /// A problem from its types and sizes alone.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(part_dtype: DType, dtype: DType, shape: Shape) -> Result<Self> {
        let unsupported =
            |argument, what, got, supported| Err(Error::Unsupported { op: OP, argument, what, got, supported });
        if !matches!(part_dtype, DType::F16 | DType::BF16 | DType::F32) {
            return unsupported("parts_out", "dtype", part_dtype.to_string(), "f16, bf16, f32");
        }
        if part_dtype != DType::F32 {
            if dtype != part_dtype {
                let (op, argument, reason) = (OP, "out", " (= parts_out)");
                return Err(Error::ElementType { op, argument, got: dtype, expected: part_dtype, reason });
            }
        } else if !matches!(dtype, DType::F16 | DType::BF16 | DType::F32) {
            return unsupported("out", "dtype", dtype.to_string(), "f16, bf16, f32");
        }
        let Shape { n, b, s_q, h_q, d } = shape;
        if d == 0 || d % 8 != 0 || d > MAX_HEAD_DIM {
            return unsupported("parts_out", "head_dim", d.to_string(), "multiples of 8 up to 256");
        }
        for (what, got, limit) in
            [("n", n, MAX_PARTS), ("b", b, MAX_SIZE), ("s_q", s_q, MAX_SIZE), ("h_q", h_q, MAX_SIZE)]
        {
            if got > limit {
                return Err(Error::TooLarge { op: OP, what, got: got as u64, limit: limit as u64 });
            }
        }
        Ok(Self { part_dtype, dtype, shape })
    }

    /// Whether there is nothing to compute. A problem without parts is not empty: its rows are 0.
    pub fn is_empty(&self) -> bool {
        let Shape { b, s_q, h_q, .. } = self.shape;
        b == 0 || s_q == 0 || h_q == 0
    }

    /// Rows of the result.
    pub(super) fn rows(&self) -> u128 {
        let Shape { b, s_q, h_q, .. } = self.shape;
        b as u128 * s_q as u128 * h_q as u128
    }
}
