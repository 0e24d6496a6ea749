//! Counts of single lines.

use crate::support::Bench;
use crate::text::text;
use softcuda::profile::{GlobalAccess, LineCounters, SharedAccess, by_source, hottest, lines};

/// Lines of a body that starts on line 9, run by one warp.
fn of(body: &str) -> Vec<LineCounters> {
    let bench = Bench::new(&text(body));
    let out = bench.upload(&[0u32; 4096]);
    let execution = bench
        .execute("k", [1; 3], [32, 1, 1], &[], &[&out.to_le_bytes()])
        .unwrap_or_else(|fault| panic!("{}", fault.text));
    lines(bench.kernel("k"), &execution.tally)
}

const BODY: &str = "mov.u32 %r1, 0;
mov.u32 %r2, tile;
mad.lo.u32 %r2, %r0, 16, %r2;
setp.lt.u32 %p2, %r0, 8;
LOOP: add.u32 %r1, %r1, 1;
ld.global.u32 %r3, [%d1];
st.shared.u32 [%r2], %r3;
@%p2 ld.shared.u32 %r4, [%r2];
setp.lt.u32 %p1, %r1, 10;
@%p1 bra LOOP;";

#[test]
fn every_line_has_what_it_did() {
    let lines = of(BODY);
    let first = lines.iter().find(|line| line.mnemonic == "setp").expect("setp is executed").ptx_line - 3;
    let line = |behind: u32| lines.iter().find(|line| line.ptx_line == first + behind).expect("a line of the body");
    assert_eq!((line(0).mnemonic, line(0).instructions.warp, line(0).instructions.thread), ("mov", 1, 32));
    assert_eq!((line(4).mnemonic, line(4).instructions.warp, line(4).instructions.thread), ("add", 10, 320));
    assert_eq!(line(5).global, GlobalAccess { requests: 10, sectors: 40, bytes: 1280 });
    // Words 16 bytes apart: four ways into one bank.
    let conflicts = SharedAccess { requests: 10, wavefronts: 40, ideal_wavefronts: 10 };
    assert_eq!((line(6).shared, line(6).conflicts()), (conflicts, 30));
    // Eight lanes of words 16 bytes apart meet no more.
    assert_eq!(line(7).shared, SharedAccess { requests: 10, wavefronts: 10, ideal_wavefronts: 10 });
    assert_eq!((line(7).predicated_off, line(7).instructions.thread), (240, 320));
    assert_eq!(line(9).instructions.warp, 10);
    let sum: u64 = lines.iter().map(|line| line.instructions.warp).sum();
    assert_eq!(sum, 4 + 60 + 4, "all instructions are on some line");
}

#[test]
fn the_hottest_line_is_the_one_with_the_conflicts() {
    let lines = of(BODY);
    let hot = hottest(&lines, 2);
    assert_eq!((hot.len(), hot[0].mnemonic, hot[0].cycles()), (2, "st", 160));
    assert!(by_source(&lines).is_empty(), "the text has no source lines");
}

#[test]
fn lines_of_one_source_line_add_up() {
    let text = text("").replace(
        "ret;",
        ".loc 1 7 0\nadd.u32 %r1, %r0, 1;\nadd.u32 %r1, %r1, 1;\n.loc 1 8 0\nst.global.u32 [%d1], %r1;\n.loc 1 7 0\nmov.u32 %r1, 3;\nret;",
    ) + ".file 1 \"k.cu\"\n";
    let bench = Bench::new(&text);
    let out = bench.upload(&[0u32; 64]);
    let execution = bench
        .execute("k", [1; 3], [64, 1, 1], &[], &[&out.to_le_bytes()])
        .unwrap_or_else(|fault| panic!("{}", fault.text));
    let sources = by_source(&lines(bench.kernel("k"), &execution.tally));
    let found: Vec<_> =
        sources.iter().map(|line| (line.source.as_deref(), line.instructions.warp, line.global.sectors)).collect();
    assert_eq!(found, [(Some("k.cu:7"), 2 * 4, 0), (Some("k.cu:8"), 2, 8)]);
}
