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
pub use problem::{Operands, Options, Parts, Problem, Shape};

use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "scan/selective_step";

/// Tensors and options of [`selective_step`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Inputs `[b, dim]`, f32, f16 or bf16.
    pub u: TensorView<'a>,
    /// Step sizes, of u's shape and type.
    pub delta: TensorView<'a>,
    /// `A`, `[dim, d_state]`, f32; `d_state` is a multiple of 4 up to 256.
    pub a: TensorView<'a>,
    /// `B`, `[b, groups, d_state]`, of u's type; neighbouring `dim / groups` channels, a multiple of 4, share a group.
    pub b: TensorView<'a>,
    /// `C`, as `B`.
    pub c: TensorView<'a>,
    /// The states `[b, dim, d_state]`, f32: before the token, and after it.
    pub state: TensorViewMut<'a>,
    /// Result, of u's shape and type.
    pub out: TensorViewMut<'a>,
    /// What may be left out.
    pub extras: Extras<'a>,
    /// Options.
    pub options: Options,
}

/// What may be left out of [`Args`].
#[derive(Debug, Default)]
pub struct Extras<'a> {
    /// `D`, how much of the input skips the states, `[dim]`, f32; else 0.
    pub d: Option<TensorView<'a>>,
    /// The gate, of u's shape and type: the result is multiplied by `silu(z)`.
    pub z: Option<TensorView<'a>>,
    /// Added to the step sizes, `[dim]`, f32.
    pub delta_bias: Option<TensorView<'a>>,
}

/// One token of [`selective_scan`](super::selective_scan()), of each of `b` sequences: the same bits as there.
///
/// Tensors of all sequences may have any strides, but elements of the last dimension are adjacent and rows of B and C
/// start at multiples of 4 elements; the state and the tensors of channels have no gaps.
///
/// # Errors
/// See [`Problem::check`] and [`plan()`]; nothing is written then.
pub fn selective_step(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (u, _u) = args.u.open(OP, "u", queue)?;
    let (delta, _delta) = args.delta.open(OP, "delta", queue)?;
    let (a, _a) = args.a.open(OP, "A", queue)?;
    let (b, _b) = args.b.open(OP, "B", queue)?;
    let (c, _c) = args.c.open(OP, "C", queue)?;
    let (state, _state) = args.state.open(OP, "state", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let extras = &args.extras;
    let (d, _d) = extras.d.as_ref().map(|given| given.open(OP, "D", queue)).transpose()?.unzip();
    let (z, _z) = extras.z.as_ref().map(|given| given.open(OP, "z", queue)).transpose()?.unzip();
    let bias = extras.delta_bias.as_ref().map(|given| given.open(OP, "delta_bias", queue)).transpose()?;
    let (delta_bias, _delta_bias) = bias.unzip();
    let operands = Operands { u, delta, a, b, c, state, out, d, z, delta_bias };
    let problem = Problem::check(&operands, &args.options)?;
    let plan = plan(&problem, queue.device().limits())?;
    let Some(launch) = &plan.launch else { return Ok(()) };
    // SAFETY: the parameters are the kernel's, of operands that were checked; the guards above keep them in use until
    // the launch is in the stream.
    unsafe { queue.launch(launch, &params::SelectiveStepParams::new(&problem, &operands)) }
}
