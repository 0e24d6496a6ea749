//! Traffic of device memory: what the model of the L2 cache lets through.

use crate::support::Bench;
use crate::text::{run, run_with, text};
use softcuda::profile::{Counters, DeviceTraffic, Profile};

fn traffic(counters: &Counters) -> [u64; 4] {
    let found = counters.memory.expect("device memory is measured by default");
    let DeviceTraffic { read_sectors, write_sectors, compulsory_read_sectors, compulsory_write_sectors } = found;
    [read_sectors, write_sectors, compulsory_read_sectors, compulsory_write_sectors]
}

fn of(body: &str, words: usize, grid: u32) -> [u64; 4] {
    let (_, counters) = run(body, words, grid, [32, 1, 1]).unwrap_or_else(|fault| panic!("{}", fault.text));
    traffic(&counters)
}

/// Blocks of 32 threads, each with 128 bytes of its own: `%d2`.
const OWN: &str =
    "mov.u32 %r1, %ctaid.x; mad.lo.u32 %r2, %r1, 32, %r0; mul.wide.u32 %d2, %r2, 4; add.u64 %d2, %d2, %d0;";

#[test]
fn a_stream_moves_each_sector_once() {
    assert_eq!(of(&format!("{OWN} ld.global.u32 %r3, [%d2];"), 32 * 1000, 1000), [4000, 0, 4000, 0]);
    assert_eq!(of(&format!("{OWN} st.global.u32 [%d2], %r0;"), 32 * 1000, 1000), [0, 4000, 0, 4000]);
    let both = format!("{OWN} ld.global.u32 %r3, [%d2]; st.global.u32 [%d2], %r0;");
    assert_eq!(of(&both, 32 * 1000, 1000), [4000, 4000, 4000, 4000]);
}

#[test]
fn what_was_written_first_is_not_read() {
    let body = format!("{OWN} st.global.u32 [%d2], %r0; ld.global.u32 %r3, [%d2];");
    assert_eq!(of(&body, 32 * 10, 10), [0, 40, 0, 40]);
}

#[test]
fn what_every_block_reads_is_read_once() {
    assert_eq!(of("ld.global.u32 %r3, [%d1];", 32, 500), [4, 0, 4, 0]);
}

#[test]
fn atomics_read_and_write() {
    assert_eq!(of("red.global.add.u32 [%d1], 1;", 32, 7), [4, 4, 4, 4]);
}

#[test]
fn sources_of_asynchronous_copies_are_read_and_zeros_are_not() {
    let body = "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 16, %r1; mad.wide.u32 %d2, %r0, 16, %d0; setp.lt.u32 %p1, %r0, 16; selp.u32 %r2, 16, 0, %p1; cp.async.cg.shared.global [%r1], [%d2], 16, %r2; cp.async.wait_all;";
    assert_eq!(of(body, 4096, 1), [8, 0, 8, 0]);
}

#[test]
fn lanes_far_apart_touch_a_sector_each() {
    assert_eq!(of("mul.wide.u32 %d2, %r0, 256; add.u64 %d2, %d2, %d0; ld.global.u32 %r3, [%d2];", 4096, 1)[0], 32);
    assert_eq!(of("mul.wide.u32 %d2, %r0, 256; add.u64 %d2, %d2, %d0; st.global.u8 [%d2], %r0;", 4096, 1)[1], 32);
}

/// Twice through more than the cache holds, and twice through less.
#[test]
fn a_working_set_beyond_the_cache_is_read_again() {
    // Blocks of 64 KiB each: 512 passes of 128 bytes. The A100 has 40 MiB.
    let body = |blocks: u32| {
        format!(
            "mov.u32 %r1, %ctaid.x; rem.u32 %r1, %r1, {blocks}; mul.wide.u32 %d2, %r1, 65536; add.u64 %d2, %d2, %d1; mov.u32 %r2, 0;\nLOOP: ld.global.u32 %r3, [%d2]; add.u64 %d2, %d2, 128; add.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, 512; @%p1 bra LOOP;"
        )
    };
    let sectors = |blocks: u32| u64::from(blocks) * 2048;
    let (less, more) = (320, 960);
    assert_eq!(of(&body(less), less as usize * 16384, 2 * less)[0], sectors(less));
    assert_eq!(of(&body(more), more as usize * 16384, 2 * more), [2 * sectors(more), 0, sectors(more), 0]);
}

/// Whatever the number of host threads, also where blocks have too much to be kept until they end.
#[test]
fn traffic_does_not_depend_on_the_host() {
    // Each thread at another line of 64 KiB, all of a block 1,100,000 sectors apart from each other's.
    let body = "mov.u32 %r1, %ctaid.x; shl.b32 %r2, %r1, 5; add.u32 %r2, %r2, %r0; mov.u32 %r3, 0; setp.gt.u32 %p2, %r1, 1; selp.u32 %r6, 5, 300000, %p2;\nLOOP: mad.lo.u32 %r2, %r2, 1664525, 1013904223; shr.u32 %r4, %r2, 8; mul.wide.u32 %d2, %r4, 4; add.u64 %d2, %d2, %d0; ld.global.u32 %r5, [%d2]; add.u32 %r3, %r3, 1; setp.lt.u32 %p1, %r3, %r6; @%p1 bra LOOP;";
    let with = |threads: usize| {
        let change = |bench: &mut Bench| {
            bench.config.threads = threads;
            bench.config.instruction_limit = u64::MAX;
        };
        let (_, counters) =
            run_with(body, 1 << 24, 12, [32, 1, 1], change).unwrap_or_else(|fault| panic!("{}", fault.text));
        traffic(&counters)
    };
    let one = with(1);
    assert!(one[0] > 2_000_000, "{one:?}");
    assert_eq!(with(3), one);
}

#[test]
fn it_is_measured_unless_the_profile_leaves_it_out() {
    let mut bench = Bench::new(&text("ld.global.u32 %r3, [%d1];"));
    bench.config.profile = Profile::NONE;
    let out = bench.upload(&[0u32; 32]);
    let counters = bench
        .launch("k", [1; 3], [32, 1, 1], 0, &[&out.to_le_bytes()])
        .unwrap_or_else(|fault| panic!("{}", fault.text));
    assert_eq!((counters.memory, counters.dram_bytes(), counters.l2_hit_rate()), (None, None, None));
}

#[test]
fn a_fault_does_not_leave_blocks_waiting_for_one_another() {
    let body = format!("{OWN} setp.eq.u32 %p1, %r1, 3; @%p1 add.u64 %d2, %d2, 1; ld.global.u32 %r3, [%d2];");
    let change = |bench: &mut Bench| bench.config.threads = 4;
    let fault = run_with(&body, 32 * 100, 100, [32, 1, 1], change).unwrap_err();
    assert!(fault.text.contains("block (3, 0, 0)"), "{}", fault.text);
}
