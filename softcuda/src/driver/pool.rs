//! Memory pools: they own allocations, and hold back memory that was freed until the program synchronizes.

use super::{
    abi::{CuResult, DeviceOrdinal, DevicePointer, Handle, In, Out, call},
    capture,
    device::{Device, device},
    error::{Code, Error},
    graph,
    location::{self, AccessDescription, Location},
    memory, stream,
    table::{Table, new_handle},
};
use crate::memory::Access;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

const REUSE_FIRST: u32 = 1;
const REUSE_LAST: u32 = 3;
const RELEASE_THRESHOLD: u32 = 4;
const RESERVED_CURRENT: u32 = 5;
const RESERVED_HIGH: u32 = 6;
const USED_CURRENT: u32 = 7;
const USED_HIGH: u32 = 8;

const ALLOCATION_PINNED: u32 = 1;

/// `CUmemPoolProps`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PoolProperties {
    allocation: u32,
    handle_types: u32,
    location: Location,
    security: usize,
    /// 0: as many as the device has.
    max_bytes: usize,
    usage: u16,
    reserved: [u8; 54],
}

impl PoolProperties {
    /// An ordinary pool on a device.
    pub(super) fn of(device: DeviceOrdinal) -> PoolProperties {
        PoolProperties {
            allocation: ALLOCATION_PINNED,
            handle_types: 0,
            location: Location { kind: location::DEVICE, id: device },
            security: 0,
            max_bytes: 0,
            usage: 0,
            reserved: [0; 54],
        }
    }

    /// The device; an error for pools that there are not.
    pub(super) fn device(&self) -> Result<&'static Device, Error> {
        if self.allocation != ALLOCATION_PINNED {
            return Err(Code::INVALID_VALUE.into());
        }
        if self.handle_types != 0 {
            return Err(Error::new(Code::NOT_SUPPORTED, "memory of a pool cannot be shared with other processes"));
        }
        self.location.device()
    }
}

/// A pool.
pub(super) struct Pool {
    device: &'static Device,
    default: bool,
    properties: PoolProperties,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reuse: [i32; 3],
    release_threshold: u64,
    /// Bytes asked for and not freed.
    used: u64,
    used_high: u64,
    /// Bytes that these take on the device.
    held: u64,
    /// Freed bytes that the device does not have back yet.
    cached: u64,
    reserved_high: u64,
    access: BTreeMap<DeviceOrdinal, Access>,
}

impl State {
    fn reserved(&self) -> u64 {
        self.held + self.cached
    }
}

static POOLS: Table<Pool> = Table::new();
/// Bytes that all pools together hold back.
static CACHED: AtomicU64 = AtomicU64::new(0);

/// The pools of a device: its default one, made at the first use, and the one that allocations come from.
pub(super) struct Pools {
    default: OnceLock<Handle>,
    current: AtomicUsize,
}

impl Pools {
    pub(super) fn new() -> Pools {
        Pools { default: OnceLock::new(), current: AtomicUsize::new(0) }
    }
}

impl Device {
    fn default_pool(&'static self) -> Handle {
        *self.pools.default.get_or_init(|| Pool::create(self, PoolProperties::of(self.ordinal), true))
    }

    /// The pool of [`cuMemAllocAsync`].
    fn current_pool(&'static self) -> Handle {
        match self.pools.current.load(Ordering::Relaxed) {
            0 => self.default_pool(),
            handle => handle,
        }
    }

    fn set_pool(&'static self, pool: Handle) -> Result<(), Error> {
        if POOLS.get(pool)?.device.ordinal != self.ordinal {
            return Err(Code::INVALID_VALUE.into());
        }
        self.pools.current.store(pool, Ordering::Relaxed);
        Ok(())
    }
}

