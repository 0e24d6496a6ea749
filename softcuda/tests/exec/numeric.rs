//! Every group of instructions against plain Rust, on edge cases and random values, with all lanes and with some.

use crate::definitions::*;
use crate::support::Bench;
use half::{bf16, f16};

/// Values that find mistakes, and random ones.
fn inputs(count: usize, float: bool, bits: u32) -> Vec<u64> {
    let integers = [
        0,
        1,
        2,
        3,
        5,
        7,
        8,
        15,
        16,
        17,
        31,
        32,
        33,
        63,
        64,
        65,
        127,
        128,
        255,
        256,
        0x7fff,
        0x8000,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_fffe,
        0xffff_ffff,
        0x1_0000_0000,
        i64::MAX as u64,
        1 << 63,
        u64::MAX - 1,
        u64::MAX,
    ];
    let floats = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        1.5,
        2.5,
        -2.5,
        65504.0,
        65520.0,
        3e38,
        -3e38,
        1e-40,
        -1e-45,
        6e-8,
        1e300,
        1e-310,
        2147483648.0,
        -2147483648.5,
        9.3e18,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..count)
        .map(|_| {
            let (choice, random) = (next(), next());
            if !float {
                return if choice % 2 == 0 {
                    integers[(random % integers.len() as u64) as usize]
                } else {
                    random >> (choice >> 8 & 63)
                };
            }
            let edge = floats[(random >> 32) as usize % floats.len()];
            let small = (random as i32 as f64) / 2f64.powi((choice >> 8) as i32 & 31);
            let value = if choice % 3 == 0 { edge } else { small };
            match bits {
                _ if choice % 3 == 1 => random,
                64 => value.to_bits(),
                32 => w(value as f32),
                _ => u64::from(f16::from_f64(value).to_bits()),
            }
        })
        .collect()
}

/// Whether a result is what the definition says: NaN for NaN in floats, bit for bit else.
fn agrees(code: &str, bits: u32, got: u64, wanted: u64) -> bool {
    let opcode = code.split_whitespace().next().unwrap_or("");
    if got == wanted || opcode.starts_with("set") {
        return got == wanted;
    }
    let words: Vec<&str> = opcode.split('.').collect();
    let ty = if words[0] == "cvt" { words[words.len() - 2] } else { words[words.len() - 1] };
    let nan16 = |bits: u64| f16::from_bits(bits as u16).is_nan();
    let nan_b = |bits: u64| bf16::from_bits(bits as u16).is_nan();
    let halves = |nan: &dyn Fn(u64) -> bool| {
        [0, 16].iter().all(|&shift| {
            got >> shift & 0xffff == wanted >> shift & 0xffff || nan(got >> shift) && nan(wanted >> shift)
        })
    };
    match (ty, bits) {
        ("f32", 32) => f(got).is_nan() && f(wanted).is_nan(),
        ("f64", 64) => g(got).is_nan() && g(wanted).is_nan(),
        ("f16", 16) | ("f16x2", 32) => halves(&nan16),
        ("bf16", 16) | ("bf16x2", 32) => halves(&nan_b),
        _ => false,
    }
}

const THREADS: usize = 512;
const UNTOUCHED: u64 = 0x5a5a_5a5a_5a5a_5a5a;

