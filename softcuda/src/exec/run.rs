//! The interpreter's loop: a warp runs until it waits, ends, or has had its turn.

use super::alu::{Active, alu};
use super::engine::Engine;
#[cfg(target_arch = "x86_64")]
use super::registers::{Avx2, Avx512};
use super::registers::{Plain, Simd};
use super::warp::{PathState, Warp};
use super::warp_operation::Outcome;
use crate::fault::{Fault, FaultKind};
use crate::program::op::{Code, Op};
use std::sync::atomic::Ordering;

/// Why a warp stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Every thread has ended.
    Finished,
    /// No path can run.
    Waiting,
    /// The current path has met a barrier of the block.
    Barrier,
    /// The turn is over.
    Turn,
}

/// Why a path stopped.
enum Leave {
    /// Paths have changed: select again.
    Switch,
    Stop(Stop),
}

type Checked<T> = Result<T, Box<Fault>>;

/// One compilation of the interpreter for each instruction-set level.
macro_rules! level {
    ($module:ident, $simd:ty $(, $features:literal)?) => {
        pub(crate) mod $module {
            use super::*;

            /// Runs a warp until it stops.
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            pub(crate) unsafe fn run(engine: &mut Engine<'_>, warp: &mut Warp) -> Checked<Stop> {
                // SAFETY: the caller's promise.
                unsafe { run_warp::<$simd>(engine, warp) }
            }

            /// One op for some lanes.
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            pub(crate) unsafe fn one(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32, active: &Active) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { execute_one::<$simd>(engine, warp, op, at, active) }
            }

            /// One 32-bit word a lane between shared memory and a slot, all lanes active.
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            pub(crate) unsafe fn shared_word<const LOAD: bool>(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { engine.shared_word::<$simd, LOAD>(warp, op, at) }
            }

            /// The same for device memory.
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            pub(crate) unsafe fn global_word<const LOAD: bool>(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { engine.global_word::<$simd, LOAD>(warp, op, at) }
            }

            /// An op that is no plain arithmetic, or a rare one.
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            pub(crate) unsafe fn other(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32, active: &Active) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { super::super::other::other::<$simd>(engine, warp, op, at, active) }
            }
        }

        impl Level for $simd {
            #[inline(always)]
            unsafe fn shared_word<const LOAD: bool>(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { $module::shared_word::<LOAD>(engine, warp, op, at) }
            }
            #[inline(always)]
            unsafe fn global_word<const LOAD: bool>(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { $module::global_word::<LOAD>(engine, warp, op, at) }
            }
            #[inline(always)]
            unsafe fn one(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32, active: &Active) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { $module::one(engine, warp, op, at, active) }
            }
            #[inline(always)]
            unsafe fn other(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32, active: &Active) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { $module::other(engine, warp, op, at, active) }
            }
        }
    };
}

/// Functions compiled once a level, called from the loop.
trait Level: Simd {
    /// # Safety
    /// The host must have the level's instructions, and all 32 lanes be active.
    unsafe fn shared_word<const LOAD: bool>(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32) -> Checked<()>;
    /// # Safety
    /// The host must have the level's instructions, and all 32 lanes be active.
    unsafe fn global_word<const LOAD: bool>(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32) -> Checked<()>;
    /// # Safety
    /// The host must have the level's instructions.
    unsafe fn one(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32, active: &Active) -> Checked<()>;
    /// # Safety
    /// The host must have the level's instructions.
    unsafe fn other(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32, active: &Active) -> Checked<()>;
}

