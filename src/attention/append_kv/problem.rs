//! The checked problem.

use super::{OP, Options};
use crate::attention::{PageOperand, SequenceOperand};
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernel sees them; see [`Args`](super::Args).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s_q, h_kv, d]` or `[total, h_kv, d]`
    pub k: Operand,
    /// Likewise.
    pub v: Operand,
    /// `[b, s_k, h_kv, d]`, or `[num_pages, page_size, h_kv, d]`
    pub k_cache: Operand,
    /// Likewise.
    pub v_cache: Operand,
    /// `[b, s_q]` or `[total]`; or `[b]`
    pub positions: Operand,
    /// Whether they are those of the first token of each sequence.
    pub first_positions: bool,
    /// Sequences of various lengths.
    pub cu_seqlens: Option<SequenceOperand>,
    /// Pages of the sequences.
    pub block_table: Option<PageOperand>,
    /// `[b, s_k, h_kv]`, or `[num_pages, page_size, h_kv]`
    pub k_scales: Option<Operand>,
    /// Likewise.
    pub v_scales: Option<Operand>,
    /// `[n]`
    pub inverse_frequencies: Option<Operand>,
    /// `[b, s_q, h_q, d]` or `[total, h_q, d]`
    pub q: Option<Operand>,
    /// Likewise.
    pub q_out: Option<Operand>,
}

/// Element types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Types {
    /// Of new keys and values, and of q: f32, f16 or bf16.
    pub k: DType,
    /// Of the cache: f16, bf16, i8 or e4m3.
    pub cache: DType,
    /// Of the rotated queries, if there are any: f32, f16 or bf16.
    pub q_out: Option<DType>,
}

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Batch: the number of sequences.
    pub b: usize,
    /// New tokens of a sequence; of the longest, where they have various numbers.
    pub s_q: usize,
    /// New tokens of all sequences.
    pub num_tokens: usize,
    /// Heads of q; 0 without queries.
    pub h_q: usize,
    /// Heads of k and v.
    pub h_kv: usize,
    /// Head dimension.
    pub d: usize,
    /// Pairs of a head that are rotated; 0 without frequencies.
    pub n: usize,
    /// Pages of the cache; without a block table one for each sequence.
    pub num_pages: usize,
    /// Slots of a page; without a block table `s_k`.
    pub page_size: usize,
}

/// A problem that the kernel can solve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Problem {
    /// Element types.
    pub types: Types,
    /// Sizes.
    pub shape: Shape,
    /// Whether queries are rotated where they are.
    pub in_place: bool,
    /// Entries of a line of the block table, if there is one.
    pub pages_per_sequence: Option<usize>,
    /// Positions that a sequence has room for.
    pub capacity: usize,
    /// Elements that a lane moves at once: 8, 4 or 1, by element types, frequencies and alignment.
    pub unit: usize,
    /// Options.
    pub options: Options,
}

const CHECKS: Checks = Checks { op: OP };
/// Most positions, batches, heads, pages or tokens.
const MAX_SIZE: usize = 1 << 29;
const MAX_HEAD_DIM: usize = 256;

impl Types {
    /// Whether the cache has 8 bits.
    pub fn is_eight_bit(&self) -> bool {
        matches!(self.cache, DType::I8 | DType::E4M3)
    }
}

impl Problem {
    /// Checks tensors and options.
    ///
    /// # Errors
    /// Rank, element types, head dimension, sizes that disagree, a page size that is no power of two, a block table of more
    /// pages than the cache has, an 8-bit cache without scales or scales without it, queries without frequencies or without
    /// room for the result, more pairs than elements, a last stride other than 1, an address that does not suit the element
    /// type, an output that overlaps itself or another tensor, sizes beyond 2^29, a magnitude that is not finite: each its
    /// own [`Error`], naming the argument, what it has and what is expected.
    pub fn check(operands: &Operands, options: &Options) -> Result<Self> {
        let Operands { k, v, k_cache, v_cache, positions, cu_seqlens, block_table, q, q_out, .. } = operands;
        let cache = match block_table {
            None => "[b, s_k, h_kv, d]",
            Some(_) => "[num_pages, page_size, h_kv, d]",
        };
        let tokens = |name, tensor: &Operand| match cu_seqlens {
            None => CHECKS.rank(name, tensor, 4, "[b, s_q, h, d]"),
            Some(_) => CHECKS.rank(name, tensor, 3, "[total, h, d]"),
        };
        tokens("k", k)?;
        tokens("v", v)?;
        CHECKS.rank("k_cache", k_cache, 4, cache)?;
        CHECKS.rank("v_cache", v_cache, 4, cache)?;
        CHECKS.element_type("v", v, k.dtype, " (= k)")?;
        CHECKS.element_type("v_cache", v_cache, k_cache.dtype, " (= k_cache)")?;
        let size = |tensor: &Operand, dim: usize| tensor.layout.shape()[dim];
        let [num_pages, page_size, h_kv, d] = std::array::from_fn(|dim| size(k_cache, dim));
        let (b, s_q, num_tokens) = match cu_seqlens {
            None => (size(k, 0), size(k, 1), size(k, 0).saturating_mul(size(k, 1))),
            Some(given) => (given.sequences, given.longest, given.total),
        };
        let queries = match (q, q_out) {
            (None, None) => None,
            (Some(_), None) => return Err(Error::Alone { op: OP, argument: "q", missing: "q_out" }),
            (_, Some(out)) => Some(out),
        };
        if let Some(queries) = queries {
            tokens("q_out", queries)?;
        }
        let h_q = queries.map_or(0, |queries| size(queries, queries.layout.rank() - 2));
        let n = operands.inverse_frequencies.map_or(0, |given| given.layout.len());
        let shape = Shape { b, s_q, num_tokens, h_q, h_kv, d, n, num_pages, page_size };
        let types = Types { k: k.dtype, cache: k_cache.dtype, q_out: queries.map(|queries| queries.dtype) };
        let in_place = q.is_none() && q_out.is_some();
        let pages_per_sequence = block_table.map(|table| table.pages_per_sequence);
        let problem = Self { in_place, ..Self::new(types, shape, pages_per_sequence, options)? };
        problem.check_tokens(operands)?;
        problem.check_cache(operands)?;
        match &operands.inverse_frequencies {
            Some(frequencies) => {
                CHECKS.rank("inverse_frequencies", frequencies, 1, "[n]")?;
                CHECKS.element_type("inverse_frequencies", frequencies, DType::F32, "")?;
                CHECKS.contiguous("inverse_frequencies", frequencies)?;
                if n == 0 {
                    return Err(pairs(n));
                }
            }
            None if queries.is_some() => {
                return Err(Error::Alone { op: OP, argument: "q_out", missing: "inverse_frequencies" });
            }
            None => {}
        }
        CHECKS.element_type("positions", positions, DType::I32, "")?;
        match (operands.first_positions, cu_seqlens) {
            (true, _) => {
                CHECKS.rank("positions", positions, 1, "[b]")?;
                CHECKS.sizes("positions", positions, [("b", b, "k")])?;
            }
            (false, None) => {
                CHECKS.rank("positions", positions, 2, "[b, s_q]")?;
                CHECKS.sizes("positions", positions, [("b", b, "k"), ("s_q", s_q, "k")])?;
            }
            (false, Some(_)) => {
                CHECKS.rank("positions", positions, 1, "[total]")?;
                CHECKS.sizes("positions", positions, [("total", num_tokens, "cu_seqlens")])?;
            }
        }
        CHECKS.elements("positions", positions)?;
        let inputs = [
            ("k", Some(k)),
            ("v", Some(v)),
            ("positions", Some(positions)),
            ("inverse_frequencies", operands.inverse_frequencies.as_ref()),
            ("q", q.as_ref()),
        ];
        let outputs = [
            ("k_cache", Some(k_cache)),
            ("v_cache", Some(v_cache)),
            ("k_scales", operands.k_scales.as_ref()),
            ("v_scales", operands.v_scales.as_ref()),
            ("q_out", q_out.as_ref()),
        ];
        let mut others: Vec<_> = inputs.into_iter().filter_map(|(name, tensor)| Some((name, tensor?))).collect();
        for (name, tensor) in outputs {
            let Some(tensor) = tensor else { continue };
            CHECKS.writable(name, tensor, &others)?;
            others.push((name, tensor));
        }
        let rows: Vec<_> = [Some(k), Some(v), q.as_ref(), q_out.as_ref(), Some(k_cache), Some(v_cache)]
            .into_iter()
            .flatten()
            .collect();
        let fits = |unit: &usize| problem.unit >= *unit && rows.iter().all(|tensor| is_aligned(tensor, *unit));
        Ok(Self { unit: [8, 4].into_iter().find(fits).unwrap_or(1), ..problem })
    }

    /// New heads, all of the same tokens.
    fn check_tokens(&self, operands: &Operands) -> Result<()> {
        let Operands { k, v, q, q_out, cu_seqlens, .. } = operands;
        let Shape { b, s_q, num_tokens, h_q, h_kv, d, .. } = self.shape;
        if let Some(q) = q {
            CHECKS.element_type("q", q, k.dtype, " (= k)")?;
        } else if let Some(q_out) = q_out {
            CHECKS.element_type("q_out", q_out, k.dtype, " (= k, in place)")?;
        }
        for (name, tensor, h, of) in [
            ("k", Some(k), h_kv, "k_cache"),
            ("v", Some(v), h_kv, "k_cache"),
            ("q", q.as_ref(), h_q, "q_out"),
            ("q_out", q_out.as_ref(), h_q, "q_out"),
        ] {
            let Some(tensor) = tensor else { continue };
            let (heads, d) = (("h", h, of), ("head_dim", d, "k_cache"));
            match cu_seqlens {
                None => {
                    CHECKS.rank(name, tensor, 4, "[b, s_q, h, d]")?;
                    CHECKS.sizes(name, tensor, [("b", b, "k"), ("s_q", s_q, "k"), heads, d])?;
                }
                Some(_) => {
                    CHECKS.rank(name, tensor, 3, "[total, h, d]")?;
                    CHECKS.sizes(name, tensor, [("total", num_tokens, "cu_seqlens"), heads, d])?;
                }
            }
            CHECKS.rows(name, tensor, tensor.dtype.size_bytes() as u64)?;
        }
        Ok(())
    }

    /// The cache, its scales and its pages.
    fn check_cache(&self, operands: &Operands) -> Result<()> {
        let Operands { k_cache, v_cache, block_table, k_scales, v_scales, .. } = operands;
        let Shape { b, h_kv, d, num_pages, page_size, .. } = self.shape;
        let (first, second) = match block_table {
            None => (("b", b, "k"), ("s_k", page_size, "k_cache")),
            Some(_) => (("num_pages", num_pages, "k_cache"), ("page_size", page_size, "k_cache")),
        };
        for (name, tensor) in [("k_cache", k_cache), ("v_cache", v_cache)] {
            CHECKS.sizes(name, tensor, [first, second, ("h_kv", h_kv, "k_cache"), ("head_dim", d, "k_cache")])?;
            CHECKS.rows(name, tensor, tensor.dtype.size_bytes() as u64)?;
        }
        if let Some(table) = block_table {
            if table.sequences != b {
                let (argument, dimension, got, expected) = ("block_table", "sequences", table.sequences, b);
                return Err(Error::Dimension { op: OP, argument, dimension, got, expected, of: "k" });
            }
            if table.num_pages > num_pages {
                let (got, limit) = (table.num_pages as u64, num_pages as u64);
                return Err(Error::TooLarge { op: OP, what: "num_pages of block_table", got, limit });
            }
        }
        for (name, tensor) in [("k_scales", k_scales), ("v_scales", v_scales)] {
            match tensor {
                None if self.types.is_eight_bit() => {
                    return Err(Error::Alone { op: OP, argument: "an 8-bit cache", missing: name });
                }
                None => {}
                Some(_) if !self.types.is_eight_bit() => {
                    let supported = "i8, e4m3 where k_scales and v_scales are given";
                    let (argument, what, got) = ("k_cache", "dtype", self.types.cache.to_string());
                    return Err(Error::Unsupported { op: OP, argument, what, got, supported });
                }
                Some(tensor) => {
                    CHECKS.rank(name, tensor, 3, "[b, s_k, h_kv] or [num_pages, page_size, h_kv]")?;
                    CHECKS.element_type(name, tensor, DType::F32, "")?;
                    CHECKS.sizes(name, tensor, [first, second, ("h_kv", h_kv, "k_cache")])?;
                    CHECKS.elements(name, tensor)?;
                }
            }
        }
        Ok(())
    }

    /// A problem from its types, sizes and options alone, of aligned tensors, queries not in place; `pages_per_sequence` if
    /// there is a block table.
    ///
    /// # Errors
    /// Those of [`Problem::check`] that don't concern memory.
    pub fn new(types: Types, shape: Shape, pages_per_sequence: Option<usize>, options: &Options) -> Result<Self> {
        let Shape { b, s_q, num_tokens, h_q, h_kv, d, n, num_pages, page_size } = shape;
        let unsupported =
            |argument, what, got, supported| Err(Error::Unsupported { op: OP, argument, what, got, supported });
        for (argument, dtype) in [("k", Some(types.k)), ("q_out", types.q_out)] {
            if let Some(dtype) = dtype.filter(|dtype| !matches!(dtype, DType::F32 | DType::F16 | DType::BF16)) {
                return unsupported(argument, "dtype", dtype.to_string(), "f32, f16, bf16");
            }
        }
        if !matches!(types.cache, DType::F16 | DType::BF16 | DType::I8 | DType::E4M3) {
            return unsupported("k_cache", "dtype", types.cache.to_string(), "f16, bf16, i8, e4m3");
        }
        if d == 0 || d > MAX_HEAD_DIM {
            return unsupported("k", "head_dim", d.to_string(), "1 to 256");
        }
        if n > d / 2 {
            return Err(pairs(n));
        }
        if pages_per_sequence.is_some() && !page_size.is_power_of_two() {
            return unsupported("k_cache", "page_size", page_size.to_string(), "powers of two");
        }
        if !options.magnitude.is_finite() {
            return Err(Error::NotFinite { op: OP, option: "magnitude", got: options.magnitude.to_string() });
        }
        // Positions, and numbers of tokens and heads, are 32-bit integers in the kernel.
        let pages = pages_per_sequence.unwrap_or(1);
        let sizes = [("b", b), ("s_q", s_q), ("number of tokens", num_tokens), ("h_q", h_q), ("h_kv", h_kv)];
        let cache = [("num_pages", num_pages), ("page_size", page_size), ("pages of a sequence", pages)];
        for (what, got) in sizes.into_iter().chain(cache) {
            if got > MAX_SIZE {
                return Err(Error::TooLarge { op: OP, what, got: got as u64, limit: MAX_SIZE as u64 });
            }
        }
        let capacity = if num_pages == 0 { 0 } else { pages.saturating_mul(page_size).min(MAX_SIZE) };
        let wide = [Some(types.k), types.q_out].contains(&Some(DType::F32));
        let fits = |unit: &usize| d.is_multiple_of(*unit) && n.is_multiple_of(*unit) && !(wide && *unit == 8);
        let unit = [8, 4].into_iter().find(fits).unwrap_or(1);
        Ok(Self { types, shape, in_place: false, pages_per_sequence, capacity, unit, options: *options })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Shape { b, num_tokens, h_q, h_kv, .. } = self.shape;
        b == 0 || num_tokens == 0 || h_q + h_kv == 0
    }
}

fn pairs(n: usize) -> Error {
    let (op, argument, got) = (OP, "inverse_frequencies", n.to_string());
    Error::Unsupported { op, argument, what: "n", got, supported: "1 to d / 2" }
}

/// Whether rows start at multiples of `unit` elements.
fn is_aligned(tensor: &Operand, unit: usize) -> bool {
    let outer = tensor.layout.strides().iter().zip(tensor.layout.shape()).rev().skip(1);
    tensor.address.is_multiple_of((unit * tensor.dtype.size_bytes()) as u64) && { outer }
        .all(|(stride, &size)| size <= 1 || stride.is_multiple_of(unit))
}
