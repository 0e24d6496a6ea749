#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

pub use super::linear_recurrence::{DecayKind, FeatureMap, Shape};
#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, plan};
pub use problem::{Operands, Problem};

use super::linear_recurrence::Decay;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "scan/recurrent_step";

/// Tensors and options of [`recurrent_step`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Queries `[b, h_k, d_k]`, f16, bf16 or f32, `d_k` a multiple of 16 up to 256.
    pub q: TensorView<'a>,
    /// Keys, likewise.
    pub k: TensorView<'a>,
    /// Values `[b, h, d_v]`; `h_k` divides `h`, `d_v` is a multiple of 16 up to 256.
    pub v: TensorView<'a>,
    /// Result, of v's shape.
    pub out: TensorViewMut<'a>,
    /// Decay of the state: of heads `[h]`, of steps `[b, h]`, of channels `[b, h, d_k]`.
    pub decay: Decay<'a>,
    /// The state before, and after: `[b, h, d_k, d_v]`, f32.
    pub state: TensorViewMut<'a>,
    /// Likewise the sum of keys, `[b, h, d_k]`, f32; together with [`Options::normaliser`].
    pub normaliser: Option<TensorViewMut<'a>>,
    /// Scale, feature map, normaliser: those of [`linear_recurrence`](super::linear_recurrence()), with no chunk.
    pub options: Options,
}

pub use super::linear_recurrence::Options;

impl<'a> Args<'a> {
    /// Without anything that can be left out.
    pub fn new(
        q: TensorView<'a>,
        k: TensorView<'a>,
        v: TensorView<'a>,
        out: TensorViewMut<'a>,
        state: TensorViewMut<'a>,
    ) -> Self {
        Self { q, k, v, out, decay: Decay::None, state, normaliser: None, options: Options::default() }
    }
}

/// One step of [`linear_recurrence`](super::linear_recurrence()) of each sequence of a batch, with the state in place: the
/// newest token, of whichever of the recurrences.
///
/// Tensors may have any strides, but elements of the last dimension must be adjacent and rows aligned to 16 bytes; states
/// and normalisers are contiguous.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn recurrent_step(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (q, _q) = args.q.open(OP, "q", queue)?;
    let (k, _k) = args.k.open(OP, "k", queue)?;
    let (v, _v) = args.v.open(OP, "v", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let (state, _state) = args.state.open(OP, "state", queue)?;
    let (decay, _decay) = args.decay.open(OP, queue)?;
    let normaliser = args.normaliser.as_mut().map(|given| given.open(OP, "normaliser", queue));
    let (normaliser, _normaliser) = normaliser.transpose()?.unzip();
    let operands = Operands { q, k, v, out, decay, state, normaliser };
    let problem = Problem::check(&operands, &args.options)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    let params = params::RecurrentStepParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use until
    // the launch is in the stream.
    unsafe { queue.launch(&plan.launch, &params) }
}
