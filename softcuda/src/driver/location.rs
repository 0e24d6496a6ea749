//! Places of memory, and what devices may do with it.

use super::{
    abi::DeviceOrdinal,
    device::{Device, device},
    error::{Code, Error},
};
use crate::memory::Access;

/// CU_MEM_LOCATION_TYPE_DEVICE.
pub(super) const DEVICE: u32 = 1;

/// `CUmemLocation`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Location {
    pub(super) kind: u32,
    pub(super) id: i32,
}

impl Location {
    /// The device; an error for other places.
    pub(super) fn device(&self) -> Result<&'static Device, Error> {
        if self.kind != DEVICE {
            return Err(Code::INVALID_VALUE.into());
        }
        device(self.id)
    }
}

/// `CUmemAccessDesc`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AccessDescription {
    location: Location,
    flags: u32,
}

impl AccessDescription {
    /// The device and what it may do.
    pub(super) fn check(&self) -> Result<(DeviceOrdinal, Option<Access>), Error> {
        let access = match self.flags {
            0 => None,
            1 => Some(Access::Read),
            3 => Some(Access::ReadWrite),
            _ => return Err(Code::INVALID_VALUE.into()),
        };
        Ok((self.location.device()?.ordinal, access))
    }
}
