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
pub use plan::{Plan, Workspace, plan};
pub use problem::{Operands, Problem};

use super::GroupedTensor;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "quant/weight_only";

/// Tensors of [`weight_only`].
#[derive(Debug)]
pub struct Args<'a> {
    /// The packed weights `[n, k]`.
    pub w: GroupedTensor<'a>,
    /// Activations `[m, k]`, f16 or bf16.
    pub x: TensorView<'a>,
    /// Added to every row of the result, `[n]`, f16, bf16 or f32.
    pub bias: Option<TensorView<'a>>,
    /// The result `[m, n]`, f16, bf16 or f32.
    pub y: TensorViewMut<'a>,
    /// At least [`Workspace::bytes`] bytes (u8, one dimension) at a multiple of 16, for the operator's own use.
    pub workspace: Option<TensorViewMut<'a>>,
}

/// The product of activations with a matrix of 4- or 8-bit codes: `y = x w^T + bias`, accumulated in f32.
///
/// Rows of `x` and `y` may have any stride; those of `x` are aligned to 16 bytes. A row of `x` with a NaN gives a row of NaN, one
/// with an infinity a row of NaN and infinities.
///
/// # Errors
/// See [`Problem::check`] and [`plan()`]; nothing is written then.
pub fn weight_only(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (w, _w) = args.w.open(OP, queue)?;
    let (x, _x) = args.x.open(OP, "x", queue)?;
    let (bias, _bias) = args.bias.as_ref().map(|bias| bias.open(OP, "bias", queue)).transpose()?.unzip();
    let (y, _y) = args.y.open(OP, "y", queue)?;
    let workspace = args.workspace.as_mut().map(|workspace| workspace.open(OP, "workspace", queue)).transpose()?;
    let (workspace, _workspace) = workspace.unzip();
    let operands = Operands { w, x, bias, y, workspace };
    let problem = Problem::check(&operands)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    operands.check_workspace(&plan)?;
    let params = params::WeightOnlyParams::new(&problem, &plan, &operands);
    // SAFETY, of all launches: the parameters are the kernel's, of operands and a workspace that were checked; the
    // guards above keep them in use until the launches are in the stream, which runs them one after the other.
    if let Some(launch) = &plan.permute {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params.of_permutation(&operands)) }?;
    }
    // SAFETY: see above.
    unsafe { queue.launch(&plan.multiply, &params) }?;
    match &plan.finish {
        // SAFETY: see above.
        Some(launch) => unsafe { queue.launch(launch, &params) },
        None => Ok(()),
    }
}
