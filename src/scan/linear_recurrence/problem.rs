//! The checked problem.

use super::{FeatureMap, OP, Options, Plan};
use crate::attention::SequenceOperand;
use crate::check::Checks;
use crate::scan::SequenceSizes;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernel sees them; see [`Args`](super::Args).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s, h_k, d_k]`, or `[total, h_k, d_k]`
    pub q: Operand,
    /// Likewise.
    pub k: Operand,
    /// `[b, s, h, d_v]`, or `[total, h, d_v]`
    pub v: Operand,
    /// Likewise.
    pub out: Operand,
    /// Which decay, and its logarithms.
    pub decay: Option<(DecayKind, Operand)>,
    /// `[b, h, d_k, d_v]`
    pub initial_state: Option<Operand>,
    /// `[b, h, d_k, d_v]`
    pub final_state: Option<Operand>,
    /// `[b, h, d_k]`
    pub initial_normaliser: Option<Operand>,
    /// `[b, h, d_k]`
    pub final_normaliser: Option<Operand>,
    /// Where the sequences lie.
    pub cu_seqlens: Option<SequenceOperand>,
    /// `[bytes]`
    pub workspace: Option<Operand>,
}

/// What has a decay of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecayKind {
    /// A head.
    Heads,
    /// A step and head.
    Steps,
    /// A step, head and key channel.
    Channels,
}

/// Sizes beside those of the sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Heads of q and k; each serves `h / h_k` heads of v.
    pub h_k: usize,
    /// Heads of v.
    pub h: usize,
    /// Channels of q and k.
    pub d_k: usize,
    /// Columns of v and of the result.
    pub d_v: usize,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element type of q, k, v and out: f16 or bf16.
    pub dtype: DType,
    /// Sequences.
    pub sequences: SequenceSizes,
    /// Sizes.
    pub shape: Shape,
    /// What has a decay of its own; `None`: nothing decays.
    pub decay: Option<DecayKind>,
    /// What q and k are replaced by.
    pub feature_map: FeatureMap,
    /// Epsilon of the normaliser, finite, if there is one.
    pub normaliser: Option<f32>,
    /// Factor of q, finite.
    pub scale: f32,
    /// Steps of a chunk, if they were given.
    pub chunk: Option<usize>,
    /// States that are read and written: 0 to 2.
    pub states: usize,
}

const CHECKS: Checks = Checks { op: OP };
/// The kernel loads and stores 16 bytes a lane.
const ALIGNMENT: u64 = 16;
/// Most heads.
const MAX_HEADS: usize = 1 << 20;
const MAX_WIDTH: usize = 256;
/// Chunks are whole tiles of steps.
pub(super) const CHUNK_UNIT: usize = 64;

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Rank, element types, widths, sizes that disagree, heads that don't divide, a scale or epsilon that is not finite, a
    /// chunk that is no multiple of 64, a normaliser's state without a normaliser, a last stride other than 1, misaligned
    /// rows, states with gaps, an output that overlaps itself or another tensor, sizes beyond 2^30: each its own
    /// [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { q, k, v, out, decay, .. } = operands;
        let names = ["[b, s, h_k, d_k]", "[total, h_k, d_k]"];
        let sequences = SequenceSizes::check(CHECKS, ("q", q), 2, names, operands.cu_seqlens.as_ref())?;
        let values = ["[b, s, h, d_v]", "[total, h, d_v]"];
        CHECKS.rank("v", v, q.layout.rank(), values[usize::from(sequences.total.is_some())])?;
        let size = |tensor: &Operand, from_last: usize| tensor.layout.shape()[tensor.layout.rank() - from_last];
        let shape = Shape { h_k: size(q, 2), d_k: size(q, 1), h: size(v, 2), d_v: size(v, 1) };
        let Shape { h_k, h, d_k, d_v } = shape;
        for (name, tensor) in [("k", k), ("v", v), ("out", out)] {
            CHECKS.element_type(name, tensor, q.dtype, " (= q)")?;
        }
        let mut problem = Self::new(q.dtype, sequences, shape, decay.map(|(kind, _)| kind), options)?;
        sequences.check_like(CHECKS, ("k", k), "q", [("h_k", h_k, "q"), ("d_k", d_k, "q")], names)?;
        sequences.check_like(CHECKS, ("v", v), "q", [("h", h, "v"), ("d_v", d_v, "v")], values)?;
        sequences.check_like(CHECKS, ("out", out), "q", [("h", h, "v"), ("d_v", d_v, "v")], values)?;
        for (name, tensor) in [("q", q), ("k", k), ("v", v), ("out", out)] {
            CHECKS.rows(name, tensor, ALIGNMENT)?;
        }
        problem.check_decay(decay.as_ref())?;
        problem.check_states(operands)?;
        problem.states = [operands.initial_state, operands.final_state].iter().flatten().count();
        Ok(problem)
    }

    fn check_decay(&self, decay: Option<&(DecayKind, Operand)>) -> Result<()> {
        let Some((kind, decay)) = decay else { return Ok(()) };
        let (argument, h, d_k) = (("decay", decay), ("h", self.shape.h, "v"), ("d_k", self.shape.d_k, "q"));
        CHECKS.element_type("decay", decay, DType::F32, "")?;
        match kind {
            DecayKind::Heads => {
                CHECKS.rank("decay", decay, 1, "[h]")?;
                CHECKS.sizes("decay", decay, [h])?;
                CHECKS.elements("decay", decay)
            }
            DecayKind::Steps => {
                self.sequences.check_like(CHECKS, argument, "q", [h], ["[b, s, h]", "[total, h]"])?;
                CHECKS.elements("decay", decay)
            }
            DecayKind::Channels => {
                let names = ["[b, s, h, d_k]", "[total, h, d_k]"];
                self.sequences.check_like(CHECKS, argument, "q", [h, d_k], names)?;
                CHECKS.rows("decay", decay, ALIGNMENT)
            }
        }
    }

    fn check_states(&self, operands: &Operands) -> Result<()> {
        let Shape { h, d_k, d_v, .. } = self.shape;
        let state = [("b", self.sequences.b, "q"), ("h", h, "v"), ("d_k", d_k, "q"), ("d_v", d_v, "v")];
        let [b, h, d_k, _] = state;
        let states = [("initial_state", &operands.initial_state), ("final_state", &operands.final_state)];
        let normalisers =
            [("initial_normaliser", &operands.initial_normaliser), ("final_normaliser", &operands.final_normaliser)];
        for (name, tensor) in states.into_iter().chain(normalisers) {
            let Some(tensor) = tensor else { continue };
            if name.ends_with("state") {
                CHECKS.rank(name, tensor, 4, "[b, h, d_k, d_v]")?;
                CHECKS.sizes(name, tensor, state)?;
            } else if self.normaliser.is_none() {
                return Err(Error::Alone { op: OP, argument: name, missing: "options.normaliser" });
            } else {
                CHECKS.rank(name, tensor, 3, "[b, h, d_k]")?;
                CHECKS.sizes(name, tensor, [b, h, d_k])?;
            }
            CHECKS.element_type(name, tensor, DType::F32, "")?;
            CHECKS.contiguous(name, tensor)?;
            CHECKS.aligned(name, || "address".to_owned(), tensor.address, ALIGNMENT)?;
        }
        if let Some(workspace) = &operands.workspace {
            CHECKS.rank("workspace", workspace, 1, "[bytes]")?;
            CHECKS.element_type("workspace", workspace, DType::U8, "")?;
            CHECKS.contiguous("workspace", workspace)?;
            CHECKS.rows("workspace", workspace, ALIGNMENT)?;
        }
        let inputs = [
            Some(("q", &operands.q)),
            Some(("k", &operands.k)),
            Some(("v", &operands.v)),
            operands.decay.as_ref().map(|(_, decay)| ("decay", decay)),
            operands.initial_state.as_ref().map(|state| ("initial_state", state)),
            operands.initial_normaliser.as_ref().map(|state| ("initial_normaliser", state)),
        ];
        let mut others: Vec<_> = inputs.into_iter().flatten().collect();
        let outputs = [
            Some(("out", &operands.out)),
            operands.final_state.as_ref().map(|state| ("final_state", state)),
            operands.final_normaliser.as_ref().map(|state| ("final_normaliser", state)),
            operands.workspace.as_ref().map(|workspace| ("workspace", workspace)),
        ];
        for (name, tensor) in outputs.into_iter().flatten() {
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        Ok(())
    }

    /// A problem from its types and sizes alone, without states.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(
        dtype: DType,
        sequences: SequenceSizes,
        shape: Shape,
        decay: Option<DecayKind>,
        options: &Options,
    ) -> Result<Self> {
        Self::of(OP, dtype, sequences, shape, decay, options)
    }

    /// Likewise for another operator on this recurrence.
    pub(crate) fn of(
        op: &'static str,
        dtype: DType,
        sequences: SequenceSizes,
        shape: Shape,
        decay: Option<DecayKind>,
        options: &Options,
    ) -> Result<Self> {
        let Shape { h_k, h, d_k, d_v } = shape;
        let unsupported =
            |argument, what, got, supported| Err(Error::Unsupported { op, argument, what, got, supported });
        if !matches!(dtype, DType::F16 | DType::BF16) {
            return unsupported("q", "dtype", dtype.to_string(), "f16, bf16");
        }
        for (argument, what, width) in [("q", "d_k", d_k), ("v", "d_v", d_v)] {
            if width == 0 || width % 16 != 0 || width > MAX_WIDTH {
                return unsupported(argument, what, width.to_string(), "multiples of 16 up to 256");
            }
        }
        if h_k == 0 && h > 0 || h_k > 0 && h % h_k != 0 {
            return Err(Error::NotDivisible { op, argument: "v", got: h, divisor: h_k, of: "q" });
        }
        if h > MAX_HEADS {
            return Err(Error::TooLarge { op, what: "h", got: h as u64, limit: MAX_HEADS as u64 });
        }
        let scale = options.scale.unwrap_or(1.0 / (d_k as f32).sqrt());
        for (option, number) in [("scale", Some(scale)), ("normaliser", options.normaliser)] {
            if let Some(number) = number.filter(|number| !number.is_finite()) {
                return Err(Error::NotFinite { op, option, got: number.to_string() });
            }
        }
        if let Some(chunk) = options.chunk.filter(|chunk| *chunk == 0 || chunk % CHUNK_UNIT != 0) {
            let (got, expected) = (chunk.to_string(), "a multiple of 64");
            return Err(Error::OutOfRange { op, option: "chunk", got, expected });
        }
        let sequences = sequences.limited(op)?;
        let Options { feature_map, normaliser, chunk, .. } = *options;
        Ok(Self { dtype, sequences, shape, decay, feature_map, normaliser, scale, chunk, states: 0 })
    }

    /// Heads of the state for each of q and k.
    pub(crate) fn heads_per_key(&self) -> usize {
        self.shape.h.checked_div(self.shape.h_k).unwrap_or(1)
    }

    /// Whether there is nothing to compute. Without steps a final state is still the initial one.
    pub fn is_empty(&self) -> bool {
        self.sequences.b == 0 || self.shape.h == 0
    }
}

impl Operands {
    /// Whether the workspace is large enough for a plan.
    pub(super) fn check_workspace(&self, plan: &Plan) -> Result<()> {
        let (got, needed) = (self.workspace.map_or(0, |workspace| workspace.layout.len()), plan.workspace.bytes);
        if got >= needed {
            return Ok(());
        }
        Err(Error::Workspace { op: OP, got: got as u64, needed: needed as u64 })
    }
}
