//! Contexts: which one each thread uses, and whether a fault has ended it.

use super::{
    abi::{CuResult, DeviceOrdinal, Handle, Out, call},
    capture,
    clock::ContextProgress,
    device::{Device, device},
    error::{Code, Error},
    event, host, limit, memory, module, pool, stream,
    table::{Table, new_handle},
};
use std::{
    cell::RefCell,
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering},
    },
};

/// A context.
pub(super) struct Context {
    pub(super) handle: Handle,
    pub(super) device: &'static Device,
    id: u64,
    pub(super) flags: AtomicU32,
    cache_config: AtomicI32,
    shared_config: AtomicI32,
    limits: Mutex<[usize; limit::DEFAULTS.len()]>,
    destroyed: AtomicBool,
    /// The code of the fault that ended it; 0 while it lives.
    fault: AtomicI32,
    /// Devices whose memory its kernels see.
    peers: Mutex<BTreeSet<DeviceOrdinal>>,
    /// How far its streams have come in modelled time.
    pub(super) progress: ContextProgress,
}

static CONTEXTS: Table<Context> = Table::new();

thread_local! {
    /// The contexts of this thread; the last one is current.
    static STACK: RefCell<Vec<Arc<Context>>> = const { RefCell::new(Vec::new()) };
}

impl Context {
    pub(super) fn create(device: &'static Device, flags: u32) -> Arc<Context> {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let context = Arc::new(Context {
            handle: new_handle(),
            device,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            flags: AtomicU32::new(flags),
            cache_config: AtomicI32::new(0),
            shared_config: AtomicI32::new(0),
            limits: Mutex::new(limit::DEFAULTS),
            destroyed: AtomicBool::new(false),
            fault: AtomicI32::new(0),
            peers: Mutex::default(),
            progress: ContextProgress::default(),
        });
        CONTEXTS.insert(context.handle, context.clone());
        context
    }

    /// A limit as set, by its number.
    pub(super) fn limit(&self, number: usize) -> usize {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)[number]
    }

    /// An error once the context is destroyed or a kernel in it is at fault.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.destroyed.load(Ordering::Acquire) {
            return Err(Code::CONTEXT_IS_DESTROYED.into());
        }
        match self.fault.load(Ordering::Acquire) {
            0 => Ok(()),
            code => Err(Code(code).into()),
        }
    }

    /// Ends the context: from now on calls return `code`. The first fault stays.
    pub(super) fn poison(&self, code: Code) {
        let _ = self.fault.compare_exchange(0, code.0, Ordering::AcqRel, Ordering::Acquire);
    }

    fn peers(&self) -> MutexGuard<'_, BTreeSet<DeviceOrdinal>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its kernels see the memory of another device.
    pub(super) fn has_peer(&self, device: DeviceOrdinal) -> bool {
        self.peers().contains(&device)
    }

    /// Lets its kernels see the memory of another device; `false`: they do already.
    pub(super) fn add_peer(&self, device: DeviceOrdinal) -> bool {
        self.peers().insert(device)
    }

    /// Undoes [`add_peer`](Self::add_peer); `false`: there is nothing to undo.
    pub(super) fn remove_peer(&self, device: DeviceOrdinal) -> bool {
        self.peers().remove(&device)
    }

    /// Frees everything that belongs to it.
    pub(super) fn destroy(&self) {
        let _ = CONTEXTS.remove(self.handle);
        stream::remove_all(self.handle);
        self.destroyed.store(true, Ordering::Release);
        event::remove_all(self.handle);
        module::remove_all(self.handle);
        memory::free_all(self.handle);
        host::free_all(self.handle);
        pool::trim_all(self.device);
    }
}

/// The calling thread's context, usable.
pub(super) fn current() -> Result<Arc<Context>, Error> {
    let context = current_even_faulty()?;
    context.check()?;
    Ok(context)
}

/// The calling thread's context, whatever happened to it: for freeing and for questions.
pub(super) fn current_even_faulty() -> Result<Arc<Context>, Error> {
    with_stack(|stack| stack.last().cloned())?.ok_or(Code::INVALID_CONTEXT.into())
}

/// The context of a handle, or for handle 0 the current one.
pub(super) fn of_or_current(handle: Handle) -> Result<Arc<Context>, Error> {
    if handle == 0 {
        return current();
    }
    let context = find(handle)?;
    context.check()?;
    Ok(context)
}

pub(super) fn find(handle: Handle) -> Result<Arc<Context>, Error> {
    CONTEXTS.get(handle).map_err(|_| Code::INVALID_CONTEXT.into())
}

/// Works on this thread's contexts; an error while the thread is ending.
fn with_stack<T>(work: impl FnOnce(&mut Vec<Arc<Context>>) -> T) -> Result<T, Error> {
    STACK.try_with(|stack| work(&mut stack.borrow_mut())).map_err(|_| Code::DEINITIALIZED.into())
}

pub extern "C" fn cuCtxCreate_v2(out: Out<Handle>, flags: u32, ordinal: DeviceOrdinal) -> CuResult {
    call(|| {
        let device = device(ordinal)?;
        if out.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        let context = Context::create(device, flags);
        out.set(context.handle)?;
        with_stack(|stack| stack.push(context))
    })
}

/// Affinity of multiprocessors is not supported.
pub extern "C" fn cuCtxCreate_v3(
    out: Out<Handle>,
    _affinities: usize,
    num_affinities: i32,
    flags: u32,
    ordinal: DeviceOrdinal,
) -> CuResult {
    if num_affinities != 0 {
        return call(|| Err(Code::UNSUPPORTED_EXEC_AFFINITY.into()));
    }
    cuCtxCreate_v2(out, flags, ordinal)
}

