//! The cases that `check` and `bench` go through, and their made-up input.

use crate::verify::{Case, HostTensor, Op, random};
use crate::{DType, Error, Result};

type Set = &'static [(&'static str, &'static str)];

/// Name, type of the new tensors, `[b, s_q, h_q, h_kv, d, n]`, `[num_pages, page_size]`, options, extras.
macro_rules! case {
    ($name:literal, $dtype:ident, [$b:literal, $s_q:literal, $h_q:literal, $h_kv:literal, $d:literal, $n:literal], [$pages:literal, $size:literal], $options:expr, $extras:expr) => {
        Case {
            name: $name,
            dtype: DType::$dtype,
            sizes: &[
                ("b", $b),
                ("s_q", $s_q),
                ("h_q", $h_q),
                ("h_kv", $h_kv),
                ("d", $d),
                ("n", $n),
                ("num_pages", $pages),
                ("page_size", $size),
            ],
            options: $options,
            extras: $extras,
            gpu_only: false,
        }
    };
}

const NONE: Set = &[];
const INTERLEAVED: Set = &[("interleaved", "true")];
const MAGNITUDE: Set = &[("magnitude", "1.25")];
const I8: Set = &[("cache", "i8")];
const E4M3: Set = &[("cache", "e4m3")];
const LLAMA: Set = &[("base", "500000")];
const GEMMA: Set = &[("base", "1000000")];

/// Every instance, cache, kind of rotation, of positions and of pages at least once.
#[rustfmt::skip]
pub(super) const CHECK_CASES: &[Case] = &[
    case!("one token",             F16,  [2, 1, 4, 1, 256, 128], [2, 40],  NONE, &[("first", "17 39")]),
    case!("one token",             BF16, [3, 1, 8, 2, 128, 64],  [3, 64],  INTERLEAVED, &[("first", "0 63 5"), ("first_positions", "")]),
    case!("a prompt",              BF16, [1, 37, 4, 2, 128, 64], [1, 40],  NONE, NONE),
    case!("interleaved",           F16,  [2, 9, 4, 2, 64, 32],   [2, 20],  INTERLEAVED, &[("first", "3 11"), ("first_positions", "")]),
    case!("without queries",       F16,  [1, 20, 0, 2, 64, 32],  [1, 33],  MAGNITUDE, NONE),
    case!("without rotation",      BF16, [2, 11, 0, 2, 80, 0],   [2, 17],  NONE, NONE),
    case!("partial",               F16,  [1, 20, 3, 2, 96, 12],  [1, 33],  NONE, NONE),
    case!("partial, interleaved",  BF16, [1, 20, 3, 2, 128, 16], [1, 33],  INTERLEAVED, I8),
    case!("f32",                   F32,  [1, 20, 3, 2, 128, 64], [1, 33],  NONE, NONE),
    case!("f32 to bf16",           F32,  [2, 3, 3, 1, 256, 128], [2, 8],   NONE, &[("cache", "bf16"), ("first", "5 0")]),
    case!("f32 to i8",             F32,  [1, 20, 3, 2, 64, 32],  [1, 33],  NONE, I8),
    case!("bf16 to f16",           BF16, [1, 5, 1, 1, 40, 8],    [1, 5],   NONE, &[("cache", "f16")]),
    case!("odd sizes",             F16,  [1, 20, 3, 2, 75, 13],  [1, 33],  NONE, NONE),
    case!("odd sizes",             F32,  [1, 7, 3, 2, 201, 50],  [1, 33],  INTERLEAVED, E4M3),
    case!("i8",                    F16,  [2, 7, 4, 1, 256, 128], [2, 40],  NONE, &[("cache", "i8"), ("first", "17 33")]),
    case!("i8",                    BF16, [1, 50, 4, 2, 64, 32],  [1, 50],  NONE, I8),
    case!("e4m3",                  F16,  [2, 7, 4, 1, 256, 128], [2, 40],  INTERLEAVED, &[("cache", "e4m3"), ("first", "17 33")]),
    case!("e4m3",                  BF16, [1, 50, 4, 2, 128, 64], [1, 50],  NONE, E4M3),
    case!("e4m3",                  F32,  [1, 9, 0, 2, 16, 0],    [1, 50],  NONE, E4M3),
    case!("pages of 1",            F16,  [2, 3, 4, 2, 64, 32],   [60, 1],  NONE, &[("pages_per_sequence", "25"), ("first", "22 3")]),
    case!("pages of 16",           BF16, [2, 20, 4, 2, 128, 64], [9, 16],  NONE, &[("pages_per_sequence", "4"), ("first", "44 3")]),
    case!("pages of 32, e4m3",     BF16, [2, 20, 4, 2, 128, 64], [9, 32],  NONE, &[("cache", "e4m3"), ("pages_per_sequence", "4"), ("first", "90 3"), ("first_positions", "")]),
    case!("pages of 256, i8",      F16,  [2, 3, 4, 1, 256, 128], [4, 256], NONE, &[("cache", "i8"), ("pages_per_sequence", "2"), ("first", "509 254")]),
    case!("various lengths",       F16,  [4, 9, 4, 2, 64, 32],   [4, 33],  NONE, &[("cu_seqlens", "0 3 3 12 13"), ("first", "7 0 24 32")]),
    case!("various lengths",       BF16, [3, 9, 4, 2, 128, 64],  [9, 16],  NONE, &[("cu_seqlens", "0 9 9 14"), ("pages_per_sequence", "3"), ("first", "39 0 2"), ("first_positions", ""), ("cache", "i8")]),
    case!("tokens without a slot", F16,  [3, 4, 4, 2, 64, 32],   [9, 16],  NONE, &[("pages_per_sequence", "3"), ("first", "46 -2 2147483646"), ("first_positions", "")]),
    case!("no tokens",             F16,  [2, 0, 4, 2, 64, 32],   [2, 8],   NONE, NONE),
    case!("no cache",              F16,  [2, 3, 4, 2, 64, 32],   [2, 0],   NONE, NONE),
];

