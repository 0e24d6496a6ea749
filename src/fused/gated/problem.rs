//! The checked problem.

use super::super::rows;
use super::{Activation, OP};
use crate::check::Checks;
use crate::{DType, Operand, Result};

/// The tensors, as the kernel sees them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[.., d]`; `None`: `out`.
    pub gate: Option<Operand>,
    /// `[.., d]`
    pub up: Option<Operand>,
    /// `[.., d]`
    pub out: Operand,
}

/// Element types; `None` for a tensor that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types {
    /// Of the gate; `None`: in place.
    pub gate: Option<DType>,
    /// Of what it is multiplied by.
    pub up: Option<DType>,
    /// Of the result.
    pub out: DType,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element types.
    pub types: Types,
    /// Rows: 1 where there are no gaps between rows in any tensor.
    pub num_rows: usize,
    /// Elements of such a row.
    pub width: usize,
    /// Elements that a lane moves at once: 8, 4 or 1, by element types and alignment.
    pub unit: usize,
    /// The activation.
    pub activation: Activation,
}

const CHECKS: Checks = Checks { op: OP };

impl Problem {
    /// Checks tensors.
    ///
    /// # Errors
    /// Element types, ranks, shapes that disagree, a last stride other than 1, an address that does not suit the
    /// element type, an output that overlaps itself or an input, 2^31 rows or more: each its own [`crate::Error`],
    /// naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, activation: Activation) -> Result<Self> {
        let Operands { gate, up, out } = operands;
        rows::check(CHECKS, "out", out)?;
        let all = [("gate", gate), ("up", up)];
        let inputs: Vec<_> = all.iter().filter_map(|(name, tensor)| Some((*name, tensor.as_ref()?))).collect();
        for &input in &inputs {
            rows::check_like(CHECKS, input, ("out", out))?;
        }
        CHECKS.writable("out", out, &inputs)?;
        let dtype = |tensor: &Option<Operand>| tensor.as_ref().map(|tensor| tensor.dtype);
        let tensors: Vec<_> = inputs.iter().map(|&(_, tensor)| tensor).chain([out]).collect();
        let [num_rows, width] = rows::flattened(&tensors);
        let types = Types { gate: dtype(gate), up: dtype(up), out: out.dtype };
        let problem = Self::new(types, num_rows, width, activation)?;
        Ok(Self { unit: rows::unit(width, tensors.into_iter()), ..problem })
    }

    /// A problem from types and sizes alone, of aligned tensors.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(types: Types, num_rows: usize, width: usize, activation: Activation) -> Result<Self> {
        let Types { gate, up, out } = types;
        for (argument, dtype) in [("gate", gate), ("up", up), ("out", Some(out))] {
            dtype.map_or(Ok(()), |dtype| rows::check_type(OP, argument, dtype))?;
        }
        rows::check_sizes(OP, num_rows, width)?;
        let dtypes = [gate, up, Some(out)].into_iter().flatten();
        Ok(Self { types, num_rows, width, unit: rows::unit_of_types(width, dtypes), activation })
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.num_rows == 0 || self.width == 0
    }
}
