//! Counters of kernels small enough to count by hand.

use crate::support::Bench;
use crate::text::{counters, run, text};
use softcuda::profile::{Counters, GlobalAccess, SharedAccess};

/// Instructions of every kernel of these tests besides its body: three of the prologue and `ret`.
const AROUND: u64 = 4;

fn shared(requests: u64, wavefronts: u64, ideal_wavefronts: u64) -> SharedAccess {
    SharedAccess { requests, wavefronts, ideal_wavefronts }
}

fn global(requests: u64, sectors: u64, bytes: u64) -> GlobalAccess {
    GlobalAccess { requests, sectors, bytes }
}

#[test]
fn instructions_by_mnemonic_and_pipe() {
    let (_, counters) = run(
        "add.u32 %r1, %r0, 1; add.u32 %r1, %r1, 1; fma.rn.f32 %f1, %f2, %f2, %f2; ex2.approx.f32 %f1, %f1; setp.lt.u32 %p1, %r0, 8; @%p1 bra FEW; add.f64 %d5, %d6, %d6; FEW: st.global.u32 [%d1], %r1;",
        64, 3, [48, 1, 1],
    )
    .unwrap_or_else(|fault| panic!("{}", fault.text));
    assert_eq!((counters.blocks, counters.warps), (3, 6));
    let count = |name: &str| (counters.instructions[name].warp, counters.instructions[name].thread);
    // A block has a warp of 32 threads and one of 16; `add` is two of u32 and one of f64 by the threads from 8 on.
    assert_eq!(count("add"), (3 * (4 + 2), 3 * (96 + 40)));
    assert_eq!(count("fma"), (6, 144));
    assert_eq!(count("st"), (6, 144));
    assert_eq!(count("bra"), (6, 144));
    assert_eq!(count("ret"), (6, 144));
    assert_eq!(counters.divergent_branches, 3);
    let (threads, warps) = (counters.thread_instructions(), counters.warp_instructions());
    assert_eq!(counters.divergence_efficiency(), threads as f64 / (32 * warps) as f64);
    assert_eq!((counters.predicated_off, counters.predication_efficiency()), (0, 1.0), "a branch is no predicate");
    let pipe = |name: &str| counters.pipes[name].warp;
    assert_eq!(pipe("mufu"), 6);
    assert_eq!(pipe("fma"), 6);
    assert_eq!(pipe("fp64"), 6);
    assert_eq!(pipe("control"), 12);
    assert_eq!(counters.warp_instructions(), 6 * (8 + AROUND));
    let by_pipe: u64 = counters.pipes.values().map(|count| count.warp).sum();
    assert_eq!(by_pipe, counters.warp_instructions());
}

#[test]
fn loops_count_every_pass() {
    let counters = counters("mov.u32 %r1, 0; LOOP: add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 100; @%p1 bra LOOP;");
    assert_eq!(counters.executed("add"), 100);
    assert_eq!(counters.executed("bra"), 100);
    assert_eq!(counters.warp_instructions(), 301 + AROUND);
}

#[test]
fn sectors_of_loads() {
    // Address expression for %d2, access, (sectors, bytes a lane).
    let cases = [
        ("mul.wide.u32 %d2, %r0, 4;", "b32 %r1", 4, 4),
        ("mul.wide.u32 %d2, %r0, 8;", "b64 %d3", 8, 8),
        ("mul.wide.u32 %d2, %r0, 16;", "v4.b32 {%r1, %r2, %r3, %r4}", 16, 16),
        // Every second word, every eighth word, every 64th word.
        ("mul.wide.u32 %d2, %r0, 8;", "b32 %r1", 8, 4),
        ("mul.wide.u32 %d2, %r0, 32;", "b32 %r1", 32, 4),
        ("mul.wide.u32 %d2, %r0, 256;", "b32 %r1", 32, 4),
        // 128 bytes that begin in the midst of a sector.
        ("mul.wide.u32 %d2, %r0, 4; add.u64 %d2, %d2, 4;", "b32 %r1", 5, 4),
        ("mul.wide.u32 %d2, %r0, 16; add.u64 %d2, %d2, 16;", "v4.b32 {%r1, %r2, %r3, %r4}", 17, 16),
        // One address for all, one for each half, two overlapping halves.
        ("mov.u64 %d2, 64;", "b32 %r1", 1, 4),
        ("shr.u32 %r5, %r0, 4; mul.wide.u32 %d2, %r5, 512;", "b32 %r1", 2, 4),
        ("and.b32 %r5, %r0, 15; mul.wide.u32 %d2, %r5, 4;", "b32 %r1", 2, 4),
        ("xor.b32 %r5, %r0, 31; mul.wide.u32 %d2, %r5, 4;", "b32 %r1", 4, 4),
        ("cvt.u64.u32 %d2, %r0;", "u8 %r1", 1, 1),
        ("mul.wide.u32 %d2, %r0, 2;", "u16 %h1", 2, 2),
    ];
    for (address, access, sectors, bytes) in cases {
        let of = counters(&format!("{address} add.u64 %d2, %d2, %d0; ld.global.{access}, [%d2];"));
        assert_eq!(of.global_loads, global(1, sectors, 32 * bytes), "{address} {access}");
        assert_eq!(of.global_bytes(), 32 * sectors);
        let (operand, ty) = (access.split_once(' ').unwrap().1, access.split_once(' ').unwrap().0);
        let of = counters(&format!("{address} add.u64 %d2, %d2, %d0; st.global.{ty} [%d2], {operand};"));
        assert_eq!(of.global_stores, global(1, sectors, 32 * bytes), "store: {address} {access}");
    }
}

