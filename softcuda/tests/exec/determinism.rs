//! Memory and counters do not depend on the host: neither on its threads nor on its vector instructions.

use crate::support::Bench;
use crate::text::text;
use softcuda::exec::mma::HostLevel;
use softcuda::profile::Counters;

/// What a launch leaves: memory and counters.
type Outcome = (Vec<u32>, Counters);

const WORDS: usize = 1 << 14;

fn outcome(ptx: &str, grid: u32, block: u32, threads: usize, level: Option<HostLevel>) -> Outcome {
    let mut bench = Bench::new(ptx);
    bench.config.threads = threads;
    bench.config.host_level = level;
    // Floats of both signs and many sizes.
    let data: Vec<u32> =
        (0..WORDS as u32).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e5 - 80.0).to_bits()).collect();
    let out = bench.upload(&data);
    let counters = bench
        .launch("k", [grid, 1, 1], [block, 1, 1], 0, &[&out.to_le_bytes()])
        .unwrap_or_else(|fault| panic!("{}", fault.text));
    (bench.download(out, WORDS), counters)
}

/// Global index and a float of its own.
const LOAD: &str = "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mad.lo.u32 %r3, %r1, %r2, %r0; and.b32 %r4, %r3, 4095; mad.wide.u32 %d2, %r4, 4, %d0; ld.global.f32 %f1, [%d2];";

/// Bodies, grids and blocks.
fn kernels() -> Vec<(String, u32, u32)> {
    let store = "mad.wide.u32 %d3, %r4, 4, %d0; st.global.f32 [%d3+16384], %f3;";
    vec![
        // Float atomics: the order of the additions shows in the sum.
        (
            format!(
                "{LOAD} red.global.add.f32 [%d0+65532], %f1; and.b32 %r5, %r0, 31; mad.wide.u32 %d4, %r5, 4, %d0; atom.global.add.f32 %f3, [%d4+32768], %f1; {store}"
            ),
            40,
            96,
        ),
        // Transcendental functions, divergence and shuffles.
        (
            format!(
                "{LOAD} setp.lt.f32 %p1, %f1, 0f00000000; mov.f32 %f3, %f1; @%p1 bra NEGATIVE; ex2.approx.ftz.f32 %f3, %f1; lg2.approx.f32 %f4, %f1; add.f32 %f3, %f3, %f4; bra JOIN; NEGATIVE: sin.approx.f32 %f3, %f1; tanh.approx.f32 %f4, %f1; fma.rn.f32 %f3, %f3, %f4, %f1; JOIN: mov.b32 %r6, %f3; shfl.sync.bfly.b32 %r6, %r6, 7, 31, -1; mov.b32 %f5, %r6; add.f32 %f3, %f3, %f5; {store}"
            ),
            32,
            128,
        ),
        // Halves, conversions, integers of 64 bits, shared memory.
        (
            format!(
                "{LOAD} cvt.rn.f16x2.f32 %r6, %f1, %f1; fma.rn.f16x2 %r6, %r6, %r6, %r6; cvt.rn.bf16x2.f32 %r7, %f1, %f1; fma.rn.bf16x2 %r7, %r7, %r7, %r6; mov.u32 %r8, tile; mad.lo.u32 %r9, %r0, 4, %r8; st.shared.u32 [%r9], %r7; bar.sync 0; xor.b32 %r10, %r0, 33; mad.lo.u32 %r9, %r10, 4, %r8; ld.shared.u32 %r11, [%r9]; mul.wide.u32 %d5, %r11, %r6; mul.hi.u64 %d6, %d5, %d5; cvt.u32.u64 %r12, %d6; mov.b32 %f3, %r12; {store}"
            ),
            32,
            128,
        ),
        (attention(), 16, 32),
    ]
}

