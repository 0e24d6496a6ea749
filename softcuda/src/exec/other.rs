//! What is no plain arithmetic: memory, matrices, warp state; and arithmetic that kernels use rarely.

use super::access::Direction;
use super::alu::Active;
use super::engine::{Engine, LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use super::level::Level;
use super::warp::Warp;
use super::{rare_float, rare_integer};
use crate::fault::{Fault, FaultKind};
use crate::program::op::WHOLE_CLOCK;
use crate::program::op::{Code, Op};

/// Executes any op that `alu` does not know.
///
/// # Safety
/// The host must have the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn other<S: Level>(
    engine: &mut Engine<'_>,
    warp: &mut Warp,
    op: &Op,
    at: u32,
    active: &Active,
) -> Result<(), Box<Fault>> {
    let mask = active.mask;
    // SAFETY: the caller's promise.
    let access = unsafe {
        match op.code {
            Code::LdGlobal | Code::LdGlobal32 => Some(engine.move_global::<S>(warp, op, at, mask, Direction::Load)),
            Code::StGlobal | Code::StGlobal32 => Some(engine.move_global::<S>(warp, op, at, mask, Direction::Store)),
            Code::LdShared | Code::LdShared32 => Some(engine.move_shared::<S>(warp, op, at, mask, Direction::Load)),
            Code::StShared | Code::StShared32 => Some(engine.move_shared::<S>(warp, op, at, mask, Direction::Store)),
            Code::Ldmatrix => Some(engine.load_matrix::<S>(warp, op, at, mask)),
            Code::CpAsync => Some(engine.issue_copy::<S>(warp, op, at, mask)),
            Code::LdGeneric => Some(engine.move_generic::<S>(warp, op, at, mask, Direction::Load)),
            Code::StGeneric => Some(engine.move_generic::<S>(warp, op, at, mask, Direction::Store)),
            Code::Atom => Some(engine.atomic::<S>(warp, op, at, mask)),
            _ => None,
        }
    };
    if let Some(done) = access {
        return done;
    }
    match op.code {
        Code::Movmatrix => engine.move_matrix(warp, op, at, mask),
        Code::Mma => engine.multiply(warp, op, at, mask),
        Code::CpAsyncCommit => {
            engine.site.copies[warp.index as usize].commit(mask);
            Ok(())
        }
        Code::CpAsyncWait => engine.complete_copies(warp, mask, Some(op.imm as u32)),
        Code::CpAsyncWaitAll => engine.complete_copies(warp, mask, None),
        Code::LdLocal => engine.move_local(warp, op, at, mask, Direction::Load),
        Code::StLocal => engine.move_local(warp, op, at, mask, Direction::Store),
        Code::LdParam => engine.load_param(warp, op, at, mask),
        Code::Fence => {
            engine.fence(warp, op, mask);
            Ok(())
        }
        Code::Nop => Ok(()),
        Code::Sleep => {
            engine.sleep();
            Ok(())
        }
        Code::Builtin => engine.builtin(warp, op, at, mask),
        Code::Alloca => engine.alloca(warp, op, at, mask),
        Code::CheckFrame => engine.check_frame(warp, op, at, mask),
        Code::Activemask => {
            let row = warp.registers.word_mut(op.d);
            super::traffic::lanes(mask).for_each(|lane| row[lane] = mask);
            Ok(())
        }
        Code::ReadSpecial => {
            // Clocks: warp instructions that the warp has executed, which only ever grow.
            let time = warp.elapsed.wrapping_add_signed(engine.quantum - engine.fuel);
            if op.aux == WHOLE_CLOCK {
                let row = warp.registers.double_mut(op.d);
                super::traffic::lanes(mask).for_each(|lane| row[lane] = time);
            } else {
                let row = warp.registers.word_mut(op.d);
                let part = (time >> (32 * u32::from(op.aux))) as u32;
                super::traffic::lanes(mask).for_each(|lane| row[lane] = part);
            }
            Ok(())
        }
        Code::ToShared | Code::FromShared | Code::ToLocal | Code::FromLocal | Code::ToParam | Code::FromParam => {
            let window = match op.code {
                Code::ToShared | Code::FromShared => SHARED_WINDOW,
                Code::ToLocal | Code::FromLocal => LOCAL_WINDOW,
                _ => PARAM_WINDOW,
            };
            let away = matches!(op.code, Code::ToShared | Code::ToLocal | Code::ToParam);
            let addresses = *warp.registers.double(op.a);
            let row = warp.registers.double_mut(op.d);
            for lane in super::traffic::lanes(mask) {
                let address = addresses[lane];
                row[lane] = if away { address.wrapping_sub(window) } else { address.wrapping_add(window) };
            }
            Ok(())
        }
        Code::IsShared | Code::IsLocal | Code::IsGlobal | Code::IsConst | Code::IsParam => {
            let found = super::traffic::lanes(mask).fold(0, |found, lane| {
                let address = warp.registers.double(op.a)[lane];
                let inside = |window: u64| address.wrapping_sub(window) < WINDOW_BYTES;
                // Constant banks are read-only variables in device memory.
                let constant = || {
                    let nearest = engine.machine.memory.nearest(address);
                    nearest.is_some_and(|info| info.read_only && !info.freed && info.contains(address, 1))
                };
                let holds = match op.code {
                    Code::IsShared => inside(SHARED_WINDOW),
                    Code::IsLocal => inside(LOCAL_WINDOW),
                    Code::IsParam => inside(PARAM_WINDOW),
                    Code::IsConst => constant(),
                    _ => ![SHARED_WINDOW, LOCAL_WINDOW, PARAM_WINDOW].into_iter().any(inside) && !constant(),
                };
                found | u32::from(holds) << lane
            });
            warp.registers.set_predicate(op.d, mask, found);
            Ok(())
        }
        _ => {
            // SAFETY: the caller's promise.
            let known = unsafe { S::fields(warp, op, active) };
            if known || rare_integer::execute(warp, op, active) || rare_float::execute(warp, op, active) {
                return Ok(());
            }
            // Lowering emits only codes that are executed somewhere; a test runs every code.
            let what = format!("internal error: {:?} has no execution", op.code);
            Err(engine.fault(FaultKind::IllegalInstruction, warp, at, mask.trailing_zeros(), &what))
        }
    }
}
