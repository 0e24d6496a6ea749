//! The checked problem.

use super::{OP, Options, Plan};
use crate::attention::{PageOperand, merge};
use crate::check::Checks;
use crate::{DType, Error, Layout, Operand, Result};

/// The tensors, as the kernel sees them; see [`Args`](super::Args).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s_q, h_q, d]`
    pub q: Operand,
    /// `[b, s_k, h_kv, d]`, or `[num_pages, page_size, h_kv, d]`
    pub k: Operand,
    /// Likewise.
    pub v: Operand,
    /// `[b]`
    pub lengths: Operand,
    /// `[b, s_q, h_q, d]`
    pub out: Operand,
    /// `[b, h_q, s_q]`
    pub lse: Option<Operand>,
    /// Pages of the sequences.
    pub block_table: Option<PageOperand>,
    /// `[b, s_k, h_kv]`, or `[num_pages, page_size, h_kv]`
    pub k_scales: Option<Operand>,
    /// Likewise.
    pub v_scales: Option<Operand>,
    /// `[h_q]`
    pub sinks: Option<Operand>,
    /// `[h_q]`
    pub alibi_slopes: Option<Operand>,
    /// `[bytes]`
    pub workspace: Option<Operand>,
}

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Batch: the number of sequences.
    pub b: usize,
    /// Queries of a sequence.
    pub s_q: usize,
    /// Heads of q.
    pub h_q: usize,
    /// Heads of k and v; each serves `h_q / h_kv` heads of q.
    pub h_kv: usize,
    /// Head dimension.
    pub d: usize,
    /// Pages of the cache; without a block table one for each sequence.
    pub num_pages: usize,
    /// Slots of a page; without a block table `s_k`.
    pub page_size: usize,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element type of q and out: f16 or bf16.
    pub dtype: DType,
    /// Element type of k and v: that of q, i8 or e4m3.
    pub cache_dtype: DType,
    /// Sizes.
    pub shape: Shape,
    /// Entries of a line of the block table, if there is one.
    pub pages_per_sequence: Option<usize>,
    /// No sequence counts as longer.
    pub max_length: usize,
    /// Factor of the scores, finite.
    pub scale: f32,
    /// Whether keys after the query's own place are seen.
    pub bidirectional: bool,
    /// Keys seen before the query's own place; `None`: all.
    pub window_left: Option<usize>,
    /// Cap of the scores, finite and positive.
    pub softcap: Option<f32>,
    /// Whether rows have a sink.
    pub sinks: bool,
    /// Whether scores lose by distance.
    pub alibi: bool,
    /// Keys of a sequence that its length does not count.
    pub new_keys: usize,
    /// Splits, where the plan is not to choose them.
    pub num_splits: Option<usize>,
}

const CHECKS: Checks = Checks { op: OP };
/// The kernel loads and stores 16 bytes a lane.
const ALIGNMENT: u64 = 16;
/// Most positions, batches, heads, pages or rows.
const MAX_SIZE: usize = 1 << 29;
const MAX_HEAD_DIM: usize = 256;

