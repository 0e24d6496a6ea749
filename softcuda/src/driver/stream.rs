//! Streams: what they are, and how an operation gets to its graph or its queue.

use super::{
    abi::{CuResult, DeviceOrdinal, Handle, In, Out, call},
    capture::{self, Capturing},
    clock::{self, Progress},
    context::{self, Context},
    error::{Code, Error},
    launch::AttributeValue,
    operation::{Callback, HostCall, Operation},
    pool,
    queue::{self, Queue, Signal},
    table::{Table, new_handle},
};
use std::{
    collections::BTreeMap,
    ffi::c_void,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, AtomicU64, Ordering},
    },
};

/// The priority of a stream that asks for none.
pub(super) const LEAST_PRIORITY: i32 = 0;
/// Lower numbers are greater priorities.
pub(super) const GREATEST_PRIORITY: i32 = -5;

/// The default stream (0), CU_STREAM_LEGACY and CU_STREAM_PER_THREAD exist in every context.
const LEGACY: Handle = 1;
const PER_THREAD: Handle = 2;
const NON_BLOCKING: u32 = 1;

/// CU_LAUNCH_ATTRIBUTE_PRIORITY.
const ATTRIBUTE_PRIORITY: u32 = 8;

/// A stream.
pub(super) struct Stream {
    pub(super) handle: Handle,
    pub(super) context: Arc<Context>,
    pub(super) queue: Queue,
    /// How far it has come in modelled time.
    pub(super) progress: Progress,
    flags: u32,
    priority: AtomicI32,
    id: u64,
    capture: Mutex<Option<Capturing>>,
    attributes: Mutex<BTreeMap<u32, AttributeValue>>,
}

static STREAMS: Table<Stream> = Table::new();
/// By context and thread: the legacy stream (thread 0) and those of threads.
static SPECIAL: Mutex<BTreeMap<(Handle, u64), Arc<Stream>>> = Mutex::new(BTreeMap::new());

