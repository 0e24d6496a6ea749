//! The checked problem.

use super::OP;
use crate::check::Checks;
use crate::quant::{Codes, ColumnsOperand, GroupedFormat, element_type};
use crate::{DType, Error, Operand, Result};

/// How a checkpoint stores a matrix. Words are i32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// GPTQ: `qweight [k / c, n]`, `c` codes a word along `k` (8 of 4 bits, 4 of 8); `qzeros [groups, n / c]` along `n`, each
    /// less one (0 as the largest code); `scales [groups, n]`.
    Gptq,
    /// GPTQ's second format: zero-points as they are.
    GptqV2,
    /// AWQ (GEMM): `qweight [k, n / 8]` and `qzeros [groups, n / 8]`, 8 codes a word along `n` in the order 0 2 4 6 1 3 5 7;
    /// `scales [groups, n]`.
    Awq,
    /// bitsandbytes' NF4: u8 `[n * k / 2]`, of two neighbours the first in the upper bits; largest magnitudes of blocks of `group`
    /// weights, `[n * k / group]`.
    Nf4,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Gptq, Self::GptqV2, Self::Awq, Self::Nf4];

    /// The name used everywhere: `gptq`, `gptq_v2`, `awq`, `nf4`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gptq => "gptq",
            Self::GptqV2 => "gptq_v2",
            Self::Awq => "awq",
            Self::Nf4 => "nf4",
        }
    }
}

/// The tensors, as the kernels see them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// See [`Source`].
    pub qweight: Operand,
    /// See [`Source`].
    pub qzeros: Option<Operand>,
    /// See [`Source`].
    pub scales: Operand,
    /// The table `[256]` and the magnitudes of magnitudes.
    pub nested: Option<(Operand, Operand)>,
    /// `[k]`
    pub columns: Option<ColumnsOperand>,
    /// `[bytes]`
    pub codes: Operand,
    /// `[tiles * groups * 16]`
    pub out_scales: Operand,
    /// `[tiles * groups * 16]`
    pub zeros: Option<Operand>,
}

/// A problem that the kernels can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Whose tensors these are.
    pub source: Source,
    /// The matrix.
    pub format: GroupedFormat,
    /// Whether there are zero-points.
    pub has_zeros: bool,
    /// Whether columns are put in another order.
    pub permuted: bool,
    /// Whether magnitudes were quantised.
    pub nested: bool,
    /// Element type of the scales that are given: u8 for quantised magnitudes.
    pub scales_dtype: DType,
    /// Element type of the packed scales.
    pub dtype: DType,
    /// Added to magnitudes that were quantised.
    pub offset: f32,
}

const CHECKS: Checks = Checks { op: OP };

impl Problem {
    /// Checks tensors.
    ///
    /// # Errors
    /// Rank, element types, sizes that disagree with the matrix, codes that the source does not have, a group that doesn't divide
    /// a row, rows that are no whole words, zero-points without a place or a place without zero-points, gaps, misaligned
    /// tensors, an output that overlaps itself or another tensor, an offset that is not finite: each its own [`Error`].
    pub fn check(source: Source, format: GroupedFormat, operands: &Operands, offset: f32) -> Result<Self> {
        let Operands { qweight, qzeros, scales, nested, columns, codes, out_scales, zeros } = operands;
        let problem = Self {
            source,
            format,
            has_zeros: qzeros.is_some(),
            permuted: columns.is_some(),
            nested: nested.is_some(),
            scales_dtype: scales.dtype,
            dtype: out_scales.dtype,
            offset,
        };
        problem.check_sizes()?;
        let GroupedFormat { n, k, .. } = format;
        let (groups, per_word) = (format.groups(), 32 / format.codes.bits());
        match source {
            Source::Gptq | Source::GptqV2 => {
                problem.input("qweight", qweight, DType::I32, [("k", k / per_word), ("n", n)])?;
            }
            Source::Awq => problem.input("qweight", qweight, DType::I32, [("k", k), ("n", n / 8)])?,
            Source::Nf4 => problem.input("qweight", qweight, DType::U8, [("bytes", n * k / 2)])?,
        }
        if source == Source::Nf4 {
            problem.input("scales", scales, scales.dtype, [("blocks", n * groups)])?;
        } else {
            problem.input("scales", scales, scales.dtype, [("groups", groups), ("n", n)])?;
        }
        match (qzeros, zeros) {
            (Some(qzeros), Some(_)) => {
                problem.input("qzeros", qzeros, DType::I32, [("groups", groups), ("n", n / per_word)])?;
            }
            (Some(_), None) => return Err(Error::Alone { op: OP, argument: "qzeros", missing: "zeros" }),
            (None, Some(_)) => return Err(Error::Alone { op: OP, argument: "zeros", missing: "qzeros" }),
            (None, None) => {}
        }
        if let Some((table, magnitudes)) = nested {
            problem.input("nested_table", table, DType::F32, [("codes", 256)])?;
            let blocks = (n * groups).div_ceil(256);
            problem.input("nested_magnitudes", magnitudes, DType::F32, [("blocks", blocks)])?;
        }
        if let Some(columns) = columns
            && columns.k != k
        {
            let (argument, dimension) = ("act_order", "k");
            return Err(Error::Dimension { op: OP, argument, dimension, got: columns.k, expected: k, of: "format" });
        }
        let mut inputs = vec![("qweight", qweight), ("scales", scales)];
        inputs.extend(qzeros.as_ref().map(|zeros| ("qzeros", zeros)));
        let len = format.scales_len();
        let mut outputs =
            vec![("codes", codes, DType::U8, format.code_bytes()), ("out_scales", out_scales, problem.dtype, len)];
        outputs.extend(zeros.as_ref().map(|zeros| ("zeros", zeros, DType::U8, len)));
        for (argument, output, dtype, elements) in outputs {
            problem.input(argument, output, dtype, [("elements", elements)])?;
            CHECKS.rows(argument, output, 16)?;
            CHECKS.writable(argument, output, &inputs)?;
            inputs.push((argument, output));
        }
        Ok(problem)
    }