impl Pool {
    fn create(device: &'static Device, properties: PoolProperties, default: bool) -> Handle {
        let handle = new_handle();
        let state = Mutex::new(State { reuse: [1; 3], ..State::default() });
        POOLS.insert(handle, Arc::new(Pool { device, default, properties, state }));
        handle
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives freed memory back to the device, except what is needed to hold `keep` bytes in all.
    fn trim(&self, keep: u64) {
        let mut state = self.state();
        let given = state.cached.min(state.reserved().saturating_sub(keep));
        state.cached -= given;
        give_back(self.device, given);
    }
}

fn give_back(device: &Device, bytes: u64) {
    CACHED.fetch_sub(bytes, Ordering::Relaxed);
    if let Ok(memory) = device.memory() {
        memory.discharge(bytes);
    }
}

/// Allocates from a pool; what it holds back is used first.
fn allocate(out: Out<DevicePointer>, bytes: usize, pool: Handle, on_stream: Handle) -> Result<(), Error> {
    let on = stream::find(on_stream)?;
    let object = POOLS.get(pool)?;
    if object.device.ordinal != on.context.device.ordinal {
        return Err(Error::new(Code::INVALID_VALUE, "pool and stream belong to different devices"));
    }
    if out.is_null() || bytes == 0 {
        return Err(Code::INVALID_VALUE.into());
    }
    if capture::position(&on)?.is_some() {
        let (address, operation) = graph::captured(on.context.device, on.context.handle, bytes)?;
        capture::append(&on, &operation)?;
        return out.set(address);
    }
    let rounded = memory::rounded(bytes as u64);
    let mut state = object.state();
    let max = object.properties.max_bytes as u64;
    if max > 0 && state.held + rounded > max {
        return Err(Error::new(Code::OUT_OF_MEMORY, format!("the pool may have {max} bytes in all")));
    }
    let taken = state.cached.min(rounded);
    state.cached -= taken;
    give_back(object.device, taken);
    drop(state);
    memory::allocate(&on.context, out, bytes, Some(pool))?;
    let mut state = object.state();
    state.used += bytes as u64;
    state.held += rounded;
    state.used_high = state.used_high.max(state.used);
    state.reserved_high = state.reserved_high.max(state.reserved());
    Ok(())
}

/// Keeps freed memory back until the next synchronization; the pool may be gone.
pub(super) fn freed(pool: Handle, bytes: u64) {
    if let Ok(pool) = POOLS.get(pool) {
        let rounded = memory::rounded(bytes);
        let mut state = pool.state();
        state.used = state.used.saturating_sub(bytes);
        state.held = state.held.saturating_sub(rounded);
        if pool.device.memory().is_ok_and(|memory| memory.charge(rounded)) {
            state.cached += rounded;
            CACHED.fetch_add(rounded, Ordering::Relaxed);
        }
    }
}

/// The program has synchronized: pools give back what exceeds their thresholds.
pub(super) fn synchronized(device: &Device) {
    give_back_all(device, |state| state.release_threshold);
}

/// The device has run out of memory.
pub(super) fn trim_all(device: &Device) {
    give_back_all(device, |_| 0);
}

fn give_back_all(device: &Device, keep: impl Fn(&State) -> u64) {
    if CACHED.load(Ordering::Relaxed) > 0 {
        for pool in POOLS.all(|pool| pool.device.ordinal == device.ordinal) {
            let keep = keep(&pool.state());
            pool.trim(keep);
        }
    }
}

/// What another device may do with the memory of a pool.
pub(super) fn access(pool: Handle, device: DeviceOrdinal) -> Option<Access> {
    POOLS.get(pool).ok()?.state().access.get(&device).copied()
}

pub extern "C" fn cuMemAllocAsync(out: Out<DevicePointer>, bytes: usize, on_stream: Handle) -> CuResult {
    call(|| {
        let pool = stream::context_of(on_stream)?.device.current_pool();
        allocate(out, bytes, pool, on_stream)
    })
}

pub extern "C" fn cuMemAllocFromPoolAsync(
    out: Out<DevicePointer>,
    bytes: usize,
    pool: Handle,
    on_stream: Handle,
) -> CuResult {
    call(|| allocate(out, bytes, pool, on_stream))
}

pub extern "C" fn cuDeviceGetDefaultMemPool(out: Out<Handle>, ordinal: DeviceOrdinal) -> CuResult {
    call(|| out.set(device(ordinal)?.default_pool()))
}

pub extern "C" fn cuDeviceGetMemPool(out: Out<Handle>, ordinal: DeviceOrdinal) -> CuResult {
    call(|| out.set(device(ordinal)?.current_pool()))
}

pub extern "C" fn cuDeviceSetMemPool(ordinal: DeviceOrdinal, pool: Handle) -> CuResult {
    call(|| device(ordinal)?.set_pool(pool))
}

/// Pools of devices only.
fn at(location: In<Location>, allocation: u32) -> Result<&'static Device, Error> {
    if allocation != ALLOCATION_PINNED {
        return Err(Code::NOT_SUPPORTED.into());
    }
    location.get()?.device()
}

