//! How many blocks fit on a multiprocessor, by the rules of the chip.

use super::{
    abi::{CuResult, Handle, In, Out, call},
    error::{Code, Error},
    function::{self, Function},
    launch::LaunchConfig,
};
use crate::chip::{
    Chip, MAX_BLOCK_THREADS, REGISTER_UNIT, REGISTERS, SHARED_RESERVED_PER_BLOCK, SHARED_UNIT, SUB_CORES, WARP_SIZE,
};

/// Blocks of `threads` threads, `registers` registers a thread and `shared_bytes` of shared memory (static and
/// dynamic) that are on a multiprocessor at once; 0: not even one fits.
pub(super) fn blocks(chip: &Chip, threads: u32, registers: u32, shared_bytes: u32) -> u32 {
    if threads == 0 || threads > MAX_BLOCK_THREADS || shared_bytes > chip.shared_per_block_optin {
        return 0;
    }
    let warps = threads.div_ceil(WARP_SIZE);
    let by_warps = chip.warps_per_multiprocessor() / warps;

    let by_registers = if registers == 0 {
        u32::MAX
    } else {
        // Each sub-core has its own part of the register file.
        let warp = (registers * WARP_SIZE).next_multiple_of(REGISTER_UNIT);
        REGISTERS / SUB_CORES / warp * SUB_CORES / warps
    };

    // The split between shared memory and L1 is chosen for the kernel, so all of it can be shared memory.
    let block = (shared_bytes + SHARED_RESERVED_PER_BLOCK).next_multiple_of(SHARED_UNIT);
    let by_shared = chip.shared_per_multiprocessor() / block;

    by_warps.min(by_registers).min(by_shared).min(chip.blocks_per_multiprocessor)
}

/// The same for a function and its present settings.
pub(super) fn blocks_per_multiprocessor(function: &Function, threads: u32, dynamic_shared_bytes: u32) -> u32 {
    if dynamic_shared_bytes > function.max_dynamic_shared() {
        return 0;
    }
    blocks(
        function.context.device.chip,
        threads,
        function.registers_or_nominal(),
        function.kernel.static_shared_bytes + dynamic_shared_bytes,
    )
}

fn threads(block_size: i32) -> Result<u32, Error> {
    match u32::try_from(block_size) {
        Ok(threads) if threads > 0 => Ok(threads),
        _ => Err(Code::INVALID_VALUE.into()),
    }
}

pub extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    out: Out<i32>,
    function: Handle,
    block_size: i32,
    dynamic_shared_bytes: usize,
) -> CuResult {
    call(|| {
        let function = function::get(function)?;
        let dynamic = u32::try_from(dynamic_shared_bytes).unwrap_or(u32::MAX);
        out.set(blocks_per_multiprocessor(&function, threads(block_size)?, dynamic) as i32)
    })
}

pub extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    out: Out<i32>,
    function: Handle,
    block_size: i32,
    dynamic_shared_bytes: usize,
    _flags: u32,
) -> CuResult {
    cuOccupancyMaxActiveBlocksPerMultiprocessor(out, function, block_size, dynamic_shared_bytes)
}

pub extern "C" fn cuOccupancyMaxPotentialBlockSize(
    min_grid: Out<i32>,
    block_size: Out<i32>,
    function: Handle,
    shared_of_block: Option<extern "C" fn(i32) -> usize>,
    dynamic_shared_bytes: usize,
    limit: i32,
) -> CuResult {
    call(|| {
        let function = function::get(function)?;
        let most = match u32::try_from(limit).map_err(|_| Code::INVALID_VALUE)? {
            0 => function.max_threads(),
            limit => limit.min(function.max_threads()),
        };
        let occupied = |threads: u32| {
            let dynamic = match shared_of_block {
                Some(shared) => shared(threads as i32),
                None => dynamic_shared_bytes,
            };
            let dynamic = u32::try_from(dynamic).unwrap_or(u32::MAX);
            threads * blocks_per_multiprocessor(&function, threads, dynamic)
        };
        // Whole warps, from the largest block down; only more threads on the multiprocessor beat a larger block.
        let sizes = std::iter::once(most).chain((1..=most / WARP_SIZE).rev().map(|warps| warps * WARP_SIZE));
        let mut best = (0, 0);
        for size in sizes {
            let now = occupied(size);
            if now > best.1 {
                best = (size, now);
            }
        }
        let (size, occupied) = best;
        let per_multiprocessor = occupied.checked_div(size).unwrap_or(0);
        min_grid.set((per_multiprocessor * function.context.device.chip.multiprocessors) as i32)?;
        block_size.set(size as i32)
    })
}

