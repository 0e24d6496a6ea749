//! The checked problem.

use super::OP;
use crate::check::Checks;
use crate::quant::{PackedOperand, element_type, packed};
use crate::{DType, Error, Format, Operand, Result};

/// The tensors, as the kernel sees them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[n, k]`
    pub w: PackedOperand,
    /// `[rows]`
    pub ids: Option<Operand>,
    /// `[rows, k]`
    pub out: Operand,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Block format.
    pub format: Format,
    /// Rows of the matrix.
    pub n: usize,
    /// Weights of a row.
    pub k: usize,
    /// Rows of the result.
    pub rows: usize,
    /// Whether the rows are named by ids.
    pub gathered: bool,
    /// Element type of the result.
    pub dtype: DType,
    /// Factor of the weights, finite.
    pub scale: f32,
}

const CHECKS: Checks = Checks { op: OP };

impl Problem {
    /// Checks tensors.
    ///
    /// # Errors
    /// Rank, element types, sizes that disagree or are no multiple of a block, packed data that end too early, ids with
    /// gaps, a last stride other than 1, misaligned tensors, an output that overlaps itself or another tensor, a scale that
    /// is not finite: each its own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, scale: f32) -> Result<Self> {
        let Operands { w, ids, out } = operands;
        w.check(OP)?;
        CHECKS.rank("out", out, 2, "[rows, k]")?;
        let rows = match ids {
            Some(ids) => {
                CHECKS.rank("ids", ids, 1, "[rows]")?;
                CHECKS.element_type("ids", ids, DType::I32, "")?;
                CHECKS.contiguous("ids", ids)?;
                CHECKS.sizes("out", out, [("rows", ids.layout.len(), "ids"), ("k", w.k, "w")])?;
                ids.layout.len()
            }
            None => {
                CHECKS.sizes("out", out, [("rows", w.n, "w"), ("k", w.k, "w")])?;
                w.n
            }
        };
        let problem = Self::new(w.format, w.n, w.k, rows, ids.is_some(), out.dtype)?.scaled(scale)?;
        CHECKS.rows("out", out, out.dtype.size_bytes() as u64)?;
        let inputs = [Some(("w", &w.bytes)), ids.as_ref().map(|ids| ("ids", ids))];
        CHECKS.writable("out", out, &inputs.into_iter().flatten().collect::<Vec<_>>())?;
        Ok(problem)
    }

    /// A problem from its types and sizes alone; weights are multiplied by 1.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(format: Format, n: usize, k: usize, rows: usize, gathered: bool, dtype: DType) -> Result<Self> {
        packed::check_sizes(OP, format, n, k)?;
        element_type::check(OP, "out", dtype)?;
        let limit = i32::MAX as usize;
        if rows > limit {
            return Err(Error::TooLarge { op: OP, what: "rows", got: rows as u64, limit: limit as u64 });
        }
        Ok(Self { format, n, k, rows, gathered, dtype, scale: 1.0 })
    }

    /// The same with another factor of the weights.
    ///
    /// # Errors
    /// It is not finite.
    pub fn scaled(self, scale: f32) -> Result<Self> {
        if !scale.is_finite() {
            return Err(Error::NotFinite { op: OP, option: "scale", got: scale.to_string() });
        }
        Ok(Self { scale, ..self })
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.rows == 0 || self.k == 0
    }
}
