//! Calls: a path that calls waits for a path that runs the function. So threads may return one after the other, or end
//! inside, and a path that runs long lets those that have returned go on ahead, all as with branches.

use super::engine::Engine;
use super::traffic::lanes;
use super::warp::{NONE, Path, PathState, Warp};
use crate::fault::{Fault, FaultKind};
use crate::program::op::{Code, Op};

/// What a `Trap` with this reason says.
pub(super) fn trap_text(reason: u16) -> &'static str {
    match reason {
        0 => "trap",
        1 => "brx.idx: the index is past the last target",
        3 => "brkpt: there is no debugger",
        _ => "call: no function that it may go to has this address",
    }
}

impl Warp {
    /// Lanes of `mask` that a call, a return or an exit sends elsewhere.
    pub(super) fn leaves(&self, op: &Op, mask: u32) -> u32 {
        if matches!(op.code, Code::ExitIf | Code::RetIf) { self.holds(op) & mask } else { mask }
    }

    /// Executes a call, a return or an exit at `pc` by `mask`; whether paths have changed. Else the path goes on.
    pub(super) fn leave_path(&mut self, op: &Op, pc: u32, mask: u32) -> bool {
        let lanes = self.leaves(op, mask);
        if lanes == 0 {
            return false;
        }
        self.last = pc;
        self.paths[self.current].pc = pc + 1;
        match op.code {
            Code::Call => self.call(op.imm as u32),
            Code::Exit | Code::ExitIf => {
                self.exit(lanes);
            }
            _ => self.return_from_call(lanes),
        }
        true
    }

    /// The current path calls the function at `target` and waits for it at its `pc`.
    fn call(&mut self, target: u32) {
        let current = self.current;
        let mask = self.paths[current].mask;
        self.paths[current].state = PathState::Joining;
        self.paths[current].children = 1;
        self.current = self.add(Path { parent: current as u32, called: true, ..Path::start(target, mask) });
    }

    /// Lanes of the current path return from the function.
    fn return_from_call(&mut self, lanes: u32) {
        let current = self.current;
        let mut index = current;
        loop {
            // They meet nobody any more within the function.
            let path = &mut self.paths[index];
            path.mask &= !lanes;
            if path.called || path.parent == NONE {
                break;
            }
            index = path.parent as usize;
        }
        if self.paths[current].mask == 0 {
            self.leave(current);
        }
    }

    /// Where the calls return to that led to the paths which wait at `pc`, innermost first; `None` if these differ.
    pub(super) fn common_returns(&self, pc: u32) -> Option<Vec<u32>> {
        let waits = |path: &&Path| path.pc == pc && matches!(path.state, PathState::AtWarpOperation(_));
        let mut all = self.paths.iter().filter(waits).map(|path| self.returns(path));
        let first = all.next()?;
        all.all(|other| other == first).then_some(first)
    }

    fn returns(&self, path: &Path) -> Vec<u32> {
        let mut found = Vec::new();
        let mut path = *path;
        while path.parent != NONE {
            let parent = self.paths[path.parent as usize];
            if path.called {
                found.push(parent.pc);
            }
            path = parent;
        }
        found
    }

    /// Puts the only path into functions that return to these places, innermost first.
    pub(super) fn nest(&mut self, returns: &[u32]) {
        for &pc in returns.iter().rev() {
            let inner = self.paths[self.current];
            let current = self.current;
            self.paths[current].pc = pc;
            self.paths[current].state = PathState::Joining;
            self.paths[current].children = 1;
            self.current = self.add(Path { parent: current as u32, called: true, ..Path::start(inner.pc, inner.mask) });
        }
    }
}

impl Engine<'_> {
    /// Whether a thread's local memory has room for a callee's frame behind its caller's.
    pub(super) fn check_frame(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Result<(), Box<Fault>> {
        let (own, callee, limit) = (op.imm as u32, op.second(), self.local_bytes);
        let pointers = warp.registers.word(op.a);
        let needed = |lane: &usize| u64::from(pointers[*lane]) + u64::from(own) + u64::from(callee);
        let Some(lane) = lanes(mask).find(|lane| needed(lane) > u64::from(limit)) else {
            return Ok(());
        };
        let what = format!(
            "stack overflow: a frame of {callee} bytes behind {} bytes, a thread has {limit} bytes of local memory (CU_LIMIT_STACK_SIZE)",
            pointers[lane] + own
        );
        Err(self.fault(FaultKind::LaunchFailed, warp, at, lane as u32, &what))
    }

    /// `alloca`: `b` is the frame pointer, `c` the slot of what has been allocated behind the frame's own `imm` bytes.
    pub(super) fn alloca(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Result<(), Box<Fault>> {
        let (sizes, pointers) = (*warp.registers.word(op.a), *warp.registers.word(op.b));
        let (align, limit) = (1u64 << op.aux, u64::from(self.local_bytes));
        for lane in lanes(mask) {
            let frame = u64::from(pointers[lane]) + u64::from(op.imm as u32);
            let start = (frame + u64::from(warp.registers.word(op.c)[lane])).next_multiple_of(align);
            let end = start + u64::from(sizes[lane]);
            if end > limit {
                let what = format!(
                    "stack overflow: alloca of {} bytes behind {start} bytes, a thread has {limit} bytes of local memory (CU_LIMIT_STACK_SIZE)",
                    sizes[lane]
                );
                return Err(self.fault(FaultKind::LaunchFailed, warp, at, lane as u32, &what));
            }
            warp.registers.word_mut(op.c)[lane] = (end - frame) as u32;
            warp.registers.word_mut(op.d)[lane] = start as u32;
        }
        Ok(())
    }
}
