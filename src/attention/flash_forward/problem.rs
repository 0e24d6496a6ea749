//! The checked problem.

use super::{OP, Options};
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernel sees them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s_q, h_q, d]`
    pub q: Operand,
    /// `[b, s_k, h_kv, d]`
    pub k: Operand,
    /// `[b, s_k, h_kv, d]`
    pub v: Operand,
    /// `[b, s_q, h_q, d]`
    pub out: Operand,
    /// `[b, h_q, s_q]`
    pub lse: Option<Operand>,
}

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Batch.
    pub b: usize,
    /// Queries of a sequence.
    pub s_q: usize,
    /// Keys of a sequence.
    pub s_k: usize,
    /// Heads of q.
    pub h_q: usize,
    /// Heads of k and v; each serves `h_q / h_kv` heads of q.
    pub h_kv: usize,
    /// Head dimension.
    pub d: usize,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element type of q, k, v and out: f16 or bf16.
    pub dtype: DType,
    /// Sizes.
    pub shape: Shape,
    /// Factor of the scores, finite.
    pub scale: f32,
    /// Keys seen before the query's own place; `None`: all.
    pub window_left: Option<usize>,
    /// Keys seen after the query's own place; 0 when causal; `None`: all.
    pub window_right: Option<usize>,
}

const CHECKS: Checks = Checks { op: OP };
const HEAD_DIMS: [usize; 3] = [64, 128, 256];
/// The kernel loads and stores 16 bytes a lane.
const ALIGNMENT: u64 = 16;
/// Most positions, batches or heads.
const MAX_SIZE: usize = 1 << 29;

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Rank, element type, head dimension, sizes that disagree, heads that don't divide, a scale that is not
    /// finite, a last stride other than 1, misaligned rows, an output that overlaps itself or another tensor, sizes
    /// beyond 2^29: each its own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { q, k, v, out, lse } = operands;
        for (name, tensor, dimensions) in [
            ("q", q, "[b, s_q, h_q, d]"),
            ("k", k, "[b, s_k, h_kv, d]"),
            ("v", v, "[b, s_k, h_kv, d]"),
            ("out", out, "[b, s_q, h_q, d]"),
        ] {
            CHECKS.rank(name, tensor, 4, dimensions)?;
        }
        for (name, tensor) in [("k", k), ("v", v), ("out", out)] {
            CHECKS.element_type(name, tensor, q.dtype, " (= q)")?;
        }
        let [b, s_q, h_q, d] = std::array::from_fn(|dim| q.layout.shape()[dim]);
        let [s_k, h_kv] = [1, 2].map(|dim| k.layout.shape()[dim]);
        let shape = Shape { b, s_q, s_k, h_q, h_kv, d };
        let problem = Self::new(q.dtype, shape, options)?;
        let keys = [("b", b, "q"), ("s_k", s_k, "k"), ("h_kv", h_kv, "k"), ("head_dim", d, "q")];
        let queries = [("b", b, "q"), ("s_q", s_q, "q"), ("h_q", h_q, "q"), ("head_dim", d, "q")];
        CHECKS.sizes("k", k, keys)?;
        CHECKS.sizes("v", v, keys)?;
        CHECKS.sizes("out", out, queries)?;
        for (name, tensor) in [("q", q), ("k", k), ("v", v), ("out", out)] {
            CHECKS.rows(name, tensor, ALIGNMENT)?;
        }
        let inputs = [("q", q), ("k", k), ("v", v)];
        CHECKS.writable("out", out, &inputs)?;
        if let Some(lse) = lse {
            CHECKS.rank("lse", lse, 3, "[b, h_q, s_q]")?;
            CHECKS.element_type("lse", lse, DType::F32, "")?;
            CHECKS.sizes("lse", lse, [("b", b, "q"), ("h_q", h_q, "q"), ("s_q", s_q, "q")])?;
            CHECKS.contiguous("lse", lse)?;
            CHECKS.writable("lse", lse, &[&inputs[..], &[("out", out)]].concat())?;
        }
        Ok(problem)
    }

    /// A problem from its sizes and options alone.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(dtype: DType, shape: Shape, options: &Options) -> Result<Self> {
        Self::of_op(OP, dtype, shape, options)
    }

    /// Likewise for an operator with the same operands, which its errors name.
    pub(crate) fn of_op(op: &'static str, dtype: DType, shape: Shape, options: &Options) -> Result<Self> {
        let unsupported = |what, got, supported| Err(Error::Unsupported { op, argument: "q", what, got, supported });
        if !matches!(dtype, DType::F16 | DType::BF16) {
            return unsupported("dtype", dtype.to_string(), "f16, bf16");
        }
        if !HEAD_DIMS.contains(&shape.d) {
            return unsupported("head_dim", shape.d.to_string(), "64, 128, 256");
        }
        let Shape { b, s_q, s_k, h_q, h_kv, d } = shape;
        if h_q.checked_rem(h_kv).unwrap_or(h_q) != 0 {
            return Err(Error::NotDivisible { op, argument: "q", got: h_q, divisor: h_kv, of: "k" });
        }
        let scale = options.scale.unwrap_or_else(|| 1.0 / (d as f32).sqrt());
        if !scale.is_finite() {
            return Err(Error::NotFinite { op, option: "scale", got: scale.to_string() });
        }
        // Positions, their sums and differences are 32-bit integers in the kernel.
        for (what, got) in [("s_q", s_q), ("s_k", s_k), ("b", b), ("h_q", h_q)] {
            if got > MAX_SIZE {
                return Err(Error::TooLarge { op, what, got: got as u64, limit: MAX_SIZE as u64 });
            }
        }
        let window_right = if options.causal { Some(0) } else { options.window_right };
        // A window that hides no key from any query is none.
        let window_left = options.window_left.filter(|&left| left < s_k.saturating_sub(1));
        let window_right = window_right.filter(|&right| right < s_q.saturating_sub(1));
        Ok(Self { dtype, shape, scale, window_left, window_right })
    }

    /// Whether there is nothing to compute. A problem without keys is not empty: its rows are 0.
    pub fn is_empty(&self) -> bool {
        let Shape { b, s_q, h_q, .. } = self.shape;
        b == 0 || s_q == 0 || h_q == 0
    }

    /// Pairs of query and key that see each other, in one head: the work, in dot products.
    pub fn visible_pairs(&self) -> u64 {
        (0..self.shape.s_q).map(|i| self.visible_keys(i).len() as u64).sum()
    }

    /// The queries that see any of the keys `keys`, which is not empty.
    pub fn visible_queries(&self, keys: std::ops::Range<usize>) -> std::ops::Range<usize> {
        let (s_q, offset) = (self.shape.s_q as i64, self.shape.s_q as i64 - self.shape.s_k as i64);
        // Query i stands at i - offset.
        let first = self.window_right.map_or(0, |right| (keys.start as i64 + offset).saturating_sub(right as i64));
        let end = self.window_left.map_or(s_q, |left| (keys.end as i64 + offset).saturating_add(left as i64));
        let first = first.clamp(0, s_q);
        first as usize..end.clamp(first, s_q) as usize
    }

    /// The keys that query `i` sees.
    pub fn visible_keys(&self, i: usize) -> std::ops::Range<usize> {
        let s_k = self.shape.s_k as i64;
        let place = i as i64 + s_k - self.shape.s_q as i64;
        let first = self.window_left.map_or(0, |left| place.saturating_sub(left as i64)).clamp(0, s_k);
        let last = self.window_right.map_or(s_k - 1, |right| place.saturating_add(right as i64));
        first as usize..(last + 1).clamp(first, s_k) as usize
    }
}
