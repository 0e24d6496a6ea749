//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::get;
use llm_kernels::verify::{self, Case, Counters, profiled};

/// Counters of one call; `None` on a GPU, which has no such figures.
fn count(decode: &Decode) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut counters = None;
    let counting = |work: &mut dyn FnMut() -> Result<()>| {
        counters = crate::count(work);
        Ok(())
    };
    decode.launch_in(decode.cache_layout(), counting).unwrap();
    counters
}

/// Every cache and head dimension, at 1024 keys and more.
fn long() -> Vec<Decode> {
    let mut all = Vec::new();
    for (dtype, cache) in [(BF16, BF16), (F16, F16), (F16, I8), (BF16, I8), (F16, E4M3), (BF16, E4M3)] {
        for sizes in [Sizes { h_q: 8, ..SMALL }, LLAMA, GEMMA] {
            all.push(Decode::new(dtype, cache, sizes, &[1024, 1500], DEFAULT));
        }
    }
    all
}

fn needed(decode: &Decode) -> f64 {
    let plan = plan(&decode.problem, queue().device().limits()).unwrap();
    let lengths: Vec<usize> = decode.lengths.iter().map(|&length| length as usize).collect();
    plan.resources(&decode.problem, &lengths).bytes_needed.unwrap()
}

/// Bytes that one call, merging included, moves between memory and L2, which is cold at each launch; `None` on a GPU.
fn dram_bytes(decode: &Decode) -> Option<f64> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut found = None;
    let profiling = |work: &mut dyn FnMut() -> Result<()>| {
        let ((), profile) = profiled(queue(), 0, work)?;
        found = profile.map(|profile| get(&profile.counters, "dram_bytes"));
        Ok(())
    };
    decode.launch_in(decode.cache_layout(), profiling).unwrap();
    found
}

/// Whether a cache's bytes, and little else, come from memory.
#[track_caller]
fn assert_read_once(decode: &Decode) {
    let Some(moved) = dram_bytes(decode) else {
        return;
    };
    let needed = needed(decode);
    let Problem { dtype, cache_dtype, shape, .. } = decode.problem;
    assert!(moved <= 1.02 * needed, "{dtype} {cache_dtype} {shape:?}: {} of needed", moved / needed);
    assert!(moved >= 0.99 * needed, "{dtype} {cache_dtype} {shape:?}: {} of needed", moved / needed);
}

#[test]
fn every_cache_comes_from_memory_once_in_one_piece_and_in_pages() {
    for decode in long() {
        assert_read_once(&decode);
        for page_size in [16, 32, 64, 128, 256] {
            assert_read_once(&decode.in_scattered_pages(page_size));
        }
    }
}

#[test]
fn so_does_one_in_pages_of_1() {
    // As many heads of keys as scales that fill a sector.
    let sizes = Sizes { h_q: 32, h_kv: 8, ..LLAMA };
    for cache in [BF16, I8, E4M3] {
        assert_read_once(&Decode::new(BF16, cache, sizes, &[1024], DEFAULT).in_scattered_pages(1));
    }
}

#[test]
fn so_does_one_that_the_plan_splits() {
    for cache in [BF16, I8, E4M3] {
        for sizes in [LLAMA, Sizes { s_q: 2, ..SMALL }] {
            let decode = Decode::new(BF16, cache, sizes, &[7000], DEFAULT);
            assert!(plan(&decode.problem, queue().device().limits()).unwrap().num_splits > 2);
            assert_read_once(&decode);
        }
    }
}

#[test]
fn so_do_the_shapes_of_benches_that_are_long_enough() {
    let op = verify::select(Some("attention/decode"))[0];
    let size = |case: &Case, name| case.sizes.iter().find(|(known, _)| *known == name).map_or(1, |&(_, size)| size);
    let shown = |case: &&Case| case.options.iter().all(|(name, _)| *name != "window_left");
    for case in op.bench_cases.iter().filter(shown).filter(|case| !case.gpu_only) {
        assert!(size(case, "num_pages") * size(case, "page_size") >= 1024 * size(case, "b"));
        let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
        let mut prepared = (op.prepare)(queue(), &op.bindings(case).unwrap()).unwrap();
        let ((), profile) = profiled(queue(), 0, || prepared.launch(queue())).unwrap();
        let Some(profile) = profile else {
            return;
        };
        let needed = prepared.resources(queue().device().limits()).unwrap().bytes_needed.unwrap();
        let ratio = get(&profile.counters, "dram_bytes") / needed;
        assert!((0.99..=1.02).contains(&ratio), "{}: {ratio} of needed", case.shape());
    }
}