pub extern "C" fn cuOccupancyMaxPotentialBlockSizeWithFlags(
    min_grid: Out<i32>,
    block_size: Out<i32>,
    function: Handle,
    shared_of_block: Option<extern "C" fn(i32) -> usize>,
    dynamic_shared_bytes: usize,
    limit: i32,
    _flags: u32,
) -> CuResult {
    cuOccupancyMaxPotentialBlockSize(min_grid, block_size, function, shared_of_block, dynamic_shared_bytes, limit)
}

pub extern "C" fn cuOccupancyAvailableDynamicSMemPerBlock(
    out: Out<usize>,
    function: Handle,
    num_blocks: i32,
    block_size: i32,
) -> CuResult {
    call(|| {
        let function = function::get(function)?;
        let chip = function.context.device.chip;
        let num_blocks = threads(num_blocks)?;
        let threads = threads(block_size)?;
        let static_bytes = function.kernel.static_shared_bytes;
        let registers = function.registers_or_nominal();
        if blocks(chip, threads, registers, static_bytes) < num_blocks {
            return Err(Code::INVALID_VALUE.into());
        }
        let share = chip.shared_per_multiprocessor() / num_blocks / SHARED_UNIT * SHARED_UNIT;
        let usable = (share - SHARED_RESERVED_PER_BLOCK).min(chip.shared_per_block_optin);
        out.set((usable - static_bytes) as usize)
    })
}

/// Clusters of one block: as many as there are blocks on the device at once.
pub extern "C" fn cuOccupancyMaxActiveClusters(out: Out<i32>, function: Handle, config: In<LaunchConfig>) -> CuResult {
    call(|| {
        let function = function::get(function)?;
        let config = config.get()?;
        config.check_attributes()?;
        // Too large a product is too large a block all the same.
        let threads = config.block.iter().fold(1u32, |all, size| all.saturating_mul(*size));
        let blocks = blocks_per_multiprocessor(&function, threads, config.dynamic_shared_bytes);
        out.set((blocks * function.context.device.chip.multiprocessors) as i32)
    })
}

/// No kernel can have clusters of more than one block.
pub extern "C" fn cuOccupancyMaxPotentialClusterSize(
    out: Out<i32>,
    function: Handle,
    config: In<LaunchConfig>,
) -> CuResult {
    call(|| {
        function::get(function)?;
        config.get()?.check_attributes()?;
        out.set(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::Architecture;

    #[test]
    fn each_resource_limits_the_number_of_blocks() {
        let a100 = Architecture::Sm80.chip();
        assert_eq!(blocks(a100, 32, 16, 0), 32, "blocks");
        assert_eq!(blocks(a100, 1024, 32, 0), 2, "warps");
        assert_eq!(blocks(a100, 256, 128, 0), 2, "registers");
        // 33 registers are given as 40: 1280 a warp, 12 warps a sub-core.
        assert_eq!(blocks(a100, 128, 33, 0), 12, "registers are given in units");
        assert_eq!(blocks(a100, 128, 32, 80 * 1024), 2, "shared memory");
        assert_eq!(blocks(a100, 128, 32, 82 * 1024), 1, "1 KB a block is reserved");
        assert_eq!(blocks(a100, 128, 32, 163 * 1024), 1);
        assert_eq!(blocks(a100, 128, 32, 163 * 1024 + 1), 0);
        assert_eq!(blocks(a100, 1024, 65, 0), 0, "not even one block");
        assert_eq!(blocks(a100, 1025, 0, 0), 0);
    }

    #[test]
    fn the_chips_differ_where_their_limits_do() {
        let of = |architecture: Architecture| {
            let chip = architecture.chip();
            (blocks(chip, 256, 32, 0), blocks(chip, 128, 32, 48 * 1024))
        };
        assert_eq!(of(Architecture::Sm80), (8, 3));
        assert_eq!(of(Architecture::Sm89), (6, 2));
        assert_eq!(of(Architecture::Sm90), (8, 4));
    }
}
