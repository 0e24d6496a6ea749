//! Modelled time of kernels whose time can be told by hand.

use crate::support::Bench;
use crate::text::text;
use softcuda::chip::{Architecture, Chip};
use softcuda::profile::LaunchTime;
use softcuda::profile::time::{Subject, model, sample};

/// An A100.
fn chip() -> &'static Chip {
    Architecture::Sm80.chip()
}

/// The time of a body run by `blocks` blocks of so many threads, of which a multiprocessor takes `resident`, the first block
/// replayed or none.
fn time(body: &str, blocks: u32, threads: u32, resident: u32, replayed: bool) -> LaunchTime {
    let mut bench = Bench::new(&text(body));
    bench.config.instruction_limit = 50_000_000;
    let out = bench.upload(&vec![0u32; 1 << 20]);
    let traced: &[u64] = if replayed { &[0] } else { &[] };
    let execution = bench
        .execute("k", [blocks, 1, 1], [threads, 1, 1], traced, &[&out.to_le_bytes()])
        .unwrap_or_else(|fault| panic!("{}", fault.text));
    model(&Subject {
        chip: chip(),
        kernel: bench.kernel("k"),
        execution: &execution,
        blocks: u64::from(blocks),
        ran: u64::from(blocks),
        warps_per_block: threads.div_ceil(32),
        resident,
    })
}

/// Cycles of the replay of one block on one multiprocessor.
fn cycles(body: &str, threads: u32) -> f64 {
    time(body, 1, threads, 1, true).replay.expect("a block is replayed").cycles
}

/// A body `rounds` times.
fn repeated(body: &str, rounds: u32) -> String {
    format!("mov.u32 %r1, 0;\nLOOP: {body} add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, {rounds}; @%p1 bra LOOP;")
}

fn near(found: f64, expected: f64, part: f64) {
    assert!((found / expected - 1.0).abs() <= part, "{found}, expected {expected} within {part}");
}

#[test]
fn a_chain_takes_its_latency_each_time() {
    // 64 dependent multiply-adds a round, 4 cycles each.
    let chain = "fma.rn.f32 %f1, %f1, %f2, %f3; ".repeat(64);
    near(cycles(&repeated(&chain, 50), 32), 50.0 * 64.0 * 4.0, 0.1);
}

#[test]
fn many_warps_are_bound_by_their_unit() {
    // 32 warps, eight a sub-core, whose FMA unit takes one every other cycle.
    let chain = "fma.rn.f32 %f1, %f1, %f2, %f3; ".repeat(64);
    let found = time(&repeated(&chain, 20), 1, 1024, 1, true);
    near(found.replay.as_ref().map_or(0.0, |replay| replay.cycles), 20.0 * 64.0 * 8.0 * 2.0, 0.1);
    assert_eq!(found.bounds[0].part, "fma");
    assert!(found.bounds[0].seconds * chip().time.clock_hz > 20.0 * 64.0 * 8.0 * 2.0 - 1.0);
}

#[test]
fn tensor_cores_take_an_instruction_every_eight_cycles() {
    let mma = |d: u32| {
        let (a, b) = (4 * d, 4 * d + 1);
        format!(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{%f{a}, %f{b}, %f{a2}, %f{b2}}}, {{%r4, %r4, %r4, %r4}}, {{%r4, %r4}}, {{%f{a}, %f{b}, %f{a2}, %f{b2}}};",
            a2 = a + 2,
            b2 = a + 3
        )
    };
    let body: String = (0..4).map(mma).collect();
    // Four chains a warp, two warps a sub-core.
    let found = time(&repeated(&body, 100), 1, 256, 1, true);
    near(found.replay.as_ref().map_or(0.0, |replay| replay.cycles), 100.0 * 4.0 * 2.0 * 8.0, 0.1);
    assert_eq!(found.bounds[0].part, "tensor");
    // One chain of one warp waits for each result: 24 cycles.
    near(cycles(&repeated(&mma(0).repeat(8), 50), 32), 50.0 * 8.0 * 24.0, 0.1);
}

