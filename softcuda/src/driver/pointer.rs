//! What a pointer points to.

use super::{
    abi::{CuResult, DevicePointer, In, Out, call},
    device,
    error::{Code, Error},
    host::{self, Kind},
    memory, virtual_memory,
};
use crate::memory::Access;
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

const MEMORY_TYPE_HOST: u32 = 1;
const MEMORY_TYPE_DEVICE: u32 = 2;

/// Everything that can be asked about a pointer.
struct Pointee {
    context: usize,
    memory_type: u32,
    /// 0: the device does not see it.
    device_pointer: u64,
    /// 0: the host does not see it.
    host_pointer: u64,
    managed: bool,
    ordinal: i32,
    base: u64,
    bytes: usize,
    number: u64,
    pool: usize,
    read_only: bool,
}

/// Allocations whose copies have been asked to be synchronous (CU_POINTER_ATTRIBUTE_SYNC_MEMOPS), by their start.
static SYNCHRONOUS: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

fn synchronous() -> MutexGuard<'static, BTreeSet<u64>> {
    SYNCHRONOUS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets what was set for an allocation.
pub(super) fn forget(base: u64) {
    synchronous().remove(&base);
}

/// Start and length of the allocation around `address`.
pub(super) fn range(address: u64) -> Result<Option<(u64, usize)>, Error> {
    Ok(find(address)?.map(|pointee| (pointee.base, pointee.bytes)))
}

/// `None`: ordinary host memory, or nothing at all.
fn find(address: u64) -> Result<Option<Pointee>, Error> {
    if let Some(found) = virtual_memory::find(address) {
        return Ok(Some(Pointee {
            context: 0,
            memory_type: MEMORY_TYPE_DEVICE,
            device_pointer: address,
            host_pointer: 0,
            managed: false,
            ordinal: found.device,
            base: found.mapping.base,
            bytes: found.mapping.bytes as usize,
            number: found.memory as u64,
            pool: 0,
            read_only: found.mapping.access(found.device) == Some(Access::Read),
        }));
    }
    if let Some(device) = device::owner(address) {
        let Some(allocation) = device.memory()?.find(address) else {
            return Ok(None);
        };
        let owner = memory::owner(allocation.base);
        return Ok(Some(Pointee {
            context: owner.map_or(0, |owner| owner.context),
            memory_type: MEMORY_TYPE_DEVICE,
            device_pointer: address,
            host_pointer: 0,
            managed: false,
            ordinal: device.ordinal,
            base: allocation.base,
            bytes: allocation.bytes as usize,
            number: owner.map_or(0, |owner| owner.number),
            pool: owner.and_then(|owner| owner.pool).unwrap_or(0),
            read_only: allocation.read_only,
        }));
    }
    Ok(host::find(address as usize).map(|(base, block)| {
        let managed = block.kind == Kind::Managed;
        Pointee {
            context: block.context,
            memory_type: if managed { MEMORY_TYPE_DEVICE } else { MEMORY_TYPE_HOST },
            device_pointer: address,
            host_pointer: address,
            managed,
            ordinal: 0,
            base: base as u64,
            bytes: block.bytes,
            number: base as u64,
            pool: 0,
            read_only: false,
        }
    }))
}

