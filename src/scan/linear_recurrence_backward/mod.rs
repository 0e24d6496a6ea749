#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

pub use super::linear_recurrence::{Decay, DecayKind, Options, Shape};
#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, Workspace, plan};
pub use problem::{Operands, Problem};
#[cfg(feature = "verify")]
pub use verify::compare_all;

use super::linear_recurrence::launch;
use crate::attention::CuSeqlens;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "scan/linear_recurrence_backward";

/// Tensors and options of [`linear_recurrence_backward`]. `Args::new` has those that must be.
#[derive(Debug)]
pub struct Args<'a> {
    /// Queries of the forward pass `[b, s, h_k, d_k]`, f16 or bf16. With `cu_seqlens` `[total, h_k, d_k]`.
    pub q: TensorView<'a>,
    /// Keys, likewise.
    pub k: TensorView<'a>,
    /// Values `[b, s, h, d_v]`. With `cu_seqlens` `[total, h, d_v]`.
    pub v: TensorView<'a>,
    /// Gradient of the result, of v's shape.
    pub d_out: TensorView<'a>,
    /// Gradient of q, of its shape.
    pub d_q: TensorViewMut<'a>,
    /// Gradient of k, likewise.
    pub d_k: TensorViewMut<'a>,
    /// Gradient of v, of its shape.
    pub d_v: TensorViewMut<'a>,
    /// Decay of the forward pass.
    pub decay: Decay<'a>,
    /// Gradient of its logarithms, if it is wanted, of their shape, f32.
    pub d_decay: Option<TensorViewMut<'a>>,
    /// State before the first step, if there was one: `[b, h, d_k, d_v]`, f32.
    pub initial_state: Option<TensorView<'a>>,
    /// Its gradient, if it is wanted.
    pub d_initial_state: Option<TensorViewMut<'a>>,
    /// Gradient of the state after the last step, if it has one; likewise.
    pub d_final_state: Option<TensorView<'a>>,
    /// Sum of keys before the first step, if there was one: `[b, h, d_k]`, f32. With [`Options::normaliser`] alone.
    pub initial_normaliser: Option<TensorView<'a>>,
    /// Its gradient, if it is wanted.
    pub d_initial_normaliser: Option<TensorViewMut<'a>>,
    /// Gradient of the sum of keys after the last step, if it has one; likewise.
    pub d_final_normaliser: Option<TensorView<'a>>,
    /// Where the sequences lie.
    pub cu_seqlens: Option<&'a CuSeqlens<'a>>,
    /// At least [`Workspace::bytes`] bytes (u8, one dimension) at a multiple of 16, for the operator's own use.
    pub workspace: TensorViewMut<'a>,
    /// Those of the forward pass.
    pub options: Options,
}

impl<'a> Args<'a> {
    /// Of tensors `[q, k, v, d_out]` and gradients `[d_q, d_k, d_v]`, without anything that can be left out.
    pub fn new(
        [q, k, v, d_out]: [TensorView<'a>; 4],
        [d_q, d_k, d_v]: [TensorViewMut<'a>; 3],
        workspace: TensorViewMut<'a>,
    ) -> Self {
        Self {
            q,
            k,
            v,
            d_out,
            d_q,
            d_k,
            d_v,
            decay: Decay::None,
            d_decay: None,
            initial_state: None,
            d_initial_state: None,
            d_final_state: None,
            initial_normaliser: None,
            d_initial_normaliser: None,
            d_final_normaliser: None,
            cu_seqlens: None,
            workspace,
            options: Options::default(),
        }
    }
}

/// The gradients of [`linear_recurrence`](super::linear_recurrence()): of q, k and v, and, if they are wanted, of the decays and
/// of the initial state and normaliser.
///
/// Tensors may have any strides, but elements of the last dimension must be adjacent and rows aligned to 16 bytes; states are
/// contiguous. The same input gives the same bits in every run.
///
/// # Errors
/// See [`Problem::check`] and [`plan()`]; nothing is written then.
pub fn linear_recurrence_backward(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (q, _q) = args.q.open(OP, "q", queue)?;
    let (k, _k) = args.k.open(OP, "k", queue)?;
    let (v, _v) = args.v.open(OP, "v", queue)?;
    let (d_out, _d_out) = args.d_out.open(OP, "d_out", queue)?;
    let (d_q, _d_q) = args.d_q.open(OP, "d_q", queue)?;
    let (d_k, _d_k) = args.d_k.open(OP, "d_k", queue)?;
    let (d_v, _d_v) = args.d_v.open(OP, "d_v", queue)?;
    let (workspace, _workspace) = args.workspace.open(OP, "workspace", queue)?;
    let (decay, _decay) = args.decay.open(OP, queue)?;
    macro_rules! open {
        ($argument:ident, $borrow:ident) => {
            args.$argument.$borrow().map(|given| given.open(OP, stringify!($argument), queue)).transpose()?.unzip()
        };
    }
    let (d_decay, _d_decay) = open!(d_decay, as_mut);
    let (initial_state, _initial_state) = open!(initial_state, as_ref);
    let (d_initial_state, _d_initial_state) = open!(d_initial_state, as_mut);
    let (d_final_state, _d_final_state) = open!(d_final_state, as_ref);
    let (initial_normaliser, _initial_normaliser) = open!(initial_normaliser, as_ref);
    let (d_initial_normaliser, _d_initial_normaliser) = open!(d_initial_normaliser, as_mut);
    let (d_final_normaliser, _d_final_normaliser) = open!(d_final_normaliser, as_ref);
    let (cu_seqlens, _cu_seqlens) = open!(cu_seqlens, as_ref);
    #[rustfmt::skip]
    let operands = Operands {
        q, k, v, d_out, d_q, d_k, d_v, decay, d_decay, initial_state, d_initial_state, d_final_state, initial_normaliser,
        d_initial_normaliser, d_final_normaliser, cu_seqlens, workspace,
    };
    let problem = Problem::check(&operands, &args.options)?;
    let plan = plan(&problem, queue.device().limits())?;
    operands.check_workspace(&plan)?;
    let [of_q, of_k, of_v] = params::sweeps(&problem, &plan, &operands)?;
    let problems = problem.sweeps();
    macro_rules! launch_if_planned {
        ($launch:expr, $params:expr) => {
            if let Some(launch) = &$launch {
                // SAFETY: operands and workspace were checked; the guards above keep them in use until the launches are in the
                // stream, which runs them one after the other. The parameters are this kernel's.
                unsafe { queue.launch(launch, &$params) }?;
            }
        };
    }
    launch_if_planned!(plan.features, params::FeaturesParams::new(&problem, &plan, &operands));
    // SAFETY: as above.
    unsafe { launch(queue, &problems[0], &plan.sweeps[0], &of_q) }?;
    launch_if_planned!(plan.divide, params::NormaliserParams::forward(&problem, &plan, &operands)?);
    // SAFETY: as above.
    unsafe { launch(queue, &problems[1], &plan.sweeps[1], &of_k) }?;
    // SAFETY: as above.
    unsafe { launch(queue, &problems[2], &plan.sweeps[2], &of_v) }?;
    launch_if_planned!(plan.add, params::NormaliserParams::reverse(&problem, &plan, &operands)?);
    launch_if_planned!(plan.keys, params::KeysParams::new(&problem, &plan, &operands));
    launch_if_planned!(plan.decays, params::DecaysParams::new(&problem, &plan, &operands));
    Ok(())
}
