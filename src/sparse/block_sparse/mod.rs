#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
pub(crate) mod cases;
mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, plan};
pub use problem::{Operands, Options, Problem};

use super::BlockLayout;
use crate::attention::CuSeqlens;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "sparse/block_sparse";

/// Tensors and options of [`block_sparse`]. `Args::new` has the five that must be; the rest follows by name:
/// `Args { lse: Some(lse), ..Args::new(q, k, v, out, &layout) }`.
#[derive(Debug)]
pub struct Args<'a> {
    /// Queries `[b, s_q, h_q, d]`, f16 or bf16. With `cu_seqlens_q` `[total_q, h_q, d]`.
    pub q: TensorView<'a>,
    /// Keys `[b, s_k, h_kv, d]`; `h_kv` divides `h_q`. With `cu_seqlens_k` `[total_k, h_kv, d]`.
    pub k: TensorView<'a>,
    /// Values `[b, s_k, h_kv, d_v]`; head dimensions `(d, d_v)` are (64, 64), (128, 128), (192, 128) or (256, 256). With
    /// `cu_seqlens_k` `[total_k, h_kv, d_v]`.
    pub v: TensorView<'a>,
    /// Result `[b, s_q, h_q, d_v]`. With `cu_seqlens_q` `[total_q, h_q, d_v]`.
    pub out: TensorViewMut<'a>,
    /// What each head sees: of `s_q` queries and `s_k` keys, and of one head or `h_q`. With `cu_seqlens_q` and
    /// `cu_seqlens_k` of at least as many as the longest sequences have: each sees the upper left part.
    pub layout: &'a BlockLayout<'a>,
    /// Natural logarithm of the sum of exponentials of each row's scores, `[b, h_q, s_q]`, f32. With `cu_seqlens_q`
    /// `[h_q, total_q]`.
    pub lse: Option<TensorViewMut<'a>>,
    /// Where the sequences of q, out and lse lie. Together with `cu_seqlens_k`.
    pub cu_seqlens_q: Option<&'a CuSeqlens<'a>>,
    /// Where the sequences of k and v lie.
    pub cu_seqlens_k: Option<&'a CuSeqlens<'a>>,
    /// Scale.
    pub options: Options,
}

impl<'a> Args<'a> {
    /// Without anything that can be left out.
    pub fn new(
        q: TensorView<'a>,
        k: TensorView<'a>,
        v: TensorView<'a>,
        out: TensorViewMut<'a>,
        layout: &'a BlockLayout<'a>,
    ) -> Self {
        let (lse, cu_seqlens_q, cu_seqlens_k) = (None, None, None);
        Self { q, k, v, out, layout, lse, cu_seqlens_q, cu_seqlens_k, options: Options::default() }
    }
}

/// Attention to the keys that a layout shows: `out = softmax(scale * q * k^T, where shown) * v`. Tiles that it does not list
/// are neither read nor multiplied.
///
/// Tensors may have any strides, but elements of the last dimension must be adjacent and rows of q, k, v and out aligned
/// to 16 bytes. A row that sees no key gives 0, and an `lse` of minus infinity. A layout of all tiles gives the bits that
/// [`flash_forward`](crate::attention::flash_forward()) gives.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn block_sparse(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (q, _q) = args.q.open(OP, "q", queue)?;
    let (k, _k) = args.k.open(OP, "k", queue)?;
    let (v, _v) = args.v.open(OP, "v", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let (layout, _layout) = args.layout.open(OP, "layout", queue)?;
    let (lse, _lse) = args.lse.as_mut().map(|lse| lse.open(OP, "lse", queue)).transpose()?.unzip();
    let queries = args.cu_seqlens_q.map(|given| given.open(OP, "cu_seqlens_q", queue)).transpose()?;
    let keys = args.cu_seqlens_k.map(|given| given.open(OP, "cu_seqlens_k", queue)).transpose()?;
    let ((cu_seqlens_q, _queries), (cu_seqlens_k, _keys)) = (queries.unzip(), keys.unzip());
    let operands = Operands { q, k, v, out, layout, lse, cu_seqlens_q, cu_seqlens_k };
    let problem = Problem::check(&operands, &args.options)?;
    if problem.attention.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    let params = params::BlockSparseParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use until
    // the launch is in the stream.
    unsafe { queue.launch(&plan.launch, &params) }
}
