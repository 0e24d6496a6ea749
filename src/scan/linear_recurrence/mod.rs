#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod models;
mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

pub use models::{lightning_log_decays, retention_log_decays};
pub(crate) use params::{DecayTensor, Sweep, launch};
#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub(crate) use plan::{DecayOf, Instance, instance, plan_of};
pub use plan::{Plan, Workspace, plan};
pub use problem::{DecayKind, Operands, Problem, Shape};

use cudarc::driver::SyncOnDrop;

use crate::attention::CuSeqlens;
use crate::{Operand, Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "scan/linear_recurrence";

/// By what a step multiplies the state before it adds to it. All are natural logarithms in f32, at most 0 in all models;
/// minus infinity forgets everything.
#[derive(Debug, Default)]
pub enum Decay<'a> {
    /// By 1.
    #[default]
    None,
    /// One number of a head, in all steps: `[h]`.
    Heads(TensorView<'a>),
    /// One number of a step and head: `[b, s, h]`, with `cu_seqlens` `[total, h]`.
    Steps(TensorView<'a>),
    /// One number of a step, head and key channel: `[b, s, h, d_k]`, with `cu_seqlens` `[total, h, d_k]`; rows aligned to
    /// 16 bytes.
    Channels(TensorView<'a>),
}

/// A decay that is in use until the guard is dropped.
type OpenDecay<'a> = (Option<(DecayKind, Operand)>, Option<SyncOnDrop<'a>>);

impl Decay<'_> {
    pub(super) fn open<'b>(&'b self, op: &'static str, queue: &'b Queue) -> Result<OpenDecay<'b>> {
        let (kind, decay) = match self {
            Self::None => return Ok((None, None)),
            Self::Heads(decay) => (DecayKind::Heads, decay),
            Self::Steps(decay) => (DecayKind::Steps, decay),
            Self::Channels(decay) => (DecayKind::Channels, decay),
        };
        let (decay, guard) = decay.open(op, "decay", queue)?;
        Ok((Some((kind, decay)), guard))
    }
}

/// What q and k are replaced by, element by element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeatureMap {
    /// Themselves.
    #[default]
    Identity,
    /// `x + 1` above 0, `exp(x)` below: Katharopoulos et al., 2020.
    EluPlusOne,
    /// `max(x, 0)`.
    Relu,
    /// `exp(x)`.
    Exp,
}

impl FeatureMap {
    /// The number of the kernels' `FeatureMap`.
    pub(super) fn number(self) -> i32 {
        match self {
            Self::Identity => 0,
            Self::EluPlusOne => 1,
            Self::Relu => 2,
            Self::Exp => 3,
        }
    }

    /// By the name that descriptions have for it; any other is the identity.
    #[cfg(feature = "verify")]
    pub(super) fn of_name(name: &str) -> Self {
        match name {
            "elu_plus_one" => Self::EluPlusOne,
            "relu" => Self::Relu,
            "exp" => Self::Exp,
            _ => Self::Identity,
        }
    }
}

/// Tensors and options of [`linear_recurrence`]. `Args::new` has the four that must be, and `Args::linear_attention`,
/// `retention`, `lightning`, `gla` and `mamba2` are the recurrences by name; the rest follows by name:
/// `Args { final_state: Some(state), ..Args::mamba2(c, b, x, y, log_decay) }`.
#[derive(Debug)]
pub struct Args<'a> {
    /// Queries `[b, s, h_k, d_k]`, f16 or bf16, `d_k` a multiple of 16 up to 256. With `cu_seqlens` `[total, h_k, d_k]`.
    pub q: TensorView<'a>,
    /// Keys, likewise.
    pub k: TensorView<'a>,
    /// Values `[b, s, h, d_v]`; `h_k` divides `h`, `d_v` is a multiple of 16 up to 256. With `cu_seqlens` `[total, h, d_v]`.
    pub v: TensorView<'a>,
    /// Result, of v's shape.
    pub out: TensorViewMut<'a>,
    /// Decay of the state.
    pub decay: Decay<'a>,
    /// State before the first step, `[b, h, d_k, d_v]`, f32; none: zeros.
    pub initial_state: Option<TensorView<'a>>,
    /// State after the last step, likewise. Not the memory of the initial one.
    pub final_state: Option<TensorViewMut<'a>>,
    /// Sum of keys before the first step, `[b, h, d_k]`, f32; none: zeros. With [`Options::normaliser`] alone.
    pub initial_normaliser: Option<TensorView<'a>>,
    /// Sum of keys after the last step, likewise.
    pub final_normaliser: Option<TensorViewMut<'a>>,
    /// Where the sequences lie.
    pub cu_seqlens: Option<&'a CuSeqlens<'a>>,
    /// At least [`Workspace::bytes`] bytes (u8, one dimension) at a multiple of 16, for the operator's own use. May be left
    /// out where that is 0.
    pub workspace: Option<TensorViewMut<'a>>,
    /// Scale, feature map, normaliser, chunk.
    pub options: Options,
}

