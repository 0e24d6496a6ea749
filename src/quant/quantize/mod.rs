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
pub use problem::{Operands, Problem, Target};

use super::GroupedFormat;
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "quant/quantize";

/// Tensors of [`quantize`].
#[derive(Debug)]
pub struct Args<'a> {
    /// What is quantised, `[n, k]` f16, bf16 or f32.
    pub x: TensorView<'a>,
    /// What becomes of it.
    pub to: Output<'a>,
}

/// Where the result of [`quantize`] goes.
#[derive(Debug)]
pub enum Output<'a> {
    /// A matrix packed for [`weight_only`](super::weight_only()).
    Groups {
        /// The matrix; its sizes are those of `x`.
        format: GroupedFormat,
        /// [`GroupedFormat::code_bytes`] bytes, u8.
        codes: TensorViewMut<'a>,
        /// [`GroupedFormat::scales_len`] scales, f16 or bf16.
        scales: TensorViewMut<'a>,
        /// As many zero-points, u8; symmetric without.
        zeros: Option<TensorViewMut<'a>>,
    },
    /// Rows of 8 bits, each with a scale.
    Rows {
        /// `[n, k]` i8 or e4m3.
        q: TensorViewMut<'a>,
        /// `[n]` f32.
        scales: TensorViewMut<'a>,
    },
}

/// Rounds numbers to codes of 4 or 8 bits, to nearest: bit for bit [`mod@reference`].
///
/// Rows of `x` may have any stride, rows of i8 and e4m3 any that is a multiple of 4; those of `x` are aligned to 16 bytes.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn quantize(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (x, _x) = args.x.open(OP, "x", queue)?;
    let (target, q, scales, zeros) = match &mut args.to {
        Output::Groups { format, codes, scales, zeros } => (Target::Groups(*format), codes, scales, zeros.as_mut()),
        Output::Rows { q, scales } => (Target::Rows(q.dtype()), q, scales, None),
    };
    let (q, _q) = q.open(OP, "q", queue)?;
    let (scales, _scales) = scales.open(OP, "scales", queue)?;
    let (zeros, _zeros) = zeros.map(|zeros| zeros.open(OP, "zeros", queue)).transpose()?.unzip();
    let operands = Operands { x, q, scales, zeros };
    let problem = Problem::check(target, &operands)?;
    let plan = plan(&problem)?;
    let params = params::QuantizeParams::new(&problem, &operands);
    match &plan.launch {
        // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use
        // until the launch is in the stream.
        Some(launch) => unsafe { queue.launch(launch, &params) },
        None => Ok(()),
    }
}
