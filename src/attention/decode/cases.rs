//! The cases that `check` and `bench` go through, and their made-up input.

use crate::verify::{Case, HostTensor, Op, random};
use crate::{DType, Error, Result};

type Set = &'static [(&'static str, &'static str)];

/// Name, q's type, `[b, s_q, h_q, h_kv, d]`, `[num_pages, page_size]`, options, extras.
macro_rules! case {
    ($name:literal, $dtype:ident, [$b:literal, $s_q:literal, $h_q:literal, $h_kv:literal, $d:literal], [$pages:literal, $size:literal], $options:expr, $extras:expr) => {
        case!($name, $dtype, [$b, $s_q, $h_q, $h_kv, $d], [$pages, $size], $options, $extras, false)
    };
    ($name:literal, $dtype:ident, [$b:literal, $s_q:literal, $h_q:literal, $h_kv:literal, $d:literal], [$pages:literal, $size:literal], $options:expr, $extras:expr, $gpu_only:literal) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[
                ("b", $b),
                ("s_q", $s_q),
                ("h_q", $h_q),
                ("h_kv", $h_kv),
                ("d", $d),
                ("num_pages", $pages),
                ("page_size", $size),
            ],
            options: $options,
            extras: $extras,
            gpu_only: $gpu_only,
        }
    };
}

const NONE: Set = &[];
const SPLITS: Set = &[("num_splits", "5")];
const WINDOW: Set = &[("window_left", "99")];
const WINDOW_SPLITS: Set = &[("window_left", "399"), ("num_splits", "3")];
const SOFTCAP: Set = &[("softcap", "2.5")];
const BOTH_WAYS: Set = &[("bidirectional", "true"), ("scale", "-0.1")];
const ALL_OPTIONS: Set = &[("window_left", "150"), ("softcap", "3"), ("num_splits", "4"), ("max_length", "500")];
const BEFORE: Set = &[("lengths_exclude_new", "true"), ("num_splits", "2")];
const I8: Set = &[("cache", "i8")];
const E4M3: Set = &[("cache", "e4m3")];
const SINKS: Set = &[("sinks", "normal")];
const ALIBI: Set = &[("alibi_slopes", "powers")];

