//! `.sync` operations of a warp: shuffles, votes, matches, reductions. The lanes that the member mask names take part
//! together, from whatever paths they are on.

use super::engine::Engine;
use super::traffic::lanes;
use super::warp::{PathState, Warp};
use crate::fault::{Fault, FaultKind};
use crate::program::op::{Op, ReduxKind, ShuffleMode, VoteMode, WarpOperation};

/// Whether the operation took place.
pub(crate) enum Outcome {
    /// Yes.
    Done,
    /// Other lanes have to come first.
    Parked,
}

impl Engine<'_> {
    /// Performs an operation for `mask`, or parks the path until the other named lanes are there.
    pub(crate) fn warp_operation(
        &mut self,
        warp: &mut Warp,
        op: &Op,
        pc: u32,
        mask: u32,
    ) -> Result<Outcome, Box<Fault>> {
        let kernel = self.kernel;
        let operation = &kernel.tables.warp_operations[op.aux as usize];
        let named = named_lanes(warp, operation, mask);
        let gone = named & (warp.exited | !warp.valid);
        if gone != 0 {
            let what =
                format!("the member mask {named:#010x} names lanes {gone:#010x}, whose threads do not run any more");
            return Err(self.fault(FaultKind::LaunchFailed, warp, pc, mask.trailing_zeros(), &what));
        }
        for lane in lanes(mask) {
            if warp.registers.word(operation.mask())[lane] >> lane & 1 == 0 {
                let what = "the member mask does not name the lane that executes it";
                return Err(self.fault(FaultKind::LaunchFailed, warp, pc, lane as u32, what));
            }
        }
        let present = mask | warp.waiting_at(pc);
        let named = named | named_lanes(warp, operation, present);
        let members = *warp.registers.word(operation.mask());
        if named & !present != 0 {
            let current = warp.current;
            warp.last = pc;
            warp.paths[current].pc = pc;
            warp.paths[current].state = PathState::AtWarpOperation(named);
            return Ok(Outcome::Parked);
        }
        if let Some((lane, other)) = at_odds(&members, present) {
            let what = format!(
                "the member masks differ: {:#010x} names lane {other}, which names {:#010x}",
                members[lane], members[other]
            );
            return Err(self.fault(FaultKind::LaunchFailed, warp, pc, lane as u32, &what));
        }
        perform(warp, operation, present);
        if self.watch.is_some() {
            self.met_with_members(warp, &members, present);
        }
        warp.release_at(pc);
        Ok(Outcome::Done)
    }
}

/// Two lanes that take part in different groups, though one names the other.
fn at_odds(members: &[u32; 32], present: u32) -> Option<(usize, usize)> {
    let mut rest = present;
    while rest != 0 {
        let lane = rest.trailing_zeros() as usize;
        if let Some(other) = lanes(members[lane]).find(|&other| members[other] != members[lane]) {
            return Some((lane, other));
        }
        rest &= !members[lane];
    }
    None
}

/// Union of the member masks of some lanes.
pub(super) fn named_lanes(warp: &Warp, operation: &WarpOperation, mask: u32) -> u32 {
    let members = warp.registers.word(operation.mask());
    lanes(mask).fold(0, |named, lane| named | members[lane])
}

fn perform(warp: &mut Warp, operation: &WarpOperation, present: u32) {
    match *operation {
        WarpOperation::Sync { .. } => {}
        WarpOperation::Shuffle { mode, d, p, a, b, c, .. } => shuffle(warp, mode, (d, p), (a, b, c), present),
        WarpOperation::Vote { mode, d, source, negated, mask } => {
            let value = warp.registers.predicate(source) ^ if negated { u32::MAX } else { 0 };
            let members = *warp.registers.word(mask);
            let mut predicate = 0;
            for lane in lanes(present) {
                let group = members[lane];
                let holds = match mode {
                    VoteMode::Ballot => {
                        warp.registers.word_mut(d)[lane] = value & group;
                        continue;
                    }
                    VoteMode::All => value & group == group,
                    VoteMode::Any => value & group != 0,
                    VoteMode::Uni => value & group == group || value & group == 0,
                };
                predicate |= u32::from(holds) << lane;
            }
            if mode != VoteMode::Ballot {
                warp.registers.set_predicate(d, present, predicate);
            }
        }
        WarpOperation::Match { all, wide, d, p, a, mask } => {
            let values: [u64; 32] =
                if wide { *warp.registers.double(a) } else { warp.registers.word(a).map(u64::from) };
            let members = *warp.registers.word(mask);
            let mut predicate = 0;
            for lane in lanes(present) {
                let same = lanes(members[lane])
                    .filter(|&other| values[other] == values[lane])
                    .fold(0u32, |found, other| found | 1 << other);
                let everywhere = same == members[lane];
                predicate |= u32::from(everywhere) << lane;
                warp.registers.word_mut(d)[lane] = if !all || everywhere { same } else { 0 };
            }
            if let Some(p) = p {
                warp.registers.set_predicate(p, present, predicate);
            }
        }
        WarpOperation::Redux { kind, d, a, mask } => {
            let (values, members) = (*warp.registers.word(a), *warp.registers.word(mask));
            for lane in lanes(present) {
                let group = lanes(members[lane]).map(|other| values[other]);
                let result = match kind {
                    ReduxKind::Add => group.fold(0, u32::wrapping_add),
                    ReduxKind::And => group.fold(u32::MAX, |a, b| a & b),
                    ReduxKind::Or => group.fold(0, |a, b| a | b),
                    ReduxKind::Xor => group.fold(0, |a, b| a ^ b),
                    ReduxKind::MinU => group.min().unwrap_or(0),
                    ReduxKind::MaxU => group.max().unwrap_or(0),
                    ReduxKind::MinS => group.map(|v| v as i32).min().unwrap_or(0) as u32,
                    ReduxKind::MaxS => group.map(|v| v as i32).max().unwrap_or(0) as u32,
                };
                warp.registers.word_mut(d)[lane] = result;
            }
        }
    }
}

/// The PTX ISA's definition of `shfl`, lane by lane.
fn shuffle(warp: &mut Warp, mode: ShuffleMode, (d, p): (u16, Option<u16>), (a, b, c): (u16, u16, u16), present: u32) {
    let (values, amounts, controls) = (*warp.registers.word(a), *warp.registers.word(b), *warp.registers.word(c));
    let mut predicate = 0;
    let mut result = [0; 32];
    for lane in 0..32u32 {
        let (amount, clamp) = (amounts[lane as usize] & 31, controls[lane as usize] & 31);
        let segment = controls[lane as usize] >> 8 & 31;
        let limit = lane & segment | clamp & !segment;
        let (source, inside) = match mode {
            ShuffleMode::Up => (lane.wrapping_sub(amount), lane as i32 - amount as i32 >= limit as i32),
            ShuffleMode::Down => (lane + amount, lane + amount <= limit),
            ShuffleMode::Bfly => (lane ^ amount, lane ^ amount <= limit),
            ShuffleMode::Idx => {
                let source = lane & segment | amount & !segment;
                (source, source <= limit)
            }
        };
        predicate |= u32::from(inside) << lane;
        result[lane as usize] = values[if inside { source as usize & 31 } else { lane as usize }];
    }
    let row = warp.registers.word_mut(d);
    lanes(present).for_each(|lane| row[lane] = result[lane]);
    if let Some(p) = p {
        warp.registers.set_predicate(p, present, predicate);
    }
}
