//! Memory pools: they own allocations and keep settings. Memory is never held back, so there is nothing to trim.

use super::{
    abi::{CuResult, DeviceOrdinal, DevicePointer, Handle, In, Out, call},
    device::device,
    error::{Code, Error},
    memory, stream,
    table::{Table, new_handle},
};
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

const REUSE_FIRST: u32 = 1;
const REUSE_LAST: u32 = 3;
const RELEASE_THRESHOLD: u32 = 4;
const RESERVED_CURRENT: u32 = 5;
const RESERVED_HIGH: u32 = 6;
const USED_CURRENT: u32 = 7;
const USED_HIGH: u32 = 8;

const ALLOCATION_PINNED: u32 = 1;
const LOCATION_DEVICE: u32 = 1;
const READ_WRITE: u32 = 3;

/// `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Location {
    kind: u32,
    id: i32,
}

/// `CUmemPoolProps`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PoolProperties {
    allocation: u32,
    handle_types: u32,
    location: Location,
    security: usize,
    max_bytes: usize,
    usage: u16,
    reserved: [u8; 54],
}

/// A pool.
pub(super) struct Pool {
    device: DeviceOrdinal,
    default: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reuse: [i32; 3],
    release_threshold: u64,
    used: u64,
    used_high: u64,
}

static POOLS: Table<Pool> = Table::new();

/// The pools of a device: its default one, made at the first use, and the one that allocations come from.
pub(super) struct Pools {
    device: DeviceOrdinal,
    default: std::sync::OnceLock<Handle>,
    current: AtomicUsize,
}

impl Pools {
    pub(super) fn new(device: DeviceOrdinal) -> Pools {
        Pools { device, default: std::sync::OnceLock::new(), current: AtomicUsize::new(0) }
    }

    fn default(&self) -> Handle {
        *self.default.get_or_init(|| Pool::create(self.device, true))
    }

    /// The pool of [`cuMemAllocAsync`].
    pub(super) fn current(&self) -> Handle {
        match self.current.load(Ordering::Relaxed) {
            0 => self.default(),
            handle => handle,
        }
    }
}

