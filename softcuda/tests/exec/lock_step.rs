//! Whether warps run in lock-step or one after the other changes neither memory, nor counters, nor faults.

use crate::support::Bench;
use crate::text::{run_with, text_with};
use crate::workloads::{self, Workload};
use softcuda::exec::mma::HostLevel;
use softcuda::fault::Fault;
use softcuda::profile::Counters;

fn outcome(workload: &mut Workload, lock_step: bool) -> (Vec<u32>, Counters) {
    workload.config().lock_step = lock_step;
    let counters = workload.verify();
    (workload.output(), counters)
}

#[test]
fn lock_step_gives_the_results_and_counters_of_warps_one_by_one() {
    for mut workload in workloads::all() {
        workload.config().threads = 1;
        let alone = outcome(&mut workload, false);
        let together = outcome(&mut workload, true);
        assert!(alone.0 == together.0, "{}: memory", workload.name);
        assert_eq!(alone.1, together.1, "{}: counters", workload.name);
        workload.config().host_level = Some(HostLevel::Plain);
        let plain = outcome(&mut workload, true);
        assert!(alone.0 == plain.0, "{}: memory on plain code", workload.name);
        assert_eq!(alone.1, plain.1, "{}: counters on plain code", workload.name);
    }
}

/// A body with warps in lock-step or one by one.
fn body(body: &str, block: u32, lock_step: bool) -> Result<(Vec<u32>, Counters), Box<Fault>> {
    run_with(body, 4096, 3, [block, 1, 1], |bench| bench.config.lock_step = lock_step)
}

/// `%r9`: number of the warp. `%r8`: a number that differs from warp to warp, `%r7`: from lane to lane.
const NUMBERS: &str = "shr.u32 %r9, %r0, 5; mul.lo.u32 %r8, %r9, 7; and.b32 %r8, %r8, 3; and.b32 %r7, %r0, 5; mov.u32 %r20, 0; mov.u32 %r21, 1; mov.u32 %r30, tile; mad.lo.u32 %r30, %r0, 4, %r30;";
const STORE: &str =
    "mov.u32 %r1, %ctaid.x; mad.lo.u32 %r2, %r1, 320, %r0; mad.wide.u32 %d2, %r2, 4, %d0; st.global.u32 [%d2], %r20;";