/// Every instance, cache, page size, feature and unevenness at least once.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("one query",           F16,  [2, 1, 4, 1, 64],   [2, 300],  NONE, NONE),
    case!("one query",           F16,  [1, 1, 8, 2, 128],  [1, 513],  NONE, NONE),
    case!("one query",           BF16, [2, 1, 4, 1, 256],  [2, 200],  NONE, NONE),
    case!("no groups",           BF16, [2, 1, 3, 3, 64],   [2, 130],  NONE, &[("lengths", "130 1")]),
    case!("various lengths",     BF16, [4, 2, 8, 2, 128],  [4, 400],  SPLITS, &[("lengths", "400 0 7 129")]),
    case!("splits",              F16,  [2, 1, 4, 1, 256],  [2, 300],  SPLITS, &[("lengths", "300 31")]),
    case!("16 queries",          F16,  [1, 16, 4, 1, 64],  [1, 260],  SPLITS, NONE),
    case!("more rows than a block's", BF16, [1, 16, 8, 1, 128], [1, 150], SPLITS, NONE),
    case!("two row tiles",       F16,  [2, 5, 5, 1, 256],  [2, 90],   NONE, &[("lengths", "90 3")]),
    case!("head dim 8",          F16,  [1, 1, 2, 1, 8],    [1, 70],   NONE, NONE),
    case!("head dim 80",         BF16, [1, 3, 2, 1, 80],   [1, 170],  SPLITS, NONE),
    case!("head dim 200",        F16,  [1, 1, 2, 1, 200],  [1, 70],   NONE, NONE),
    case!("window",              F16,  [2, 4, 4, 2, 64],   [2, 513],  WINDOW, &[("lengths", "513 80")]),
    case!("window, splits",      BF16, [1, 1, 4, 1, 256],  [1, 1000], WINDOW_SPLITS, NONE),
    case!("softcap",             F16,  [1, 2, 4, 2, 128],  [1, 200],  SOFTCAP, NONE),
    case!("both ways",           BF16, [1, 7, 4, 2, 64],   [1, 100],  BOTH_WAYS, NONE),
    case!("sinks",               F16,  [3, 2, 4, 2, 64],   [3, 300],  SPLITS, &[("sinks", "normal"), ("lengths", "300 0 100")]),
    case!("sinks",               BF16, [1, 1, 8, 1, 64],   [1, 300],  NONE, SINKS),
    case!("ALiBi",               F16,  [1, 3, 4, 1, 128],  [1, 300],  SPLITS, ALIBI),
    case!("pages of 1",          F16,  [2, 1, 4, 2, 64],   [600, 1],  NONE, &[("pages_per_sequence", "270"), ("lengths", "270 33")]),
    case!("pages of 16",         BF16, [2, 2, 4, 1, 128],  [50, 16],  SPLITS, &[("pages_per_sequence", "20"), ("lengths", "320 17")]),
    case!("pages of 64",         F16,  [3, 1, 4, 1, 256],  [20, 64],  SPLITS, &[("pages_per_sequence", "6"), ("lengths", "384 64 63")]),
    case!("pages of 256",        F16,  [2, 1, 8, 2, 128],  [5, 256],  NONE, &[("pages_per_sequence", "2"), ("lengths", "511 257")]),
    case!("i8",                  F16,  [1, 1, 4, 1, 64],   [1, 300],  NONE, I8),
    case!("i8",                  BF16, [2, 2, 8, 2, 128],  [2, 300],  SPLITS, &[("cache", "i8"), ("lengths", "300 140")]),
    case!("i8",                  F16,  [1, 1, 4, 1, 256],  [1, 300],  NONE, I8),
    case!("i8, head dim 80",     BF16, [1, 1, 4, 1, 80],   [1, 140],  NONE, I8),
    case!("i8, head dim 240",    BF16, [1, 16, 4, 1, 240], [1, 140],  SPLITS, I8),
    case!("e4m3",                F16,  [1, 3, 4, 1, 64],   [1, 300],  SPLITS, E4M3),
    case!("e4m3",                BF16, [1, 1, 4, 1, 64],   [1, 300],  NONE, E4M3),
    case!("e4m3",                F16,  [2, 1, 8, 2, 128],  [2, 300],  NONE, E4M3),
    case!("e4m3",                BF16, [1, 1, 4, 1, 256],  [1, 300],  SPLITS, E4M3),
    case!("e4m3, pages of 32",   BF16, [2, 1, 4, 2, 128],  [20, 32],  SPLITS, &[("cache", "e4m3"), ("pages_per_sequence", "9"), ("lengths", "288 100")]),
    case!("i8, pages of 1",      F16,  [2, 1, 4, 2, 64],   [400, 1],  NONE, &[("cache", "i8"), ("pages_per_sequence", "200"), ("lengths", "200 129")]),
    case!("all features",        F16,  [3, 5, 6, 2, 72],   [40, 16],  ALL_OPTIONS, &[("sinks", "normal"), ("alibi_slopes", "powers"), ("pages_per_sequence", "32"), ("lengths", "500 0 44")]),
    case!("all features",        BF16, [3, 2, 6, 2, 256],  [10, 128], ALL_OPTIONS, &[("cache", "e4m3"), ("sinks", "normal"), ("alibi_slopes", "powers"), ("pages_per_sequence", "4"), ("lengths", "333 1 0")]),
    case!("lengths before",      BF16, [2, 3, 4, 2, 64],   [2, 200],  BEFORE, &[("lengths", "197 -2")]),
    case!("lengths before, pages", F16, [3, 1, 4, 1, 128], [20, 16],  BEFORE, &[("cache", "i8"), ("pages_per_sequence", "6"), ("lengths", "95 15 -1")]),
    case!("no keys",             F16,  [2, 1, 2, 1, 64],   [2, 0],    NONE, NONE),
    case!("no queries",          F16,  [2, 0, 2, 1, 64],   [2, 10],   NONE, NONE),
    case!("no sequences",        F16,  [0, 1, 2, 1, 64],   [0, 10],   NONE, NONE),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Llama 3 8B, 1024 tokens",            BF16, [1, 1, 32, 8, 128],  [1, 1024],    NONE, NONE),
    case!("Llama 3 8B, 4 of 2048 tokens",       BF16, [4, 1, 32, 8, 128],  [4, 2048],    NONE, NONE),
    case!("Llama 3 8B, 4 in pages of 16",       BF16, [4, 1, 32, 8, 128],  [512, 16],    NONE, &[("pages_per_sequence", "128")]),
    case!("Llama 3 8B, 4 in int8",              BF16, [4, 1, 32, 8, 128],  [512, 16],    NONE, &[("cache", "i8"), ("pages_per_sequence", "128")]),
    case!("Llama 3 8B, 4 in e4m3",              BF16, [4, 1, 32, 8, 128],  [512, 16],    NONE, &[("cache", "e4m3"), ("pages_per_sequence", "128")]),
    case!("Llama 3 8B, 4 new tokens each",      BF16, [4, 4, 32, 8, 128],  [4, 1024],    NONE, NONE),
    case!("Llama 3 8B, 16384 tokens",           BF16, [1, 1, 32, 8, 128],  [1, 16384],   NONE, NONE),
    case!("Gemma 3 270M, global layer",         F16,  [1, 1, 4, 1, 256],   [1, 4096],    NONE, NONE),
    case!("Gemma 3 270M, local layer",          F16,  [1, 1, 4, 1, 256],   [1, 4096],    &[("window_left", "511")], NONE),
    case!("Qwen3 8B, 4 in pages of 64",         BF16, [4, 1, 32, 8, 128],  [64, 64],     NONE, &[("pages_per_sequence", "16")]),
    case!("GPT-OSS 20B, window and sinks",      BF16, [4, 1, 64, 8, 64],   [4, 2048],    &[("window_left", "127")], SINKS),
    case!("Llama 3 70B, 64 of 8192 tokens",     BF16, [64, 1, 64, 8, 128], [32768, 16],  NONE, &[("pages_per_sequence", "512")], true),
    case!("Llama 3 8B, 131072 tokens",          BF16, [1, 1, 32, 8, 128],  [1, 131072],  NONE, NONE, true),
    case!("Llama 3 8B, 131072 tokens in e4m3",  BF16, [1, 1, 32, 8, 128],  [1, 131072],  NONE, E4M3, true),
];

