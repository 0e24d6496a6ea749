//! The checked problem.

use super::{OP, Plan};
use crate::check::Checks;
use crate::quant::{GroupedFormat, GroupedOperand, element_type};
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

const CHECKS: Checks = Checks { op: OP };
/// Most rows of activations.
const MAX_M: usize = 1 << 29;

impl Problem {
    /// Checks tensors.
    ///
    /// # Errors
    /// Rank, element types, scales of another type than the activations, sizes that disagree, a group that doesn't divide a
    /// row, packed data that end too early, a last stride other than 1, misaligned tensors, an output that overlaps itself or
    /// another tensor, sizes beyond 2^29: each its own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands) -> Result<Self> {
        let Operands { w, x, bias, y, .. } = operands;
        CHECKS.rank("x", x, 2, "[m, k]")?;
        CHECKS.rank("y", y, 2, "[m, n]")?;
        let (m, format) = (x.layout.shape()[0], w.format);
        CHECKS.sizes("x", x, [("m", m, "x"), ("k", format.k, "w")])?;
        CHECKS.sizes("y", y, [("m", m, "x"), ("n", format.n, "w")])?;
        let problem = Self {
            format,
            has_zeros: w.zeros.is_some(),
            permuted: w.columns.is_some(),
            m,
            x_dtype: x.dtype,
            bias_dtype: bias.map(|bias| bias.dtype),
            y_dtype: y.dtype,
        };
        problem.check_sizes()?;
        w.check(OP, x.dtype, " (= x)")?;
        CHECKS.rows("x", x, 16)?;
        CHECKS.rows("y", y, y.dtype.size_bytes() as u64)?;
        let mut inputs = w.parts();
        inputs.push(("x", x));
        if let Some(bias) = bias {
            CHECKS.rank("bias", bias, 1, "[n]")?;
            CHECKS.sizes("bias", bias, [("n", format.n, "w")])?;
            CHECKS.contiguous("bias", bias)?;
            inputs.push(("bias", bias));
        }
        CHECKS.writable("y", y, &inputs)?;
        if let Some(workspace) = &operands.workspace {
            CHECKS.rank("workspace", workspace, 1, "[bytes]")?;
            CHECKS.element_type("workspace", workspace, DType::U8, "")?;
            CHECKS.contiguous("workspace", workspace)?;
            CHECKS.rows("workspace", workspace, 16)?;
            inputs.push(("y", y));
            CHECKS.writable("workspace", workspace, &inputs)?;
        }
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
        element_type::check(OP, "y", self.y_dtype)?;
        if let Some(dtype) = self.bias_dtype {
            element_type::check(OP, "bias", dtype)?;
        }
        if self.m > MAX_M {
            return Err(Error::TooLarge { op: OP, what: "m", got: self.m as u64, limit: MAX_M as u64 });
        }
        Ok(())
    }

    /// Whether there is nothing to write. With `k = 0` there is: the bias.
    pub fn is_empty(&self) -> bool {
        self.m == 0 || self.format.n == 0
    }
}

impl Operands {
    /// That the workspace is as large as the plan says.
    pub(super) fn check_workspace(&self, plan: &Plan) -> Result<()> {
        let needed = plan.workspace.bytes;
        let got = self.workspace.map_or(0, |workspace| workspace.layout.len());
        if got >= needed {
            return Ok(());
        }
        Err(Error::Workspace { op: OP, got: got as u64, needed: needed as u64 })
    }
}
