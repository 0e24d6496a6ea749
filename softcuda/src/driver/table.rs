//! Live objects by handle: a handle that is not in its table is refused, never followed.

use super::{
    abi::Handle,
    error::{Code, Error},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The objects of one kind.
pub(super) struct Table<T> {
    entries: RwLock<BTreeMap<Handle, Arc<T>>>,
}

/// A handle that no object of any kind ever had; it looks like no valid pointer, so following it fails at once.
pub(super) fn new_handle() -> Handle {
    static NEXT: AtomicUsize = AtomicUsize::new(0x00c0_da00_0000_0010);
    NEXT.fetch_add(16, Ordering::Relaxed)
}

impl<T> Table<T> {
    pub(super) const fn new() -> Table<T> {
        Table { entries: RwLock::new(BTreeMap::new()) }
    }

    /// Adds an object under `handle`.
    pub(super) fn insert(&self, handle: Handle, object: Arc<T>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(handle, object);
    }

    /// The object; CUDA_ERROR_INVALID_HANDLE if there is none.
    pub(super) fn get(&self, handle: Handle) -> Result<Arc<T>, Error> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let object = entries.get(&handle).cloned();
        object.ok_or(Code::INVALID_HANDLE.into())
    }

    /// Takes the object out; CUDA_ERROR_INVALID_HANDLE if there is none.
    pub(super) fn remove(&self, handle: Handle) -> Result<Arc<T>, Error> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.remove(&handle).ok_or(Code::INVALID_HANDLE.into())
    }

    /// Every object that `belongs`, in the order of their handles.
    pub(super) fn all(&self, belongs: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().filter(|object| belongs(object)).cloned().collect()
    }

    /// Takes out every object that `belongs`.
    pub(super) fn remove_all(&self, belongs: impl Fn(&T) -> bool) -> Vec<Arc<T>> {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let (removed, kept) =
            std::mem::take(&mut *entries).into_iter().partition::<BTreeMap<_, _>, _>(|(_, object)| belongs(object));
        *entries = kept;
        removed.into_values().collect()
    }
}
