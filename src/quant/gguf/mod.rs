#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod matrix;
mod params;
mod plan;
mod problem;
pub mod reference;
mod vector;
#[cfg(feature = "verify")]
pub(crate) mod verify;

pub use matrix::MatrixTile;
#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, Workspace, plan};
pub use problem::{Activations, Operands, Problem};
pub use vector::VectorTile;

use super::PackedTensor;
pub use super::Shares;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "quant/gguf";

/// Tensors and options of [`gguf`].
#[derive(Debug)]
pub struct Args<'a> {
    /// The packed weights `[n, k]`.
    pub w: PackedTensor<'a>,
    /// Activations `[m, k]`, f16, bf16 or f32.
    pub x: TensorView<'a>,
    /// Added to every row of the result, `[n]`, f16, bf16 or f32.
    pub bias: Option<TensorView<'a>>,
    /// The result `[m, n]`, f16, bf16 or f32.
    pub y: TensorViewMut<'a>,
    /// At least [`Workspace::bytes`] bytes (u8, one dimension) at a multiple of 16, for the operator's own use.
    pub workspace: Option<TensorViewMut<'a>>,
    /// How activations are multiplied.
    pub activations: Activations,
}

/// The product of activations with a packed matrix: `y = x w^T + bias`, accumulated in f32.
///
/// Rows of `x` and `y` may have any stride; those of `x` are aligned to 16 bytes. A row of `x` with a NaN or an infinity
/// gives a row of NaN with [`Activations::Q8`], and with [`Activations::Exact`] if there are more than 8 rows; or of NaN and
/// infinities if there are many rows, of bf16.
///
/// # Errors
/// See [`Problem::check`] and [`plan()`]; nothing is written then.
pub fn gguf(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (w, _w) = args.w.open(OP, queue)?;
    let (x, _x) = args.x.open(OP, "x", queue)?;
    let (bias, _bias) = args.bias.as_ref().map(|bias| bias.open(OP, "bias", queue)).transpose()?.unzip();
    let (y, _y) = args.y.open(OP, "y", queue)?;
    let workspace = args.workspace.as_mut().map(|workspace| workspace.open(OP, "workspace", queue)).transpose()?;
    let (workspace, _workspace) = workspace.unzip();
    let operands = Operands { w, x, bias, y, workspace };
    let problem = Problem::check(&operands, args.activations)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    operands.check_workspace(&plan)?;
    // SAFETY, of all launches: the parameters are the kernel's, of operands and a workspace that were checked; the
    // guards above keep them in use until the launches are in the stream, which runs them one after the other.
    if let Some(launch) = &plan.prepare {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params::QuantiseParams::new(&problem, &plan, &operands)) }?;
    }
    match &plan.tile {
        Some(tile) => {
            let params = params::VectorParams::new(&problem, &plan, tile, &operands);
            // SAFETY: see above.
            unsafe { queue.launch(&plan.multiply, &params) }
        }
        None => {
            let params = params::MatrixParams::new(&problem, &plan, &plan.matrix, &operands);
            // SAFETY: see above.
            unsafe { queue.launch(&plan.multiply, &params) }?;
            match &plan.add {
                // SAFETY: see above.
                Some(launch) => unsafe { queue.launch(launch, &params) },
                None => Ok(()),
            }
        }
    }
}
