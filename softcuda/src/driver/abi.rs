//! The C side of the driver API: what a call returns, and pointers that callers pass in.
//!
//! Every function of the API is C code's to call, with any pointer. What can be checked is (null); that a pointer
//! which is not null may be read or written is the caller's promise, as with any driver. The types here are the one
//! place where such pointers are followed.

use super::error::{Code, Error};
use std::{
    ffi::{CStr, c_char},
    panic::AssertUnwindSafe,
};

/// `CUresult`.
pub type CuResult = i32;
/// `CUcontext`, `CUmodule`, `CUfunction`, `CUstream`, `CUevent`, `CUmemoryPool`: numbers that only we interpret.
pub type Handle = usize;
/// `CUdevice`: an ordinal.
pub type DeviceOrdinal = i32;
/// `CUdeviceptr`.
pub type DevicePointer = u64;

/// A pointer that a call writes one value to.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Out<T>(*mut T);

impl<T: Copy> Out<T> {
    /// Writes `value`; an error if the pointer is null.
    pub(super) fn set(self, value: T) -> Result<(), Error> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        self.set_if_wanted(value);
        Ok(())
    }

    /// Writes `value` unless the pointer is null.
    pub(super) fn set_if_wanted(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: not null; the caller of the API promises that it may be written.
            unsafe { self.0.write_unaligned(value) };
        }
    }

    /// Writes `values` one after the other.
    pub(super) fn set_all(self, values: &[T]) -> Result<(), Error> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        for (position, value) in values.iter().enumerate() {
            // SAFETY: not null; the caller promises room for as many values as the call is documented to write.
            unsafe { self.0.add(position).write_unaligned(*value) };
        }
        Ok(())
    }

    /// Whether it is null.
    pub(super) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The same address for another type.
    pub(super) fn cast<U>(self) -> Out<U> {
        Out(self.0.cast())
    }

    /// The address.
    pub(super) fn address(self) -> usize {
        self.0 as usize
    }

    /// For an address that arrived as a number.
    pub(super) fn from_address(address: usize) -> Out<T> {
        Out(address as *mut T)
    }
}

impl Out<c_char> {
    /// Writes a string with its final zero, cut to `room` bytes in all.
    pub(super) fn set_text(self, text: &str, room: usize) -> Result<(), Error> {
        if room == 0 {
            return Err(Code::INVALID_VALUE.into());
        }
        let kept = text.len().min(room - 1);
        let bytes = text.as_bytes()[..kept].iter().chain(&[0]);
        let characters: Vec<c_char> = bytes.map(|byte| *byte as c_char).collect();
        self.set_all(&characters)
    }
}

/// A pointer that a call reads values from.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// The value; an error if the pointer is null.
    pub(super) fn get(self) -> Result<T, Error> {
        self.get_at(0)
    }

    /// The value at `position` of an array; an error if the pointer is null.
    pub(super) fn get_at(self, position: usize) -> Result<T, Error> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        // SAFETY: not null; the caller of the API promises that the array reaches this far.
        Ok(unsafe { self.0.add(position).read_unaligned() })
    }

    /// The first `count` values.
    pub(super) fn get_all(self, count: usize) -> Result<Vec<T>, Error> {
        if count == 0 {
            return Ok(Vec::new());
        }
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        let mut values: Vec<T> = Vec::with_capacity(count);
        // SAFETY: not null; the caller of the API promises that the array has `count` values, aligned or not, which
        // is why bytes are copied.
        unsafe {
            let bytes = count * size_of::<T>();
            std::ptr::copy_nonoverlapping(self.0.cast::<u8>(), values.as_mut_ptr().cast::<u8>(), bytes);
            values.set_len(count);
        }
        Ok(values)
    }

    /// Whether it is null.
    pub(super) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// The address.
    pub(super) fn address(self) -> usize {
        self.0 as usize
    }

    /// For an address that arrived as a number.
    pub(super) fn from_address(address: usize) -> In<T> {
        In(address as *const T)
    }
}

impl In<c_char> {
    /// The string up to its final zero.
    pub(super) fn text(self) -> Result<String, Error> {
        if self.0.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        // SAFETY: not null; the caller of the API promises a final zero.
        let text = unsafe { CStr::from_ptr(self.0) };
        Ok(text.to_string_lossy().into_owned())
    }
}

/// Runs the body of an API function: keeps its error text, and turns a panic of ours into an error code, since a
/// panic must not cross into C.
pub(super) fn call(body: impl FnOnce() -> Result<(), Error>) -> CuResult {
    match guarded(body) {
        Ok(()) => Code::SUCCESS.0,
        Err(error) => error.raise(),
    }
}

/// Runs `body`; a panic of ours becomes an error.
pub(super) fn guarded(body: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    std::panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Error::report(Code::UNKNOWN, format!("internal error of the software device: {text}")))
    })
}
