//! Memories of the device.
mod global;
pub use global::{AllocationInfo, GlobalMemory, MemoryError};
