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
pub const OP: &str = "fused/embedding";

/// Tensors and options of [`embedding`].
#[derive(Debug)]
pub struct Args<'a> {
    /// The table `[n, d]`, f32, f16 or bf16; rows may lie apart.
    pub table: TensorView<'a>,
    /// Numbers of rows, i32, contiguous, of the shape of `out` without its last dimension. They are read on the device.
    pub ids: TensorView<'a>,
    /// The rows `[.., d]`, f32, f16 or bf16.
    pub out: TensorViewMut<'a>,
    /// What rows are multiplied by; `sqrt(d)` in Gemma.
    pub scale: f32,
}

/// `out[i] = scale * table[ids[i]]`. A number outside the table gives a row of NaN.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn embedding(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (table, _table) = args.table.open(OP, "table", queue)?;
    let (ids, _ids) = args.ids.open(OP, "ids", queue)?;
    let (out, _out) = args.out.open(OP, "out", queue)?;
    let operands = Operands { table, ids, out };
    let problem = Problem::check(&operands, args.scale)?;
    if problem.is_empty() {
        return Ok(());
    }
    let plan = plan(&problem, queue.device().limits())?;
    let params = params::EmbeddingParams::new(&problem, &plan, &operands);
    // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use
    // until the launch is in the stream. The kernel reads no row for a number outside the table.
    unsafe { queue.launch(&plan.launch, &params) }
}
