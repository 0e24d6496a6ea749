//! Warps in lock-step whose threads part: one stack of paths for all of them, a path being a mask of lanes for every warp.
//!
//! A branch that any of the threads takes and any does not parts the whole group; its sides run one after the other, one
//! record over all warps that have lanes there, and meet at the branch's immediate post-dominator. For each warp that is what
//! it would have done alone, since a path of the group holds all lanes of a path of the warp: the same blocks with the same
//! lanes, and so the same counts. What needs the warps' own paths (barriers, calls, waiting for one another) writes the stack
//! down as these, and each warp goes on alone to where the first branch meets.

use super::alu::{Active, alu_of_each};
use super::block::TOGETHER;
use super::engine::{Engine, QUANTUM};
use super::level::Level;
use super::run::{Checked, Stop};
use super::value::Lanes;
use super::warp::{NONE, Path, PathState, Warp};
use super::warp_operation::Outcome;
use crate::fault::Fault;
use crate::program::op::{Code, Op};

/// How far a turn may be overdrawn by threads that have done nothing by which they could wait for others.
const OVERDRAFT: i64 = 7 * QUANTUM;

/// Lanes of each warp.
type Masks = [u32; TOGETHER];

/// A path of the group that waits: for those above it, or for its turn.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    /// Next op.
    pc: u32,
    /// Where it meets its siblings.
    reconverge: u32,
    /// Those above it, down to its own level, meet where it waits.
    joins: bool,
    masks: Masks,
}

/// The path that runs.
struct Current {
    masks: Masks,
    /// The same, spread out.
    active: [Active; TOGETHER],
    warps: u64,
    threads: u64,
    reconverge: u32,
}

impl Current {
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    unsafe fn set<S: Level>(&mut self, masks: Masks, count: usize) {
        (self.warps, self.threads) = (0, 0);
        for (index, active) in self.active.iter_mut().enumerate().take(count) {
            let mask = masks[index];
            // SAFETY: the caller's promise.
            *active = Active { mask, lanes: unsafe { S::expand(mask) } };
            self.warps += u64::from(mask != 0);
            self.threads += u64::from(mask.count_ones());
        }
        self.masks = masks;
    }

    /// Numbers of the warps that have lanes on it.
    #[inline(always)]
    fn warps(&self, count: usize) -> impl Iterator<Item = usize> + use<> {
        let masks = self.masks;
        (0..count).filter(move |&index| masks[index] != 0)
    }
}