/// The heart of attention: copies, matrices from shared memory, products, row maxima and sums, exponentials, products.
fn attention() -> String {
    let mma =
        |d: &str, a: &str, b: &str| format!("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {d}, {a}, {b}, {d};\n");
    let score = "{%f10, %f11, %f12, %f13}";
    let mut body =
        format!("{LOAD} mov.u32 %r20, tile; mad.lo.u32 %r21, %r0, 16, %r20; mad.wide.u32 %d4, %r0, 16, %d0;\n");
    body += "cvt.rn.f16x2.f32 %r5, %f1, %f1; mov.u32 %r6, %r5; mov.u32 %r7, %r5; mov.u32 %r8, %r5; mov.u32 %r30, 0; mov.f32 %f20, 0f00000000; mov.f32 %f21, %f20; mov.f32 %f22, %f20; mov.f32 %f23, %f20;\n";
    body += "LOOP: cp.async.cg.shared.global [%r21], [%d4], 16; cp.async.commit_group; cp.async.wait_group 0; bar.sync 0;\n";
    body += "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r10, %r11, %r12, %r13}, [%r21]; and.b32 %r10, %r10, 0x3fff3fff; and.b32 %r11, %r11, 0x3fff3fff; and.b32 %r12, %r12, 0x3fff3fff; and.b32 %r13, %r13, 0x3fff3fff;\n";
    body += "mov.f32 %f10, 0f00000000; mov.f32 %f11, %f10; mov.f32 %f12, %f10; mov.f32 %f13, %f10;\n";
    body += &mma(score, "{%r5, %r6, %r7, %r8}", "{%r10, %r11}");
    body += "max.f32 %f14, %f10, %f11; mov.b32 %r14, %f14; shfl.sync.bfly.b32 %r14, %r14, 1, 31, -1; mov.b32 %f15, %r14; max.f32 %f14, %f14, %f15;\n";
    for value in ["%f10", "%f11", "%f12", "%f13"] {
        body += &format!(
            "sub.f32 {value}, {value}, %f14; min.f32 {value}, {value}, 0f00000000; ex2.approx.ftz.f32 {value}, {value};\n"
        );
    }
    body += "cvt.rn.f16x2.f32 %r15, %f11, %f10; cvt.rn.f16x2.f32 %r16, %f13, %f12;\n";
    body += &mma("{%f20, %f21, %f22, %f23}", "{%r15, %r16, %r15, %r16}", "{%r12, %r13}");
    body += "bar.sync 0; add.u64 %d4, %d4, 512; add.u32 %r30, %r30, 1; setp.lt.u32 %p1, %r30, 6; @%p1 bra LOOP;\n";
    body += "add.f32 %f3, %f20, %f23; mad.wide.u32 %d3, %r4, 4, %d0; st.global.f32 [%d3+32768], %f3; st.global.f32 [%d3+49152], %f21;";
    body
}

#[test]
fn host_threads_change_neither_memory_nor_counters() {
    for (body, grid, block) in kernels() {
        let ptx = text(&body);
        let one = outcome(&ptx, grid, block, 1, None);
        assert!(one.1.thread_instructions() > 10_000);
        for threads in [2, 5] {
            let many = outcome(&ptx, grid, block, threads, None);
            assert!(one.0 == many.0, "{threads} threads: memory\n{body}");
            assert_eq!(one.1, many.1, "{threads} threads: counters\n{body}");
        }
    }
}

#[test]
fn every_level_of_vector_instructions_gives_the_same_bits() {
    for (body, grid, block) in kernels() {
        let ptx = text(&body);
        let plain = outcome(&ptx, grid, block, 1, Some(HostLevel::Plain));
        let levels = HostLevel::ALL.into_iter().filter(|&level| level <= HostLevel::detect());
        for level in levels {
            let other = outcome(&ptx, grid, block, 1, Some(level));
            for (i, (a, b)) in plain.0.iter().zip(&other.0).enumerate() {
                assert_eq!(a, b, "{level:?}: word {i}\n{body}");
            }
            assert_eq!(plain.1, other.1, "{level:?}: counters\n{body}");
        }
    }
}
