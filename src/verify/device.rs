//! The device of a process.

use std::sync::OnceLock;

use crate::{Device, Queue, Result};

/// The environment variable that names the device: `auto`, `cuda:N` or `software[:sm_80|sm_89|sm_90]`.
pub const DEVICE_VARIABLE: &str = "LLM_KERNELS_DEVICE";

/// Opens the device that [`DEVICE_VARIABLE`] names; `auto` if it is unset or empty.
pub fn open_device() -> Result<Device> {
    let name = std::env::var(DEVICE_VARIABLE).unwrap_or_default();
    Device::open(if name.is_empty() { "auto" } else { &name })
}

/// The default queue of the device that [`DEVICE_VARIABLE`] names, opened once in a process.
pub fn queue() -> Result<&'static Queue> {
    static QUEUE: OnceLock<Result<Queue>> = OnceLock::new();
    QUEUE.get_or_init(|| Ok(open_device()?.default_queue())).as_ref().map_err(Clone::clone)
}
