//! The checked problem.

use super::{OP, Plan};
use crate::attention::SequenceOperand;
use crate::check::Checks;
use crate::fused::rows;
use crate::scan::SequenceSizes;
use crate::{DType, Error, Operand, Result};

/// Most states of a channel.
pub const MAX_STATES: usize = 256;
/// Positions of a chunk, before which states are kept for the gradients.
pub const CHUNK: usize = 32;
/// Elements that a lane moves at once: what rows start at multiples of.
const UNIT: usize = 4;

/// The tensors, as the kernel sees them; see [`Args`](super::Args) and [`Extras`](super::Extras).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s, dim]`, or `[total, dim]`
    pub u: Operand,
    /// As u.
    pub delta: Operand,
    /// `[dim, d_state]`
    pub a: Operand,
    /// `[b, s, groups, d_state]`, or `[total, groups, d_state]`
    pub b: Operand,
    /// As B.
    pub c: Operand,
    /// As u.
    pub out: Operand,
    /// `[dim]`
    pub d: Option<Operand>,
    /// As u.
    pub z: Option<Operand>,
    /// `[dim]`
    pub delta_bias: Option<Operand>,
    /// `[b, dim, d_state]`
    pub initial_state: Option<Operand>,
    /// `[b, dim, d_state]`
    pub final_state: Option<Operand>,
    /// [`Shape::boundary_states`]
    pub boundary_states: Option<Operand>,
    /// `[bytes]`
    pub workspace: Option<Operand>,
    /// Sequences of all tensors of positions.
    pub cu_seqlens: Option<SequenceOperand>,
}

/// Options of the scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether step sizes are `softplus(delta + delta_bias) = ln(1 + exp(..))`, and not `delta + delta_bias` itself.
    pub softplus: bool,
    /// Whether `final_state` holds the initial state before, and the final one afterwards.
    pub update: bool,
}

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Sequences.
    pub sequences: SequenceSizes,
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
    /// The initial state, be it in `final_state`.
    pub initial_state: bool,
    /// The final state.
    pub final_state: bool,
    /// The states before each chunk.
    pub boundary_states: bool,
    /// A workspace, with which long sequences may be done in segments.
    pub workspace: bool,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Element type of all tensors of positions.
    pub dtype: DType,
    /// Sizes.
    pub shape: Shape,
    /// What there is of what may be left out.
    pub parts: Parts,
    /// Options.
    pub options: Options,
}

const CHECKS: Checks = Checks { op: OP };
const CHANNELS: [&str; 2] = ["[b, s, dim]", "[total, dim], with cu_seqlens"];
const STATES: [&str; 2] = ["[b, s, groups, d_state]", "[total, groups, d_state], with cu_seqlens"];

impl Shape {
    /// The shape of the states before each chunk of [`CHUNK`] positions. Sequence i of various lengths has those from
    /// number `cu_seqlens[i] / CHUNK + i` on.
    pub fn boundary_states(&self) -> [usize; 3] {
        let SequenceSizes { b, s, total } = self.sequences;
        let chunks = total.map_or(b * s.div_ceil(CHUNK), |total| total / CHUNK + b);
        [chunks, self.dim, self.d_state]
    }

    /// Checks u, A, B and C; their sizes.
    pub(crate) fn check(
        checks: Checks,
        [u, a, b, c]: [&Operand; 4],
        cu_seqlens: Option<&SequenceOperand>,
    ) -> Result<Self> {
        let sequences = SequenceSizes::check(checks, ("u", u), 1, CHANNELS, cu_seqlens)?;
        rows::check_type(checks.op, "u", u.dtype)?;
        let dim = u.layout.shape().last().copied().unwrap_or(0);
        checks.element_type("A", a, DType::F32, "")?;
        checks.rank("A", a, 2, "[dim, d_state]")?;
        let d_state = a.layout.shape()[1];
        checks.sizes("A", a, [("dim", dim, "u"), ("d_state", d_state, "A")])?;
        checks.contiguous("A", a)?;
        let rank = if cu_seqlens.is_some() { 3 } else { 4 };
        checks.rank("B", b, rank, STATES[usize::from(cu_seqlens.is_some())])?;
        let shape = Self { sequences, dim, d_state, groups: b.layout.shape()[rank - 2] };
        shape.supported(checks.op)?;
        checks.rows("A", a, 16)?;
        check_like_channels(checks, &shape, ("u", u), u.dtype)?;
        check_coefficients(checks, &shape, ("B", b), u.dtype)?;
        check_coefficients(checks, &shape, ("C", c), u.dtype)?;
        Ok(shape)
    }

