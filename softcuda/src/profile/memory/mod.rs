//! What a launch moves between the L2 cache and device memory: the sectors of its accesses, block after block in one order,
//! go through a model of the cache.
//!
//! Accesses are noted as they happen, a run of sectors at a time, by each host thread for the block that it runs
//! (`Records`). Finished blocks are put in the order of their numbers, and those that are on the device together take turns
//! (`Waves`), so that the result does not depend on the host. The cache (`Cache`) holds as many lines as the chip's.

mod cache;
mod records;
mod waves;

pub(crate) use records::{Access, Records};
pub(crate) use waves::{MOST_BLOCK_RUNS, Waves};

/// Bytes of a sector: what moves between L2 and device memory.
pub const SECTOR_BYTES: u64 = 32;
/// Sectors of a line: what the L2 cache replaces.
pub const LINE_SECTORS: u64 = 4;

/// Traffic of device memory, by the model of the L2 cache.
///
/// The cache is empty when a launch begins. A sector that is loaded, or met by an atomic, and that the cache does not have is
/// read from device memory; a store needs no read. Sectors that were written go to device memory when their line is replaced,
/// or when the launch ends: as if nothing that comes later found anything in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceTraffic {
    /// Sectors read from device memory.
    pub read_sectors: u64,
    /// Sectors written to device memory.
    pub write_sectors: u64,
    /// Sectors that would be read if the cache had no end: each that is read before anything writes it, once.
    pub compulsory_read_sectors: u64,
    /// Sectors that would be written if the cache had no end: each that is written, once.
    pub compulsory_write_sectors: u64,
}

impl DeviceTraffic {
    /// Bytes read from and written to device memory.
    pub fn bytes(&self) -> u64 {
        SECTOR_BYTES * (self.read_sectors + self.write_sectors)
    }

    /// The least that they could be: every sector read once and written once.
    pub fn compulsory_bytes(&self) -> u64 {
        SECTOR_BYTES * (self.compulsory_read_sectors + self.compulsory_write_sectors)
    }
}
