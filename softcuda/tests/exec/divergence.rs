//! Random programs whose threads part: run by warps in lock-step they leave the memory, the counters and the fault that they
//! leave when each warp runs alone.

use crate::text::run_with;
use softcuda::exec::mma::HostLevel;
use softcuda::fault::Fault;
use softcuda::profile::Counters;
use std::fmt::Write;

/// Writes a program of nested branches and loops.
///
/// `%r20` is what a thread has computed, `%r30` its own random numbers, `%r40` and up count rounds. Words of shared memory
/// before 2,048 are only read, each thread has one behind, and atomics go to those from 4,096 on.
struct Writer {
    state: u64,
    text: String,
    labels: u32,
    /// Whether threads end early.
    exits: bool,
}

impl Writer {
    fn below(&mut self, count: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % count
    }

    fn line(&mut self, text: &str) {
        writeln!(self.text, "{text}").expect("a string takes any text");
    }

    fn label(&mut self) -> u32 {
        self.labels += 1;
        self.labels
    }

    /// `%p{number}`: true for some threads of a warp, for some warps, or for some threads of some warps.
    fn condition(&mut self, number: u32) {
        self.line("mad.lo.u32 %r30, %r30, 1664525, 1013904223;");
        let shift = 8 + self.below(16);
        let bits = [1, 3, 7][self.below(3) as usize];
        match self.below(4) {
            0 => self.line(&format!("shr.u32 %r5, %r0, 5; and.b32 %r5, %r5, {bits};")),
            1 => self.line(&format!("shr.u32 %r5, %r30, {shift}; shr.u32 %r6, %r0, 6; and.b32 %r5, %r5, %r6;")),
            _ => self.line(&format!("shr.u32 %r5, %r30, {shift}; and.b32 %r5, %r5, {bits};")),
        }
        self.line(&format!("setp.eq.u32 %p{number}, %r5, 0;"));
    }

    fn step(&mut self) {
        let text = match self.below(9) {
            0 => "mad.lo.u32 %r20, %r20, 5, %r30;",
            1 => {
                "shr.u32 %r7, %r30, 9; and.b32 %r7, %r7, 1020; add.u32 %r7, %r7, %r29; ld.shared.u32 %r8, [%r7]; add.u32 %r20, %r20, %r8;"
            }
            2 => "ld.shared.u32 %r8, [%r28]; xor.b32 %r20, %r20, %r8; st.shared.u32 [%r28], %r20;",
            3 => {
                "shr.u32 %r7, %r30, 7; and.b32 %r7, %r7, 508; add.u32 %r7, %r7, %r29; red.shared.add.u32 [%r7+4096], %r20;"
            }
            4 => {
                "shr.u32 %r7, %r30, 9; and.b32 %r7, %r7, 1016; cvt.u64.u32 %d5, %r7; add.u64 %d5, %d5, %d0; ld.global.v2.u32 {%r8, %r9}, [%d5+8192]; add.u32 %r20, %r20, %r9;"
            }
            5 => "activemask.b32 %r8; redux.sync.add.s32 %r9, %r20, %r8; add.u32 %r20, %r20, %r9;",
            6 => "cvt.rn.f32.u32 %f1, %r20; ex2.approx.f32 %f1, %f1; add.f32 %f2, %f2, %f1;",
            7 => {
                "prmt.b32 %r8, %r20, %r30, 0x6243; dp4a.s32.u32 %r20, %r8, %r30, %r20; bfe.u32 %r8, %r30, 5, 9; add.u32 %r20, %r20, %r8;"
            }
            _ => "popc.b32 %r8, %r30; sub.u32 %r20, %r20, %r8; add.u32 %r20, %r20, 77;",
        };
        self.line(text);
    }

    /// Statements; `out` is the label of the innermost loop's end.
    fn statements(&mut self, depth: u32, out: Option<u32>) {
        for _ in 0..1 + self.below(3) {
            let (here, there) = (self.label(), self.label());
            match self.below(if depth < 3 { 10 } else { 4 }) {
                0 | 1 => self.step(),
                2 => {
                    self.condition(1);
                    self.line("@%p1 add.u32 %r20, %r20, %r30; @!%p1 ld.shared.u32 %r20, [%r28];");
                    self.line("@%p1 st.shared.u32 [%r28], %r20; @!%p1 popc.b32 %r20, %r20;");
                }
                3 => {
                    self.condition(2);
                    match out {
                        Some(out) => self.line(&format!("@%p2 bra L{out};")),
                        None if self.exits && self.below(3) == 0 => {
                            self.line("setp.gt.u32 %p3, %r30, 0xc0000000; and.pred %p2, %p2, %p3; @%p2 exit;");
                        }
                        None => self.step(),
                    }
                }
                4 | 5 => {
                    self.condition(1);
                    self.line(&format!("@%p1 bra L{here};"));
                    self.statements(depth + 1, out);
                    self.line(&format!("bra L{there}; L{here}:"));
                    self.statements(depth + 1, out);
                    self.line(&format!("L{there}:"));
                }
                6 => {
                    // Two ways to one place, which is not where they meet.
                    self.condition(1);
                    self.condition(2);
                    self.line(&format!("@%p1 bra L{here};"));
                    self.statements(depth + 1, None);
                    self.line(&format!("@%p2 bra L{there}; L{here}:"));
                    self.statements(depth + 1, None);
                    self.line(&format!("L{there}:"));
                }
                7 => {
                    self.condition(1);
                    self.line(&format!("@!%p1 bra L{here};"));
                    self.statements(depth + 1, out);
                    self.line(&format!("L{here}:"));
                }
                _ => {
                    let counter = 40 + depth;
                    let rounds = ["shr.u32 %r5, %r30, 13;", "shr.u32 %r5, %r0, 5;"][self.below(2) as usize];
                    self.line(&format!("{rounds} and.b32 %r{counter}, %r5, 3; L{here}:"));
                    self.statements(depth + 1, Some(there));
                    self.line(&format!("sub.s32 %r{counter}, %r{counter}, 1; setp.ge.s32 %p4, %r{counter}, 0;"));
                    self.line(&format!("@%p4 bra L{here}; L{there}:"));
                }
            }
        }
    }

