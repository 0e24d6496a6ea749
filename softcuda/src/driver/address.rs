//! From addresses to host memory: which memory a number stands for, and whether it is there.

use super::{
    device,
    error::{Code, Error},
    host, virtual_memory,
};
use crate::memory::{AllocationInfo, MemoryError, Written};

/// What an address may be.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    /// Memory that devices see: that of a device, or host memory known to the driver.
    Device,
    /// Any address: which memory it is can be told from the number.
    Any,
}

/// The host pointer behind `bytes` bytes at `address`, checked as far as it can be.
pub(super) fn span(address: u64, bytes: usize, side: Side) -> Result<*mut u8, Error> {
    if let Some(device) = device::owner(address) {
        let memory = device.memory()?;
        return memory.span(address, bytes as u64).map_err(|error| out_of_bounds(&error, memory.nearest(address)));
    }
    if virtual_memory::owns(address) {
        return virtual_memory::span(address, bytes as u64);
    }
    match side {
        Side::Device if bytes > 0 => match host::find(address as usize) {
            Some((base, block)) if bytes <= block.bytes - (address as usize - base) => Ok(address as *mut u8),
            found => {
                let nearest = found.map(|(base, block)| AllocationInfo {
                    base: base as u64,
                    bytes: block.bytes as u64,
                    freed: false,
                    read_only: false,
                });
                Err(out_of_bounds(&MemoryError { address, bytes: bytes as u64 }, nearest))
            }
        },
        Side::Any if address == 0 && bytes > 0 => Err(Code::INVALID_VALUE.into()),
        _ => Ok(address as *mut u8),
    }
}

/// The bytes at `address`, checked by [`span`], have been written.
pub(super) fn note_written(address: u64, bytes: usize) -> Result<(), Error> {
    if let Some(device) = device::owner(address) {
        device.memory()?.note_written(address, bytes as u64);
    }
    Ok(())
}

/// Makes bytes of device memory count as never written, whatever they hold: a test that fills them with absurd values can
/// have the `init` check find their readers. `false`: they are not inside one allocation of a device.
pub fn forget_written(address: u64, bytes: u64) -> bool {
    let Some(Ok(memory)) = device::owner(address).map(|device| device.memory()) else {
        return false;
    };
    memory.forget_written(address, bytes).is_ok()
}

/// Bytes that [`span`] has checked have been copied: those at `to` have been written as far as those at `from` had been.
pub(super) fn note_copied(to: u64, from: u64, bytes: usize) -> Result<(), Error> {
    let Some(device) = device::owner(to) else {
        return Ok(());
    };
    let source = match device::owner(from) {
        Some(device) => device.memory()?.written(from),
        None => Written::default(),
    };
    if source == Written::default() {
        return note_written(to, bytes);
    }
    // SAFETY: `span` has shown that both belong to the memory of their devices.
    unsafe { device.memory()?.written(to).copy(to, source, from, bytes as u64) };
    Ok(())
}

/// Whether `address` is ordinary host memory, which the driver knows nothing about.
pub(super) fn is_pageable(address: u64) -> bool {
    device::owner(address).is_none() && !virtual_memory::owns(address) && host::find(address as usize).is_none()
}

/// An error that names the allocation nearest to a bad address.
fn out_of_bounds(error: &MemoryError, nearest: Option<AllocationInfo>) -> Error {
    let nearest = nearest.map_or(String::new(), |allocation| {
        format!(
            "; the nearest {} is {:#x}, {} bytes",
            if allocation.freed { "(freed) allocation" } else { "allocation" },
            allocation.base,
            allocation.bytes
        )
    });
    Error::new(Code::INVALID_VALUE, format!("{error}{nearest}"))
}
