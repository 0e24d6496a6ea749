//! One compiled function for each form of mma.

use super::{
    exact, fast,
    isa::{Isa, Plain},
    model::{Ampere, Bf16, F16, Hopper, Model, Operand},
};
use crate::{chip::Architecture, exec::value::Lanes};

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

/// Whose tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorModel {
    /// A100 and relatives.
    Sm80,
    /// RTX 4090, L40S: as [`Self::Sm80`] for 16-bit operands.
    Sm89,
    /// H100.
    Sm90,
}

impl From<Architecture> for TensorModel {
    fn from(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Sm80 => Self::Sm80,
            Architecture::Sm89 => Self::Sm89,
            Architecture::Sm90 => Self::Sm90,
        }
    }
}

/// How sums are formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// As these tensor cores do, bit for bit.
    Exact(TensorModel),
    /// Plain f32 fused multiply-adds in order of k.
    Fast,
}

/// Type of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperandType {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
}

/// `d = a b + c` with f32 accumulators. m16n8k8 reads `a[0]`, `a[1]` and `b[0]` only.
///
/// Unsafe to call: the machine must have the level that the function was selected for.
pub type MmaF32 = unsafe fn(a: [&Lanes; 4], b: [&Lanes; 2], c: [&Lanes; 4]) -> [Lanes; 4];

/// `d = a b + c` with f16 accumulators, two to a register; otherwise as [`MmaF32`].
pub type MmaF16 = unsafe fn(a: [&Lanes; 4], b: [&Lanes; 2], c: [&Lanes; 2]) -> [Lanes; 2];

/// Shape of the product; m16n8 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// m16n8k8.
    K8,
    /// m16n8k16.
    K16,
}

/// The bodies of one kind of sums, generic over everything else. `A` and `B` registers: 4 and 2 for m16n8k16, 2 and 1 for m16n8k8.
pub trait Rule {
    /// With f32 accumulators.
    fn f32_accumulators<S: Isa, T: Operand, const A: usize, const B: usize>(
        isa: S,
        a: [&Lanes; A],
        b: [&Lanes; B],
        c: [&Lanes; 4],
    ) -> [Lanes; 4];
    /// With f16 accumulators.
    fn f16_accumulators<S: Isa, T: Operand, const A: usize, const B: usize>(
        isa: S,
        a: [&Lanes; A],
        b: [&Lanes; B],
        c: [&Lanes; 2],
    ) -> [Lanes; 2];
}

/// Sums as the tensor cores `M` form them.
pub struct ExactRule<M>(std::marker::PhantomData<M>);
/// Plain f32 sums.
pub struct FastRule;

impl<M: Model> Rule for ExactRule<M> {
    #[inline(always)]
    fn f32_accumulators<S: Isa, T: Operand, const A: usize, const B: usize>(
        isa: S,
        a: [&Lanes; A],
        b: [&Lanes; B],
        c: [&Lanes; 4],
    ) -> [Lanes; 4] {
        exact::f32_accumulators::<S, T, M, A, B>(isa, a, b, c)
    }
    #[inline(always)]
    fn f16_accumulators<S: Isa, T: Operand, const A: usize, const B: usize>(
        isa: S,
        a: [&Lanes; A],
        b: [&Lanes; B],
        c: [&Lanes; 2],
    ) -> [Lanes; 2] {
        exact::f16_accumulators::<S, T, M, A, B>(isa, a, b, c)
    }
}

impl Rule for FastRule {
    #[inline(always)]
    fn f32_accumulators<S: Isa, T: Operand, const A: usize, const B: usize>(
        isa: S,
        a: [&Lanes; A],
        b: [&Lanes; B],
        c: [&Lanes; 4],
    ) -> [Lanes; 4] {
        fast::f32_accumulators::<S, T, A, B>(isa, a, b, c)
    }
    #[inline(always)]
    fn f16_accumulators<S: Isa, T: Operand, const A: usize, const B: usize>(
        isa: S,
        a: [&Lanes; A],
        b: [&Lanes; B],
        c: [&Lanes; 2],
    ) -> [Lanes; 2] {
        fast::f16_accumulators::<S, T, A, B>(isa, a, b, c)
    }
}

