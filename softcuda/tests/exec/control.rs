//! Divergence, reconvergence, loops, early exits; warps and blocks that wait for one another.

use crate::text::{output, run, run_with};
use softcuda::fault::FaultKind;

/// %r1 = lanes that take part in a vote here, stored by each thread.
const WHO: &str = "vote.sync.ballot.b32 %r1, 1, -1; st.global.u32 [%d1], %r1;";

#[test]
fn both_sides_of_a_branch_run_and_meet_again_behind_it() {
    let body = "
        setp.lt.u32 %p1, %r0, 10;
        @%p1 bra THEN;
        activemask.b32 %r2; mov.u32 %r3, 2; bra JOIN;
        THEN: activemask.b32 %r2; mov.u32 %r3, 1;
        JOIN: activemask.b32 %r4;
        st.global.u32 [%d1], %r2; st.global.u32 [%d1+128], %r3; st.global.u32 [%d1+256], %r4;";
    let words = output(body, 96, 1, [32, 1, 1]);
    for lane in 0..32 {
        assert_eq!(words[lane], if lane < 10 { 0x3ff } else { !0x3ff });
        assert_eq!(words[32 + lane], if lane < 10 { 1 } else { 2 });
        assert_eq!(words[64 + lane], u32::MAX, "all lanes are together again");
    }
}

#[test]
fn nested_branches_meet_one_after_the_other() {
    let body = "
        and.b32 %r5, %r0, 1; and.b32 %r6, %r0, 2;
        setp.ne.u32 %p1, %r5, 0; setp.ne.u32 %p2, %r6, 0;
        mov.u32 %r10, 0;
        @!%p1 bra JOIN;
        @!%p2 bra INNER;
        activemask.b32 %r1; add.u32 %r10, %r10, 1;
        INNER: activemask.b32 %r2; add.u32 %r10, %r10, 16;
        JOIN: activemask.b32 %r3; add.u32 %r10, %r10, 256;
        st.global.u32 [%d1], %r10; st.global.u32 [%d1+128], %r2; st.global.u32 [%d1+256], %r3;";
    let words = output(body, 96, 1, [32, 1, 1]);
    for lane in 0..32 {
        let wanted = 256 + if lane & 1 == 0 { 0 } else { 16 } + u32::from(lane & 3 == 3);
        assert_eq!(words[lane], wanted, "lane {lane}");
        if lane & 1 == 1 {
            assert_eq!(words[32 + lane], 0xaaaa_aaaa, "the inner sides meet before the outer join");
        }
        assert_eq!(words[64 + lane], u32::MAX);
    }
}

#[test]
fn loops_of_different_trip_counts_with_breaks_and_early_exits() {
    // Thread t adds 0, 1, .. t; a thread whose number is a multiple of 7 leaves the loop at 5; 30 and 31 end inside it.
    let body = "
        mov.u32 %r1, 0; mov.u32 %r2, 0; rem.u32 %r3, %r0, 7; setp.eq.u32 %p1, %r3, 0;
        LOOP:
        setp.gt.u32 %p2, %r1, %r0; @%p2 bra DONE;
        setp.ge.and.u32 %p3, %r1, 5, %p1; @%p3 bra DONE;
        setp.ge.u32 %p4, %r1, 20; setp.ge.and.u32 %p4, %r0, 30, %p4; @%p4 exit;
        add.u32 %r2, %r2, %r1; add.u32 %r1, %r1, 1; bra LOOP;
        DONE:
        activemask.b32 %r4; st.global.u32 [%d1], %r2; st.global.u32 [%d1+128], %r4;";
    let words = output(body, 64, 1, [32, 1, 1]);
    for t in 0..32u32 {
        let wanted: u32 = if t >= 30 { 0xdddd_dddd } else { (0..=t).take_while(|&i| t % 7 != 0 || i < 5).sum() };
        assert_eq!(words[t as usize], wanted, "thread {t}");
        if t < 30 {
            assert_eq!(words[32 + t as usize], 0x3fff_ffff, "those that are left are together");
        }
    }
}

