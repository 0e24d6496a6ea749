//! How many blocks of a kernel fit a multiprocessor, and what keeps more from fitting.
//!
//! The rules are those of the CUDA occupancy calculator for compute capability 8.0 and newer.

/// What a multiprocessor offers; from the driver's device attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Multiprocessor {
    /// Threads that may be resident.
    pub(crate) threads: u32,
    /// Blocks that may be resident.
    pub(crate) blocks: u32,
    /// Registers.
    pub(crate) registers: u32,
    /// Bytes of shared memory.
    pub(crate) shared_bytes: u32,
    /// Bytes of shared memory that the system takes of each block.
    pub(crate) reserved_shared_bytes: u32,
}

/// What a block of a kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Threads.
    pub(crate) threads: u32,
    /// Registers a thread.
    pub(crate) registers: u32,
    /// Bytes of shared memory, static and dynamic.
    pub(crate) shared_bytes: u32,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Occupancy {
    /// Blocks that are resident on a multiprocessor.
    pub(crate) blocks: u32,
    /// Their warps.
    pub(crate) warps: u32,
    /// Warps that a multiprocessor could hold.
    pub(crate) warps_limit: u32,
    /// What keeps more blocks from fitting.
    pub(crate) limited_by: String,
}

/// Registers are given to a warp in units of this many.
const REGISTER_UNIT: u32 = 256;
/// Warps get registers in groups of this many: one for each of a multiprocessor's four schedulers.
const WARP_UNIT: u32 = 4;
/// Shared memory is given to a block in units of this many bytes.
const SHARED_UNIT: u32 = 128;

/// Computes it. A block that does not fit at all gives zero blocks.
pub(crate) fn occupancy(chip: Multiprocessor, block: Block) -> Occupancy {
    let warps_limit = chip.threads / 32;
    let warps = block.threads.div_ceil(32).max(1);
    let registers_per_warp = (block.registers * 32).next_multiple_of(REGISTER_UNIT).max(REGISTER_UNIT);
    let warps_by_registers = chip.registers / registers_per_warp / WARP_UNIT * WARP_UNIT;
    let shared = (block.shared_bytes + chip.reserved_shared_bytes).next_multiple_of(SHARED_UNIT);
    let limits = [
        (warps_by_registers / warps, "registers"),
        (chip.shared_bytes.checked_div(shared).unwrap_or(u32::MAX), "shared memory"),
        (warps_limit / warps, "threads"),
        (chip.blocks, "blocks"),
    ];
    let blocks = limits.iter().map(|(blocks, _)| *blocks).min().unwrap_or(0);
    let limiting: Vec<_> = limits.iter().filter(|(limit, _)| *limit == blocks).map(|(_, name)| *name).collect();
    Occupancy { blocks, warps: blocks * warps, warps_limit, limited_by: limiting.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A100: Multiprocessor = Multiprocessor {
        threads: 2048,
        blocks: 32,
        registers: 65536,
        shared_bytes: 164 * 1024,
        reserved_shared_bytes: 1024,
    };

    fn of(threads: u32, registers: u32, shared_bytes: u32) -> (u32, u32, String) {
        let found = occupancy(A100, Block { threads, registers, shared_bytes });
        (found.blocks, found.warps, found.limited_by)
    }

    #[test]
    fn each_resource_can_be_the_limit() {
        assert_eq!(of(128, 255, 0), (2, 8, "registers".into()));
        assert_eq!(of(128, 168, 0), (3, 12, "registers".into()));
        assert_eq!(of(128, 128, 64 * 1024), (2, 8, "shared memory".into()));
        assert_eq!(of(1024, 24, 0), (2, 64, "registers, threads".into()));
        assert_eq!(of(32, 16, 0), (32, 32, "blocks".into()));
    }

    #[test]
    fn a_block_that_does_not_fit_gives_zero() {
        assert_eq!(of(1024, 255, 0), (0, 0, "registers".into()));
        assert_eq!(of(32, 16, 200 * 1024), (0, 0, "shared memory".into()));
    }
}
