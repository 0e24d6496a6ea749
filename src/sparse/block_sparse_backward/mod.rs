#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

pub use super::block_sparse::{Options, Problem};
#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, plan};
pub use problem::{Operands, problem};

use super::BlockLayout;
use crate::attention::CuSeqlens;
use crate::attention::flash_backward;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "sparse/block_sparse_backward";

/// Tensors and options of [`block_sparse_backward`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Queries `[b, s_q, h_q, d]`, f16 or bf16, `d` of 64, 128 or 256. With `cu_seqlens_q` `[total_q, h_q, d]`, and likewise
    /// `out`, `d_out` and `d_q`.
    pub q: TensorView<'a>,
    /// Keys `[b, s_k, h_kv, d]`; `h_kv` divides `h_q`. With `cu_seqlens_k` `[total_k, h_kv, d]`, and likewise `v`, `d_k`
    /// and `d_v`.
    pub k: TensorView<'a>,
    /// Values `[b, s_k, h_kv, d]`.
    pub v: TensorView<'a>,
    /// What [`block_sparse`](super::block_sparse()) gave, `[b, s_q, h_q, d]`.
    pub out: TensorView<'a>,
    /// And its logarithms `[b, h_q, s_q]`, f32; with `cu_seqlens_q` `[h_q, total_q]`.
    pub lse: TensorView<'a>,
    /// Gradient of `out`, `[b, s_q, h_q, d]`.
    pub d_out: TensorView<'a>,
    /// The layout of the forward pass.
    pub layout: &'a BlockLayout<'a>,
    /// Gradient of q, `[b, s_q, h_q, d]`.
    pub d_q: TensorViewMut<'a>,
    /// Gradient of k, `[b, s_k, h_kv, d]`.
    pub d_k: TensorViewMut<'a>,
    /// Gradient of v, `[b, s_k, h_kv, d]`.
    pub d_v: TensorViewMut<'a>,
    /// At least as many bytes (u8, one dimension) as the plan's workspace, at a multiple of 16, for the operator's own use.
    pub workspace: TensorViewMut<'a>,
    /// Where the sequences of q, out, lse and their gradients lie. Together with `cu_seqlens_k`.
    pub cu_seqlens_q: Option<&'a CuSeqlens<'a>>,
    /// Where the sequences of k, v and their gradients lie.
    pub cu_seqlens_k: Option<&'a CuSeqlens<'a>>,
    /// Scale: that of the forward pass.
    pub options: Options,
}

/// The gradients of [`block_sparse`](super::block_sparse()). Tiles that the layout does not list are neither read nor
/// multiplied.
///
/// Tensors may have any strides, but elements of the last dimension must be adjacent and rows aligned to 16 bytes; `lse`
/// and the workspace are contiguous. The same input gives the same bits in every run on a chip. A query that sees no key
/// has and gives no gradient, and a key that no query sees gets exact zeros.
///
/// # Errors
/// See [`problem()`] and [`plan()`]; nothing is written then.
pub fn block_sparse_backward(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (q, _q) = args.q.open(OP, "q", queue)?;
    let (k, _k) = args.k.open(OP, "k", queue)?;
    let (v, _v) = args.v.open(OP, "v", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let (lse, _lse) = args.lse.open(OP, "lse", queue)?;
    let (d_out, _d_out) = args.d_out.open(OP, "d_out", queue)?;
    let (layout, _layout) = args.layout.open(OP, "layout", queue)?;
    let (d_q, _d_q) = args.d_q.open(OP, "d_q", queue)?;
    let (d_k, _d_k) = args.d_k.open(OP, "d_k", queue)?;
    let (d_v, _d_v) = args.d_v.open(OP, "d_v", queue)?;
    let (workspace, _workspace) = args.workspace.open(OP, "workspace", queue)?;
    let queries = args.cu_seqlens_q.map(|given| given.open(OP, "cu_seqlens_q", queue)).transpose()?;
    let keys = args.cu_seqlens_k.map(|given| given.open(OP, "cu_seqlens_k", queue)).transpose()?;
    let ((cu_seqlens_q, _queries), (cu_seqlens_k, _keys)) = (queries.unzip(), keys.unzip());
    let (sinks, alibi_slopes, bias, mask_bits, prefix, d_sinks, d_bias) = (None, None, None, None, None, None, None);
    #[rustfmt::skip]
    let dense = flash_backward::Operands {
        q, k, v, out, lse, d_out, d_q, d_k, d_v, workspace, sinks, alibi_slopes, bias, mask_bits, prefix, cu_seqlens_q,
        cu_seqlens_k, d_sinks, d_bias,
    };
    let operands = Operands { dense, layout };
    let problem = problem(&operands, &args.options)?;
    let plan = plan(&problem, queue.device().limits())?;
    operands.dense.check_workspace(OP, &plan)?;
    let (attention, dense) = (&problem.attention, &operands.dense);
    // SAFETY, of all launches: the parameters are the kernel's, of operands and a workspace that were checked; the
    // guards above keep them in use until the launches are in the stream, which runs them one after the other.
    if let Some(launch) = &plan.statistics {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &flash_backward::params::StatisticsParams::new(attention, &plan, dense)) }?;
    }
    if let Some(launch) = &plan.main {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &params::BlockSparseBackwardParams::new(&problem, &plan, &operands)) }?;
    }
    if let Some(launch) = &plan.finish_queries {
        // SAFETY: see above.
        unsafe { queue.launch(launch, &flash_backward::params::SlabSumParams::queries(attention, &plan, dense)) }?;
    }
    if let Some(launches) = &plan.finish_keys {
        let params = flash_backward::params::SlabSumParams::keys_and_values(attention, &plan, dense);
        for (launch, params) in launches.iter().zip(params) {
            // SAFETY: see above.
            unsafe { queue.launch(launch, &params) }?;
        }
    }
    Ok(())
}
