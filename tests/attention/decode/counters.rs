//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::get;
use llm_kernels::verify::Counters;

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

#[test]
fn every_cache_is_read_once_in_one_piece() {
    for decode in long() {
        let Some(counters) = count(&decode) else {
            return;
        };
        let (moved, needed) = (get(&counters, "global_bytes"), needed(&decode));
        assert!(moved >= needed && moved <= 1.02 * needed, "{:?}: {moved} of {needed}", decode.problem);
    }
}

#[test]
fn every_cache_is_read_once_in_pages_of_16_and_64() {
    for decode in long() {
        for page_size in [16, 64] {
            let decode = decode.in_scattered_pages(page_size);
            let Some(counters) = count(&decode) else {
                return;
            };
            let (moved, needed) = (get(&counters, "global_bytes"), needed(&decode));
            assert!(moved >= needed && moved <= 1.02 * needed, "{:?}: {moved} of {needed}", decode.problem);
        }
    }
}

#[test]
fn pages_of_1_cost_their_table_for_each_head_of_keys() {
    for cache in [BF16, E4M3] {
        let decode = Decode::new(BF16, cache, LLAMA, &[1024, 1500], DEFAULT).in_scattered_pages(1);
        let Some(counters) = count(&decode) else {
            return;
        };
        let (moved, needed) = (get(&counters, "global_bytes"), needed(&decode));
        // A scale of its own sector for every position: 32 bytes for keys and as much for values, shared by the heads of
        // keys in memory, but not in what moves. The table is read once for each of the 2 heads.
        let sectors = if cache == E4M3 { 2524.0 * 2.0 * 2.0 * (32.0 - 4.0) } else { 0.0 };
        let limit = 1.02 * needed + sectors + 2524.0 * 4.0;
        assert!(moved >= needed && moved <= limit, "{:?}: {moved} of {needed}", decode.problem);
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