#[test]
fn lanes_that_are_off_do_not_count() {
    let of = counters("setp.lt.u32 %p1, %r0, 9;\n@%p1 ld.global.u32 %r1, [%d1];\n@!%p1 st.global.u32 [%d1], %r0;");
    assert_eq!(of.global_loads, global(1, 2, 36));
    assert_eq!(of.global_stores, global(1, 3, 92));
    assert_eq!(of.predicated_off, 23 + 9);
    let threads = of.thread_instructions();
    assert_eq!(of.predication_efficiency(), (threads - 32) as f64 / threads as f64);
    let none = counters("setp.lt.u32 %p1, %r0, 0;\n@%p1 ld.global.u32 %r1, [%d1];");
    assert_eq!(none.global_loads, GlobalAccess::default());
    assert_eq!(none.executed("ld"), 2, "a guarded instruction is issued all the same");
    let part = counters(
        "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 128, %r1; setp.lt.u32 %p1, %r0, 3; @%p1 ld.shared.u32 %r2, [%r1];",
    );
    assert_eq!(part.shared_loads, shared(1, 3, 1));
}

#[test]
fn wavefronts_of_shared_words_by_degree_of_conflict() {
    for degree in [1u64, 2, 4, 8, 16, 32] {
        // Words `degree` apart.
        let code = format!("mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, {}, %r1;", 4 * degree);
        let of = counters(&format!("{code} ld.shared.u32 %r2, [%r1]; st.shared.u32 [%r1], %r2;"));
        assert_eq!(of.shared_loads, shared(1, degree, 1), "stride {degree}");
        assert_eq!(of.shared_stores, shared(1, degree, 1), "stride {degree}");
        assert_eq!((of.shared_wavefronts(), of.shared_ideal_wavefronts()), (2 * degree, 2));
    }
    let load =
        |address: &str| counters(&format!("mov.u32 %r1, tile; {address} ld.shared.u32 %r2, [%r1];")).shared_loads;
    assert_eq!(load(""), shared(1, 1, 1), "one word for all is a broadcast");
    assert_eq!(load("mad.lo.u32 %r1, %r0, 132, %r1;"), shared(1, 1, 1), "a row of 33 words has no conflict");
    assert_eq!(load("shr.u32 %r3, %r0, 4; mad.lo.u32 %r1, %r3, 128, %r1;"), shared(1, 2, 1), "two words of one bank");
    assert_eq!(
        load("and.b32 %r3, %r0, 15; mad.lo.u32 %r1, %r3, 4, %r1;"),
        shared(1, 1, 1),
        "halves that read the same"
    );
    assert_eq!(
        load("and.b32 %r3, %r0, 15; shr.u32 %r4, %r0, 4; mad.lo.u32 %r3, %r4, 32, %r3; mad.lo.u32 %r1, %r3, 4, %r1;"),
        shared(1, 2, 1),
        "halves 32 words apart"
    );
    let bytes = counters("mov.u32 %r1, tile; add.u32 %r1, %r1, %r0; ld.shared.u8 %r2, [%r1];").shared_loads;
    assert_eq!(bytes, shared(1, 1, 1), "four lanes share a word");
}

#[test]
fn wavefronts_of_wide_shared_accesses_by_phase() {
    let load = |stride: u32, vector: &str| {
        counters(&format!("mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, {stride}, %r1; ld.shared.{vector}, [%r1];"))
            .shared_loads
    };
    assert_eq!(load(8, "b64 %d2"), shared(1, 2, 2));
    assert_eq!(load(16, "b64 %d2"), shared(1, 4, 2), "each half conflicts two ways");
    assert_eq!(load(16, "v4.b32 {%r2, %r3, %r4, %r5}"), shared(1, 4, 4));
    assert_eq!(load(32, "v4.b32 {%r2, %r3, %r4, %r5}"), shared(1, 8, 4));
    assert_eq!(
        load(128, "v4.b32 {%r2, %r3, %r4, %r5}"),
        shared(1, 32, 4),
        "eight lanes of a phase meet in one group of banks"
    );
    assert_eq!(load(144, "v4.b32 {%r2, %r3, %r4, %r5}"), shared(1, 4, 4), "rows of 36 words have no conflict");
}

