//! The cases that `check` and `bench` go through, and their made-up input.

use crate::attention::flash_forward;
use crate::sparse::block_layout::encode;
use crate::sparse::patterns::{BigBird, PatternKind};
use crate::sparse::{Pattern, TileGrid};
use crate::verify::{Case, HostTensor, Op};
use crate::{DType, Error, Result};

type Set = &'static [(&'static str, &'static str)];

macro_rules! case {
    ($name:literal, $dtype:ident, [$b:literal, $s_q:literal, $s_k:literal, $h_q:literal, $h_kv:literal, $d:literal, $d_v:literal], $options:expr, $extras:expr, $gpu_only:literal) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[("b", $b), ("s_q", $s_q), ("s_k", $s_k), ("h_q", $h_q), ("h_kv", $h_kv), ("d", $d), ("d_v", $d_v)],
            options: $options,
            extras: $extras,
            gpu_only: $gpu_only,
        }
    };
}

const SMALL: Set = &[("tile_q", "64"), ("tile_k", "64")];
const LARGE: Set = &[("tile_q", "128"), ("tile_k", "128")];
const TALL: Set = &[("tile_q", "128"), ("tile_k", "64")];
const WIDE: Set = &[("tile_q", "64"), ("tile_k", "128"), ("scale", "0.25")];

/// The layout comes first: the patterns of heads, one for all or one for each, by their names in [`pattern`]. After it
/// comes where sequences lie.
macro_rules! layout {
    ($text:literal) => {
        &[("layout", $text)]
    };
    ($text:literal, $queries:literal, $keys:literal) => {
        &[("layout", $text), ("cu_seqlens_q", $queries), ("cu_seqlens_k", $keys)]
    };
}

/// Every instance, kind of mask, grouping and unevenness at least once.
#[rustfmt::skip]
pub(in crate::sparse) const CHECK_CASES: &[Case] = &[
    case!("full",                 F16,  [2, 128, 256, 2, 2, 64, 64],   LARGE, layout!("full"), false),
    case!("causal",               BF16, [1, 300, 300, 2, 1, 64, 64],   LARGE, layout!("causal"), false),
    case!("window, small tiles",  F16,  [1, 300, 300, 2, 1, 64, 64],   SMALL, layout!("window"), false),
    case!("BigBird",              BF16, [1, 512, 512, 2, 2, 64, 64],   SMALL, layout!("bigbird"), false),
    case!("more keys",            F16,  [1, 70, 333, 2, 1, 128, 128],  TALL,  layout!("both sides"), false),
    case!("fewer keys",           BF16, [1, 333, 70, 2, 1, 128, 128],  SMALL, layout!("causal"), false),
    case!("Longformer",           F16,  [1, 400, 400, 4, 2, 128, 128], LARGE, layout!("longformer"), false),
    case!("heads of three kinds", BF16, [2, 260, 260, 6, 2, 128, 128], SMALL, layout!("full, streaming, bigbird, causal, dilated, empty"), false),
    case!("heads of two kinds",   F16,  [1, 300, 300, 2, 1, 64, 64],   LARGE, layout!("strided, fixed"), false),
    case!("keys wider than values", F16, [1, 200, 260, 2, 1, 192, 128], TALL, layout!("vertical slash"), false),
    case!("keys wider than values", BF16, [1, 200, 200, 2, 2, 192, 128], WIDE, layout!("documents"), false),
    case!("prefix",               F16,  [1, 150, 150, 2, 1, 256, 256], LARGE, layout!("prefix"), false),
    case!("tri-shape",            BF16, [1, 200, 200, 2, 1, 256, 256], WIDE,  layout!("tri-shape"), false),
    case!("various lengths",      F16,  [3, 260, 300, 4, 2, 64, 64],   LARGE, layout!("causal, streaming, full, window", "0 100 100 360", "0 33 40 340"), false),
    case!("various lengths",      BF16, [3, 129, 260, 2, 1, 128, 128], WIDE,  layout!("bigbird", "0 1 66 195", "0 64 100 360"), false),
    case!("no tiles",             F16,  [1, 100, 100, 2, 1, 64, 64],   SMALL, layout!("empty"), false),
    case!("no keys",              F16,  [1, 40, 0, 2, 2, 64, 64],      SMALL, layout!("full"), false),
    case!("no queries",           F16,  [1, 0, 40, 2, 2, 64, 64],      SMALL, layout!("full"), false),
];

#[rustfmt::skip]
pub(in crate::sparse) const BENCH_CASES: &[Case] = &[
    case!("BigBird base, 4096 tokens",    F16,  [1, 4096, 4096, 12, 12, 64, 64], SMALL, layout!("bigbird 4096"), false),
    case!("Longformer base, 4096 tokens", F16,  [1, 4096, 4096, 12, 12, 64, 64], SMALL, layout!("longformer 4096"), false),
    case!("Llama 3 8B, MInference, 8192 tokens", BF16, [1, 8192, 8192, 32, 8, 128, 128], SMALL, layout!("minference 8192"), false),
    case!("Llama 3 8B, streaming heads, 2048 tokens", BF16, [1, 2048, 2048, 32, 8, 128, 128], LARGE, layout!("sinks 2048"), false),
    case!("Llama 3 8B, 512 tokens, all tiles", BF16, [1, 512, 512, 32, 8, 128, 128], LARGE, layout!("full"), false),
];