#[test]
fn a_switch_goes_to_each_of_its_labels() {
    let body = "
        and.b32 %r1, %r0, 3; setp.lt.u32 %p1, %r0, 28;
        TARGETS: .branchtargets ZERO, ONE, JOIN, THREE;
        mov.u32 %r2, 7;
        @%p1 brx.idx %r1, TARGETS;
        mov.u32 %r2, 99; bra JOIN;
        ZERO: mov.u32 %r2, 10; bra JOIN;
        ONE: mov.u32 %r2, 11;
        THREE: add.u32 %r2, %r2, 100;
        JOIN: activemask.b32 %r3; st.global.u32 [%d1], %r2; st.global.u32 [%d1+128], %r3;";
    let words = output(body, 64, 1, [32, 1, 1]);
    for t in 0..32usize {
        assert_eq!(words[t], if t >= 28 { 99 } else { [10, 111, 7, 107][t & 3] }, "thread {t}");
        assert_eq!(words[32 + t], u32::MAX);
    }
    let fault = run(&body.replace("and.b32 %r1, %r0, 3", "and.b32 %r1, %r0, 7"), 64, 1, [32, 1, 1]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::LaunchFailed);
    assert!(
        fault.text.starts_with("brx.idx: the index is past the last target\n  by thread (4, 0, 0)"),
        "{}",
        fault.text
    );
}

#[test]
fn unstructured_branches_reach_every_path() {
    // Two entries into one block: %r2 collects which blocks a thread went through.
    let body = "
        mov.u32 %r2, 0; and.b32 %r3, %r0, 1; and.b32 %r4, %r0, 2; setp.ne.u32 %p1, %r3, 0; setp.ne.u32 %p2, %r4, 0;
        @%p1 bra B;
        or.b32 %r2, %r2, 1;
        @%p2 bra C;
        B: or.b32 %r2, %r2, 2;
        @%p2 bra D;
        C: or.b32 %r2, %r2, 4;
        D: activemask.b32 %r5; st.global.u32 [%d1], %r2; st.global.u32 [%d1+128], %r5;";
    let words = output(body, 64, 1, [32, 1, 1]);
    for t in 0..32usize {
        assert_eq!(words[t], [1 | 2 | 4, 2 | 4, 1 | 4, 2][t & 3], "thread {t}");
        assert_eq!(words[32 + t], u32::MAX);
    }
}

#[test]
fn an_irreducible_loop_ends() {
    let body = "
        mov.u32 %r2, 0; and.b32 %r3, %r0, 1; setp.ne.u32 %p1, %r3, 0;
        @%p1 bra MIDDLE;
        TOP: add.u32 %r2, %r2, 1;
        MIDDLE: add.u32 %r2, %r2, 16;
        setp.lt.u32 %p2, %r2, 100; @%p2 bra TOP;
        st.global.u32 [%d1], %r2;";
    let words = output(body, 32, 1, [32, 1, 1]);
    for (t, &word) in words.iter().enumerate() {
        // 16, then 17 more each time until 100 is reached; even threads start with 17.
        let mut sum = if t & 1 == 1 { 16 } else { 17 };
        while sum < 100 {
            sum += 17;
        }
        assert_eq!(word, sum);
    }
}

#[test]
fn a_warp_of_fewer_threads_and_a_block_of_three_dimensions() {
    let words = output("activemask.b32 %r1; st.global.u32 [%d1], %r1;", 40, 1, [37, 1, 1]);
    assert!(words[..32].iter().all(|&mask| mask == u32::MAX));
    assert!(words[32..37].iter().all(|&mask| mask == 0x1f));
    assert_eq!(words[37..], [0xdddd_dddd; 3]);
    let body = "
        mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ntid.x; mov.u32 %r4, %ntid.y; mov.u32 %r5, %laneid; mov.u32 %r8, %ctaid.x;
        mad.lo.u32 %r6, %r2, %r4, %r1; mad.lo.u32 %r6, %r6, %r3, %r0; mad.lo.u32 %r9, %r8, 60, %r6; mad.wide.u32 %d2, %r9, 4, %d0;
        shl.b32 %r7, %r5, 16; or.b32 %r6, %r6, %r7; st.global.u32 [%d2], %r6;";
    let words = output(body, 120, 2, [3, 4, 5]);
    for (i, &word) in words.iter().enumerate() {
        let thread = i as u32 % 60;
        assert_eq!(word, thread | (thread % 32) << 16, "thread {thread}");
    }
}