#[test]
fn bank_conflicts_hold_up_the_memory_pipe() {
    let loads = |stride: u32| {
        let load = "ld.shared.u32 %r3, [%r2]; ".repeat(16);
        let code = repeated(&load, 50);
        format!("mov.u32 %r2, tile; mad.lo.u32 %r2, %r0, {stride}, %r2; {code}")
    };
    // Eight warps, each load 1 or 32 wavefronts of the one pipe.
    let with_conflicts = loads(128).replace("%r0", "%r9");
    let with_conflicts = format!("and.b32 %r9, %r0, 31; {with_conflicts}");
    near(cycles(&with_conflicts, 256), 8.0 * 50.0 * 16.0 * 32.0, 0.1);
    near(cycles(&loads(4), 256), 8.0 * 50.0 * 16.0, 0.2);
}

#[test]
fn a_chase_through_memory_takes_its_latency_each_time() {
    let chase = repeated("ld.global.u64 %d3, [%d2]; add.u64 %d2, %d0, %d3;", 200);
    let found = time(&format!("mov.u64 %d2, %d0; {chase}"), 1, 32, 1, true);
    let replay = found.replay.expect("a block is replayed");
    // All but the first are hits of L2; then an addition of two instructions.
    near(replay.cycles, 200.0 * (chip().time.latency.l2 + 4.0), 0.1);
    assert_eq!(replay.stalls[0].0, "long_scoreboard");
    assert!(replay.stalls[0].1 > 0.9, "{:?}", replay.stalls);
}

#[test]
fn warps_that_wait_for_a_slow_one_wait_at_the_barrier() {
    let slow = "fma.rn.f32 %f1, %f1, %f2, %f3; ".repeat(40);
    let body = format!("setp.gt.u32 %p2, %r0, 31; @%p2 bra MEET; {slow} MEET: bar.sync 0;");
    let found = time(&repeated(&body, 50), 1, 128, 1, true);
    let replay = found.replay.expect("a block is replayed");
    assert_eq!(replay.stalls[0].0, "barrier", "{:?}", replay.stalls);
    assert!(replay.cycles > 50.0 * 160.0);
}

#[test]
fn a_wait_for_copies_that_follow_at_once_takes_their_latency() {
    let copy = "cp.async.cg.shared.global [%r2], [%d2], 16; cp.async.commit_group; cp.async.wait_group 0;";
    let code = repeated(copy, 100);
    let body = format!("mov.u32 %r2, tile; mad.lo.u32 %r2, %r0, 16, %r2; mad.wide.u32 %d2, %r0, 16, %d0; {code}");
    let found = time(&body, 1, 32, 1, true);
    let replay = found.replay.expect("a block is replayed");
    assert_eq!(replay.stalls[0].0, "async_copy", "{:?}", replay.stalls);
    assert!(replay.cycles > 100.0 * chip().time.latency.l2);
}

#[test]
fn memory_bounds_a_stream() {
    // 4 MiB in 256 blocks, read and written.
    let body = "mov.u32 %r1, %ctaid.x; mad.lo.u32 %r2, %r1, 1024, %r0; mul.wide.u32 %d2, %r2, 16; add.u64 %d2, %d2, %d0; ld.global.v4.u32 {%r3, %r4, %r5, %r6}, [%d2]; st.global.v4.u32 [%d2], {%r3, %r4, %r5, %r6};";
    let found = time(body, 256, 1024, 2, false);
    assert_eq!(found.bounds[0].part, "dram");
    near(found.bounds[0].seconds, f64::from(2 << 22) / (2.039e12 * 0.87), 1e-9);
    near(found.seconds, found.bounds[0].seconds + chip().time.launch_seconds, 1e-9);
    assert!(found.describe(1).starts_with("dram "), "{}", found.describe(1));
}

#[test]
fn a_block_more_than_fits_is_a_wave_more() {
    let chain = repeated(&"fma.rn.f32 %f1, %f1, %f2, %f3; ".repeat(64), 20);
    let full = time(&chain, 108, 1024, 1, true);
    let more = time(&chain, 109, 1024, 1, true);
    assert_eq!((full.waves, more.waves > 1.0), (1.0, true));
    let cycles = |time: &LaunchTime| time.replay.as_ref().map_or(0.0, |replay| replay.cycles);
    near(cycles(&more), 2.0 * cycles(&full), 0.01);
    near(more.bounds[0].seconds, 2.0 * full.bounds[0].seconds, 1e-6);
}

