//! The checked problem.

use super::super::rows;
use super::{OP, Options};
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernel sees them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[.., d]`; `None`: `out`.
    pub x: Option<Operand>,
    /// `[.., d]`
    pub residual: Option<Operand>,
    /// `[d]`
    pub weight: Option<Operand>,
    /// `[.., d]`
    pub out: Operand,
}

/// Element types; `None` for a tensor that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types {
    /// Of the rows; `None`: in place.
    pub x: Option<DType>,
    /// Of the residual stream.
    pub residual: Option<DType>,
    /// Of the weights.
    pub weight: Option<DType>,
    /// Of the result.
    pub out: DType,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element types.
    pub types: Types,
    /// Rows.
    pub num_rows: usize,
    /// Elements of a row.
    pub d: usize,
    /// Elements that a lane moves at once: 8, 4 or 1, by element types and alignment.
    pub unit: usize,
    /// Options.
    pub options: Options,
}

const CHECKS: Checks = Checks { op: OP };

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Element types, ranks, shapes that disagree, a last stride other than 1, an address that does not suit the
    /// element type, an output or a residual that overlaps itself or another tensor, 2^31 rows or more, an epsilon that
    /// is negative or not finite, a weight offset that is not finite: each its own [`Error`], naming the argument, what
    /// it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { x, residual, weight, out } = operands;
        rows::check(CHECKS, "out", out)?;
        let of = ("out", out);
        for (argument, tensor) in [("x", x), ("residual", residual)] {
            tensor.as_ref().map_or(Ok(()), |tensor| rows::check_like(CHECKS, (argument, tensor), of))?;
        }
        let (&d, outer) = out.layout.shape().split_last().unwrap_or((&1, &[]));
        if let Some(weight) = weight {
            rows::check_type(OP, "weight", weight.dtype)?;
            CHECKS.rank("weight", weight, 1, "[d]")?;
            CHECKS.sizes("weight", weight, [("d", d, "out")])?;
            CHECKS.contiguous("weight", weight)?;
        }
        let all = [("x", x), ("weight", weight), ("residual", residual)];
        let others: Vec<_> = all.iter().filter_map(|(name, tensor)| Some((*name, tensor.as_ref()?))).collect();
        CHECKS.writable("out", out, &others)?;
        if let Some(residual) = residual {
            let read = others.iter().filter(|(name, _)| *name != "residual").copied().collect::<Vec<_>>();
            CHECKS.writable("residual", residual, &read)?;
        }
        let dtype = |tensor: &Option<Operand>| tensor.as_ref().map(|tensor| tensor.dtype);
        let types = Types { x: dtype(x), residual: dtype(residual), weight: dtype(weight), out: out.dtype };
        let problem = Self::new(types, outer.iter().product(), d, *options)?;
        let tensors = [x, residual, weight].into_iter().flatten().chain([out]);
        Ok(Self { unit: rows::unit(d, tensors), ..problem })
    }

    /// A problem from types and sizes alone, of aligned tensors.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(types: Types, num_rows: usize, d: usize, options: Options) -> Result<Self> {
        let Types { x, residual, weight, out } = types;
        for (argument, dtype) in [("x", x), ("residual", residual), ("weight", weight), ("out", Some(out))] {
            dtype.map_or(Ok(()), |dtype| rows::check_type(OP, argument, dtype))?;
        }
        rows::check_sizes(OP, num_rows, d)?;
        let Options { epsilon, weight_offset, .. } = options;
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            let expected = "a finite number from 0 on";
            return Err(Error::OutOfRange { op: OP, option: "epsilon", got: epsilon.to_string(), expected });
        }
        if !weight_offset.is_finite() {
            return Err(Error::NotFinite { op: OP, option: "weight_offset", got: weight_offset.to_string() });
        }
        let dtypes = [x, residual, weight, Some(out)].into_iter().flatten();
        Ok(Self { types, num_rows, d, unit: rows::unit_of_types(d, dtypes), options })
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.num_rows == 0 || self.d == 0
    }
}