/// Declares the functions of one accumulator type: one for each level, and the selector.
macro_rules! accumulators {
    ($select:ident, $type:ident, $body:ident, $registers:literal, $plain:ident, $avx2:ident, $avx512:ident) => {
        #[inline(always)]
        fn $body<S: Isa, T: Operand, R: Rule, const K16: bool>(
            isa: S,
            a: [&Lanes; 4],
            b: [&Lanes; 2],
            c: [&Lanes; $registers],
        ) -> [Lanes; $registers] {
            if K16 {
                R::$body::<S, T, 4, 2>(isa, a, b, c)
            } else {
                R::$body::<S, T, 2, 1>(isa, [a[0], a[1]], [b[0]], c)
            }
        }

        fn $plain<T: Operand, R: Rule, const K16: bool>(
            a: [&Lanes; 4],
            b: [&Lanes; 2],
            c: [&Lanes; $registers],
        ) -> [Lanes; $registers] {
            $body::<Plain, T, R, K16>(Plain, a, b, c)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,f16c,fma,bmi2")]
        fn $avx2<T: Operand, R: Rule, const K16: bool>(
            a: [&Lanes; 4],
            b: [&Lanes; 2],
            c: [&Lanes; $registers],
        ) -> [Lanes; $registers] {
            // SAFETY: whoever calls a function with these target features has them.
            let isa = unsafe { Avx2::assume() };
            $body::<Avx2, T, R, K16>(isa, a, b, c)
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512cd,f16c,fma,bmi2")]
        fn $avx512<T: Operand, R: Rule, const K16: bool>(
            a: [&Lanes; 4],
            b: [&Lanes; 2],
            c: [&Lanes; $registers],
        ) -> [Lanes; $registers] {
            // SAFETY: whoever calls a function with these target features has them.
            let isa = unsafe { Avx512::assume() };
            $body::<Avx512, T, R, K16>(isa, a, b, c)
        }

        /// The function for a form, compiled for `level`; on other processors than x86-64 there is only [`HostLevel::Plain`].
        pub fn $select(level: HostLevel, shape: Shape, operands: OperandType, arithmetic: Arithmetic) -> $type {
            fn by_level<T: Operand, R: Rule, const K16: bool>(level: HostLevel) -> $type {
                match level {
                    #[cfg(target_arch = "x86_64")]
                    HostLevel::Avx512 => $avx512::<T, R, K16>,
                    #[cfg(target_arch = "x86_64")]
                    HostLevel::Avx2 => $avx2::<T, R, K16>,
                    _ => $plain::<T, R, K16>,
                }
            }
            fn by_operands<R: Rule>(level: HostLevel, shape: Shape, operands: OperandType) -> $type {
                match (shape, operands) {
                    (Shape::K8, OperandType::F16) => by_level::<F16, R, false>(level),
                    (Shape::K8, OperandType::Bf16) => by_level::<Bf16, R, false>(level),
                    (Shape::K16, OperandType::F16) => by_level::<F16, R, true>(level),
                    (Shape::K16, OperandType::Bf16) => by_level::<Bf16, R, true>(level),
                }
            }
            match arithmetic {
                Arithmetic::Exact(TensorModel::Sm80 | TensorModel::Sm89) => {
                    by_operands::<ExactRule<Ampere>>(level, shape, operands)
                }
                Arithmetic::Exact(TensorModel::Sm90) => by_operands::<ExactRule<Hopper>>(level, shape, operands),
                Arithmetic::Fast => by_operands::<FastRule>(level, shape, operands),
            }
        }
    };
}

accumulators!(select_f32, MmaF32, f32_accumulators, 4, plain_f32, avx2_f32, avx512_f32);
accumulators!(select_f16, MmaF16, f16_accumulators, 2, plain_f16, avx2_f16, avx512_f16);
