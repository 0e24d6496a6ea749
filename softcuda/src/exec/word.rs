//! The most frequent access by far, on a path of its own: one 32-bit word a lane, all lanes of all the warps active, and
//! each half of a warp at one address or at consecutive ones, all warps alike. Any other goes the general way.

use super::alu::Active;
use super::engine::Engine;
use super::level::Level;
use super::registers::Simd;
use super::run::Checked;
use super::shape::{Halves, Run};
use super::tally;
use super::traffic;
use super::transfer::{load_shared_words, load_words, store_shared_words, store_words};
use super::warp::Warp;
use crate::profile::{Access, Records};
use crate::program::op::{AddressWidth, Op};

/// A word access to one memory.
struct Words<'a> {
    /// Slots of the address and of the data.
    address: u16,
    data: u16,
    offset: i64,
    /// Addresses that are right: those of shared memory, or of one allocation.
    base: u64,
    end: u64,
    /// Host address of address 0.
    host: usize,
    /// For each word of shared memory whether a `cp.async` to it is in flight; empty: none is.
    poison: &'a [u8],
}

/// One 32-bit word a lane between memory and a slot.
///
/// # Safety
/// The host must have the instructions of `S`, and all lanes of the warps must be active.
#[inline(always)]
pub(super) unsafe fn words<S: Level, const SHARED: bool, const LOAD: bool>(
    engine: &mut Engine<'_>,
    warps: &mut [Warp],
    op: &Op,
    at: u32,
) -> Checked<()> {
    let mut done = 0;
    while done < warps.len() {
        let kernel = engine.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let width = if SHARED { AddressWidth::Narrow } else { AddressWidth::Wide };
        let span = engine.access_spans[op.aux as usize];
        let words = Words {
            address: op.a,
            data: op.d,
            offset: access.offset,
            base: if SHARED { 0 } else { span.base },
            end: if SHARED { engine.site.shared.len() } else { span.end },
            host: if SHARED { engine.site.shared.pointer() as usize } else { span.shift },
            poison: if engine.site.in_flight == 0 { &[] } else { engine.site.poison.slice() },
        };
        let usual = engine.watch.is_none()
            && access.address == width
            && (SHARED || LOAD || !span.read_only && words.poison.is_empty());
        let rest = &mut warps[done..];
        let first_warp = rest[0].index;
        let records = &mut engine.records;
        let (count, cost) = if usual {
            // SAFETY: the caller's promise.
            unsafe {
                match first_shape::<SHARED>(&rest[0], op.a) {
                    (true, true) => alike::<S, SHARED, LOAD, true, true>(rest, &words, records),
                    (false, false) => alike::<S, SHARED, LOAD, false, false>(rest, &words, records),
                    (true, false) => alike::<S, SHARED, LOAD, true, false>(rest, &words, records),
                    (false, true) => alike::<S, SHARED, LOAD, false, true>(rest, &words, records),
                }
            }
        } else {
            (0, 0)
        };
        done += count;
        if count > 0 {
            engine.count_words::<SHARED>(first_warp, at, count as u64, cost);
        }
        if count == 0 {
            // SAFETY: the caller's promise.
            if let Err(fault) = unsafe { S::other(engine, &mut warps[done], op, at, &Active::ALL) } {
                engine.failed = done;
                return Err(fault);
            }
            done += 1;
        }
    }
    Ok(())
}

/// Whether the halves of the first warp may be contiguous, judged by two lanes of each.
#[inline(always)]
fn first_shape<const SHARED: bool>(warp: &Warp, slot: u16) -> (bool, bool) {
    if SHARED {
        let row = warp.registers.word(slot);
        (row[0] != row[1], row[16] != row[17])
    } else {
        let row = warp.registers.double(slot);
        (row[0] != row[1], row[16] != row[17])
    }
}

/// Executes the access for warps from the first on, as long as their halves lie so; how many, and their wavefronts or sectors.
///
/// # Safety
/// The host must have the instructions of `S`; the memory from `base` to `end` must be mapped, and writable for a store.
#[inline(always)]
unsafe fn alike<S: Simd, const SHARED: bool, const LOAD: bool, const LOW: bool, const HIGH: bool>(
    warps: &mut [Warp],
    words: &Words<'_>,
    records: &mut Records,
) -> (usize, u64) {
    let run = |contiguous| if contiguous { Run::Contiguous } else { Run::Uniform };
    let length = |contiguous| if contiguous { 64 } else { 4 };
    let room = words.end - words.base;
    if room < length(LOW).max(length(HIGH)) {
        return (0, 0);
    }
    // The largest offsets of a half's first lane.
    let last = [room - length(LOW), room - length(HIGH)];
    let mut cost = 0;
    for (index, warp) in warps.iter_mut().enumerate() {
        let registers = &mut warp.registers;
        let first = if SHARED {
            let row = registers.word(words.address);
            // SAFETY: the caller's promise.
            if unsafe { !S::lie_narrow::<LOW, HIGH>(row) } {
                return (index, cost);
            }
            [row[0], row[16]].map(|address| u64::from(address.wrapping_add(words.offset as u32)))
        } else {
            let row = registers.double(words.address);
            // SAFETY: the caller's promise.
            if unsafe { !S::lie_wide::<LOW, HIGH>(row) } {
                return (index, cost);
            }
            [row[0], row[16]].map(|address| address.wrapping_add_signed(words.offset))
        };
        let halves = Halves { runs: [run(LOW), run(HIGH)], first };
        let offsets = first.map(|first| first.wrapping_sub(words.base));
        let outside = (offsets[0] > last[0]) | (offsets[1] > last[1]) | ((first[0] | first[1]) & 3 != 0);
        if outside || SHARED && !words.poison.is_empty() && halves.marked(words.poison) {
            return (index, cost);
        }
        cost += if SHARED { traffic::wavefronts_of_halves(&halves) } else { traffic::sectors_of_halves(&halves) };
        if !SHARED && records.on() {
            tally::note_halves(records, if LOAD { Access::Read } else { Access::Write }, &halves);
        }
        // SAFETY: both halves lie inside the memory; shared memory is this thread's own.
        unsafe {
            match (SHARED, LOAD) {
                (true, true) => load_shared_words(registers.word_mut(words.data), words.host as *const u8, &halves),
                (true, false) => store_shared_words(registers.word(words.data), words.host as *mut u8, &halves),
                (false, true) => load_words::<S>(registers.word_mut(words.data), words.host, &halves),
                (false, false) => store_words::<S>(registers.word(words.data), words.host, &halves),
            }
        }
    }
    (warps.len(), cost)
}
