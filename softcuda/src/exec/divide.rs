//! What ends a run of warps in lock-step: they go different ways, end, or wait.

use super::engine::Engine;
use super::run::Stop;
use super::warp::{NONE, PathState, Warp};
use crate::program::op::{BarrierKind, Op};

/// All warps are at `pc`.
pub(super) fn halt(warps: &mut [Warp], pc: u32) {
    warps.iter_mut().for_each(|warp| warp.path().pc = pc);
}

/// A branch that some threads take and others do not; they meet again at `reconverge`.
#[inline(never)]
pub(super) fn branch(engine: &mut Engine<'_>, warps: &mut [Warp], op: &Op, pc: u32, reconverge: u32) -> Stop {
    let (target, next) = (op.imm as u32, pc + 1);
    for warp in warps.iter_mut() {
        let taken = warp.holds(op) & warp.mask;
        warp.last = pc;
        if taken == warp.mask {
            warp.path().pc = target;
        } else if taken == 0 {
            warp.path().pc = next;
        } else {
            engine.counters.divergent_branches += 1;
            warp.diverge(taken, target, next, reconverge);
        }
    }
    engine.meeting = reconverge;
    // A single warp goes on at once.
    if warps.len() == 1 { Stop::Switch } else { Stop::Apart }
}

/// Threads call, return or end; whether any does.
#[inline(never)]
pub(super) fn leave_paths(warps: &mut [Warp], op: &Op, pc: u32) -> bool {
    if warps.iter().all(|warp| warp.leaves(op, warp.mask) == 0) {
        return false;
    }
    for warp in warps {
        if !warp.leave_path(op, pc, warp.mask) {
            warp.path().pc = pc + 1;
        }
    }
    true
}

/// The warp `index` waits at a warp operation; those before it are behind it, those after it have not come to it.
#[cold]
pub(super) fn parked(warps: &mut [Warp], index: usize, pc: u32) -> Stop {
    for (number, warp) in warps.iter_mut().enumerate() {
        if number != index {
            warp.path().pc = if number < index { pc + 1 } else { pc };
        }
    }
    Stop::Switch
}

impl Engine<'_> {
    /// Whether the warps are all that a barrier waits for: they are the whole block, and go on at once.
    pub(super) fn passes_barrier(&mut self, warps: &[Warp], op: &Op) -> bool {
        if !self.whole_block {
            return false;
        }
        let barrier = &self.kernel.tables.barriers[op.aux as usize];
        if barrier.kind != BarrierKind::Sync || barrier.count.is_some() {
            return false;
        }
        let id = |warp: &Warp| warp.registers.word(barrier.id)[warp.mask.trailing_zeros() as usize & 31];
        let first = warps.first().map_or(u32::MAX, id);
        if first >= 16 || warps.iter().any(|warp| id(warp) != first) {
            return false;
        }
        self.counters.barriers += warps.len() as u64;
        self.met_in_block();
        true
    }
}

impl Warp {
    /// Where the warp goes on if all its threads do so together, on its only path.
    pub(super) fn together(&self) -> Option<u32> {
        let path = &self.paths[self.current];
        let whole = path.state == PathState::Ready && path.mask == self.alive() && path.mask != 0;
        (whole && path.reconverge == NONE && !self.sent_ahead).then_some(path.pc)
    }
}
