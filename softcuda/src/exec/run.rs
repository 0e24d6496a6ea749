//! The interpreter's loops: warps of a block in lock-step while all their threads run together, or one path of one warp,
//! until they wait, end, part, or have had their turn.

use super::alu::{Active, alu};
use super::divide;
use super::engine::Engine;
use super::level::Level;
use super::warp::{NONE, PathState, Warp};
use super::warp_operation::Outcome;
use crate::fault::{Fault, FaultKind};
use crate::program::op::{Code, Op};
use std::sync::atomic::Ordering;

/// Why a run of warps ended.
///
/// As wide as a register: the result of a run then stays in two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Stop {
    /// Paths have changed: look again what can run.
    Switch,
    /// Every thread has ended.
    Finished,
    /// No path can run.
    Waiting,
    /// The current paths have met a barrier of the block.
    Barrier,
    /// The turn is over.
    Turn,
    /// The warp is where its group wants to meet again.
    Met,
    /// The warps of a group go different ways, each on paths of its own; they meet again at [`Engine::meeting`].
    Apart,
}

pub(super) type Checked<T> = Result<T, Box<Fault>>;

/// Runs a warp until it stops, or until all its threads are together at `meet`.
#[inline(always)]
pub(super) unsafe fn run_warp<S: Level>(engine: &mut Engine<'_>, warp: &mut Warp, meet: u32) -> Checked<Stop> {
    loop {
        if !warp.select() {
            return Ok(if warp.finished() { Stop::Finished } else { Stop::Waiting });
        }
        let path = warp.paths[warp.current];
        // SAFETY: the caller's promise.
        let stop = unsafe {
            if path.mask == warp.alive() {
                S::whole(engine, std::slice::from_mut(warp), meet)?
            } else {
                S::path(engine, warp, path.pc, NONE, path.mask)?
            }
        };
        if stop != Stop::Switch {
            return Ok(stop);
        }
    }
}

