//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::get;
use llm_kernels::verify::{Counters, profiled};

fn launch(append: &Append, around: impl FnOnce(&mut dyn FnMut() -> Result<()>) -> Result<()>) {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    append.launch_on(&mut append.cache().unwrap(), around).unwrap();
}

/// Counters of one call; `None` on a GPU, which has no such figures.
fn count(append: &Append) -> Option<Counters> {
    let mut counters = None;
    launch(append, |work| {
        counters = crate::count(work);
        Ok(())
    });
    counters
}

/// Bytes that one call moves between memory and L2, which is cold before and written back after; `None` on a GPU.
fn dram_bytes(append: &Append) -> Option<f64> {
    let mut found = None;
    launch(append, |work| {
        let ((), profile) = profiled(queue(), 0, work)?;
        found = profile.map(|profile| get(&profile.counters, "dram_bytes"));
        Ok(())
    });
    found
}

fn needed(append: &Append) -> f64 {
    plan(&append.problem(), queue().device().limits()).unwrap().resources.bytes_needed.unwrap()
}

/// Prompts, in every cache, in one piece and in pages.
fn prompts() -> Vec<Append> {
    let heads = [Heads { h_q: 32, h_kv: 8, ..LLAMA }, GEMMA, Heads { h_q: 8, h_kv: 8, d: 64, n: 32 }];
    let all = heads.into_iter().flat_map(|heads| CACHES.map(|cache| (heads, cache)));
    all.flat_map(|(heads, cache)| {
        let dtype = if cache == F16 || cache == I8 { F16 } else { BF16 };
        let append = Append::new(types(dtype, cache), heads, &[0, 0], &[256, 256], 256);
        [append.in_scattered_pages(16), append]
    })
    .collect()
}

#[test]
fn every_row_moves_once_between_memory_and_l2() {
    for append in prompts() {
        let Some(moved) = dram_bytes(&append) else {
            return;
        };
        let ratio = moved / needed(&append);
        assert!((0.99..=1.02).contains(&ratio), "{:?}: {ratio} of needed", append.problem());
    }
}

#[test]
fn sectors_are_used_whole() {
    for append in prompts() {
        let Some(counters) = count(&append) else {
            return;
        };
        // What is asked for twice, frequencies and positions, moves twice.
        let (moved, asked) = (get(&counters, "global_bytes"), get(&counters, "global_requested_bytes"));
        assert!(asked >= 0.95 * moved, "{:?}: {moved} bytes moved, {asked} asked for", append.problem());
        // So few tokens are shared out by heads: many blocks read all frequencies, many warps a position.
        let needed = needed(&append);
        assert!(moved <= 1.12 * needed, "{:?}: {moved} bytes moved, {needed} needed", append.problem());
    }
}

#[test]
fn a_token_that_is_decoded_moves_little_more_than_its_rows() {
    for (cache, ceiling) in [(BF16, 1.02), (I8, 1.1)] {
        let heads = Heads { h_q: 32, h_kv: 8, ..LLAMA };
        let first: Vec<i32> = (0..64).map(|i| i * 7 % 120).collect();
        let append = Append::new(types(BF16, cache), heads, &first, &[1; 64], 128).in_scattered_pages(16);
        let Some(moved) = dram_bytes(&append) else {
            return;
        };
        let ratio = moved / needed(&append);
        assert!((0.99..=ceiling).contains(&ratio), "{:?}: {ratio} of needed", append.problem());
    }
}

#[test]
fn shared_memory_has_no_bank_conflicts() {
    for append in prompts().into_iter().flat_map(|append| [Append { options: INTERLEAVED, ..append.clone() }, append]) {
        let Some(counters) = count(&append) else {
            return;
        };
        let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
        assert!(taken <= 1.01 * ideal, "{:?}: {taken} for {ideal}", append.problem());
    }
}

#[test]
fn thread_instructions_an_element_stay_below_their_ceilings() {
    if !crate::support::is_modelled_a100() {
        return;
    }
    let (mut report, mut within) = (String::new(), true);
    for (append, ceiling) in prompts().iter().zip(CEILINGS.iter().flat_map(|&ceiling| [ceiling; 2])) {
        let Some(counters) = count(append) else {
            return;
        };
        let elements = append.q.len() + append.k.len() + append.v.len();
        let each = get(&counters, "thread_inst_executed") / elements as f64;
        within &= each <= ceiling;
        report += &format!("{:?} {:?}: {each:.1}, ceiling {ceiling}\n", append.types, append.heads);
    }
    assert!(within, "thread instructions an element\n{report}");
}

/// For each heads and cache of [`prompts`]. The latter two have so few tokens that every thread has one or two heads, and
/// computes sines for these alone.
const CEILINGS: [f64; 12] = [24.5, 23.0, 28.0, 32.0, 49.5, 48.0, 53.0, 57.0, 45.0, 43.5, 52.0, 61.0];