/// Runs warps in lock-step from `from` on, a branch or a guard that some threads take and others do not, until all are together
/// at [`Engine::meeting`] ([`Stop::Met`]), or have paths of their own ([`Stop::Apart`]: they meet again there, too;
/// [`Stop::Switch`]: threads have ended).
#[inline(always)]
pub(super) unsafe fn run_parted<S: Level>(engine: &mut Engine<'_>, warps: &mut [Warp], from: u32) -> Checked<Stop> {
    let kernel = engine.kernel;
    let count = warps.len().min(TOGETHER);
    let first_warp = warps.first().map_or(0, |warp| warp.index);
    let mut stack = std::mem::take(&mut engine.parted);
    stack.clear();
    let nobody = Active { mask: 0, lanes: Lanes([0; 32]) };
    // The branch or guard says who is active first.
    let mut now = Current { masks: [0; TOGETHER], active: [nobody; TOGETHER], warps: 0, threads: 0, reconverge: NONE };
    warps.iter().zip(&mut now.masks).for_each(|(warp, mask)| *mask = warp.mask);
    // Instructions of the turn that each warp has not executed.
    let mut missed = [0u64; TOGETHER];
    // A guarded region ends here, and who goes on behind it; its guard.
    let (mut guard_end, mut behind_guard, mut guard) = (NONE, now.masks, NONE);
    // Whether something may wait for a store of others, and whether threads have ended.
    let (mut polls, mut ended) = (false, false);
    let mut pc = from;
    // Whether a block begins at `pc`, which a branch need not look up then.
    let mut begins = false;
    let stop = 'run: loop {
        if begins {
            while pc == now.reconverge {
                // Paths whose threads have all ended have nothing to do.
                let mut frame = stack.pop();
                while frame.is_some_and(|frame| frame.masks == [0; TOGETHER]) {
                    frame = stack.pop();
                }
                // Whoever meets others has pushed a path that waits there.
                let Some(frame) = frame else { break 'run Ok(Stop::Switch) };
                (pc, now.reconverge) = (frame.pc, frame.reconverge);
                if stack.is_empty() {
                    now.masks = frame.masks;
                    engine.meeting = pc;
                    break 'run Ok(if ended { Stop::Switch } else { Stop::Met });
                }
                // SAFETY: the caller's promise.
                unsafe { now.set::<S>(frame.masks, count) };
            }
            begins = false;
            // SAFETY: as in `run_whole`.
            let op = unsafe { kernel.ops.get_unchecked(pc as usize) };
            if op.code == Code::Enter {
                if engine.fuel <= 0 && (polls || engine.fuel <= -OVERDRAFT) {
                    break Ok(Stop::Apart);
                }
                let block = op.imm as usize;
                let instructions = kernel.blocks[block].instructions.max(1);
                engine.fuel -= i64::from(instructions);
                if now.warps != count as u64 {
                    for (missed, mask) in missed.iter_mut().zip(&now.masks) {
                        *missed += if *mask == 0 { u64::from(instructions) } else { 0 };
                    }
                }
                engine.enter(block, now.warps, now.threads, first_warp);
                pc += 1;
            }
        }
        if pc == guard_end {
            guard_end = NONE;
            if stack.is_empty() {
                engine.meeting = pc;
                break Ok(Stop::Met);
            }
            // SAFETY: the caller's promise.
            unsafe { now.set::<S>(behind_guard, count) };
        }
        debug_assert!((pc as usize) < kernel.ops.len(), "targets lie within the program");
        // SAFETY: as in `run_whole`.
        let op = unsafe { kernel.ops.get_unchecked(pc as usize) };
        match op.code {
            Code::Enter => begins = true,
            Code::Branch => (pc, begins) = (op.imm as u32, true),
            Code::BranchIf => {
                let (mut taken, mut left) = ([0; TOGETHER], [0; TOGETHER]);
                let (mut any_taken, mut any_left, mut divergent) = (0, 0, 0);
                for (index, warp) in warps.iter().enumerate().take(count) {
                    let holds = warp.holds(op);
                    taken[index] = now.masks[index] & holds;
                    left[index] = now.masks[index] & !holds;
                    any_taken |= taken[index];
                    any_left |= left[index];
                    divergent += u64::from(taken[index] != 0 && left[index] != 0);
                }
                begins = true;
                if any_taken == 0 || any_left == 0 {
                    pc = if any_left == 0 { op.imm as u32 } else { pc + 1 };
                    continue;
                }
                engine.counters.divergent_branches += divergent;
                let reconverge = op.second();
                if reconverge != now.reconverge {
                    stack.push(Frame { pc: reconverge, reconverge: now.reconverge, joins: true, masks: now.masks });
                    now.reconverge = reconverge;
                }
                // Lanes that jump straight to where the others wait have arrived there.
                let (target, next) = (op.imm as u32, pc + 1);
                let first = if target != reconverge {
                    if next != reconverge {
                        stack.push(Frame { pc: next, reconverge, joins: false, masks: left });
                    }
                    pc = target;
                    taken
                } else {
                    pc = next;
                    left
                };
                // SAFETY: the caller's promise.
                unsafe { now.set::<S>(first, count) };
            }
            Code::Guard => {
                let mut held = [0; TOGETHER];
                let (mut any, mut off) = (0, 0);
                for (index, warp) in warps.iter().enumerate().take(count) {
                    held[index] = warp.holds(op) & now.masks[index];
                    any |= held[index];
                    off += u64::from((now.masks[index] & !held[index]).count_ones());
                }
                engine.tally.predicated_off[pc as usize] += off;
                let end = pc + 1 + op.imm as u32;
                if any == 0 {
                    pc = end;
                    continue;
                }
                if off != 0 {
                    (guard_end, behind_guard, guard) = (end, now.masks, pc);
                    // SAFETY: the caller's promise.
                    unsafe { now.set::<S>(held, count) };
                }
                pc += 1;
            }
            Code::Exit | Code::ExitIf => {
                let mut left = now.masks;
                for (index, warp) in warps.iter_mut().enumerate().take(count) {
                    let gone = warp.leaves(op, now.masks[index]);
                    warp.exited |= gone;
                    left[index] &= !gone;
                    stack.iter_mut().for_each(|frame| frame.masks[index] &= !gone);
                }
                pc += 1;
                if left == now.masks {
                    continue;
                }
                ended = true;
                while left == [0; TOGETHER]
                    && let Some(frame) = stack.pop()
                {
                    (pc, now.reconverge, left) = (frame.pc, frame.reconverge, frame.masks);
                }
                // SAFETY: the caller's promise.
                unsafe { now.set::<S>(left, count) };
                if stack.is_empty() {
                    break Ok(Stop::Switch);
                }
                begins = true;
            }
            Code::RetIf if now.warps(count).all(|index| warps[index].leaves(op, now.masks[index]) == 0) => pc += 1,
            Code::Barrier | Code::Call | Code::Ret | Code::RetIf => break Ok(Stop::Apart),
            Code::WarpSync | Code::Shfl | Code::Vote | Code::Match | Code::Redux => {
                // Who would have to wait for lanes of other paths does so on a path of its own.
                if now.warps(count).any(|index| engine.misses_lanes(&warps[index], op, now.masks[index])) {
                    break Ok(Stop::Apart);
                }
                for index in now.warps(count) {
                    match engine.warp_operation(&mut warps[index], op, pc, now.masks[index]) {
                        Ok(Outcome::Done | Outcome::Parked) => {}
                        Err(fault) => break 'run Err((index, fault)),
                    }
                }
                pc += 1;
            }
            Code::Trap => {
                let index = now.warps(count).next().unwrap_or(0);
                break Err((index, engine.trap(&warps[index], op, pc, now.masks[index])));
            }
            _ => {
                // SAFETY: the caller's promise.
                if unsafe { !alu_of_each::<S, false>(warps, op, &now.active) } {
                    polls |= may_poll(op);
                    if op.code == Code::ReadSpecial {
                        settle(warps, &mut missed, engine);
                    }
                    // SAFETY: the caller's promise.
                    if let Err(failure) = unsafe { other::<S>(engine, &mut warps[..count], op, pc, &now.active) } {
                        break Err(failure);
                    }
                }
                pc += 1;
            }
        }
    };
    settle(warps, &mut missed, engine);
    let stop = match stop {
        Ok(Stop::Met) => Ok(Stop::Met),
        stop => {
            if guard_end != NONE {
                now.masks = behind_guard;
                pc = guard;
            }
            engine.meeting = stack.first().filter(|frame| frame.joins).map_or(NONE, |frame| frame.pc);
            stack.push(Frame { pc, reconverge: now.reconverge, joins: false, masks: now.masks });
            write_down(warps, &stack, from);
            stop.map_err(|(failed, fault)| {
                // Those before the warp that failed are behind the op.
                engine.failed = failed;
                let behind = if guard_end == NONE { pc + 1 } else { guard_end };
                now.warps(failed).for_each(|index| warps[index].path().pc = behind);
                fault
            })
        }
    };
    engine.parted = stack;
    stop
}

