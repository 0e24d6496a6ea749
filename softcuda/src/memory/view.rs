//! Device memory as the kernels of one context see it.

use super::{AllocationInfo, GlobalMemory, Written};

/// Memory that a kernel may access.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// First device address.
    pub base: u64,
    /// Length in bytes.
    pub bytes: u64,
    /// Host address of `base`.
    pub host: *mut u8,
    /// A store to it is a fault.
    pub read_only: bool,
    /// Which of its bytes have been written; no map: all.
    pub written: Written,
}

/// What kernels see: the memory of their device, and whatever else its context has been given access to.
pub trait View: Sync {
    /// The memory around `address`, if a kernel may access it.
    fn reach(&self, address: u64) -> Option<Reach>;

    /// The allocation nearest to `address`, freed ones included, for reports.
    fn nearest(&self, address: u64) -> Option<AllocationInfo>;

    /// `malloc` of device code, whose heap may have `limit` bytes; `None`: zero bytes or no room.
    fn heap_allocate(&self, bytes: u64, limit: u64) -> Option<u64>;

    /// `free` of device code; `false`: `malloc` has not given this address.
    fn heap_free(&self, address: u64) -> bool;

    /// Why a kernel may not access the memory at `address`, if there is memory.
    fn refusal(&self, _address: u64) -> Option<String> {
        None
    }
}

/// One device alone.
impl View for GlobalMemory {
    fn reach(&self, address: u64) -> Option<Reach> {
        let AllocationInfo { base, bytes, read_only, .. } = self.find(address)?;
        Some(Reach { base, bytes, host: self.host(base), read_only, written: self.written(base) })
    }

    fn nearest(&self, address: u64) -> Option<AllocationInfo> {
        self.nearest(address)
    }

    fn heap_allocate(&self, bytes: u64, limit: u64) -> Option<u64> {
        self.heap_allocate(bytes, limit)
    }

    fn heap_free(&self, address: u64) -> bool {
        self.heap_free(address)
    }
}