fn special() -> MutexGuard<'static, BTreeMap<(Handle, u64), Arc<Stream>>> {
    SPECIAL.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// A number of this thread, from 1.
    static THREAD: u64 = {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

impl Stream {
    fn new(handle: Handle, context: Arc<Context>, flags: u32, priority: i32, id: u64) -> Arc<Stream> {
        Arc::new(Stream {
            handle,
            context,
            queue: Queue::default(),
            progress: Progress::default(),
            flags,
            priority: AtomicI32::new(priority),
            id,
            capture: Mutex::default(),
            attributes: Mutex::default(),
        })
    }

    pub(super) fn is_legacy(&self) -> bool {
        self.handle == LEGACY
    }

    /// Whether it waits for the legacy stream, and the legacy stream for it.
    pub(super) fn is_blocking(&self) -> bool {
        !self.is_legacy() && self.flags & NON_BLOCKING == 0
    }

    /// Brings its time up to what it waits for although it does not say so: the thread that asks, the legacy stream.
    pub(super) fn catch_up(&self) {
        self.progress.lift(clock::thread());
        if self.is_legacy() {
            self.progress.lift(self.context.progress.blocking.now());
        } else if self.is_blocking() {
            self.progress.lift(self.context.progress.legacy.now());
        }
    }

    /// Tells the context how far it has come.
    pub(super) fn publish(&self) {
        let (now, all) = (self.progress.now(), &self.context.progress);
        all.any.lift(now);
        if self.is_legacy() {
            all.legacy.lift(now);
        } else if self.is_blocking() {
            all.blocking.lift(now);
        }
    }

    /// Its part in a capture.
    pub(super) fn capture(&self) -> MutexGuard<'_, Option<Capturing>> {
        self.capture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream of a handle, its context fit for work.
pub(super) fn find(handle: Handle) -> Result<Arc<Stream>, Error> {
    let special_stream = |handle, thread| {
        let context = context::current()?;
        let mut streams = special();
        let stream = streams.entry((context.handle, thread));
        Ok(stream.or_insert_with(|| Stream::new(handle, context, 0, LEAST_PRIORITY, handle as u64)).clone())
    };
    match handle {
        0 | LEGACY => special_stream(LEGACY, 0),
        PER_THREAD => special_stream(PER_THREAD, THREAD.try_with(|thread| *thread).unwrap_or(0)),
        _ => {
            let stream = STREAMS.get(handle)?;
            stream.context.check()?;
            Ok(stream)
        }
    }
}

/// The stream's context, fit for work.
pub(super) fn context_of(stream: Handle) -> Result<Arc<Context>, Error> {
    Ok(find(stream)?.context.clone())
}

/// All streams of a context.
fn all_of(context: Handle) -> Vec<Arc<Stream>> {
    let of = special().range((context, 0)..=(context, u64::MAX)).map(|(_, stream)| stream.clone()).collect::<Vec<_>>();
    let mut streams = STREAMS.all(|stream| stream.context.handle == context);
    streams.extend(of);
    streams
}

/// What a new operation has to wait for although its stream does not say so: the legacy stream waits for the blocking
/// ones and they for it.
pub(super) fn implied(stream: &Stream) -> Vec<Arc<Signal>> {
    if !stream.is_legacy() && !stream.is_blocking() {
        return Vec::new();
    }
    let others = all_of(stream.context.handle).into_iter();
    let others = others.filter(|other| if stream.is_legacy() { other.is_blocking() } else { other.is_legacy() });
    others.filter_map(|other| other.queue.tail()).collect()
}

/// Waits for all work of a context.
pub(super) fn synchronize_all(context: &Context) -> Result<(), Error> {
    if queue::any_pending() {
        for stream in all_of(context.handle) {
            if let Some(tail) = stream.queue.tail() {
                tail.wait()?;
            }
        }
    }
    clock::waited(context.progress.any.now());
    pool::synchronized(context.device);
    Ok(())
}

/// Forgets the streams of a context, once their work has ended.
pub(super) fn remove_all(context: Handle) {
    for stream in all_of(context) {
        capture::leave(&stream);
        if let Some(tail) = stream.queue.tail() {
            // A host function that destroys its context does not wait for itself.
            let _ = tail.wait();
        }
    }
    STREAMS.remove_all(|stream| stream.context.handle == context);
    special().retain(|(of, _), _| *of != context);
}

/// Hands an operation to a stream: to the graph that captures it, or to its queue. The signal tells its end.
pub(super) fn enqueue(handle: Handle, operation: Operation) -> Result<Arc<Signal>, Error> {
    let stream = find(handle)?;
    if capture::append(&stream, &operation)? {
        return Ok(Signal::completed());
    }
    queue::submit(&stream, operation, Vec::new())
}

fn create(out: Out<Handle>, flags: u32, priority: i32) -> Result<(), Error> {
    static NEXT_ID: AtomicU64 = AtomicU64::new(PER_THREAD as u64 + 1);
    let context = context::current()?;
    if flags > NON_BLOCKING {
        return Err(Code::INVALID_VALUE.into());
    }
    let handle = new_handle();
    out.set(handle)?;
    let priority = priority.clamp(GREATEST_PRIORITY, LEAST_PRIORITY);
    STREAMS.insert(handle, Stream::new(handle, context, flags, priority, NEXT_ID.fetch_add(1, Ordering::Relaxed)));
    Ok(())
}

pub extern "C" fn cuStreamCreate(out: Out<Handle>, flags: u32) -> CuResult {
    call(|| create(out, flags, LEAST_PRIORITY))
}

pub extern "C" fn cuStreamCreateWithPriority(out: Out<Handle>, flags: u32, priority: i32) -> CuResult {
    call(|| create(out, flags, priority))
}

/// What is pending on the stream is still done.
pub extern "C" fn cuStreamDestroy_v2(stream: Handle) -> CuResult {
    call(|| {
        let stream = STREAMS.remove(stream)?;
        capture::leave(&stream);
        Ok(())
    })
}

/// What has to end before the stream is idle.
fn ends(stream: &Arc<Stream>) -> Vec<Arc<Signal>> {
    if !queue::any_pending() {
        return Vec::new();
    }
    let mut ends = if stream.is_legacy() { implied(stream) } else { Vec::new() };
    ends.extend(stream.queue.tail());
    ends
}

pub extern "C" fn cuStreamQuery(stream: Handle) -> CuResult {
    call(|| {
        let stream = find(stream)?;
        capture::forbid_on(&stream)?;
        if ends(&stream).is_empty() { Ok(()) } else { Err(Code::NOT_READY.into()) }
    })
}

pub extern "C" fn cuStreamSynchronize(stream: Handle) -> CuResult {
    call(|| {
        let stream = find(stream)?;
        capture::forbid_on(&stream)?;
        ends(&stream).iter().try_for_each(|signal| signal.wait())?;
        stream.catch_up();
        clock::waited(stream.progress.now());
        pool::synchronized(stream.context.device);
        stream.context.check()
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
    call(|| flags.set(find(stream)?.flags))
}

pub extern "C" fn cuStreamGetPriority(stream: Handle, priority: Out<i32>) -> CuResult {
    call(|| priority.set(find(stream)?.priority.load(Ordering::Relaxed)))
}

pub extern "C" fn cuStreamGetId(stream: Handle, id: Out<u64>) -> CuResult {
    call(|| id.set(find(stream)?.id))
}

/// Attributes are kept and reported; none but the priority is known elsewhere.
pub extern "C" fn cuStreamSetAttribute(stream: Handle, attribute: u32, value: In<AttributeValue>) -> CuResult {
    call(|| {
        let stream = find(stream)?;
        let value = value.get()?;
        // Access policy window, synchronization policy, priority, memory synchronization domains.
        if !matches!(attribute, 1 | 3 | ATTRIBUTE_PRIORITY | 9 | 10) {
            return Err(Code::INVALID_VALUE.into());
        }
        if attribute == ATTRIBUTE_PRIORITY {
            let priority = (value[0] as i32).clamp(GREATEST_PRIORITY, LEAST_PRIORITY);
            stream.priority.store(priority, Ordering::Relaxed);
        }
        stream.attributes.lock().unwrap_or_else(PoisonError::into_inner).insert(attribute, value);
        Ok(())
    })
}

pub extern "C" fn cuStreamGetAttribute(stream: Handle, attribute: u32, value: Out<AttributeValue>) -> CuResult {
    call(|| {
        let stream = find(stream)?;
        if !matches!(attribute, 1 | 3 | ATTRIBUTE_PRIORITY | 9 | 10) {
            return Err(Code::INVALID_VALUE.into());
        }
        let attributes = stream.attributes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = attributes.get(&attribute).copied().unwrap_or_default();
        if attribute == ATTRIBUTE_PRIORITY {
            found[0] = stream.priority.load(Ordering::Relaxed) as u32;
        }
        value.set(found)
    })
}

pub extern "C" fn cuStreamCopyAttributes(to: Handle, from: Handle) -> CuResult {
    call(|| {
        let (to, from) = (find(to)?, find(from)?);
        let copied = from.attributes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        to.attributes.lock().unwrap_or_else(PoisonError::into_inner).extend(copied);
        to.priority.store(from.priority.load(Ordering::Relaxed), Ordering::Relaxed);
        Ok(())
    })
}

/// Calls `function` on a thread of the driver's, once what was asked for before on the stream has ended.
pub extern "C" fn cuLaunchHostFunc(
    stream: Handle,
    function: Option<extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> CuResult {
    call(|| {
        let call = HostCall { function: function.ok_or(Code::INVALID_VALUE)?, data: data as usize };
        enqueue(stream, Operation::Host(call)).map(drop)
    })
}

/// Like [`cuLaunchHostFunc`], with the status of the stream; it is called even in a context that a fault has ended.
pub extern "C" fn cuStreamAddCallback(
    stream: Handle,
    callback: Option<extern "C" fn(Handle, CuResult, *mut c_void)>,
    data: *mut c_void,
    flags: u32,
) -> CuResult {
    call(|| {
        if flags != 0 {
            return Err(Code::INVALID_VALUE.into());
        }
        let callback = Callback { function: callback.ok_or(Code::INVALID_VALUE)?, stream, data: data as usize };
        enqueue(stream, Operation::Callback(callback)).map(drop)
    })
}
