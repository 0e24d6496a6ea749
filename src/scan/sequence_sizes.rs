//! How many sequences there are, and how long they are.

use crate::attention::SequenceOperand;
use crate::check::Checks;
use crate::{Error, Operand, Result};

/// Most positions: kernels count them in 32 bits.
const MAX_POSITIONS: usize = i32::MAX as usize / 2;

/// Sequences of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceSizes {
    /// How many.
    pub b: usize,
    /// Positions of each, or of the longest.
    pub s: usize,
    /// Positions of all of them, one sequence after the other; `None` where each has `s`.
    pub total: Option<usize>,
}

impl SequenceSizes {
    /// Sequences of one length.
    pub fn uniform(b: usize, s: usize) -> Self {
        Self { b, s, total: None }
    }

    /// Sequences of various lengths, as `cu_seqlens` has them.
    pub fn of(sequences: &SequenceOperand) -> Self {
        Self { b: sequences.sequences, s: sequences.longest, total: Some(sequences.total) }
    }

    /// Positions of all sequences.
    pub fn positions(&self) -> usize {
        self.total.unwrap_or(self.b * self.s)
    }

    /// The first dimensions of a tensor of all positions: `[b, s]` or `[total]`.
    pub fn shape(&self) -> Vec<usize> {
        self.total.map_or_else(|| vec![self.b, self.s], |total| vec![total])
    }

    /// The sequences of the tensor that fixes them: `[b, s, ..]` with `rest` more dimensions, or `[total, ..]`;
    /// `dimensions` names them in both cases.
    pub(super) fn check(
        checks: Checks,
        (argument, tensor): (&'static str, &Operand),
        rest: usize,
        dimensions: [&'static str; 2],
        cu_seqlens: Option<&SequenceOperand>,
    ) -> Result<Self> {
        let shape = tensor.layout.shape();
        let sizes = match cu_seqlens {
            None => {
                checks.rank(argument, tensor, rest + 2, dimensions[0])?;
                Self::uniform(shape[0], shape[1])
            }
            Some(sequences) => {
                checks.rank(argument, tensor, rest + 1, dimensions[1])?;
                if shape[0] != sequences.total {
                    let (op, dimension, got, expected) = (checks.op, "total", shape[0], sequences.total);
                    return Err(Error::Dimension { op, argument, dimension, got, expected, of: "cu_seqlens" });
                }
                Self::of(sequences)
            }
        };
        sizes.limited(checks.op)
    }

    /// Itself, if kernels can count its positions.
    pub(super) fn limited(self, op: &'static str) -> Result<Self> {
        let limits = [("s", self.s), ("total", self.total.unwrap_or(0)), ("b", self.b)];
        match limits.into_iter().find(|(_, got)| *got > MAX_POSITIONS) {
            Some((what, got)) => Err(Error::TooLarge { op, what, got: got as u64, limit: MAX_POSITIONS as u64 }),
            None => Ok(self),
        }
    }

    /// Checks a tensor of the same positions: the sizes behind them, by name and with the argument that says so.
    pub(super) fn check_like<const RANK: usize>(
        &self,
        checks: Checks,
        (argument, tensor): (&'static str, &Operand),
        of: &'static str,
        rest: [(&'static str, usize, &'static str); RANK],
        dimensions: [&'static str; 2],
    ) -> Result<()> {
        let positions = match self.total {
            None => vec![("b", self.b, of), ("s", self.s, of)],
            Some(total) => vec![("total", total, of)],
        };
        checks.rank(argument, tensor, positions.len() + RANK, dimensions[usize::from(self.total.is_some())])?;
        for (&got, (dimension, expected, of)) in tensor.layout.shape().iter().zip(positions.into_iter().chain(rest)) {
            if got != expected {
                return Err(Error::Dimension { op: checks.op, argument, dimension, got, expected, of });
            }
        }
        Ok(())
    }
}
