//! The checked problem.

use super::OP;
use crate::check::Checks;
use crate::quant::{Codes, GroupedFormat, element_type};
use crate::{DType, Error, Operand, Result};

/// What numbers become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Codes of groups, packed.
    Groups(GroupedFormat),
    /// Codes of NF4 in blocks, as bitsandbytes' checkpoints have them.
    Blocks {
        /// Weights of a block: 32, 64, 128 or a row.
        block: usize,
        /// Whether largest magnitudes are quantised too.
        nested: bool,
    },
    /// Rows of i8 or e4m3.
    Rows(DType),
}

/// The tensors, as the kernels see them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[n, k]`
    pub x: Operand,
    /// Packed codes, or rows `[n, k]`, or bytes of two codes `[n * k / 2]`.
    pub q: Operand,
    /// Packed scales, or `[n]`, or magnitudes `[n * k / block]`.
    pub scales: Operand,
    /// Packed zero-points.
    pub zeros: Option<Operand>,
    /// What becomes of magnitudes.
    pub nested: Option<NestedOperands>,
}

/// Quantised magnitudes, as the kernels see them.
#[derive(Clone, Copy, Debug)]
pub struct NestedOperands {
    /// `[256]`
    pub table: Operand,
    /// `[n * k / block]`
    pub codes: Operand,
    /// One for each 256 of them.
    pub magnitudes: Operand,
    /// `[1]`
    pub offset: Operand,
}

/// A problem that the kernels can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// What numbers become.
    pub target: Target,
    /// Rows.
    pub n: usize,
    /// Elements of a row.
    pub k: usize,
    /// Whether zero-points are wanted.
    pub has_zeros: bool,
    /// Element type of the numbers.
    pub x_dtype: DType,
    /// Element type of the scales.
    pub scales_dtype: DType,
}

const CHECKS: Checks = Checks { op: OP };
/// Magnitudes that share one when they are quantised.
pub(super) const NESTED: usize = 256;

impl Problem {
    /// Checks tensors.
    ///
    /// # Errors
    /// Rank, element types, sizes that disagree, a group that doesn't divide a row, rows of 8 bits whose length is no multiple of
    /// 4, zero-points of NF4, gaps, misaligned tensors, an output that overlaps itself or another tensor: each its own
    /// [`Error`].
    pub fn check(target: Target, operands: &Operands) -> Result<Self> {
        let Operands { x, q, scales, zeros, nested } = operands;
        CHECKS.rank("x", x, 2, "[n, k]")?;
        let (n, k) = (x.layout.shape()[0], x.layout.shape()[1]);
        let (has_zeros, x_dtype, scales_dtype) = (zeros.is_some(), x.dtype, scales.dtype);
        let problem = Self { target, n, k, has_zeros, x_dtype, scales_dtype };
        problem.check_sizes()?;
        CHECKS.rows("x", x, 16)?;
        let flat = |argument, tensor: &Operand, dtype, elements: usize, alignment| {
            CHECKS.element_type(argument, tensor, dtype, "")?;
            CHECKS.rank(argument, tensor, 1, "[elements]")?;
            CHECKS.sizes(argument, tensor, [("elements", elements, "x")])?;
            CHECKS.contiguous(argument, tensor)?;
            CHECKS.rows(argument, tensor, alignment)
        };
        match target {
            Target::Groups(format) => {
                CHECKS.sizes("x", x, [("n", format.n, "format"), ("k", format.k, "format")])?;
                flat("q", q, DType::U8, format.code_bytes(), 16)?;
                flat("scales", scales, scales_dtype, format.scales_len(), 16)?;
                if let Some(zeros) = zeros {
                    flat("zeros", zeros, DType::U8, format.scales_len(), 16)?;
                }
            }
            Target::Blocks { block, .. } => {
                let blocks = problem.num_blocks(block);
                flat("q", q, DType::U8, n * k / 2, 2)?;
                flat("magnitudes", scales, DType::F32, blocks, 4)?;
                if let Some(NestedOperands { table, codes, magnitudes, offset }) = nested {
                    flat("nested_table", table, DType::F32, 256, 4)?;
                    flat("nested_codes", codes, DType::U8, blocks, 1)?;
                    flat("nested_magnitudes", magnitudes, DType::F32, blocks.div_ceil(NESTED), 4)?;
                    flat("nested_offset", offset, DType::F32, 1, 4)?;
                }
            }
            Target::Rows(dtype) => {
                CHECKS.element_type("q", q, dtype, "")?;
                CHECKS.rank("q", q, 2, "[n, k]")?;
                CHECKS.sizes("q", q, [("n", n, "x"), ("k", k, "x")])?;
                CHECKS.rows("q", q, 4)?;
                flat("scales", scales, DType::F32, n, 4)?;
            }
        }
        let mut others = vec![("x", x)];
        let mut outputs = vec![("q", q), (problem.scales_name(), scales)];
        outputs.extend(zeros.as_ref().map(|zeros| ("zeros", zeros)));
        if let Some(NestedOperands { table, codes, magnitudes, offset }) = nested {
            others.push(("nested_table", table));
            outputs.extend([("nested_codes", codes), ("nested_magnitudes", magnitudes), ("nested_offset", offset)]);
        }
        for (argument, output) in outputs {
            CHECKS.writable(argument, output, &others)?;
            others.push((argument, output));
        }
        Ok(problem)
    }

    /// Blocks of all rows.
    pub(super) fn num_blocks(&self, block: usize) -> usize {
        self.n * self.k.checked_div(block).unwrap_or(0)
    }

    fn scales_name(&self) -> &'static str {
        if matches!(self.target, Target::Blocks { .. }) { "magnitudes" } else { "scales" }
    }

    /// Checks what doesn't concern memory.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that are about types and sizes.
    pub fn check_sizes(&self) -> Result<()> {
        let unsupported =
            |argument, what, got: String, supported| Err(Error::Unsupported { op: OP, argument, what, got, supported });
        element_type::check(OP, "x", self.x_dtype)?;
        match self.target {
            Target::Groups(format) => {
                format.check(OP)?;
                if !matches!(self.scales_dtype, DType::F16 | DType::BF16) {
                    return unsupported("scales", "dtype", self.scales_dtype.to_string(), "f16, bf16");
                }
                if self.has_zeros && !format.codes.has_zeros() {
                    return unsupported("zeros", "codes", format.codes.to_string(), "int4, int8");
                }
            }
            Target::Blocks { block, .. } => {
                // The matrix that `repack` makes of it.
                GroupedFormat { codes: Codes::Nf4, n: self.n, k: self.k, group: block }.check(OP)?;
                if self.scales_dtype != DType::F32 {
                    let (argument, got, expected) = ("magnitudes", self.scales_dtype, DType::F32);
                    return Err(Error::ElementType { op: OP, argument, got, expected, reason: "" });
                }
            }
            Target::Rows(dtype) => {
                if !matches!(dtype, DType::I8 | DType::E4M3) {
                    return unsupported("q", "dtype", dtype.to_string(), "i8, e4m3");
                }
                if !self.k.is_multiple_of(4) {
                    return unsupported("x", "k", self.k.to_string(), "multiples of 4");
                }
                let limit = i32::MAX as u64;
                for (what, got) in [("n", self.n), ("k", self.k)] {
                    if got as u64 > limit {
                        return Err(Error::TooLarge { op: OP, what, got: got as u64, limit });
                    }
                }
            }
        }
        Ok(())
    }
}
