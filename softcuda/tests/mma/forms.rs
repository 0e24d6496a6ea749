//! Every form of `mma` and `mma.sp`: PTX's spelling, the library's form, and what it must compute.

use crate::fragments::{Matrix, zeros};
use crate::oracle::{self, F16, F32, Rule};
use softcuda::exec::mma::{Accumulator, Element, Form, Sparse, TensorModel, Variant};

/// A form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) m: usize,
    pub(crate) form: Form,
}

/// PTX's name of an element type.
pub(crate) fn name(element: Element) -> &'static str {
    match element {
        Element::F16 => "f16",
        Element::Bf16 => "bf16",
        Element::Tf32 => "tf32",
        Element::E4m3 => "e4m3",
        Element::E5m2 => "e5m2",
        Element::F64 => "f64",
        Element::S8 => "s8",
        Element::U8 => "u8",
        Element::S4 => "s4",
        Element::U4 => "u4",
        Element::B1 => "b1",
    }
}

/// PTX's name of an accumulator type.
pub(crate) fn accumulator_name(accumulator: Accumulator) -> &'static str {
    match accumulator {
        Accumulator::F16 => "f16",
        Accumulator::F32 => "f32",
        Accumulator::S32 => "s32",
        Accumulator::F64 => "f64",
    }
}

/// Bits of an accumulator.
pub(crate) fn accumulator_bits(accumulator: Accumulator) -> usize {
    match accumulator {
        Accumulator::F16 => 16,
        Accumulator::F64 => 64,
        _ => 32,
    }
}

impl Case {
    /// Its opcode in PTX.
    pub(crate) fn opcode(&self) -> String {
        let form = &self.form;
        let (mut kind, mut before, mut behind) = ("mma", "", "");
        match form.variant {
            Variant::Sparse(sparse) => {
                kind = if sparse.ordered { "mma.sp::ordered_metadata" } else { "mma.sp" };
                before = if sparse.saturating { ".satfinite" } else { "" };
            }
            Variant::Saturating => before = ".satfinite",
            Variant::Xor => behind = ".xor.popc",
            Variant::And => behind = ".and.popc",
            _ => {}
        }
        let accumulators = [form.d, form.c].map(accumulator_name);
        format!(
            "{kind}.sync.aligned.m{}n8k{}.row.col{before}.{}.{}.{}.{}{behind}",
            self.m,
            form.k,
            accumulators[0],
            name(form.a),
            name(form.b),
            accumulators[1]
        )
    }

    /// Whether sums are floating-point sums of the tensor cores.
    pub(crate) fn is_float(&self) -> bool {
        matches!(self.form.c, Accumulator::F16 | Accumulator::F32)
    }

    /// Chips that have it.
    pub(crate) fn models(&self) -> Vec<TensorModel> {
        let eight = matches!(self.form.a, Element::E4m3 | Element::E5m2);
        let double = self.form.a == Element::F64 && self.m == 16;
        let all = [TensorModel::Sm80, TensorModel::Sm89, TensorModel::Sm90];
        all[if double { 2 } else { usize::from(eight) }..].to_vec()
    }
}

/// All dense forms of floating-point sums.
pub(crate) fn floats() -> Vec<Case> {
    use Accumulator as To;
    use Element::*;
    let mut cases = Vec::new();
    let mut add = |k, a, b, c| cases.push(Case { m: 16, form: Form::new(k, a, b, c, c) });
    for k in [8, 16] {
        add(k, F16, F16, To::F16);
        add(k, F16, F16, To::F32);
        add(k, Bf16, Bf16, To::F32);
    }
    add(4, Tf32, Tf32, To::F32);
    add(8, Tf32, Tf32, To::F32);
    for k in [16, 32] {
        for a in [E4m3, E5m2] {
            for b in [E4m3, E5m2] {
                add(k, a, b, To::F16);
                add(k, a, b, To::F32);
            }
        }
    }
    cases
}

/// All dense forms of integers and bits.
pub(crate) fn integers() -> Vec<Case> {
    use Element::*;
    let mut cases = Vec::new();
    let s32 = Accumulator::S32;
    for (types, shapes) in [([S8, U8], [(8, 16), (16, 16), (16, 32)]), ([S4, U4], [(8, 32), (16, 32), (16, 64)])] {
        for (m, k) in shapes {
            for a in types {
                for b in types {
                    for variant in [Variant::Plain, Variant::Saturating] {
                        cases.push(Case { m, form: Form::new(k, a, b, s32, s32).with(variant) });
                    }
                }
            }
        }
    }
    for (m, k) in [(8, 128), (16, 128), (16, 256)] {
        for variant in [Variant::Xor, Variant::And] {
            cases.push(Case { m, form: Form::new(k, B1, B1, s32, s32).with(variant) });
        }
    }
    cases
}

