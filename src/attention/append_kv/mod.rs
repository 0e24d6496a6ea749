#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
mod cases;
mod params;
mod plan;
mod problem;
pub mod reference;
mod validate;
#[cfg(feature = "verify")]
pub(crate) mod verify;

#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, plan};
pub use problem::{Operands, Problem, Shape, Types};
pub use validate::validate;

use crate::attention::{BlockTable, CuSeqlens};
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "attention/append_kv";

/// Where in their sequences the new tokens stand: i32, any strides. The first token of a sequence has position 0. They are
/// read on the device, so that a captured graph takes what lies there when it runs.
#[derive(Debug)]
pub enum Positions<'a> {
    /// Of every token: `[b, s_q]`, with `cu_seqlens` `[total]`.
    OfTokens(TensorView<'a>),
    /// Of the first new token of each sequence, `[b]`; the others follow it.
    OfFirst(TensorView<'a>),
}

/// Tensors and options of [`append_kv`]. `Args::new` has what must be; the rest follows by name:
/// `Args { block_table: Some(&table), ..Args::new(k, v, k_cache, v_cache, positions) }`.
#[derive(Debug)]
pub struct Args<'a> {
    /// New keys `[b, s_q, h_kv, d]`, with `cu_seqlens` `[total, h_kv, d]`: f16, bf16 or f32, `d` up to 256. Slices of one
    /// tensor of queries, keys and values will do.
    pub k: TensorView<'a>,
    /// New values, likewise.
    pub v: TensorView<'a>,
    /// Cache of keys `[b, s_k, h_kv, d]`, or, with `block_table`, `[num_pages, page_size, h_kv, d]` of any page size that is
    /// a power of two: f16 or bf16, or i8 or e4m3 with `k_scales` and `v_scales`.
    pub k_cache: TensorViewMut<'a>,
    /// Cache of values, likewise.
    pub v_cache: TensorViewMut<'a>,
    /// Positions of the new tokens.
    pub positions: Positions<'a>,
    /// Where each sequence's new tokens lie, if there are various numbers of them.
    pub cu_seqlens: Option<&'a CuSeqlens<'a>>,
    /// Which pages of the cache are whose.
    pub block_table: Option<&'a BlockTable<'a>>,
    /// Factors of the keys of an 8-bit cache, one for each position and head: `[b, s_k, h_kv]` or `[num_pages, page_size,
    /// h_kv]`, f32, of any strides; [`scales_layout`](crate::attention::scales_layout) has those that move the least bytes.
    pub k_scales: Option<TensorViewMut<'a>>,
    /// Factors of the values, likewise.
    pub v_scales: Option<TensorViewMut<'a>>,
    /// Angle for each position of each pair, `[n]`, f32, contiguous; the first `2 n <= d` elements of a head of queries and
    /// keys are rotated, as [`rope`](crate::fused::rope()) does it. `None`: nothing is rotated.
    pub inverse_frequencies: Option<TensorView<'a>>,
    /// Queries of the new tokens, `[b, s_q, h_q, d]` or `[total, h_q, d]`, of the type of `k`; `None` if they are in
    /// `q_out`, to be rotated in place.
    pub q: Option<TensorView<'a>>,
    /// The rotated queries, f32, f16 or bf16; in place, of the type of `k`. `None`: queries are somebody else's business.
    pub q_out: Option<TensorViewMut<'a>>,
    /// Options.
    pub options: Options,
}

impl<'a> Args<'a> {
    /// Without anything that can be left out.
    pub fn new(
        k: TensorView<'a>,
        v: TensorView<'a>,
        k_cache: TensorViewMut<'a>,
        v_cache: TensorViewMut<'a>,
        positions: Positions<'a>,
    ) -> Self {
        Self {
            k,
            v,
            k_cache,
            v_cache,
            positions,
            cu_seqlens: None,
            block_table: None,
            k_scales: None,
            v_scales: None,
            inverse_frequencies: None,
            q: None,
            q_out: None,
            options: Options::default(),
        }
    }
}

/// Options of [`append_kv`]: those of [`rope`](crate::fused::rope()).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Pair `i` is elements `2 i` and `2 i + 1`; otherwise `i` and `i + n`.
    pub interleaved: bool,
    /// What rotated elements are multiplied by, 1 by default.
    pub magnitude: f32,
}

impl Default for Options {
    fn default() -> Self {
        Self { interleaved: false, magnitude: 1.0 }
    }
}

/// Writes new keys and values at their positions into a cache, in one piece for each sequence or in pages, keys rotated by
/// their positions, both rounded or quantised to the cache's type; and rotates the queries of the same tokens.
///
/// Tensors may have any strides, but elements of the last dimension must be adjacent. A token whose position is below 0 or
/// beyond the cache's room, or whose page is none of the cache, is not written: [`validate()`] finds such tokens. So tokens
/// at position -1 may fill up a batch of fixed size. Queries of a position out of range are copied, as at position 0.
///
/// No two tokens may have one slot: which one stays is left to chance.
///
/// # Errors
/// See [`Problem::check`] and [`plan()`]; nothing is written then.
pub fn append_kv(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (k, _k) = args.k.open(OP, "k", queue)?;
    let (v, _v) = args.v.open(OP, "v", queue)?;
    let (k_cache, _k_cache) = args.k_cache.open(OP, "k_cache", queue)?;
    let (v_cache, _v_cache) = args.v_cache.open(OP, "v_cache", queue)?;
    let (Positions::OfTokens(positions) | Positions::OfFirst(positions)) = &args.positions;
    let (positions, _positions) = positions.open(OP, "positions", queue)?;
    macro_rules! open {
        ($argument:ident, $as:ident) => {
            args.$argument.$as().map(|given| given.open(OP, stringify!($argument), queue)).transpose()?.unzip()
        };
    }
    let (cu_seqlens, _cu_seqlens) = open!(cu_seqlens, as_ref);
    let (block_table, _block_table) = open!(block_table, as_ref);
    let (inverse_frequencies, _inverse_frequencies) = open!(inverse_frequencies, as_ref);
    let (q, _q) = open!(q, as_ref);
    let (k_scales, _k_scales) = open!(k_scales, as_mut);
    let (v_scales, _v_scales) = open!(v_scales, as_mut);
    let (q_out, _q_out) = open!(q_out, as_mut);
    let operands = Operands {
        k,
        v,
        k_cache,
        v_cache,
        positions,
        first_positions: matches!(args.positions, Positions::OfFirst(_)),
        cu_seqlens,
        block_table,
        k_scales,
        v_scales,
        inverse_frequencies,
        q,
        q_out,
    };
    let problem = Problem::check(&operands, &args.options)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    let params = params::AppendParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use until
    // the launch is in the stream. Positions, pages and offsets are compared with what there is before they become addresses.
    unsafe { queue.launch(&plan.launch, &params) }
}
