//! User objects: something of the program's that lives as long as a graph refers to it.

use super::find;
use crate::driver::{
    abi::{CuResult, Handle, Out, call},
    error::{Code, Error},
    table::new_handle,
};
use std::{
    collections::BTreeMap,
    ffi::c_void,
    sync::{Mutex, MutexGuard, PoisonError},
};

struct UserObject {
    pointer: usize,
    destroy: extern "C" fn(*mut c_void),
    references: u64,
}

static OBJECTS: Mutex<BTreeMap<Handle, UserObject>> = Mutex::new(BTreeMap::new());

fn objects() -> MutexGuard<'static, BTreeMap<Handle, UserObject>> {
    OBJECTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds references of a graph.
pub(super) fn retain(object: Handle, count: u32) {
    if let Some(object) = objects().get_mut(&object) {
        object.references += u64::from(count);
    }
}

/// Gives up references; the last one destroys the object.
fn release(handle: Handle, count: u32) -> Result<(), Error> {
    let mut all = objects();
    let object = all.get_mut(&handle).ok_or(Code::INVALID_VALUE)?;
    if count == 0 || u64::from(count) > object.references {
        return Err(Code::INVALID_VALUE.into());
    }
    object.references -= u64::from(count);
    let ended = if object.references == 0 { all.remove(&handle) } else { None };
    drop(all);
    if let Some(object) = ended {
        (object.destroy)(object.pointer as *mut c_void);
    }
    Ok(())
}

/// Gives up all references of a graph that ends.
pub(super) fn release_all(objects: BTreeMap<Handle, u32>) {
    for (object, count) in objects {
        // A graph's references exist: nothing else gives them up.
        let _ = release(object, count);
    }
}

pub extern "C" fn cuUserObjectCreate(
    out: Out<Handle>,
    pointer: *mut c_void,
    destroy: Option<extern "C" fn(*mut c_void)>,
    references: u32,
    flags: u32,
) -> CuResult {
    const NO_DESTRUCTOR_SYNC: u32 = 1;
    call(|| {
        let destroy = destroy.ok_or(Code::INVALID_VALUE)?;
        if flags != NO_DESTRUCTOR_SYNC || references == 0 || references > i32::MAX as u32 {
            return Err(Code::INVALID_VALUE.into());
        }
        let handle = new_handle();
        out.set(handle)?;
        objects().insert(handle, UserObject { pointer: pointer as usize, destroy, references: u64::from(references) });
        Ok(())
    })
}

pub extern "C" fn cuUserObjectRetain(object: Handle, count: u32) -> CuResult {
    call(|| {
        if count == 0 || count > i32::MAX as u32 || !objects().contains_key(&object) {
            return Err(Code::INVALID_VALUE.into());
        }
        retain(object, count);
        Ok(())
    })
}

pub extern "C" fn cuUserObjectRelease(object: Handle, count: u32) -> CuResult {
    call(|| release(object, count))
}

/// With CU_GRAPH_USER_OBJECT_MOVE the caller's references become the graph's.
pub extern "C" fn cuGraphRetainUserObject(graph: Handle, object: Handle, count: u32, flags: u32) -> CuResult {
    const MOVE: u32 = 1;
    call(|| {
        let graph = find(graph)?;
        if count == 0 || count > i32::MAX as u32 || flags > MOVE {
            return Err(Code::INVALID_VALUE.into());
        }
        match objects().get(&object) {
            Some(known) if flags != MOVE || known.references >= u64::from(count) => {}
            _ => return Err(Code::INVALID_VALUE.into()),
        }
        if flags != MOVE {
            retain(object, count);
        }
        *graph.state().objects.entry(object).or_default() += count;
        Ok(())
    })
}

pub extern "C" fn cuGraphReleaseUserObject(graph: Handle, object: Handle, count: u32) -> CuResult {
    call(|| {
        let graph = find(graph)?;
        let mut state = graph.state();
        let held = state.objects.get_mut(&object).filter(|held| **held >= count && count > 0);
        let held = held.ok_or(Code::INVALID_VALUE)?;
        *held -= count;
        if *held == 0 {
            state.objects.remove(&object);
        }
        drop(state);
        release(object, count)
    })
}
