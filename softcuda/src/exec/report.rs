//! The texts of faults: what was done where, by whom, and what lies nearest.

use super::block::Block;
use super::engine::{Engine, Site};
use super::registers::Simd;
use super::shape::{Run, Shape};
use super::traffic::lanes;
use super::warp::{PathState, Warp};
use crate::fault::{Fault, FaultKind};
use crate::program::Line;

impl Engine<'_> {
    /// A fault at an op, by one lane.
    #[cold]
    #[inline(never)]
    pub(super) fn fault(&self, kind: FaultKind, warp: &Warp, op: u32, lane: u32, what: &str) -> Box<Fault> {
        let [x, y, z] = self.thread(warp.index, lane);
        let [bx, by, bz] = self.site.block;
        let place = self.place(op);
        Box::new(Fault {
            kind,
            text: format!("{what}\n  by thread ({x}, {y}, {z}) of block ({bx}, {by}, {bz})\n  at {place}"),
        })
    }

    /// `kernel k, PTX line 12, file.cu:34`.
    pub(super) fn place(&self, op: u32) -> String {
        let line = self.kernel.lines.get(op as usize).copied().unwrap_or(Line::default());
        let source = self.kernel.source_text(line).map_or(String::new(), |text| format!(", {text}"));
        format!("kernel {}, PTX line {}{source}", self.kernel.name, line.ptx)
    }

    /// A fault on device memory.
    #[cold]
    #[inline(never)]
    pub(super) fn memory_fault(
        &self,
        warp: &Warp,
        op: u32,
        lane: u32,
        action: &str,
        address: u64,
        bytes: u32,
    ) -> Box<Fault> {
        let memory = self.machine.memory;
        let nearest = match (memory.refusal(address), memory.nearest(address)) {
            (Some(refusal), _) => refusal,
            (None, None) => "there are no allocations".to_owned(),
            (None, Some(info)) => {
                let (base, size, end) = (info.base, info.bytes, info.base + info.bytes);
                let state = if info.freed { "freed allocation" } else { "allocation" };
                let last = address + u64::from(bytes);
                let at = if address >= end {
                    format!("{} bytes past the end of", address - end)
                } else if address < base {
                    format!("{} bytes before", base - address)
                } else if last > end {
                    format!("{} bytes over the end of", last - end)
                } else {
                    "inside".to_owned()
                };
                let constant = if info.read_only { ", read-only" } else { "" };
                format!("{at} the {state} at {base:#x} ({size} bytes{constant})")
            }
        };
        let what = format!("{action} of {bytes} bytes at device address {address:#x}: {nearest}");
        self.fault(FaultKind::IllegalAddress, warp, op, lane, &what)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn shared_fault(&self, warp: &Warp, at: u32, shape: &Shape<'_>, wrong: u32, action: &str) -> Box<Fault> {
        let (size, bytes) = (self.site.shared.len() as u32, shape.bytes);
        let lane = wrong.trailing_zeros() % 32;
        let address = shape.offsets[lane as usize];
        if address <= size && size - address >= bytes {
            return self.misaligned(warp, at, lane, action, u64::from(address), bytes);
        }
        let what = format!("{action} of {bytes} bytes at shared address {address:#x}: the block has {size} bytes");
        self.fault(FaultKind::IllegalAddress, warp, at, lane, &what)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn local_fault(&self, warp: &Warp, at: u32, lane: u32, address: u32, bytes: u32) -> Box<Fault> {
        let frame = self.local_bytes;
        let what = format!("local access of {bytes} bytes at {address:#x}: a thread has {frame} bytes");
        self.fault(FaultKind::IllegalAddress, warp, at, lane, &what)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn parameter_fault(&self, warp: &Warp, at: u32, lane: u32, address: u32, bytes: u32) -> Box<Fault> {
        let size = self.launch.params.len();
        let what = format!("load of {bytes} bytes at parameter address {address:#x}: the kernel has {size} bytes");
        self.fault(FaultKind::IllegalAddress, warp, at, lane, &what)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn misaligned(
        &self,
        warp: &Warp,
        at: u32,
        lane: u32,
        action: &str,
        address: u64,
        bytes: u32,
    ) -> Box<Fault> {
        let what = format!("{action} of {bytes} bytes at {address:#x}, which is not a multiple of {bytes}");
        self.fault(FaultKind::MisalignedAddress, warp, at, lane, &what)
    }

    /// An access to shared memory that a copy in flight is going to write.
    #[cold]
    #[inline(never)]
    pub(super) fn early_access(&self, warp: &Warp, at: u32, lane: u32, shape: &Shape<'_>, action: &str) -> Box<Fault> {
        let what = format!(
            "{action} of {} bytes at shared address {:#x}, to which a cp.async is in flight: no wait covers it yet",
            shape.bytes, shape.offsets[lane as usize]
        );
        self.fault(FaultKind::LaunchFailed, warp, at, lane, &what)
    }

    /// A store to device memory that a copy in flight is going to read.
    #[cold]
    #[inline(never)]
    pub(super) fn overwritten_source(
        &self,
        warp: &Warp,
        at: u32,
        lane: u32,
        address: u64,
        bytes: u32,
        op: u32,
    ) -> Box<Fault> {
        let issued = self.place(op);
        let what = format!(
            "global store of {bytes} bytes at {address:#x} overwrites the source of a cp.async in flight\n  issued at {issued}"
        );
        self.fault(FaultKind::LaunchFailed, warp, at, lane, &what)
    }
}

impl Block {
    /// No warp can go on: names each waiting warp's line.
    pub(super) fn stuck(&self, engine: &Engine<'_>) -> Box<Fault> {
        let mut text = String::from("no progress is possible: every thread of the block that has not ended waits");
        for warp in self.warps.iter().filter(|warp| !warp.finished()) {
            for path in &warp.paths {
                let (what, at) = match path.state {
                    PathState::AtBarrier(_) => ("a barrier".to_owned(), path.pc - 1),
                    PathState::AtWarpOperation(named) if named & warp.exited != 0 => (
                        format!("the lanes {named:#010x}, of which {:#010x} have ended,", named & warp.exited),
                        path.pc,
                    ),
                    PathState::AtWarpOperation(named) => (format!("the lanes {named:#010x}"), path.pc),
                    _ => continue,
                };
                let place = engine.place(at);
                text += &format!("\n  warp {} (lanes {:#010x}) waits for {what} at {place}", warp.index, path.mask);
            }
        }
        let first = self.warps.iter().find(|warp| !warp.finished()).unwrap_or(&self.warps[0]);
        let lane = (first.valid & !first.exited).trailing_zeros() % 32;
        engine.fault(FaultKind::LaunchFailed, first, first.last, lane, &text)
    }
}

impl Site {
    /// The first lane whose bytes a copy in flight is going to write.
    ///
    /// # Safety
    /// The host must have the instructions of `S`, and the active lanes lie inside shared memory, aligned.
    pub(super) unsafe fn poisoned<S: Simd>(&self, shape: &Shape<'_>, mask: u32) -> Option<u32> {
        if shape.bytes <= 16 && !shape.regular() {
            // The marks of 16 bytes are four bytes side by side: as long as those around all lanes are clear, so are theirs.
            let mut marks = [0; 32];
            let mut places = [0; 32];
            places.iter_mut().zip(shape.offsets).for_each(|(place, &offset)| *place = offset / 16 * 4);
            // SAFETY: the caller's promise: one mark is kept for each word of shared memory.
            unsafe { S::gather(&mut marks, self.poison.slice().as_ptr(), &places, mask) };
            if marks.iter().fold(0, |any, &mark| any | mark) == 0 {
                return None;
            }
        }
        let hit = |start: u32, bytes: u32| {
            let words = &self.poison.slice()[start as usize / 4..(start + bytes).div_ceil(4) as usize];
            words.iter().fold(0, |any, &word| any | word) != 0
        };
        for half in 0..2 {
            let first = 16 * half as u32;
            if shape.runs[half] != Run::Scattered {
                let (start, length) = shape.range(half);
                if !hit(start, length) {
                    continue;
                }
            }
            let found = lanes(mask & 0xffff << first).find(|&lane| hit(shape.offsets[lane], shape.bytes));
            if let Some(lane) = found {
                return Some(lane as u32);
            }
        }
        None
    }
}