/// A named pattern of these cases.
fn pattern(name: &str, grid: TileGrid) -> Result<Option<Pattern>> {
    let half = grid.s_k() / 2;
    let big_bird = |global, random, seed| PatternKind::BigBird(BigBird { block: 64, window: 1, global, random, seed });
    let kind = match name {
        "full" => return Pattern::full(grid).map(Some),
        "empty" => return Pattern::from_rows(grid, &[], |_| Vec::new()).map(Some),
        "causal" => PatternKind::Causal,
        "window" => PatternKind::SlidingWindow { left: 100, right: 0 },
        "both sides" => PatternKind::SlidingWindow { left: 70, right: 31 },
        "dilated" => PatternKind::Dilated { left: 20, right: 3, dilation: 5 },
        "strided" => PatternKind::Strided { stride: 48 },
        "fixed" => PatternKind::Fixed { stride: 50, summary: 3 },
        "longformer" => PatternKind::Longformer { window: 40, global: vec![0, half] },
        "longformer 4096" => PatternKind::Longformer { window: 256, global: vec![0] },
        "bigbird" => big_bird(1, 2, 3),
        "bigbird 4096" => big_bird(2, 3, 0),
        "streaming" => PatternKind::Streaming { sinks: 4, recent: 90 },
        "sinks 2048" => PatternKind::Streaming { sinks: 128, recent: 256 },
        "tri-shape" => PatternKind::TriShape { sinks: 10, recent: 33, last: 20 },
        "vertical slash" => PatternKind::VerticalSlash { vertical: vec![3, half], slash: vec![0, 1, 64] },
        // Lines in bundles, as searches find them, and the most recent keys.
        "minference 8192" => PatternKind::VerticalSlash {
            vertical: (0..64).chain((1..8).flat_map(|at| at * 1024..at * 1024 + 16)).collect(),
            slash: (0..256).chain((1..4).flat_map(|at| at * 2048..at * 2048 + 32)).collect(),
        },
        "documents" => PatternKind::Documents { ends: vec![30, 140], causal: true },
        "prefix" => PatternKind::PrefixLm { prefix: 40 },
        _ => return Ok(None),
    };
    kind.pattern(grid).map(Some)
}

/// Input of a case, of this operator or of its gradients: numbers of the standard normal distribution, and the parts of
/// the layout.
pub(in crate::sparse) fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let failed = |problem: String| Error::Binding { op: op.path, problem };
    let Some((("layout", text), sequences)) = case.extras.split_first() else {
        return Err(failed(format!("case {:?} has no layout", case.name)));
    };
    let mut inputs = flash_forward::cases::make_inputs(op, &Case { extras: sequences, ..*case })?;
    let longest = |name: &str, size: &str| {
        let offsets = inputs.iter().find(|tensor| tensor.name == name).map(HostTensor::to_f64);
        let lengths = offsets.map(|offsets| offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).max());
        lengths.map_or_else(|| case.size(op.path, size), |longest| Ok(longest.unwrap_or(0)))
    };
    let lengths = [longest("cu_seqlens_q", "s_q")?, longest("cu_seqlens_k", "s_k")?];
    let tile = |name: &str| {
        let text = case.options.iter().find(|(option, _)| *option == name).map_or("64", |(_, text)| text);
        text.parse().map_err(|_| failed(format!("case {:?} has {name} {text}", case.name)))
    };
    let grid = TileGrid::new(lengths, [tile("tile_q")?, tile("tile_k")?])?;
    let (mut names, mut patterns, mut heads) = (Vec::new(), Vec::new(), Vec::new());
    for name in text.split(", ") {
        let at = names.iter().position(|known| *known == name).unwrap_or(names.len());
        if at == names.len() {
            let unknown = || failed(format!("case {:?} has pattern {name:?}", case.name));
            patterns.push(pattern(name, grid)?.ok_or_else(unknown)?);
            names.push(name);
        }
        heads.push(at);
    }
    let (words, sizes) = encode(&patterns, &heads)?;
    let [heads_at, offsets_at, tiles_at, masks_at, bits_at, columns_at, ..] = sizes.places(&grid);
    let parts: [(&str, &[i32], &[usize]); 5] = [
        ("heads", &words[heads_at..offsets_at], &[sizes.heads]),
        ("offsets", &words[offsets_at..tiles_at], &[sizes.patterns, grid.query_tiles() + 1]),
        ("tiles", &words[tiles_at..masks_at], &[sizes.tiles]),
        ("masks", &words[masks_at..bits_at], &[sizes.tiles]),
        ("bands", &words[..heads_at], &[sizes.bands, 4]),
    ];
    inputs.extend(parts.map(|(name, words, shape)| HostTensor::from_slice(name, shape, words)));
    let bits: Vec<u32> = words[bits_at..columns_at].iter().map(|&word| word as u32).collect();
    inputs.push(HostTensor::from_slice("bits", &[sizes.masks, grid.mask_words()], &bits));
    Ok(inputs)
}
