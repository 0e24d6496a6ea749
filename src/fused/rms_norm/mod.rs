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
pub const OP: &str = "fused/rms_norm";

/// Tensors and options of [`rms_norm`]. Each tensor may be f32, f16 or bf16, whatever the others are.
#[derive(Debug)]
pub struct Args<'a> {
    /// The rows `[.., d]`; `None` if they are in `out`, to be normalised in place.
    pub x: Option<TensorView<'a>>,
    /// A residual stream `[.., d]`: `x` is added to it, in place, and the sum is what is normalised.
    pub residual: Option<TensorViewMut<'a>>,
    /// Weights `[d]`; without them every weight is 1.
    pub weight: Option<TensorView<'a>>,
    /// The result `[.., d]`.
    pub out: TensorViewMut<'a>,
    /// Options.
    pub options: Options,
}

/// Options of [`rms_norm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Added to the mean of squares; 1e-6 by default.
    pub epsilon: f32,
    /// Added to every weight: 0 by default, 1 for models whose weights are stored as distances from 1 (Gemma).
    pub weight_offset: f32,
    /// Whether the result is added to what `out` holds: a norm behind a sublayer, with `out` the residual stream.
    pub accumulate: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { epsilon: 1e-6, weight_offset: 0.0, accumulate: false }
    }
}

/// Normalises rows by the root of their mean square: `s = x` (or `residual += x`, `s = residual`), then
/// `out = s / sqrt(mean(s^2) + epsilon) * (weight + weight_offset)`, or `out += ` that.
///
/// `x`, `residual` and `out` have the same shape, up to four dimensions, and any strides; elements of a row are
/// adjacent. Each is f32, f16 or bf16. The result is exact up to rounding for any finite values, also where their
/// squares are beyond f32.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn rms_norm(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (x, _x) = args.x.as_ref().map(|x| x.open(OP, "x", queue)).transpose()?.unzip();
    let (residual, _residual) = args.residual.as_mut().map(|t| t.open(OP, "residual", queue)).transpose()?.unzip();
    let (weight, _weight) = args.weight.as_ref().map(|t| t.open(OP, "weight", queue)).transpose()?.unzip();
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let operands = Operands { x, residual, weight, out };
    let problem = Problem::check(&operands, &args.options)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    let params = params::RmsNormParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use
    // until the launch is in the stream.
    unsafe { queue.launch(&plan.launch, &params) }
}
