//! The checked problem.

use super::{OP, Operands, Options};
use crate::attention::SequenceOperand;
use crate::attention::philox::Dropout;
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Batch: the number of sequences.
    pub b: usize,
    /// Queries of a sequence; of the longest.
    pub s_q: usize,
    /// Keys of a sequence; of the longest.
    pub s_k: usize,
    /// Heads of q.
    pub h_q: usize,
    /// Heads of k and v; each serves `h_q / h_kv` heads of q.
    pub h_kv: usize,
    /// Head dimension of q and k.
    pub d: usize,
    /// Head dimension of v and out.
    pub d_v: usize,
}

/// A tensor with a row for each row of scores, `[b or 1, h_q or 1, s_q, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// Element type.
    pub dtype: DType,
    /// Batch, or 1.
    pub b: usize,
    /// Heads of q, or 1.
    pub h_q: usize,
    /// Queries.
    pub s_q: usize,
    /// Elements of a row.
    pub columns: usize,
}

impl Broadcast {
    /// Bytes, each element once.
    pub fn bytes(&self) -> usize {
        self.b * self.h_q * self.s_q * self.columns * self.dtype.size_bytes()
    }

    /// Offset of a row, row-major; a dimension of size 1 serves all.
    pub fn row(&self, batch: usize, head: usize, i: usize) -> usize {
        let pick = |size: usize, index: usize| if size == 1 { 0 } else { index };
        ((pick(self.b, batch) * self.h_q + pick(self.h_q, head)) * self.s_q + i) * self.columns
    }
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element type of q, k, v and out: f16, bf16 or f32.
    pub dtype: DType,
    /// Sizes.
    pub shape: Shape,
    /// Factor of the scores, finite.
    pub scale: f32,
    /// Keys seen before the query's own place; `None`: all.
    pub window_left: Option<usize>,
    /// Keys seen after the query's own place; 0 when causal; `None`: all.
    pub window_right: Option<usize>,
    /// Cap of the scores, finite and positive.
    pub softcap: Option<f32>,
    /// Which probabilities are dropped.
    pub dropout: Option<Dropout>,
    /// Whether rows have a sink.
    pub sinks: bool,
    /// Whether scores lose by distance.
    pub alibi: bool,
    /// Bias, if there is one.
    pub bias: Option<Broadcast>,
    /// Custom mask, if there is one.
    pub mask_bits: Option<Broadcast>,
    /// Whether sequences have a prefix.
    pub prefix: bool,
    /// Positions of all queries and of all keys, where sequences have various lengths.
    pub totals: Option<[usize; 2]>,
}

