//! Events. A recorded event is complete when what precedes it on its stream has ended.

use super::{
    abi::{CuResult, Handle, Out, call},
    capture::{self, Sequence},
    clock,
    context::{self, Context},
    device::driver,
    error::{Code, Error},
    operation::Operation,
    queue::{self, Signal},
    stream,
    table::{Table, new_handle},
};
use crate::config::Clock;
use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

const BLOCKING_SYNC: u32 = 1;
const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;
/// CU_EVENT_RECORD_EXTERNAL and CU_EVENT_WAIT_EXTERNAL: a node of the graph that is captured.
const EXTERNAL: u32 = 1;

/// An event.
pub(super) struct Event {
    pub(super) handle: Handle,
    pub(super) context: Arc<Context>,
    flags: u32,
    state: Mutex<State>,
}

/// When an event was reached.
#[derive(Default)]
pub(super) struct Record {
    /// By the host's clock, and in modelled nanoseconds.
    time: OnceLock<(Instant, u64)>,
}

impl Record {
    pub(super) fn take_time(&self) {
        self.time.get_or_init(|| (Instant::now(), clock::reached()));
    }
}

/// What was last done to an event.
enum State {
    Never,
    Recorded(Arc<Record>, Arc<Signal>),
    /// Recorded in a stream that was being captured, after these nodes.
    Captured(Arc<Sequence>, Vec<Handle>),
}

static EVENTS: Table<Event> = Table::new();

/// The event of a handle, its context fit for work.
pub(super) fn find(event: Handle) -> Result<Arc<Event>, Error> {
    let event = EVENTS.get(event)?;
    event.context.check()?;
    Ok(event)
}

/// Forgets the events of a context.
pub(super) fn remove_all(context: Handle) {
    EVENTS.remove_all(|event| event.context.handle == context);
}

impl Event {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it waits to be reached.
    pub(super) fn is_pending(&self) -> bool {
        matches!(&*self.state(), State::Recorded(_, signal) if !signal.is_done())
    }

    /// Recorded by a node of a graph.
    pub(super) fn record_now(&self) {
        let record = Arc::new(Record::default());
        record.take_time();
        let signal = Signal::completed();
        signal.reached.lift(clock::reached());
        *self.state() = State::Recorded(record, signal);
    }

    /// Waited for by a node of a graph.
    pub(super) fn wait_anyway(&self) {
        let signal = match &*self.state() {
            State::Recorded(_, signal) => Some(signal.clone()),
            _ => None,
        };
        if let Some(signal) = signal {
            signal.wait_anyway();
        }
    }

    /// What has to end before it is reached; an error if it belongs to a capture.
    fn signal(&self) -> Result<Option<Arc<Signal>>, Error> {
        match &*self.state() {
            State::Never => Ok(None),
            State::Recorded(_, signal) => Ok(Some(signal.clone())),
            State::Captured(sequence, _) => {
                // Asking is what a captured event must not be; it ends the capture.
                sequence.invalidate();
                Err(Code::CAPTURED_EVENT.into())
            }
        }
    }
}

pub extern "C" fn cuEventCreate(out: Out<Handle>, flags: u32) -> CuResult {
    call(|| {
        let context = context::current()?;
        if flags & INTERPROCESS != 0 {
            return Err(Code::NOT_SUPPORTED.into());
        }
        if flags > (BLOCKING_SYNC | DISABLE_TIMING) {
            return Err(Code::INVALID_VALUE.into());
        }
        let handle = new_handle();
        out.set(handle)?;
        let event = Event { handle, context, flags, state: Mutex::new(State::Never) };
        EVENTS.insert(handle, Arc::new(event));
        Ok(())
    })
}

pub extern "C" fn cuEventDestroy_v2(event: Handle) -> CuResult {
    call(|| EVENTS.remove(event).map(drop))
}