    /// Itself, if kernels can do it.
    pub(crate) fn supported(self, op: &'static str) -> Result<Self> {
        let Self { sequences, dim, d_state, groups } = self;
        sequences.limited(op)?;
        if d_state == 0 || d_state % UNIT != 0 || d_state > MAX_STATES {
            let (argument, what, got, supported) = ("A", "d_state", d_state.to_string(), "multiples of 4 up to 256");
            return Err(Error::Unsupported { op, argument, what, got, supported });
        }
        if groups == 0 || dim % groups != 0 || (dim / groups) % UNIT != 0 {
            let supported = "numbers that divide dim into groups of a multiple of 4 channels";
            let got = format!("{groups} for dim {dim}");
            return Err(Error::Unsupported { op, argument: "B", what: "groups", got, supported });
        }
        let limit = i32::MAX as usize / 2;
        if dim > limit {
            return Err(Error::TooLarge { op, what: "dim", got: dim as u64, limit: limit as u64 });
        }
        Ok(self)
    }
}

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Element types, ranks, shapes that disagree, more than 256 states or not a multiple of 4, groups that do not
    /// divide the channels into multiples of 4, elements of the last dimension that are not adjacent, rows that do not
    /// start at multiples of 4 elements, gaps where none may be, an output that overlaps itself or another tensor, an
    /// update without a state or with two, 2^30 positions or more: each its own [`Error`], naming the argument, what it
    /// has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { u, delta, a, b, c, out, d, z, delta_bias, initial_state, final_state, .. } = operands;
        let shape = Shape::check(CHECKS, [u, a, b, c], operands.cu_seqlens.as_ref())?;
        for (argument, tensor) in [("delta", Some(delta)), ("out", Some(out)), ("z", z.as_ref())] {
            tensor.map_or(Ok(()), |tensor| check_like_channels(CHECKS, &shape, (argument, tensor), u.dtype))?;
        }
        for (argument, tensor) in [("D", d), ("delta_bias", delta_bias)] {
            tensor.as_ref().map_or(Ok(()), |tensor| check_vector(CHECKS, &shape, (argument, tensor)))?;
        }
        let states = [
            ("initial_state", initial_state, shape.sequences.b),
            ("final_state", final_state, shape.sequences.b),
            ("boundary_states", &operands.boundary_states, shape.boundary_states()[0]),
        ];
        for (argument, tensor, count) in states {
            tensor.as_ref().map_or(Ok(()), |tensor| check_states(CHECKS, &shape, (argument, tensor), count))?;
        }
        if options.update && final_state.is_none() {
            return Err(Error::Alone { op: OP, argument: "update", missing: "final_state" });
        }
        if options.update && initial_state.is_some() {
            let (got, expected) = ("true".to_owned(), "false where initial_state is given");
            return Err(Error::OutOfRange { op: OP, option: "update", got, expected });
        }
        let mut others = vec![("u", u), ("delta", delta), ("A", a), ("B", b), ("C", c)];
        let given = [("D", d), ("z", z), ("delta_bias", delta_bias), ("initial_state", initial_state)];
        others.extend(given.iter().filter_map(|(name, tensor)| Some((*name, tensor.as_ref()?))));
        if let Some(workspace) = &operands.workspace {
            CHECKS.rank("workspace", workspace, 1, "[bytes]")?;
            CHECKS.element_type("workspace", workspace, DType::U8, "")?;
            CHECKS.contiguous("workspace", workspace)?;
            CHECKS.aligned("workspace", || "address".to_owned(), workspace.address, 16)?;
        }
        let written = [
            ("final_state", final_state),
            ("boundary_states", &operands.boundary_states),
            ("workspace", &operands.workspace),
        ];
        let written = written.into_iter().filter_map(|(name, tensor)| Some((name, tensor.as_ref()?)));
        for (name, tensor) in [("out", out)].into_iter().chain(written) {
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        let parts = Parts {
            d: d.is_some(),
            z: z.is_some(),
            delta_bias: delta_bias.is_some(),
            initial_state: initial_state.is_some(),
            final_state: final_state.is_some(),
            boundary_states: operands.boundary_states.is_some(),
            workspace: operands.workspace.is_some(),
        };
        Self::new(u.dtype, shape, parts, *options)
    }

    /// A problem from its element type and sizes alone.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(dtype: DType, shape: Shape, parts: Parts, options: Options) -> Result<Self> {
        rows::check_type(OP, "u", dtype)?;
        let parts = Parts { initial_state: parts.initial_state || options.update, ..parts };
        Ok(Self { dtype, shape: shape.supported(OP)?, parts, options })
    }
}