pub extern "C" fn cuMemGetDefaultMemPool(out: Out<Handle>, location: In<Location>, allocation: u32) -> CuResult {
    call(|| out.set(at(location, allocation)?.default_pool()))
}

pub extern "C" fn cuMemGetMemPool(out: Out<Handle>, location: In<Location>, allocation: u32) -> CuResult {
    call(|| out.set(at(location, allocation)?.current_pool()))
}

pub extern "C" fn cuMemSetMemPool(location: In<Location>, allocation: u32, pool: Handle) -> CuResult {
    call(|| at(location, allocation)?.set_pool(pool))
}

pub extern "C" fn cuMemPoolCreate(out: Out<Handle>, properties: In<PoolProperties>) -> CuResult {
    call(|| {
        let properties = properties.get()?;
        let device = properties.device()?;
        if out.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        out.set(Pool::create(device, properties, false))
    })
}

/// Allocations of the pool stay valid until they are freed.
pub extern "C" fn cuMemPoolDestroy(pool: Handle) -> CuResult {
    call(|| {
        let object = POOLS.get(pool)?;
        if object.default {
            return Err(Code::INVALID_VALUE.into());
        }
        object.trim(0);
        POOLS.remove(pool)?;
        // A device whose current pool goes returns to its default one.
        let current = &object.device.pools.current;
        let _ = current.compare_exchange(pool, 0, Ordering::Relaxed, Ordering::Relaxed);
        Ok(())
    })
}

pub extern "C" fn cuMemPoolTrimTo(pool: Handle, keep: usize) -> CuResult {
    call(|| {
        POOLS.get(pool)?.trim(keep as u64);
        Ok(())
    })
}

pub extern "C" fn cuMemPoolGetAttribute(pool: Handle, attribute: u32, value: Out<u64>) -> CuResult {
    call(|| {
        let pool = POOLS.get(pool)?;
        let state = pool.state();
        match attribute {
            REUSE_FIRST..=REUSE_LAST => value.cast::<i32>().set(state.reuse[(attribute - REUSE_FIRST) as usize]),
            RELEASE_THRESHOLD => value.set(state.release_threshold),
            RESERVED_CURRENT => value.set(state.reserved()),
            RESERVED_HIGH => value.set(state.reserved_high),
            USED_CURRENT => value.set(state.used),
            USED_HIGH => value.set(state.used_high),
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
            RESERVED_HIGH if value.get()? == 0 => state.reserved_high = state.reserved(),
            USED_HIGH if value.get()? == 0 => state.used_high = state.used,
            _ => return Err(Code::INVALID_VALUE.into()),
        }
        Ok(())
    })
}

/// A pool's own device always has access.
pub extern "C" fn cuMemPoolSetAccess(pool: Handle, descriptions: In<AccessDescription>, count: usize) -> CuResult {
    call(|| {
        let pool = POOLS.get(pool)?;
        let checked: Result<Vec<_>, Error> =
            descriptions.get_all(count)?.iter().map(AccessDescription::check).collect();
        let checked = checked?;
        let own = pool.device.ordinal;
        if checked.iter().any(|(device, access)| *device == own && *access != Some(Access::ReadWrite)) {
            return Err(Code::INVALID_VALUE.into());
        }
        let mut state = pool.state();
        for (device, access) in checked {
            match access {
                Some(access) => state.access.insert(device, access),
                None => state.access.remove(&device),
            };
        }
        Ok(())
    })
}

pub extern "C" fn cuMemPoolGetAccess(flags: Out<u32>, pool: Handle, location: In<Location>) -> CuResult {
    call(|| {
        let pool = POOLS.get(pool)?;
        let asked = location.get()?.device()?.ordinal;
        let state = pool.state();
        flags.set(match state.access.get(&asked) {
            _ if asked == pool.device.ordinal => 3,
            None => 0,
            Some(Access::Read) => 1,
            Some(Access::ReadWrite) => 3,
        })
    })
}