impl Pool {
    fn create(device: DeviceOrdinal, default: bool) -> Handle {
        let handle = new_handle();
        let pool = Pool { device, default, state: Mutex::new(State { reuse: [1; 3], ..State::default() }) };
        POOLS.insert(handle, Arc::new(pool));
        handle
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts an allocation of a pool.
pub(super) fn allocated(pool: Handle, bytes: u64) {
    if let Ok(pool) = POOLS.get(pool) {
        let mut state = pool.state();
        state.used += bytes;
        state.used_high = state.used_high.max(state.used);
    }
}

/// Counts a free; the pool may be gone.
pub(super) fn freed(pool: Handle, bytes: u64) {
    if let Ok(pool) = POOLS.get(pool) {
        let mut state = pool.state();
        state.used = state.used.saturating_sub(bytes);
    }
}

pub extern "C" fn cuMemAllocAsync(out: Out<DevicePointer>, bytes: usize, on_stream: Handle) -> CuResult {
    call(|| {
        let context = stream::context_of(on_stream)?;
        let pool = context.device.pools.current();
        memory::allocate(&context, out, bytes, Some(pool))
    })
}

pub extern "C" fn cuMemAllocFromPoolAsync(
    out: Out<DevicePointer>,
    bytes: usize,
    pool: Handle,
    on_stream: Handle,
) -> CuResult {
    call(|| {
        let context = stream::context_of(on_stream)?;
        if POOLS.get(pool)?.device != context.device.ordinal {
            return Err(Error::new(
                Code::INVALID_VALUE,
                "cuMemAllocFromPoolAsync: pool and stream belong to different devices",
            ));
        }
        memory::allocate(&context, out, bytes, Some(pool))
    })
}

pub extern "C" fn cuDeviceGetDefaultMemPool(out: Out<Handle>, ordinal: DeviceOrdinal) -> CuResult {
    call(|| out.set(device(ordinal)?.pools.default()))
}

pub extern "C" fn cuDeviceGetMemPool(out: Out<Handle>, ordinal: DeviceOrdinal) -> CuResult {
    call(|| out.set(device(ordinal)?.pools.current()))
}

pub extern "C" fn cuDeviceSetMemPool(ordinal: DeviceOrdinal, pool: Handle) -> CuResult {
    call(|| {
        let device = device(ordinal)?;
        if POOLS.get(pool)?.device != ordinal {
            return Err(Code::INVALID_VALUE.into());
        }
        device.pools.current.store(pool, Ordering::Relaxed);
        Ok(())
    })
}

pub extern "C" fn cuMemPoolCreate(out: Out<Handle>, properties: In<PoolProperties>) -> CuResult {
    call(|| {
        let asked = properties.get()?;
        if asked.allocation != ALLOCATION_PINNED || asked.location.kind != LOCATION_DEVICE {
            return Err(Code::INVALID_VALUE.into());
        }
        if asked.handle_types != 0 {
            return Err(Code::NOT_SUPPORTED.into());
        }
        let device = device(asked.location.id)?;
        if out.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        out.set(Pool::create(device.ordinal, false))
    })
}

/// Allocations of the pool stay valid until they are freed.
pub extern "C" fn cuMemPoolDestroy(pool: Handle) -> CuResult {
    call(|| {
        let object = POOLS.get(pool)?;
        if object.default {
            return Err(Code::INVALID_VALUE.into());
        }
        POOLS.remove(pool)?;
        // A device whose current pool goes returns to its default one.
        let current = &device(object.device)?.pools.current;
        let _ = current.compare_exchange(pool, 0, Ordering::Relaxed, Ordering::Relaxed);
        Ok(())
    })
}

pub extern "C" fn cuMemPoolTrimTo(pool: Handle, _keep: usize) -> CuResult {
    call(|| POOLS.get(pool).map(drop))
}

pub extern "C" fn cuMemPoolGetAttribute(pool: Handle, attribute: u32, value: Out<u64>) -> CuResult {
    call(|| {
        let pool = POOLS.get(pool)?;
        let state = pool.state();
        match attribute {
            REUSE_FIRST..=REUSE_LAST => value.cast::<i32>().set(state.reuse[(attribute - REUSE_FIRST) as usize]),
            RELEASE_THRESHOLD => value.set(state.release_threshold),
            RESERVED_CURRENT | USED_CURRENT => value.set(state.used),
            RESERVED_HIGH | USED_HIGH => value.set(state.used_high),
            _ => Err(Code::INVALID_VALUE.into()),
        }
    })
}

pub extern "C" fn cuMemPoolSetAttribute(pool: Handle, attribute: u32, value: In<u64>) -> CuResult {
    call(|| {
        let pool = POOLS.get(pool)?;
        let mut state = pool.state();
        match attribute {
            REUSE_FIRST..=REUSE_LAST => {
                let enabled = In::<i32>::from_address(value.address()).get()?;
                state.reuse[(attribute - REUSE_FIRST) as usize] = enabled;
            }
            RELEASE_THRESHOLD => state.release_threshold = value.get()?,
            // A high-water mark can only be reset.
            RESERVED_HIGH | USED_HIGH if value.get()? == 0 => state.used_high = state.used,
            _ => return Err(Code::INVALID_VALUE.into()),
        }
        Ok(())
    })
}

pub extern "C" fn cuMemPoolGetAccess(flags: Out<u32>, pool: Handle, location: In<Location>) -> CuResult {
    call(|| {
        let pool = POOLS.get(pool)?;
        let asked = location.get()?;
        let own = asked.kind == LOCATION_DEVICE && asked.id == pool.device;
        flags.set(if own { READ_WRITE } else { 0 })
    })
}
