//! Random matrices, each filled with values that ask something else of the code.

use crate::forms::{Case, Product};
use crate::fragments::Matrix;
use crate::oracle::{self, F16, F32, Format};
use softcuda::exec::mma::{Accumulator, Element, Variant};

/// A small generator of random bits (splitmix64).
pub(crate) struct Random(pub(crate) u64);

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

/// What a matrix of floats is filled with.
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
    /// Values of both signs and nearly one magnitude: sums that cancel.
    Cancelling,
    /// Mostly zeros.
    Sparse,
    /// Smallest values.
    Tiny,
    /// Largest finite values.
    Huge,
}

const FILLS: [Fill; 8] =
    [Fill::Any, Fill::Narrow, Fill::Finite, Fill::Full, Fill::Cancelling, Fill::Sparse, Fill::Tiny, Fill::Huge];

fn float(random: &mut Random, format: Format, fill: Fill) -> u64 {
    let width = format.fraction + format.exponent_bits;
    let mask = (1 << format.fraction) - 1;
    let ones = (1 << format.exponent_bits) - 1;
    let one = ones / 2;
    let bits = random.bits() as u32;
    let sign = (bits & 1) << width;
    let fraction = (random.bits() as u32) & mask;
    let field = |random: &mut Random, low: u32, high: u32| low + random.below(u64::from(high - low + 1)) as u32;
    let value = match fill {
        Fill::Any => bits & (u32::MAX >> (31 - width)),
        Fill::Narrow => sign | field(random, one - 3, one + 3) << format.fraction | fraction,
        Fill::Finite => match random.below(8) {
            0 => sign,
            1 => sign | fraction,
            _ => sign | field(random, 0, ones - 1) << format.fraction | fraction,
        },
        Fill::Full => one << format.fraction | mask,
        Fill::Cancelling => sign | one << format.fraction | fraction >> (format.fraction - 1),
        Fill::Sparse => match random.below(6) {
            0 => sign | field(random, one - 1, one + 1) << format.fraction | fraction,
            _ => sign,
        },
        Fill::Tiny => sign | field(random, 0, 2) << format.fraction | fraction,
        Fill::Huge => sign | field(random, ones - 3, ones - 1) << format.fraction | fraction,
    };
    value.into()
}

fn matrix(rows: usize, columns: usize, mut next: impl FnMut() -> u64) -> Matrix {
    (0..rows).map(|_| (0..columns).map(|_| next()).collect()).collect()
}

fn operand(random: &mut Random, element: Element, fill: Fill) -> u64 {
    match element {
        Element::F64 => double(random, fill),
        Element::Tf32 => float(random, oracle::TF32, fill) << 13 | random.bits() & 0x1fff,
        Element::S8 | Element::U8 | Element::S4 | Element::U4 | Element::B1 => {
            let mask = (1 << element.bits()) - 1;
            // Extreme values now and then.
            match random.below(4) {
                0 => [mask, mask >> 1, 0, mask / 2 + 1][random.below(4) as usize],
                _ => random.bits() & mask,
            }
        }
        other => float(random, oracle::format(other), fill),
    }
}

fn double(random: &mut Random, fill: Fill) -> u64 {
    match fill {
        Fill::Any => random.bits(),
        Fill::Huge => random.bits() >> 12 | 2045 << 52,
        Fill::Tiny => random.bits() >> 12,
        _ => ((random.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0).to_bits(),
    }
}

/// A product; of a sparse form with zeros where nothing is stored.
pub(crate) fn product(random: &mut Random, case: &Case) -> Product {
    let form = &case.form;
    let [of_a, of_b, of_c] = [0; 3].map(|_| FILLS[random.below(FILLS.len() as u64) as usize]);
    let mut a = matrix(case.m, form.k, || operand(random, form.a, of_a));
    let b = matrix(form.k, 8, || operand(random, form.b, of_b));
    let c = matrix(case.m, 8, || match form.c {
        Accumulator::F16 => float(random, F16, of_c),
        Accumulator::F32 => float(random, F32, of_c),
        Accumulator::F64 => double(random, of_c),
        Accumulator::S32 => match random.below(3) {
            0 => u64::from(i32::MAX as u32) - random.below(3000),
            1 => u64::from(i32::MIN as u32) + random.below(3000),
            _ => random.bits() & 0xffff_ffff,
        },
    });
    let mut stored = Vec::new();
    if let Variant::Sparse(_) = form.variant {
        stored = (0..16).map(|_| choose(random, form.a, form.k)).collect();
        for (row, places) in a.iter_mut().zip(&stored) {
            for (place, value) in row.iter_mut().enumerate() {
                if !places.contains(&place) {
                    *value = 0;
                }
            }
        }
    }
    Product { a, b, c, stored }
}

/// Places of a row of a sparse A that are stored: one of two tf32, two of four elements, two pairs of four pairs.
fn choose(random: &mut Random, element: Element, k: usize) -> Vec<usize> {
    let mut places = Vec::new();
    let (chunk, unit) = match element {
        Element::Tf32 => (2, 1),
        Element::S4 | Element::U4 => (8, 2),
        _ => (4, 1),
    };
    for first in (0..k).step_by(chunk) {
        let count = chunk / unit;
        let one = random.below(count as u64) as usize;
        let mut units = vec![one];
        if count == 4 {
            units.push((one + 1 + random.below(3) as usize) % 4);
            units.sort_unstable();
        }
        places.extend(units.into_iter().flat_map(|index| (0..unit).map(move |i| first + unit * index + i)));
    }
    places
}

/// The four bits of metadata of each chunk of a row.
pub(crate) fn chunks(element: Element, k: usize, places: &[usize]) -> Vec<u32> {
    let (chunk, unit) = match element {
        Element::Tf32 => (2, 1),
        Element::S4 | Element::U4 => (8, 2),
        _ => (4, 1),
    };
    (0..k)
        .step_by(chunk)
        .map(|first| {
            let inside: Vec<usize> =
                places.iter().filter(|&&p| p >= first && p < first + chunk).map(|p| (p - first) / unit).collect();
            match element {
                Element::Tf32 => [0b0100, 0b1110][inside[0]],
                _ => (inside[0] | inside[inside.len() - 1] << 2) as u32,
            }
        })
        .collect()
}