/// Runs one operation for 512 threads, plainly and with some lanes off, and compares.
fn check(code: &str, widths: [u32; 4], float: bool, reference: &dyn Fn(u64, u64, u64) -> u64) {
    let register = |bits: u32, number: u32| match bits {
        16 => format!("%h{number}"),
        32 => format!("%r{number}"),
        _ => format!("%d{number}"),
    };
    let names: Vec<String> = (0..4).map(|i| register(widths[i as usize], 20 + i)).collect();
    let fill = |code: &str, d: &str| {
        code.replace("{{", "{")
            .replace("}}", "}")
            .replace("{d}", d)
            .replace("{a}", &names[1])
            .replace("{b}", &names[2])
            .replace("{c}", &names[3])
    };
    let guarded_d = register(widths[0], 40 % 31);
    let guarded_d = if widths[0] == 64 { "%d9".to_owned() } else { guarded_d };
    let simple = code.matches(';').count() == 1;
    let guarded = if simple { format!("@%p9 {}", fill(code, &guarded_d)) } else { String::new() };
    let loads: String =
        (1..4).map(|i| format!("ld.global.b{} {}, [%d2+{}];\n", widths[i], names[i], 8 * (i - 1))).collect();
    let bits = widths[0];
    let text = format!(
        ".version 8.0\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 in, .param .u64 out)\n{{\n\
         .reg .b32 %r<64>; .reg .b64 %d<32>; .reg .pred %p<16>; .reg .b16 %h<32>;\n\
         ld.param.u64 %d0, [in]; ld.param.u64 %d1, [out];\n\
         mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x; mad.lo.u32 %r0, %r0, %r1, %r2;\n\
         mad.wide.u32 %d2, %r0, 24, %d0; mad.wide.u32 %d3, %r0, 16, %d1;\n{loads}\
         and.b32 %r3, %r0, 5; setp.ne.u32 %p9, %r3, 0; setp.eq.u32 %p8, 0, 0;\n\
         mov.b{bits} {guarded_d}, 0x{:x};\n{}\n{guarded}\n\
         st.global.b{bits} [%d3], {};\nst.global.b{bits} [%d3+8], {guarded_d};\nret;\n}}\n",
        UNTOUCHED & (u64::MAX >> (64 - bits)),
        fill(code, &names[0]),
        names[0],
    );
    let values: Vec<Vec<u64>> = (1..4).map(|i| inputs(2 * THREADS * 3, float, widths[i])).collect();
    let input: Vec<u64> =
        (0..THREADS).flat_map(|t| [values[0][t], values[1][t + THREADS], values[2][t + 2 * THREADS]]).collect();
    let bench = Bench::new(&text);
    let source = bench.upload(&input);
    let out = bench.upload(&vec![0u64; 2 * THREADS]);
    bench
        .launch("k", [4, 1, 1], [128, 1, 1], 0, &[&source.to_le_bytes(), &out.to_le_bytes()])
        .unwrap_or_else(|fault| panic!("{code}: {}", fault.text));
    let results: Vec<u64> = bench.download(out, 2 * THREADS);
    let cut = |value: u64, bits: u32| value & (u64::MAX >> (64 - bits));
    for t in 0..THREADS {
        let [a, b, c] = [0, 1, 2].map(|i| cut(input[3 * t + i], widths[i + 1]));
        let wanted = cut(reference(a, b, c), bits);
        assert!(
            agrees(code, bits, results[2 * t], wanted),
            "{code}\na {a:#x} b {b:#x} c {c:#x}: {:#x}, expected {wanted:#x}",
            results[2 * t]
        );
        let other = results[2 * t + 1];
        if simple && t & 5 != 0 {
            assert!(
                agrees(code, bits, other, wanted),
                "guarded {code}\na {a:#x} b {b:#x} c {c:#x}: {other:#x}, expected {wanted:#x}"
            );
        } else {
            assert_eq!(other, cut(UNTOUCHED, bits), "{code}: a lane that is off was written");
        }
    }
}

#[test]
fn integer_instructions_equal_their_definitions() {
    for Case(code, widths, reference) in INTEGERS {
        check(code, *widths, false, reference);
    }
}

#[test]
fn floating_point_instructions_equal_their_definitions() {
    for Case(code, widths, reference) in FLOATS {
        check(code, *widths, true, reference);
    }
}

#[test]
fn all_comparisons_of_floats_treat_nan_as_defined() {
    for (ty, bits) in [("f32", 32), ("f64", 64), ("f16", 16), ("bf16", 16)] {
        let body: String = COMPARISONS
            .iter()
            .enumerate()
            .map(|(i, (name, _))| {
                format!(
                    "setp.{name}.{ty} %p1, {{a}}, {{b}}; selp.b32 %r50, {}, 0, %p1; or.b32 %r51, %r51, %r50;",
                    1 << i
                )
            })
            .collect();
        let code = format!("mov.u32 %r51, 0; {body} mov.b32 {{d}}, %r51;");
        let value = |x: u64| match ty {
            "f32" => f64::from(f(x)),
            "f64" => g(x),
            "f16" => f16::from_bits(x as u16).to_f64(),
            _ => bf16::from_bits(x as u16).to_f64(),
        };
        check(&code, [32, bits, bits, bits], true, &|a, b, _| compared(value(a), value(b)));
    }
}
