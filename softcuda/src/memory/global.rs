//! Device memory: one reserved range of host memory; device addresses are fixed numbers, the same on every machine.

/// An allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocationInfo {
    /// Device address.
    pub base: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Freed: kept for reports.
    pub freed: bool,
}

/// A host-side access that does not lie inside one allocation.
#[derive(Clone, Debug, thiserror::Error)]
#[error("device address {address:#x}, {bytes} bytes: not inside one allocation")]
pub struct MemoryError {
    /// First byte.
    pub address: u64,
    /// Length.
    pub bytes: u64,
}

/// Device memory of one device.
pub struct GlobalMemory {}

impl GlobalMemory {
    /// The allocation (live, not freed) that contains `address`.
    pub fn find(&self, _address: u64) -> Option<AllocationInfo> {
        None
    }
    /// The allocation nearest to `address`, freed ones included, for reports.
    pub fn nearest(&self, _address: u64) -> Option<AllocationInfo> {
        None
    }
    /// Counts allocations and frees: a cached [`AllocationInfo`] holds while it stays the same.
    pub fn generation(&self) -> u64 {
        0
    }
    /// Host pointer of a device address inside the reserved range (not bounds-checked against allocations).
    pub fn host(&self, _address: u64) -> *mut u8 {
        std::ptr::null_mut()
    }
}
