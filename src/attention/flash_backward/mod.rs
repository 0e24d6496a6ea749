#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

pub use super::flash_forward::{Options, Problem, Shape};
#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, Workspace, plan};
pub use problem::{Operands, problem};

use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "attention/flash_backward";

/// Tensors and options of [`flash_backward`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Queries `[b, s_q, h_q, d]`, f16 or bf16, `d` 64, 128 or 256.
    pub q: TensorView<'a>,
    /// Keys `[b, s_k, h_kv, d]`; `h_kv` divides `h_q`.
    pub k: TensorView<'a>,
    /// Values `[b, s_k, h_kv, d]`.
    pub v: TensorView<'a>,
    /// What [`flash_forward`](super::flash_forward()) gave, `[b, s_q, h_q, d]`.
    pub out: TensorView<'a>,
    /// And its logarithms `[b, h_q, s_q]`, f32.
    pub lse: TensorView<'a>,
    /// Gradient of `out`, `[b, s_q, h_q, d]`.
    pub d_out: TensorView<'a>,
    /// Gradient of q, `[b, s_q, h_q, d]`.
    pub d_q: TensorViewMut<'a>,
    /// Gradient of k, `[b, s_k, h_kv, d]`.
    pub d_k: TensorViewMut<'a>,
    /// Gradient of v, `[b, s_k, h_kv, d]`.
    pub d_v: TensorViewMut<'a>,
    /// At least [`Workspace::bytes`] bytes (u8, one dimension) at a multiple of 16, for the operator's own use.
    pub workspace: TensorViewMut<'a>,
    /// Scale and mask: those of the forward pass, which had no softcap and no dropout.
    pub options: Options,
}

/// The gradients of [`flash_forward`](super::flash_forward()), without the scores ever lying in memory.
///
/// Tensors may have any strides, but elements of the last dimension must be adjacent and rows aligned to 16 bytes; `lse`
/// and the workspace are contiguous. The same input gives the same bits in every run on a chip: nothing is added up by
/// atomics. A query that sees no key has and gives no gradient, and a key that no query sees gets exact zeros.
///
/// # Errors
/// See [`problem()`] and [`plan()`]; nothing is written then.
pub fn flash_backward(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (q, _q) = args.q.open(OP, "q", queue)?;
    let (k, _k) = args.k.open(OP, "k", queue)?;
    let (v, _v) = args.v.open(OP, "v", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let (lse, _lse) = args.lse.open(OP, "lse", queue)?;
    let (d_out, _d_out) = args.d_out.open(OP, "d_out", queue)?;
    let (d_q, _d_q) = args.d_q.open(OP, "d_q", queue)?;
    let (d_k, _d_k) = args.d_k.open(OP, "d_k", queue)?;
    let (d_v, _d_v) = args.d_v.open(OP, "d_v", queue)?;
    let (workspace, _workspace) = args.workspace.open(OP, "workspace", queue)?;
    let operands = Operands { q, k, v, out, lse, d_out, d_q, d_k, d_v, workspace };
    let problem = problem(&operands, &args.options)?;
    let plan = plan(&problem, queue.device().limits())?;
    operands.check_workspace(&plan)?;
    // SAFETY, of all launches: the parameters are the kernel's, of operands and a workspace that were checked; the
    // guards above keep them in use until the launches are in the stream, which runs them one after the other.
    if let Some(launch) = &plan.statistics {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params::StatisticsParams::new(&problem, &plan, &operands)) }?;
    }
    if let Some(launch) = &plan.main {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params::FlashBackwardParams::new(&problem, &plan, &operands)) }?;
    }
    if let Some(launch) = &plan.finish_queries {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params::SlabSumParams::queries(&problem, &plan, &operands)) }?;
    }
    if let Some(launch) = &plan.finish_keys {
        for params in params::SlabSumParams::keys_and_values(&problem, &plan, &operands) {
            // SAFETY: see above.
            unsafe { queue.launch(launch, &params) }?;
        }
    }
    Ok(())
}
