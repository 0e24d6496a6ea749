//! mma with plain f32 sums: `d = fma(a[15], b[15], .. fma(a[0], b[0], c))`, the same bits on every host.

use super::{
    fragment::{ATable, BTable, decode_a, decode_b, put, take},
    isa::Isa,
    model::Operand,
};
use crate::exec::value::Lanes;

/// `d = a b + c` with f32 accumulators: m16n8k16 for 4 registers of A and 2 of B, m16n8k8 for 2 and 1.
#[inline(always)]
pub fn f32_accumulators<S: Isa, T: Operand, const A: usize, const B: usize>(
    isa: S,
    a: [&Lanes; A],
    b: [&Lanes; B],
    c: [&Lanes; 4],
) -> [Lanes; 4] {
    let a = decode_a::<S, T, false, A>(isa, a);
    let b = decode_b::<S, T, false, B>(isa, b);
    let mut d = [Lanes::ZERO; 4];
    for group in 0..4 {
        let (rows, half) = (group / 2 * 2, group % 2);
        let sum = [take(isa, c[rows], half), take(isa, c[rows + 1], half)];
        let sum = sums::<S, T>(isa, &a, &b, B, group, sum);
        put(isa, isa.canonical_nan(sum[0]), &mut d[rows], half);
        put(isa, isa.canonical_nan(sum[1]), &mut d[rows + 1], half);
    }
    d
}

/// `d = a b + c` with f16 accumulators: f32 sums, rounded to f16 at the end.
#[inline(always)]
pub fn f16_accumulators<S: Isa, T: Operand, const A: usize, const B: usize>(
    isa: S,
    a: [&Lanes; A],
    b: [&Lanes; B],
    c: [&Lanes; 2],
) -> [Lanes; 2] {
    let a = decode_a::<S, T, false, A>(isa, a);
    let b = decode_b::<S, T, false, B>(isa, b);
    let mut d = [Lanes::ZERO; 2];
    for group in 0..4 {
        let (rows, half) = (group / 2, group % 2);
        let sum = isa.widen_f16(take(isa, c[rows], half));
        let sum = sums::<S, T>(isa, &a, &b, B, group, sum);
        let sum = [isa.canonical_nan(sum[0]), isa.canonical_nan(sum[1])];
        put(isa, isa.narrow_f16(sum), &mut d[rows], half);
    }
    d
}

#[inline(always)]
fn sums<S: Isa, T: Operand>(
    isa: S,
    a: &ATable<S::Vector>,
    b: &BTable,
    steps: usize,
    group: usize,
    mut sum: [S::Vector; 2],
) -> [S::Vector; 2] {
    for step in 0..steps {
        for place in 0..4 {
            for half in 0..2 {
                for parity in 0..2 {
                    let of_a = isa.spread_quads(a.values[step][group][half], place);
                    let of_b = isa.repeat_quad(&b.values[half][step][place][parity]);
                    sum[parity] = if T::PRODUCT_FITS_F32 {
                        isa.multiply_add_exact(of_a, of_b, sum[parity])
                    } else {
                        isa.multiply_add(of_a, of_b, sum[parity])
                    };
                }
            }
        }
    }
    sum
}