/// Input of a case. Extras: `cache` is the type of an 8-bit cache, whose scales are made up too; `lengths`, all that there
/// is room for if there is none; with `pages_per_sequence` the pages of each sequence are picked from the whole cache.
/// What lies beyond a sequence's length is NaN or absurd.
pub(super) fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let extra = |name: &str| case.extras.iter().find(|(extra, _)| *extra == name).map(|&(_, text)| text);
    let size = |name| case.size(op.path, name);
    let (b, s_q, h_q, h_kv, d) = (size("b")?, size("s_q")?, size("h_q")?, size("h_kv")?, size("d")?);
    let (num_pages, page_size) = (size("num_pages")?, size("page_size")?);
    let strange =
        |problem: &str| Error::Binding { op: op.path, problem: format!("case {:?} has {problem}", case.name) };
    let pages = match extra("pages_per_sequence") {
        Some(text) => Some(text.parse::<usize>().map_err(|_| strange("strange pages_per_sequence"))?),
        None => None,
    };
    let lengths: Vec<i32> = match extra("lengths") {
        Some(text) => text.split(' ').filter_map(|number| number.parse().ok()).collect(),
        None => vec![(pages.unwrap_or(1) * page_size) as i32; b],
    };
    // Keys of each sequence, whatever the lengths count.
    let new_keys = if case.options.contains(&("lengths_exclude_new", "true")) { s_q as i32 } else { 0 };
    let keys: Vec<usize> = lengths.iter().map(|&length| (length + new_keys).max(0) as usize).collect();
    // Every page once, in a made-up order.
    let mut order: Vec<i32> = (0..num_pages as i32).collect();
    let random = random::normal(21, num_pages);
    order.sort_by(|&i, &j| random[i as usize].total_cmp(&random[j as usize]));
    let table: Vec<i32> = match pages {
        Some(pages) if b * pages <= num_pages => order[..b * pages].to_vec(),
        // Sequences share pages, where there are too few.
        Some(pages) => order.iter().cycle().take(if num_pages == 0 { 0 } else { b * pages }).copied().collect(),
        None => (0..b as i32).collect(),
    };
    let mut used = vec![false; num_pages * page_size];
    for (batch, &length) in keys.iter().enumerate() {
        for j in 0..length {
            let page = table[batch * pages.unwrap_or(1) + j / page_size.max(1)] as usize;
            used[page * page_size + j % page_size] = true;
        }
    }
    let shape = [num_pages, page_size, h_kv, d];
    let count: usize = shape.iter().product();
    let cache = extra("cache").map(|name| name.parse::<DType>().map_err(|_| strange("a strange cache"))).transpose()?;
    let (dtype, factor, poison) = match cache {
        None => (case.dtype, 1.0, f64::NAN),
        Some(DType::I8) => (DType::I8, 40.0, 127.0),
        Some(dtype) => (dtype, 100.0, 448.0),
    };
    let values = |seed| {
        let mut values: Vec<f64> = random::normal(seed, count).into_iter().map(|x| x * factor).collect();
        if cache == Some(DType::I8) {
            values.iter_mut().for_each(|x| *x = x.round().clamp(-128.0, 127.0));
        }
        for (row, used) in values.chunks_mut((h_kv * d).max(1)).zip(&used) {
            if !used {
                row.fill(poison);
            }
        }
        values
    };
    let mut inputs = vec![
        HostTensor::from_f64("q", case.dtype, &[b, s_q, h_q, d], &random::normal(1, b * s_q * h_q * d)),
        HostTensor::from_f64("k", dtype, &shape, &values(2)),
        HostTensor::from_f64("v", dtype, &shape, &values(3)),
        HostTensor::from_slice("lengths", &[b], &lengths),
    ];
    if let Some(pages) = pages {
        let mut entries = table.clone();
        for (batch, length) in keys.iter().enumerate() {
            let first = length.div_ceil(page_size);
            entries[batch * pages + first..(batch + 1) * pages].fill(i32::MIN);
        }
        inputs.push(HostTensor::from_slice("block_table", &[b, pages], &entries));
    }
    if cache.is_some() {
        for (name, seed) in [("k_scales", 4), ("v_scales", 5)] {
            // Within a factor of 10 of each other, about 1 / factor.
            let scale = |(x, &used): (f64, &bool)| if used { (0.5 * x).exp() / factor } else { f64::NAN };
            let slots = used.iter().flat_map(|used| std::iter::repeat_n(used, h_kv));
            let scales: Vec<f64> =
                random::normal(seed, num_pages * page_size * h_kv).into_iter().zip(slots).map(scale).collect();
            inputs.push(HostTensor::from_f64(name, DType::F32, &shape[..3], &scales));
        }
    }
    if extra("sinks").is_some() {
        inputs.push(HostTensor::from_f64("sinks", DType::F32, &[h_q], &random::normal(11, h_q)));
    }
    if extra("alibi_slopes").is_some() {
        let slopes: Vec<_> = (1..=h_q).map(|head| 2f64.powf(-8.0 * head as f64 / h_q as f64)).collect();
        inputs.push(HostTensor::from_f64("alibi_slopes", DType::F32, &[h_q], &slopes));
    }
    Ok(inputs)
}
