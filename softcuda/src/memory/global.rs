//! Device memory: one reserved range of host memory; device addresses are fixed numbers, the same on every machine.

use super::{
    allocator::Allocator,
    heap::Heap,
    reservation::Reservation,
    validity::{Validity, Written},
};
use std::{
    io,
    sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
};

/// An allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationInfo {
    /// Device address.
    pub base: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Freed: kept for reports.
    pub freed: bool,
    /// A `.const` variable: a kernel that writes to it is at fault.
    pub read_only: bool,
}

impl AllocationInfo {
    /// Whether `bytes` bytes at `address` lie inside.
    pub fn contains(&self, address: u64, bytes: u64) -> bool {
        address.checked_sub(self.base).is_some_and(|offset| offset <= self.bytes && bytes <= self.bytes - offset)
    }
}

/// A host-side access that does not lie inside one allocation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device address {address:#x}, {bytes} bytes: not inside one allocation")]
pub struct MemoryError {
    /// First byte.
    pub address: u64,
    /// Length.
    pub bytes: u64,
}

/// Device memory of one device.
///
/// Addresses from `base()` on belong to the device and are backed by the reserved range. Host memory that has been
/// mapped into the device ([`map_host`](Self::map_host)) keeps its own addresses, as with a driver's unified addressing.
pub struct GlobalMemory {
    reservation: Reservation,
    base: u64,
    state: RwLock<Allocator>,
    generation: AtomicU64,
    heap: Heap,
    validity: Option<Validity>,
}

impl GlobalMemory {
    /// Device memory of `capacity` bytes whose addresses start at `base`, a multiple of 512.
    ///
    /// Twice the capacity is reserved where the system allows it, so that freed memory need not be reused at once;
    /// only pages that are touched take host memory.
    pub fn new(base: u64, capacity: u64) -> io::Result<GlobalMemory> {
        let reservation = Reservation::new(capacity.saturating_mul(2))?;
        let range = reservation.bytes();
        Ok(GlobalMemory {
            base,
            state: RwLock::new(Allocator::new(base, range, capacity.min(range))),
            generation: AtomicU64::new(0),
            heap: Heap::default(),
            reservation,
            validity: None,
        })
    }

    /// Keeps a record of which bytes have been written, for the checks of kernels. Comes before the first allocation.
    pub fn recording(self) -> io::Result<GlobalMemory> {
        let validity = Some(Validity::new(self.base, self.reservation.bytes())?);
        Ok(GlobalMemory { validity, ..self })
    }

    /// Which bytes of the device's memory have been written; no map for memory of the host, or where no record is kept.
    pub fn written(&self, address: u64) -> Written {
        match &self.validity {
            Some(validity) if self.owns(address) => validity.bits(),
            _ => Written::default(),
        }
    }

    /// Bytes have been written by other means than this type's functions. What does not belong to the device is passed over.
    pub fn note_written(&self, address: u64, bytes: u64) {
        if self.validity.is_some() && self.owns(address) && self.owns(address.saturating_add(bytes)) {
            // SAFETY: both ends belong to the device.
            unsafe { self.written(address).set(address, bytes) };
        }
    }

    /// The first device address.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Bytes that can be allocated in all.
    pub fn capacity(&self) -> u64 {
        self.read_state().capacity()
    }

    /// Bytes allocated now, rounded up to 512 for each allocation.
    pub fn used(&self) -> u64 {
        self.read_state().used()
    }

    /// Whether `address` belongs to this device, allocated or not.
    pub fn owns(&self, address: u64) -> bool {
        address.wrapping_sub(self.base) < self.reservation.bytes()
    }

    /// Allocates `bytes` bytes, 512-byte aligned, and returns the device address; `None`: zero bytes or out of memory.
    ///
    /// Deterministic: the same calls give the same addresses. At least 512 unallocated bytes lie between allocations.
    pub fn allocate(&self, bytes: u64) -> Option<u64> {
        self.allocate_variable(bytes, false)
    }

    /// Like [`allocate`](Self::allocate), for a module's variable; `read_only` for a `.const` one.
    pub fn allocate_variable(&self, bytes: u64, read_only: bool) -> Option<u64> {
        let address = self.write_state().allocate(bytes, read_only)?;
        self.generation.fetch_add(1, Ordering::Release);
        Some(address)
    }

    /// `malloc` of device code, whose heap may have `limit` bytes; `None`: zero bytes or no room.
    pub fn heap_allocate(&self, bytes: u64, limit: u64) -> Option<u64> {
        self.heap.add(bytes, limit, || self.allocate(bytes))
    }

    /// `free` of device code; `false`: `malloc` has not given this address.
    pub fn heap_free(&self, address: u64) -> bool {
        self.heap.remove(address) && self.free(address).is_ok()
    }

    /// Frees the allocation that starts at `base`. What device code has allocated it must free itself.
    pub fn free(&self, base: u64) -> Result<AllocationInfo, MemoryError> {
        if self.heap.has(base) {
            return Err(MemoryError { address: base, bytes: 0 });
        }
        let mut state = self.write_state();
        let info = state.free(base).ok_or(MemoryError { address: base, bytes: 0 })?;
        // Under the lock: nobody may get this memory before it is zero again.
        self.reservation.clear(info.base - self.base, info.bytes);
        if let Some(validity) = &self.validity {
            validity.clear(info.base, info.bytes);
        }
        drop(state);
        self.generation.fetch_add(1, Ordering::Release);
        Ok(info)
    }

