//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES, make_inputs};
use super::reference::{mask_bits, masked};
use super::{Args, OP, Options, Problem, block_sparse, launches, plan};
use crate::attention::flash_forward::verify::{Setup as Dense, both};
use crate::sparse::{BlockLayout, LayoutSizes, Pattern, TileGrid};
use crate::verify::{Agreement, Bindings, Description, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec};
use crate::{DType, Error, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "attention that visits the tiles of keys that a layout lists",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const FLOATS: &[DType] = &[DType::F16, DType::BF16];
const WORDS: &[DType] = &[DType::I32];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("q", FLOATS, &["b", "s_q", "h_q", "d"], &["total_q", "h_q", "d"], "queries; d is 64, 128, 192 or 256"),
        tensor("k", FLOATS, &["b", "s_k", "h_kv", "d"], &["total_k", "h_kv", "d"], "keys; h_kv divides h_q"),
        tensor("v", FLOATS, &["b", "s_k", "h_kv", "d_v"], &["total_k", "h_kv", "d_v"], "values; d_v as d, of 192 128"),
        LAYOUT[0],
        LAYOUT[1],
        LAYOUT[2],
        LAYOUT[3],
        LAYOUT[4],
        LAYOUT[5],
        LAYOUT[6],
        LAYOUT[7],
    ],
    options: &LAYOUT_OPTIONS,
    outputs: &[
        tensor("out", FLOATS, &["b", "s_q", "h_q", "d_v"], &["total_q", "h_q", "d_v"], "result, of q's type"),
        tensor("lse", &[DType::F32], &["b", "h_q", "s_q"], &["h_q", "total_q"], "logarithm of each row's sum"),
    ],
};

/// Where sequences lie, and the parts of a layout; without them all tiles are visited.
pub(in crate::sparse) const LAYOUT: [TensorSpec; 8] = [
    optional("cu_seqlens_q", WORDS, &["b + 1"], "sequence i of q is positions cu[i] .. cu[i + 1]"),
    optional("cu_seqlens_k", WORDS, &["b + 1"], "likewise of k and v"),
    optional("heads", WORDS, &["heads"], "each head's pattern; one for all [default: 0]"),
    optional(
        "offsets",
        WORDS,
        &["patterns", "rows + 1"],
        "where the tiles of each row of tiles begin; all tiles if not given",
    ),
    optional("tiles", WORDS, &["tiles"], "tile of keys * 2, and 1 if its mask is not 0"),
    optional("masks", WORDS, &["tiles"], "0: all is seen; m > 0: bits m - 1; m < 0: band -m - 1 [default: 0]"),
    optional("bands", WORDS, &["bands", "4"], "diagonal, left, right (-1: no limit), 0"),
    optional("bits", &[DType::U32], &["masks", "words"], "key j of a row of a tile is bit j % 32 of word j / 32"),
];

pub(in crate::sparse) const LAYOUT_OPTIONS: [OptionSpec; 3] = [
    option("scale", OptionType::Float, "1/sqrt(d)", "factor of the scores"),
    option("tile_q", OptionType::Count, "64", "queries of a tile of the layout: 64 or 128"),
    option("tile_k", OptionType::Count, "64", "keys of a tile of the layout: 64 or 128"),
];

pub(in crate::sparse) const fn tensor(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    shape_of_sequences: &'static [&'static str],
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences, optional: false, meaning }
}

const fn optional(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences: &[], optional: true, meaning }
}

const fn option(name: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, meaning }
}

/// Tensors on the device, and what they were made of: those of the dense problem under the layout's element mask, which
/// is the definition, and the layout.
pub(in crate::sparse) struct Setup {
    pub(in crate::sparse) dense: Dense,
    pub(in crate::sparse) layout: BlockLayout<'static>,
    pub(in crate::sparse) options: Options,
    pub(in crate::sparse) problem: Problem,
}

impl Setup {
    /// For an operator with these inputs.
    pub(in crate::sparse) fn new(op: &'static str, queue: &Queue, bindings: &Bindings) -> Result<Self> {
        let mut dense = Dense::new(op, queue, bindings)?;
        let shape = dense.problem.shape;
        let layout = layout(op, queue, bindings, [shape.s_q, shape.s_k])?;
        let options = Options { scale: dense.options.scale };
        let (operand, guard) = layout.open(op, "layout", queue)?;
        let mut problem = Problem::new(dense.problem.dtype, shape, &options, operand)?;
        problem.attention.totals = dense.problem.totals;
        drop(guard);
        let heads = layout.sizes().heads;
        let patterns: Vec<&Pattern> = (0..heads).filter_map(|head| layout.pattern(head)).collect();
        if let Some(pattern) = patterns.first() {
            dense.numbers.mask_bits = mask_bits(patterns.iter().copied());
            dense.problem = masked(&dense.problem, heads, pattern);
        }
        Ok(Self { dense, layout, options, problem })
    }
}

/// The layout that the tensors describe.
fn layout(op: &'static str, queue: &Queue, bindings: &Bindings, lengths: [usize; 2]) -> Result<BlockLayout<'static>> {
    let tile = |name| bindings.count(name).map_or(64, |tile| usize::try_from(tile).unwrap_or(usize::MAX));
    let grid = TileGrid::new(lengths, [tile("tile_q"), tile("tile_k")])?;
    let Some(offsets) = bindings.tensor("offsets") else {
        return BlockLayout::new(queue, Pattern::full(grid)?);
    };
    if offsets.shape[1] != grid.query_tiles() + 1 {
        let (got, expected) = (offsets.shape[1], grid.query_tiles() + 1);
        let problem = format!("offsets has {got} columns, expected {expected} (tiles of queries, and 1)");
        return Err(Error::Binding { op, problem });
    }
    let words = |name: &str| -> Option<Vec<i32>> {
        let numbers = bindings.tensor(name)?.to_f64();
        Some(numbers.iter().map(|&number| number as i64 as i32).collect())
    };
    let (heads, tiles) = (words("heads").unwrap_or(vec![0]), words("tiles").unwrap_or_default());
    let masks = words("masks").unwrap_or(vec![0; tiles.len()]);
    let (bands, bits) = (words("bands").unwrap_or_default(), words("bits").unwrap_or_default());
    let sizes = LayoutSizes {
        heads: heads.len(),
        patterns: offsets.shape[0],
        tiles: tiles.len(),
        bands: bands.len() / 4,
        masks: bits.len() / grid.mask_words(),
    };
    let parts = [bands, heads, words("offsets").unwrap_or_default(), tiles, masks, bits];
    BlockLayout::of_words(queue, &parts.concat(), grid, sizes)
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let dense = &mut self.dense;
        let [cu_seqlens_q, cu_seqlens_k] = both(&dense.cu_seqlens);
        let args = Args {
            q: dense.q.view()?,
            k: dense.k.view()?,
            v: dense.v.view()?,
            out: dense.out.view_mut()?,
            layout: &self.layout,
            lse: Some(dense.lse.view_mut()?),
            cu_seqlens_q,
            cu_seqlens_k,
            options: self.options,
        };
        block_sparse(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        self.dense.outputs(queue)
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement> {
        self.dense.agreement(queue, budget)
    }
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    Ok(Box::new(Setup::new(OP, queue, bindings)?))
}