#[test]
fn warps_that_part_meet_again() {
    let bodies = [
        // Warps take different ways, threads of a warp too, and both.
        "setp.eq.u32 %p1, %r8, 1; @%p1 bra A; add.u32 %r20, %r20, 3; A: mul.lo.u32 %r20, %r20, 5; add.u32 %r20, %r20, %r0;",
        "setp.eq.u32 %p1, %r7, 1; @%p1 bra A; add.u32 %r20, %r20, 3; bra B; A: add.u32 %r20, %r20, %r0; B: mul.lo.u32 %r20, %r20, 5;",
        "setp.eq.u32 %p1, %r7, 1; setp.lt.u32 %p2, %r8, 2; and.pred %p1, %p1, %p2; @%p1 bra A; add.u32 %r20, %r20, 3; A: mad.lo.u32 %r20, %r20, 5, %r0;",
        // Loops of as many rounds as the warp, or the thread, says; with barriers behind.
        "L: add.u32 %r20, %r20, %r0; add.u32 %r21, %r21, 1; setp.le.u32 %p1, %r21, %r8; @%p1 bra L; bar.sync 0; add.u32 %r20, %r20, 9;",
        "L: add.u32 %r20, %r20, %r0; add.u32 %r21, %r21, 1; setp.le.u32 %p1, %r21, %r7; @%p1 bra L; bar.sync 0; add.u32 %r20, %r20, 9;",
        // Guards of no thread, some threads, some warps.
        "setp.eq.u32 %p1, %r7, 4; setp.eq.u32 %p2, %r8, 2; setp.gt.u32 %p3, %r7, 99; @%p1 add.u32 %r20, %r20, 1; @%p2 add.u32 %r20, %r20, %r0; @!%p2 mul.lo.u32 %r20, %r20, 3; @%p3 mov.u32 %r20, 77;",
        // Threads, then warps, end early; the rest meets at barriers.
        "setp.eq.u32 %p1, %r7, 4; @%p1 exit; setp.eq.u32 %p2, %r8, 2; @%p2 exit; add.u32 %r20, %r0, 1; bar.sync 0; add.u32 %r20, %r20, 1; bar.sync 1;",
        // Shared memory across a barrier, reductions at barriers, votes and shuffles.
        "st.shared.u32 [%r30], %r0; bar.sync 0; xor.b32 %r3, %r0, 33; mov.u32 %r4, tile; mad.lo.u32 %r4, %r3, 4, %r4; ld.shared.u32 %r20, [%r4]; setp.lt.u32 %p1, %r0, 70; bar.red.popc.u32 %r5, 0, %p1; add.u32 %r20, %r20, %r5; activemask.b32 %r29; shfl.sync.up.b32 %r6, %r20, 3, 0, %r29; add.u32 %r20, %r20, %r6; vote.sync.ballot.b32 %r6, %p1, %r29; add.u32 %r20, %r20, %r6; shfl.sync.idx.b32 %r6|%p2, %r20, 9, 0x181f, %r29; @%p2 add.u32 %r20, %r20, %r6; shfl.sync.down.b32 %r6|%p2, %r20, 5, 31, %r29; @%p2 add.u32 %r20, %r20, %r6; shfl.sync.bfly.b32 %r6, %r20, 6, 31, %r29; add.u32 %r20, %r20, %r6;",
        // Clocks.
        "mov.u32 %r3, %clock; L: add.u32 %r21, %r21, 1; setp.le.u32 %p1, %r21, %r8; @%p1 bra L; mov.u32 %r20, %clock; sub.u32 %r20, %r20, %r3;",
        // Word accesses of every shape: strided, backwards, one word, half a warp a word; several warps unlike each other.
        "shl.b32 %r3, %r0, 2; mov.u32 %r4, tile; mul.lo.u32 %r5, %r3, 2; add.u32 %r5, %r5, %r4; st.shared.u32 [%r5], %r0; sub.u32 %r6, 4000, %r3; add.u32 %r6, %r6, %r4; st.shared.u32 [%r6], %r3; bar.sync 0; ld.shared.u32 %r10, [%r4+64]; and.b32 %r11, %r0, 48; add.u32 %r11, %r11, %r4; ld.shared.u32 %r12, [%r11]; shr.u32 %r13, %r0, 5; mul.lo.u32 %r13, %r13, 3; and.b32 %r13, %r13, 7; mul.lo.u32 %r13, %r13, %r3; and.b32 %r13, %r13, 2044; add.u32 %r13, %r13, %r4; ld.shared.u32 %r14, [%r13]; cvt.u64.u32 %d5, %r13; sub.u32 %r13, %r13, %r4; cvt.u64.u32 %d5, %r13; add.u64 %d5, %d5, %d0; ld.global.u32 %r15, [%d5+8192]; add.u32 %r20, %r10, %r12; add.u32 %r20, %r20, %r14; add.u32 %r20, %r20, %r15;",
    ];
    for part in bodies {
        let text = format!("{NUMBERS}\n{part}\n{STORE}");
        // Eight warps and two more, one of them half empty; and a block of one warp.
        for block in [320, 304, 250, 20] {
            // A shuffle from a lane that has no thread gives anything.
            if part.contains("shfl") && block % 32 != 0 {
                continue;
            }
            let alone = body(&text, block, false).unwrap_or_else(|fault| panic!("{}\n{part}", fault.text));
            let together = body(&text, block, true).unwrap_or_else(|fault| panic!("{}\n{part}", fault.text));
            assert!(alone.0 == together.0, "{block} threads: memory\n{part}");
            assert_eq!(alone.1, together.1, "{block} threads: counters\n{part}");
        }
    }
}

#[test]
fn a_function_called_by_warps_in_lock_step_returns_to_each() {
    let functions = ".func (.param .b32 out) sum(.param .b32 n) { .reg .pred %p; .reg .b32 %x, %sum; mov.u32 %sum, 0; ld.param.b32 %x, [n]; L: add.u32 %sum, %sum, %x; st.param.b32 [out], %sum; setp.eq.u32 %p, %x, 0; @%p ret; sub.u32 %x, %x, 1; bra L; }\n";
    let call = |argument: &str, result: &str| {
        format!(
            "{{ .param .b32 n; .param .b32 s; st.param.b32 [n], {argument}; call (s), sum, (n); ld.param.b32 {result}, [s]; }}\n"
        )
    };
    let (first, second) = (call("%r8", "%r20"), call("%r7", "%r21"));
    let call = format!("{NUMBERS}\n{first}{second}mad.lo.u32 %r20, %r20, 100, %r21; bar.sync 0; {STORE}");
    let outcome = |lock_step| {
        let mut bench = Bench::new(&text_with(functions, &call));
        bench.config.lock_step = lock_step;
        let out = bench.upload(&[0u32; 1024]);
        let counters = bench
            .launch("k", [1, 1, 1], [320, 1, 1], 0, &[&out.to_le_bytes()])
            .unwrap_or_else(|fault| panic!("{}", fault.text));
        (bench.download::<u32>(out, 1024), counters)
    };
    let (alone, together) = (outcome(false), outcome(true));
    let triangle = |n: u32| n * (n + 1) / 2;
    for thread in 0..320u32 {
        let expected = 100 * triangle((thread / 32 * 7) & 3) + triangle(thread & 5);
        assert_eq!(together.0[thread as usize], expected, "thread {thread}");
    }
    assert!(alone.0 == together.0 && alone.1 == together.1);
}

