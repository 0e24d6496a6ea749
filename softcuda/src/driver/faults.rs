//! Faults of kernels: the code that the context is left with, and the report.

use super::codes::{self, Code};
use crate::fault::{Fault, FaultKind};
use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    sync::{Mutex, PoisonError},
};

struct Faults {
    last: Option<Fault>,
    /// For each code the text that [`cuGetErrorString`](super::error::cuGetErrorString) gives.
    current: BTreeMap<i32, &'static CStr>,
    /// Every text there ever was: callers may hold on to the pointers.
    texts: BTreeMap<CString, &'static CStr>,
}

static FAULTS: Mutex<Faults> = Mutex::new(Faults { last: None, current: BTreeMap::new(), texts: BTreeMap::new() });

/// The last fault of any kernel in this process.
pub fn last_fault() -> Option<Fault> {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
}

/// Keeps a fault for reports and gives its code.
pub(super) fn record(fault: Fault) -> Code {
    let code = code_of(fault.kind);
    let usual = codes::find(code.0).map_or("", |known| known.text.to_str().unwrap_or(""));
    // A report has no zero bytes; if one ever has, what precedes it is kept.
    let text = format!("{usual}: {}", fault.text);
    let text = text.split('\0').next().unwrap_or_default();
    let text = CString::new(text).unwrap_or_default();

    let mut faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let leaked: &'static CStr =
        faults.texts.entry(text).or_insert_with_key(|text| Box::leak(text.clone().into_boxed_c_str()));
    faults.current.insert(code.0, leaked);
    faults.last = Some(fault);
    code
}

/// The text for `code` if a fault has given it one.
pub(super) fn fault_text(code: i32) -> Option<&'static CStr> {
    let faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    faults.current.get(&code).copied()
}

fn code_of(kind: FaultKind) -> Code {
    match kind {
        FaultKind::IllegalAddress => Code::ILLEGAL_ADDRESS,
        FaultKind::MisalignedAddress => Code::MISALIGNED_ADDRESS,
        FaultKind::IllegalInstruction => Code::ILLEGAL_INSTRUCTION,
        FaultKind::LaunchFailed => Code::LAUNCH_FAILED,
        FaultKind::LaunchTimeout => Code::LAUNCH_TIMEOUT,
        FaultKind::Assert => Code::ASSERT,
    }
}