#[test]
fn shuffles_and_votes_follow_their_definitions() {
    let body = "
        mul.lo.u32 %r1, %r0, 3;
        shfl.sync.up.b32 %r2|%p1, %r1, 2, 0, -1; selp.u32 %r3, 1000, 0, %p1; add.u32 %r2, %r2, %r3; st.global.u32 [%d1], %r2;
        shfl.sync.down.b32 %r2|%p1, %r1, 3, 0x1f, -1; selp.u32 %r3, 1000, 0, %p1; add.u32 %r2, %r2, %r3; st.global.u32 [%d1+128], %r2;
        shfl.sync.bfly.b32 %r2, %r1, 5, 0x1f, -1; st.global.u32 [%d1+256], %r2;
        shfl.sync.idx.b32 %r2, %r1, 9, 0x181f, -1; st.global.u32 [%d1+384], %r2;
        and.b32 %r4, %r0, 1; setp.ne.u32 %p2, %r4, 0;
        vote.sync.ballot.b32 %r2, %p2, -1; st.global.u32 [%d1+512], %r2;
        redux.sync.add.u32 %r2, %r0, -1; st.global.u32 [%d1+640], %r2;
        shr.u32 %r5, %r0, 3; match.any.sync.b32 %r2, %r5, -1; st.global.u32 [%d1+768], %r2;";
    let words = output(body, 256, 1, [32, 1, 1]);
    for t in 0..32u32 {
        let at = |row: u32| words[(32 * row + t) as usize];
        assert_eq!(at(0), if t >= 2 { 3 * (t - 2) + 1000 } else { 3 * t });
        assert_eq!(at(1), if t + 3 <= 31 { 3 * (t + 3) + 1000 } else { 3 * t });
        assert_eq!(at(2), 3 * (t ^ 5));
        // Segments of eight lanes: lane 9 % 8 of its own.
        assert_eq!(at(3), 3 * (t / 8 * 8 + 1));
        assert_eq!(at(4), 0xaaaa_aaaa);
        assert_eq!(at(5), 496);
        assert_eq!(at(6), 0xff << (8 * (t / 8)));
    }
}

#[test]
fn lanes_of_different_paths_meet_at_a_warp_operation() {
    // Both sides of the branch run into the same shuffle only when all have come.
    let body = format!(
        "setp.lt.u32 %p1, %r0, 16; mov.u32 %r9, 0; @%p1 bra LONG; bra VOTE;
        LONG: add.u32 %r9, %r9, 1; setp.lt.u32 %p2, %r9, 1000; @%p2 bra LONG;
        VOTE: {WHO}"
    );
    assert_eq!(output(&body, 32, 1, [32, 1, 1]), [u32::MAX; 32]);
}

#[test]
fn a_member_mask_must_name_the_lanes_that_come_and_no_ended_ones() {
    let text = |body| run(body, 64, 1, [32, 1, 1]).unwrap_err().text;
    let without = text("vote.sync.ballot.b32 %r1, 1, 0xfffffffe;");
    assert!(without.starts_with("the member mask does not name the lane that executes it\n  by thread (0, 0, 0) of block (0, 0, 0)\n  at kernel k, PTX line 11"), "{without}");
    let gone = text("setp.eq.u32 %p1, %r0, 3; @%p1 exit; vote.sync.ballot.b32 %r1, 1, -1;");
    assert!(
        gone.starts_with("the member mask 0xffffffff names lanes 0x00000008, whose threads do not run any more"),
        "{gone}"
    );
}

/// Each thread takes a lock, steps a counter without an atomic, and gives the lock back.
#[test]
fn a_spin_lock_between_threads_of_one_warp_ends() {
    let body = "
        SPIN: atom.global.cas.b32 %r1, [%d0], 0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra SPIN;
        ld.volatile.global.u32 %r2, [%d0+4]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%d0+4], %r2;
        atom.global.exch.b32 %r3, [%d0], 0;";
    // The lock starts as 0xdddddddd: it is never free.
    let fault = run_with(body, 2, 1, [64, 1, 1], |bench| bench.config.instruction_limit = 1_000_000).unwrap_err();
    assert_eq!(fault.kind, FaultKind::LaunchTimeout, "{}", fault.text);
    let freed = format!(
        "setp.eq.u32 %p8, %r0, 0; @%p8 st.volatile.global.u32 [%d0+4], 0; @%p8 atom.global.exch.b32 %r5, [%d0], 0; bar.sync 0;\n{body}"
    );
    assert_eq!(output(&freed, 2, 1, [64, 1, 1]), [0, 64]);
}

