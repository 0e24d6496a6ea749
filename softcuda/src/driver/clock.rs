//! Modelled time: how far each stream has come, and each thread of the program.
//!
//! A stream advances by what its operations would take on the chip, and is never behind what they wait for: events, the
//! legacy stream, the thread that asks for them. A thread that waits for the device comes as far as what it waited for. What
//! the program itself does takes no time, and streams that do not wait for one another do not slow each other down.

use crate::chip::Chip;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// A point in time that only grows, in nanoseconds.
#[derive(Default)]
pub(super) struct Progress(AtomicU64);

impl Progress {
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// At least this far.
    pub(super) fn lift(&self, to: u64) {
        self.0.fetch_max(to, Ordering::AcqRel);
    }
}

/// How far the streams of a context have come.
#[derive(Default)]
pub(super) struct ContextProgress {
    /// The legacy stream.
    pub(super) legacy: Progress,
    /// Streams that wait for it, and it for them.
    pub(super) blocking: Progress,
    /// All streams.
    pub(super) any: Progress,
}

/// The operation that a thread runs.
#[derive(Clone, Copy)]
struct Running {
    start: u64,
    seconds: f64,
    chip: Option<&'static Chip>,
}

thread_local! {
    static THREAD: Cell<u64> = const { Cell::new(0) };
    static RUNNING: Cell<Running> = const { Cell::new(Running { start: 0, seconds: 0.0, chip: None }) };
}

/// How far the calling thread has come.
pub(super) fn thread() -> u64 {
    THREAD.get()
}

/// The calling thread has waited for something that is this far.
pub(super) fn waited(until: u64) {
    THREAD.set(THREAD.get().max(until));
}

/// Runs an operation of a stream on a chip.
pub(super) fn run<T>(stream: &Progress, chip: &'static Chip, operation: impl FnOnce() -> T) -> T {
    // A host function may ask for operations of other streams.
    let outer = RUNNING.replace(Running { start: stream.now(), seconds: 0.0, chip: Some(chip) });
    let result = operation();
    stream.lift(reached());
    RUNNING.set(outer);
    result
}

/// How far the operation that this thread runs has come.
pub(super) fn reached() -> u64 {
    let running = RUNNING.get();
    running.start + (running.seconds * 1e9).round() as u64
}

/// The operation that this thread runs takes so much longer.
pub(super) fn advance(seconds: f64) {
    let running = RUNNING.get();
    RUNNING.set(Running { seconds: running.seconds + seconds, ..running });
}

/// It moves bytes: between host and device, or within the device, which reads and writes them.
pub(super) fn move_bytes(bytes: usize, by_host: bool) {
    let Some(chip) = RUNNING.get().chip else { return };
    let rate = match by_host {
        true => chip.time.memory.host_bytes_per_second,
        false => chip.time.dram_bytes_per_second() / 2.0,
    };
    advance(chip.time.launch_seconds + bytes as f64 / rate);
}

/// It fills memory of the device.
pub(super) fn fill_bytes(bytes: usize) {
    let Some(chip) = RUNNING.get().chip else { return };
    advance(chip.time.launch_seconds + bytes as f64 / chip.time.dram_bytes_per_second());
}