/// Runs warps in lock-step, one op over all of them. All their threads that have not ended are at the same op, on one path a
/// warp; several warps have no paths but that one. Results need no merging: lanes without a thread are nobody's.
#[inline(always)]
pub(super) unsafe fn run_whole<S: Level>(engine: &mut Engine<'_>, warps: &mut [Warp], meet: u32) -> Checked<Stop> {
    let kernel = engine.kernel;
    let Some(first) = warps.first() else { return Ok(Stop::Finished) };
    let path = first.paths[first.current];
    let mut pc = path.pc;
    let first_warp = first.index;
    let mut threads = 0;
    let mut full = true;
    for warp in warps.iter_mut() {
        warp.mask = warp.alive();
        threads += u64::from(warp.mask.count_ones());
        full &= warp.mask == u32::MAX;
    }
    // Where order matters, and where a warp is on its way to others, threads that part go on paths of their warp's own.
    let parts = engine.parts && meet == NONE && warps.iter().all(|warp| warp.together().is_some());
    let mut active = Active::ALL;
    loop {
        debug_assert!((pc as usize) < kernel.ops.len(), "targets lie within the program");
        // SAFETY: every target is the first op of a block or the final exit, and blocks end with a jump or run into the next.
        let op = unsafe { kernel.ops.get_unchecked(pc as usize) };
        match op.code {
            Code::LdShared32 if full => {
                // SAFETY: the caller's promise; all lanes are active.
                if let Err(fault) = unsafe { S::words::<true, true>(engine, warps, op, pc) } {
                    return Err(fail(warps, engine.failed, fault, pc));
                }
                pc += 1;
            }
            Code::StShared32 if full => {
                // SAFETY: the caller's promise; all lanes are active.
                if let Err(fault) = unsafe { S::words::<true, false>(engine, warps, op, pc) } {
                    return Err(fail(warps, engine.failed, fault, pc));
                }
                pc += 1;
            }
            Code::LdGlobal32 if full => {
                // SAFETY: the caller's promise; all lanes are active.
                if let Err(fault) = unsafe { S::words::<false, true>(engine, warps, op, pc) } {
                    return Err(fail(warps, engine.failed, fault, pc));
                }
                pc += 1;
            }
            Code::StGlobal32 if full => {
                // SAFETY: the caller's promise; all lanes are active.
                if let Err(fault) = unsafe { S::words::<false, false>(engine, warps, op, pc) } {
                    return Err(fail(warps, engine.failed, fault, pc));
                }
                pc += 1;
            }
            Code::Enter => {
                if pc == path.reconverge {
                    warps.iter_mut().for_each(Warp::arrive);
                    return Ok(Stop::Switch);
                }
                if pc == meet || engine.fuel <= 0 {
                    divide::halt(warps, pc);
                    return Ok(if pc == meet { Stop::Met } else { Stop::Turn });
                }
                let block = op.imm as usize;
                engine.fuel -= i64::from(kernel.blocks[block].instructions.max(1));
                engine.enter(block, warps.len() as u64, threads, first_warp);
                pc += 1;
            }
            Code::Branch => pc = op.imm as u32,
            Code::BranchIf => {
                let (mut any, mut all) = (0, u32::MAX);
                for warp in warps.iter() {
                    let taken = warp.holds(op);
                    any |= taken & warp.mask;
                    all &= taken | !warp.mask;
                }
                if any == 0 {
                    pc += 1;
                } else if all == u32::MAX {
                    pc = op.imm as u32;
                } else if parts {
                    // SAFETY: the caller's promise.
                    match unsafe { S::parted(engine, warps, pc)? } {
                        Stop::Met => pc = engine.meeting,
                        stop => return Ok(stop),
                    }
                } else {
                    return Ok(divide::branch(engine, warps, op, pc, op.second()));
                }
            }
            Code::Guard => {
                let (mut any, mut all) = (0, u32::MAX);
                for warp in warps.iter() {
                    let lanes = warp.holds(op);
                    any |= lanes & warp.mask;
                    all &= lanes | !warp.mask;
                }
                let end = pc + 1 + op.imm as u32;
                if any == 0 {
                    engine.tally.predicated_off[pc as usize] += threads;
                    pc = end;
                } else if all == u32::MAX {
                    pc += 1;
                } else if parts && warps.len() > 1 {
                    // SAFETY: the caller's promise.
                    match unsafe { S::parted(engine, warps, pc)? } {
                        Stop::Met => pc = engine.meeting,
                        stop => return Ok(stop),
                    }
                } else {
                    for index in 0..warps.len() {
                        let warp = &mut warps[index];
                        let lanes = warp.holds(op) & warp.mask;
                        let off = u64::from((warp.mask & !lanes).count_ones());
                        engine.tally.predicated_off[pc as usize] += off;
                        if lanes == 0 {
                            continue;
                        }
                        // SAFETY: the caller's promise.
                        let done = unsafe { S::path(engine, warp, pc + 1, end, lanes) };
                        if let Err(fault) = done {
                            engine.failed = index;
                            return Err(fail(warps, index, fault, pc));
                        }
                    }
                    pc = end;
                }
            }
            Code::Exit | Code::ExitIf | Code::Call | Code::Ret | Code::RetIf => {
                if divide::leave_paths(warps, op, pc) {
                    return Ok(Stop::Switch);
                }
                pc += 1;
            }
            Code::Barrier => {
                if !engine.passes_barrier(warps, op) {
                    for warp in warps {
                        warp.last = pc;
                        warp.path().pc = pc + 1;
                        warp.path().state = PathState::AtBarrier(op.aux);
                    }
                    return Ok(Stop::Barrier);
                }
                pc += 1;
            }
            Code::WarpSync | Code::Shfl | Code::Vote | Code::Match | Code::Redux => {
                for index in 0..warps.len() {
                    let warp = &mut warps[index];
                    // SAFETY: the caller's promise.
                    if op.code == Code::Shfl && unsafe { S::shuffle(warp, kernel, op) } {
                        engine.met_in_warp(warp);
                        continue;
                    }
                    let mask = warp.mask;
                    match engine.warp_operation(warp, op, pc, mask) {
                        Ok(Outcome::Done) => {}
                        Ok(Outcome::Parked) => return Ok(divide::parked(warps, index, pc)),
                        Err(fault) => {
                            engine.failed = index;
                            return Err(fail(warps, index, fault, pc));
                        }
                    }
                }
                pc += 1;
            }
            Code::Trap => {
                let fault = engine.trap(&warps[0], op, pc, warps[0].mask);
                engine.failed = 0;
                return Err(fail(warps, 0, fault, pc));
            }
            _ => {
                // SAFETY: the caller's promise.
                if unsafe { !alu::<S, true>(warps, op, &active) } {
                    for index in 0..warps.len() {
                        let warp = &mut warps[index];
                        active.mask = warp.mask;
                        // SAFETY: as above.
                        if let Err(fault) = unsafe { S::other(engine, warp, op, pc, &active) } {
                            engine.failed = index;
                            return Err(fail(warps, index, fault, pc));
                        }
                    }
                }
                pc += 1;
            }
        }
    }
}

/// Leaves the warps where one of them has failed at `pc`: those before it are behind the op.
#[cold]
fn fail(warps: &mut [Warp], failed: usize, fault: Box<Fault>, pc: u32) -> Box<Fault> {
    for (index, warp) in warps.iter_mut().enumerate() {
        warp.path().pc = if index < failed { pc + 1 } else { pc };
    }
    fault
}

