//! The host's vector instructions, and what is compiled once for each set of them.

use super::{
    form::Variant,
    isa::{Isa, Plain},
    memo::Memo,
    operand::Operand,
    table::{ATable, BTable, decode_a, decode_b},
    tile::{self, Context, DecodeA, DecodeB, Kernel, Operands},
};
use crate::exec::value::Lanes;

#[cfg(target_arch = "x86_64")]
use super::isa::{Avx2, Avx512};

/// Vector instructions of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostLevel {
    /// None assumed.
    Plain,
    /// AVX2, F16C, FMA, BMI2.
    Avx2,
    /// These and AVX-512 F, BW, DQ, VL, CD.
    Avx512,
}

impl HostLevel {
    /// All levels, the least first.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Avx2, Self::Avx512];

    /// The best level of this machine.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if Avx512::detect().is_some() {
                return Self::Avx512;
            }
            if Avx2::detect().is_some() {
                return Self::Avx2;
            }
        }
        Self::Plain
    }
}

/// A tile's function.
///
/// Unsafe to call: the host must have the instructions that it was compiled for.
pub(super) type Tile = unsafe fn(&Context, &mut Memo, &Operands<'_>, &mut [Lanes; 8]);

/// Everything that is compiled once for each level.
pub(super) trait Level {
    /// Fused multiply-add is an instruction.
    const FUSED: bool;
    fn decode_a<T: Operand, const EXPONENTS: bool>() -> DecodeA;
    fn decode_b<T: Operand, const EXPONENTS: bool>() -> DecodeB;
    fn tile<K: Kernel, const SPARSE: bool>() -> Tile;
}

#[inline(always)]
fn any_tile<S: Isa, K: Kernel, const SPARSE: bool>(
    isa: S,
    context: &Context,
    memo: &mut Memo,
    operands: &Operands<'_>,
    d: &mut [Lanes; 8],
) {
    match context.form.variant {
        Variant::Sparse(sparse) if SPARSE => tile::sparse::<S, K>(isa, context, memo, operands, d, sparse),
        _ => tile::dense::<S, K>(isa, context, memo, operands, d),
    }
}

macro_rules! level {
    ($name:ident, $isa:ty, $value:expr, $fused:literal $(, $features:literal)?) => {
        const _: () = {
            $(#[target_feature(enable = $features)])?
            fn a<T: Operand, const EXPONENTS: bool>(registers: &[&Lanes], table: &mut ATable) {
                decode_a::<$isa, T>($value, registers, EXPONENTS, table);
            }
            $(#[target_feature(enable = $features)])?
            fn b<T: Operand, const EXPONENTS: bool>(registers: &[&Lanes], table: &mut BTable) {
                decode_b::<$isa, T>($value, registers, EXPONENTS, table);
            }
            $(#[target_feature(enable = $features)])?
            fn multiply<K: Kernel, const SPARSE: bool>(
                context: &Context,
                memo: &mut Memo,
                operands: &Operands<'_>,
                d: &mut [Lanes; 8],
            ) {
                any_tile::<$isa, K, SPARSE>($value, context, memo, operands, d);
            }
            impl Level for $name {
                const FUSED: bool = $fused;
                fn decode_a<T: Operand, const EXPONENTS: bool>() -> DecodeA {
                    a::<T, EXPONENTS>
                }
                fn decode_b<T: Operand, const EXPONENTS: bool>() -> DecodeB {
                    b::<T, EXPONENTS>
                }
                fn tile<K: Kernel, const SPARSE: bool>() -> Tile {
                    multiply::<K, SPARSE>
                }
            }
        };
    };
}

pub(super) struct OnPlain;
level!(OnPlain, Plain, Plain, false);
#[cfg(target_arch = "x86_64")]
pub(super) struct OnAvx2;
#[cfg(target_arch = "x86_64")]
level!(
    OnAvx2,
    Avx2,
    // SAFETY: whoever calls a function with these target features has them.
    unsafe { Avx2::assume() },
    true,
    "avx2,f16c,fma,bmi2"
);
#[cfg(target_arch = "x86_64")]
pub(super) struct OnAvx512;
#[cfg(target_arch = "x86_64")]
level!(
    OnAvx512,
    Avx512,
    // SAFETY: whoever calls a function with these target features has them.
    unsafe { Avx512::assume() },
    true,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512cd,f16c,fma,bmi2"
);
