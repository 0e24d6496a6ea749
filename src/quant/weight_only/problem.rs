//! The checked problem.

use super::{OP, Plan};
use crate::quant::product::{self, Product};
use crate::quant::{GroupedFormat, GroupedOperand};
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernels see them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[n, k]`
    pub w: GroupedOperand,
    /// `[m, k]`
    pub x: Operand,
    /// `[n]`
    pub bias: Option<Operand>,
    /// `[m, n]`
    pub y: Operand,
    /// `[bytes]`
    pub workspace: Option<Operand>,
}

/// A problem that the kernels can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// The weights.
    pub format: GroupedFormat,
    /// Whether they have zero-points.
    pub has_zeros: bool,
    /// Whether their columns are in another order than those of the activations.
    pub permuted: bool,
    /// Rows of activations.
    pub m: usize,
    /// Element type of the activations and the scales.
    pub x_dtype: DType,
    /// Element type of the bias.
    pub bias_dtype: Option<DType>,
    /// Element type of the result.
    pub y_dtype: DType,
}

impl Problem {
    /// Checks tensors.
    ///
    /// # Errors
    /// Rank, element types, scales of another type than the activations, sizes that disagree, a group that doesn't divide a
    /// row, packed data that end too early, a last stride other than 1, misaligned tensors, an output that overlaps itself or
    /// another tensor, sizes beyond 2^29: each its own [`Error`](crate::Error), naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands) -> Result<Self> {
        let Operands { w, x, bias, y, workspace } = operands;
        let format = w.format;
        let product = Product { op: OP, x, bias: bias.as_ref(), y, workspace: workspace.as_ref() };
        let problem = Self {
            format,
            has_zeros: w.zeros.is_some(),
            permuted: w.columns.is_some(),
            m: product.check_shapes(format.n, format.k)?,
            x_dtype: x.dtype,
            bias_dtype: bias.map(|bias| bias.dtype),
            y_dtype: y.dtype,
        };
        problem.check_sizes()?;
        w.check(OP, x.dtype, " (= x)")?;
        product.check_memory(format.n, w.parts())?;
        Ok(problem)
    }

    /// Checks what doesn't concern memory.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that are about types and sizes.
    pub fn check_sizes(&self) -> Result<()> {
        self.format.check(OP)?;
        if !matches!(self.x_dtype, DType::F16 | DType::BF16) {
            let (got, supported) = (self.x_dtype.to_string(), "f16, bf16");
            return Err(Error::Unsupported { op: OP, argument: "x", what: "dtype", got, supported });
        }
        product::check_sizes(OP, self.m, self.bias_dtype, self.y_dtype)
    }

    /// Whether there is nothing to write. With `k = 0` there is: the bias.
    pub fn is_empty(&self) -> bool {
        self.m == 0 || self.format.n == 0
    }
}

impl Operands {
    /// That the workspace is as large as the plan says.
    pub(super) fn check_workspace(&self, plan: &Plan) -> Result<()> {
        product::check_workspace(OP, self.workspace.as_ref(), plan.workspace.bytes)
    }
}
