//! Events. What precedes an event on its stream has ended when it is recorded, so a recorded event is complete.

use super::{
    abi::{CuResult, Handle, Out, call},
    context::{self, Context},
    error::{Code, Error},
    stream,
    table::{Table, new_handle},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;

/// An event.
pub(super) struct Event {
    context: Arc<Context>,
    flags: u32,
    recorded: Mutex<Option<Instant>>,
}

static EVENTS: Table<Event> = Table::new();

/// An error unless `event` is one whose context is fit for work.
pub(super) fn check(event: Handle) -> Result<(), Error> {
    EVENTS.get(event)?.context.check()
}

/// Forgets the events of a context.
pub(super) fn remove_all(context: Handle) {
    EVENTS.remove_all(|event| event.context.handle == context);
}

pub extern "C" fn cuEventCreate(out: Out<Handle>, flags: u32) -> CuResult {
    call(|| {
        let context = context::current()?;
        if flags & INTERPROCESS != 0 {
            return Err(Code::NOT_SUPPORTED.into());
        }
        if flags > (1 | DISABLE_TIMING) {
            return Err(Code::INVALID_VALUE.into());
        }
        let handle = new_handle();
        out.set(handle)?;
        let event = Event { context, flags, recorded: Mutex::new(None) };
        EVENTS.insert(handle, Arc::new(event));
        Ok(())
    })
}

pub extern "C" fn cuEventDestroy_v2(event: Handle) -> CuResult {
    call(|| EVENTS.remove(event).map(drop))
}

pub extern "C" fn cuEventRecord(event: Handle, on_stream: Handle) -> CuResult {
    call(|| {
        let event = EVENTS.get(event)?;
        event.context.check()?;
        if stream::context_of(on_stream)?.handle != event.context.handle {
            return Err(Error::new(
                Code::INVALID_HANDLE,
                "cuEventRecord: event and stream belong to different contexts",
            ));
        }
        *event.recorded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    })
}

pub extern "C" fn cuEventRecordWithFlags(event: Handle, stream: Handle, _flags: u32) -> CuResult {
    cuEventRecord(event, stream)
}

pub extern "C" fn cuEventQuery(event: Handle) -> CuResult {
    call(|| check(event))
}

pub extern "C" fn cuEventSynchronize(event: Handle) -> CuResult {
    call(|| check(event))
}

/// Wall time between two events in milliseconds.
pub extern "C" fn cuEventElapsedTime(out: Out<f32>, start: Handle, end: Handle) -> CuResult {
    call(|| {
        let time = |handle| {
            let event = EVENTS.get(handle)?;
            event.context.check()?;
            if event.flags & DISABLE_TIMING != 0 {
                return Err(Error::from(Code::INVALID_HANDLE));
            }
            let recorded = event.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            recorded.ok_or(Code::INVALID_HANDLE.into())
        };
        let (start, end) = (time(start)?, time(end)?);
        let seconds = match end.checked_duration_since(start) {
            Some(forward) => forward.as_secs_f32(),
            None => -(start - end).as_secs_f32(),
        };
        out.set(seconds * 1000.0)
    })
}

pub extern "C" fn cuEventElapsedTime_v2(out: Out<f32>, start: Handle, end: Handle) -> CuResult {
    cuEventElapsedTime(out, start, end)
}
