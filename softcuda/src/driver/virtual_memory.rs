//! Virtual memory management: memory, addresses, and the mapping of one to the other.

use super::{
    abi::{CuResult, DeviceOrdinal, DevicePointer, Handle, In, Out, call},
    device::Device,
    error::{Code, Error},
    location::{AccessDescription, Location},
    table::new_handle,
};
use crate::memory::{Access, Backing, GRANULARITY, Mapping, VirtualMemory};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

/// Addresses that belong to no device, below those of the devices.
const FIRST_ADDRESS: u64 = 0x6000_0000_0000;
const ADDRESSES: u64 = 1 << 40;

const ALLOCATION_PINNED: u32 = 1;

/// `CUmemAllocationProp`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Properties {
    allocation: u32,
    handle_types: u32,
    location: Location,
    metadata: usize,
    /// Compression, RDMA, usage.
    flags: [u8; 8],
}

/// Memory got by `cuMemCreate`.
struct Memory {
    properties: Properties,
    device: &'static Device,
    backing: Arc<Backing>,
    /// `cuMemCreate` and `cuMemRetainAllocationHandle` less `cuMemRelease`; at 0 it lasts as long as its mappings.
    references: usize,
    mappings: usize,
}

static MEMORIES: Mutex<BTreeMap<Handle, Memory>> = Mutex::new(BTreeMap::new());

fn memories() -> MutexGuard<'static, BTreeMap<Handle, Memory>> {
    MEMORIES.lock().unwrap_or_else(PoisonError::into_inner)
}

static SPACE: OnceLock<Option<VirtualMemory>> = OnceLock::new();

/// The addresses, reserved at the first use.
fn space() -> Result<&'static VirtualMemory, Error> {
    let space = SPACE.get_or_init(|| VirtualMemory::new(FIRST_ADDRESS, ADDRESSES).ok());
    space.as_ref().ok_or_else(|| Error::report(Code::OUT_OF_MEMORY, "the system gives no addresses for virtual memory"))
}

/// Whether an address belongs to virtual memory, mapped or not.
pub(super) fn owns(address: u64) -> bool {
    address.wrapping_sub(FIRST_ADDRESS) < ADDRESSES
}

/// The host pointer behind `bytes` bytes, all of them mapped.
pub(super) fn span(address: u64, bytes: u64) -> Result<*mut u8, Error> {
    let space = space()?;
    if !space.is_mapped(address, bytes) {
        let text = format!("virtual address {address:#x}, {bytes} bytes: nothing is mapped there");
        return Err(Error::new(Code::INVALID_VALUE, text));
    }
    Ok(space.host(address))
}

/// What a device sees around an address: start, end, host address of the start, what it may do.
pub(super) fn extent(address: u64, device: DeviceOrdinal) -> Option<(u64, u64, *mut u8, Access)> {
    let space = space().ok()?;
    let (start, end, access) = space.extent(address, device)?;
    Some((start, end, space.host(start), access))
}

/// Why a device does not see what is at an address.
pub(super) fn refusal(address: u64, device: DeviceOrdinal) -> String {
    match space().ok().and_then(|space| space.find(address)) {
        Some(mapping) => format!(
            "memory is mapped at {:#x}, but device {device} has not been given access to it (cuMemSetAccess)",
            mapping.base
        ),
        None => "virtual memory, but nothing is mapped there".to_owned(),
    }
}

/// What an address points to.
pub(super) struct Pointee {
    pub(super) mapping: Mapping,
    pub(super) memory: Handle,
    pub(super) device: DeviceOrdinal,
}

pub(super) fn find(address: u64) -> Option<Pointee> {
    if !owns(address) {
        return None;
    }
    let mapping = space().ok()?.find(address)?;
    let (memory, device) = {
        let memories = memories();
        let (handle, memory) = memories.iter().find(|(_, memory)| Arc::ptr_eq(&memory.backing, &mapping.backing))?;
        (*handle, memory.device.ordinal)
    };
    Some(Pointee { mapping, memory, device })
}

impl Properties {
    /// The device; an error for memory that this driver cannot give.
    fn check(&self) -> Result<&'static Device, Error> {
        if self.allocation != ALLOCATION_PINNED {
            return Err(Code::INVALID_VALUE.into());
        }
        if self.handle_types != 0 || self.flags[0] != 0 {
            return Err(Error::new(Code::NOT_SUPPORTED, "neither shareable handles nor compression are supported"));
        }
        self.location.device()
    }
}

/// Takes memory out that nothing refers to any more.
fn drop_unused(memories: &mut BTreeMap<Handle, Memory>, handle: Handle) {
    let unused = memories.get(&handle).is_some_and(|memory| memory.references == 0 && memory.mappings == 0);
    if unused
        && let Some(memory) = memories.remove(&handle)
        && let Ok(device) = memory.device.memory()
    {
        device.discharge(memory.backing.bytes());
    }
}

pub extern "C" fn cuMemGetAllocationGranularity(out: Out<usize>, properties: In<Properties>, option: u32) -> CuResult {
    call(|| {
        properties.get()?.check()?;
        if option > 1 {
            return Err(Code::INVALID_VALUE.into());
        }
        out.set(GRANULARITY as usize)
    })
}