#[rustfmt::skip]
pub(super) const BENCH_CASES: &[Case] = &[
    case!("Gemma 3 270M, decoding",            F16,  [1, 1, 4, 1, 256, 128],   [1, 4096],  GEMMA, NONE),
    case!("Gemma 3 270M, 512 tokens",          F16,  [1, 512, 4, 1, 256, 128], [1, 512],   GEMMA, NONE),
    case!("Gemma 3 270M, 512 tokens, i8",      F32,  [1, 512, 4, 1, 256, 128], [40, 16],   GEMMA, &[("cache", "i8"), ("pages_per_sequence", "32")]),
    case!("Llama 3 8B, decoding 64",           BF16, [64, 1, 32, 8, 128, 64],  [640, 16],  LLAMA, &[("pages_per_sequence", "8")]),
    case!("Llama 3 8B, decoding 64, e4m3",     BF16, [64, 1, 32, 8, 128, 64],  [640, 16],  LLAMA, &[("cache", "e4m3"), ("pages_per_sequence", "8")]),
    case!("Llama 3 8B, 512 tokens",            BF16, [1, 512, 32, 8, 128, 64], [40, 16],   LLAMA, &[("pages_per_sequence", "32")]),
    case!("Llama 3 8B, 512 tokens, i8",        BF16, [1, 512, 32, 8, 128, 64], [40, 16],   LLAMA, &[("cache", "i8"), ("pages_per_sequence", "32")]),
    case!("Llama 3 8B, 512 tokens, e4m3",      BF16, [1, 512, 32, 8, 128, 64], [40, 16],   LLAMA, &[("cache", "e4m3"), ("pages_per_sequence", "32")]),
];