#[test]
fn a_block_that_spins_on_the_flag_of_a_later_block_ends() {
    // Thread 0 of block 0 waits for block 3; then all meet at a barrier and a vote.
    let body = format!(
        "mov.u32 %r10, %ctaid.x; setp.eq.u32 %p1, %r10, 0; setp.eq.u32 %p2, %r0, 0; setp.eq.u32 %p3, %r10, 3;
        and.pred %p4, %p1, %p2; @!%p4 bra MEET;
        SPIN: ld.acquire.gpu.global.u32 %r11, [%d0+256]; setp.ne.u32 %p5, %r11, 42; @%p5 bra SPIN;
        MEET: bar.sync 0;
        and.pred %p6, %p3, %p2; mov.u32 %r13, 0;
        @!%p3 bra FLAG;
        LONG: add.u32 %r13, %r13, 1; setp.lt.u32 %p7, %r13, 600000; @%p7 bra LONG;
        FLAG: @%p6 st.release.gpu.global.u32 [%d0+256], 42;
        @!%p1 exit;
        {WHO}"
    );
    let words = output(&body, 65, 4, [64, 1, 1]);
    assert_eq!(words[..64], [u32::MAX; 64], "the warp is whole again behind the barrier");
    assert_eq!(words[64], 42);
}

#[test]
fn a_lane_that_works_long_alone_is_waited_for_at_a_barrier_and_at_an_mma() {
    let body = "
        mov.u32 %r1, 0; setp.ne.u32 %p1, %r0, 5; @%p1 bra MEET;
        LOOP: add.u32 %r1, %r1, 1; setp.lt.u32 %p2, %r1, 700000; @%p2 bra LOOP;
        MEET: bar.sync 0;
        activemask.b32 %r2; st.global.u32 [%d1], %r2; st.global.u32 [%d1+128], %r1;";
    let words = output(body, 64, 1, [32, 1, 1]);
    assert_eq!(words[..32], [u32::MAX; 32]);
    assert_eq!(words[32 + 5], 700_000);
    let body = body.replace("bar.sync 0;", "mov.b32 %r4, 0; mov.f32 %f1, 0f00000000; mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r4, %r4, %r4, %r4}, {%r4, %r4}, {%f1, %f1, %f1, %f1};");
    let words = output(&body, 64, 1, [32, 1, 1]);
    assert_eq!(words[..32], [u32::MAX; 32]);
}

#[test]
fn an_endless_loop_is_ended_by_the_instruction_limit() {
    let change = |bench: &mut crate::support::Bench| {
        bench.config.instruction_limit = 1_000_000;
        bench.config.threads = 1;
    };
    let fault = run_with("LOOP: add.u32 %r1, %r1, 1; bra LOOP;", 32, 4, [32, 1, 1], change).unwrap_err();
    assert_eq!(fault.kind, FaultKind::LaunchTimeout);
    assert!(
        fault.text.starts_with("the launch has executed more than 1000000 warp instructions (SOFTCUDA_INSTRUCTION_LIMIT)\n  by thread (0, 0, 0) of block (0, 0, 0)\n  at kernel k, PTX line 11"),
        "{}",
        fault.text
    );
}

#[test]
fn the_clock_of_a_warp_never_goes_back() {
    let body = "
        mov.u32 %r1, %clock; mov.u32 %r2, 0; mov.u32 %r5, 0;
        LOOP: mov.u32 %r3, %clock; setp.lt.u32 %p1, %r3, %r1; selp.u32 %r4, 1, 0, %p1; or.b32 %r5, %r5, %r4; mov.u32 %r1, %r3;
        add.u32 %r2, %r2, 1; setp.lt.u32 %p2, %r2, 100000; @%p2 bra LOOP;
        setp.lt.u32 %p3, %r1, 500000; selp.u32 %r4, 2, 0, %p3; or.b32 %r5, %r5, %r4; st.global.u32 [%d1], %r5;";
    assert_eq!(output(body, 32, 1, [32, 1, 1]), [0; 32]);
}

#[test]
fn a_warp_that_sleeps_lets_others_run_meanwhile() {
    // Block 0 waits for a flag that block 1 sets after 10,000 rounds.
    let looks = |sleep: &str| {
        let body = format!(
            "mov.u32 %r1, %ctaid.x; mov.u32 %r2, 0; setp.eq.u32 %p1, %r1, 1; @%p1 bra WORK;
            WAIT: {sleep} add.u32 %r2, %r2, 1; ld.acquire.gpu.global.u32 %r3, [%d0]; setp.ne.u32 %p2, %r3, 7; @%p2 bra WAIT;
            st.global.u32 [%d0+4], %r2; bra END;
            WORK: add.u32 %r2, %r2, 1; setp.lt.u32 %p3, %r2, 10000; @%p3 bra WORK;
            mov.u32 %r4, 7; st.release.gpu.global.u32 [%d0], %r4;
            END:"
        );
        output(&body, 2, 2, [1, 1, 1])[1]
    };
    let (awake, asleep) = (looks(""), looks("nanosleep.u32 100;"));
    assert!((1..=64).contains(&asleep) && awake >= 100_000, "{asleep} looks with sleep, {awake} without");
}