pub extern "C" fn cuMemCreate(out: Out<Handle>, bytes: usize, properties: In<Properties>, flags: u64) -> CuResult {
    call(|| {
        let properties = properties.get()?;
        let device = properties.check()?;
        let bytes = bytes as u64;
        if flags != 0 || bytes == 0 || !bytes.is_multiple_of(GRANULARITY) || out.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        let memory = device.memory()?;
        if !memory.charge(bytes) {
            return Err(Error::new(Code::OUT_OF_MEMORY, format!("out of memory: {bytes} bytes asked for")));
        }
        let backing = Backing::new(bytes).map_err(|error| {
            memory.discharge(bytes);
            Error::report(Code::NOT_SUPPORTED, format!("the system gives no memory that can be mapped: {error}"))
        })?;
        let handle = new_handle();
        let backing = Arc::new(backing);
        memories().insert(handle, Memory { properties, device, backing, references: 1, mappings: 0 });
        out.set(handle)
    })
}

/// Memory that is mapped lasts until it is mapped nowhere.
pub extern "C" fn cuMemRelease(handle: Handle) -> CuResult {
    call(|| {
        let mut memories = memories();
        let memory = memories.get_mut(&handle).filter(|memory| memory.references > 0).ok_or(Code::INVALID_VALUE)?;
        memory.references -= 1;
        drop_unused(&mut memories, handle);
        Ok(())
    })
}

pub extern "C" fn cuMemRetainAllocationHandle(out: Out<Handle>, address: usize) -> CuResult {
    call(|| {
        let found = find(address as u64).ok_or(Code::INVALID_VALUE)?;
        out.set(found.memory)?;
        if let Some(memory) = memories().get_mut(&found.memory) {
            memory.references += 1;
        }
        Ok(())
    })
}

pub extern "C" fn cuMemGetAllocationPropertiesFromHandle(out: Out<Properties>, handle: Handle) -> CuResult {
    call(|| out.set(memories().get(&handle).ok_or(Code::INVALID_VALUE)?.properties))
}

pub extern "C" fn cuMemAddressReserve(
    out: Out<DevicePointer>,
    bytes: usize,
    alignment: usize,
    wanted: DevicePointer,
    flags: u64,
) -> CuResult {
    call(|| {
        let (bytes, alignment) = (bytes as u64, alignment as u64);
        let misaligned = bytes == 0 || !bytes.is_multiple_of(GRANULARITY);
        if flags != 0 || misaligned || (alignment != 0 && !alignment.is_power_of_two()) || out.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        let found = space()?.reserve(bytes, alignment.max(GRANULARITY), wanted);
        out.set(found.ok_or(Code::OUT_OF_MEMORY)?)
    })
}

pub extern "C" fn cuMemAddressFree(address: DevicePointer, bytes: usize) -> CuResult {
    call(|| {
        let freed = space()?.unreserve(address, bytes as u64);
        if freed { Ok(()) } else { Err(Code::INVALID_VALUE.into()) }
    })
}

/// No device has access to a new mapping.
pub extern "C" fn cuMemMap(
    address: DevicePointer,
    bytes: usize,
    offset: usize,
    handle: Handle,
    flags: u64,
) -> CuResult {
    call(|| {
        let mut memories = memories();
        let memory = memories.get_mut(&handle).filter(|memory| memory.references > 0).ok_or(Code::INVALID_VALUE)?;
        let multiples = [address, bytes as u64].iter().all(|value| value.is_multiple_of(GRANULARITY));
        if flags != 0 || offset != 0 || !multiples || !owns(address) {
            return Err(Code::INVALID_VALUE.into());
        }
        let mapped = space()?.map(address, bytes as u64, memory.backing.clone());
        match mapped.map_err(|error| Error::report(Code::MAP_FAILED, format!("cuMemMap: {error}")))? {
            true => memory.mappings += 1,
            false => return Err(Code::INVALID_VALUE.into()),
        }
        Ok(())
    })
}

pub extern "C" fn cuMemUnmap(address: DevicePointer, bytes: usize) -> CuResult {
    call(|| {
        if !owns(address) {
            return Err(Code::INVALID_VALUE.into());
        }
        let mut memories = memories();
        let unmapped = space()?.unmap(address, bytes as u64).ok_or(Code::INVALID_VALUE)?;
        let unmapped = unmapped.map_err(|error| Error::report(Code::UNMAP_FAILED, format!("cuMemUnmap: {error}")))?;
        for mapping in unmapped {
            let backed = memories.iter_mut().find(|(_, memory)| Arc::ptr_eq(&memory.backing, &mapping.backing));
            let handle = backed.map(|(handle, memory)| {
                memory.mappings -= 1;
                *handle
            });
            if let Some(handle) = handle {
                drop_unused(&mut memories, handle);
            }
        }
        Ok(())
    })
}

pub extern "C" fn cuMemSetAccess(
    address: DevicePointer,
    bytes: usize,
    descriptions: In<AccessDescription>,
    count: usize,
) -> CuResult {
    call(|| {
        let descriptions = descriptions.get_all(count)?;
        let space = space()?;
        if count == 0 || !owns(address) {
            return Err(Code::INVALID_VALUE.into());
        }
        let checked: Result<Vec<_>, Error> = descriptions.iter().map(AccessDescription::check).collect();
        for (device, access) in checked? {
            if !space.set_access(address, bytes as u64, device, access) {
                return Err(Code::INVALID_VALUE.into());
            }
        }
        Ok(())
    })
}

pub extern "C" fn cuMemGetAccess(flags: Out<u64>, location: In<Location>, address: DevicePointer) -> CuResult {
    call(|| {
        let device = location.get()?.device()?.ordinal;
        let mapping = space()?.find(address).filter(|_| owns(address)).ok_or(Code::INVALID_VALUE)?;
        flags.set(match mapping.access(device) {
            None => 0,
            Some(Access::Read) => 1,
            Some(Access::ReadWrite) => 3,
        })
    })
}
