use super::*;
use crate::chip::Architecture;

/// A chip of sm_86 (RTX A6000), which is not emulated, has fewer blocks than the RTX 4090.
fn chip(number: u32) -> Chip {
    let of = |architecture: Architecture| Chip { ..*architecture.chip() };
    match number {
        80 => of(Architecture::Sm80),
        86 => Chip { blocks_per_multiprocessor: 16, barriers_per_multiprocessor: 16, ..of(Architecture::Sm89) },
        89 => of(Architecture::Sm89),
        _ => of(Architecture::Sm90),
    }
}

fn with(chip: &Chip, threads: u32, registers: u32, shared_bytes: u32) -> u32 {
    blocks(chip, &Needs { threads, registers, shared_bytes, barriers: 1, carveout: None })
}

#[test]
fn each_resource_limits_the_number_of_blocks() {
    let a100 = &chip(80);
    assert_eq!(with(a100, 32, 16, 0), 32, "blocks");
    assert_eq!(with(a100, 1024, 32, 0), 2, "warps");
    assert_eq!(with(a100, 256, 128, 0), 2, "registers");
    // 33 registers are given as 40: 1280 a warp, 12 warps a sub-core.
    assert_eq!(with(a100, 128, 33, 0), 12, "registers are given in units");
    assert_eq!(with(a100, 128, 32, 80 * 1024), 2, "shared memory");
    assert_eq!(with(a100, 128, 32, 82 * 1024), 1, "1 KB a block is reserved");
    assert_eq!(with(a100, 128, 32, 163 * 1024), 1);
    assert_eq!(with(a100, 128, 32, 163 * 1024 + 1), 0);
    assert_eq!(with(a100, 1024, 65, 0), 0, "not even one block");
    assert_eq!(with(a100, 1025, 0, 0), 0);
    // 17 warps of 120 registers are fewer than 65,536 registers, but a sub-core has room for four of them.
    assert_eq!(with(a100, 17 * 32, 120, 0), 0, "sub-cores");
    let barriers = |chip: &Chip, barriers| {
        blocks(chip, &Needs { threads: 32, registers: 16, shared_bytes: 0, barriers, carveout: None })
    };
    assert_eq!([1, 2, 3, 16].map(|n| barriers(a100, n)), [32, 32, 21, 4], "barriers");
    assert_eq!([1, 2, 16].map(|n| barriers(&chip(89), n)), [24, 12, 1], "barriers");
}

#[test]
fn a_wish_for_less_shared_memory_counts_while_a_block_fits() {
    let with = |number, carveout, shared_bytes| {
        let needs = Needs { threads: 64, registers: 16, shared_bytes, barriers: 1, carveout: Some(carveout) };
        blocks(&chip(number), &needs)
    };
    // A quarter of 164 KB is 41 KB, for which the A100 has 64 KB: six blocks of 10 KB.
    assert_eq!(with(80, 25, 9 * 1024), 6);
    assert_eq!(with(80, 100, 9 * 1024), 16);
    // Of nothing, a block gets the smallest size that it fits in.
    assert_eq!(with(80, 0, 9 * 1024), 1);
    assert_eq!(with(90, 0, 20 * 1024), 1);
    assert_eq!(with(89, 50, 15 * 1024), 4);
}

/// Architecture, threads, registers, bytes of shared memory and blocks: what `cuda_occupancy.h` of CUDA 13.0 gives.
#[rustfmt::skip]
const EXPECTED: &[(u32, u32, u32, u32, u32)] = &[
    (80, 192, 48, 1024, 6), (80, 64, 24, 50000, 3), (80, 512, 128, 4096, 1), (80, 288, 48, 1024, 4),
    (80, 1024, 57, 8191, 1), (80, 160, 32, 66000, 2), (80, 320, 120, 9000, 1), (80, 608, 120, 0, 0),
    (80, 288, 120, 33000, 1), (80, 160, 24, 4096, 12), (80, 1024, 57, 49152, 1), (80, 96, 72, 50000, 3),
    (80, 608, 32, 33000, 3), (80, 96, 96, 66000, 2), (86, 192, 57, 100, 5), (86, 384, 120, 8191, 1),
    (86, 192, 32, 1, 8), (86, 384, 16, 50000, 2), (86, 384, 64, 8191, 2), (86, 160, 120, 16384, 3),
    (86, 256, 96, 101376, 1), (86, 96, 120, 8191, 5), (86, 768, 64, 8191, 1), (86, 192, 64, 101376, 1),
    (86, 64, 128, 8191, 8), (86, 128, 40, 0, 12), (86, 256, 96, 100, 2), (86, 288, 32, 0, 5),
    (89, 96, 128, 20000, 4), (89, 256, 255, 100, 1), (89, 1024, 48, 50000, 1), (89, 512, 57, 8191, 2),
    (89, 96, 32, 101376, 1), (89, 288, 48, 4096, 4), (89, 256, 57, 1, 4), (89, 512, 64, 8191, 2),
    (89, 512, 16, 66000, 1), (89, 512, 48, 0, 2), (89, 608, 57, 33000, 1), (89, 128, 168, 9000, 3),
    (89, 128, 128, 66000, 1), (89, 32, 48, 100, 24), (90, 256, 64, 100, 4), (90, 128, 255, 16384, 2),
    (90, 288, 33, 50000, 4), (90, 288, 255, 100, 0), (90, 512, 64, 100, 2), (90, 288, 40, 9000, 5),
    (90, 192, 255, 49152, 1), (90, 64, 16, 9000, 23), (90, 288, 33, 1, 5), (90, 128, 24, 9000, 16),
    (90, 128, 48, 0, 10), (90, 192, 57, 50000, 4), (90, 768, 16, 0, 2), (90, 288, 48, 66000, 3),
];

#[test]
fn occupancy_is_what_nvidias_calculator_gives() {
    for &(number, threads, registers, shared_bytes, expected) in EXPECTED {
        let found = with(&chip(number), threads, registers, shared_bytes);
        assert_eq!(found, expected, "sm_{number}, {threads} threads, {registers} registers, {shared_bytes} bytes");
    }
}