level!(plain, Plain);
#[cfg(target_arch = "x86_64")]
level!(avx2, Avx2, "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt");
#[cfg(target_arch = "x86_64")]
level!(avx512, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt");

#[inline(always)]
unsafe fn run_warp<S: Level>(engine: &mut Engine<'_>, warp: &mut Warp) -> Checked<Stop> {
    loop {
        if !warp.select() {
            return Ok(if warp.finished() { Stop::Finished } else { Stop::Waiting });
        }
        let whole = warp.paths[warp.current].mask == warp.valid;
        // SAFETY: the caller's promise.
        let leave =
            unsafe { if whole { run_path::<S, true>(engine, warp) } else { run_path::<S, false>(engine, warp) } };
        match leave? {
            Leave::Switch => {}
            Leave::Stop(stop) => return Ok(stop),
        }
    }
}

#[inline(always)]
unsafe fn execute_one<S: Level>(
    engine: &mut Engine<'_>,
    warp: &mut Warp,
    op: &Op,
    at: u32,
    active: &Active,
) -> Checked<()> {
    // SAFETY: the caller's promise.
    unsafe { if alu::<S, false>(warp, op, active) { Ok(()) } else { S::other(engine, warp, op, at, active) } }
}

/// Runs the current path. `WHOLE`: all threads of the warp are on it, so that results need no merging.
#[inline(always)]
unsafe fn run_path<S: Level, const WHOLE: bool>(engine: &mut Engine<'_>, warp: &mut Warp) -> Checked<Leave> {
    let kernel = engine.kernel;
    let path = warp.paths[warp.current];
    let mask = path.mask;
    // SAFETY: the caller's promise.
    let active = Active { mask, lanes: unsafe { S::expand(mask) } };
    let mut pc = path.pc;
    loop {
        debug_assert!((pc as usize) < kernel.ops.len(), "targets lie within the program");
        // SAFETY: every target is the first op of a block or the final exit, and blocks end with a jump or run into the next.
        let op = unsafe { kernel.ops.get_unchecked(pc as usize) };
        // Loads of known words are as frequent as all arithmetic together: they take no jump at all.
        if WHOLE && op.code == Code::LdShared32 && mask == u32::MAX && engine.known_shared_word::<true>(warp, op) {
            pc += 1;
            continue;
        }
        // Most other ops are arithmetic: they take one jump.
        // SAFETY: the caller's promise.
        if WHOLE && unsafe { alu::<S, true>(warp, op, &active) } {
            pc += 1;
            continue;
        }
        match op.code {
            Code::Enter => {
                if pc == path.reconverge {
                    warp.arrive();
                    return Ok(Leave::Switch);
                }
                if engine.fuel <= 0 {
                    warp.paths[warp.current].pc = pc;
                    return Ok(Leave::Stop(Stop::Turn));
                }
                let block = op.imm as usize;
                engine.fuel -= i64::from(kernel.blocks[block].instructions.max(1));
                let counts = &mut engine.block_counts[block];
                counts.0 += 1;
                counts.1 += u64::from(mask.count_ones());
                pc += 1;
            }
            Code::Branch => pc = op.imm as u32,
            Code::BranchIf => {
                let taken = (warp.registers.predicate(op.a) ^ 0u32.wrapping_sub(u32::from(op.aux))) & mask;
                if taken == mask {
                    pc = op.imm as u32;
                } else if taken == 0 {
                    pc += 1;
                } else {
                    engine.counters.divergent_branches += 1;
                    warp.last = pc;
                    warp.diverge(taken, op.imm as u32, pc + 1, op.second());
                    return Ok(Leave::Switch);
                }
            }
            Code::Guard => {
                let lanes = (warp.registers.predicate(op.a) ^ 0u32.wrapping_sub(u32::from(op.aux))) & mask;
                let end = pc + 1 + op.imm as u32;
                pc += 1;
                if lanes == 0 {
                    pc = end;
                } else if lanes != mask {
                    // SAFETY: the caller's promise.
                    let some = Active { mask: lanes, lanes: unsafe { S::expand(lanes) } };
                    while pc < end {
                        // SAFETY: a guard covers ops of its own instruction.
                        unsafe { S::one(engine, warp, kernel.ops.get_unchecked(pc as usize), pc, &some)? };
                        pc += 1;
                    }
                }
            }
            Code::Exit | Code::ExitIf | Code::Call | Code::Ret | Code::RetIf => {
                if warp.leave_path(op, pc, mask) {
                    return Ok(Leave::Switch);
                }
                pc += 1;
            }
            Code::Barrier => {
                let current = warp.current;
                warp.last = pc;
                warp.paths[current].pc = pc + 1;
                warp.paths[current].state = PathState::AtBarrier(op.aux);
                return Ok(Leave::Stop(Stop::Barrier));
            }
            Code::WarpSync | Code::Shfl | Code::Vote | Code::Match | Code::Redux => {
                match engine.warp_operation(warp, op, pc, mask)? {
                    Outcome::Done => pc += 1,
                    Outcome::Parked => return Ok(Leave::Switch),
                }
            }
            Code::Trap => {
                let what = super::calls::trap_text(op.aux);
                return Err(engine.fault(FaultKind::LaunchFailed, warp, pc, mask.trailing_zeros(), what));
            }
            Code::LdShared32 if mask == u32::MAX => {
                // SAFETY: the caller's promise; all lanes are active.
                unsafe { S::shared_word::<true>(engine, warp, op, pc)? };
                pc += 1;
            }
            Code::StShared32 if mask == u32::MAX => {
                if !engine.known_shared_word::<false>(warp, op) {
                    // SAFETY: as above.
                    unsafe { S::shared_word::<false>(engine, warp, op, pc)? };
                }
                pc += 1;
            }
            Code::LdGlobal32 | Code::StGlobal32 if mask == u32::MAX => {
                // SAFETY: as above.
                unsafe {
                    if op.code == Code::LdGlobal32 {
                        S::global_word::<true>(engine, warp, op, pc)?;
                    } else {
                        S::global_word::<false>(engine, warp, op, pc)?;
                    }
                }
                pc += 1;
            }
            _ => {
                // SAFETY: the caller's promise.
                unsafe {
                    if WHOLE {
                        S::other(engine, warp, op, pc, &active)?;
                    } else {
                        if warp.sent_ahead && matches!(op.code, Code::Mma | Code::Ldmatrix | Code::Movmatrix) {
                            warp.last = pc;
                            warp.gather(pc);
                            return Ok(Leave::Switch);
                        }
                        S::one(engine, warp, op, pc, &active)?;
                    }
                }
                pc += 1;
            }
        }
    }
}

/// The interpreter of this host's best level.
pub(crate) type RunWarp = unsafe fn(&mut Engine<'_>, &mut Warp) -> Checked<Stop>;

/// Chooses once a launch.
pub(crate) fn select(level: super::mma::HostLevel) -> RunWarp {
    match level {
        #[cfg(target_arch = "x86_64")]
        super::mma::HostLevel::Avx512 => avx512::run,
        #[cfg(target_arch = "x86_64")]
        super::mma::HostLevel::Avx2 => avx2::run,
        _ => plain::run,
    }
}

impl Engine<'_> {
    /// Counts instructions against the launch's limit, in portions, so that host threads seldom meet.
    #[inline(always)]
    pub(crate) fn spend(&mut self, warp: &Warp, spent: i64) -> Checked<()> {
        self.unsettled += spent.max(0) as u64;
        if self.unsettled < super::engine::QUANTUM as u64 { Ok(()) } else { self.settle(warp) }
    }

    /// Brings the launch's instruction count up to date and ends a launch that exceeds its limit.
    #[cold]
    fn settle(&mut self, warp: &Warp) -> Checked<()> {
        let spent = std::mem::take(&mut self.unsettled);
        let total = self.shared_state.executed.fetch_add(spent, Ordering::Relaxed) + spent;
        let limit = self.machine.config.instruction_limit;
        if total <= limit {
            return Ok(());
        }
        let path = warp.paths[warp.current];
        let what = format!("the launch has executed more than {limit} warp instructions (SOFTCUDA_INSTRUCTION_LIMIT)");
        Err(self.fault(FaultKind::LaunchTimeout, warp, path.pc, path.mask.trailing_zeros() % 32, &what))
    }
}
