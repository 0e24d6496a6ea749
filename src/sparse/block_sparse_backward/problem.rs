//! The checked problem: a [`Problem`] of the forward pass, from more operands.

use super::{OP, Options, Problem};
use crate::Result;
use crate::attention::flash_backward;
use crate::check::Checks;
use crate::sparse::LayoutOperand;
use crate::sparse::block_sparse::problem::{HeadDims, attention, check_layout};

/// The tensors, as the kernels see them; see [`Args`](super::Args).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// Those of the same gradients without a layout.
    pub dense: flash_backward::Operands,
    /// Which tiles are visited.
    pub layout: LayoutOperand,
}

/// What instances have.
const HEAD_DIMS: HeadDims = (&[[64, 64], [128, 128], [256, 256]], "64, 128, 256");

/// Checks tensors and options.
///
/// # Errors
/// What [`flash_backward::problem()`] finds; element types other than f16 and bf16, other head dimensions; a layout of another
/// number of queries, keys or heads: each its own [`Error`](crate::Error), naming the argument, what it has and what is
/// expected.
pub fn problem(operands: &Operands, options: &Options) -> Result<Problem> {
    let checks = Checks { op: OP };
    let new = |dtype, shape| attention(OP, HEAD_DIMS, dtype, shape, options);
    let attention = flash_backward::problem::of_operands(checks, &operands.dense, new)?;
    check_layout(checks, &operands.layout, &attention)?;
    Ok(Problem { attention, layout: operands.layout })
}

/// Whether the head dimensions of a problem of the forward pass are among those that there are gradients of.
pub(super) fn check_dims(problem: &Problem) -> Result<()> {
    let dense = &problem.attention;
    attention(OP, HEAD_DIMS, dense.dtype, dense.shape, &Options { scale: Some(dense.scale) }).map(drop)
}