    /// A program; `trap` is the thread that fails somewhere in it.
    fn program(seed: u64, trap: Option<u32>) -> String {
        let mut writer = Writer { state: seed, text: String::new(), labels: 0, exits: seed.is_multiple_of(3) };
        writer.line("mov.u32 %r1, %ctaid.x; mad.lo.u32 %r2, %r1, 320, %r0; mad.wide.u32 %d2, %r2, 4, %d0;");
        writer.line("mul.lo.u32 %r30, %r2, 0x9e3779b1; mov.u32 %r20, 0; mov.f32 %f2, 0f00000000; mov.u32 %r29, tile;");
        writer.line("mad.lo.u32 %r28, %r0, 4, %r29; st.shared.u32 [%r28], %r30; st.shared.u32 [%r28+4096], 0;");
        writer.line("add.u32 %r28, %r28, 2048; st.shared.u32 [%r28], %r2; bar.sync 0;");
        for part in 0..3 {
            writer.statements(0, None);
            if part == 1
                && let Some(thread) = trap
            {
                writer.condition(1);
                writer.line(&format!("@%p1 bra T1; setp.eq.u32 %p5, %r0, {thread}; @%p5 trap; T1: bar.sync 2;"));
                writer.line(&format!("setp.eq.u32 %p5, %r0, {thread}; @%p5 trap;"));
            }
            // All that are left meet.
            writer.line("bar.sync 1; mov.u32 %r8, %clock; add.u32 %r20, %r20, %r8;");
        }
        writer.line("and.b32 %r7, %r0, 127; mad.lo.u32 %r7, %r7, 4, %r29; ld.shared.u32 %r8, [%r7+4096];");
        writer.line("add.u32 %r20, %r20, %r8; mov.b32 %r8, %f2; xor.b32 %r20, %r20, %r8; st.global.u32 [%d2], %r20;");
        writer.text
    }
}

fn outcome(text: &str, block: u32, lock_step: bool, plain: bool) -> Result<(Vec<u32>, Counters), Box<Fault>> {
    run_with(text, 4096, 2, [block, 1, 1], |bench| {
        bench.config.threads = 1;
        bench.config.lock_step = lock_step;
        if plain {
            bench.config.host_level = Some(HostLevel::Plain);
        }
    })
}

#[test]
fn threads_that_part_in_lock_step_do_what_they_do_alone() {
    for seed in 1..500 {
        let text = Writer::program(seed, None);
        let block = [320, 256, 128, 100, 64][seed as usize % 5];
        let alone = outcome(&text, block, false, false).unwrap_or_else(|fault| panic!("{}\n{text}", fault.text));
        let together = outcome(&text, block, true, false).unwrap_or_else(|fault| panic!("{}\n{text}", fault.text));
        assert!(alone.0 == together.0, "program {seed}, {block} threads: memory\n{text}");
        assert_eq!(alone.1, together.1, "program {seed}, {block} threads: counters\n{text}");
        if seed % 8 == 0 {
            let plain = outcome(&text, block, true, true).unwrap_or_else(|fault| panic!("{}\n{text}", fault.text));
            assert!(alone.0 == plain.0 && alone.1 == plain.1, "program {seed} on plain code\n{text}");
        }
    }
}

#[test]
fn threads_that_part_in_lock_step_have_the_faults_that_they_have_alone() {
    for seed in 500..700 {
        let text = Writer::program(seed, Some(seed as u32 * 7 % 128));
        let alone = outcome(&text, 128, false, false).map_err(|fault| fault.text).map(|_| ());
        let together = outcome(&text, 128, true, false).map_err(|fault| fault.text).map(|_| ());
        assert_eq!(alone, together, "program {seed}\n{text}");
    }
}

#[test]
fn a_long_loop_of_parted_threads_ends_and_counts_the_same() {
    // More than a turn: every third thread runs 40,000 rounds, and loads a word anew in each of the last part.
    let text = "rem.u32 %r1, %r0, 3; mov.u32 %r2, 10; mov.u32 %r20, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mov.u32 %r2, 40000; mov.u32 %r3, tile;
        L: mad.lo.u32 %r20, %r20, 3, %r2; and.b32 %r4, %r20, 1; setp.eq.u32 %p3, %r4, 0; @%p3 bra E; xor.b32 %r20, %r20, 5;
        E: setp.gt.u32 %p4, %r2, 1000; @%p4 bra N; ld.volatile.shared.u32 %r5, [%r3]; add.u32 %r20, %r20, %r5;
        N: sub.u32 %r2, %r2, 1; setp.ne.u32 %p2, %r2, 0; @%p2 bra L; st.global.u32 [%d1], %r20;";
    let run = |lock_step: bool| {
        run_with(text, 256, 1, [96, 1, 1], |bench| bench.config.lock_step = lock_step)
            .unwrap_or_else(|fault| panic!("{}", fault.text))
    };
    let (alone, together) = (run(false), run(true));
    assert!(alone.0 == together.0 && alone.1 == together.1);
}
