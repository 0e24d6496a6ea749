//! mma against its definition, on every level of the host's vector instructions.

mod fragments;
mod oracle;
#[path = "../support/mod.rs"]
mod support;
mod vectors;

use fragments::{Matrices, d_f16, d_f32};
use oracle::{BF16, F16, F32, Format};
use softcuda::exec::mma::{Arithmetic, HostLevel, OperandType, Shape, TensorModel, select_f16, select_f32};

/// A small generator of random bits (splitmix64).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }
}

/// What a matrix is filled with; each asks something else of the code.
#[derive(Clone, Copy, Debug)]
enum Fill {
    /// Any bits: NaN and infinities now and then.
    Any,
    /// Exponents of a few binades around one, no specials.
    Narrow,
    /// All finite exponents, zeros and subnormals.
    Finite,
    /// Largest significands of one exponent and sign: sums at their limit.
    Full,
    /// Mostly zeros.
    Sparse,
    /// Smallest values.
    Tiny,
    /// Largest finite values.
    Huge,
}

const FILLS: [Fill; 7] = [Fill::Any, Fill::Narrow, Fill::Finite, Fill::Full, Fill::Sparse, Fill::Tiny, Fill::Huge];

fn value(random: &mut Random, format: Format, fill: Fill) -> u32 {
    let width = format.fraction + format.exponent_bits;
    let mask = (1 << format.fraction) - 1;
    let ones = (1 << format.exponent_bits) - 1;
    let one = ones / 2;
    let bits = random.bits() as u32;
    let sign = (bits & 1) << width;
    let fraction = (random.bits() as u32) & mask;
    let field = |random: &mut Random, low: u32, high: u32| low + random.below(u64::from(high - low + 1)) as u32;
    match fill {
        Fill::Any => bits & (u32::MAX >> (31 - width)),
        Fill::Narrow => sign | field(random, one - 3, one + 3) << format.fraction | fraction,
        Fill::Finite => match random.below(8) {
            0 => sign,
            1 => sign | fraction,
            _ => sign | field(random, 0, ones - 1) << format.fraction | fraction,
        },
        Fill::Full => one << format.fraction | mask,
        Fill::Sparse => match random.below(6) {
            0 => sign | field(random, one - 1, one + 1) << format.fraction | fraction,
            _ => sign,
        },
        Fill::Tiny => sign | field(random, 0, 2) << format.fraction | fraction,
        Fill::Huge => sign | field(random, ones - 3, ones - 1) << format.fraction | fraction,
    }
}

fn matrices(random: &mut Random, input: Format, output: Format) -> Matrices {
    let fills = [0; 3].map(|_| FILLS[random.below(FILLS.len() as u64) as usize]);
    let mut m = Matrices { a: [[0; 16]; 16], b: [[0; 8]; 16], c: [[0; 8]; 16] };
    for row in &mut m.a {
        row.fill_with(|| value(random, input, fills[0]) as u16);
    }
    for row in &mut m.b {
        row.fill_with(|| value(random, input, fills[1]) as u16);
    }
    for row in &mut m.c {
        row.fill_with(|| value(random, output, fills[2]));
    }
    m
}

fn levels() -> impl Iterator<Item = HostLevel> {
    HostLevel::ALL.into_iter().filter(|&level| level <= HostLevel::detect())
}

/// One mma of `level` on matrices.
fn run(
    level: HostLevel,
    shape: Shape,
    operands: OperandType,
    arithmetic: Arithmetic,
    half: bool,
    m: &Matrices,
) -> [[u32; 8]; 16] {
    let (a, b) = m.fragments();
    let (a, b) = ([&a[0], &a[1], &a[2], &a[3]], [&b[0], &b[1]]);
    assert!(level <= HostLevel::detect());
    if half {
        let c = m.c_f16();
        let function = select_f16(level, shape, operands, arithmetic);
        // SAFETY: the machine has the level.
        d_f16(&unsafe { function(a, b, [&c[0], &c[1]]) })
    } else {
        let c = m.c_f32();
        let function = select_f32(level, shape, operands, arithmetic);
        // SAFETY: the machine has the level.
        d_f32(&unsafe { function(a, b, [&c[0], &c[1], &c[2], &c[3]]) })
    }
}

#[test]
fn exact_mma_equals_the_definition_on_every_level() {
    for (operands, input) in [(OperandType::F16, F16), (OperandType::Bf16, BF16)] {
        for (half, output) in [(false, F32), (true, F16)] {
            for (model, block, bits) in
                [(TensorModel::Sm80, 8, 24), (TensorModel::Sm89, 8, 24), (TensorModel::Sm90, 16, 25)]
            {
                for (shape, k) in [(Shape::K16, 16), (Shape::K8, 8)] {
                    let mut random = Random(7);
                    for case in 0..1500 {
                        let m = matrices(&mut random, input, output);
                        let wanted: [[u32; 8]; 16] = std::array::from_fn(|row| {
                            std::array::from_fn(|column| {
                                let a: Vec<u32> = m.a[row][..k].iter().map(|&a| a.into()).collect();
                                let b: Vec<u32> = m.b[..k].iter().map(|b| b[column].into()).collect();
                                oracle::dot(input, output, block, bits, &a, &b, m.c[row][column])
                            })
                        });
                        for level in levels() {
                            let got = run(level, shape, operands, Arithmetic::Exact(model), half, &m);
                            assert_eq!(
                                got, wanted,
                                "{operands:?} half {half} {model:?} {shape:?} {level:?} case {case}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn fast_mma_is_a_chain_of_fused_multiply_adds_on_every_level() {
    for (operands, input) in [(OperandType::F16, F16), (OperandType::Bf16, BF16)] {
        for (half, output) in [(false, F32), (true, F16)] {
            for (shape, k) in [(Shape::K16, 16), (Shape::K8, 8)] {
                let mut random = Random(11);
                for case in 0..150 {
                    let m = matrices(&mut random, input, output);
                    let float = |bits: u16| match operands {
                        OperandType::F16 => half::f16::from_bits(bits).to_f32(),
                        OperandType::Bf16 => half::bf16::from_bits(bits).to_f32(),
                    };
                    let wanted: [[u32; 8]; 16] = std::array::from_fn(|row| {
                        std::array::from_fn(|column| {
                            let c = m.c[row][column];
                            let mut sum =
                                if half { half::f16::from_bits(c as u16).to_f32() } else { f32::from_bits(c) };
                            for (place, b) in m.b[..k].iter().enumerate() {
                                sum = float(m.a[row][place]).mul_add(float(b[column]), sum);
                            }
                            match (half, sum.is_nan()) {
                                (false, true) => 0x7fff_ffff,
                                (false, false) => sum.to_bits(),
                                (true, true) => 0x7fff,
                                (true, false) => half::f16::from_f32(sum).to_bits().into(),
                            }
                        })
                    });
                    for level in levels() {
                        let got = run(level, shape, operands, Arithmetic::Fast, half, &m);
                        assert_eq!(got, wanted, "{operands:?} half {half} {shape:?} {level:?} case {case}");
                    }
                }
            }
        }
    }
}
