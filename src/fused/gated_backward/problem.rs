//! The checked problem.

use super::super::gated::Activation;
use super::super::rows;
use super::OP;
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernel sees them: all `[.., d]`.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// What went through the activation.
    pub gate: Operand,
    /// What that was multiplied by.
    pub up: Option<Operand>,
    /// The gradient of the result.
    pub d_out: Operand,
    /// The gradient of `gate`.
    pub d_gate: Operand,
    /// The gradient of `up`.
    pub d_up: Option<Operand>,
}

/// Element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types {
    /// Of the gate.
    pub gate: DType,
    /// Of `up` and its gradient; `None` for the activation alone.
    pub up: Option<[DType; 2]>,
    /// Of the result's gradient.
    pub d_out: DType,
    /// Of the gate's gradient.
    pub d_gate: DType,
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

impl Types {
    fn all(&self) -> impl Iterator<Item = DType> {
        [self.gate, self.d_out, self.d_gate].into_iter().chain(self.up.into_iter().flatten())
    }
}

impl Problem {
    /// Checks tensors.
    ///
    /// # Errors
    /// One of `up` and `d_up` without the other, element types, ranks, shapes that disagree, a last stride other than
    /// 1, an address that does not suit the element type, an output that overlaps itself or another tensor, 2^31 rows or
    /// more: each its own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, activation: Activation) -> Result<Self> {
        let Operands { gate, up, d_out, d_gate, d_up } = operands;
        match (up, d_up) {
            (Some(_), None) => return Err(Error::Alone { op: OP, argument: "up", missing: "d_up" }),
            (None, Some(_)) => return Err(Error::Alone { op: OP, argument: "d_up", missing: "up" }),
            _ => {}
        }
        rows::check(CHECKS, "gate", gate)?;
        let mut inputs = vec![("gate", gate), ("d_out", d_out)];
        inputs.extend(up.as_ref().map(|up| ("up", up)));
        let outputs: Vec<_> =
            [("d_gate", d_gate)].into_iter().chain(d_up.as_ref().map(|d_up| ("d_up", d_up))).collect();
        for &tensor in inputs[1..].iter().chain(&outputs) {
            rows::check_like(CHECKS, tensor, inputs[0])?;
        }
        for &(name, output) in &outputs {
            CHECKS.writable(name, output, &inputs)?;
            inputs.push((name, output));
        }
        let tensors: Vec<_> = inputs.iter().map(|&(_, tensor)| tensor).collect();
        let [num_rows, width] = rows::flattened(&tensors);
        let up = up.zip(*d_up).map(|(up, d_up)| [up.dtype, d_up.dtype]);
        let types = Types { gate: gate.dtype, up, d_out: d_out.dtype, d_gate: d_gate.dtype };
        let problem = Self::new(types, num_rows, width, activation)?;
        Ok(Self { unit: rows::unit(width, tensors.into_iter()), ..problem })
    }

    /// A problem from types and sizes alone, of aligned tensors.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(types: Types, num_rows: usize, width: usize, activation: Activation) -> Result<Self> {
        let [up, d_up] = types.up.map_or([None; 2], |types| types.map(Some));
        let named = [("gate", Some(types.gate)), ("up", up), ("d_out", Some(types.d_out))];
        for (argument, dtype) in named.into_iter().chain([("d_gate", Some(types.d_gate)), ("d_up", d_up)]) {
            dtype.map_or(Ok(()), |dtype| rows::check_type(OP, argument, dtype))?;
        }
        rows::check_sizes(OP, num_rows, width)?;
        Ok(Self { types, num_rows, width, unit: rows::unit_of_types(width, types.all()), activation })
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.num_rows == 0 || self.width == 0
    }

    /// Bytes of one element of every tensor.
    pub(super) fn bytes_of_an_element(&self) -> usize {
        self.types.all().map(DType::size_bytes).sum()
    }
}