#[test]
fn matrix_loads_with_and_without_a_swizzle() {
    // Rows of 128 bytes: unswizzled, the eight rows of a matrix lie in the same four banks.
    let load = |address: &str, count: &str, registers: &str| {
        counters(&format!(
            "mov.u32 %r1, tile; {address} ldmatrix.sync.aligned.m8n8.{count}.shared.b16 {{{registers}}}, [%r1];"
        ))
        .matrix_loads
    };
    let row = "mad.lo.u32 %r1, %r0, 128, %r1;";
    assert_eq!(load(row, "x4", "%r2, %r3, %r4, %r5"), shared(1, 32, 4));
    assert_eq!(load(row, "x1", "%r2"), shared(1, 8, 1));
    let swizzled = "and.b32 %r6, %r0, 7; shl.b32 %r6, %r6, 4; mad.lo.u32 %r1, %r0, 128, %r1; add.u32 %r1, %r1, %r6;";
    assert_eq!(load(swizzled, "x4", "%r2, %r3, %r4, %r5"), shared(1, 4, 4));
    assert_eq!(load(swizzled, "x2", "%r2, %r3"), shared(1, 2, 2));
}

#[test]
fn asynchronous_copies_count_their_source_and_their_destination() {
    let of = counters(
        "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 16, %r1; mad.wide.u32 %d2, %r0, 16, %d0; cp.async.cg.shared.global [%r1], [%d2], 16; cp.async.wait_all;",
    );
    assert_eq!(of.async_copies, global(1, 16, 512));
    assert_eq!(of.async_stores, shared(1, 4, 4));
    assert_eq!(of.global_loads, GlobalAccess::default());
    let filled = counters(
        "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 16, %r1; mad.wide.u32 %d2, %r0, 16, %d0; setp.lt.u32 %p1, %r0, 16; selp.u32 %r2, 16, 0, %p1; cp.async.cg.shared.global [%r1], [%d2], 16, %r2; cp.async.wait_all;",
    );
    assert_eq!(filled.async_copies, global(1, 8, 256), "bytes that are not read are not counted");
    assert_eq!(filled.async_stores, shared(1, 4, 4), "but zeros are written");
    let conflicting = counters(
        "mov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 128, %r1; mad.wide.u32 %d2, %r0, 4, %d0; cp.async.ca.shared.global [%r1], [%d2], 4; cp.async.wait_all;",
    );
    assert_eq!((conflicting.async_copies, conflicting.async_stores), (global(1, 4, 128), shared(1, 32, 1)));
}

#[test]
fn multiply_adds_barriers_and_atomics() {
    let mma = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r4, %r4, %r4, %r4}, {%r4, %r4}, {%f1, %f1, %f1, %f1};";
    let (_, of) =
        run(&format!("mov.u32 %r4, 0; mov.f32 %f1, 0f00000000; {mma} {mma} {mma} bar.sync 0;"), 64, 2, [96, 1, 1])
            .unwrap_or_else(|fault| panic!("{}", fault.text));
    assert_eq!(of.tensor_multiply_adds, 6 * 3 * 16 * 8 * 16);
    assert_eq!(of.executed("mma"), 18);
    assert_eq!(of.pipes["tensor"].thread, 18 * 32);
    assert_eq!(of.barriers, 6);
    let of = counters(
        "red.global.add.u32 [%d0], 1; red.global.add.u32 [%d1], 1; mov.u32 %r1, tile; red.shared.add.u32 [%r1], 1;",
    );
    assert_eq!(of.global_atomics, global(2, 5, 256));
    assert_eq!(of.shared_atomics, shared(1, 32, 1), "lanes that meet are served one after the other");
}

/// The same counters for any number of host threads.
#[test]
fn counters_of_many_blocks_add_up() {
    let body = "mov.u32 %r1, %ctaid.x; mad.lo.u32 %r2, %r1, 32, %r0; mad.wide.u32 %d2, %r2, 4, %d0; ld.global.u32 %r3, [%d2]; and.b32 %r4, %r1, 3; setp.eq.u32 %p1, %r4, 0; @%p1 bra END; st.global.u32 [%d2], %r1; END:";
    let of = |threads: usize| -> Counters {
        let mut bench = Bench::new(&text(body));
        bench.config.threads = threads;
        let out = bench.upload(&vec![0u32; 64 * 32]);
        bench
            .launch("k", [64, 1, 1], [32, 1, 1], 0, &[&out.to_le_bytes()])
            .unwrap_or_else(|fault| panic!("{}", fault.text))
    };
    let one = of(1);
    assert_eq!((one.global_loads, one.global_stores), (global(64, 256, 8192), global(48, 192, 6144)));
    assert!(of(2) == one && of(5) == one);
}
