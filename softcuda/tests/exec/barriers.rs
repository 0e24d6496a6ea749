//! Barriers of a block: numbers, counts, arrivals, reductions, and what is wrong with them.

use crate::text::{fault, output};
use softcuda::fault::FaultKind;

#[test]
fn a_barrier_makes_stores_of_all_warps_visible() {
    let body = "
        mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 4, %r1; st.shared.u32 [%r2], %r0;
        bar.sync 0;
        sub.u32 %r3, 127, %r0; mad.lo.u32 %r2, %r3, 4, %r1; ld.shared.u32 %r4, [%r2]; st.global.u32 [%d1], %r4;";
    let expected: Vec<u32> = (0..128).rev().collect();
    assert_eq!(output(body, 128, 1, [128, 1, 1]), expected);
}

#[test]
fn a_producer_arrives_and_a_consumer_waits_at_a_numbered_barrier() {
    // Warp 0 writes and only arrives; warp 1 waits for both. Barrier 5 is for 64 threads of the 96.
    let body = "
        mov.u32 %r1, tile; setp.lt.u32 %p1, %r0, 32; setp.lt.u32 %p2, %r0, 64; @!%p2 bra END;
        @%p1 bra PRODUCE;
        bar.sync 5, 64;
        sub.u32 %r2, %r0, 32; mad.lo.u32 %r2, %r2, 4, %r1; ld.shared.u32 %r3, [%r2]; st.global.u32 [%d1], %r3; bra END;
        PRODUCE: mov.u32 %r5, 0;
        WORK: add.u32 %r5, %r5, 1; setp.lt.u32 %p3, %r5, 1000; @%p3 bra WORK;
        mad.lo.u32 %r2, %r0, 4, %r1; add.u32 %r4, %r0, 700; st.shared.u32 [%r2], %r4;
        bar.arrive 5, 64;
        END:";
    let words = output(body, 96, 1, [96, 1, 1]);
    assert_eq!(words[..32], [0xdddd_dddd; 32]);
    assert!((32..64).all(|t| words[t] == t as u32 - 32 + 700));
    assert_eq!(words[64..], [0xdddd_dddd; 32]);
}

#[test]
fn reductions_at_a_barrier() {
    let body = "
        setp.lt.u32 %p1, %r0, 37; setp.lt.u32 %p2, %r0, 1000;
        bar.red.popc.u32 %r1, 0, %p1; bar.red.and.pred %p3, 0, %p1; bar.red.or.pred %p4, 0, %p1; bar.red.and.pred %p5, 0, %p2; bar.red.popc.u32 %r6, 0, !%p1;
        selp.u32 %r2, 1, 0, %p3; selp.u32 %r3, 2, 0, %p4; selp.u32 %r4, 4, 0, %p5; or.b32 %r2, %r2, %r3; or.b32 %r2, %r2, %r4;
        shl.b32 %r1, %r1, 8; or.b32 %r2, %r2, %r1; shl.b32 %r6, %r6, 16; or.b32 %r2, %r2, %r6; st.global.u32 [%d1], %r2;";
    assert_eq!(output(body, 80, 1, [80, 1, 1]), [6 | 37 << 8 | 43 << 16; 80]);
}

#[test]
fn threads_that_ended_are_not_waited_for() {
    let body = "setp.ge.u32 %p1, %r0, 40; @%p1 exit; bar.sync 0; st.global.u32 [%d1], %r0;";
    let words = output(body, 128, 1, [128, 1, 1]);
    assert!((0..40).all(|t| words[t] == t as u32) && words[40..].iter().all(|&word| word == 0xdddd_dddd));
}

#[test]
fn half_a_warp_at_a_barrier_is_a_fault() {
    let fault = fault("setp.lt.u32 %p1, %r0, 16;\n@%p1 bra HALF;\nbra END;\nHALF:\nbar.sync 0;\nEND:", [32, 1, 1]);
    assert_eq!(fault.kind, FaultKind::LaunchFailed);
    assert_eq!(
        fault.text,
        "barrier met by the lanes 0x0000ffff of warp 0 only, while 0xffff0000 are elsewhere: all threads of a warp must meet it together\n  by thread (0, 0, 0) of block (0, 0, 0)\n  at kernel k, PTX line 15"
    );
}

#[test]
fn an_unaligned_barrier_may_be_met_by_half_a_warp() {
    let body = "setp.lt.u32 %p1, %r0, 16; @%p1 bra HALF; barrier.sync 1; bra END; HALF: barrier.sync 1; END: st.global.u32 [%d1], %r0;";
    let expected: Vec<u32> = (0..64).collect();
    assert_eq!(output(body, 64, 1, [64, 1, 1]), expected);
}

#[test]
fn warps_that_never_come_are_a_fault_that_names_those_that_wait() {
    let body = "shr.u32 %r1, %r0, 5; and.b32 %r1, %r1, 1; setp.eq.u32 %p1, %r1, 0;\n@%p1 bra EVEN;\nbar.sync 1;\nbra END;\nEVEN:\nbar.sync 2;\nEND:";
    let fault = fault(body, [128, 1, 1]);
    assert_eq!(fault.kind, FaultKind::LaunchFailed);
    let expected = "no progress is possible: every thread of the block that has not ended waits
  warp 0 (lanes 0xffffffff) waits for a barrier at kernel k, PTX line 16
  warp 1 (lanes 0xffffffff) waits for a barrier at kernel k, PTX line 13
  warp 2 (lanes 0xffffffff) waits for a barrier at kernel k, PTX line 16
  warp 3 (lanes 0xffffffff) waits for a barrier at kernel k, PTX line 13
  by thread (0, 0, 0) of block (0, 0, 0)
  at kernel k, PTX line 16";
    assert_eq!(fault.text, expected);
}

#[test]
fn lanes_that_wait_for_lanes_that_never_come_are_named() {
    let body = "setp.lt.u32 %p1, %r0, 4;\n@%p1 bra FEW;\nbar.warp.sync 0xffffffff;\nbra END;\nFEW:\nvote.sync.ballot.b32 %r1, 1, -1;\nEND:";
    let fault = fault(body, [32, 1, 1]);
    assert!(fault.text.starts_with("no progress is possible"), "{}", fault.text);
    assert!(
        fault.text.contains("warp 0 (lanes 0xfffffff0) waits for the lanes 0xffffffff at kernel k, PTX line 13"),
        "{}",
        fault.text
    );
    assert!(
        fault.text.contains("warp 0 (lanes 0x0000000f) waits for the lanes 0xffffffff at kernel k, PTX line 16"),
        "{}",
        fault.text
    );
}

#[test]
fn barrier_numbers_and_counts_are_checked() {
    let first = |body: &str| fault(body, [64, 1, 1]).text.lines().next().unwrap_or("").to_owned();
    assert_eq!(first("bar.sync 16;"), "barrier 16: a block has the barriers 0 to 15");
    assert_eq!(first("bar.sync 3, 48;"), "barrier 3 for 48 threads: not a multiple of 32");
    assert_eq!(
        first("setp.lt.u32 %p1, %r0, 32; @%p1 bra A; bar.sync 1, 64; bra E; A: bar.sync 1, 96; E:"),
        "barrier 1 met with different thread counts: Some(96) and Some(64)"
    );
}
