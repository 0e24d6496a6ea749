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
pub(super) use plan::num_tiles;
pub use plan::{Plan, plan};
pub(super) use problem::{DIMENSIONS, check_state, check_weights, unit};
pub use problem::{MAX_UPDATE, Operands, Options, Problem, Shape, Types};

use crate::attention::CuSeqlens;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "scan/causal_conv1d";

/// Tensors and options of [`causal_conv1d`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Inputs `[b, s, dim]`, f32, f16 or bf16; with `cu_seqlens` `[total, dim]`.
    pub x: TensorView<'a>,
    /// Weights `[dim, width]`, width 2 to 4, the last of each channel for the position itself; f32, f16 or bf16.
    pub weight: TensorView<'a>,
    /// Result, of x's shape and type.
    pub out: TensorViewMut<'a>,
    /// `[dim]`, f32, f16 or bf16.
    pub bias: Option<TensorView<'a>>,
    /// The `width - 1` inputs before the first position, `[b, dim, width - 1]`, the oldest first, of x's type; without
    /// it they are 0.
    pub initial_state: Option<TensorView<'a>>,
    /// The last `width - 1` inputs, the initial state's counted, `[b, dim, width - 1]`, of x's type.
    pub final_state: Option<TensorViewMut<'a>>,
    /// Where the sequences of `[total, dim]` tensors lie.
    pub cu_seqlens: Option<&'a CuSeqlens<'a>>,
    /// Options.
    pub options: Options,
}

impl<'a> Args<'a> {
    /// What must be given; all else is left out.
    pub fn new(x: TensorView<'a>, weight: TensorView<'a>, out: TensorViewMut<'a>) -> Self {
        let options = Options::default();
        Self { x, weight, out, bias: None, initial_state: None, final_state: None, cu_seqlens: None, options }
    }
}

/// The causal convolution of every channel by itself, `out[t] = activation(bias + sum of weight[j] x[t - (width - 1) +
/// j])`.
///
/// Decoding is the same call: with [`Options::update`] the newest few positions of each sequence go in, and the state
/// in place. x and out may have any strides, but channels are adjacent; the other tensors have no gaps. Where channels
/// come in multiples of 8 and rows start at multiples of 16 bytes, threads move 16 bytes at a time.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn causal_conv1d(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (x, _x) = args.x.open(OP, "x", queue)?;
    let (weight, _weight) = args.weight.open(OP, "weight", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    macro_rules! open {
        ($argument:ident, $borrow:ident) => {
            args.$argument.$borrow().map(|given| given.open(OP, stringify!($argument), queue)).transpose()?.unzip()
        };
    }
    let (bias, _bias) = open!(bias, as_ref);
    let (initial_state, _initial_state) = open!(initial_state, as_ref);
    let (final_state, _final_state) = open!(final_state, as_mut);
    let (cu_seqlens, _cu_seqlens) = open!(cu_seqlens, as_ref);
    let operands = Operands { x, weight, out, bias, initial_state, final_state, cu_seqlens };
    let problem = Problem::check(&operands, &args.options)?;
    let plan = plan(&problem, queue.device().limits())?;
    let Some(launch) = &plan.launch else { return Ok(()) };
    let params = params::CausalConv1dParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are the kernel's, of operands that were checked; the guards above keep them in use until
    // the launch is in the stream.
    unsafe { queue.launch(launch, &params) }
}
