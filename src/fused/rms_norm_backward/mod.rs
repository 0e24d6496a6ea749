#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, plan};
pub use problem::{Operands, Problem, Types};

use super::rms_norm::Options;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "fused/rms_norm_backward";

/// Tensors and options of [`rms_norm_backward`]. Each tensor may be f32, f16 or bf16, whatever the others are.
#[derive(Debug)]
pub struct Args<'a> {
    /// What was normalised, `[.., d]`: the residual stream after `x` was added to it, if there was one.
    pub x: TensorView<'a>,
    /// The weights `[d]`; without them every weight was 1.
    pub weight: Option<TensorView<'a>>,
    /// The gradient of the norm's result, `[.., d]`.
    pub d_out: TensorView<'a>,
    /// The gradient of `x`, `[.., d]`. With `accumulate` it is added to what is there: the gradient of the residual
    /// stream.
    pub d_x: TensorViewMut<'a>,
    /// The gradient of the weights `[d]`, summed over all rows.
    pub d_weight: Option<TensorViewMut<'a>>,
    /// At least as many bytes (u8) as the plan says, at a multiple of 16. What it holds does not matter.
    pub workspace: TensorViewMut<'a>,
    /// Options, as of the forward pass; `accumulate` is about `d_x`.
    pub options: Options,
}

/// Gradients of [`rms_norm`](super::rms_norm::rms_norm()), the same bits in every run on chips with as many
/// multiprocessors.
///
/// Tensors `[.., d]` have the same shape, up to four dimensions, and any strides; elements of a row are adjacent.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn rms_norm_backward(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (x, _x) = args.x.open(OP, "x", queue)?;
    let (weight, _weight) = args.weight.as_ref().map(|t| t.open(OP, "weight", queue)).transpose()?.unzip();
    let (d_out, _d_out) = args.d_out.open(OP, "d_out", queue)?;
    let (d_x, _d_x) = args.d_x.open(OP, "d_x", queue)?;
    let (d_weight, _d_weight) = args.d_weight.as_mut().map(|t| t.open(OP, "d_weight", queue)).transpose()?.unzip();
    let (workspace, _workspace) = args.workspace.open(OP, "workspace", queue)?;
    let operands = Operands { x, weight, d_out, d_x, d_weight, workspace };
    let problem = Problem::check(&operands, &args.options)?;
    let plan = plan(&problem, queue.device().limits())?;
    operands.check_workspace(&plan)?;
    // SAFETY, of both launches: the parameters are the kernel's, of operands and a workspace that were checked; the
    // guards above keep them in use until the launches are in the stream, which runs them one after the other.
    if let Some(launch) = &plan.rows {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params::RmsNormBackwardParams::new(&problem, &plan, &operands)) }?;
    }
    if let Some(launch) = &plan.d_weight {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params::DWeightParams::new(&problem, &plan, &operands)) }?;
    }
    Ok(())
}