/// Input of a case. Extras: `cache`, the type of the cache, that of the new tensors or, of f32, f16 if there is none; `first`,
/// the position of each sequence's first new token, so that the last fills its room if there is none; `first_positions`, if
/// these are given instead of every token's; `cu_seqlens`; with `pages_per_sequence` the pages of each sequence are picked
/// from the whole cache. What the cache holds before is NaN or absurd.
pub(super) fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let extra = |name: &str| case.extras.iter().find(|(extra, _)| *extra == name).map(|&(_, text)| text);
    let size = |name| case.size(op.path, name);
    let (b, s_q, h_q, h_kv, d, n) = (size("b")?, size("s_q")?, size("h_q")?, size("h_kv")?, size("d")?, size("n")?);
    let (num_pages, page_size) = (size("num_pages")?, size("page_size")?);
    let strange = |name| Error::Binding { op: op.path, problem: format!("case {:?} has strange {name}", case.name) };
    let numbers = |text: &str| -> Vec<i32> { text.split(' ').filter_map(|number| number.parse().ok()).collect() };
    let pages =
        extra("pages_per_sequence").map(|text| text.parse::<usize>().map_err(|_| strange("pages"))).transpose()?;
    let offsets = extra("cu_seqlens").map(numbers);
    let lengths: Vec<i32> = match &offsets {
        Some(offsets) => offsets.windows(2).map(|pair| pair[1] - pair[0]).collect(),
        None => vec![s_q as i32; b],
    };
    let room = (pages.unwrap_or(1) * page_size) as i32;
    let first = match extra("first") {
        Some(text) => numbers(text),
        None => lengths.iter().map(|length| room - length).collect(),
    };
    let total: usize = lengths.iter().map(|&length| length as usize).sum();
    let tokens = |h: usize| if offsets.is_some() { vec![total, h, d] } else { vec![b, s_q, h, d] };
    let new =
        |name, seed, h: usize| HostTensor::from_f64(name, case.dtype, &tokens(h), &random::normal(seed, total * h * d));
    let mut inputs = vec![new("k", 1, h_kv), new("v", 2, h_kv)];
    if h_q > 0 {
        inputs.push(new("q", 3, h_q));
    }
    if extra("first_positions").is_some() {
        inputs.push(HostTensor::from_slice("first_positions", &[b], &first));
    } else {
        let all = |(&first, &length): (&i32, &i32)| (0..length).map(move |i| first.wrapping_add(i));
        let positions: Vec<i32> = first.iter().zip(&lengths).flat_map(all).collect();
        let shape = if offsets.is_some() { vec![total] } else { vec![b, s_q] };
        inputs.push(HostTensor::from_slice("positions", &shape, &positions));
    }
    if let Some(offsets) = &offsets {
        inputs.push(HostTensor::from_slice("cu_seqlens", &[offsets.len()], offsets));
    }
    if n > 0 {
        let base = case.options.iter().find(|(name, _)| *name == "base").and_then(|(_, text)| text.parse::<f64>().ok());
        let frequencies: Vec<f64> = (0..n).map(|i| base.unwrap_or(1e4).powf(-(i as f64) / n as f64)).collect();
        inputs.push(HostTensor::from_f64("inverse_frequencies", DType::F32, &[n], &frequencies));
    }
    if let Some(pages) = pages {
        // Pages in a made-up order.
        let mut order: Vec<i32> = (0..num_pages as i32).collect();
        let keys = random::normal(21, num_pages);
        order.sort_by(|&i, &j| keys[i as usize].total_cmp(&keys[j as usize]));
        inputs.push(HostTensor::from_slice("block_table", &[b, pages], &order[..b * pages]));
    }
    let cache = extra("cache").map(|name| name.parse::<DType>().map_err(|_| strange("cache"))).transpose()?;
    let cache = cache.unwrap_or(if case.dtype == DType::F32 { DType::F16 } else { case.dtype });
    let poison = match cache {
        DType::I8 => 127.0,
        DType::E4M3 => 448.0,
        _ => f64::NAN,
    };
    let slots = num_pages * page_size * h_kv;
    for (name, scales) in [("k_cache", "k_scales"), ("v_cache", "v_scales")] {
        inputs.push(HostTensor::from_f64(name, cache, &[num_pages, page_size, h_kv, d], &vec![poison; slots * d]));
        if matches!(cache, DType::I8 | DType::E4M3) {
            let nan = vec![f64::NAN; slots];
            inputs.push(HostTensor::from_f64(scales, DType::F32, &[num_pages, page_size, h_kv], &nan));
        }
    }
    Ok(inputs)
}
