//! The checked problem.

use super::super::rows;
use super::{OP, Options};
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernel sees them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s, h, d]` or `[s, h, d]`; `None`: `out`.
    pub x: Option<Operand>,
    /// `[b, s]` or `[s]`
    pub positions: Operand,
    /// `[n]`
    pub inverse_frequencies: Operand,
    /// `[b, s, h, d]` or `[s, h, d]`
    pub out: Operand,
}

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Batch.
    pub b: usize,
    /// Tokens of a sequence.
    pub s: usize,
    /// Heads.
    pub h: usize,
    /// Elements of a head.
    pub d: usize,
    /// Pairs of a head that are rotated.
    pub n: usize,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element type of the input; `None`: in place.
    pub x_dtype: Option<DType>,
    /// Element type of the result.
    pub dtype: DType,
    /// Sizes.
    pub shape: Shape,
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
    /// Element types, ranks, shapes that disagree, more pairs than elements or none, a last stride other than 1, an
    /// address that does not suit the element type, an output that overlaps itself or an input, 2^31 tokens or elements of
    /// a head or more, a magnitude that is not finite: each its own [`Error`], naming the argument, what it has and what
    /// is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { x, positions, inverse_frequencies, out } = operands;
        rows::check(CHECKS, "out", out)?;
        let (b, s, h, d) = match *out.layout.shape() {
            [b, s, h, d] => (b, s, h, d),
            [s, h, d] => (1, s, h, d),
            _ => {
                let (op, argument, got) = (OP, "out", out.layout.rank());
                return Err(Error::Rank { op, argument, got, expected: 4, dimensions: "[b, s, h, d], or [s, h, d]" });
            }
        };
        if let Some(x) = x {
            rows::check_like(CHECKS, ("x", x), ("out", out))?;
        }
        CHECKS.element_type("positions", positions, DType::I32, "")?;
        CHECKS.element_type("inverse_frequencies", inverse_frequencies, DType::F32, "")?;
        if out.layout.rank() == 4 {
            CHECKS.rank("positions", positions, 2, "[b, s]")?;
            CHECKS.sizes("positions", positions, [("b", b, "out"), ("s", s, "out")])?;
        } else {
            CHECKS.rank("positions", positions, 1, "[s]")?;
            CHECKS.sizes("positions", positions, [("s", s, "out")])?;
        }
        CHECKS.aligned("positions", || "address".to_owned(), positions.address, 4)?;
        CHECKS.rank("inverse_frequencies", inverse_frequencies, 1, "[n]")?;
        CHECKS.contiguous("inverse_frequencies", inverse_frequencies)?;
        let mut inputs = vec![("positions", positions), ("inverse_frequencies", inverse_frequencies)];
        inputs.extend(x.as_ref().map(|x| ("x", x)));
        CHECKS.writable("out", out, &inputs)?;
        let n = inverse_frequencies.layout.len();
        let shape = Shape { b, s, h, d, n };
        let problem = Self::new(x.as_ref().map(|x| x.dtype), out.dtype, shape, *options)?;
        let tensors = x.iter().chain([out]);
        Ok(Self { unit: rows::unit(d, tensors).min(problem.unit), ..problem })
    }

    /// A problem from types and sizes alone, of aligned tensors.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(x_dtype: Option<DType>, dtype: DType, shape: Shape, options: Options) -> Result<Self> {
        for (argument, dtype) in [("x", x_dtype), ("out", Some(dtype))] {
            dtype.map_or(Ok(()), |dtype| rows::check_type(OP, argument, dtype))?;
        }
        let Shape { b, s, h, d, n } = shape;
        if n == 0 || n > d / 2 {
            let (op, argument, got) = (OP, "inverse_frequencies", n.to_string());
            return Err(Error::Unsupported { op, argument, what: "n", got, supported: "1 to d / 2" });
        }
        let too_large =
            |what, got: usize| Error::TooLarge { op: OP, what, got: got as u64, limit: rows::MAX_SIZE as u64 - 1 };
        for (what, got) in [("number of tokens", b.saturating_mul(s)), ("h", h), ("d", d)] {
            if got >= rows::MAX_SIZE {
                return Err(too_large(what, got));
            }
        }
        if !options.magnitude.is_finite() {
            return Err(Error::NotFinite { op: OP, option: "magnitude", got: options.magnitude.to_string() });
        }
        let unit = rows::unit_of_types(d, x_dtype.into_iter().chain([dtype]));
        let unit = if n.is_multiple_of(unit) { unit } else { 1 };
        Ok(Self { x_dtype, dtype, shape, unit, options })
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        let Shape { b, s, h, .. } = self.shape;
        b == 0 || s == 0 || h == 0
    }
}