    /// Type, rank and sizes, without gaps.
    fn input<const RANK: usize>(
        &self,
        argument: &'static str,
        tensor: &Operand,
        dtype: DType,
        sizes: [(&'static str, usize); RANK],
    ) -> Result<()> {
        CHECKS.element_type(argument, tensor, dtype, "")?;
        CHECKS.rank(argument, tensor, RANK, if RANK == 1 { "[elements]" } else { "[rows, words]" })?;
        CHECKS.sizes(argument, tensor, sizes.map(|(dimension, size)| (dimension, size, "format")))?;
        CHECKS.contiguous(argument, tensor)
    }

    /// Checks what doesn't concern memory.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that are about types and sizes.
    pub fn check_sizes(&self) -> Result<()> {
        let Self { source, format, .. } = *self;
        format.check(OP)?;
        let unsupported =
            |argument, what, got, supported| Err(Error::Unsupported { op: OP, argument, what, got, supported });
        let codes = format.codes;
        match source {
            Source::Gptq | Source::GptqV2 if codes == Codes::Nf4 => {
                return unsupported("format", "codes", codes.to_string(), "int4, int8 (gptq)");
            }
            Source::Awq if codes != Codes::Int4 => {
                return unsupported("format", "codes", codes.to_string(), "int4 (awq)");
            }
            Source::Nf4 if codes != Codes::Nf4 => {
                return unsupported("format", "codes", codes.to_string(), "nf4 (nf4)");
            }
            _ => {}
        }
        if source != Source::Nf4 && !format.n.is_multiple_of(8) {
            return unsupported("format", "n", format.n.to_string(), "multiples of 8 (whole words)");
        }
        if self.has_zeros && source == Source::Nf4 {
            return unsupported("qzeros", "codes", codes.to_string(), "int4, int8");
        }
        if self.permuted && source == Source::Nf4 {
            return unsupported("act_order", "codes", codes.to_string(), "int4, int8");
        }
        if self.nested && source != Source::Nf4 {
            return unsupported("nested_table", "codes", codes.to_string(), "nf4");
        }
        let expected = match (source, self.nested) {
            (Source::Nf4, true) => Some(DType::U8),
            (Source::Nf4, false) => Some(DType::F32),
            _ => None,
        };
        match expected {
            Some(expected) if self.scales_dtype != expected => {
                let (got, reason) = (self.scales_dtype, "");
                return Err(Error::ElementType { op: OP, argument: "scales", got, expected, reason });
            }
            Some(_) => {}
            None => element_type::check(OP, "scales", self.scales_dtype)?,
        }
        if !matches!(self.dtype, DType::F16 | DType::BF16) {
            return unsupported("out_scales", "dtype", self.dtype.to_string(), "f16, bf16");
        }
        if !self.offset.is_finite() {
            return Err(Error::NotFinite { op: OP, option: "nested_offset", got: self.offset.to_string() });
        }
        Ok(())
    }
}
