#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod params;
mod plan;
mod problem;
pub mod reference;
mod resources;
#[cfg(feature = "verify")]
pub(crate) mod verify;

pub use super::flash_forward::{Options, Problem, Shape};
#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, Workspace, plan};
pub use problem::{Operands, Wanted, problem};

use crate::attention::CuSeqlens;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "attention/flash_backward";

/// Tensors and options of [`flash_backward`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Queries `[b, s_q, h_q, d]`, f16, bf16 or f32, `d` a multiple of 8 up to 256. With `cu_seqlens_q`
    /// `[total_q, h_q, d]`, and likewise `out`, `d_out` and `d_q`.
    pub q: TensorView<'a>,
    /// Keys `[b, s_k, h_kv, d]`; `h_kv` divides `h_q`. With `cu_seqlens_k` `[total_k, h_kv, d]`, and likewise `v`, `d_k`
    /// and `d_v`.
    pub k: TensorView<'a>,
    /// Values `[b, s_k, h_kv, d_v]`, `d_v` a multiple of 8 up to 256.
    pub v: TensorView<'a>,
    /// What [`flash_forward`](super::flash_forward()) gave, `[b, s_q, h_q, d_v]`.
    pub out: TensorView<'a>,
    /// And its logarithms `[b, h_q, s_q]`, f32; with `cu_seqlens_q` `[h_q, total_q]`.
    pub lse: TensorView<'a>,
    /// Gradient of `out`, `[b, s_q, h_q, d_v]`.
    pub d_out: TensorView<'a>,
    /// Gradient of q, `[b, s_q, h_q, d]`.
    pub d_q: TensorViewMut<'a>,
    /// Gradient of k, `[b, s_k, h_kv, d]`.
    pub d_k: TensorViewMut<'a>,
    /// Gradient of v, `[b, s_k, h_kv, d_v]`.
    pub d_v: TensorViewMut<'a>,
    /// At least [`Workspace::bytes`] bytes (u8, one dimension) at a multiple of 16, for the operator's own use.
    pub workspace: TensorViewMut<'a>,
    /// What the forward pass had besides, and what else is wanted.
    pub extras: Extras<'a>,
    /// Scale, mask, softcap, dropout: those of the forward pass.
    pub options: Options,
}

/// What may be left out of [`Args`].
#[derive(Debug, Default)]
pub struct Extras<'a> {
    /// `[h_q]`, f32, as in the forward pass; and so are the next.
    pub sinks: Option<TensorView<'a>>,
    /// `[h_q]`, f32.
    pub alibi_slopes: Option<TensorView<'a>>,
    /// `[b or 1, h_q or 1, s_q, s_k]`, of q's type or f32.
    pub bias: Option<TensorView<'a>>,
    /// `[b or 1, h_q or 1, s_q, ceil(s_k / 32)]`, u32.
    pub mask_bits: Option<TensorView<'a>>,
    /// `[b]`, i32.
    pub prefix: Option<TensorView<'a>>,
    /// Where the sequences of q, out, lse and their gradients lie. Together with `cu_seqlens_k`.
    pub cu_seqlens_q: Option<&'a CuSeqlens<'a>>,
    /// Where the sequences of k, v and their gradients lie.
    pub cu_seqlens_k: Option<&'a CuSeqlens<'a>>,
    /// Gradient of the sinks, if wanted: `[h_q]`, f32.
    pub d_sinks: Option<TensorViewMut<'a>>,
    /// Gradient of the bias, if wanted: of its shape, f32, as it may be a sum over batches and heads.
    pub d_bias: Option<TensorViewMut<'a>>,
}

/// The gradients of [`flash_forward`](super::flash_forward()), without the scores ever lying in memory.
///
/// Tensors may have any strides, but elements of the last dimension must be adjacent and rows aligned to 16 bytes; `lse`,
/// the sinks' gradient and the workspace are contiguous. The same input gives the same bits in every run on a chip: all
/// sums have one order. A query that sees no key has and gives no gradient, and a key that no query sees gets exact zeros.
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
    let extras = &mut args.extras;
    macro_rules! open {
        ($argument:ident, $borrow:ident) => {
            extras.$argument.$borrow().map(|given| given.open(OP, stringify!($argument), queue)).transpose()?.unzip()
        };
    }
    let (sinks, _sinks) = open!(sinks, as_ref);
    let (alibi_slopes, _alibi_slopes) = open!(alibi_slopes, as_ref);
    let (bias, _bias) = open!(bias, as_ref);
    let (mask_bits, _mask_bits) = open!(mask_bits, as_ref);
    let (prefix, _prefix) = open!(prefix, as_ref);
    let (cu_seqlens_q, _cu_seqlens_q) = open!(cu_seqlens_q, as_ref);
    let (cu_seqlens_k, _cu_seqlens_k) = open!(cu_seqlens_k, as_ref);
    let (d_sinks, _d_sinks) = open!(d_sinks, as_mut);
    let (d_bias, _d_bias) = open!(d_bias, as_mut);
    #[rustfmt::skip]
    let operands = Operands {
        q, k, v, out, lse, d_out, d_q, d_k, d_v, workspace, sinks, alibi_slopes, bias, mask_bits, prefix, cu_seqlens_q,
        cu_seqlens_k, d_sinks, d_bias,
    };
    let problem = problem(&operands, &args.options)?;
    let plan = plan(&problem, operands.wanted(), queue.device().limits())?;
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
    if let Some(launches) = &plan.finish_keys {
        for (launch, params) in launches.iter().zip(params::SlabSumParams::keys_and_values(&problem, &plan, &operands))
        {
            // SAFETY: see above.
            unsafe { queue.launch(launch, &params) }?;
        }
    }
    if let Some(launch) = &plan.finish_sinks {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params::SinkSumParams::new(&problem, &plan, &operands)) }?;
    }
    Ok(())
}