/// Writes attribute number `attribute` to `out`, in the type that CUDA documents for it.
///
/// `CU_POINTER_ATTRIBUTE_*`, in the order of their numbers.
fn write(pointee: &Pointee, attribute: u32, out: Out<u8>) -> Result<(), Error> {
    let address = |address: u64| match address {
        0 => Err(Code::INVALID_VALUE.into()),
        address => out.cast::<u64>().set(address),
    };
    match attribute {
        1 => out.cast().set(pointee.context),                                  // CONTEXT
        2 => out.cast().set(pointee.memory_type),                              // MEMORY_TYPE
        3 => address(pointee.device_pointer),                                  // DEVICE_POINTER
        4 => address(pointee.host_pointer),                                    // HOST_POINTER
        6 => out.cast().set(u32::from(synchronous().contains(&pointee.base))), // SYNC_MEMOPS
        7 => out.cast().set(pointee.number),                                   // BUFFER_ID
        8 => out.cast().set(u32::from(pointee.managed)),                       // IS_MANAGED
        9 => out.cast().set(pointee.ordinal),                                  // DEVICE_ORDINAL
        10 => out.cast().set(0u32),                                            // IS_LEGACY_CUDA_IPC_CAPABLE
        11 => out.cast().set(pointee.base),                                    // RANGE_START_ADDR
        12 => out.cast().set(pointee.bytes),                                   // RANGE_SIZE
        13 => out.cast().set(1u32),                                            // MAPPED
        14 => out.cast().set(0u64),                                            // ALLOWED_HANDLE_TYPES
        15 => out.cast().set(0u32),                                            // IS_GPU_DIRECT_RDMA_CAPABLE
        16 => out.cast().set(if pointee.read_only { 1u32 } else { 3u32 }),     // ACCESS_FLAGS: read, or read and write
        17 => out.cast().set(pointee.pool),                                    // MEMPOOL_HANDLE
        18 => out.cast().set(pointee.bytes),                                   // MAPPING_SIZE
        19 => out.cast().set(pointee.base),                                    // MAPPING_BASE_ADDR
        20 => out.cast().set(pointee.number),                                  // MEMORY_BLOCK_ID
        21 => out.cast().set(0u32),                                            // IS_HW_DECOMPRESS_CAPABLE
        _ => Err(Code::NOT_SUPPORTED.into()),
    }
}

pub extern "C" fn cuPointerGetAttribute(out: Out<u8>, attribute: u32, address: DevicePointer) -> CuResult {
    call(|| match find(address)? {
        Some(pointee) => write(&pointee, attribute, out),
        None => Err(Code::INVALID_VALUE.into()),
    })
}

/// For a pointer that CUDA does not know this one succeeds, with zeros.
pub extern "C" fn cuPointerGetAttributes(
    count: u32,
    attributes: In<u32>,
    outs: In<usize>,
    address: DevicePointer,
) -> CuResult {
    call(|| {
        let unknown = Pointee {
            context: 0,
            memory_type: 0,
            device_pointer: 0,
            host_pointer: 0,
            managed: false,
            ordinal: -2,
            base: 0,
            bytes: 0,
            number: 0,
            pool: 0,
            read_only: false,
        };
        let pointee = find(address)?.unwrap_or(unknown);
        let attributes = attributes.get_all(count as usize)?;
        for (attribute, out) in attributes.into_iter().zip(outs.get_all(count as usize)?) {
            let out = Out::from_address(out);
            match (attribute, pointee.device_pointer) {
                (3 | 4 | 13, 0) => out.cast().set(0u64)?,
                _ => match write(&pointee, attribute, out) {
                    // Device memory has no host pointer.
                    Err(error) if attribute == 4 && error.code == Code::INVALID_VALUE => {
                        out.cast().set(0u64)?;
                    }
                    written => written?,
                },
            }
        }
        Ok(())
    })
}

/// Kept and reported: copies that could run past the end of their call are those of streams that wait themselves.
pub extern "C" fn cuPointerSetAttribute(value: In<u32>, attribute: u32, address: DevicePointer) -> CuResult {
    const SYNC_MEMOPS: u32 = 6;
    call(|| {
        let on = value.get()? != 0;
        match (attribute, find(address)?) {
            (SYNC_MEMOPS, Some(pointee)) if on => drop(synchronous().insert(pointee.base)),
            (SYNC_MEMOPS, Some(pointee)) => forget(pointee.base),
            (SYNC_MEMOPS, None) => return Err(Code::INVALID_VALUE.into()),
            _ => return Err(Code::NOT_SUPPORTED.into()),
        }
        Ok(())
    })
}