const CHECKS: Checks = Checks { op: OP };
/// The kernel loads and stores 16 bytes a lane.
const ALIGNMENT: u64 = 16;
/// Most positions, batches or heads.
const MAX_SIZE: usize = 1 << 29;
/// Largest head dimension.
const MAX_HEAD_DIM: usize = 256;

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Rank, element type, head dimensions, sizes that disagree, heads that don't divide, one `cu_seqlens` without the
    /// other, a scale or softcap that is not finite or a dropout probability outside `0..1`, a last stride other than 1,
    /// misaligned rows, an output that overlaps itself or another tensor, sizes beyond 2^29: each its own [`Error`],
    /// naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let problem = Self::of_operands(CHECKS, operands, |dtype, shape| Self::new(dtype, shape, options))?;
        let Operands { out, lse, .. } = operands;
        let inputs = operands.inputs();
        CHECKS.writable("out", out, &inputs)?;
        if let Some(lse) = lse {
            CHECKS.writable("lse", lse, &[&inputs[..], &[("out", out)]].concat())?;
        }
        Ok(problem)
    }

    /// What an operator on these tensors, inputs or outputs, has in common with this one; `new` makes the problem from
    /// its sizes.
    pub(crate) fn of_operands(
        checks: Checks,
        operands: &Operands,
        new: impl FnOnce(DType, Shape) -> Result<Self>,
    ) -> Result<Self> {
        let (op, Operands { q, k, v, out, lse, .. }) = (checks.op, operands);
        let sequences = match (operands.cu_seqlens_q, operands.cu_seqlens_k) {
            (Some(queries), Some(keys)) => Some((queries, keys)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Error::Alone { op, argument: "cu_seqlens_q", missing: "cu_seqlens_k" });
            }
            (None, Some(_)) => {
                return Err(Error::Alone { op, argument: "cu_seqlens_k", missing: "cu_seqlens_q" });
            }
        };
        let ranks = match sequences {
            None => [
                ("q", q, "[b, s_q, h_q, d]"),
                ("k", k, "[b, s_k, h_kv, d]"),
                ("v", v, "[b, s_k, h_kv, d_v]"),
                ("out", out, "[b, s_q, h_q, d_v]"),
            ],
            Some(_) => [
                ("q", q, "[total_q, h_q, d]"),
                ("k", k, "[total_k, h_kv, d]"),
                ("v", v, "[total_k, h_kv, d_v]"),
                ("out", out, "[total_q, h_q, d_v]"),
            ],
        };
        let rank = if sequences.is_some() { 3 } else { 4 };
        for (name, tensor, dimensions) in ranks {
            checks.rank(name, tensor, rank, dimensions)?;
        }
        for (name, tensor) in [("k", k), ("v", v), ("out", out)] {
            checks.element_type(name, tensor, q.dtype, " (= q)")?;
        }
        let size = |tensor: &Operand, from_last: usize| tensor.layout.shape()[rank - from_last];
        let (h_q, d, h_kv, d_v) = (size(q, 2), size(q, 1), size(k, 2), size(v, 1));
        let (b, s_q, s_k) = match sequences {
            None => (size(q, 4), size(q, 3), size(k, 3)),
            Some((queries, keys)) => (queries.sequences, queries.longest, keys.longest),
        };
        let shape = Shape { b, s_q, s_k, h_q, h_kv, d, d_v };
        let mut problem = new(q.dtype, shape)?;
        match sequences {
            None => {
                let keys = |d| [("b", b, "q"), ("s_k", s_k, "k"), ("h_kv", h_kv, "k"), d];
                checks.sizes("k", k, keys(("head_dim", d, "q")))?;
                checks.sizes("v", v, keys(("d_v", d_v, "v")))?;
                let queries = [("b", b, "q"), ("s_q", s_q, "q"), ("h_q", h_q, "q"), ("head_dim", d_v, "v")];
                checks.sizes("out", out, queries)?;
            }
            Some((queries, keys)) => problem.check_sequences(checks, operands, queries, keys)?,
        }
        for (name, tensor) in [("q", q), ("k", k), ("v", v), ("out", out)] {
            checks.rows(name, tensor, ALIGNMENT)?;
        }
        problem.check_extras(checks, operands)?;
        if let Some(lse) = lse {
            match problem.totals {
                None => {
                    checks.rank("lse", lse, 3, "[b, h_q, s_q]")?;
                    checks.sizes("lse", lse, [("b", b, "q"), ("h_q", h_q, "q"), ("s_q", s_q, "q")])?;
                }
                Some([total_q, _]) => {
                    checks.rank("lse", lse, 2, "[h_q, total_q]")?;
                    checks.sizes("lse", lse, [("h_q", h_q, "q"), ("total_q", total_q, "q")])?;
                }
            }
            checks.element_type("lse", lse, DType::F32, "")?;
            checks.contiguous("lse", lse)?;
        }
        Ok(problem)
    }

    /// Tensors of sequences of various lengths.
    fn check_sequences(
        &mut self,
        checks: Checks,
        operands: &Operands,
        queries: SequenceOperand,
        keys: SequenceOperand,
    ) -> Result<()> {
        let op = checks.op;
        let Operands { q, k, v, out, .. } = operands;
        let Shape { h_q, h_kv, d, d_v, .. } = self.shape;
        if keys.sequences != queries.sequences {
            let (argument, dimension, of) = ("cu_seqlens_k", "sequences", "cu_seqlens_q");
            let (got, expected) = (keys.sequences, queries.sequences);
            return Err(Error::Dimension { op, argument, dimension, got, expected, of });
        }
        let (total_q, total_k) = (("total_q", queries.total, "cu_seqlens_q"), ("total_k", keys.total, "cu_seqlens_k"));
        checks.sizes("q", q, [total_q, ("h_q", h_q, "q"), ("head_dim", d, "q")])?;
        checks.sizes("k", k, [total_k, ("h_kv", h_kv, "k"), ("head_dim", d, "q")])?;
        checks.sizes("v", v, [total_k, ("h_kv", h_kv, "k"), ("d_v", d_v, "v")])?;
        checks.sizes("out", out, [total_q, ("h_q", h_q, "q"), ("head_dim", d_v, "v")])?;
        for (what, got) in [("total_q", queries.total), ("total_k", keys.total)] {
            too_large(op, what, got)?;
        }
        self.totals = Some([queries.total, keys.total]);
        Ok(())
    }

    /// What scores are changed by.
    fn check_extras(&mut self, checks: Checks, operands: &Operands) -> Result<()> {
        let Operands { q, sinks, alibi_slopes, bias, mask_bits, prefix, .. } = operands;
        let Shape { b, s_q, s_k, h_q, .. } = self.shape;
        for (name, tensor) in [("sinks", sinks), ("alibi_slopes", alibi_slopes)] {
            let Some(tensor) = tensor else { continue };
            checks.rank(name, tensor, 1, "[h_q]")?;
            checks.element_type(name, tensor, DType::F32, "")?;
            checks.sizes(name, tensor, [("h_q", h_q, "q")])?;
            checks.contiguous(name, tensor)?;
        }
        if let Some(prefix) = prefix {
            checks.rank("prefix", prefix, 1, "[b]")?;
            checks.element_type("prefix", prefix, DType::I32, "")?;
            checks.sizes("prefix", prefix, [("b", b, "q")])?;
            checks.contiguous("prefix", prefix)?;
        }
        let rows = [("b", b, "q"), ("h_q", h_q, "q")];
        if let Some(bias) = bias {
            checks.rank("bias", bias, 4, "[b or 1, h_q or 1, s_q, s_k]")?;
            if bias.dtype != DType::F32 {
                let or_f32 = if q.dtype == DType::F32 { " (= q)" } else { " (= q) or f32" };
                checks.element_type("bias", bias, q.dtype, or_f32)?;
            }
            checks.broadcast_sizes("bias", bias, rows)?;
            let exact = bias.layout.shape();
            checks.sizes(
                "bias",
                bias,
                [("b", exact[0], ""), ("h_q", exact[1], ""), ("s_q", s_q, "q"), ("s_k", s_k, "k")],
            )?;
            checks.rows("bias", bias, bias.dtype.size_bytes() as u64)?;
        }
        if let Some(mask) = mask_bits {
            checks.rank("mask_bits", mask, 4, "[b or 1, h_q or 1, s_q, ceil(s_k / 32)]")?;
            checks.element_type("mask_bits", mask, DType::U32, "")?;
            checks.broadcast_sizes("mask_bits", mask, rows)?;
            let (exact, words) = (mask.layout.shape(), ("words", s_k.div_ceil(32), "ceil(s_k / 32)"));
            checks.sizes("mask_bits", mask, [("b", exact[0], ""), ("h_q", exact[1], ""), ("s_q", s_q, "q"), words])?;
            checks.rows("mask_bits", mask, 4)?;
        }
        let broadcast = |tensor: &Operand| {
            let [b, h_q, _, columns] = std::array::from_fn(|dim| tensor.layout.shape()[dim]);
            Broadcast { dtype: tensor.dtype, b, h_q, s_q, columns }
        };
        (self.bias, self.mask_bits) = (bias.as_ref().map(broadcast), mask_bits.as_ref().map(broadcast));
        (self.sinks, self.alibi, self.prefix) = (sinks.is_some(), alibi_slopes.is_some(), prefix.is_some());
        Ok(())
    }

    /// A problem from its sizes and options alone.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(dtype: DType, shape: Shape, options: &Options) -> Result<Self> {
        for (argument, d) in [("q", shape.d), ("v", shape.d_v)] {
            if d == 0 || d % 8 != 0 || d > MAX_HEAD_DIM {
                let (what, got, supported) = ("head_dim", d.to_string(), "multiples of 8 up to 256");
                return Err(Error::Unsupported { op: OP, argument, what, got, supported });
            }
        }
        Self::of_op(OP, dtype, shape, options)
    }

    /// Likewise for an operator with these sizes and options, which its errors name. Which head dimensions it takes, all
    /// above 0, is its own to check.
    pub(crate) fn of_op(op: &'static str, dtype: DType, shape: Shape, options: &Options) -> Result<Self> {
        if !matches!(dtype, DType::F16 | DType::BF16 | DType::F32) {
            let (argument, what, supported) = ("q", "dtype", "f16, bf16, f32");
            return Err(Error::Unsupported { op, argument, what, got: dtype.to_string(), supported });
        }
        let Shape { b, s_q, s_k, h_q, h_kv, d, .. } = shape;
        if h_q.checked_rem(h_kv).unwrap_or(h_q) != 0 {
            return Err(Error::NotDivisible { op, argument: "q", got: h_q, divisor: h_kv, of: "k" });
        }
        let scale = options.scale.unwrap_or_else(|| 1.0 / (d as f32).sqrt());
        if !scale.is_finite() {
            return Err(Error::NotFinite { op, option: "scale", got: scale.to_string() });
        }
        if let Some(softcap) = options.softcap.filter(|softcap| !(softcap.is_finite() && *softcap > 0.0)) {
            let expected = "a finite number above 0";
            return Err(Error::OutOfRange { op, option: "softcap", got: softcap.to_string(), expected });
        }
        if !(0.0..1.0).contains(&options.dropout_p) {
            let (got, expected) = (options.dropout_p.to_string(), "a number from 0 to below 1");
            return Err(Error::OutOfRange { op, option: "dropout_p", got, expected });
        }
        // Positions, their sums and differences are 32-bit integers in the kernel.
        for (what, got) in [("s_q", s_q), ("s_k", s_k), ("b", b), ("h_q", h_q)] {
            too_large(op, what, got)?;
        }
        let window_right = if options.causal { Some(0) } else { options.window_right };
        Ok(Self {
            dtype,
            shape,
            scale,
            // A window that hides no key from any query is none.
            window_left: options.window_left.filter(|&left| left < s_k.saturating_sub(1)),
            window_right: window_right.filter(|&right| right < s_q.saturating_sub(1)),
            softcap: options.softcap,
            dropout: Dropout::new(options.dropout_p, options.dropout_seed),
            sinks: false,
            alibi: false,
            bias: None,
            mask_bits: None,
            prefix: false,
            totals: None,
        })
    }

    /// Whether there is nothing to compute. A problem without keys is not empty: its rows are 0.
    pub fn is_empty(&self) -> bool {
        let Shape { b, s_q, h_q, .. } = self.shape;
        b == 0 || s_q == 0 || h_q == 0
    }

    /// Whether the head dimensions and everything but scale, windows, sinks and sequences are what plain instances
    /// take.
    pub fn is_plain(&self) -> bool {
        let changed = self.softcap.is_some() || self.dropout.is_some() || self.alibi || self.prefix;
        !(changed || self.bias.is_some() || self.mask_bits.is_some())
    }

    /// Pairs of query and key that see each other, in one head of one batch entry: the work, in dot products. `None`
    /// where that depends on what lies in device memory: lengths, a prefix, a custom mask.
    pub fn visible_pairs(&self) -> Option<u64> {
        let unknown = self.totals.is_some() || self.prefix || self.mask_bits.is_some();
        (!unknown).then(|| (0..self.shape.s_q).map(|i| self.visible_keys(i).len() as u64).sum())
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

    /// The keys that windows show to query `i`, where all sequences are of the same length.
    pub fn visible_keys(&self, i: usize) -> std::ops::Range<usize> {
        let s_k = self.shape.s_k as i64;
        let place = i as i64 + s_k - self.shape.s_q as i64;
        let first = self.window_left.map_or(0, |left| place.saturating_sub(left as i64)).clamp(0, s_k);
        let last = self.window_right.map_or(s_k - 1, |right| place.saturating_add(right as i64));
        first as usize..(last + 1).clamp(first, s_k) as usize
    }
}

fn too_large(op: &'static str, what: &'static str, got: usize) -> Result<()> {
    if got > MAX_SIZE {
        return Err(Error::TooLarge { op, what, got: got as u64, limit: MAX_SIZE as u64 });
    }
    Ok(())
}