/// All forms of f64.
pub(crate) fn doubles() -> Vec<Case> {
    let form = |k| Form::new(k, Element::F64, Element::F64, Accumulator::F64, Accumulator::F64);
    [(8, 4), (16, 4), (16, 8), (16, 16)].map(|(m, k)| Case { m, form: form(k) }).to_vec()
}

/// All sparse forms with every selector.
pub(crate) fn sparse() -> Vec<Case> {
    use Accumulator as To;
    use Element::*;
    let mut cases = Vec::new();
    let mut add = |k, a, b, c, selectors, saturating| {
        for selector in 0..selectors {
            for ordered in [false, true] {
                let variant = Variant::Sparse(Sparse { selector, ordered, saturating });
                cases.push(Case { m: 16, form: Form::new(k, a, b, c, c).with(variant) });
            }
        }
    };
    for (k, selectors) in [(16, 4), (32, 2)] {
        add(k, F16, F16, To::F16, selectors, false);
        add(k, F16, F16, To::F32, selectors, false);
        add(k, Bf16, Bf16, To::F32, selectors, false);
        add(k / 2, Tf32, Tf32, To::F32, selectors, false);
    }
    for a in [E4m3, E5m2] {
        for b in [E4m3, E5m2] {
            add(64, a, b, To::F32, 1, false);
        }
    }
    for (types, k) in [([S8, U8], 32), ([S4, U4], 64)] {
        for a in types {
            for b in types {
                for saturating in [false, true] {
                    add(k, a, b, To::S32, 2, saturating);
                    add(2 * k, a, b, To::S32, 1, saturating);
                }
            }
        }
    }
    cases
}

/// The matrices of one product, bits of their elements. A is whole: of a sparse form, with its zeros.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
    pub(crate) c: Matrix,
    /// Places of the stored elements by row, ascending; empty: all.
    pub(crate) stored: Vec<Vec<usize>>,
}

/// A signed or unsigned integer.
fn integer(element: Element, bits: u64) -> i64 {
    match element {
        Element::S8 => (bits as i8).into(),
        Element::S4 => (((bits << 4) as i8) >> 4).into(),
        _ => bits as i64,
    }
}

/// What a chip must return; `None` for plain f32 sums.
pub(crate) fn expected(case: &Case, model: Option<TensorModel>, product: &Product) -> Matrix {
    let form = &case.form;
    let mut d = zeros(case.m, 8);
    for (row, d) in d.iter_mut().enumerate() {
        let all: Vec<usize> = (0..form.k).collect();
        let places = product.stored.get(row).unwrap_or(&all);
        for (column, d) in d.iter_mut().enumerate() {
            let a: Vec<u64> = places.iter().map(|&place| product.a[row][place]).collect();
            let b: Vec<u64> = places.iter().map(|&place| product.b[place][column]).collect();
            *d = element(case, model, &a, &b, product.c[row][column]);
        }
    }
    d
}

/// What one element of the result must be.
pub(crate) fn element(case: &Case, model: Option<TensorModel>, a: &[u64], b: &[u64], c: u64) -> u64 {
    let form = &case.form;
    match form.c {
        Accumulator::F64 => {
            let sum = a
                .iter()
                .zip(b)
                .fold(f64::from_bits(c), |sum, (&a, &b)| f64::from_bits(a).mul_add(f64::from_bits(b), sum));
            if sum.is_nan() { 0x7fff_ffff_ffff_ffff } else { sum.to_bits() }
        }
        Accumulator::S32 => {
            let total: i64 = match form.variant {
                Variant::Xor => a.iter().zip(b).map(|(a, b)| (a ^ b) as i64).sum(),
                Variant::And => a.iter().zip(b).map(|(a, b)| (a & b) as i64).sum(),
                _ => a.iter().zip(b).map(|(&a, &b)| integer(form.a, a) * integer(form.b, b)).sum(),
            };
            let sum = total + i64::from(c as i32);
            let saturating = match form.variant {
                Variant::Saturating => true,
                Variant::Sparse(sparse) => sparse.saturating,
                _ => false,
            };
            let sum = if saturating { sum.clamp(i32::MIN.into(), i32::MAX.into()) } else { sum };
            (sum as u32).into()
        }
        _ => {
            let short = if form.a == Element::Tf32 { 13 } else { 0 };
            let a: Vec<u32> = a.iter().map(|&bits| bits as u32 >> short).collect();
            let b: Vec<u32> = b.iter().map(|&bits| bits as u32 >> short).collect();
            match model {
                Some(model) => tensor_core(case, model, &a, &b, c as u32).into(),
                None => plain(case, &a, &b, c as u32).into(),
            }
        }
    }
}

