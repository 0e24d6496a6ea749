//! The checked problem.

use super::{DecayKind, FeatureMap, OP, Options, Shape};
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernel sees them; see [`Args`](super::Args).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, h_k, d_k]`
    pub q: Operand,
    /// `[b, h_k, d_k]`
    pub k: Operand,
    /// `[b, h, d_v]`
    pub v: Operand,
    /// `[b, h, d_v]`
    pub out: Operand,
    /// Which decay, and its logarithms.
    pub decay: Option<(DecayKind, Operand)>,
    /// `[b, h, d_k, d_v]`
    pub state: Operand,
    /// `[b, h, d_k]`
    pub normaliser: Option<Operand>,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element type of q, k, v and out.
    pub dtype: DType,
    /// Sequences.
    pub b: usize,
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
}

const CHECKS: Checks = Checks { op: OP };
/// The kernel loads and stores 16 bytes a lane of the state.
const ALIGNMENT: u64 = 16;
const MAX_SIZE: usize = 1 << 20;
const MAX_WIDTH: usize = 256;

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Rank, element types, widths, sizes that disagree, heads that don't divide, a scale or epsilon that is not finite, a
    /// chunk, a normaliser without its epsilon or the other way round, a last stride other than 1, misaligned rows, states
    /// with gaps, an output that overlaps itself or another tensor, more than 2^20 sequences or heads: each its own
    /// [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { q, k, v, out, decay, state, normaliser } = operands;
        let ranks = [("q", q, "[b, h_k, d_k]"), ("k", k, "[b, h_k, d_k]"), ("v", v, "[b, h, d_v]")];
        for (name, tensor, dimensions) in ranks.into_iter().chain([("out", out, "[b, h, d_v]")]) {
            CHECKS.rank(name, tensor, 3, dimensions)?;
            CHECKS.element_type(name, tensor, q.dtype, " (= q)")?;
        }
        let size = |tensor: &Operand, dim: usize| tensor.layout.shape()[dim];
        let shape = Shape { h_k: size(q, 1), d_k: size(q, 2), h: size(v, 1), d_v: size(v, 2) };
        let problem = Self::new(q.dtype, size(q, 0), shape, decay.map(|(kind, _)| kind), options)?;
        let (b, h_k, d_k) = (("b", problem.b, "q"), ("h_k", shape.h_k, "q"), ("d_k", shape.d_k, "q"));
        let (h, d_v) = (("h", shape.h, "v"), ("d_v", shape.d_v, "v"));
        CHECKS.sizes("k", k, [b, h_k, d_k])?;
        CHECKS.sizes("v", v, [b, h, d_v])?;
        CHECKS.sizes("out", out, [b, h, d_v])?;
        for (name, tensor) in [("q", q), ("k", k), ("v", v), ("out", out)] {
            CHECKS.rows(name, tensor, ALIGNMENT)?;
        }
        CHECKS.rank("state", state, 4, "[b, h, d_k, d_v]")?;
        CHECKS.sizes("state", state, [b, h, d_k, d_v])?;
        if let Some((kind, decay)) = decay {
            CHECKS.element_type("decay", decay, DType::F32, "")?;
            match kind {
                DecayKind::Heads => {
                    CHECKS.rank("decay", decay, 1, "[h]")?;
                    CHECKS.sizes("decay", decay, [h])?;
                }
                DecayKind::Steps => {
                    CHECKS.rank("decay", decay, 2, "[b, h]")?;
                    CHECKS.sizes("decay", decay, [b, h])?;
                }
                DecayKind::Channels => {
                    CHECKS.rank("decay", decay, 3, "[b, h, d_k]")?;
                    CHECKS.sizes("decay", decay, [b, h, d_k])?;
                    CHECKS.rows("decay", decay, 4)?;
                }
            }
            CHECKS.elements("decay", decay)?;
        }
        match (normaliser, problem.normaliser) {
            (Some(_), None) => {
                return Err(Error::Alone { op: OP, argument: "normaliser", missing: "options.normaliser" });
            }
            (None, Some(_)) => {
                return Err(Error::Alone { op: OP, argument: "options.normaliser", missing: "normaliser" });
            }
            (Some(sums), Some(_)) => {
                CHECKS.rank("normaliser", sums, 3, "[b, h, d_k]")?;
                CHECKS.sizes("normaliser", sums, [b, h, d_k])?;
            }
            (None, None) => {}
        }
        let states = [Some(("state", state)), normaliser.as_ref().map(|sums| ("normaliser", sums))];
        for (name, tensor) in states.into_iter().flatten() {
            CHECKS.element_type(name, tensor, DType::F32, "")?;
            CHECKS.contiguous(name, tensor)?;
            CHECKS.aligned(name, || "address".to_owned(), tensor.address, ALIGNMENT)?;
        }
        let mut others = vec![("q", q), ("k", k), ("v", v)];
        others.extend(decay.as_ref().map(|(_, decay)| ("decay", decay)));
        for (name, tensor) in [("out", out)].into_iter().chain(states.into_iter().flatten()) {
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        Ok(problem)
    }

    /// A problem from its types and sizes alone.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(dtype: DType, b: usize, shape: Shape, decay: Option<DecayKind>, options: &Options) -> Result<Self> {
        let Shape { h_k, h, d_k, d_v } = shape;
        let unsupported =
            |argument, what, got, supported| Err(Error::Unsupported { op: OP, argument, what, got, supported });
        if !matches!(dtype, DType::F16 | DType::BF16 | DType::F32) {
            return unsupported("q", "dtype", dtype.to_string(), "f16, bf16, f32");
        }
        for (argument, what, width) in [("q", "d_k", d_k), ("v", "d_v", d_v)] {
            if width == 0 || width % 16 != 0 || width > MAX_WIDTH {
                return unsupported(argument, what, width.to_string(), "multiples of 16 up to 256");
            }
        }
        if h_k == 0 && h > 0 || h_k > 0 && h % h_k != 0 {
            return Err(Error::NotDivisible { op: OP, argument: "v", got: h, divisor: h_k, of: "q" });
        }
        for (what, got) in [("b", b), ("h", h)] {
            if got > MAX_SIZE {
                return Err(Error::TooLarge { op: OP, what, got: got as u64, limit: MAX_SIZE as u64 });
            }
        }
        let scale = options.scale.unwrap_or(1.0 / (d_k as f32).sqrt());
        for (option, number) in [("scale", Some(scale)), ("normaliser", options.normaliser)] {
            if let Some(number) = number.filter(|number| !number.is_finite()) {
                return Err(Error::NotFinite { op: OP, option, got: number.to_string() });
            }
        }
        if let Some(chunk) = options.chunk {
            let expected = "none: there is one step";
            return Err(Error::OutOfRange { op: OP, option: "chunk", got: chunk.to_string(), expected });
        }
        let Options { feature_map, normaliser, .. } = *options;
        Ok(Self { dtype, b, shape, decay, feature_map, normaliser, scale })
    }

    /// Whether there is nothing to compute.
    pub fn is_empty(&self) -> bool {
        self.b == 0 || self.shape.h == 0
    }
}