fn record(event: Handle, on_stream: Handle, external: bool) -> Result<(), Error> {
    let event = find(event)?;
    let on = stream::find(on_stream)?;
    if on.context.handle != event.context.handle {
        return Err(Error::new(Code::INVALID_HANDLE, "cuEventRecord: event and stream belong to different contexts"));
    }
    if external {
        // A node: the event itself is not captured.
        return match capture::append(&on, &Operation::Record(event))? {
            true => Ok(()),
            false => Err(Code::INVALID_VALUE.into()),
        };
    }
    if let Some((sequence, nodes)) = capture::position(&on)? {
        *event.state() = State::Captured(sequence, nodes);
        return Ok(());
    }
    let record = Arc::new(Record::default());
    let signal = queue::submit(&on, Operation::Mark(record.clone()), Vec::new())?;
    *event.state() = State::Recorded(record, signal);
    Ok(())
}

pub extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> CuResult {
    call(|| record(event, stream, false))
}

pub extern "C" fn cuEventRecordWithFlags(event: Handle, stream: Handle, flags: u32) -> CuResult {
    call(|| match flags {
        0 | EXTERNAL => record(event, stream, flags == EXTERNAL),
        _ => Err(Code::INVALID_VALUE.into()),
    })
}

pub extern "C" fn cuStreamWaitEvent(on_stream: Handle, event: Handle, flags: u32) -> CuResult {
    call(|| {
        let on = stream::find(on_stream)?;
        let event = find(event)?;
        if flags & EXTERNAL != 0 {
            return match capture::append(&on, &Operation::Wait(event))? {
                true => Ok(()),
                false => Err(Code::INVALID_VALUE.into()),
            };
        }
        let signal = match &*event.state() {
            State::Never => return capture::position(&on).map(drop),
            State::Captured(sequence, nodes) => return capture::join(&on, sequence, nodes),
            State::Recorded(_, signal) => signal.clone(),
        };
        capture::isolate(&on)?;
        if signal.is_done() {
            on.progress.lift(signal.reached.now());
            return Ok(());
        }
        queue::submit(&on, Operation::Empty, vec![signal]).map(drop)
    })
}

pub extern "C" fn cuEventQuery(event: Handle) -> CuResult {
    call(|| {
        let event = find(event)?;
        let signal = event.signal()?;
        capture::forbid_unsafe()?;
        match signal {
            Some(signal) if !signal.is_done() => Err(Code::NOT_READY.into()),
            _ => Ok(()),
        }
    })
}

pub extern "C" fn cuEventSynchronize(event: Handle) -> CuResult {
    call(|| {
        let event = find(event)?;
        let signal = event.signal()?;
        capture::forbid_unsafe()?;
        if let Some(signal) = signal {
            signal.wait()?;
        }
        event.context.check()
    })
}

/// Time between two events in milliseconds: modelled, or the host's if `SOFTCUDA_CLOCK` says so.
pub extern "C" fn cuEventElapsedTime(out: Out<f32>, start: Handle, end: Handle) -> CuResult {
    call(|| {
        let time = |handle| {
            let event = find(handle)?;
            if event.flags & DISABLE_TIMING != 0 {
                return Err(Error::from(Code::INVALID_HANDLE));
            }
            match &*event.state() {
                State::Never => Err(Code::INVALID_HANDLE.into()),
                State::Captured(..) => Err(Code::CAPTURED_EVENT.into()),
                State::Recorded(_, signal) if !signal.is_done() => Err(Code::NOT_READY.into()),
                State::Recorded(record, _) => record.time.get().copied().ok_or(Code::NOT_READY.into()),
            }
        };
        let (start, end) = (time(start)?, time(end)?);
        if driver()?.config.clock == Clock::Model {
            return out.set((end.1 as f64 - start.1 as f64) as f32 * 1e-6);
        }
        let seconds = match end.0.checked_duration_since(start.0) {
            Some(forward) => forward.as_secs_f32(),
            None => -(start.0 - end.0).as_secs_f32(),
        };
        out.set(seconds * 1000.0)
    })
}

pub extern "C" fn cuEventElapsedTime_v2(out: Out<f32>, start: Handle, end: Handle) -> CuResult {
    cuEventElapsedTime(out, start, end)
}
