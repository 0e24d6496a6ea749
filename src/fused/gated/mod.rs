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

use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "fused/gated";

/// The function of a gate.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`: with `up` this is SwiGLU.
    #[default]
    Silu,
    /// `x Phi(x)` with the normal distribution's Phi: exact GEGLU.
    Gelu,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`: GEGLU as Gemma has it.
    GeluTanh,
    /// `max(x, 0)^2`.
    Relu2,
}

impl Activation {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Silu, Self::Gelu, Self::GeluTanh, Self::Relu2];

    /// `Activation` of `kernels/fused/activation.cuh`.
    pub(crate) fn number(self) -> i32 {
        self as i32
    }
}

/// Tensors and options of [`gated`]. Each tensor may be f32, f16 or bf16, whatever the others are.
#[derive(Debug)]
pub struct Args<'a> {
    /// What goes through the activation, `[.., d]`; `None` if it is in `out`, in place.
    pub gate: Option<TensorView<'a>>,
    /// What that is multiplied by, `[.., d]`; `None` for the activation alone.
    pub up: Option<TensorView<'a>>,
    /// The result `[.., d]`.
    pub out: TensorViewMut<'a>,
    /// The activation.
    pub activation: Activation,
}

/// `out = activation(gate) * up`.
///
/// All tensors have the same shape, up to four dimensions, and any strides; elements of a row are adjacent. So `gate` and
/// `up` may be the halves of one product's result.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn gated(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (gate, _gate) = args.gate.as_ref().map(|gate| gate.open(OP, "gate", queue)).transpose()?.unzip();
    let (up, _up) = args.up.as_ref().map(|up| up.open(OP, "up", queue)).transpose()?.unzip();
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let operands = Operands { gate, up, out };
    let problem = Problem::check(&operands, args.activation)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    let params = params::GatedParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use
    // until the launch is in the stream.
    unsafe { queue.launch(&plan.launch, &params) }
}
