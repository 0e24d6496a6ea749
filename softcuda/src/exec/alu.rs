//! The arithmetic that kernels spend their time in: one loop over 32 lanes an operation, which the compiler vectorises.

pub(crate) use super::active::{Active, write32, write64};
use super::registers::Simd;
use super::value::float::{self, flush};
use super::value::{Lanes, approximate, half_precision};
use super::warp::Warp;
use crate::program::op::{Code, Op};

/// All ones if a shift by `amount` leaves anything: without a branch, else the compiler makes no vector code of it.
#[inline(always)]
fn within(amount: u32, largest: u32) -> u32 {
    0u32.wrapping_sub(u32::from(amount <= largest))
}

/// Executes a frequent operation; `false` for any other. `FULL`: in all lanes of all the warps, else in the active lanes of
/// the first, which must be the only one.
///
/// # Safety
/// The host must have the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn alu<S: Simd, const FULL: bool>(warps: &mut [Warp], op: &Op, active: &Active) -> bool {
    // SAFETY: the caller's promise.
    unsafe { alu_of_each::<S, FULL>(warps, op, std::slice::from_ref(active)) }
}

/// The same; without `FULL` in the active lanes of each warp.
///
/// # Safety
/// The host must have the instructions of `S`.
#[inline(always)]
pub(crate) unsafe fn alu_of_each<S: Simd, const FULL: bool>(warps: &mut [Warp], op: &Op, actives: &[Active]) -> bool {
    // A copy: the compiler then knows that no register row changes it.
    let op = &{ *op };
    // The registers of one warp after the other.
    macro_rules! each {
        ($registers:ident, $active:ident => $body:expr) => {{
            if FULL {
                let $active = &Active::ALL;
                for warp in warps.iter_mut() {
                    let $registers = &mut warp.registers;
                    $body;
                }
            } else {
                for (warp, $active) in warps.iter_mut().zip(actives) {
                    if $active.mask != 0 {
                        let $registers = &mut warp.registers;
                        $body;
                    }
                }
            }
        }};
    }
    macro_rules! word1 {
        ($f:expr) => {
            each!(registers, active => {
                let a = registers.word(op.a);
                let mut result = [0u32; 32];
                for i in 0..32 {
                    result[i] = $f(a[i]);
                }
                write32::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    macro_rules! word2 {
        ($f:expr) => {
            each!(registers, active => {
                let (a, b) = (registers.word(op.a), registers.word(op.b));
                let mut result = [0u32; 32];
                for i in 0..32 {
                    result[i] = $f(a[i], b[i]);
                }
                write32::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    macro_rules! word3 {
        ($f:expr) => {
            each!(registers, active => {
                let (a, b, c) = (registers.word(op.a), registers.word(op.b), registers.word(op.c));
                let mut result = [0u32; 32];
                for i in 0..32 {
                    result[i] = $f(a[i], b[i], c[i]);
                }
                write32::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    macro_rules! float1 {
        ($f:expr) => {
            each!(registers, active => {
                let a = registers.float(op.a);
                let mut result = [0u32; 32];
                for i in 0..32 {
                    let value: f32 = $f(a[i]);
                    result[i] = value.to_bits();
                }
                write32::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    macro_rules! float2 {
        ($f:expr) => {
            each!(registers, active => {
                let (a, b) = (registers.float(op.a), registers.float(op.b));
                let mut result = [0u32; 32];
                for i in 0..32 {
                    let value: f32 = $f(a[i], b[i]);
                    result[i] = value.to_bits();
                }
                write32::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    // Two f32 to a pair of halves.
    macro_rules! pair2 {
        ($f:expr) => {
            each!(registers, active => {
                let (a, b) = (registers.float(op.a), registers.float(op.b));
                let mut result = [0u32; 32];
                for i in 0..32 {
                    result[i] = $f(a[i], b[i]);
                }
                write32::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    macro_rules! float3 {
        ($f:expr) => {
            each!(registers, active => {
                let (a, b, c) = (registers.float(op.a), registers.float(op.b), registers.float(op.c));
                let mut result = [0u32; 32];
                for i in 0..32 {
                    let value: f32 = $f(a[i], b[i], c[i]);
                    result[i] = value.to_bits();
                }
                write32::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    macro_rules! double2 {
        ($f:expr) => {
            each!(registers, active => {
                let (a, b) = (registers.double(op.a), registers.double(op.b));
                let mut result = [0u64; 32];
                for i in 0..32 {
                    result[i] = $f(a[i], b[i]);
                }
                write64::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    // A 64-bit value shifted by a 32-bit amount.
    macro_rules! shift64 {
        ($f:expr) => {
            each!(registers, active => {
                let (a, b) = (registers.double(op.a), registers.word(op.b));
                let mut result = [0u64; 32];
                for i in 0..32 {
                    result[i] = $f(a[i], b[i]);
                }
                write64::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    macro_rules! widen1 {
        ($f:expr) => {
            each!(registers, active => {
                let a = registers.word(op.a);
                let mut result = [0u64; 32];
                for i in 0..32 {
                    result[i] = $f(a[i]);
                }
                write64::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    macro_rules! widen2 {
        ($f:expr) => {
            each!(registers, active => {
                let (a, b) = (registers.word(op.a), registers.word(op.b));
                let mut result = [0u64; 32];
                for i in 0..32 {
                    result[i] = $f(a[i], b[i]);
                }
                write64::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    macro_rules! widen3 {
        ($f:expr) => {
            each!(registers, active => {
                let (a, b, c) = (registers.word(op.a), registers.word(op.b), registers.double(op.c));
                let mut result = [0u64; 32];
                for i in 0..32 {
                    result[i] = $f(a[i], b[i], c[i]);
                }
                write64::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    macro_rules! compare {
        ($view:ident, $f:expr) => {
            each!(registers, active => {
                let (a, b) = (registers.$view(op.a), registers.$view(op.b));
                let mut row = Lanes([0; 32]);
                for i in 0..32 {
                    let holds: bool = $f(a[i], b[i]);
                    row.0[i] = 0u32.wrapping_sub(holds as u32);
                }
                // SAFETY: the host has the instructions of S.
                let bits = unsafe { S::bits(&row) } ^ 0u32.wrapping_sub(u32::from(op.aux));
                registers.write_predicate::<FULL>(op.d, active.mask, bits);
            })
        };
    }
    macro_rules! select {
        ($view:ident, $write:ident, $extend:expr) => {
            each!(registers, active => {
                let (a, b) = (registers.$view(op.a), registers.$view(op.b));
                // SAFETY: the host has the instructions of S.
                let chosen = unsafe { S::expand(registers.predicate(op.c)) };
                let mut result = *a;
                for i in 0..32 {
                    let lane = $extend(chosen.0[i]);
                    result[i] = a[i] & lane | b[i] & !lane;
                }
                $write::<FULL>(registers, op.d, &result, active);
            })
        };
    }
    macro_rules! predicate2 {
        ($f:expr) => {
            each!(registers, active => {
                let value = $f(registers.predicate(op.a), registers.predicate(op.b));
                registers.write_predicate::<FULL>(op.d, active.mask, value);
            })
        };
    }
    match op.code {
        Code::Mov32 => word1!(|a| a),
        Code::Mov64 => each!(registers, active => {
            let result = *registers.double(op.a);
            write64::<FULL>(registers, op.d, &result, active);
        }),
        Code::Selp32 => select!(word, write32, |lane: u32| lane),
        Code::Selp64 => select!(double, write64, |lane: u32| lane as i32 as i64 as u64),
        Code::Pack64 => widen2!(|a: u32, b: u32| u64::from(a) | u64::from(b) << 32),
        Code::UnpackLow | Code::UnpackHigh => {
            let shift = if op.code == Code::UnpackHigh { 32 } else { 0 };
            each!(registers, active => {
                let a = registers.double(op.a);
                let mut result = [0u32; 32];
                for i in 0..32 {
                    result[i] = (a[i] >> shift) as u32;
                }
                write32::<FULL>(registers, op.d, &result, active);
            });
        }
        Code::Pack16 => word2!(|a: u32, b: u32| a & 0xffff | b << 16),
        Code::Add32 => word2!(u32::wrapping_add),
        Code::Sub32 => word2!(u32::wrapping_sub),
        Code::Mul32 => word2!(u32::wrapping_mul),
        Code::Mad32 => word3!(|a: u32, b: u32, c: u32| a.wrapping_mul(b).wrapping_add(c)),
        Code::MulHiU32 => word2!(|a: u32, b: u32| (u64::from(a) * u64::from(b) >> 32) as u32),
        Code::MulWideU32 => widen2!(|a: u32, b: u32| u64::from(a) * u64::from(b)),
        Code::MulWideS32 => {
            widen2!(|a: u32, b: u32| (i64::from(a as i32) * i64::from(b as i32)) as u64)
        }
        Code::MadWideU32 => {
            widen3!(|a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c))
        }
        Code::MadWideS32 => {
            widen3!(|a: u32, b: u32, c: u64| ((i64::from(a as i32) * i64::from(b as i32)) as u64).wrapping_add(c))
        }
        Code::MinS32 => word2!(|a: u32, b: u32| (a as i32).min(b as i32) as u32),
        Code::MinU32 => word2!(u32::min),
        Code::MaxS32 => word2!(|a: u32, b: u32| (a as i32).max(b as i32) as u32),
        Code::MaxU32 => word2!(u32::max),
        Code::And32 => word2!(|a: u32, b: u32| a & b),
        Code::Or32 => word2!(|a: u32, b: u32| a | b),
        Code::Xor32 => word2!(|a: u32, b: u32| a ^ b),
        Code::Not32 => word1!(|a: u32| !a),
        // Shifts by 32 and more are clamped, not wrapped.
        Code::Shl32 => word2!(|a: u32, b: u32| a << (b & 31) & within(b, 31)),
        Code::ShrU32 => word2!(|a: u32, b: u32| a >> (b & 31) & within(b, 31)),
        Code::ShrS32 => word2!(|a: u32, b: u32| ((a as i32) >> b.min(31)) as u32),
        Code::Lop3 => {
            // Bit i of the table is the result for a, b, c = bits 2, 1, 0 of i.
            let mut table = [0u32; 8];
            for (i, entry) in table.iter_mut().enumerate() {
                *entry = 0u32.wrapping_sub(op.imm as u32 >> i & 1);
            }
            word3!(|a: u32, b: u32, c: u32| {
                let low = c & (b & table[3] | !b & table[1]) | !c & (b & table[2] | !b & table[0]);
                let high = c & (b & table[7] | !b & table[5]) | !c & (b & table[6] | !b & table[4]);
                a & high | !a & low
            });
        }
        Code::Add64 => double2!(u64::wrapping_add),
        Code::Sub64 => double2!(u64::wrapping_sub),
        Code::Mul64 => double2!(u64::wrapping_mul),
        Code::And64 => double2!(|a: u64, b: u64| a & b),
        Code::Or64 => double2!(|a: u64, b: u64| a | b),
        Code::Xor64 => double2!(|a: u64, b: u64| a ^ b),
        Code::Shl64 => shift64!(|a: u64, b: u32| a << (b & 63) & within(b, 63) as i32 as i64 as u64),
        Code::ShrU64 => shift64!(|a: u64, b: u32| a >> (b & 63) & within(b, 63) as i32 as i64 as u64),
        Code::ShrS64 => shift64!(|a: u64, b: u32| ((a as i64) >> b.min(63)) as u64),
        Code::Sext32To64 => widen1!(|a: u32| i64::from(a as i32) as u64),
        Code::Zext32To64 => widen1!(u64::from),
        Code::Zext16 => word1!(|a: u32| a & 0xffff),
        Code::Sext16 => word1!(|a: u32| i32::from(a as i16) as u32),
        Code::Zext8 => word1!(|a: u32| a & 0xff),
        Code::Sext8 => word1!(|a: u32| i32::from(a as i8) as u32),
        Code::PredMov => predicate2!(|a, _| a),
        Code::PredNot => predicate2!(|a: u32, _| !a),
        Code::PredAnd => predicate2!(|a, b| a & b),
        Code::PredOr => predicate2!(|a, b| a | b),
        Code::PredXor => predicate2!(|a, b| a ^ b),
        Code::PredConst => predicate2!(|_, _| 0u32.wrapping_sub(op.imm as u32)),
        Code::SetpEq32 => compare!(word, |a, b| a == b),
        Code::SetpLtS32 => compare!(word, |a: u32, b: u32| (a as i32) < b as i32),
        Code::SetpLeS32 => compare!(word, |a: u32, b: u32| a as i32 <= b as i32),
        Code::SetpLtU32 => compare!(word, |a, b| a < b),
        Code::SetpLeU32 => compare!(word, |a, b| a <= b),
        Code::SetpEq64 => compare!(double, |a, b| a == b),
        Code::SetpLtS64 => compare!(double, |a: u64, b: u64| (a as i64) < b as i64),
        Code::SetpLeS64 => compare!(double, |a: u64, b: u64| a as i64 <= b as i64),
        Code::SetpLtU64 => compare!(double, |a, b| a < b),
        Code::SetpLeU64 => compare!(double, |a, b| a <= b),
        Code::SetpEqF32 => compare!(float, |a, b| a == b),
        Code::SetpNeF32 => compare!(float, |a: f32, b: f32| !a.is_nan() && !b.is_nan() && a != b),
        Code::SetpLtF32 => compare!(float, |a, b| a < b),
        Code::SetpLeF32 => compare!(float, |a, b| a <= b),
        Code::SetpNumF32 => compare!(float, |a: f32, b: f32| !a.is_nan() && !b.is_nan()),
        Code::AddF32 => float2!(|a: f32, b: f32| float::add(a, b)),
        Code::SubF32 => float2!(|a: f32, b: f32| float::sub(a, b)),
        Code::MulF32 => float2!(|a: f32, b: f32| float::mul(a, b)),
        Code::FmaF32 if S::FMA => float3!(float::fma::<true>),
        Code::FmaF32 => float3!(float::fma::<false>),
        Code::AddF32Ftz => float2!(|a, b| flush(float::add(flush(a), flush(b)))),
        Code::SubF32Ftz => float2!(|a, b| flush(float::sub(flush(a), flush(b)))),
        Code::MulF32Ftz => float2!(|a, b| flush(float::mul(flush(a), flush(b)))),
        Code::FmaF32Ftz if S::FMA => {
            float3!(|a, b, c| flush(float::fma::<true>(flush(a), flush(b), flush(c))))
        }
        Code::FmaF32Ftz => {
            float3!(|a, b, c| flush(float::fma::<false>(flush(a), flush(b), flush(c))))
        }
        Code::MinF32 => float2!(float::min::<false>),
        Code::MaxF32 => float2!(float::max::<false>),
        Code::NegF32 => word1!(|a: u32| a ^ 0x8000_0000),
        Code::AbsF32 => word1!(|a: u32| a & 0x7fff_ffff),
        Code::FtzF32 => float1!(flush),
        Code::Ex2F32Ftz => float1!(approximate::ex2::<true>),
        Code::F32ToF16x2 if op.aux == 0 => pair2!(half_precision::f32_to_f16x2_rn),
        Code::F32ToBf16x2 if op.aux == 0 => pair2!(half_precision::f32_to_bf16x2_rn),
        Code::S32ToF32 if op.aux == 0 => float1!(|a: f32| a.to_bits() as i32 as f32),
        Code::U32ToF32 if op.aux == 0 => float1!(|a: f32| a.to_bits() as f32),
        _ => return false,
    }
    true
}
