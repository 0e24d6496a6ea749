//! Memories of the device.
mod allocator;
mod global;
mod heap;
mod reservation;
mod validity;
mod view;
mod virtual_memory;
pub use global::{AllocationInfo, GlobalMemory, MemoryError};
pub use validity::Written;
pub use view::{Reach, View};
pub use virtual_memory::{Access, Backing, GRANULARITY, Mapping, VirtualMemory};
