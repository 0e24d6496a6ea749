//! The checked problem.

use super::OP;
use crate::attention::{SequenceOperand, flash_forward};
use crate::check::Checks;
use crate::sparse::LayoutOperand;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernel sees them; see [`Args`](super::Args).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s_q, h_q, d]`, or `[total_q, h_q, d]`
    pub q: Operand,
    /// `[b, s_k, h_kv, d]`, or `[total_k, h_kv, d]`
    pub k: Operand,
    /// `[b, s_k, h_kv, d_v]`, or `[total_k, h_kv, d_v]`
    pub v: Operand,
    /// `[b, s_q, h_q, d_v]`, or `[total_q, h_q, d_v]`
    pub out: Operand,
    /// Which tiles are visited.
    pub layout: LayoutOperand,
    /// `[b, h_q, s_q]`, or `[h_q, total_q]`
    pub lse: Option<Operand>,
    /// Sequences of q, out and lse.
    pub cu_seqlens_q: Option<SequenceOperand>,
    /// Sequences of k and v.
    pub cu_seqlens_k: Option<SequenceOperand>,
}

/// Numbers that shape the scores.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// Factor of the scores; default `1 / sqrt(d)`.
    pub scale: Option<f32>,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// The same without a layout.
    pub attention: flash_forward::Problem,
    /// Which tiles are visited. Its address plays no part.
    pub layout: LayoutOperand,
}

/// Head dimensions of q and k, and of v.
pub(in crate::sparse) const HEAD_DIMS: [[usize; 2]; 4] = [[64, 64], [128, 128], [192, 128], [256, 256]];

impl Operands {
    /// Those of the same problem without a layout.
    pub(super) fn dense(&self) -> flash_forward::Operands {
        let Self { q, k, v, out, lse, cu_seqlens_q, cu_seqlens_k, .. } = *self;
        let (sinks, alibi_slopes, bias, mask_bits, prefix) = (None, None, None, None, None);
        #[rustfmt::skip]
        let operands = flash_forward::Operands {
            q, k, v, out, lse, sinks, alibi_slopes, bias, mask_bits, prefix, cu_seqlens_q, cu_seqlens_k,
        };
        operands
    }
}

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// What [`flash_forward::Problem::check`] finds; element types other than f16 and bf16, other head dimensions; a layout
    /// of another number of queries, keys or heads: each its own [`Error`], naming the argument, what it has and what is
    /// expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let checks = Checks { op: OP };
        let dense = operands.dense();
        let new = |dtype, shape| attention(OP, dtype, shape, options);
        let attention = flash_forward::Problem::of_operands(checks, &dense, new)?;
        check_layout(checks, &operands.layout, &attention)?;
        let inputs = dense.inputs();
        checks.writable("out", &operands.out, &inputs)?;
        if let Some(lse) = &operands.lse {
            checks.writable("lse", lse, &[&inputs[..], &[("out", &operands.out)]].concat())?;
        }
        Ok(Self { attention, layout: operands.layout })
    }

    /// A problem from its sizes, options and layout alone.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(dtype: DType, shape: flash_forward::Shape, options: &Options, layout: LayoutOperand) -> Result<Self> {
        let attention = attention(OP, dtype, shape, options)?;
        check_layout(Checks { op: OP }, &layout, &attention)?;
        Ok(Self { attention, layout })
    }

    /// What all heads and batch entries cost; `None` where that depends on what lies in device memory.
    pub fn work(&self) -> Option<crate::sparse::LayoutWork> {
        let shape = self.attention.shape;
        let work = self.layout.work.filter(|_| self.attention.totals.is_none())?;
        let each = shape.b * if self.layout.sizes.heads == 1 { shape.h_q } else { 1 };
        Some(std::iter::repeat_n(work, each).sum())
    }
}

/// The sizes and options of operators on a layout.
pub(in crate::sparse) fn attention(
    op: &'static str,
    dtype: DType,
    shape: flash_forward::Shape,
    options: &Options,
) -> Result<flash_forward::Problem> {
    let unsupported = |argument, what, got, supported| Err(Error::Unsupported { op, argument, what, got, supported });
    if !matches!(dtype, DType::F16 | DType::BF16) {
        return unsupported("q", "dtype", dtype.to_string(), "f16, bf16");
    }
    let dims = [shape.d, shape.d_v];
    let Some([_, d_v]) = HEAD_DIMS.iter().find(|known| known[0] == shape.d) else {
        return unsupported("q", "head_dim", shape.d.to_string(), "64, 128, 192, 256");
    };
    if !HEAD_DIMS.contains(&dims) {
        let (op, argument, dimension) = (op, "v", "head_dim");
        let (got, expected, of) = (shape.d_v, *d_v, "what goes with q's");
        return Err(Error::Dimension { op, argument, dimension, got, expected, of });
    }
    let options = flash_forward::Options { scale: options.scale, ..Default::default() };
    flash_forward::Problem::of_op(op, dtype, shape, &options)
}

/// A layout that fits the tensors.
pub(in crate::sparse) fn check_layout(
    checks: Checks,
    layout: &LayoutOperand,
    problem: &flash_forward::Problem,
) -> Result<()> {
    let (op, argument) = (checks.op, "layout");
    let LayoutOperand { grid, sizes, .. } = layout;
    let lengths = [("s_q", grid.s_q(), problem.shape.s_q, "q"), ("s_k", grid.s_k(), problem.shape.s_k, "k")];
    for (dimension, got, expected, of) in lengths {
        // A layout of more serves sequences of various lengths.
        if got < expected || got > expected && problem.totals.is_none() {
            let of = match (problem.totals, of) {
                (None, of) => of,
                (_, "q") => "the longest of cu_seqlens_q",
                _ => "the longest of cu_seqlens_k",
            };
            return Err(Error::Dimension { op, argument, dimension, got, expected, of });
        }
    }
    let (got, expected) = (sizes.heads, problem.shape.h_q);
    if got != 1 && got != expected {
        return Err(Error::Broadcast { op, argument, dimension: "heads", got, expected, of: "q" });
    }
    checks.aligned(argument, || "address".to_owned(), layout.address, 16)
}