#[test]
fn between_l2_and_the_multiprocessors_it_moves_once_too() {
    for decode in long().into_iter().flat_map(|decode| [decode.in_scattered_pages(16), decode]) {
        let Some(counters) = count(&decode) else {
            return;
        };
        let (moved, needed) = (get(&counters, "global_bytes"), needed(&decode));
        assert!(moved >= needed && moved <= 1.02 * needed, "{:?}: {moved} of {needed}", decode.problem);
    }
}

#[test]
fn a_window_moves_what_it_shows() {
    let window = Options { window_left: Some(1023), ..DEFAULT };
    for cache in [F16, I8] {
        let decode = Decode::new(F16, cache, GEMMA, &[4000], window);
        let Some(counters) = count(&decode) else {
            return;
        };
        let (moved, needed) = (get(&counters, "global_bytes"), needed(&decode));
        assert!(needed < 1.1e6 && moved >= needed && moved <= 1.02 * needed, "{moved} of {needed}");
    }
}

#[test]
fn splits_read_the_cache_once_and_empty_ones_cost_little() {
    let moved = |decode: &Decode| count(decode).map(|counters| get(&counters, "global_bytes"));
    let decode = |num_splits| Decode::new(F16, F16, LLAMA, &[2048], splits(num_splits));
    let Some(one) = moved(&decode(1)) else {
        return;
    };
    // A part of 8 rows in f32 with their logarithms, written and read.
    let part = 8.0 * (128.0 + 1.0) * 4.0 * 2.0;
    let four = moved(&decode(4)).unwrap();
    // And q again, by each.
    let q = 8.0 * 128.0 * 2.0;
    assert!(four - one <= 1.05 * 4.0 * part + 3.0 * q, "{four}, {one} in one");
    // One tile, but 200 splits: those without read a length, a sector for each warp, and write logarithms, a sector for each
    // of 2 heads of keys, of which the merge reads one.
    let short = Decode::new(F16, F16, LLAMA, &[64], splits(200));
    let (few, many) = (moved(&short.with_options(splits(1))).unwrap(), moved(&short).unwrap());
    assert!(many - few <= 200.0 * (2.0 * 5.0 + 1.0) * 32.0 + 2.0 * part, "{many}, {few} in one");
}

#[test]
fn every_key_is_multiplied_once_for_the_rows_of_its_group() {
    // 4 heads of 4 queries share 16 rows; 1024 keys, two products.
    let decode = Decode::new(F16, F16, Sizes { s_q: 4, h_q: 8, h_kv: 2, d: 128 }, &[1024], DEFAULT);
    let Some(counters) = count(&decode) else {
        return;
    };
    assert_eq!(get(&counters, "tensor_multiply_adds"), 2.0 * 16.0 * 1024.0 * 2.0 * 128.0);
}

#[test]
fn shared_memory_has_no_bank_conflicts() {
    for decode in long().iter().flat_map(|decode| [decode.clone(), decode.with_options(splits(3))]) {
        let Some(counters) = count(&decode) else {
            return;
        };
        let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
        assert!(ideal > 0.0 && taken <= 1.01 * ideal, "{:?}: {taken} for {ideal}", decode.problem);
    }
}

#[test]
fn instructions_for_each_kilobyte_of_cache_stay_below_their_ceilings() {
    let mut report = String::new();
    let mut within = true;
    for (decode, ceiling) in long().iter().zip(CEILINGS) {
        let Some(counters) = count(decode) else {
            return;
        };
        let ratio = get(&counters, "inst_executed") / (needed(decode) / 1024.0);
        within &= ratio <= ceiling;
        let Problem { dtype, cache_dtype, shape, .. } = decode.problem;
        report += &format!("{dtype} {cache_dtype} d {}: {ratio:.1}, ceiling {ceiling}\n", shape.d);
    }
    assert!(within, "warp instructions for each KiB\n{report}");
}

/// In the order of [`long`].
const CEILINGS: [f64; 18] = [
    107.0, 84.0, 66.0, 107.0, 84.0, 66.0, 268.0, 207.0, 173.0, 294.0, 237.0, 203.0, 335.0, 274.0, 240.0, 347.0, 288.0,
    255.0,
];