/// A head dimension that no instance has.
pub(super) fn head_dim(d: usize, eight_bit: bool) -> Error {
    let supported =
        if eight_bit { "multiples of 16 up to 256 with an 8-bit cache" } else { "multiples of 8 up to 256" };
    Error::Unsupported { op: OP, argument: "q", what: "head_dim", got: d.to_string(), supported }
}

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Rank, element types, head dimension, sizes that disagree, heads that don't divide, a page size that is no power of
    /// two, a block table of more pages than the cache has, an 8-bit cache without scales or scales without it, a scale or
    /// softcap that is not finite, a last stride other than 1, misaligned rows, an output that overlaps itself or another
    /// tensor, sizes beyond 2^29: each its own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { q, k, v, lengths, out, .. } = operands;
        let cache = match operands.block_table {
            None => "[b, s_k, h_kv, d]",
            Some(_) => "[num_pages, page_size, h_kv, d]",
        };
        for (name, tensor, dimensions) in
            [("q", q, "[b, s_q, h_q, d]"), ("k", k, cache), ("v", v, cache), ("out", out, "[b, s_q, h_q, d]")]
        {
            CHECKS.rank(name, tensor, 4, dimensions)?;
        }
        CHECKS.element_type("v", v, k.dtype, " (= k)")?;
        CHECKS.element_type("out", out, q.dtype, " (= q)")?;
        let [b, s_q, h_q, d] = std::array::from_fn(|dim| q.layout.shape()[dim]);
        let [num_pages, page_size, h_kv, _] = std::array::from_fn(|dim| k.layout.shape()[dim]);
        let shape = Shape { b, s_q, h_q, h_kv, d, num_pages, page_size };
        let pages_per_sequence = operands.block_table.map(|table| table.pages_per_sequence);
        let mut problem = Self::new(q.dtype, k.dtype, shape, pages_per_sequence, options)?;
        let pages = match operands.block_table {
            None => [("b", b, "q"), ("s_k", page_size, "k")],
            Some(_) => [("num_pages", num_pages, "k"), ("page_size", page_size, "k")],
        };
        let [first, second] = pages;
        for (name, tensor) in [("k", k), ("v", v)] {
            CHECKS.sizes(name, tensor, [first, second, ("h_kv", h_kv, "k"), ("head_dim", d, "q")])?;
        }
        let rows = [("b", b, "q"), ("s_q", s_q, "q"), ("h_q", h_q, "q"), ("head_dim", d, "q")];
        CHECKS.sizes("out", out, rows)?;
        CHECKS.rank("lengths", lengths, 1, "[b]")?;
        CHECKS.element_type("lengths", lengths, DType::I32, "")?;
        CHECKS.sizes("lengths", lengths, [("b", b, "q")])?;
        CHECKS.contiguous("lengths", lengths)?;
        if let Some(table) = &operands.block_table {
            if table.sequences != b {
                let (argument, dimension, got, expected) = ("block_table", "sequences", table.sequences, b);
                return Err(Error::Dimension { op: OP, argument, dimension, got, expected, of: "q" });
            }
            if table.num_pages > num_pages {
                let (got, limit) = (table.num_pages as u64, num_pages as u64);
                return Err(Error::TooLarge { op: OP, what: "num_pages of block_table", got, limit });
            }
        }
        for (name, tensor) in [("q", q), ("k", k), ("v", v), ("out", out)] {
            CHECKS.rows(name, tensor, ALIGNMENT)?;
        }
        problem.check_extras(operands, pages)?;
        let optional = [
            ("k_scales", &operands.k_scales),
            ("v_scales", &operands.v_scales),
            ("sinks", &operands.sinks),
            ("alibi_slopes", &operands.alibi_slopes),
        ];
        let optional = optional.iter().filter_map(|(name, tensor)| Some((*name, tensor.as_ref()?)));
        let mut others: Vec<_> =
            [("q", q), ("k", k), ("v", v), ("lengths", lengths)].into_iter().chain(optional).collect();
        for (name, tensor) in [("out", Some(out)), ("lse", operands.lse.as_ref())] {
            let Some(tensor) = tensor else { continue };
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        if let Some(workspace) = &operands.workspace {
            CHECKS.rank("workspace", workspace, 1, "[bytes]")?;
            CHECKS.element_type("workspace", workspace, DType::U8, "")?;
            CHECKS.contiguous("workspace", workspace)?;
            CHECKS.rows("workspace", workspace, ALIGNMENT)?;
            CHECKS.writable("workspace", workspace, &others)?;
        }
        Ok(problem)
    }

    /// What may be left out. `pages` names and sizes the first two dimensions of the cache.
    fn check_extras(&mut self, operands: &Operands, pages: [(&'static str, usize, &'static str); 2]) -> Result<()> {
        let Operands { k_scales, v_scales, sinks, alibi_slopes, lse, k, .. } = operands;
        let Shape { b, s_q, h_q, h_kv, .. } = self.shape;
        let [first, second] = pages;
        for (name, tensor) in [("k_scales", k_scales), ("v_scales", v_scales)] {
            match tensor {
                None if self.is_eight_bit() => {
                    return Err(Error::Alone { op: OP, argument: "an 8-bit cache", missing: name });
                }
                None => {}
                Some(_) if !self.is_eight_bit() => {
                    let supported = "i8, e4m3 where k_scales and v_scales are given";
                    let (argument, what, got) = ("k", "dtype", k.dtype.to_string());
                    return Err(Error::Unsupported { op: OP, argument, what, got, supported });
                }
                Some(tensor) => {
                    CHECKS.rank(name, tensor, 3, "[b, s_k, h_kv] or [num_pages, page_size, h_kv]")?;
                    CHECKS.element_type(name, tensor, DType::F32, "")?;
                    CHECKS.sizes(name, tensor, [first, second, ("h_kv", h_kv, "k")])?;
                    CHECKS.elements(name, tensor)?;
                }
            }
        }
        for (name, tensor) in [("sinks", sinks), ("alibi_slopes", alibi_slopes)] {
            let Some(tensor) = tensor else { continue };
            CHECKS.rank(name, tensor, 1, "[h_q]")?;
            CHECKS.element_type(name, tensor, DType::F32, "")?;
            CHECKS.sizes(name, tensor, [("h_q", h_q, "q")])?;
            CHECKS.contiguous(name, tensor)?;
        }
        if let Some(lse) = lse {
            CHECKS.rank("lse", lse, 3, "[b, h_q, s_q]")?;
            CHECKS.element_type("lse", lse, DType::F32, "")?;
            CHECKS.sizes("lse", lse, [("b", b, "q"), ("h_q", h_q, "q"), ("s_q", s_q, "q")])?;
            CHECKS.contiguous("lse", lse)?;
        }
        (self.sinks, self.alibi) = (sinks.is_some(), alibi_slopes.is_some());
        Ok(())
    }

    /// A problem from its types, sizes and options alone; `pages_per_sequence` if there is a block table.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(
        dtype: DType,
        cache_dtype: DType,
        shape: Shape,
        pages_per_sequence: Option<usize>,
        options: &Options,
    ) -> Result<Self> {
        let Shape { b, s_q, h_q, h_kv, d, num_pages, page_size } = shape;
        let unsupported =
            |argument, what, got, supported| Err(Error::Unsupported { op: OP, argument, what, got, supported });
        if !matches!(dtype, DType::F16 | DType::BF16) {
            return unsupported("q", "dtype", dtype.to_string(), "f16, bf16");
        }
        let eight_bit = matches!(cache_dtype, DType::I8 | DType::E4M3);
        if cache_dtype != dtype && !eight_bit {
            return unsupported("k", "dtype", cache_dtype.to_string(), "q's, i8, e4m3");
        }
        if d == 0 || d > MAX_HEAD_DIM || d % (if eight_bit { 16 } else { 8 }) != 0 {
            return Err(head_dim(d, eight_bit));
        }
        if h_q.checked_rem(h_kv).unwrap_or(h_q) != 0 {
            return Err(Error::NotDivisible { op: OP, argument: "q", got: h_q, divisor: h_kv, of: "k" });
        }
        if pages_per_sequence.is_some() && !page_size.is_power_of_two() {
            return unsupported("k", "page_size", page_size.to_string(), "powers of two");
        }
        let scale = options.scale.unwrap_or_else(|| 1.0 / (d as f32).sqrt());
        if !scale.is_finite() {
            return Err(Error::NotFinite { op: OP, option: "scale", got: scale.to_string() });
        }
        if let Some(softcap) = options.softcap.filter(|softcap| !(softcap.is_finite() && *softcap > 0.0)) {
            let expected = "a finite number above 0";
            return Err(Error::OutOfRange { op: OP, option: "softcap", got: softcap.to_string(), expected });
        }
        // Positions, their sums and differences are 32-bit integers in the kernel.
        let rows = s_q.saturating_mul(h_q.checked_div(h_kv).unwrap_or(0));
        let pages = pages_per_sequence.unwrap_or(1);
        let sizes = [("b", b), ("s_q", s_q), ("h_q", h_q), ("rows of scores", rows), ("num_pages", num_pages)];
        for (what, got) in sizes.into_iter().chain([("page_size", page_size), ("pages of a sequence", pages)]) {
            if got > MAX_SIZE {
                return Err(Error::TooLarge { op: OP, what, got: got as u64, limit: MAX_SIZE as u64 });
            }
        }
        // Without pages there is no key that could be read.
        let capacity = if num_pages == 0 { 0 } else { pages.saturating_mul(page_size).min(MAX_SIZE) };
        let max_length = options.max_length.map_or(capacity, |length| length.min(capacity));
        Ok(Self {
            dtype,
            cache_dtype,
            shape,
            pages_per_sequence,
            max_length,
            scale,
            bidirectional: options.bidirectional,
            // A window that hides no key from any query is none.
            window_left: options.window_left.filter(|&left| left < max_length.saturating_sub(1)),
            softcap: options.softcap,
            sinks: false,
            alibi: false,
            new_keys: if options.lengths_exclude_new { s_q } else { 0 },
            num_splits: options.num_splits,
        })
    }

    /// Whether there is nothing to compute. A problem without keys is not empty: its rows are 0.
    pub fn is_empty(&self) -> bool {
        let Shape { b, s_q, h_q, .. } = self.shape;
        b == 0 || s_q == 0 || h_q == 0
    }

    /// Whether the cache has 8 bits.
    pub fn is_eight_bit(&self) -> bool {
        self.cache_dtype != self.dtype
    }

    /// The keys that query `i` of a sequence of `length` keys sees.
    pub fn visible_keys(&self, length: usize, i: usize) -> std::ops::Range<usize> {
        let length = length.min(self.max_length);
        let after = (i + length + 1).saturating_sub(self.shape.s_q);
        let end = if self.bidirectional { length } else { after.min(length) };
        let begin = self.window_left.map_or(0, |left| after.saturating_sub(left + 1));
        begin.min(end)..end
    }

    /// The most keys that the queries of a sequence see together.
    pub(super) fn most_visible_keys(&self) -> usize {
        self.window_left.map_or(self.max_length, |left| self.max_length.min(left + self.shape.s_q))
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

    /// What is merged at the end, if there are splits: parts in the workspace, whose size was checked.
    pub(super) fn parts(&self, problem: &Problem, plan: &Plan) -> Option<merge::Operands> {
        plan.merge?;
        let Shape { b, s_q, h_q, d, .. } = problem.shape;
        let n = plan.num_splits;
        let part = |address, shape: &[usize]| {
            Some(Operand { address, dtype: DType::F32, layout: Layout::contiguous(shape).ok()? })
        };
        let start = self.workspace?.address;
        Some(merge::Operands {
            parts_out: part(start, &[n, b, s_q, h_q, d])?,
            parts_lse: part(start + (n * b * s_q * h_q * d * 4) as u64, &[n, b, h_q, s_q])?,
            out: self.out,
            lse: self.lse,
        })
    }
}
