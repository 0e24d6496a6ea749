//! What the software device counts.

use super::*;
use llm_kernels::verify::Case;

fn size(case: &Case, name: &str) -> usize {
    case.sizes.iter().find(|(known, _)| *known == name).unwrap().1
}

/// Bytes over those needed, instructions a state and shared memory's wavefronts of a case, each at most so many.
fn assert_costs(name: &str, case: &Case, l2_bytes: f64, instructions: f64) {
    let Some((counters, resources)) = profile(PATH, case) else { return };
    let needed = resources.bytes_needed.unwrap();
    assert_at_most(&format!("{name}: DRAM bytes"), get(&counters, "dram_bytes") / needed, 1.05);
    assert_at_most(&format!("{name}: L2 bytes"), get(&counters, "global_bytes") / needed, l2_bytes);
    let planned = get(&counters, "global_bytes") / resources.bytes_moved.unwrap();
    assert!((planned - 1.0).abs() < 0.03, "{name}: {planned} of the bytes that the plan says");
    let states = ["b", "s", "dim", "d_state"].map(|name| size(case, name)).iter().product::<usize>() as f64;
    let each = get(&counters, "thread_inst_executed") / states;
    assert_at_most(&format!("{name}: thread instructions a state"), each, instructions);
    let conflicts = get(&counters, "shared_wavefronts") / get(&counters, "shared_ideal_wavefronts");
    assert_at_most(&format!("{name}: wavefronts of shared memory"), conflicts, 1.01);
}

#[test]
fn bytes_come_from_memory_once_and_blocks_share_b_and_c() {
    assert_costs("Mamba 2.8B, 512 tokens", &bench_case(PATH, "Mamba 2.8B, 512 tokens"), 1.25, 16.3);
    // In segments, that are gone through twice.
    assert_costs("Mamba 130M, 1024 tokens", &bench_case(PATH, "Mamba 130M, 1024 tokens"), 1.9, 25.0);
}

#[test]
fn more_states_keep_the_traffic_of_l2_within_twice_what_is_needed() {
    let case = |sizes| Case { sizes, ..bench_case(PATH, "Mamba 2.8B, 512 tokens") };
    let sizes: [&[(&str, usize)]; 3] = [
        &[("b", 1), ("s", 256), ("dim", 1280), ("d_state", 64), ("groups", 1)],
        &[("b", 1), ("s", 256), ("dim", 1280), ("d_state", 128), ("groups", 1)],
        &[("b", 1), ("s", 256), ("dim", 1280), ("d_state", 256), ("groups", 1)],
    ];
    for sizes in sizes {
        assert_costs(&format!("{} states", sizes[3].1), &case(sizes), 2.0, 12.0);
    }
}

#[test]
fn every_position_costs_as_much_as_any_other() {
    // Whole sequences, and in segments: of these only the first and the last are not gone through twice.
    let whole: [&[(&str, usize)]; 3] = [
        &[("b", 48), ("s", 64), ("dim", 128), ("d_state", 16), ("groups", 1)],
        &[("b", 48), ("s", 128), ("dim", 128), ("d_state", 16), ("groups", 1)],
        &[("b", 48), ("s", 192), ("dim", 128), ("d_state", 16), ("groups", 1)],
    ];
    let segments: [&[(&str, usize)]; 3] = [
        &[("b", 1), ("s", 1024), ("dim", 128), ("d_state", 16), ("groups", 1)],
        &[("b", 1), ("s", 2048), ("dim", 128), ("d_state", 16), ("groups", 1)],
        &[("b", 1), ("s", 3072), ("dim", 128), ("d_state", 16), ("groups", 1)],
    ];
    for lengths in [whole, segments] {
        let mut counted = Vec::new();
        for sizes in lengths {
            let case = Case { sizes, ..bench_case(PATH, "Mamba 130M, 1024 tokens") };
            let Some((counters, _)) = profile(PATH, &case) else { return };
            counted.push(["thread_inst_executed", "global_bytes"].map(|name| get(&counters, name)));
        }
        let more = |i: usize| counted[i].iter().zip(&counted[i - 1]).map(|(after, before)| after - before);
        for (first, second) in more(1).zip(more(2)) {
            assert!((second / first - 1.0).abs() < 0.01, "{:?}: {first} more, then {second} more", lengths[0]);
        }
    }
}
