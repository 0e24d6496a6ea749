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
pub const OP: &str = "attention/merge";

/// Tensors of [`merge`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Results over each set of keys `[n, b, s_q, h_q, d]`: f16, bf16 or f32; `d` a multiple of 8 up to 256.
    pub parts_out: TensorView<'a>,
    /// Their logarithms of sums of exponentials `[n, b, h_q, s_q]`, f32; minus infinity for no keys.
    pub parts_lse: TensorView<'a>,
    /// The result over all keys `[b, s_q, h_q, d]`: of the parts' type, or any if the parts are f32.
    pub out: TensorViewMut<'a>,
    /// Its logarithms `[b, h_q, s_q]`, f32.
    pub lse: Option<TensorViewMut<'a>>,
}

/// Merges partial attentions over disjoint sets of keys: `out = sum_i exp(lse_i - lse) out_i`,
/// `lse = ln sum_i exp(lse_i)`.
///
/// `parts_out` and `out` may have any strides, but elements of the last dimension must be adjacent and rows aligned to
/// 16 bytes. What a part without keys holds in `parts_out` is not read.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn merge(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (parts_out, _parts_out) = args.parts_out.open(OP, "parts_out", queue)?;
    let (parts_lse, _parts_lse) = args.parts_lse.open(OP, "parts_lse", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let (lse, _lse) = args.lse.as_mut().map(|lse| lse.open(OP, "lse", queue)).transpose()?.unzip();
    // SAFETY: the guards above keep the operands in use until the launch is in the stream.
    unsafe { launch(queue, &Operands { parts_out, parts_lse, out, lse }) }
}

/// Checks operands and launches: the end of [`merge()`], and of operators that merge what they put in a workspace.
///
/// # Safety
/// The operands must be memory of the queue's context that nobody else uses until the launch has run.
pub(crate) unsafe fn launch(queue: &Queue, operands: &Operands) -> Result<()> {
    let problem = Problem::check(operands)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    let params = params::MergeParams::new(&problem, operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the rest is the caller's promise.
    unsafe { queue.launch(&plan.launch, &params) }
}
