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

use crate::attention::{BlockTable, merge};
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "attention/decode";

/// Tensors and options of [`decode`]. `Args::new` has what must be; the rest follows by name:
/// `Args { block_table: Some(&table), options, ..Args::new(q, k, v, lengths, out) }`.
#[derive(Debug)]
pub struct Args<'a> {
    /// Queries `[b, s_q, h_q, d]`, f16 or bf16, `d` a multiple of 8 up to 256: the newest of each sequence.
    pub q: TensorView<'a>,
    /// Cache of keys `[b, s_k, h_kv, d]`, or, with `block_table`, `[num_pages, page_size, h_kv, d]` of any page size that
    /// is a power of two; `h_kv` divides `h_q`. Of q's type, or i8 or e4m3 with `k_scales` and `v_scales`; `d` is a
    /// multiple of 16 then.
    pub k: TensorView<'a>,
    /// Cache of values, likewise.
    pub v: TensorView<'a>,
    /// Keys of each sequence, its newest queries' own included unless `Options::lengths_exclude_new`: `[b]`, i32. A number of
    /// keys beyond the cache's room, or `Options::max_length`, counts as that, and one below 0 as 0.
    pub lengths: TensorView<'a>,
    /// Result `[b, s_q, h_q, d]`, of q's type.
    pub out: TensorViewMut<'a>,
    /// Natural logarithm of the sum of exponentials of each row's scores, `[b, h_q, s_q]`, f32.
    pub lse: Option<TensorViewMut<'a>>,
    /// Which pages of the cache are whose.
    pub block_table: Option<&'a BlockTable<'a>>,
    /// Factors of the keys of an 8-bit cache, one for each position and head: `[b, s_k, h_kv]` or `[num_pages, page_size,
    /// h_kv]`, f32, of any strides; [`scales_layout`](crate::attention::scales_layout) has those that move the least bytes.
    pub k_scales: Option<TensorView<'a>>,
    /// Factors of the values, likewise.
    pub v_scales: Option<TensorView<'a>>,
    /// A score of each head that every row has in addition, with no value: `[h_q]`, f32.
    pub sinks: Option<TensorView<'a>>,
    /// ALiBi: the score of query `i` and key `j` loses `slope * |i' - j|`; `[h_q]`, f32.
    pub alibi_slopes: Option<TensorView<'a>>,
    /// At least [`Plan::workspace_bytes`] bytes (u8, one dimension) at a multiple of 16, for the operator's own use. May
    /// be left out where the plan needs none.
    pub workspace: Option<TensorViewMut<'a>>,
    /// Scale, mask, softcap, splits.
    pub options: Options,
}

impl<'a> Args<'a> {
    /// Without anything that can be left out.
    pub fn new(
        q: TensorView<'a>,
        k: TensorView<'a>,
        v: TensorView<'a>,
        lengths: TensorView<'a>,
        out: TensorViewMut<'a>,
    ) -> Self {
        Self {
            q,
            k,
            v,
            lengths,
            out,
            lse: None,
            block_table: None,
            k_scales: None,
            v_scales: None,
            sinks: None,
            alibi_slopes: None,
            workspace: None,
            options: Options::default(),
        }
    }
}

/// Numbers that shape the scores and the launch. Query `i` of a sequence of `length` keys stands at key `i' = i + length -
/// s_q`, and sees key `j` when `i' - window_left <= j <= i'`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Keys after the query's own place are seen as well.
    pub bidirectional: bool,
    /// Factor of the scores; default `1 / sqrt(d)`.
    pub scale: Option<f32>,
    /// Keys seen before the query's own place; default: all.
    pub window_left: Option<usize>,
    /// A score `s` becomes `softcap * tanh(s / softcap)`; finite, above 0.
    pub softcap: Option<f32>,
    /// The lengths are those before the newest queries' own keys were appended: a sequence has `s_q` keys more. So positions
    /// of new tokens serve as lengths, those of [`append_kv`](crate::attention::append_kv()) or the steps of
    /// [`sample`](crate::fused::sample()); a sequence at position -1 with one query has no key.
    pub lengths_exclude_new: bool,
    /// No sequence will be longer: the plan is made for it. Default: what the cache has room for.
    pub max_length: Option<usize>,
    /// Parts that the keys of a sequence are divided into, of at least one tile each, instead of what the plan chooses.
    pub num_splits: Option<usize>,
}

/// Attention of the newest queries of each sequence over its cache: `out = softmax(score(scale * q * k^T)) * v`, where keys
/// and values lie in one piece for each sequence or in pages.
///
/// Tensors may have any strides, but elements of the last dimension must be adjacent and rows of q, k, v and out aligned
/// to 16 bytes; `lengths`, `lse`, `sinks` and `alibi_slopes` are contiguous. A row that sees no key gives 0, and an `lse`
/// of minus infinity, or of its sink. Lengths and pages are read on the device, so that a captured graph may be launched
/// again after they changed; what a slot beyond a sequence's length holds is never read.
///
/// # Errors
/// See [`Problem::check`] and [`plan()`]; nothing is written then.
pub fn decode(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (q, _q) = args.q.open(OP, "q", queue)?;
    let (k, _k) = args.k.open(OP, "k", queue)?;
    let (v, _v) = args.v.open(OP, "v", queue)?;
    let (lengths, _lengths) = args.lengths.open(OP, "lengths", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let (lse, _lse) = args.lse.as_mut().map(|lse| lse.open(OP, "lse", queue)).transpose()?.unzip();
    let workspace = args.workspace.as_mut().map(|workspace| workspace.open(OP, "workspace", queue));
    let (workspace, _workspace) = workspace.transpose()?.unzip();
    macro_rules! open {
        ($argument:ident) => {
            args.$argument.as_ref().map(|given| given.open(OP, stringify!($argument), queue)).transpose()?.unzip()
        };
    }
    let (block_table, _block_table) = open!(block_table);
    let (k_scales, _k_scales) = open!(k_scales);
    let (v_scales, _v_scales) = open!(v_scales);
    let (sinks, _sinks) = open!(sinks);
    let (alibi_slopes, _alibi_slopes) = open!(alibi_slopes);
    let operands =
        Operands { q, k, v, lengths, out, lse, block_table, k_scales, v_scales, sinks, alibi_slopes, workspace };
    let problem = Problem::check(&operands, &args.options)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    operands.check_workspace(&plan)?;
    let parts = operands.parts(&problem, &plan);
    let params = params::DecodeParams::new(&problem, &plan, &operands, parts.as_ref());
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use
    // until the launches are in the stream, which runs them one after the other.
    unsafe { queue.launch(&plan.launch, &params) }?;
    match &parts {
        // SAFETY: as above; the parts lie in the workspace, which has room for them.
        Some(parts) => unsafe { merge::launch(queue, parts) },
        None => Ok(()),
    }
}
