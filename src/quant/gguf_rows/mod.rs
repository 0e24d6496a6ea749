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
pub use problem::{Operands, Problem};

use super::PackedTensor;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "quant/gguf_rows";

/// Tensors of [`gguf_rows`].
#[derive(Debug)]
pub struct Args<'a> {
    /// The packed matrix `[n, k]`.
    pub w: PackedTensor<'a>,
    /// Which rows `[rows]`, i32, without gaps; all of them, in order, if there are none.
    pub ids: Option<TensorView<'a>>,
    /// Their weights `[rows, k]`, f16, bf16 or f32.
    pub out: TensorViewMut<'a>,
    /// What weights are multiplied by; `sqrt(d)` where the rows are Gemma's embeddings, otherwise 1.
    pub scale: f32,
}

/// Dequantises rows of a packed matrix: `out[i] = scale * w[ids[i]]`, `w` as the format defines it bit for bit in f32, the
/// product rounded to f32 and then to the type of `out`.
///
/// Rows of `out` may have any stride. An id outside `0 .. n` gives a row of NaN.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn gguf_rows(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (w, _w) = args.w.open(OP, queue)?;
    let (ids, _ids) = args.ids.as_ref().map(|ids| ids.open(OP, "ids", queue)).transpose()?.unzip();
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let operands = Operands { w, ids, out };
    let problem = Problem::check(&operands, args.scale)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem)?;
    let params = params::RowsParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use
    // until the launch is in the stream.
    unsafe { queue.launch(&plan.launch, &params) }
}