/// Executes an op that is no plain arithmetic for the warps that have active lanes; else which of them failed.
///
/// # Safety
/// The host must have the instructions of `S`.
#[inline(always)]
unsafe fn other<S: Level>(
    engine: &mut Engine<'_>,
    warps: &mut [Warp],
    op: &Op,
    at: u32,
    active: &[Active; TOGETHER],
) -> Result<(), (usize, Box<Fault>)> {
    for (index, (warp, active)) in warps.iter_mut().zip(active).enumerate() {
        if active.mask != 0 {
            // SAFETY: the caller's promise.
            unsafe { S::other(engine, warp, op, at, active) }.map_err(|fault| (index, fault))?;
        }
    }
    Ok(())
}

/// Whether an op may be part of waiting for others.
#[inline(always)]
fn may_poll(op: &Op) -> bool {
    match op.code {
        Code::Atom | Code::Sleep | Code::Builtin => true,
        Code::LdGlobal | Code::LdGlobal32 | Code::LdShared | Code::LdShared32 | Code::LdGeneric => op.order().strong,
        _ => false,
    }
}

/// Sets the warps' clocks right: the turn counts for those only that have executed it.
fn settle(warps: &mut [Warp], missed: &mut [u64; TOGETHER], engine: &mut Engine<'_>) {
    for (warp, missed) in warps.iter_mut().zip(missed) {
        warp.elapsed = warp.elapsed.wrapping_sub(*missed);
        engine.missed += *missed as i64;
        *missed = 0;
    }
}

/// Makes paths of the warps' own of the frames, the last of which is the one that runs. Each warp has been on one path.
#[cold]
#[inline(never)]
fn write_down(warps: &mut [Warp], frames: &[Frame], last: u32) {
    for (index, warp) in warps.iter_mut().enumerate() {
        warp.last = last;
        let (base, alive) = (warp.current, warp.alive());
        let whole = *warp.path();
        let (mut parent, mut first) = (None::<usize>, true);
        for frame in frames {
            let mask = frame.masks[index] & alive;
            if mask == 0 {
                continue;
            }
            let path = Path { pc: frame.pc, mask, children: 0, state: PathState::Ready, ..whole };
            warp.current = match parent {
                Some(parent) => {
                    warp.paths[parent].state = PathState::Joining;
                    warp.paths[parent].children += 1;
                    let path = Path { reconverge: frame.reconverge, parent: parent as u32, called: false, ..path };
                    warp.add(path)
                }
                None if first => {
                    warp.paths[base] = path;
                    base
                }
                None => {
                    warp.add_child(whole.parent);
                    warp.add(path)
                }
            };
            first = false;
            if frame.joins {
                parent = Some(warp.current);
            }
        }
        if first {
            warp.paths[base].mask = 0;
            warp.leave(base);
        }
    }
}

impl Engine<'_> {
    /// Whether some lanes' member masks at a warp operation name others.
    #[inline(always)]
    fn misses_lanes(&self, warp: &Warp, op: &Op, mask: u32) -> bool {
        let operation = &self.kernel.tables.warp_operations[op.aux as usize];
        super::warp_operation::named_lanes(warp, operation, mask) & !mask != 0
    }
}
