//! The checked problem.

use super::super::rows;
use super::OP;
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernel sees them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[n, d]`
    pub table: Operand,
    /// `[..]`
    pub ids: Operand,
    /// `[.., d]`
    pub out: Operand,
}

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Numbers, and rows of the result.
    pub m: usize,
    /// Rows of the table.
    pub n: usize,
    /// Elements of a row.
    pub d: usize,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element type of the table.
    pub table_dtype: DType,
    /// Element type of the result.
    pub dtype: DType,
    /// Sizes.
    pub shape: Shape,
    /// Elements that a lane moves at once: 8, 4 or 1, by element types and alignment.
    pub unit: usize,
    /// What rows are multiplied by.
    pub scale: f32,
}

const CHECKS: Checks = Checks { op: OP };

impl Problem {
    /// Checks tensors and the scale.
    ///
    /// # Errors
    /// Element types, ranks, shapes that disagree, a last stride other than 1, an address that does not suit the
    /// element type, numbers with gaps, a result that overlaps itself or an input, 2^31 rows or more, a scale that is not
    /// finite: each its own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, scale: f32) -> Result<Self> {
        let Operands { table, ids, out } = operands;
        rows::check(CHECKS, "out", out)?;
        let (&d, outer) = out.layout.shape().split_last().unwrap_or((&1, &[]));
        rows::check(CHECKS, "table", table)?;
        CHECKS.rank("table", table, 2, "[n, d]")?;
        let n = table.layout.shape()[0];
        CHECKS.sizes("table", table, [("n", n, "table"), ("d", d, "out")])?;
        CHECKS.element_type("ids", ids, DType::I32, "")?;
        CHECKS.rank("ids", ids, outer.len(), "[..]")?;
        for (&got, &expected) in ids.layout.shape().iter().zip(outer) {
            if got != expected {
                let (op, argument, dimension) = (OP, "ids", "a dimension of size");
                return Err(Error::Dimension { op, argument, dimension, got, expected, of: "out" });
            }
        }
        CHECKS.contiguous("ids", ids)?;
        CHECKS.writable("out", out, &[("table", table), ("ids", ids)])?;
        let shape = Shape { m: outer.iter().product(), n, d };
        let problem = Self::new(table.dtype, out.dtype, shape, scale)?;
        Ok(Self { unit: rows::unit(d, [table, out].into_iter()), ..problem })
    }

    /// A problem from types and sizes alone, of aligned tensors.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(table_dtype: DType, dtype: DType, shape: Shape, scale: f32) -> Result<Self> {
        rows::check_type(OP, "table", table_dtype)?;
        rows::check_type(OP, "out", dtype)?;
        rows::check_sizes(OP, shape.m.max(shape.n), shape.d)?;
        if !scale.is_finite() {
            return Err(Error::NotFinite { op: OP, option: "scale", got: scale.to_string() });
        }
        let unit = rows::unit_of_types(shape.d, [table_dtype, dtype].into_iter());
        Ok(Self { table_dtype, dtype, shape, unit, scale })
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.shape.m == 0 || self.shape.d == 0
    }
}
