//! The checked problem.

use super::OP;
use crate::check::Checks;
use crate::fused::rows;
use crate::scan::{SequenceSizes, selective_scan};
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernel sees them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, dim]`
    pub u: Operand,
    /// `[b, dim]`
    pub delta: Operand,
    /// `[dim, d_state]`
    pub a: Operand,
    /// `[b, groups, d_state]`
    pub b: Operand,
    /// `[b, groups, d_state]`
    pub c: Operand,
    /// `[b, dim, d_state]`
    pub state: Operand,
    /// `[b, dim]`
    pub out: Operand,
    /// `[dim]`
    pub d: Option<Operand>,
    /// `[b, dim]`
    pub z: Option<Operand>,
    /// `[dim]`
    pub delta_bias: Option<Operand>,
}

/// Options of the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether step sizes are `softplus(delta + delta_bias)`, and not `delta + delta_bias` itself.
    pub softplus: bool,
}

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Sequences.
    pub b: usize,
    /// Channels.
    pub dim: usize,
    /// States of a channel.
    pub d_state: usize,
    /// Groups of neighbouring channels, which share B and C.
    pub groups: usize,
}

/// What there is of what may be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// `D`.
    pub d: bool,
    /// The gate.
    pub z: bool,
    /// What is added to step sizes.
    pub delta_bias: bool,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Element type of u, delta, z, B, C and the result.
    pub dtype: DType,
    /// Sizes.
    pub shape: Shape,
    /// What there is of what may be left out.
    pub parts: Parts,
    /// Options.
    pub options: Options,
}

const CHECKS: Checks = Checks { op: OP };

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Element types, ranks, shapes that disagree, more than 256 states or not a multiple of 4, groups that do not
    /// divide the channels into multiples of 4, elements of the last dimension that are not adjacent, rows of B and C
    /// that do not start at multiples of 4 elements, gaps where none may be, an output that overlaps itself or another
    /// tensor: each its own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { u, delta, a, b, c, state, out, d, z, delta_bias } = operands;
        rows::check_type(OP, "u", u.dtype)?;
        CHECKS.rank("u", u, 2, "[b, dim]")?;
        let (sequences, dim) = (u.layout.shape()[0], u.layout.shape()[1]);
        CHECKS.element_type("A", a, DType::F32, "")?;
        CHECKS.rank("A", a, 2, "[dim, d_state]")?;
        let d_state = a.layout.shape()[1];
        CHECKS.sizes("A", a, [("dim", dim, "u"), ("d_state", d_state, "A")])?;
        CHECKS.contiguous("A", a)?;
        CHECKS.rank("B", b, 3, "[b, groups, d_state]")?;
        let shape = Shape { b: sequences, dim, d_state, groups: b.layout.shape()[1] };
        shape.supported()?;
        CHECKS.rows("A", a, 16)?;
        for (argument, tensor) in [("u", Some(u)), ("delta", Some(delta)), ("z", z.as_ref()), ("out", Some(out))] {
            let Some(tensor) = tensor else { continue };
            CHECKS.element_type(argument, tensor, u.dtype, " (= u)")?;
            CHECKS.rank(argument, tensor, 2, "[b, dim]")?;
            CHECKS.sizes(argument, tensor, [("b", sequences, "u"), ("dim", dim, "u")])?;
            CHECKS.rows(argument, tensor, u.dtype.size_bytes() as u64)?;
        }
        for (argument, tensor) in [("B", b), ("C", c)] {
            CHECKS.element_type(argument, tensor, u.dtype, " (= u)")?;
            CHECKS.rank(argument, tensor, 3, "[b, groups, d_state]")?;
            let sizes = [("b", sequences, "u"), ("groups", shape.groups, "B"), ("d_state", d_state, "A")];
            CHECKS.sizes(argument, tensor, sizes)?;
            CHECKS.rows(argument, tensor, 4 * u.dtype.size_bytes() as u64)?;
        }
        for (argument, tensor) in [("D", d), ("delta_bias", delta_bias)] {
            let Some(tensor) = tensor else { continue };
            CHECKS.element_type(argument, tensor, DType::F32, "")?;
            CHECKS.rank(argument, tensor, 1, "[dim]")?;
            CHECKS.sizes(argument, tensor, [("dim", dim, "u")])?;
            CHECKS.contiguous(argument, tensor)?;
        }
        CHECKS.element_type("state", state, DType::F32, "")?;
        CHECKS.rank("state", state, 3, "[b, dim, d_state]")?;
        CHECKS.sizes("state", state, [("b", sequences, "u"), ("dim", dim, "u"), ("d_state", d_state, "A")])?;
        CHECKS.contiguous("state", state)?;
        CHECKS.rows("state", state, 16)?;
        let mut others = vec![("u", u), ("delta", delta), ("A", a), ("B", b), ("C", c)];
        let given = [("D", d), ("z", z), ("delta_bias", delta_bias)];
        others.extend(given.iter().filter_map(|(name, tensor)| Some((*name, tensor.as_ref()?))));
        for (name, tensor) in [("state", state), ("out", out)] {
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        let parts = Parts { d: d.is_some(), z: z.is_some(), delta_bias: delta_bias.is_some() };
        Self::new(u.dtype, shape, parts, *options)
    }

    /// A problem from its element type and sizes alone.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(dtype: DType, shape: Shape, parts: Parts, options: Options) -> Result<Self> {
        rows::check_type(OP, "u", dtype)?;
        shape.supported()?;
        Ok(Self { dtype, shape, parts, options })
    }

    /// The same as a scan of one position of each sequence, in place.
    pub fn as_scan(&self) -> Result<selective_scan::Problem> {
        let Parts { d, z, delta_bias } = self.parts;
        let parts = selective_scan::Parts { d, z, delta_bias, final_state: true, ..Default::default() };
        let options = selective_scan::Options { softplus: self.options.softplus, update: true };
        selective_scan::Problem::new(self.dtype, self.shape.as_scan(), parts, options)
    }
}

impl Shape {
    fn as_scan(&self) -> selective_scan::Shape {
        let Self { b, dim, d_state, groups } = *self;
        selective_scan::Shape { sequences: SequenceSizes::uniform(b, 1), dim, d_state, groups }
    }

    fn supported(&self) -> Result<()> {
        self.as_scan().supported(OP)?;
        let (channels, limit) = (self.b.saturating_mul(self.dim), u32::MAX as usize / 32);
        if channels > limit {
            let (what, got) = ("b * dim", channels as u64);
            return Err(Error::TooLarge { op: OP, what, got, limit: limit as u64 });
        }
        Ok(())
    }
}
