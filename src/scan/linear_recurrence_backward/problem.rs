//! The checked problem.

use super::{DecayKind, OP, Options, Plan, Shape};
use crate::attention::SequenceOperand;
use crate::check::Checks;
use crate::scan::SequenceSizes;
use crate::scan::linear_recurrence::{self, FeatureMap};
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernels see them; see [`Args`](super::Args).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s, h_k, d_k]`, or `[total, h_k, d_k]`
    pub q: Operand,
    /// Likewise.
    pub k: Operand,
    /// `[b, s, h, d_v]`, or `[total, h, d_v]`
    pub v: Operand,
    /// Likewise.
    pub d_out: Operand,
    /// As q.
    pub d_q: Operand,
    /// As k.
    pub d_k: Operand,
    /// As v.
    pub d_v: Operand,
    /// Which decay, and its logarithms.
    pub decay: Option<(DecayKind, Operand)>,
    /// As the decay.
    pub d_decay: Option<Operand>,
    /// `[b, h, d_k, d_v]`
    pub initial_state: Option<Operand>,
    /// `[b, h, d_k, d_v]`
    pub d_initial_state: Option<Operand>,
    /// `[b, h, d_k, d_v]`
    pub d_final_state: Option<Operand>,
    /// `[b, h, d_k]`
    pub initial_normaliser: Option<Operand>,
    /// `[b, h, d_k]`
    pub d_initial_normaliser: Option<Operand>,
    /// `[b, h, d_k]`
    pub d_final_normaliser: Option<Operand>,
    /// Where the sequences lie.
    pub cu_seqlens: Option<SequenceOperand>,
    /// `[bytes]`
    pub workspace: Operand,
}

/// A problem that the kernels can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// The forward pass.
    pub forward: linear_recurrence::Problem,
    /// Whether the gradient of the decays is wanted.
    pub d_decay: bool,
    /// Whether the final state has a gradient.
    pub d_final_state: bool,
    /// Whether the final normaliser has one.
    pub d_final_normaliser: bool,
    /// Normalisers and their gradients that are read and written: 0 to 3.
    pub normalisers: usize,
}

const CHECKS: Checks = Checks { op: OP };
/// The kernels load and store 16 bytes a lane.
const ALIGNMENT: u64 = 16;
/// Steps of a chunk where the gradient of the decays is wanted.
const DECAY_CHUNK: usize = 256;

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Rank, element types, widths, sizes that disagree, heads that don't divide, a scale or epsilon that is not finite, a chunk
    /// that is no multiple of 64, a gradient of decays that there are none of, a normaliser's state without a normaliser, a last
    /// stride other than 1, misaligned rows, states with gaps, an output that overlaps itself or another tensor, sizes beyond
    /// 2^30: each its own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { q, k, v, d_out, d_q, d_k, d_v, decay, .. } = operands;
        let keys = ["[b, s, h_k, d_k]", "[total, h_k, d_k]"];
        let values = ["[b, s, h, d_v]", "[total, h, d_v]"];
        let sequences = SequenceSizes::check(CHECKS, ("q", q), 2, keys, operands.cu_seqlens.as_ref())?;
        CHECKS.rank("v", v, q.layout.rank(), values[usize::from(sequences.total.is_some())])?;
        let size = |tensor: &Operand, from_last: usize| tensor.layout.shape()[tensor.layout.rank() - from_last];
        let shape = Shape { h_k: size(q, 2), d_k: size(q, 1), h: size(v, 2), d_v: size(v, 1) };
        let kind = decay.map(|(kind, _)| kind);
        let mut problem = Self::new(q.dtype, sequences, shape, kind, options)?;
        let of_keys = [("h_k", shape.h_k, "q"), ("d_k", shape.d_k, "q")];
        let of_values = [("h", shape.h, "v"), ("d_v", shape.d_v, "v")];
        for (name, tensor) in [("q", q), ("k", k), ("d_q", d_q), ("d_k", d_k)] {
            CHECKS.element_type(name, tensor, q.dtype, " (= q)")?;
            sequences.check_like(CHECKS, (name, tensor), "q", of_keys, keys)?;
            CHECKS.rows(name, tensor, ALIGNMENT)?;
        }
        for (name, tensor) in [("v", v), ("d_out", d_out), ("d_v", d_v)] {
            CHECKS.element_type(name, tensor, q.dtype, " (= q)")?;
            sequences.check_like(CHECKS, (name, tensor), "q", of_values, values)?;
            CHECKS.rows(name, tensor, ALIGNMENT)?;
        }
        let decays =
            [decay.as_ref().map(|(_, decay)| ("decay", decay)), operands.d_decay.as_ref().map(|d| ("d_decay", d))];
        for (name, tensor) in decays.into_iter().flatten() {
            let h = ("h", shape.h, "v");
            CHECKS.element_type(name, tensor, DType::F32, "")?;
            match kind {
                None => return Err(Error::Alone { op: OP, argument: name, missing: "decay" }),
                Some(DecayKind::Heads) => {
                    CHECKS.rank(name, tensor, 1, "[h]")?;
                    CHECKS.sizes(name, tensor, [h])?;
                }
                Some(DecayKind::Steps) => {
                    sequences.check_like(CHECKS, (name, tensor), "q", [h], ["[b, s, h]", "[total, h]"])?;
                }
                Some(DecayKind::Channels) => {
                    let (d_k, names) = (("d_k", shape.d_k, "q"), ["[b, s, h, d_k]", "[total, h, d_k]"]);
                    sequences.check_like(CHECKS, (name, tensor), "q", [h, d_k], names)?;
                    CHECKS.rows(name, tensor, ALIGNMENT)?;
                }
            }
            CHECKS.elements(name, tensor)?;
        }
        operands.check_memory(&sequences, shape, options)?;
        problem.d_decay = operands.d_decay.is_some();
        problem.d_final_state = operands.d_final_state.is_some();
        problem.d_final_normaliser = operands.d_final_normaliser.is_some();
        problem.forward.states = operands.states().into_iter().flatten().count();
        problem.normalisers = operands.normalisers().into_iter().flatten().count();
        Ok(problem)
    }

    /// A problem from its types and sizes alone, without states and gradients of decays.
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
        let forward = linear_recurrence::Problem::of(OP, dtype, sequences, shape, decay, options)?;
        Ok(Self { forward, d_decay: false, d_final_state: false, d_final_normaliser: false, normalisers: 0 })
    }

    /// The steps after which the sums of a decay's gradient begin anew: see the README.
    pub(super) fn decay_chunk(&self) -> usize {
        self.forward.chunk.unwrap_or(DECAY_CHUNK)
    }

    /// The recurrences that give the gradients of q, k and v, on features: see the README.
    pub(super) fn sweeps(&self) -> [linear_recurrence::Problem; 3] {
        let Shape { h_k, h, d_k, d_v } = self.forward.shape;
        let plain = linear_recurrence::Problem { feature_map: FeatureMap::Identity, normaliser: None, ..self.forward };
        let chunk = if self.d_decay { Some(self.decay_chunk()) } else { self.forward.chunk };
        let across = linear_recurrence::Problem { shape: Shape { h_k: h, h, d_k: d_v, d_v: d_k }, chunk, ..plain };
        // Queries that were divided are those of a head of the state.
        let h_k = if self.forward.normaliser.is_some() { h } else { h_k };
        [across, across, linear_recurrence::Problem { shape: Shape { h_k, h, d_k, d_v }, ..plain }]
    }
}

impl Operands {
    fn states(&self) -> [Option<&Operand>; 3] {
        [self.initial_state.as_ref(), self.d_initial_state.as_ref(), self.d_final_state.as_ref()]
    }

    fn normalisers(&self) -> [Option<&Operand>; 3] {
        [self.initial_normaliser.as_ref(), self.d_initial_normaliser.as_ref(), self.d_final_normaliser.as_ref()]
    }

    fn check_memory(&self, sequences: &SequenceSizes, shape: Shape, options: &Options) -> Result<()> {
        let Shape { h, d_k, d_v, .. } = shape;
        let sizes = [("b", sequences.b, "q"), ("h", h, "v"), ("d_k", d_k, "q"), ("d_v", d_v, "v")];
        let states = ["initial_state", "d_initial_state", "d_final_state"].into_iter().zip(self.states());
        let normalisers = ["initial_normaliser", "d_initial_normaliser", "d_final_normaliser"].into_iter();
        for (name, tensor) in states.chain(normalisers.zip(self.normalisers())) {
            let Some(tensor) = tensor else { continue };
            if name.ends_with("state") {
                CHECKS.rank(name, tensor, 4, "[b, h, d_k, d_v]")?;
                CHECKS.sizes(name, tensor, sizes)?;
            } else if options.normaliser.is_none() {
                return Err(Error::Alone { op: OP, argument: name, missing: "options.normaliser" });
            } else {
                CHECKS.rank(name, tensor, 3, "[b, h, d_k]")?;
                let [b, h, d_k, _] = sizes;
                CHECKS.sizes(name, tensor, [b, h, d_k])?;
            }
            CHECKS.element_type(name, tensor, DType::F32, "")?;
            CHECKS.contiguous(name, tensor)?;
            CHECKS.aligned(name, || "address".to_owned(), tensor.address, ALIGNMENT)?;
        }
        let workspace = &self.workspace;
        CHECKS.rank("workspace", workspace, 1, "[bytes]")?;
        CHECKS.element_type("workspace", workspace, DType::U8, "")?;
        CHECKS.contiguous("workspace", workspace)?;
        CHECKS.rows("workspace", workspace, ALIGNMENT)?;
        let mut others = vec![("q", &self.q), ("k", &self.k), ("v", &self.v), ("d_out", &self.d_out)];
        others.extend(self.decay.as_ref().map(|(_, decay)| ("decay", decay)));
        others.extend(self.initial_state.as_ref().map(|state| ("initial_state", state)));
        others.extend(self.d_final_state.as_ref().map(|state| ("d_final_state", state)));
        others.extend(self.initial_normaliser.as_ref().map(|state| ("initial_normaliser", state)));
        others.extend(self.d_final_normaliser.as_ref().map(|state| ("d_final_normaliser", state)));
        let outputs = [
            Some(("d_q", &self.d_q)),
            Some(("d_k", &self.d_k)),
            Some(("d_v", &self.d_v)),
            self.d_decay.as_ref().map(|decay| ("d_decay", decay)),
            self.d_initial_state.as_ref().map(|state| ("d_initial_state", state)),
            self.d_initial_normaliser.as_ref().map(|state| ("d_initial_normaliser", state)),
            Some(("workspace", workspace)),
        ];
        for (name, tensor) in outputs.into_iter().flatten() {
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        Ok(())
    }

    /// Whether the workspace is large enough for a plan.
    pub(super) fn check_workspace(&self, plan: &Plan) -> Result<()> {
        let (got, needed) = (self.workspace.layout.len(), plan.workspace.bytes);
        if got >= needed {
            return Ok(());
        }
        Err(Error::Workspace { op: OP, got: got as u64, needed: needed as u64 })
    }
}
