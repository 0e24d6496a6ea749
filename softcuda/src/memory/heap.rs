//! The heap of device code: `malloc` and `free` in kernels.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// Allocations that device code has made, each with its size.
#[derive(Debug, Default)]
pub(super) struct Heap(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sizes: BTreeMap<u64, u64>,
    /// Their sum.
    used: u64,
}

impl Heap {
    /// Whether an allocation at this address belongs to device code.
    pub(super) fn has(&self, address: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sizes.contains_key(&address)
    }

    /// Keeps what `allocate` gives, if the heap stays within `limit` bytes.
    pub(super) fn add(&self, bytes: u64, limit: u64, allocate: impl FnOnce() -> Option<u64>) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > limit.saturating_sub(state.used) {
            return None;
        }
        let address = allocate()?;
        state.used += bytes;
        state.sizes.insert(address, bytes);
        Some(address)
    }

    /// Forgets an allocation; `false`: there is none.
    pub(super) fn remove(&self, address: u64) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = state.sizes.remove(&address);
        state.used -= bytes.unwrap_or(0);
        bytes.is_some()
    }
}