    /// Sets addresses aside for `bytes` bytes, without memory; `None`: zero bytes, or no addresses are left.
    pub fn reserve(&self, bytes: u64) -> Option<u64> {
        self.write_state().reserve(bytes)
    }

    /// Gives reserved addresses memory until it is freed; `false`: it has some already, or there is not enough.
    pub fn commit(&self, base: u64, bytes: u64) -> bool {
        let committed = self.write_state().commit(base, bytes);
        self.generation.fetch_add(1, Ordering::Release);
        committed
    }

    /// Gives up addresses got by [`reserve`](Self::reserve); memory that is there stays until it is freed.
    pub fn release(&self, base: u64) {
        self.write_state().release(base);
    }

    /// Counts bytes as used that have no address of this device; `false`: there are not as many.
    pub fn charge(&self, bytes: u64) -> bool {
        self.write_state().charge(bytes)
    }

    /// Undoes [`charge`](Self::charge).
    pub fn discharge(&self, bytes: u64) {
        self.write_state().discharge(bytes);
    }

    /// Makes host memory visible to the device at its own address; `false`: part of it is mapped already.
    ///
    /// # Safety
    ///
    /// The `bytes` bytes at `pointer` must stay valid until [`unmap_host`](Self::unmap_host).
    pub unsafe fn map_host(&self, pointer: *mut u8, bytes: u64) -> bool {
        let mapped = self.write_state().map(pointer as u64, bytes);
        self.generation.fetch_add(1, Ordering::Release);
        mapped
    }

    /// Undoes [`map_host`](Self::map_host); `false`: nothing was mapped at `pointer`.
    pub fn unmap_host(&self, pointer: *mut u8) -> bool {
        let unmapped = self.write_state().unmap(pointer as u64);
        self.generation.fetch_add(1, Ordering::Release);
        unmapped
    }

    /// The allocation (live, not freed) that contains `address`.
    pub fn find(&self, address: u64) -> Option<AllocationInfo> {
        self.read_state().find(address)
    }

    /// The allocation nearest to `address`, freed ones included, for reports.
    pub fn nearest(&self, address: u64) -> Option<AllocationInfo> {
        self.read_state().nearest(address)
    }

    /// Counts allocations and frees: a cached [`AllocationInfo`] holds while it stays the same.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Host pointer of a device address (not bounds-checked against allocations): inside the reserved range, or
    /// the same number for mapped host memory.
    pub fn host(&self, address: u64) -> *mut u8 {
        if self.owns(address) {
            self.reservation.pointer().wrapping_add((address - self.base) as usize)
        } else {
            address as *mut u8
        }
    }

    /// Host pointer of `bytes` bytes at `address`, which must lie inside one allocation.
    pub fn span(&self, address: u64, bytes: u64) -> Result<*mut u8, MemoryError> {
        match self.find(address) {
            Some(info) if info.contains(address, bytes) => Ok(self.host(address)),
            // No bytes at the very end of an allocation: `find` does not see it.
            None if bytes == 0 => Ok(self.host(address)),
            _ => Err(MemoryError { address, bytes }),
        }
    }

    /// Bytes of an allocation count as never written from now on, whatever they hold.
    pub fn forget_written(&self, address: u64, bytes: u64) -> Result<(), MemoryError> {
        self.span(address, bytes)?;
        // SAFETY: the bytes lie inside an allocation; there is a map only for those of the device.
        unsafe { self.written(address).unset(address, bytes) };
        Ok(())
    }

    /// Copies from the device.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), MemoryError> {
        let source = self.span(address, into.len() as u64)?;
        // SAFETY: `span` checked the source; `into` is ours alone.
        unsafe { source.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies to the device.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), MemoryError> {
        let destination = self.span(address, from.len() as u64)?;
        // SAFETY: `span` checked the destination; a mapped one may overlap `from`, which `copy_from` allows.
        unsafe { destination.copy_from(from.as_ptr(), from.len()) };
        self.note_written(address, from.len() as u64);
        Ok(())
    }

    /// Fills with `count` copies of a pattern of 1, 2 or 4 bytes.
    pub fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), MemoryError> {
        let bytes = count.checked_mul(pattern.len() as u64).ok_or(MemoryError { address, bytes: u64::MAX })?;
        let destination = self.span(address, bytes)?;
        self.note_written(address, bytes);
        if pattern.iter().all(|byte| *byte == 0) && self.owns(address) {
            self.reservation.clear(address - self.base, bytes);
            return Ok(());
        }
        // SAFETY: `span` checked that these bytes lie inside one allocation.
        let bytes = unsafe { std::slice::from_raw_parts_mut(destination, bytes as usize) };
        match pattern {
            [byte] => bytes.fill(*byte),
            _ => bytes.chunks_exact_mut(pattern.len()).for_each(|chunk| chunk.copy_from_slice(pattern)),
        }
        Ok(())
    }

    fn read_state(&self) -> RwLockReadGuard<'_, Allocator> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, Allocator> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
