//! Nodes that allocate and free. An allocation has its address as long as its graph exists, and memory from the run of
//! its node to that of the node that frees it.

use super::parameters::AllocateParameters;
use crate::driver::{
    abi::{CuResult, DeviceOrdinal, DevicePointer, In, Out, call},
    context,
    device::{Device, device},
    error::{Code, Error},
    memory::{self, Owner},
    operation::Operation,
    pool::PoolProperties,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// What the graphs of a device hold.
#[derive(Clone, Copy, Default)]
struct Usage {
    used: u64,
    used_high: u64,
    reserved: u64,
    reserved_high: u64,
}

static USAGE: Mutex<BTreeMap<DeviceOrdinal, Usage>> = Mutex::new(BTreeMap::new());
/// Allocations by address.
static ALLOCATIONS: Mutex<BTreeMap<DevicePointer, Weak<Allocation>>> = Mutex::new(BTreeMap::new());

fn change(device: DeviceOrdinal, work: impl FnOnce(&mut Usage)) {
    let mut all = USAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let usage = all.entry(device).or_default();
    work(usage);
    usage.used_high = usage.used_high.max(usage.used);
    usage.reserved_high = usage.reserved_high.max(usage.reserved);
}

fn allocations() -> MutexGuard<'static, BTreeMap<DevicePointer, Weak<Allocation>>> {
    ALLOCATIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The memory of a node.
pub(in crate::driver) struct Allocation {
    device: &'static Device,
    pub(super) address: DevicePointer,
    bytes: usize,
    context: usize,
    properties: PoolProperties,
}

/// Reserves the addresses for a node's memory.
pub(super) fn allocate_node(asked: &AllocateParameters) -> Result<Arc<Allocation>, Error> {
    let device = asked.pool.device()?;
    if asked.num_accesses > 0 {
        for access in asked.accesses.get_all(asked.num_accesses)? {
            access.check()?;
        }
    }
    new(device, context::current()?.handle, asked.bytes, asked.pool)
}

/// Reserves the addresses for memory that a stream allocates while it is captured.
pub(in crate::driver) fn captured(
    device: &'static Device,
    context: usize,
    bytes: usize,
) -> Result<(DevicePointer, Operation), Error> {
    let allocation = new(device, context, bytes, PoolProperties::of(device.ordinal))?;
    Ok((allocation.address, Operation::Allocate(allocation)))
}

fn new(
    device: &'static Device,
    context: usize,
    bytes: usize,
    properties: PoolProperties,
) -> Result<Arc<Allocation>, Error> {
    if bytes == 0 {
        return Err(Code::INVALID_VALUE.into());
    }
    let address = device.memory()?.reserve(bytes as u64).ok_or(Code::OUT_OF_MEMORY)?;
    let allocation = Arc::new(Allocation { device, address, bytes, context, properties });
    allocations().insert(address, Arc::downgrade(&allocation));
    change(device.ordinal, |usage| usage.reserved += bytes as u64);
    Ok(allocation)
}

/// A node that frees; an error unless a node allocates at `address`.
pub(in crate::driver) fn free_node(address: DevicePointer) -> Result<Operation, Error> {
    if allocations().get(&address).is_some_and(|allocation| allocation.strong_count() > 0) {
        return Ok(Operation::Free(address));
    }
    Err(Error::new(
        Code::INVALID_VALUE,
        format!("a graph cannot free {address:#x}: no node of a graph allocates there"),
    ))
}

/// Tells that memory of a graph is free again.
pub(in crate::driver) fn freed(device: DeviceOrdinal, bytes: u64) {
    change(device, |usage| usage.used = usage.used.saturating_sub(bytes));
}

impl Allocation {
    /// Whether it has memory now.
    pub(super) fn is_live(&self) -> bool {
        self.device.memory().is_ok_and(|memory| memory.find(self.address).is_some())
    }

    /// Gives it memory.
    pub(in crate::driver) fn commit(&self) -> Result<(), Error> {
        if !self.device.memory()?.commit(self.address, self.bytes as u64) {
            return Err(if self.is_live() { Code::INVALID_VALUE.into() } else { Code::OUT_OF_MEMORY.into() });
        }
        memory::own(self.address, Owner::new(self.context, None, true));
        change(self.device.ordinal, |usage| usage.used += self.bytes as u64);
        Ok(())
    }

    pub(super) fn parameters(&self) -> AllocateParameters {
        AllocateParameters {
            pool: self.properties,
            accesses: In::from_address(0),
            num_accesses: 0,
            bytes: self.bytes,
            address: self.address,
        }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        allocations().remove(&self.address);
        change(self.device.ordinal, |usage| usage.reserved = usage.reserved.saturating_sub(self.bytes as u64));
        if let Ok(memory) = self.device.memory() {
            // Memory that the program has not freed stays its own.
            memory.release(self.address);
        }
    }
}

const USED_CURRENT: u32 = 0;
const USED_HIGH: u32 = 1;
const RESERVED_CURRENT: u32 = 2;
const RESERVED_HIGH: u32 = 3;

pub extern "C" fn cuDeviceGetGraphMemAttribute(ordinal: DeviceOrdinal, attribute: u32, value: Out<u64>) -> CuResult {
    call(|| {
        let ordinal = device(ordinal)?.ordinal;
        let usage = USAGE.lock().unwrap_or_else(PoisonError::into_inner).get(&ordinal).copied().unwrap_or_default();
        value.set(match attribute {
            USED_CURRENT => usage.used,
            USED_HIGH => usage.used_high,
            RESERVED_CURRENT => usage.reserved,
            RESERVED_HIGH => usage.reserved_high,
            _ => return Err(Code::INVALID_VALUE.into()),
        })
    })
}

/// High-water marks can be reset to zero, which means to what is used now.
pub extern "C" fn cuDeviceSetGraphMemAttribute(ordinal: DeviceOrdinal, attribute: u32, value: In<u64>) -> CuResult {
    call(|| {
        let ordinal = device(ordinal)?.ordinal;
        if value.get()? != 0 || !matches!(attribute, USED_HIGH | RESERVED_HIGH) {
            return Err(Code::INVALID_VALUE.into());
        }
        change(ordinal, |usage| match attribute {
            USED_HIGH => usage.used_high = 0,
            _ => usage.reserved_high = 0,
        });
        Ok(())
    })
}

/// What no graph needs is given back at once: there is nothing left to trim.
pub extern "C" fn cuDeviceGraphMemTrim(ordinal: DeviceOrdinal) -> CuResult {
    call(|| device(ordinal).map(drop))
}
