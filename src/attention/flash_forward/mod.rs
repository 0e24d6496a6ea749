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

use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "attention/flash_forward";

/// Tensors and options of [`flash_forward`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Queries `[b, s_q, h_q, d]`, f16 or bf16, `d` 64, 128 or 256.
    pub q: TensorView<'a>,
    /// Keys `[b, s_k, h_kv, d]`; `h_kv` divides `h_q`.
    pub k: TensorView<'a>,
    /// Values `[b, s_k, h_kv, d]`.
    pub v: TensorView<'a>,
    /// Result `[b, s_q, h_q, d]`.
    pub out: TensorViewMut<'a>,
    /// Natural logarithm of the sum of exponentials of each row's scores, `[b, h_q, s_q]`, f32.
    pub lse: Option<TensorViewMut<'a>>,
    /// Scale and mask.
    pub options: Options,
}

/// Scale and mask. A key `j` is seen by query `i` when `i' - window_left <= j <= i' + window_right`, where
/// `i' = i + s_k - s_q`: the last query stands at the last key.
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
}

/// Exact attention: `out = softmax(scale * q * k^T + mask) * v`, without the scores ever lying in memory.
///
/// Tensors may have any strides, but elements of the last dimension must be adjacent and rows aligned to 16 bytes.
/// A row that sees no key gives 0, and an `lse` of minus infinity.
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
    let operands = Operands { q, k, v, out, lse };
    let problem = Problem::check(&operands, &args.options)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    let params = params::FlashForwardParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use
    // until the launch is in the stream.
    unsafe { queue.launch(&plan.launch, &params) }
}
