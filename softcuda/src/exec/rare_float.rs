//! Floating-point operations off the beaten track: directed rounding, f64, halves, conversions, transcendental functions.

use super::alu::{Active, write32, write64};
use super::registers::{Plain, Simd};
use super::value::approximate as approx;
use super::value::half_arithmetic as half;
use super::value::half_precision as precision;
use super::value::rounding::{Rounding, canonical_f64, f64_to_f32, f64_to_odd_f32, propagate_f64};
use super::value::small::{self, Fp8, Tf32Rounding};
use super::value::{Lanes, exact, float, integer};
use super::warp::Warp;
use crate::program::op::{Code, Op};

/// The direction that lowering put into `Op::aux`.
fn rounding(op: &Op) -> Rounding {
    match op.aux & 3 {
        0 => Rounding::Nearest,
        1 => Rounding::Zero,
        2 => Rounding::Down,
        _ => Rounding::Up,
    }
}

/// Executes a floating-point operation; `false` for any other.
///
/// Compiled once, for the least host: these are too rare to pay for a copy a level.
pub(super) fn execute(warp: &mut Warp, op: &Op, active: &Active) -> bool {
    let registers = &mut warp.registers;
    let r = rounding(op);
    let nearest = r == Rounding::Nearest;
    // Operands seen as $from (word, float, double, float64), result written as $write; $f maps three lanes to bits.
    macro_rules! map {
        ($from:ident, $write:ident, $zero:expr, $f:expr) => {{
            let (a, b, c) = (registers.$from(op.a), registers.$from(op.b), registers.$from(op.c));
            let mut result = [$zero; 32];
            for i in 0..32 {
                result[i] = $f(a[i], b[i], c[i]);
            }
            $write::<false>(registers, op.d, &result, active);
        }};
    }
    // One operand; the other slots may be of another width.
    macro_rules! map1 {
        ($from:ident, $write:ident, $zero:expr, $f:expr) => {{
            let a = registers.$from(op.a);
            let mut result = [$zero; 32];
            for i in 0..32 {
                result[i] = $f(a[i]);
            }
            $write::<false>(registers, op.d, &result, active);
        }};
    }
    macro_rules! f32x3 {
        ($f:expr) => {
            map!(float, write32, 0u32, |a: f32, b: f32, c: f32| -> u32 {
                let value: f32 = $f(a, b, c);
                value.to_bits()
            })
        };
    }
    macro_rules! f32x2 {
        ($f:expr) => {
            f32x3!(|a: f32, b: f32, _: f32| $f(a, b))
        };
    }
    macro_rules! f32x1 {
        ($f:expr) => {
            f32x3!(|a: f32, _: f32, _: f32| $f(a))
        };
    }
    // NaN results of f64 carry an operand's payload.
    macro_rules! f64x3 {
        ($f:expr) => {
            map!(float64, write64, 0u64, |a: f64, b: f64, c: f64| propagate_f64($f(a, b, c), &[a, b, c]).to_bits())
        };
    }
    macro_rules! f64x2 {
        ($f:expr) => {
            map!(float64, write64, 0u64, |a: f64, b: f64, _: f64| propagate_f64($f(a, b), &[a, b]).to_bits())
        };
    }
    macro_rules! f64x1 {
        ($f:expr) => {
            map!(float64, write64, 0u64, |a: f64, _: f64, _: f64| propagate_f64($f(a), &[a]).to_bits())
        };
    }
    // Signs and upper words alone: a NaN is as good as a number.
    macro_rules! f64_bits {
        ($f:expr) => {
            map!(float64, write64, 0u64, |a: f64, b: f64, _: f64| -> u64 {
                let value: f64 = $f(a, b);
                value.to_bits()
            })
        };
    }
    // Each half of a pair by itself.
    macro_rules! pair2 {
        ($f:expr) => {
            map!(word, write32, 0u32, |a: u32, b: u32, _: u32| half::both(a, b, $f))
        };
    }
    macro_rules! pair3 {
        ($f:expr) => {
            map!(word, write32, 0u32, |a: u32, b: u32, c: u32| half::both3(a, b, c, $f))
        };
    }
    macro_rules! pair1 {
        ($f:expr) => {
            map!(word, write32, 0u32, |a: u32, _: u32, _: u32| half::both(a, a, |x, _| $f(x)))
        };
    }
    macro_rules! compare {
        ($f:expr) => {{
            let (a, b) = (registers.float64(op.a), registers.float64(op.b));
            let mut row = Lanes([0; 32]);
            for i in 0..32 {
                let holds: bool = $f(a[i], b[i]);
                row.0[i] = 0u32.wrapping_sub(u32::from(holds));
            }
            // SAFETY: the plain level needs no instructions.
            let bits = unsafe { Plain::bits(&row) } ^ 0u32.wrapping_sub(u32::from(op.aux));
            registers.set_predicate(op.d, active.mask, bits);
        }};
    }
    match op.code {
        Code::AddF32Any => f32x2!(|a, b| float::add_rounded(a, b, r)),
        Code::SubF32Any => f32x2!(|a, b| float::sub_rounded(a, b, r)),
        Code::MulF32Any => f32x2!(|a, b| float::mul_rounded(a, b, r)),
        Code::FmaF32Any => f32x3!(|a, b, c| float::fma_rounded(a, b, c, r)),
        Code::DivF32 => f32x2!(float::div),
        Code::SqrtF32 => f32x1!(float::sqrt),
        Code::RcpF32 => f32x1!(|a| float::div(1.0, a)),
        Code::DivF32Rounded => f32x2!(|a, b| float::div_rounded(a, b, r)),
        Code::SqrtF32Rounded => f32x1!(|a| float::sqrt_rounded(a, r)),
        Code::RcpF32Rounded => f32x1!(|a| float::div_rounded(1.0, a, r)),
        Code::RcpApproxF32 => f32x1!(approx::rcp::<false>),
        Code::SqrtApproxF32 => f32x1!(approx::sqrt::<false>),
        Code::RsqrtF32 => f32x1!(approx::rsqrt::<false>),
        Code::DivApproxF32 => f32x2!(approx::div::<false>),
        Code::DivFullF32 => f32x2!(approx::div_full::<false>),
        Code::Ex2F32 => f32x1!(approx::ex2::<false>),
        Code::Lg2F32 => f32x1!(approx::lg2::<false>),
        Code::SinF32 => f32x1!(approx::sin::<false>),
        Code::CosF32 => f32x1!(approx::cos::<false>),
        Code::TanhF32 => f32x1!(approx::tanh),
        Code::MinNanF32 => f32x2!(float::min::<true>),
        Code::MaxNanF32 => f32x2!(float::max::<true>),
        Code::SatF32 => f32x1!(float::saturate),
        Code::XorsignF32 => f32x3!(float::xorsign),
        Code::CopysignF32 => f32x2!(|a: f32, b: f32| b.copysign(a)),
        Code::RoundF32 => f32x1!(|a| integer::round_f32(a, r)),
        Code::AddF64 => f64x2!(|a, b| float::add_f64(a, b, r)),
        Code::SubF64 => f64x2!(|a, b: f64| float::add_f64(a, -b, r)),
        Code::MulF64 if nearest => f64x2!(|a, b| canonical_f64(a * b)),
        Code::FmaF64 if nearest => f64x3!(float::fma_f64::<false>),
        Code::DivF64 if nearest => f64x2!(|a, b| canonical_f64(a / b)),
        Code::SqrtF64 if nearest => f64x1!(|a: f64| canonical_f64(a.sqrt())),
        Code::RcpF64 if nearest => f64x1!(|a: f64| canonical_f64(1.0 / a)),
        Code::MulF64 => f64x2!(|a, b| exact::mul(a, b, r)),
        Code::FmaF64 => f64x3!(|a, b, c| exact::fma(a, b, c, r)),
        Code::DivF64 => f64x2!(|a, b| exact::div(a, b, r)),
        Code::SqrtF64 => f64x1!(|a| exact::sqrt(a, r)),
        Code::RcpF64 => f64x1!(|a| exact::div(1.0, a, r)),
        Code::SatF64 => f64x1!(float::saturate_f64),
        Code::RsqrtF64 => f64x1!(|a: f64| canonical_f64(1.0 / a.sqrt())),
        Code::RcpApproxF64 => f64_bits!(|a, _| approx::rcp_f64(a)),
        Code::RsqrtApproxF64 => f64_bits!(|a, _| approx::rsqrt_f64(a)),
        Code::MinF64 => f64x2!(min_f64),
        Code::MaxF64 => f64x2!(|a: f64, b: f64| -min_f64(-a, -b)),
        Code::AbsF64 => f64_bits!(|a: f64, _| a.abs()),
        Code::NegF64 => f64_bits!(|a: f64, _| -a),
        Code::CopysignF64 => f64_bits!(|a: f64, b: f64| b.copysign(a)),
        Code::RoundF64 => f64x1!(|a| integer::round_f64(a, r)),
        Code::SetpEqF64 => compare!(|a: f64, b: f64| a == b),
        Code::SetpNeF64 => compare!(|a: f64, b: f64| !a.is_nan() && !b.is_nan() && a != b),
        Code::SetpLtF64 => compare!(|a: f64, b: f64| a < b),
        Code::SetpLeF64 => compare!(|a: f64, b: f64| a <= b),
        Code::SetpNumF64 => compare!(|a: f64, b: f64| !a.is_nan() && !b.is_nan()),
        Code::AddF16x2 => pair2!(half::add_f16),
        Code::SubF16x2 => pair2!(half::sub_f16),
        Code::MulF16x2 => pair2!(half::mul_f16),
        Code::FmaF16x2 => pair3!(half::fma_f16),
        Code::FmaReluF16x2 => pair3!(|a, b, c| precision::relu(half::fma_f16(a, b, c))),
        Code::MinF16x2 => pair2!(half::min_f16::<false>),
        Code::MaxF16x2 => pair2!(half::max_f16::<false>),
        Code::MinNanF16x2 => pair2!(half::min_f16::<true>),
        Code::MaxNanF16x2 => pair2!(half::max_f16::<true>),
        Code::NegF16x2 => pair1!(half::neg),
        Code::AbsF16x2 => pair1!(half::abs),
        Code::Ex2F16x2 => pair1!(approx::ex2_f16),
        Code::TanhF16x2 => pair1!(approx::tanh_f16),
        Code::FtzF16x2 => pair1!(precision::flush_f16),
        Code::SatF16x2 => pair1!(precision::saturate_f16),
        Code::SatfiniteF16x2 => pair1!(|a| precision::saturate_finite(a, precision::F16_INFINITY)),
        Code::SatfiniteBf16x2 => pair1!(|a| precision::saturate_finite(a, precision::BF16_INFINITY)),
        Code::XorsignF16x2 => pair3!(|r, a, b| precision::xorsign(r, a, b, precision::F16_INFINITY)),
        Code::XorsignBf16x2 => pair3!(|r, a, b| precision::xorsign(r, a, b, precision::BF16_INFINITY)),
        Code::AddBf16x2 => pair2!(half::add_bf16),
        Code::SubBf16x2 => pair2!(half::sub_bf16),
        Code::MulBf16x2 => pair2!(half::mul_bf16),
        Code::FmaBf16x2 => pair3!(half::fma_bf16),
        Code::FmaReluBf16x2 => pair3!(|a, b, c| precision::relu(half::fma_bf16(a, b, c))),
        Code::MinBf16x2 => pair2!(half::min_bf16::<false>),
        Code::MaxBf16x2 => pair2!(half::max_bf16::<false>),
        Code::MinNanBf16x2 => pair2!(half::min_bf16::<true>),
        Code::MaxNanBf16x2 => pair2!(half::max_bf16::<true>),
        Code::Ex2Bf16x2 => pair1!(approx::ex2_bf16),
        Code::TanhBf16x2 => pair1!(approx::tanh_bf16),
        Code::F32ToF16 => map1!(float, write32, 0u32, |a| u32::from(precision::f32_to_f16(a, r))),
        Code::F32ToBf16 => map1!(float, write32, 0u32, |a| u32::from(precision::f32_to_bf16(a, r))),
        Code::F16ToF32 => map1!(word, write32, 0u32, |a: u32| precision::cvt_f32_f16(a as u16).to_bits()),
        Code::Bf16ToF32 => map1!(word, write32, 0u32, |a: u32| precision::bf16_to_f32(a as u16).to_bits()),
        Code::F32ToF16x2 => map!(float, write32, 0u32, |a, b, _| {
            precision::pack(precision::f32_to_f16(b, r), precision::f32_to_f16(a, r))
        }),
        Code::F32ToBf16x2 => map!(float, write32, 0u32, |a, b, _| {
            precision::pack(precision::f32_to_bf16(b, r), precision::f32_to_bf16(a, r))
        }),
        Code::F32ToF64 => map1!(float, write64, 0u64, |a| integer::f32_to_f64(a).to_bits()),
        Code::F64ToF32 => map1!(float64, write32, 0u32, |a| f64_to_f32(a, r).to_bits()),
        // Rounded to odd in f32, the value rounds to f16 as the exact one would.
        Code::F64ToF16 => map1!(float64, write32, 0u32, |a| u32::from(precision::f32_to_f16(f64_to_odd_f32(a), r))),
        Code::F64ToBf16 => map1!(float64, write32, 0u32, |a| u32::from(precision::f32_to_bf16(f64_to_odd_f32(a), r))),
        // Likewise integers of 64 bits.
        Code::S64ToOddF32 => {
            map1!(double, write32, 0u32, |a: u64| integer::integer_to_odd_f32((a as i64).into()).to_bits())
        }
        Code::U64ToOddF32 => map1!(double, write32, 0u32, |a: u64| integer::integer_to_odd_f32(a.into()).to_bits()),
        Code::F32ToTf32 => {
            let rounding = if op.aux & 4 != 0 { Tf32Rounding::NearestAway } else { Tf32Rounding::Direction(r) };
            let (relu, satfinite) = (op.aux & 8 != 0, op.aux & 16 != 0);
            f32x1!(|a| small::f32_to_tf32(a, rounding, relu, satfinite));
        }
        Code::F32ToFp8x2 | Code::F16x2ToFp8x2 | Code::Fp8x2ToF16x2 => {
            let (format, relu) = (if op.aux & 1 == 1 { Fp8::E5m2 } else { Fp8::E4m3 }, op.aux & 2 != 0);
            match op.code {
                Code::F32ToFp8x2 => {
                    map!(float, write32, 0u32, |a, b, _| small::f32_to_fp8x2(a, b, format, relu));
                }
                Code::F16x2ToFp8x2 => map1!(word, write32, 0u32, |a| small::f16x2_to_fp8x2(a, format, relu)),
                _ => map1!(word, write32, 0u32, |a| small::fp8x2_to_f16x2(a, format, relu)),
            }
        }
        Code::F32ToS32 => map1!(float, write32, 0u32, |a| integer::f32_to_i32(a, r) as u32),
        Code::F32ToU32 => map1!(float, write32, 0u32, |a| integer::f32_to_u32(a, r)),
        Code::F32ToS64 => map1!(float, write64, 0u64, |a| integer::f32_to_i64(a, r) as u64),
        Code::F32ToU64 => map1!(float, write64, 0u64, |a| integer::f32_to_u64(a, r)),
        // To the width that `imm` says: NaN has its own result in each.
        Code::F64ToS32 => map1!(float64, write32, 0u32, |a| match op.imm {
            8 => i32::from(integer::f64_to_i8(a, r)) as u32,
            16 => i32::from(integer::f64_to_i16(a, r)) as u32,
            _ => integer::f64_to_i32(a, r) as u32,
        }),
        Code::F64ToU32 => map1!(float64, write32, 0u32, |a| match op.imm {
            8 => integer::f64_to_u8(a, r).into(),
            16 => integer::f64_to_u16(a, r).into(),
            _ => integer::f64_to_u32(a, r),
        }),
        Code::F64ToS64 => map1!(float64, write64, 0u64, |a| integer::f64_to_i64(a, r) as u64),
        Code::F64ToU64 => map1!(float64, write64, 0u64, |a| integer::f64_to_u64(a, r)),
        Code::S32ToF32 => map1!(word, write32, 0u32, |a: u32| integer::i32_to_f32(a as i32, r).to_bits()),
        Code::U32ToF32 => map1!(word, write32, 0u32, |a| integer::u32_to_f32(a, r).to_bits()),
        Code::S64ToF32 => map1!(double, write32, 0u32, |a: u64| integer::i64_to_f32(a as i64, r).to_bits()),
        Code::U64ToF32 => map1!(double, write32, 0u32, |a| integer::u64_to_f32(a, r).to_bits()),
        Code::S32ToF64 => map1!(word, write64, 0u64, |a: u32| f64::from(a as i32).to_bits()),
        Code::U32ToF64 => map1!(word, write64, 0u64, |a: u32| f64::from(a).to_bits()),
        Code::S64ToF64 => map1!(double, write64, 0u64, |a: u64| integer::i64_to_f64(a as i64, r).to_bits()),
        Code::U64ToF64 => map1!(double, write64, 0u64, |a| integer::u64_to_f64(a, r).to_bits()),
        _ => return false,
    }
    true
}

/// `min.f64`: a NaN operand gives the other one; -0 is less than +0.
fn min_f64(a: f64, b: f64) -> f64 {
    let less = a < b || a == b && a.is_sign_negative();
    canonical_f64(if less || b.is_nan() { a } else { b })
}
