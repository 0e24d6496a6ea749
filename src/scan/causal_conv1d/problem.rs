//! The checked problem.

use super::OP;
use crate::attention::SequenceOperand;
use crate::check::Checks;
use crate::fused::rows;
use crate::scan::SequenceSizes;
use crate::{DType, Error, Operand, Result};

/// Most positions of a sequence in a call that [updates](Options::update): one thread's.
pub const MAX_UPDATE: usize = 64;

/// The tensors, as the kernel sees them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s, dim]`, or `[total, dim]`
    pub x: Operand,
    /// `[dim, width]`
    pub weight: Operand,
    /// As x.
    pub out: Operand,
    /// `[dim]`
    pub bias: Option<Operand>,
    /// `[b, dim, width - 1]`
    pub initial_state: Option<Operand>,
    /// `[b, dim, width - 1]`
    pub final_state: Option<Operand>,
    /// Sequences of x and out.
    pub cu_seqlens: Option<SequenceOperand>,
}

/// Options of the convolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the result goes through `silu(y) = y / (1 + exp(-y))`.
    pub silu: bool,
    /// Whether `final_state` holds the initial state before, and the final one afterwards: for decoding. No sequence may
    /// have more than [`MAX_UPDATE`] positions then.
    pub update: bool,
}

/// Element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types {
    /// Of x, the result and the states.
    pub x: DType,
    /// Of the weights.
    pub weight: DType,
    /// Of the bias, if there is one.
    pub bias: Option<DType>,
}

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Sequences.
    pub sequences: SequenceSizes,
    /// Channels.
    pub dim: usize,
    /// Inputs of an output: 2 to 4.
    pub width: usize,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Element types.
    pub types: Types,
    /// Sizes.
    pub shape: Shape,
    /// Whether there is an initial state, be it in `final_state`.
    pub has_initial_state: bool,
    /// Whether the final state is wanted.
    pub has_final_state: bool,
    /// Channels that a thread owns: 8, 4 or 1, by element types and alignment.
    pub unit: usize,
    /// Options.
    pub options: Options,
}

const CHECKS: Checks = Checks { op: OP };
pub(crate) const DIMENSIONS: [&str; 2] = ["[b, s, dim]", "[total, dim], with cu_seqlens"];

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Element types, ranks, shapes that disagree, a width other than 2 to 4, channels that are not adjacent, gaps where
    /// none may be, an address that does not suit the element type, an output that overlaps itself or another tensor, an
    /// update without a state, with two or with too many positions, 2^30 positions or more: each its own [`Error`],
    /// naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { x, weight, out, bias, initial_state, final_state, cu_seqlens } = operands;
        let sequences = SequenceSizes::check(CHECKS, ("x", x), 1, DIMENSIONS, cu_seqlens.as_ref())?;
        let dim = x.layout.shape().last().copied().unwrap_or(0);
        rows::check_type(OP, "x", x.dtype)?;
        let width = check_weights(CHECKS, weight, bias.as_ref(), dim)?;
        sequences.check_like(CHECKS, ("out", out), "x", [("dim", dim, "x")], DIMENSIONS)?;
        CHECKS.element_type("out", out, x.dtype, " (= x)")?;
        for (argument, tensor) in [("x", x), ("out", out)] {
            CHECKS.rows(argument, tensor, tensor.dtype.size_bytes() as u64)?;
        }
        for (argument, state) in [("initial_state", initial_state), ("final_state", final_state)] {
            let Some(state) = state else { continue };
            check_state(CHECKS, (argument, state), x.dtype, [sequences.b, dim, width])?;
        }
        if options.update && final_state.is_none() {
            return Err(Error::Alone { op: OP, argument: "update", missing: "final_state" });
        }
        if options.update && initial_state.is_some() {
            let (got, expected) = ("true".to_owned(), "false where initial_state is given");
            return Err(Error::OutOfRange { op: OP, option: "update", got, expected });
        }
        let mut others = vec![("x", x), ("weight", weight)];
        let given = [("bias", bias), ("initial_state", initial_state)];
        others.extend(given.iter().filter_map(|(name, tensor)| Some((*name, tensor.as_ref()?))));
        for (name, tensor) in [("out", Some(out)), ("final_state", final_state.as_ref())] {
            let Some(tensor) = tensor else { continue };
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        let types = Types { x: x.dtype, weight: weight.dtype, bias: bias.map(|bias| bias.dtype) };
        let states = [initial_state.is_some(), final_state.is_some()];
        let problem = Self::new(types, Shape { sequences, dim, width }, states, *options)?;
        let rest = [Some(weight), bias.as_ref(), initial_state.as_ref(), final_state.as_ref()];
        Ok(Self { unit: unit(problem.unit, &[x, out], &rest), ..problem })
    }

    /// A problem from types and sizes alone, of aligned tensors; whether there are an initial and a final state.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(types: Types, shape: Shape, states: [bool; 2], options: Options) -> Result<Self> {
        Self::of(OP, types, shape, states, options)
    }

    /// The same for an operator of that name.
    pub(crate) fn of(
        op: &'static str,
        types: Types,
        shape: Shape,
        states: [bool; 2],
        options: Options,
    ) -> Result<Self> {
        let Shape { sequences, dim, width } = shape;
        rows::check_type(op, "x", types.x)?;
        rows::check_type(op, "weight", types.weight)?;
        types.bias.map_or(Ok(()), |bias| rows::check_type(op, "bias", bias))?;
        check_width(op, width)?;
        sequences.limited(OP)?;
        let limit = i32::MAX as usize;
        if dim > limit {
            return Err(Error::TooLarge { op, what: "dim", got: dim as u64, limit: limit as u64 });
        }
        if options.update && sequences.s > MAX_UPDATE {
            let what = "s of a call that updates";
            return Err(Error::TooLarge { op, what, got: sequences.s as u64, limit: MAX_UPDATE as u64 });
        }
        let dtypes = [types.x, types.weight].into_iter().chain(types.bias);
        let has_initial_state = states[0] || options.update;
        let unit = rows::unit_of_types(dim, dtypes);
        Ok(Self { types, shape, has_initial_state, has_final_state: states[1], unit, options })
    }
}

