//! Streams. Every operation runs to its end inside the call that asks for it, which is one of the legal orders: so
//! a stream has nothing to do but to be known, and waiting never waits.

use super::{
    abi::{CuResult, DeviceOrdinal, Handle, Out, call},
    context::{self, Context},
    error::{Code, Error},
    event,
    table::{Table, new_handle},
};
use std::{
    ffi::c_void,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The priority of a stream that asks for none.
pub(super) const LEAST_PRIORITY: i32 = 0;
/// Lower numbers are greater priorities.
pub(super) const GREATEST_PRIORITY: i32 = -5;

/// The default stream (0), CU_STREAM_LEGACY and CU_STREAM_PER_THREAD exist in every context.
const LAST_SPECIAL: Handle = 2;
const NON_BLOCKING: u32 = 1;

/// A stream.
pub(super) struct Stream {
    context: Arc<Context>,
    flags: u32,
    priority: i32,
    id: u64,
}

static STREAMS: Table<Stream> = Table::new();

/// The stream's context, fit for work.
pub(super) fn context_of(stream: Handle) -> Result<Arc<Context>, Error> {
    if stream <= LAST_SPECIAL {
        return context::current();
    }
    let context = STREAMS.get(stream)?.context.clone();
    context.check()?;
    Ok(context)
}

/// Forgets the streams of a context.
pub(super) fn remove_all(context: Handle) {
    STREAMS.remove_all(|stream| stream.context.handle == context);
}

fn create(out: Out<Handle>, flags: u32, priority: i32) -> Result<(), Error> {
    static NEXT_ID: AtomicU64 = AtomicU64::new(LAST_SPECIAL as u64 + 1);
    let context = context::current()?;
    if flags > NON_BLOCKING {
        return Err(Code::INVALID_VALUE.into());
    }
    let handle = new_handle();
    out.set(handle)?;
    let stream = Stream {
        context,
        flags,
        priority: priority.clamp(GREATEST_PRIORITY, LEAST_PRIORITY),
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
    };
    STREAMS.insert(handle, Arc::new(stream));
    Ok(())
}

pub extern "C" fn cuStreamCreate(out: Out<Handle>, flags: u32) -> CuResult {
    call(|| create(out, flags, LEAST_PRIORITY))
}

pub extern "C" fn cuStreamCreateWithPriority(out: Out<Handle>, flags: u32, priority: i32) -> CuResult {
    call(|| create(out, flags, priority))
}

pub extern "C" fn cuStreamDestroy_v2(stream: Handle) -> CuResult {
    call(|| STREAMS.remove(stream).map(drop))
}

pub extern "C" fn cuStreamQuery(stream: Handle) -> CuResult {
    call(|| context_of(stream).map(drop))
}

pub extern "C" fn cuStreamSynchronize(stream: Handle) -> CuResult {
    call(|| context_of(stream).map(drop))
}

pub extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: u32) -> CuResult {
    call(|| {
        context_of(stream)?;
        event::check(event)
    })
}

pub extern "C" fn cuStreamGetCtx(stream: Handle, out: Out<Handle>) -> CuResult {
    call(|| out.set(context_of(stream)?.handle))
}

/// No stream here belongs to a green context.
pub extern "C" fn cuStreamGetCtx_v2(stream: Handle, out: Out<Handle>, green: Out<Handle>) -> CuResult {
    call(|| {
        out.set(context_of(stream)?.handle)?;
        green.set_if_wanted(0);
        Ok(())
    })
}

pub extern "C" fn cuStreamGetDevice(stream: Handle, out: Out<DeviceOrdinal>) -> CuResult {
    call(|| out.set(context_of(stream)?.device.ordinal))
}

pub extern "C" fn cuStreamGetFlags(stream: Handle, flags: Out<u32>) -> CuResult {
    call(|| {
        context_of(stream)?;
        flags.set(match stream {
            0..=LAST_SPECIAL => 0,
            _ => STREAMS.get(stream)?.flags,
        })
    })
}

pub extern "C" fn cuStreamGetPriority(stream: Handle, priority: Out<i32>) -> CuResult {
    call(|| {
        context_of(stream)?;
        priority.set(match stream {
            0..=LAST_SPECIAL => LEAST_PRIORITY,
            _ => STREAMS.get(stream)?.priority,
        })
    })
}

pub extern "C" fn cuStreamGetId(stream: Handle, id: Out<u64>) -> CuResult {
    call(|| {
        context_of(stream)?;
        id.set(match stream {
            0..=LAST_SPECIAL => stream as u64,
            _ => STREAMS.get(stream)?.id,
        })
    })
}

/// Capture is not supported, so no stream is ever capturing.
pub extern "C" fn cuStreamIsCapturing(stream: Handle, status: Out<i32>) -> CuResult {
    call(|| {
        context_of(stream)?;
        status.set(0)
    })
}

pub extern "C" fn cuStreamGetCaptureInfo(stream: Handle, status: Out<i32>, _id: Out<u64>) -> CuResult {
    cuStreamIsCapturing(stream, status)
}

pub extern "C" fn cuStreamGetCaptureInfo_v2(
    stream: Handle,
    status: Out<i32>,
    _id: Out<u64>,
    _graph: Out<Handle>,
    _dependencies: Out<usize>,
    _num_dependencies: Out<usize>,
) -> CuResult {
    cuStreamIsCapturing(stream, status)
}

pub extern "C" fn cuStreamGetCaptureInfo_v3(
    stream: Handle,
    status: Out<i32>,
    _id: Out<u64>,
    _graph: Out<Handle>,
    _dependencies: Out<usize>,
    _edges: Out<usize>,
    _num_dependencies: Out<usize>,
) -> CuResult {
    cuStreamIsCapturing(stream, status)
}

pub extern "C" fn cuThreadExchangeStreamCaptureMode(mode: Out<i32>) -> CuResult {
    call(|| {
        // Without capture every mode is as good as the default one, which is what was set before.
        mode.set(0)
    })
}

/// Calls `function` at once: what was asked for before on the stream has ended.
pub extern "C" fn cuLaunchHostFunc(
    stream: Handle,
    function: Option<extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> CuResult {
    call(|| {
        context_of(stream)?;
        function.ok_or(Code::INVALID_VALUE)?(data);
        Ok(())
    })
}

/// Calls `callback` at once, with the status of the stream.
pub extern "C" fn cuStreamAddCallback(
    stream: Handle,
    callback: Option<extern "C" fn(Handle, CuResult, *mut c_void)>,
    data: *mut c_void,
    _flags: u32,
) -> CuResult {
    call(|| {
        context_of(stream)?;
        callback.ok_or(Code::INVALID_VALUE)?(stream, Code::SUCCESS.0, data);
        Ok(())
    })
}
