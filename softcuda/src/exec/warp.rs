//! A warp: its registers, and the paths its threads have diverged into.
//!
//! Threads that diverge become paths, which meet again at the immediate post-dominator of the branch. A path that waits
//! there for its children is a parent; leaves run. Leaves take turns when one of them runs long, and lanes that wait in a
//! parent are then sent on ahead, so that a thread that spins on another thread of its own warp ends as it does on chips
//! with independent thread scheduling.

use super::registers::Registers;
use crate::program::op::Op;

/// No parent; also the reconvergence point of threads that meet nowhere before their end.
pub(crate) const NONE: u32 = u32::MAX;

/// What a path is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathState {
    /// It can run.
    Ready,
    /// It waits for its children at its `pc`.
    Joining,
    /// It waits at the block barrier with this index into the side table.
    AtBarrier(u16),
    /// It waits at the warp operation at its `pc` for the other lanes named in the member mask.
    AtWarpOperation(u32),
    /// Its entry is free.
    Free,
}

/// Threads of a warp that run together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    /// Next op.
    pub(crate) pc: u32,
    /// Its lanes; those of a parent include its children's.
    pub(crate) mask: u32,
    /// Where it meets its siblings.
    pub(crate) reconverge: u32,
    /// Who waits for it.
    pub(crate) parent: u32,
    /// How many paths it waits for.
    pub(crate) children: u32,
    /// It runs a function that its parent has called.
    pub(crate) called: bool,
    /// What it is doing.
    pub(crate) state: PathState,
}

impl Path {
    /// A path that waits for nobody and for which nobody waits.
    pub(crate) fn start(pc: u32, mask: u32) -> Path {
        Path { pc, mask, reconverge: NONE, parent: NONE, children: 0, called: false, state: PathState::Ready }
    }
}

/// A warp of a resident block.
pub(crate) struct Warp {
    /// Number within the block.
    pub(crate) index: u32,
    /// Registers.
    pub(crate) registers: Registers,
    /// Lanes that have a thread.
    pub(crate) valid: u32,
    /// Lanes whose thread has ended.
    pub(crate) exited: u32,
    /// Paths; index 0 is the first.
    pub(crate) paths: Vec<Path>,
    /// Indices of free paths.
    free: Vec<usize>,
    /// The path that runs.
    pub(crate) current: usize,
    /// Carry of extended-precision arithmetic, one bit a lane.
    pub(crate) carry: u32,
    /// Lanes that run while all threads of the warp are together.
    pub(crate) mask: u32,
    /// Op executed last, for reports.
    pub(crate) last: u32,
    /// Whether lanes have been sent ahead of others that they would have waited for.
    pub(crate) sent_ahead: bool,
    /// Warp instructions executed before this turn: the warp's clock.
    pub(crate) elapsed: u64,
}

impl Warp {
    pub(crate) fn new(index: u32, valid: u32, slots: u32, predicates: u32) -> Warp {
        let mut warp = Warp {
            index,
            registers: Registers::new(slots, predicates),
            valid,
            exited: 0,
            paths: Vec::new(),
            free: Vec::new(),
            current: 0,
            carry: 0,
            mask: 0,
            last: 0,
            sent_ahead: false,
            elapsed: 0,
        };
        warp.restart();
        warp
    }

    /// Back to the first instruction, for the next block.
    pub(crate) fn restart(&mut self) {
        self.exited = 0;
        self.carry = 0;
        self.elapsed = 0;
        self.unite(0, self.valid);
    }

    /// One path is all there is.
    fn unite(&mut self, pc: u32, mask: u32) {
        self.sent_ahead = false;
        self.current = 0;
        self.paths.clear();
        self.free.clear();
        self.paths.push(Path::start(pc, mask));
    }

    /// The current path waits at `pc`, which all threads of the warp must execute together, for those that were sent ahead
    /// or left behind. When the last is there, all are one path again, ready to execute it.
    ///
    /// Threads that come from different calls of a function cannot become one path: they wait for ever, which is a fault.
    pub(crate) fn gather(&mut self, pc: u32) {
        let alive = self.valid & !self.exited;
        let path = &mut self.paths[self.current];
        path.pc = pc;
        path.state = PathState::AtWarpOperation(alive);
        if self.waiting_at(pc) == alive
            && let Some(returns) = self.common_returns(pc)
        {
            self.unite(pc, alive);
            self.nest(&returns);
        }
    }

    /// Lanes whose thread has not ended.
    #[inline(always)]
    pub(crate) fn alive(&self) -> u32 {
        self.valid & !self.exited
    }

    /// The path that runs.
    #[inline(always)]
    pub(crate) fn path(&mut self) -> &mut Path {
        &mut self.paths[self.current]
    }

    /// Lanes where the condition of a branch, guard or exit holds.
    #[inline(always)]
    pub(crate) fn holds(&self, op: &Op) -> u32 {
        self.registers.predicate(op.a) ^ 0u32.wrapping_sub(u32::from(op.aux))
    }

    /// Whether every thread has ended.
    pub(crate) fn finished(&self) -> bool {
        self.exited == self.valid
    }

