//! f64: chains of fused multiply-adds in order of k, starting at the accumulator (HARDWARE 1.1).

use crate::exec::value::{exact, float, rounding::Rounding};

/// The fragments of a product of 16 rows and 8 columns, in 64-bit registers: two of A and one of B for every four places.
#[derive(Clone, Copy, Debug)]
pub struct DoubleOperands<'a> {
    /// A's registers.
    pub a: &'a [&'a [u64; 32]],
    /// B's registers.
    pub b: &'a [&'a [u64; 32]],
    /// The accumulator's four registers.
    pub c: [&'a [u64; 32]; 4],
}

/// `d = a b + c`. `HARDWARE`: fused multiply-add is an instruction of the function that this is compiled into.
#[inline(always)]
pub(super) fn multiply<const HARDWARE: bool>(
    operands: &DoubleOperands<'_>,
    rounding: Rounding,
    d: &mut [[u64; 32]; 4],
) {
    for (register, d) in d.iter_mut().enumerate() {
        for (lane, d) in d.iter_mut().enumerate() {
            // Row g + 8 (register / 2), column 2 t + register % 2.
            let (group, column) = (lane / 4, lane % 4 * 2 + register % 2);
            let mut sum = f64::from_bits(operands.c[register][lane]);
            for (step, b) in operands.b.iter().enumerate() {
                for t in 0..4 {
                    let a = f64::from_bits(operands.a[2 * step + register / 2][4 * group + t]);
                    let b = f64::from_bits(b[4 * column + t]);
                    sum = match rounding {
                        Rounding::Nearest => float::fma_f64::<HARDWARE>(a, b, sum),
                        rounding => exact::fma(a, b, sum, rounding),
                    };
                }
            }
            *d = sum.to_bits();
        }
    }
}

/// [`multiply`] on any host.
pub(super) fn plain(operands: &DoubleOperands<'_>, rounding: Rounding, d: &mut [[u64; 32]; 4]) {
    multiply::<false>(operands, rounding, d);
}

/// [`multiply`] with the host's fused multiply-add.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) fn fused(operands: &DoubleOperands<'_>, rounding: Rounding, d: &mut [[u64; 32]; 4]) {
    multiply::<true>(operands, rounding, d);
}
