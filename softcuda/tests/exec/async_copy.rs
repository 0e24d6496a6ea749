//! cp.async completes as late as legal: what a kernel may and may not do in between.

use crate::text::{fault, run, run_with};
use softcuda::{config::Checks, fault::FaultKind};

/// Thread t copies the word t + `words` of the output to word t of `tile`; %r1 = &tile, %r2 = &tile[t], %d2 = the source.
const COPY: &str = "mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 4, %r1; add.u64 %d2, %d1, 256;
    cp.async.ca.shared.global [%r2], [%d2], 4;";
/// Reads the thread's word of `tile` back.
const READ: &str = "ld.shared.u32 %r3, [%r2]; st.global.u32 [%d1], %r3;";
const COMMIT: &str = "cp.async.commit_group;";

/// The thread's word after `body`, whose output starts as 0, 1, 2 ...
fn words(body: &str) -> Vec<u32> {
    let body = format!("add.u64 %d5, %d1, 256; st.global.u32 [%d5], %r0;\n{body}");
    run(&body, 1024, 1, [32, 1, 1]).unwrap_or_else(|fault| panic!("{}\n{body}", fault.text)).0[..32].to_vec()
}

fn numbers() -> Vec<u32> {
    (0..32).collect()
}

#[test]
fn a_copy_that_is_waited_for_arrives() {
    for wait in ["cp.async.wait_group 0;", "cp.async.wait_all;"] {
        assert_eq!(words(&format!("{COPY} {COMMIT} {wait} {READ}")), numbers());
    }
    assert_eq!(words(&format!("{COPY} cp.async.wait_all; {READ}")), numbers(), "wait_all needs no commit");
}

#[test]
fn reading_before_the_wait_is_a_fault() {
    for wait in ["", COMMIT, "cp.async.commit_group; cp.async.wait_group 1;", "cp.async.wait_group 0;"] {
        let fault = fault(&format!("{COPY}\n{wait}\n{READ}"), [32, 1, 1]);
        assert_eq!(fault.kind, FaultKind::LaunchFailed, "{wait}");
        assert_eq!(
            fault.text,
            "shared load of 4 bytes at shared address 0x0, to which a cp.async is in flight: no wait covers it yet\n  by thread (0, 0, 0) of block (0, 0, 0)\n  at kernel k, PTX line 14",
            "after {wait:?}"
        );
    }
}

#[test]
fn without_the_check_an_early_read_finds_what_was_there() {
    let body = format!("{COPY} {READ} cp.async.wait_all; ld.shared.u32 %r4, [%r2]; st.global.u32 [%d1+128], %r4;");
    let body = format!("add.u64 %d5, %d1, 256; st.global.u32 [%d5], %r0;\n{body}");
    let (words, _) = run_with(&body, 1024, 1, [32, 1, 1], |bench| bench.config.checks = Checks::NONE).unwrap();
    assert_eq!(words[..32], [u32::MAX; 32], "shared memory starts with all bits set");
    assert_eq!(words[32..64], numbers(), "the copy arrives at the wait");
}

#[test]
fn groups_complete_in_their_order() {
    let second = "cp.async.ca.shared.global [%r2+128], [%d2], 4;";
    let two = format!("{COPY} {COMMIT}\n{second} {COMMIT}\n");
    assert_eq!(words(&format!("{two} cp.async.wait_group 1; {READ}")), numbers(), "the older group is complete");
    let text = fault(&format!("{two} cp.async.wait_group 1; ld.shared.u32 %r3, [%r2+128];"), [32, 1, 1]).text;
    assert!(
        text.starts_with("shared load of 4 bytes at shared address 0x80, to which a cp.async is in flight"),
        "{text}"
    );
    let text = fault(&format!("{two} cp.async.wait_group 2; {READ}"), [32, 1, 1]).text;
    assert!(text.starts_with("shared load of 4 bytes at shared address 0x0, to which"), "{text}");
    // An empty group counts.
    assert_eq!(words(&format!("{COPY} {COMMIT} {COMMIT} cp.async.wait_group 1; {READ}")), numbers());
}

