//! The texts of what the checkers of races and of bytes never written find.

use super::engine::Engine;
use super::observe::{Does, Memory};
use super::warp::Warp;
use crate::check::shadow::Conflict;
use crate::fault::{Fault, FaultKind};
use crate::program::op::{Code, Op};

impl Engine<'_> {
    /// A read of bytes never written; `missing` is the first of them.
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "one lane's access: who, where, what")]
    pub(super) fn uninitialised(
        &self,
        warp: &Warp,
        at: u32,
        lane: usize,
        address: u64,
        bytes: u32,
        missing: u64,
        memory: Memory,
    ) -> Box<Fault> {
        let action = action(&self.kernel.ops[at as usize], false);
        let what = format!(
            "{action} of {bytes} bytes at {}: byte {} of them has never been written",
            self.location(address, memory),
            missing - address
        );
        self.fault(FaultKind::LaunchFailed, warp, at, lane as u32, &what)
    }

    /// Both accesses of a race, each with its thread and its line.
    #[cold]
    #[inline(never)]
    pub(super) fn race_text(
        &self,
        warp: &Warp,
        at: u32,
        conflict: &Conflict,
        memory: Memory,
        does: Does,
        kind: &str,
    ) -> String {
        let kernel = self.kernel;
        let earlier = &conflict.earlier;
        let place = self.location(conflict.address, memory);
        let own = action(&kernel.ops[at as usize], does == Does::Write);
        let their = kernel.ops.get(earlier.op() as usize).map_or("access", |op| action(op, conflict.wrote));
        let lanes = if earlier.warp() == warp.index && earlier.block == self.site.watch.clocks.number {
            earlier.lanes & !(1 << conflict.lane)
        } else {
            earlier.lanes
        };
        let block = self.site.block;
        let who = |warp, lane, [bx, by, bz]: [u32; 3]| {
            let [x, y, z] = self.thread(warp, lane);
            format!("by thread ({x}, {y}, {z}) of block ({bx}, {by}, {bz})")
        };
        format!(
            "{kind} on {} bytes at {place}: {own}\n  {}\n  at {}\n  not ordered after the {their}\n  {}\n  at {}",
            conflict.bytes,
            who(warp.index, conflict.lane as u32, block),
            self.place(at),
            who(earlier.warp(), lanes.trailing_zeros() % 32, self.block_index(earlier.block)),
            self.place(earlier.op()),
        )
    }

    /// %ctaid of a block by its number.
    fn block_index(&self, number: u32) -> [u32; 3] {
        let [x, y, _] = self.launch.grid;
        // As in `Site::restart`; numbers beyond 2^32 have lost their upper half.
        [number % x, number / x % y, (u64::from(number) / (u64::from(x) * u64::from(y))) as u32]
    }

    fn location(&self, address: u64, memory: Memory) -> String {
        if memory == Memory::Shared {
            return format!("shared address {address:#x}");
        }
        let inside = self.machine.memory.nearest(address).filter(|info| info.contains(address, 1)).map(|info| {
            format!(", {} bytes into the allocation at {:#x} ({} bytes)", address - info.base, info.base, info.bytes)
        });
        format!("device address {address:#x}{}", inside.unwrap_or_default())
    }
}

/// What an op does, in words.
fn action(op: &Op, writes: bool) -> &'static str {
    match op.code {
        Code::Atom => "atomic",
        Code::CpAsync if writes => "cp.async write",
        Code::CpAsync => "cp.async read",
        Code::Ldmatrix => "ldmatrix",
        Code::StShared | Code::StShared32 | Code::StGlobal | Code::StGlobal32 | Code::StGeneric => "store",
        _ => "load",
    }
}
