//! What products with a matrix of weights, `y = x w^T + bias`, check alike.

use super::element_type;
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors beside the weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Product<'a> {
    pub(super) op: &'static str,
    /// `[m, k]`
    pub(super) x: &'a Operand,
    /// `[n]`
    pub(super) bias: Option<&'a Operand>,
    /// `[m, n]`
    pub(super) y: &'a Operand,
    /// `[bytes]`
    pub(super) workspace: Option<&'a Operand>,
}

/// Most rows of activations.
const MAX_M: usize = 1 << 29;

impl<'a> Product<'a> {
    /// Ranks and sizes of activations and result, for weights `[n, k]`; the number of rows.
    pub(super) fn check_shapes(&self, n: usize, k: usize) -> Result<usize> {
        let checks = Checks { op: self.op };
        checks.rank("x", self.x, 2, "[m, k]")?;
        checks.rank("y", self.y, 2, "[m, n]")?;
        let m = self.x.layout.shape()[0];
        checks.sizes("x", self.x, [("m", m, "x"), ("k", k, "w")])?;
        checks.sizes("y", self.y, [("m", m, "x"), ("n", n, "w")])?;
        Ok(m)
    }

    /// Strides and alignment, the bias, the workspace, and that outputs overlap nothing; `inputs` are the weights'.
    pub(super) fn check_memory(&self, n: usize, mut inputs: Vec<(&'static str, &'a Operand)>) -> Result<()> {
        let checks = Checks { op: self.op };
        checks.rows("x", self.x, 16)?;
        checks.rows("y", self.y, self.y.dtype.size_bytes() as u64)?;
        inputs.push(("x", self.x));
        if let Some(bias) = self.bias {
            checks.rank("bias", bias, 1, "[n]")?;
            checks.sizes("bias", bias, [("n", n, "w")])?;
            checks.contiguous("bias", bias)?;
            inputs.push(("bias", bias));
        }
        checks.writable("y", self.y, &inputs)?;
        let Some(workspace) = self.workspace else {
            return Ok(());
        };
        checks.rank("workspace", workspace, 1, "[bytes]")?;
        checks.element_type("workspace", workspace, DType::U8, "")?;
        checks.contiguous("workspace", workspace)?;
        checks.rows("workspace", workspace, 16)?;
        inputs.push(("y", self.y));
        checks.writable("workspace", workspace, &inputs)
    }
}

/// The number of rows, and types of bias and result.
pub(super) fn check_sizes(op: &'static str, m: usize, bias_dtype: Option<DType>, y_dtype: DType) -> Result<()> {
    element_type::check(op, "y", y_dtype)?;
    if let Some(dtype) = bias_dtype {
        element_type::check(op, "bias", dtype)?;
    }
    if m > MAX_M {
        return Err(Error::TooLarge { op, what: "m", got: m as u64, limit: MAX_M as u64 });
    }
    Ok(())
}

/// That the workspace is as large as the plan says.
pub(super) fn check_workspace(op: &'static str, workspace: Option<&Operand>, needed: usize) -> Result<()> {
    let got = workspace.map_or(0, |workspace| workspace.layout.len());
    if got < needed {
        return Err(Error::Workspace { op, got: got as u64, needed: needed as u64 });
    }
    Ok(())
}
