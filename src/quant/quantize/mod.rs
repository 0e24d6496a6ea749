#![doc = include_str!("README.md")]

mod block_params;
#[cfg(feature = "verify")]
mod cases;
mod dynamic_table;
mod params;
mod plan;
mod problem;
pub mod reference;
#[cfg(feature = "verify")]
pub(crate) mod verify;

pub use dynamic_table::dynamic_table;
#[cfg(feature = "verify")]
pub(crate) use plan::launches;
pub use plan::{Plan, plan};
pub use problem::{NestedOperands, Operands, Problem, Target};

use block_params::QuantizeBlocksParams;
use cudarc::driver::SyncOnDrop;
use params::QuantizeParams;

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
#[expect(clippy::large_enum_variant, reason = "one a call, never kept")]
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
    /// Tensors of NF4 as bitsandbytes' checkpoints have them, for [`repack`](super::repack()) or a file.
    Blocks {
        /// Weights of a block: 32, 64, 128 or a row.
        block: usize,
        /// u8 `[n * k / 2]`, of two neighbours the first in the upper bits.
        q: TensorViewMut<'a>,
        /// The largest magnitude of each block, f32 `[n * k / block]` (`absmax`).
        magnitudes: TensorViewMut<'a>,
        /// Where those quantised themselves go, which replace them in a checkpoint: double quantisation.
        nested: Option<NestedOutput<'a>>,
    },
    /// Rows of 8 bits, each with a scale.
    Rows {
        /// `[n, k]` i8 or e4m3.
        q: TensorViewMut<'a>,
        /// `[n]` f32.
        scales: TensorViewMut<'a>,
    },
}

/// Magnitudes that are quantised in blocks of 256: `table[code] * magnitudes[block / 256] + offset`.
#[derive(Debug)]
pub struct NestedOutput<'a> {
    /// What codes stand for, f32 `[256]`, in any order (`nested_quant_map`): [`dynamic_table`], as bitsandbytes has it.
    pub table: TensorView<'a>,
    /// u8, one for each block of weights (`absmax`).
    pub codes: TensorViewMut<'a>,
    /// f32, one for each 256 of those (`nested_absmax`).
    pub magnitudes: TensorViewMut<'a>,
    /// f32 `[1]`, the mean of all (`nested_offset`).
    pub offset: TensorViewMut<'a>,
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
    let (target, q, scales, zeros, nested) = match &mut args.to {
        Output::Groups { format, codes, scales, zeros } => {
            (Target::Groups(*format), codes, scales, zeros.as_mut(), None)
        }
        Output::Blocks { block, q, magnitudes, nested } => {
            (Target::Blocks { block: *block, nested: nested.is_some() }, q, magnitudes, None, nested.as_mut())
        }
        Output::Rows { q, scales } => (Target::Rows(q.dtype()), q, scales, None, None),
    };
    let (q, _q) = q.open(OP, "q", queue)?;
    let (scales, _scales) = scales.open(OP, "scales", queue)?;
    let (zeros, _zeros) = zeros.map(|zeros| zeros.open(OP, "zeros", queue)).transpose()?.unzip();
    let (nested, _nested) = nested.map(|nested| nested.open(queue)).transpose()?.unzip();
    let operands = Operands { x, q, scales, zeros, nested };
    let problem = Problem::check(target, &operands)?;
    for launch in &plan(&problem)?.launches {
        // SAFETY: the parameters are these kernels', of operands that were checked; the guards above keep them in use
        // until the launches are in the stream.
        unsafe {
            match target {
                Target::Blocks { block, .. } => {
                    queue.launch(launch, &QuantizeBlocksParams::new(&problem, block, &operands))
                }
                _ => queue.launch(launch, &QuantizeParams::new(&problem, &operands)),
            }
        }?;
    }
    Ok(())
}

impl NestedOutput<'_> {
    /// Makes the tensors usable on a queue, as views are.
    fn open<'b>(&'b mut self, queue: &'b Queue) -> Result<(NestedOperands, [Option<SyncOnDrop<'b>>; 4])> {
        let (table, table_guard) = self.table.open(OP, "nested_table", queue)?;
        let (codes, codes_guard) = self.codes.open(OP, "nested_codes", queue)?;
        let (magnitudes, magnitudes_guard) = self.magnitudes.open(OP, "nested_magnitudes", queue)?;
        let (offset, offset_guard) = self.offset.open(OP, "nested_offset", queue)?;
        let guards = [table_guard, codes_guard, magnitudes_guard, offset_guard];
        Ok((NestedOperands { table, codes, magnitudes, offset }, guards))
    }
}