/// Checks weights `[dim, width]` and bias `[dim]`; the width.
pub(crate) fn check_weights(checks: Checks, weight: &Operand, bias: Option<&Operand>, dim: usize) -> Result<usize> {
    rows::check_type(checks.op, "weight", weight.dtype)?;
    checks.rank("weight", weight, 2, "[dim, width]")?;
    let width = weight.layout.shape()[1];
    check_width(checks.op, width)?;
    checks.sizes("weight", weight, [("dim", dim, "x"), ("width", width, "weight")])?;
    checks.contiguous("weight", weight)?;
    if let Some(bias) = bias {
        rows::check_type(checks.op, "bias", bias.dtype)?;
        checks.rank("bias", bias, 1, "[dim]")?;
        checks.sizes("bias", bias, [("dim", dim, "x")])?;
        checks.contiguous("bias", bias)?;
    }
    Ok(width)
}

fn check_width(op: &'static str, width: usize) -> Result<()> {
    if (2..=4).contains(&width) {
        return Ok(());
    }
    Err(Error::Unsupported { op, argument: "weight", what: "width", got: width.to_string(), supported: "2, 3, 4" })
}

/// Checks a state, or a state's gradient.
pub(crate) fn check_state(
    checks: Checks,
    (argument, state): (&'static str, &Operand),
    dtype: DType,
    [b, dim, width]: [usize; 3],
) -> Result<()> {
    checks.element_type(argument, state, dtype, " (= x)")?;
    checks.rank(argument, state, 3, "[b, dim, width - 1]")?;
    let sizes = [("b", b, "x and cu_seqlens"), ("dim", dim, "x"), ("width - 1", width - 1, "weight")];
    checks.sizes(argument, state, sizes)?;
    checks.contiguous(argument, state)
}

/// Channels of a thread: `unit` if memory allows, else 1. `of_positions` are the tensors with strides, `rest` has no gaps.
pub(crate) fn unit(unit: usize, of_positions: &[&Operand], rest: &[Option<&Operand>]) -> usize {
    let aligned = |tensor: &Operand| tensor.address.is_multiple_of((unit * tensor.dtype.size_bytes()) as u64);
    let strided = |tensor: &&Operand| {
        let mut dims = tensor.layout.strides().iter().zip(tensor.layout.shape()).rev().skip(1);
        aligned(tensor) && dims.all(|(stride, &size)| size <= 1 || stride.is_multiple_of(unit))
    };
    let fits = of_positions.iter().all(strided) && rest.iter().flatten().all(|tensor| aligned(tensor));
    if fits { unit } else { 1 }
}