#[test]
fn the_fault_is_that_of_the_lowest_warp() {
    let bodies = [
        // Warp 5 meets a bad address first, warp 2 a trap much later.
        "setp.eq.u32 %p1, %r9, 5; mov.u64 %d5, 16; selp.b64 %d6, %d5, %d1, %p1; ld.global.u32 %r3, [%d6]; add.u32 %r3, %r3, 1; setp.eq.u32 %p2, %r9, 2; @%p2 trap;",
        // All warps: the first thread of the first.
        "ld.shared.u32 %r3, [%r30+9000];",
        // Where warps have parted.
        "setp.lt.u32 %p1, %r7, 3; @%p1 bra A; setp.eq.u32 %p2, %r9, 6; @%p2 trap; A: setp.eq.u32 %p2, %r9, 1; @%p2 trap;",
        // A lane in the middle of the third warp.
        "setp.eq.u32 %p1, %r0, 77; mov.u32 %r3, 2; selp.b32 %r4, %r3, 0, %p1; add.u32 %r30, %r30, %r4; st.shared.u32 [%r30], %r0;",
        // A barrier that half a warp meets, behind one that all meet.
        "bar.sync 0; setp.eq.u32 %p1, %r9, 3; setp.lt.u32 %p2, %r7, 3; and.pred %p1, %p1, %p2; @%p1 bra A; bar.sync 0; A: add.u32 %r3, %r3, 1;",
    ];
    for part in bodies {
        let text = format!("{NUMBERS}\n{part}\n{STORE}");
        let alone = body(&text, 256, false).expect_err(part);
        let together = body(&text, 256, true).expect_err(part);
        assert_eq!((alone.kind, &alone.text), (together.kind, &together.text), "{part}");
    }
}

#[test]
fn warps_that_wait_for_one_another_outside_barriers_end() {
    // The last warp sets a flag in shared memory that all others spin on; then a lock that all warps take in turn.
    let text = "mov.u32 %r9, tile; setp.eq.u32 %p1, %r0, 0; @%p1 st.volatile.shared.u32 [%r9], 0; @%p1 st.volatile.shared.u32 [%r9+4], 0; @%p1 st.volatile.shared.u32 [%r9+8], 0; bar.sync 0;
        setp.ge.u32 %p2, %r0, 224; @%p2 bra SET;
        SPIN: ld.volatile.shared.u32 %r3, [%r9]; setp.eq.u32 %p3, %r3, 0; @%p3 bra SPIN; bra MET;
        SET: st.volatile.shared.u32 [%r9], 1;
        MET: bar.sync 0;
        and.b32 %r4, %r0, 31; setp.ne.u32 %p4, %r4, 0; @%p4 bra OUT;
        LOCK: atom.shared.cas.b32 %r5, [%r9+4], 0, 1; setp.ne.u32 %p5, %r5, 0; @%p5 bra LOCK;
        ld.volatile.shared.u32 %r6, [%r9+8]; add.u32 %r6, %r6, 1; st.volatile.shared.u32 [%r9+8], %r6;
        atom.shared.exch.b32 %r5, [%r9+4], 0;
        OUT: bar.sync 0; ld.volatile.shared.u32 %r20, [%r9+8]; st.global.u32 [%d1], %r20;";
    let (words, _) = body(text, 256, true).unwrap_or_else(|fault| panic!("{}", fault.text));
    assert_eq!(words[..256], [8; 256]);
}

#[test]
fn an_endless_loop_in_lock_step_is_ended_by_the_instruction_limit() {
    let fault =
        run_with("L: bra L;", 32, 1, [256, 1, 1], |bench| bench.config.instruction_limit = 3_000_000).unwrap_err();
    assert!(fault.text.contains("more than 3000000 warp instructions"), "{}", fault.text);
}