#[test]
fn a_pipeline_of_three_stages_gives_every_tile() {
    // Tile i of 32 words is word 64 + 32 i ..; two copies are in flight while one tile is added up.
    let body = "
        mov.u32 %r1, tile; mov.u32 %r4, 0; mov.u32 %r5, 0; mov.u32 %r9, 0;
        FILL: mad.lo.u32 %r6, %r4, 32, %r0; add.u32 %r7, %r6, 64; mad.wide.u32 %d3, %r7, 4, %d0; mul.lo.u32 %r8, %r6, 3; st.global.u32 [%d3], %r8;
        add.u32 %r4, %r4, 1; setp.lt.u32 %p1, %r4, 8; @%p1 bra FILL;
        mov.u32 %r4, 0;
        NEXT: setp.ge.u32 %p2, %r4, 8; @%p2 bra WAIT;
        mad.lo.u32 %r6, %r4, 32, %r0; add.u32 %r7, %r6, 64; mad.wide.u32 %d3, %r7, 4, %d0;
        rem.u32 %r10, %r4, 3; mad.lo.u32 %r10, %r10, 32, %r0; mad.lo.u32 %r10, %r10, 4, %r1;
        cp.async.ca.shared.global [%r10], [%d3], 4;
        WAIT: cp.async.commit_group; add.u32 %r4, %r4, 1;
        setp.lt.u32 %p3, %r4, 3; @%p3 bra NEXT;
        cp.async.wait_group 2;
        rem.u32 %r10, %r5, 3; mad.lo.u32 %r10, %r10, 32, %r0; mad.lo.u32 %r10, %r10, 4, %r1; ld.shared.u32 %r11, [%r10]; add.u32 %r9, %r9, %r11;
        add.u32 %r5, %r5, 1; setp.lt.u32 %p4, %r5, 8; @%p4 bra NEXT;
        st.global.u32 [%d1], %r9;";
    let (words, _) = run(body, 1024, 1, [32, 1, 1]).unwrap_or_else(|fault| panic!("{}", fault.text));
    for t in 0..32u32 {
        assert_eq!(words[t as usize], (0..8).map(|tile| 3 * (32 * tile + t)).sum::<u32>());
    }
    let text = fault(&body.replace("wait_group 2", "wait_group 3"), [32, 1, 1]).text;
    assert!(text.contains("to which a cp.async is in flight"), "{text}");
}

#[test]
fn overwriting_the_destination_or_the_source_in_flight_is_a_fault() {
    let text = |rest: &str| fault(&format!("{COPY}\n{rest}"), [32, 1, 1]).text;
    assert_eq!(
        text("st.shared.u32 [%r2], %r0;"),
        "shared store of 4 bytes at shared address 0x0, to which a cp.async is in flight: no wait covers it yet\n  by thread (0, 0, 0) of block (0, 0, 0)\n  at kernel k, PTX line 13"
    );
    let twice = text("cp.async.ca.shared.global [%r2], [%d2], 4;");
    assert!(
        twice.starts_with("cp.async write of 4 bytes at shared address 0x0, to which a cp.async is in flight"),
        "{twice}"
    );
    let atomic = text("atom.shared.add.u32 %r4, [%r2], 1;");
    assert!(atomic.starts_with("shared atomic of 4 bytes at shared address 0x0, to which"), "{atomic}");
    let source = text("st.global.u32 [%d2], %r0;");
    assert!(
        source.starts_with("global store of 4 bytes at 0x")
            && source.contains(" overwrites the source of a cp.async in flight\n  issued at kernel k, PTX line 12\n"),
        "{source}"
    );
    let atomic = text("red.global.add.u32 [%d2], 1;");
    assert!(atomic.contains("overwrites the source of a cp.async in flight"), "{atomic}");
    // Beside the source and after the wait both are fine.
    let fine = format!(
        "{COPY} st.global.u32 [%d2+128], %r0; cp.async.wait_all; {READ} st.global.u32 [%d2], 7; st.shared.u32 [%r2], 7;"
    );
    assert_eq!(words(&fine), numbers());
}