/// Runs the lanes `mask` of a warp's current path from `from` on, until the path changes or stops, or at `end`.
#[inline(always)]
pub(super) unsafe fn run_path<S: Level>(
    engine: &mut Engine<'_>,
    warp: &mut Warp,
    from: u32,
    end: u32,
    mask: u32,
) -> Checked<Stop> {
    let kernel = engine.kernel;
    let mut reconverge = warp.path().reconverge;
    let mut mask = mask;
    // SAFETY: the caller's promise.
    let mut active = Active { mask, lanes: unsafe { S::expand(mask) } };
    let mut pc = from;
    // Goes on with the path whose turn it is, unless it is the whole warp.
    macro_rules! switch {
        () => {{
            if !warp.select() || warp.path().mask == warp.alive() {
                return Ok(Stop::Switch);
            }
            let path = *warp.path();
            (pc, mask, reconverge) = (path.pc, path.mask, path.reconverge);
            // SAFETY: the caller's promise.
            active = Active { mask, lanes: unsafe { S::expand(mask) } };
        }};
    }
    while pc != end {
        debug_assert!((pc as usize) < kernel.ops.len(), "targets lie within the program");
        // SAFETY: as in `run_whole`.
        let op = unsafe { kernel.ops.get_unchecked(pc as usize) };
        match op.code {
            Code::Enter => {
                if pc == reconverge {
                    warp.arrive();
                    switch!();
                    continue;
                }
                if engine.fuel <= 0 {
                    warp.path().pc = pc;
                    return Ok(Stop::Turn);
                }
                let block = op.imm as usize;
                engine.fuel -= i64::from(kernel.blocks[block].instructions.max(1));
                engine.enter(block, 1, u64::from(mask.count_ones()), warp.index);
                pc += 1;
            }
            Code::Branch => pc = op.imm as u32,
            Code::BranchIf => {
                let taken = warp.holds(op) & mask;
                if taken == mask {
                    pc = op.imm as u32;
                } else if taken == 0 {
                    pc += 1;
                } else {
                    engine.counters.divergent_branches += 1;
                    warp.last = pc;
                    warp.diverge(taken, op.imm as u32, pc + 1, op.second());
                    switch!();
                }
            }
            Code::Guard => {
                let lanes = warp.holds(op) & mask;
                let behind = pc + 1 + op.imm as u32;
                engine.tally.predicated_off[pc as usize] += u64::from((mask & !lanes).count_ones());
                pc += 1;
                if lanes != mask {
                    if lanes != 0 {
                        // SAFETY: the caller's promise.
                        unsafe { S::path(engine, warp, pc, behind, lanes)? };
                    }
                    pc = behind;
                }
            }
            Code::Exit | Code::ExitIf | Code::Call | Code::Ret | Code::RetIf => {
                if warp.leave_path(op, pc, mask) {
                    return Ok(Stop::Switch);
                }
                pc += 1;
            }
            Code::Barrier => {
                warp.last = pc;
                warp.path().pc = pc + 1;
                warp.path().state = PathState::AtBarrier(op.aux);
                return Ok(Stop::Barrier);
            }
            Code::WarpSync | Code::Shfl | Code::Vote | Code::Match | Code::Redux => {
                match engine.warp_operation(warp, op, pc, mask)? {
                    Outcome::Done => pc += 1,
                    Outcome::Parked => return Ok(Stop::Switch),
                }
            }
            Code::Trap => return Err(engine.trap(warp, op, pc, mask)),
            _ => {
                // SAFETY: the caller's promise.
                if unsafe { !alu::<S, false>(std::slice::from_mut(warp), op, &active) } {
                    if warp.sent_ahead && matches!(op.code, Code::Mma | Code::Ldmatrix | Code::Movmatrix) {
                        warp.last = pc;
                        warp.gather(pc);
                        return Ok(Stop::Switch);
                    }
                    // SAFETY: as above.
                    unsafe { S::other(engine, warp, op, pc, &active)? };
                }
                pc += 1;
            }
        }
    }
    Ok(Stop::Switch)
}

impl Engine<'_> {
    /// The fault of a `Trap`.
    #[cold]
    pub(super) fn trap(&self, warp: &Warp, op: &Op, at: u32, mask: u32) -> Box<Fault> {
        self.fault(FaultKind::LaunchFailed, warp, at, mask.trailing_zeros(), super::calls::trap_text(op.aux))
    }

    /// Ends the warp's turn: others get theirs while it sleeps.
    pub(crate) fn sleep(&mut self) {
        self.slept += self.fuel.max(0);
        self.fuel = self.fuel.min(0);
    }

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