impl Operands {
    /// Whether the workspace is large enough for a plan.
    pub(super) fn check_workspace(&self, plan: &Plan) -> Result<()> {
        let (got, needed) = (self.workspace.map_or(0, |workspace| workspace.layout.len()), plan.workspace_bytes);
        if got >= needed {
            return Ok(());
        }
        Err(Error::Workspace { op: OP, got: got as u64, needed: needed as u64 })
    }
}

/// Checks a tensor of all positions' channels.
pub(crate) fn check_like_channels(
    checks: Checks,
    shape: &Shape,
    (argument, tensor): (&'static str, &Operand),
    dtype: DType,
) -> Result<()> {
    shape.sequences.check_like(checks, (argument, tensor), "u", [("dim", shape.dim, "u")], CHANNELS)?;
    checks.element_type(argument, tensor, dtype, " (= u)")?;
    checks.rows(argument, tensor, (UNIT * dtype.size_bytes()) as u64)
}

/// Checks a tensor of all positions' states: B, C, or what is shaped like them.
pub(crate) fn check_coefficients(
    checks: Checks,
    shape: &Shape,
    (argument, tensor): (&'static str, &Operand),
    dtype: DType,
) -> Result<()> {
    let rest = [("groups", shape.groups, "B"), ("d_state", shape.d_state, "A")];
    shape.sequences.check_like(checks, (argument, tensor), "u", rest, STATES)?;
    checks.element_type(argument, tensor, dtype, " (= u)")?;
    checks.rows(argument, tensor, (UNIT * dtype.size_bytes()) as u64)
}

/// Checks one number for each channel.
pub(crate) fn check_vector(checks: Checks, shape: &Shape, (argument, tensor): (&'static str, &Operand)) -> Result<()> {
    checks.element_type(argument, tensor, DType::F32, "")?;
    checks.rank(argument, tensor, 1, "[dim]")?;
    checks.sizes(argument, tensor, [("dim", shape.dim, "u")])?;
    checks.contiguous(argument, tensor)
}

/// Checks `count` times all channels' states.
pub(crate) fn check_states(
    checks: Checks,
    shape: &Shape,
    (argument, tensor): (&'static str, &Operand),
    count: usize,
) -> Result<()> {
    checks.element_type(argument, tensor, DType::F32, "")?;
    let (dimensions, first) = match argument {
        "boundary_states" => ("[chunks, dim, d_state]", "chunks"),
        _ => ("[b, dim, d_state]", "b"),
    };
    checks.rank(argument, tensor, 3, dimensions)?;
    let sizes = [(first, count, "u and cu_seqlens"), ("dim", shape.dim, "u"), ("d_state", shape.d_state, "A")];
    checks.sizes(argument, tensor, sizes)?;
    checks.contiguous(argument, tensor)?;
    checks.rows(argument, tensor, 16)
}
