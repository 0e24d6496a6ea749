//! Floating-point operations off the beaten track: directed rounding, f64, halves, conversions, transcendental functions.

use super::alu::{Active, write32, write64};
use super::registers::Simd;
use super::scalar;
use super::warp::Warp;
use crate::program::op::{Code, Op};

/// Executes a floating-point operation; `false` for any other.
///
/// # Safety
/// The host must have the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn execute<S: Simd>(warp: &mut Warp, op: &Op, active: &Active) -> bool {
    let registers = &mut warp.registers;
    // f32 operands and result.
    macro_rules! float {
        ($f:expr) => {{
            let (a, b, c) = (
                registers.float(op.a),
                registers.float(op.b),
                registers.float(op.c),
            );
            let mut result = [0u32; 32];
            for i in 0..32 {
                let value: f32 = $f(a[i], b[i], c[i]);
                result[i] = value.to_bits();
            }
            write32::<false>(registers, op.d, &result, active);
        }};
    }
    let _ = &scalar::canonical;
    match op.code {
        Code::SatF32 => float!(|a: f32, _, _| if a.is_nan() { 0.0 } else { a.clamp(0.0, 1.0) }),
        Code::DivF32 => float!(|a: f32, b: f32, _| scalar::canonical(a / b)),
        Code::SqrtF32 => float!(|a: f32, _, _| scalar::canonical(a.sqrt())),
        Code::RcpF32 => float!(|a: f32, _, _| scalar::canonical(1.0 / a)),
        Code::Lg2F32 => float!(|a: f32, _, _| scalar::canonical(libm::log2(f64::from(a)) as f32)),
        _ => return false,
    }
    let _ = write64::<false>;
    true
}