    /// Makes a path that can run the current one, preferring the one that ran.
    pub(crate) fn select(&mut self) -> bool {
        let (before, from) = self.paths.split_at(self.current.min(self.paths.len()));
        let ready = |path: &Path| path.state == PathState::Ready;
        if let Some(index) = from.iter().position(ready) {
            self.current += index;
            return true;
        }
        if let Some(index) = before.iter().position(ready) {
            self.current = index;
            return true;
        }
        false
    }

    pub(super) fn add(&mut self, path: Path) -> usize {
        match self.free.pop() {
            Some(index) => {
                self.paths[index] = path;
                index
            }
            None => {
                self.paths.push(path);
                self.paths.len() - 1
            }
        }
    }

    /// The current path's lanes `taken` go to `target`, the others on to `next`; all meet at `reconverge`.
    pub(crate) fn diverge(&mut self, taken: u32, target: u32, next: u32, reconverge: u32) {
        let current = self.current;
        let path = self.paths[current];
        if reconverge == path.reconverge {
            // Lanes that jump straight to where the parent waits have arrived there; the others form siblings.
            let mut sides = [(taken, target), (path.mask & !taken, next)];
            sides.sort_by_key(|&(_, pc)| pc == reconverge);
            let (mask, pc) = sides[0];
            self.paths[current].mask = mask;
            self.paths[current].pc = pc;
            let (mask, pc) = sides[1];
            if pc != reconverge {
                self.add(Path { pc, mask, ..path });
                self.add_child(path.parent);
            }
            return;
        }
        self.paths[current].pc = reconverge;
        self.paths[current].state = PathState::Joining;
        let mut first = None;
        for (mask, pc) in [(taken, target), (path.mask & !taken, next)] {
            if pc == reconverge {
                continue;
            }
            let child = self.add(Path { reconverge, parent: current as u32, ..Path::start(pc, mask) });
            self.paths[current].children += 1;
            first.get_or_insert(child);
        }
        match first {
            Some(child) => self.current = child,
            // Both sides lead to the same place.
            None => self.paths[current].state = PathState::Ready,
        }
    }

    pub(super) fn add_child(&mut self, parent: u32) {
        if parent != NONE {
            self.paths[parent as usize].children += 1;
        }
    }

    /// The current path has reached its reconvergence point.
    pub(crate) fn arrive(&mut self) {
        self.leave(self.current);
    }

    /// Lanes of the current path end. Returns whether the path still has some.
    pub(crate) fn exit(&mut self, lanes: u32) -> bool {
        self.exited |= lanes;
        let current = self.current;
        self.paths[current].mask &= !lanes;
        if self.paths[current].mask != 0 {
            return true;
        }
        self.leave(current);
        false
    }

    /// A path ends; its parent goes on when it was the last child.
    pub(super) fn leave(&mut self, index: usize) {
        let mut parent = self.paths[index].parent;
        self.release(index);
        while parent != NONE {
            let exited = self.exited;
            let path = &mut self.paths[parent as usize];
            path.children -= 1;
            if path.children > 0 {
                return;
            }
            path.mask &= !exited;
            if path.mask != 0 {
                path.state = PathState::Ready;
                self.current = parent as usize;
                return;
            }
            let above = path.parent;
            self.release(parent as usize);
            parent = above;
        }
    }

    fn release(&mut self, index: usize) {
        self.paths[index].state = PathState::Free;
        self.free.push(index);
    }

    /// The current path has run long: another gets its turn, and lanes that wait for it in its parents go on ahead.
    pub(crate) fn rotate(&mut self) {
        let mut parent = self.paths[self.current].parent;
        while parent != NONE {
            let index = parent as usize;
            let mut below = 0;
            for path in &self.paths {
                if path.state != PathState::Free && path.parent == parent {
                    below |= path.mask;
                }
            }
            let path = self.paths[index];
            let arrived = path.mask & !below & !self.exited;
            if arrived != 0 && path.state == PathState::Joining {
                self.sent_ahead = true;
                self.paths[index].mask &= !arrived;
                if path.pc != path.reconverge {
                    self.add(Path { mask: arrived, children: 0, state: PathState::Ready, ..path });
                    self.add_child(path.parent);
                }
            }
            parent = path.parent;
        }
        self.current = (self.current + 1) % self.paths.len();
    }

    /// Lanes of other paths that wait at the warp operation `pc`, to be joined with the current path's.
    pub(crate) fn waiting_at(&self, pc: u32) -> u32 {
        self.paths
            .iter()
            .filter(|path| path.pc == pc && matches!(path.state, PathState::AtWarpOperation(_)))
            .fold(0, |mask, path| mask | path.mask)
    }

    /// Lets the paths that wait at the warp operation `pc` go on behind it.
    pub(crate) fn release_at(&mut self, pc: u32) {
        for path in &mut self.paths {
            if path.pc == pc && matches!(path.state, PathState::AtWarpOperation(_)) {
                path.state = PathState::Ready;
                path.pc = pc + 1;
            }
        }
    }
}
