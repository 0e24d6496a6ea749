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
pub use problem::{Operands, Problem, Source};

use super::{ActOrder, GroupedFormat};
use crate::{Queue, Result, TensorView, TensorViewMut};

/// The operator's name.
pub const OP: &str = "quant/repack";

/// Tensors of [`repack`].
#[derive(Debug)]
pub struct Args<'a> {
    /// Whose tensors these are.
    pub source: Source,
    /// The matrix that they are.
    pub format: GroupedFormat,
    /// Codes, as they lie in the checkpoint: see [`Source`].
    pub qweight: TensorView<'a>,
    /// Zero-points likewise, for codes that have them.
    pub qzeros: Option<TensorView<'a>>,
    /// Scales likewise: f16, bf16 or f32; of NF4 the largest magnitudes.
    pub scales: TensorView<'a>,
    /// How the magnitudes of NF4 were quantised, if they were; those are u8 then.
    pub nested: Option<Nested<'a>>,
    /// The order of columns in which groups are neighbours, if they are not: from the checkpoint's `g_idx`.
    pub act_order: Option<&'a ActOrder>,
    /// [`GroupedFormat::code_bytes`] bytes, u8.
    pub codes: TensorViewMut<'a>,
    /// [`GroupedFormat::scales_len`] scales, f16 or bf16: the type of the activations.
    pub out_scales: TensorViewMut<'a>,
    /// As many zero-points, u8, if there are any.
    pub zeros: Option<TensorViewMut<'a>>,
}

/// Magnitudes that were quantised themselves, in blocks of 256: `table[code] * magnitudes[block / 256] + offset`.
#[derive(Debug)]
pub struct Nested<'a> {
    /// What codes stand for, f32 `[256]` (`nested_quant_map`).
    pub table: TensorView<'a>,
    /// The largest magnitude of each 256, f32 (`nested_absmax`).
    pub magnitudes: TensorView<'a>,
    /// Added (`nested_offset`).
    pub offset: f32,
}

/// Packs a checkpoint's matrix for [`weight_only`](super::weight_only()), once: codes and zero-points bit for bit, scales rounded to
/// the type of the activations.
///
/// # Errors
/// See [`Problem::check`]; nothing is written then.
pub fn repack(queue: &Queue, mut args: Args) -> Result<()> {
    let _current = queue.enter()?;
    let (qweight, _qweight) = args.qweight.open(OP, "qweight", queue)?;
    let (qzeros, _qzeros) = args.qzeros.as_ref().map(|zeros| zeros.open(OP, "qzeros", queue)).transpose()?.unzip();
    let (scales, _scales) = args.scales.open(OP, "scales", queue)?;
    let nested = args.nested.as_ref();
    let table = nested.map(|nested| nested.table.open(OP, "nested_table", queue)).transpose()?;
    let magnitudes = nested.map(|nested| nested.magnitudes.open(OP, "nested_magnitudes", queue)).transpose()?;
    let (table, _table) = table.unzip();
    let (magnitudes, _magnitudes) = magnitudes.unzip();
    let (columns, _columns) = args.act_order.map(|order| order.open(OP, queue)).transpose()?.unzip();
    let (codes, _codes) = args.codes.open(OP, "codes", queue)?;
    let (out_scales, _out_scales) = args.out_scales.open(OP, "out_scales", queue)?;
    let zeros = args.zeros.as_mut().map(|zeros| zeros.open(OP, "zeros", queue)).transpose()?;
    let (zeros, _zeros) = zeros.unzip();
    let nested = table.zip(magnitudes);
    let operands = Operands { qweight, qzeros, scales, nested, columns, codes, out_scales, zeros };
    let offset = args.nested.as_ref().map_or(0.0, |nested| nested.offset);
    let problem = Problem::check(args.source, args.format, &operands, offset)?;
    let plan = plan(&problem)?;
    let params = params::RepackParams::new(&problem, &operands);
    for launch in plan.codes.iter().chain(&plan.factors) {
        // SAFETY: the parameters are this kernel's, of operands that were checked; the guards above keep them in use
        // until the launches are in the stream.
        unsafe { queue.launch(launch, &params) }?;
    }
    Ok(())
}