#[test]
fn bytes_past_the_source_size_are_zero() {
    // Thread t copies 16 bytes of which it has t % 17; the source is all ones.
    let body = "
        mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 16, %r1; mad.wide.u32 %d2, %r0, 16, %d0; mov.u32 %r5, -1;
        st.global.v4.u32 [%d2+1024], {%r5, %r5, %r5, %r5}; rem.u32 %r6, %r0, 17;
        cp.async.cg.shared.global [%r2], [%d2+1024], 16, %r6; cp.async.wait_all;
        ld.shared.v4.u32 {%r10, %r11, %r12, %r13}, [%r2]; st.global.v4.u32 [%d2], {%r10, %r11, %r12, %r13};";
    let (words, _) = run(body, 1024, 1, [32, 1, 1]).unwrap_or_else(|fault| panic!("{}", fault.text));
    for t in 0..32 {
        let wanted: [u8; 16] = std::array::from_fn(|i| if i < t % 17 { 0xff } else { 0 });
        let got: Vec<u8> = words[4 * t..4 * t + 4].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(got, wanted, "thread {t}");
    }
    let ignored = words_of_ignored();
    assert!((0..32).all(|t| ignored[t] == if t < 8 { 0 } else { t as u32 }), "{ignored:?}");
    let text = fault(&body.replace("rem.u32 %r6, %r0, 17", "mov.u32 %r6, 17"), [32, 1, 1]).text;
    assert!(text.starts_with("cp.async of 16 bytes with a source size of 17\n"), "{text}");
    // With a size of zero the source is not touched, wherever it points.
    let nowhere = body.replace("rem.u32 %r6, %r0, 17;", "mov.u32 %r6, 0; mov.u64 %d2, 64;");
    let nowhere = nowhere
        .replace("st.global.v4.u32 [%d2], {%r10", "mad.wide.u32 %d2, %r0, 16, %d0; st.global.v4.u32 [%d2], {%r10");
    let (words, _) = run(&nowhere, 1024, 1, [32, 1, 1]).unwrap_or_else(|fault| panic!("{}", fault.text));
    assert_eq!(words[..128], [0; 128]);
}

fn words_of_ignored() -> Vec<u32> {
    words(&format!(
        "setp.lt.u32 %p1, %r0, 8; {} cp.async.wait_all; {READ}",
        COPY.replace("[%d2], 4;", "[%d2], 4, %p1;")
    ))
}

#[test]
fn sources_outside_allocations_and_misaligned_copies_are_faults() {
    let copy = |address: &str, shared: &str, bytes: u32| {
        let cache = if bytes == 16 { "cg" } else { "ca" };
        fault(
            &format!(
                "mov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 16, %r1; mad.wide.u32 %d2, %r0, 16, %d0; cp.async.{cache}.shared.global [{shared}], [{address}], {bytes};"
            ),
            [32, 1, 1],
        )
    };
    let odd = copy("%d2+8", "%r2", 16);
    assert_eq!(odd.kind, FaultKind::MisalignedAddress, "{}", odd.text);
    let past = copy("%d2+3840", "%r2", 16);
    assert_eq!(past.kind, FaultKind::IllegalAddress);
    assert!(
        past.text.contains("cp.async read of 16 bytes at device address")
            && past.text.contains("0 bytes past the end of the allocation"),
        "{}",
        past.text
    );
    assert!(past.text.contains("by thread (16, 0, 0)"), "{}", past.text);
    let misaligned = copy("%d2", "%r2+4", 8);
    assert_eq!(misaligned.kind, FaultKind::MisalignedAddress);
    assert!(
        misaligned.text.starts_with("cp.async write of 8 bytes at 0x4, which is not a multiple of 8"),
        "{}",
        misaligned.text
    );
    let outside = copy("%d2", "%r2+8192", 4);
    assert!(
        outside.text.starts_with("cp.async write of 4 bytes at shared address 0x2000: the block has 8192 bytes"),
        "{}",
        outside.text
    );
}
