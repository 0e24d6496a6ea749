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
pub use problem::{Operands, Problem, Shape};

use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "fused/rope";

/// Tensors and options of [`rope`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Heads of every token, `[b, s, h, d]` or `[s, h, d]`, f32, f16 or bf16; `None` if they are in `out`, to be rotated
    /// in place.
    pub x: Option<TensorView<'a>>,
    /// The position of every token, `[b, s]` or `[s]`, i32, any strides. They are read on the device, so a captured graph
    /// takes what lies there when it runs.
    pub positions: TensorView<'a>,
    /// Angle for each position of each pair, `[n]`, f32, contiguous: `base^(-i / n)` or what a model's scaling makes of it.
    /// The first `2 n <= d` elements of a head are rotated.
    pub inverse_frequencies: TensorView<'a>,
    /// The result, of the shape of `x`, f32, f16 or bf16.
    pub out: TensorViewMut<'a>,
    /// Options.
    pub options: Options,
}

/// Options of [`rope`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Pair `i` is elements `2 i` and `2 i + 1` (GPT-J, GGUF's `norm`); otherwise `i` and `i + n` (Llama in Hugging Face's
    /// order, Gemma, GPT-NeoX).
    pub interleaved: bool,
    /// Rotates the other way: the inverse, and the backward pass.
    pub inverse: bool,
    /// What rotated elements are multiplied by, 1 by default: YaRN's attention factor. For the inverse too, as a backward
    /// pass needs.
    pub magnitude: f32,
}

impl Default for Options {
    fn default() -> Self {
        Self { interleaved: false, inverse: false, magnitude: 1.0 }
    }
}

/// Rotary position embedding: rotates pair `i` of every head by `position * inverse_frequencies[i]`.
///
/// `x` and `out` may have any strides; elements of a head are adjacent. In place, elements beyond `2 n` are not touched.
/// Angles are computed to twice the precision of f32: results are exact up to rounding for positions up to 2^24 and
/// angles up to 6 million.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn rope(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (x, _x) = args.x.as_ref().map(|x| x.open(OP, "x", queue)).transpose()?.unzip();
    let (positions, _positions) = args.positions.open(OP, "positions", queue)?;
    let (inverse_frequencies, _frequencies) = args.inverse_frequencies.open(OP, "inverse_frequencies", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let operands = Operands { x, positions, inverse_frequencies, out };
    let problem = Problem::check(&operands, &args.options)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    let params = params::RopeParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use
    // until the launch is in the stream. Positions are numbers only: no address is made of them.
    unsafe { queue.launch(&plan.launch, &params) }
}
