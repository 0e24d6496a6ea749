//! The device library: printf, assert, malloc and free.

use super::access::Checked;
use super::engine::{Engine, LOCAL_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use super::print::{self, Arguments};
use super::traffic::lanes;
use super::warp::Warp;
use crate::fault::{Fault, FaultKind};
use crate::program::calls::Builtin;
use crate::program::op::{BuiltinCall, Op};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Longest text that is followed: one without an end would go on for as long as there is memory.
const LONGEST_TEXT: usize = 1 << 20;

impl Engine<'_> {
    /// A call of the device library by the lanes of `mask`.
    pub(super) fn builtin(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let call = &kernel.tables.builtin_calls[op.aux as usize];
        match call.function {
            Builtin::Vprintf => self.print(warp, call, at, mask),
            Builtin::AssertFail => self.fail_assertion(warp, call, at, mask),
            Builtin::Malloc => self.allocate(warp, call, mask),
            Builtin::Free => self.free(warp, call, at, mask),
        }
    }

    /// `vprintf(format, arguments)`: the threads print one after the other.
    fn print(&mut self, warp: &mut Warp, call: &BuiltinCall, at: u32, mask: u32) -> Checked {
        let (formats, buffers) = (*warp.registers.double(call.arguments[0]), *warp.registers.double(call.arguments[1]));
        let mut known: Option<(u64, Vec<u8>)> = None;
        for lane in lanes(mask) {
            let format = match known.take() {
                Some((address, text)) if address == formats[lane] => text,
                _ => self.text(warp, at, lane, formats[lane])?,
            };
            let mut printed = std::mem::take(&mut self.site.printed);
            let mut arguments = Buffer { engine: self, warp, at, lane, address: buffers[lane] };
            let taken = print::format(&format, &mut arguments, &mut printed);
            self.site.printed = printed;
            let taken = taken?;
            if let Some(slot) = call.result {
                warp.registers.word_mut(slot)[lane] = taken;
            }
            known = Some((formats[lane], format));
        }
        Ok(())
    }

    /// `__assertfail(message, file, line, function, char_bytes)`: each thread says so, then the launch ends.
    fn fail_assertion(&mut self, warp: &Warp, call: &BuiltinCall, at: u32, mask: u32) -> Checked {
        let mut first = None;
        for lane in lanes(mask) {
            let text = |number: usize| {
                let bytes = self.text(warp, at, lane, warp.registers.double(call.arguments[number])[lane])?;
                Ok::<_, Box<Fault>>(String::from_utf8_lossy(&bytes).into_owned())
            };
            let (message, file, function) = (text(0)?, text(1)?, text(3)?);
            let line = warp.registers.word(call.arguments[2])[lane];
            let [x, y, z] = self.thread(warp.index, lane as u32);
            let [bx, by, bz] = self.site.block;
            let text = format!(
                "{file}:{line}: {function}: block: [{bx},{by},{bz}], thread: [{x},{y},{z}] Assertion `{message}` failed."
            );
            self.site.printed.extend(text.as_bytes());
            self.site.printed.push(b'\n');
            first.get_or_insert((lane, text));
        }
        match first {
            Some((lane, text)) => Err(self.fault(FaultKind::Assert, warp, at, lane as u32, &text)),
            None => Ok(()),
        }
    }

    fn allocate(&mut self, warp: &mut Warp, call: &BuiltinCall, mask: u32) -> Checked {
        let sizes = *warp.registers.double(call.arguments[0]);
        for lane in lanes(mask) {
            let address = self.machine.memory.heap_allocate(sizes[lane], self.launch.heap_bytes).unwrap_or(0);
            if let Some(slot) = call.result {
                warp.registers.double_mut(slot)[lane] = address;
            }
        }
        Ok(())
    }

    fn free(&mut self, warp: &mut Warp, call: &BuiltinCall, at: u32, mask: u32) -> Checked {
        let addresses = *warp.registers.double(call.arguments[0]);
        for lane in lanes(mask).filter(|&lane| addresses[lane] != 0) {
            if !self.machine.memory.heap_free(addresses[lane]) {
                let what =
                    format!("free of {:#x}, which malloc has not given or which is free already", addresses[lane]);
                return Err(self.fault(FaultKind::LaunchFailed, warp, at, lane as u32, &what));
            }
        }
        // What instructions remember of allocations no longer holds. Kernels that free run on this host thread alone.
        self.access_spans.fill(Default::default());
        self.copy_spans.fill(Default::default());
        Ok(())
    }

    /// The characters at a generic address, up to a zero.
    fn text(&self, warp: &Warp, at: u32, lane: usize, address: u64) -> Checked<Vec<u8>> {
        let mut text = Vec::new();
        while text.len() < LONGEST_TEXT {
            match self.byte(warp, at, lane, address.wrapping_add(text.len() as u64))? {
                0 => break,
                byte => text.push(byte),
            }
        }
        Ok(text)
    }

    /// A byte at a generic address.
    fn byte(&self, warp: &Warp, at: u32, lane: usize, address: u64) -> Checked<u8> {
        let within = |window: u64| address.wrapping_sub(window) < WINDOW_BYTES;
        if within(LOCAL_WINDOW) {
            let offset = (address - LOCAL_WINDOW) as u32;
            let found = self.site.local.byte(warp.index, lane, offset);
            return found.ok_or_else(|| self.local_fault(warp, at, lane as u32, offset, 1));
        }
        if within(SHARED_WINDOW) {
            let offset = address - SHARED_WINDOW;
            return self.site.shared.byte(offset).ok_or_else(|| {
                let what = format!(
                    "printf reads at shared address {offset:#x}: the block has {} bytes",
                    self.site.shared.len()
                );
                self.fault(FaultKind::IllegalAddress, warp, at, lane as u32, &what)
            });
        }
        let span = self.find_span(warp, at, lane, address, 1, "printf", false)?;
        let host = span.shift.wrapping_add(address as usize) as *mut u8;
        // SAFETY: find_span has shown that the byte lies inside a live allocation; other threads may be writing it.
        Ok(unsafe { AtomicU8::from_ptr(host) }.load(Relaxed))
    }
}

/// The arguments of a `vprintf`, each aligned to its size.
struct Buffer<'e, 'a> {
    engine: &'e Engine<'a>,
    warp: &'e Warp,
    at: u32,
    lane: usize,
    address: u64,
}

impl Arguments for Buffer<'_, '_> {
    type Error = Box<Fault>;

    fn next(&mut self, bytes: u32) -> Checked<u64> {
        let bytes = u64::from(bytes);
        let start = self.address.wrapping_add(bytes - 1) & !(bytes - 1);
        self.address = start.wrapping_add(bytes);
        (0..bytes).try_fold(0, |value, place| {
            let byte = self.engine.byte(self.warp, self.at, self.lane, start.wrapping_add(place))?;
            Ok(value | u64::from(byte) << (8 * place))
        })
    }

    fn text(&mut self, address: u64) -> Checked<Vec<u8>> {
        self.engine.text(self.warp, self.at, self.lane, address)
    }
}
