//! Memories of the device.
mod allocator;
mod global;
mod reservation;
mod view;
pub use global::{AllocationInfo, GlobalMemory, MemoryError};
pub use view::{Reach, View};
