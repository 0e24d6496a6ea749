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

use super::gated::Activation;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "fused/gated_backward";

/// Tensors and options of [`gated_backward`]. Each tensor may be f32, f16 or bf16, whatever the others are.
#[derive(Debug)]
pub struct Args<'a> {
    /// What went through the activation, `[.., d]`.
    pub gate: TensorView<'a>,
    /// What that was multiplied by, `[.., d]`; `None` for the activation alone.
    pub up: Option<TensorView<'a>>,
    /// The gradient of the result, `[.., d]`.
    pub d_out: TensorView<'a>,
    /// The gradient of `gate`, `[.., d]`.
    pub d_gate: TensorViewMut<'a>,
    /// The gradient of `up`, `[.., d]`: there if and only if `up` is.
    pub d_up: Option<TensorViewMut<'a>>,
    /// The activation.
    pub activation: Activation,
}

/// Gradients of [`gated`](super::gated::gated()): `d_gate = activation'(gate) * up * d_out`,
/// `d_up = activation(gate) * d_out`.
///
/// All tensors have the same shape, up to four dimensions, and any strides; elements of a row are adjacent.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn gated_backward(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (gate, _gate) = args.gate.open(OP, "gate", queue)?;
    let (up, _up) = args.up.as_ref().map(|up| up.open(OP, "up", queue)).transpose()?.unzip();
    let (d_out, _d_out) = args.d_out.open(OP, "d_out", queue)?;
    let (d_gate, _d_gate) = args.d_gate.open(OP, "d_gate", queue)?;
    let (d_up, _d_up) = args.d_up.as_mut().map(|d_up| d_up.open(OP, "d_up", queue)).transpose()?.unzip();
    let operands = Operands { gate, up, d_out, d_gate, d_up };
    let problem = Problem::check(&operands, args.activation)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    let params = params::GatedBackwardParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use
    // until the launch is in the stream.
    unsafe { queue.launch(&plan.launch, &params) }
}