fn tensor_core(case: &Case, model: TensorModel, a: &[u32], b: &[u32], c: u32) -> u32 {
    let form = &case.form;
    let inputs = [oracle::format(form.a), oracle::format(form.b)];
    let half = form.c == Accumulator::F16;
    let output = if half { F16 } else { F32 };
    let eight = form.a.bits() == 8;
    let new = model == TensorModel::Sm90;
    let (block, kept) = match (form.a.bits(), new) {
        (16, false) => (8, 24),
        (16, true) => (16, 25),
        (32, false) => (4, 24),
        (32, true) => (8, 25),
        (_, false) => (16, 13),
        (_, true) => (16, 25),
    };
    let result_fraction = if eight && !new && !half { 13 } else { output.fraction };
    let rule = Rule { block, kept, output, result_fraction };
    if !(eight && new) {
        return oracle::dot(rule, inputs, a, b, c);
    }
    // HARDWARE 1.2: f16 products of two places out of four, then of the others; the accumulator is added by an ordinary sum.
    let part = |from: &[u32], first: usize, format| -> Vec<u32> {
        let chosen = from.chunks(4).flat_map(|four| [four[first], four[first + 1]]);
        chosen.map(|bits| to_f16(format, bits)).collect()
    };
    let sum = [0, 2]
        .into_iter()
        .fold(0, |sum, first| oracle::dot(rule, [F16; 2], &part(a, first, inputs[0]), &part(b, first, inputs[1]), sum));
    if half {
        let sum = half::f16::from_bits(sum as u16).to_f64() + half::f16::from_bits(c as u16).to_f64();
        if sum.is_nan() { 0x7fff } else { half::f16::from_f64(sum).to_bits().into() }
    } else {
        let sum = f32::from_bits(sum) + f32::from_bits(c);
        if sum.is_nan() { 0x7fff_ffff } else { sum.to_bits() }
    }
}

/// An 8-bit float as f16; every one is.
fn to_f16(format: oracle::Format, bits: u32) -> u32 {
    half::f16::from_f32(value(format, bits)).to_bits().into()
}

/// The value of a small float.
pub(crate) fn value(format: oracle::Format, bits: u32) -> f32 {
    let (width, ones) = (format.fraction + format.exponent_bits, (1u32 << format.exponent_bits) - 1);
    let (field, fraction) = (bits >> format.fraction & ones, bits & ((1 << format.fraction) - 1));
    let bias = ones / 2;
    let scale = |exponent: i32| f64::from(exponent).exp2();
    let unit = scale(-(format.fraction as i32));
    let magnitude = if format == oracle::E4M3 && bits & 0x7f == 0x7f {
        f64::NAN
    } else if field == ones && format != oracle::E4M3 {
        if fraction == 0 { f64::INFINITY } else { f64::NAN }
    } else if field == 0 {
        f64::from(fraction) * unit * scale(1 - bias as i32)
    } else {
        (1.0 + f64::from(fraction) * unit) * scale(field as i32 - bias as i32)
    };
    (if bits >> width & 1 == 1 { -magnitude } else { magnitude }) as f32
}

/// Fused multiply-adds in f32, in order.
fn plain(case: &Case, a: &[u32], b: &[u32], c: u32) -> u32 {
    let form = &case.form;
    let half = form.c == Accumulator::F16;
    let formats = [oracle::format(form.a), oracle::format(form.b)];
    let start = if half { half::f16::from_bits(c as u16).to_f32() } else { f32::from_bits(c) };
    let sum = a.iter().zip(b).fold(start, |sum, (&a, &b)| value(formats[0], a).mul_add(value(formats[1], b), sum));
    match (half, sum.is_nan()) {
        (false, true) => 0x7fff_ffff,
        (false, false) => sum.to_bits(),
        (true, true) => 0x7fff,
        (true, false) => half::f16::from_f32(sum).to_bits().into(),
    }
}
