//! Device memory: allocating and freeing.

use super::{
    abi::{CuResult, DevicePointer, Handle, Out, call},
    capture,
    context::{self, Context},
    device,
    error::{Code, Error},
    graph, host,
    operation::Operation,
    pointer, pool, stream,
};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Whose an allocation is.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub(super) context: Handle,
    pub(super) pool: Option<Handle>,
    /// Whether a node of a graph allocated it.
    pub(super) graph: bool,
    /// Counts allocations of this process: CU_POINTER_ATTRIBUTE_BUFFER_ID.
    pub(super) number: u64,
    /// Whether a stream is going to free it.
    leaving: bool,
}

impl Owner {
    pub(super) fn new(context: Handle, pool: Option<Handle>, graph: bool) -> Owner {
        Owner { context, pool, graph, number: 0, leaving: false }
    }
}

struct Owners {
    by_base: BTreeMap<DevicePointer, Owner>,
    count: u64,
}

static OWNERS: Mutex<Owners> = Mutex::new(Owners { by_base: BTreeMap::new(), count: 0 });

fn owners() -> MutexGuard<'static, Owners> {
    OWNERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The owner of the allocation that starts at `base`.
pub(super) fn owner(base: DevicePointer) -> Option<Owner> {
    owners().by_base.get(&base).copied()
}

/// Allocates in a context and writes the address.
pub(super) fn allocate(
    context: &Context,
    out: Out<DevicePointer>,
    bytes: usize,
    pool: Option<Handle>,
) -> Result<(), Error> {
    if bytes == 0 || out.is_null() {
        return Err(Code::INVALID_VALUE.into());
    }
    let memory = context.device.memory()?;
    let retry = || {
        pool::trim_all(context.device);
        memory.allocate(bytes as u64)
    };
    let address = memory.allocate(bytes as u64).or_else(retry).ok_or_else(|| {
        Error::new(
            Code::OUT_OF_MEMORY,
            format!(
                "out of memory: {bytes} bytes asked for, {} of {} free",
                memory.capacity() - memory.used(),
                memory.capacity()
            ),
        )
    })?;
    own(address, Owner::new(context.handle, pool, false));
    out.set(address)
}

/// Says whose the allocation at `address` is, and numbers it.
pub(super) fn own(address: DevicePointer, owner: Owner) {
    let mut owners = owners();
    owners.count += 1;
    let number = owners.count;
    owners.by_base.insert(address, Owner { number, ..owner });
}

/// The bytes that an allocation of `bytes` bytes takes on the device.
pub(super) fn rounded(bytes: u64) -> u64 {
    bytes.next_multiple_of(512)
}

/// Frees what was allocated at `address`; works in a context that a fault has ended, too.
pub(super) fn free(address: DevicePointer) -> Result<(), Error> {
    let not_ours = || Error::new(Code::INVALID_VALUE, format!("cannot free {address:#x}: no allocation starts there"));
    let owner = owners().by_base.remove(&address).ok_or_else(not_ours)?;
    let device = device::owner(address).ok_or_else(not_ours)?;
    let freed = device.memory()?.free(address).map_err(|_| not_ours())?;
    if let Some(pool) = owner.pool {
        pool::freed(pool, freed.bytes);
    }
    if owner.graph {
        graph::freed(device.ordinal, freed.bytes);
    }
    pointer::forget(address);
    Ok(())
}

/// Frees everything that a context allocated.
pub(super) fn free_all(context: Handle) {
    let theirs: Vec<DevicePointer> =
        owners().by_base.iter().filter(|(_, owner)| owner.context == context).map(|(base, _)| *base).collect();
    for base in theirs {
        // An allocation that another thread freed meanwhile is gone as wanted.
        let _ = free(base);
    }
}

pub extern "C" fn cuMemAlloc_v2(out: Out<DevicePointer>, bytes: usize) -> CuResult {
    call(|| {
        capture::forbid_unsafe()?;
        allocate(&*context::current()?, out, bytes, None)
    })
}

/// Rows of `width` bytes, each starting at a multiple of 512.
pub extern "C" fn cuMemAllocPitch_v2(
    out: Out<DevicePointer>,
    pitch: Out<usize>,
    width: usize,
    height: usize,
    element_bytes: u32,
) -> CuResult {
    call(|| {
        capture::forbid_unsafe()?;
        let context = context::current()?;
        if !matches!(element_bytes, 4 | 8 | 16) || pitch.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        let row = width.checked_next_multiple_of(512);
        let bytes = row.and_then(|row| row.checked_mul(height));
        allocate(&context, out, bytes.ok_or(Code::INVALID_VALUE)?, None)?;
        pitch.set(row.unwrap_or(0))
    })
}

/// Waits for the work that may use it.
pub(super) fn settle() -> Result<(), Error> {
    capture::forbid_unsafe()?;
    match context::current() {
        Ok(context) => stream::synchronize_all(&context),
        // A fault must not keep the memory.
        Err(_) => Ok(()),
    }
}

/// Freeing address 0 does nothing.
pub extern "C" fn cuMemFree_v2(address: DevicePointer) -> CuResult {
    call(|| {
        if address == 0 {
            return Ok(());
        }
        settle()?;
        if host::free_managed(address) { Ok(()) } else { free(address) }
    })
}

pub extern "C" fn cuMemFreeAsync(address: DevicePointer, on_stream: Handle) -> CuResult {
    call(|| match stream::find(on_stream) {
        // A fault of the stream's context must not keep the memory; a stream that does not exist is an error.
        Err(error) if error.code == Code::INVALID_HANDLE => Err(error),
        _ if address == 0 => Ok(()),
        Err(_) => free(address),
        Ok(_) => stream::enqueue(on_stream, Operation::Free(address)).map(drop),
    })
}

/// An error unless there is something to free at `address`, which a stream frees from now on.
pub(super) fn leave(address: DevicePointer) -> Result<(), Error> {
    let refuse = |why| Err(Error::new(Code::INVALID_VALUE, format!("cannot free {address:#x}: {why}")));
    match owners().by_base.get_mut(&address) {
        Some(owner) if owner.leaving => refuse("a stream is freeing it"),
        Some(owner) => {
            owner.leaving = true;
            Ok(())
        }
        None => refuse("no allocation starts there"),
    }
}

/// Frees what a stream was asked to free, unless it went with its context since.
pub(super) fn free_leaving(address: DevicePointer) -> Result<(), Error> {
    if owner(address).is_some_and(|owner| owner.leaving) { free(address) } else { Ok(()) }
}

pub extern "C" fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) -> CuResult {
    call(|| {
        let memory = context::current()?.device.memory()?;
        free.set((memory.capacity() - memory.used()) as usize)?;
        total.set(memory.capacity() as usize)
    })
}

pub extern "C" fn cuMemGetAddressRange_v2(
    base: Out<DevicePointer>,
    bytes: Out<usize>,
    address: DevicePointer,
) -> CuResult {
    call(|| {
        context::current()?;
        let (start, length) = pointer::range(address)?.ok_or(Code::NOT_FOUND)?;
        base.set_if_wanted(start);
        bytes.set_if_wanted(length);
        Ok(())
    })
}