/// Numbers that shape the recurrence.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Factor of q; default `1 / sqrt(d_k)`.
    pub scale: Option<f32>,
    /// What q and k are replaced by. Results are rounded to their type.
    pub feature_map: FeatureMap,
    /// Divides outputs by `scale q z + epsilon`, where z is the sum of keys, decayed as the state.
    pub normaliser: Option<f32>,
    /// Steps of a chunk: those of a sequence are computed side by side. Default: as many as fill the chip.
    pub chunk: Option<usize>,
}

impl<'a> Args<'a> {
    /// Without anything that can be left out.
    pub fn new(q: TensorView<'a>, k: TensorView<'a>, v: TensorView<'a>, out: TensorViewMut<'a>) -> Self {
        Self {
            q,
            k,
            v,
            out,
            decay: Decay::None,
            initial_state: None,
            final_state: None,
            initial_normaliser: None,
            final_normaliser: None,
            cu_seqlens: None,
            workspace: None,
            options: Options::default(),
        }
    }
}

/// `S_t = decay_t S_{t-1} + k_t (x) v_t`, `out_t = scale q_t S_t`, in chunks of steps.
///
/// Tensors may have any strides, but elements of the last dimension must be adjacent and rows aligned to 16 bytes; states
/// and normalisers are contiguous. The same input gives the same bits in every run.
///
/// # Errors
/// See [`Problem::check`] and [`plan()`]; nothing is written then.
pub fn linear_recurrence(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (q, _q) = args.q.open(OP, "q", queue)?;
    let (k, _k) = args.k.open(OP, "k", queue)?;
    let (v, _v) = args.v.open(OP, "v", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let (decay, _decay) = args.decay.open(OP, queue)?;
    macro_rules! open {
        ($argument:ident, $borrow:ident) => {
            args.$argument.$borrow().map(|given| given.open(OP, stringify!($argument), queue)).transpose()?.unzip()
        };
    }
    let (initial_state, _initial_state) = open!(initial_state, as_ref);
    let (final_state, _final_state) = open!(final_state, as_mut);
    let (initial_normaliser, _initial_normaliser) = open!(initial_normaliser, as_ref);
    let (final_normaliser, _final_normaliser) = open!(final_normaliser, as_mut);
    let (cu_seqlens, _cu_seqlens) = open!(cu_seqlens, as_ref);
    let (workspace, _workspace) = open!(workspace, as_mut);
    #[rustfmt::skip]
    let operands = Operands {
        q, k, v, out, decay, initial_state, final_state, initial_normaliser, final_normaliser, cu_seqlens, workspace,
    };
    let problem = Problem::check(&operands, &args.options)?;
    let plan = plan(&problem, queue.device().limits())?;
    operands.check_workspace(&plan)?;
    let address = |tensor: &Option<Operand>| tensor.map_or(0, |tensor| tensor.address);
    let sweep = Sweep {
        q,
        k,
        v,
        out,
        decay,
        initial_state: address(&operands.initial_state),
        final_state: address(&operands.final_state),
        initial_normaliser: address(&operands.initial_normaliser),
        final_normaliser: address(&operands.final_normaliser),
        workspace: address(&operands.workspace),
        cu_seqlens,
        heads_per_query: problem.heads_per_key(),
        heads_per_value: 1,
        transposed: false,
        reverse: false,
        scales: [problem.scale, 1.0],
    };
    // SAFETY: operands and workspace were checked; the guards above keep them in use until the launches are in the stream.
    unsafe { launch(queue, &problem, &plan, &sweep) }
}