#[test]
fn modelled_time_is_the_same_for_any_number_of_host_threads() {
    // Blocks that differ: the number of rounds is that of the block.
    let body = "mov.u32 %r1, %ctaid.x; add.u32 %r1, %r1, 1; mad.lo.u32 %r2, %r1, 512, %r0; mul.wide.u32 %d2, %r2, 4; add.u64 %d2, %d2, %d0; LOOP: ld.global.u32 %r3, [%d2]; add.u32 %r3, %r3, 1; st.global.u32 [%d2], %r3; sub.u32 %r1, %r1, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra LOOP;";
    let modelled = |threads: usize| {
        let mut bench = Bench::new(&text(body));
        bench.config.threads = threads;
        let out = bench.upload(&vec![0u32; 1 << 20]);
        let traced = sample(300, 4);
        let params: &[&[u8]] = &[&out.to_le_bytes()];
        let execution = bench.execute("k", [300, 1, 1], [256, 1, 1], &traced, params);
        let execution = execution.unwrap_or_else(|fault| panic!("{}", fault.text));
        let subject = Subject {
            chip: chip(),
            kernel: bench.kernel("k"),
            execution: &execution,
            blocks: 300,
            ran: 300,
            warps_per_block: 8,
            resident: 8,
        };
        let time = model(&subject);
        assert!(time.replay.as_ref().is_some_and(|replay| replay.blocks == 4));
        format!("{time:?}")
    };
    let one = modelled(1);
    assert_eq!([2, 3, 7].map(modelled), [one.clone(), one.clone(), one]);
}

#[test]
fn time_spent_waiting_for_other_blocks_is_not_that_of_this_machine() {
    // Block 1 waits until block 0, which runs first for long, has stored.
    let body = |rounds: u32| {
        format!(
            "mov.u32 %r1, %ctaid.x; setp.ne.u32 %p1, %r1, 0; @%p1 bra WAIT; mov.u32 %r2, 0; WORK: add.u32 %r2, %r2, 1; setp.lt.u32 %p2, %r2, {rounds}; @%p2 bra WORK; membar.gl; st.volatile.global.u32 [%d0], 1; bra END; WAIT: ld.volatile.global.u32 %r3, [%d0]; setp.eq.u32 %p3, %r3, 0; @%p3 bra WAIT; END: st.global.u32 [%d1+4], %r1;"
        )
    };
    let instructions = |rounds| time(&body(rounds), 2, 32, 1, true).machine_instructions.iter().sum::<f64>();
    let (few, many) = (instructions(1000), instructions(9000));
    // Three instructions a round, and nothing for the waiting.
    assert_eq!(many - few, 3.0 * 8000.0);
}

#[test]
fn energy_and_rent_grow_with_time() {
    let found = time("st.global.u32 [%d1], %r0;", 1, 32, 1, false);
    let cost = chip().time.cost;
    assert!(found.joules() > found.seconds * cost.idle_watts && found.joules() < found.seconds * cost.tdp_watts);
    near(found.dollars(), found.seconds * cost.dollars_per_hour / 3600.0, 1e-12);
}

#[test]
fn a_sample_covers_every_part_of_a_grid_whatever_its_period() {
    for (blocks, period) in [(1000u64, 10u64), (4096, 128), (12 * 32, 32)] {
        let chosen = sample(blocks, 8);
        assert_eq!(chosen.len(), 8);
        assert!(chosen.is_sorted() && chosen.iter().all(|block| *block < blocks));
        let mut places: Vec<u64> = chosen.iter().map(|block| 4 * (block % period) / period).collect();
        places.sort_unstable();
        places.dedup();
        assert!(places.len() >= 3, "{blocks} of period {period}: {places:?}");
    }
    assert_eq!(sample(3, 8), [0, 1, 2]);
}
