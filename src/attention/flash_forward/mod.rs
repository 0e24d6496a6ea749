#![doc = include_str!("README.md")]

#[cfg(feature = "verify")]
pub(crate) mod cases;
mod operands;
pub(crate) mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

pub use operands::Operands;
#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, plan};
pub use problem::{Broadcast, Problem, Shape};

use crate::attention::CuSeqlens;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "attention/flash_forward";

/// Tensors and options of [`flash_forward`]. `Args::new` has the four that must be; the rest follows by name:
/// `Args { lse: Some(lse), options, ..Args::new(q, k, v, out) }`.
#[derive(Debug)]
pub struct Args<'a> {
    /// Queries `[b, s_q, h_q, d]`, f16, bf16 or f32, `d` a multiple of 8 up to 256. With `cu_seqlens_q` `[total_q, h_q, d]`.
    pub q: TensorView<'a>,
    /// Keys `[b, s_k, h_kv, d]`; `h_kv` divides `h_q`. With `cu_seqlens_k` `[total_k, h_kv, d]`.
    pub k: TensorView<'a>,
    /// Values `[b, s_k, h_kv, d_v]`, `d_v` a multiple of 8 up to 256. With `cu_seqlens_k` `[total_k, h_kv, d_v]`.
    pub v: TensorView<'a>,
    /// Result `[b, s_q, h_q, d_v]`. With `cu_seqlens_q` `[total_q, h_q, d_v]`.
    pub out: TensorViewMut<'a>,
    /// Natural logarithm of the sum of exponentials of each row's scores, `[b, h_q, s_q]`, f32. With `cu_seqlens_q`
    /// `[h_q, total_q]`.
    pub lse: Option<TensorViewMut<'a>>,
    /// A score of each head that every row has in addition, with no value: `[h_q]`, f32.
    pub sinks: Option<TensorView<'a>>,
    /// ALiBi: the score of query `i` and key `j` loses `slope * |i' - j|`; `[h_q]`, f32.
    pub alibi_slopes: Option<TensorView<'a>>,
    /// Added to the scores: `[b or 1, h_q or 1, s_q, s_k]`, of q's type or f32.
    pub bias: Option<TensorView<'a>>,
    /// Keys that are seen, besides what windows show: `[b or 1, h_q or 1, s_q, ceil(s_k / 32)]`, u32; key `j` is bit
    /// `j % 32` of word `j / 32`.
    pub mask_bits: Option<TensorView<'a>>,
    /// Number of a sequence's first keys that all its rows see, despite `causal` and `window_right`: `[b]`, i32.
    pub prefix: Option<TensorView<'a>>,
    /// Where the sequences of q, out and lse lie. `s_q` is the longest then. Together with `cu_seqlens_k`.
    pub cu_seqlens_q: Option<&'a CuSeqlens<'a>>,
    /// Where the sequences of k and v lie. `s_k` is the longest then.
    pub cu_seqlens_k: Option<&'a CuSeqlens<'a>>,
    /// Scale, mask, softcap, dropout.
    pub options: Options,
}

impl<'a> Args<'a> {
    /// Without anything that can be left out.
    pub fn new(q: TensorView<'a>, k: TensorView<'a>, v: TensorView<'a>, out: TensorViewMut<'a>) -> Self {
        Self {
            q,
            k,
            v,
            out,
            lse: None,
            sinks: None,
            alibi_slopes: None,
            bias: None,
            mask_bits: None,
            prefix: None,
            cu_seqlens_q: None,
            cu_seqlens_k: None,
            options: Options::default(),
        }
    }
}

/// Numbers that shape the scores. A key `j` is seen by query `i` when `i' - window_left <= j <= i' + window_right`,
/// where `i' = i + s_k - s_q`: the last query stands at the last key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// No key after the query's own place is seen: wins over `window_right`.
    pub causal: bool,
    /// Factor of the scores; default `1 / sqrt(d)`.
    pub scale: Option<f32>,
    /// Keys seen before the query's own place; default: all.
    pub window_left: Option<usize>,
    /// Keys seen after the query's own place; default: all.
    pub window_right: Option<usize>,
    /// A score `s` becomes `softcap * tanh(s / softcap)`; finite, above 0.
    pub softcap: Option<f32>,
    /// Probability of a probability to be dropped, in `0..1`; the others are multiplied by `1 / (1 - p)`, lse is as
    /// without.
    pub dropout_p: f32,
    /// Which ones: see [`Dropout`](crate::attention::philox::Dropout).
    pub dropout_seed: u64,
}

/// Exact attention: `out = dropout(softmax(score(scale * q * k^T))) * v`, without the scores ever lying in memory.
///
/// Tensors may have any strides, but elements of the last dimension must be adjacent and rows of q, k, v and out aligned
/// to 16 bytes. A row that sees no key gives 0, and an `lse` of minus infinity, or of its sink.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn flash_forward(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (q, _q) = args.q.open(OP, "q", queue)?;
    let (k, _k) = args.k.open(OP, "k", queue)?;
    let (v, _v) = args.v.open(OP, "v", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let (lse, _lse) = args.lse.as_mut().map(|lse| lse.open(OP, "lse", queue)).transpose()?.unzip();
    macro_rules! open {
        ($argument:ident) => {
            args.$argument.as_ref().map(|given| given.open(OP, stringify!($argument), queue)).transpose()?.unzip()
        };
    }
    let (sinks, _sinks) = open!(sinks);
    let (alibi_slopes, _alibi_slopes) = open!(alibi_slopes);
    let (bias, _bias) = open!(bias);
    let (mask_bits, _mask_bits) = open!(mask_bits);
    let (prefix, _prefix) = open!(prefix);
    let (cu_seqlens_q, _cu_seqlens_q) = open!(cu_seqlens_q);
    let (cu_seqlens_k, _cu_seqlens_k) = open!(cu_seqlens_k);
    let operands =
        Operands { q, k, v, out, lse, sinks, alibi_slopes, bias, mask_bits, prefix, cu_seqlens_q, cu_seqlens_k };
    let problem = Problem::check(&operands, &args.options)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    let params = params::FlashForwardParams::new(&problem, plan.num_row_tiles, plan.pack, &operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use
    // until the launch is in the stream.
    unsafe { queue.launch(&plan.launch, &params) }
}
