//! Memories of the device.
mod allocator;
mod global;
mod reservation;
pub use global::{AllocationInfo, GlobalMemory, MemoryError};