/// Neither affinity nor sharing with graphics is supported: `parameters` must be null.
pub extern "C" fn cuCtxCreate_v4(out: Out<Handle>, parameters: usize, flags: u32, ordinal: DeviceOrdinal) -> CuResult {
    if parameters != 0 {
        return call(|| Err(Code::NOT_SUPPORTED.into()));
    }
    cuCtxCreate_v2(out, flags, ordinal)
}

pub extern "C" fn cuCtxDestroy_v2(handle: Handle) -> CuResult {
    call(|| {
        let context = find(handle)?;
        context.destroy();
        with_stack(|stack| {
            stack.pop_if(|top| top.handle == handle);
        })
    })
}

/// The most frequent call of all: cudarc makes it before every other.
pub extern "C" fn cuCtxGetCurrent(out: Out<Handle>) -> CuResult {
    call(|| out.set(with_stack(|stack| stack.last().map_or(0, |context| context.handle))?))
}

pub extern "C" fn cuCtxSetCurrent(handle: Handle) -> CuResult {
    call(|| {
        let context = (handle != 0).then(|| find(handle)).transpose()?;
        with_stack(|stack| {
            stack.pop();
            stack.extend(context);
        })
    })
}

pub extern "C" fn cuCtxPushCurrent_v2(handle: Handle) -> CuResult {
    call(|| {
        let context = find(handle)?;
        with_stack(|stack| stack.push(context))
    })
}

pub extern "C" fn cuCtxPopCurrent_v2(out: Out<Handle>) -> CuResult {
    call(|| {
        let context = with_stack(Vec::pop)?.ok_or(Code::INVALID_CONTEXT)?;
        out.set_if_wanted(context.handle);
        Ok(())
    })
}

pub extern "C" fn cuCtxGetDevice(out: Out<DeviceOrdinal>) -> CuResult {
    call(|| out.set(current_even_faulty()?.device.ordinal))
}

pub extern "C" fn cuCtxGetDevice_v2(out: Out<DeviceOrdinal>, handle: Handle) -> CuResult {
    call(|| out.set(of_or_current(handle)?.device.ordinal))
}

pub extern "C" fn cuCtxGetId(handle: Handle, id: Out<u64>) -> CuResult {
    call(|| id.set(of_or_current(handle)?.id))
}

pub extern "C" fn cuCtxGetApiVersion(handle: Handle, version: Out<u32>) -> CuResult {
    call(|| {
        of_or_current(handle)?;
        version.set(3020)
    })
}

pub extern "C" fn cuCtxGetFlags(flags: Out<u32>) -> CuResult {
    call(|| flags.set(current()?.flags.load(Ordering::Relaxed)))
}

pub extern "C" fn cuCtxSetFlags(flags: u32) -> CuResult {
    call(|| {
        current()?.flags.store(flags, Ordering::Relaxed);
        Ok(())
    })
}

fn synchronize(context: &Context) -> Result<(), Error> {
    capture::forbid_in(context.handle)?;
    capture::forbid_unsafe()?;
    stream::synchronize_all(context)?;
    context.check()
}

pub extern "C" fn cuCtxSynchronize() -> CuResult {
    call(|| synchronize(&*current()?))
}

pub extern "C" fn cuCtxSynchronize_v2(handle: Handle) -> CuResult {
    call(|| synchronize(&*of_or_current(handle)?))
}

pub extern "C" fn cuCtxGetLimit(value: Out<usize>, limit: u32) -> CuResult {
    call(|| {
        let context = current()?;
        limit::check(context.device.chip, limit)?;
        let limits = context.limits.lock().unwrap_or_else(PoisonError::into_inner);
        value.set(*limits.get(limit as usize).ok_or(Code::UNSUPPORTED_LIMIT)?)
    })
}

/// Limits are kept and reported; the stack size counts for recursive functions, the heap size for `malloc` in kernels.
pub extern "C" fn cuCtxSetLimit(limit: u32, value: usize) -> CuResult {
    call(|| {
        let context = current()?;
        let value = limit::accept(context.device.chip, limit, value)?;
        let mut limits = context.limits.lock().unwrap_or_else(PoisonError::into_inner);
        *limits.get_mut(limit as usize).ok_or(Code::UNSUPPORTED_LIMIT)? = value;
        Ok(())
    })
}

pub extern "C" fn cuCtxGetCacheConfig(config: Out<i32>) -> CuResult {
    call(|| config.set(current()?.cache_config.load(Ordering::Relaxed)))
}

pub extern "C" fn cuCtxSetCacheConfig(config: i32) -> CuResult {
    call(|| {
        current()?.cache_config.store(config, Ordering::Relaxed);
        Ok(())
    })
}

pub extern "C" fn cuCtxGetSharedMemConfig(config: Out<i32>) -> CuResult {
    call(|| config.set(current()?.shared_config.load(Ordering::Relaxed)))
}

pub extern "C" fn cuCtxSetSharedMemConfig(config: i32) -> CuResult {
    call(|| {
        current()?.shared_config.store(config, Ordering::Relaxed);
        Ok(())
    })
}

pub extern "C" fn cuCtxGetStreamPriorityRange(least: Out<i32>, greatest: Out<i32>) -> CuResult {
    call(|| {
        current()?;
        least.set_if_wanted(stream::LEAST_PRIORITY);
        greatest.set_if_wanted(stream::GREATEST_PRIORITY);
        Ok(())
    })
}

pub extern "C" fn cuCtxResetPersistingL2Cache() -> CuResult {
    call(|| current().map(drop))
}
