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

/// What a block takes of a multiprocessor.
#[derive(Clone, Copy)]
pub(super) struct Needs {
    /// Threads of the block.
    pub(super) threads: u32,
    /// Registers of a thread.
    pub(super) registers: u32,
    /// Shared memory of the block in bytes, static and dynamic.
    pub(super) shared_bytes: u32,
    /// Named barriers of the block.
    pub(super) barriers: u32,
    /// The part of the memory for L1 and shared memory, in percent, that the program would like to be shared memory.
    pub(super) carveout: Option<u32>,
}

/// Warps of a multiprocessor that its registers suffice for: each sub-core has its own part of them.
pub(super) fn warps_by_registers(registers: u32) -> u32 {
    let warp = (registers * WARP_SIZE).next_multiple_of(REGISTER_UNIT);
    (REGISTERS / SUB_CORES).checked_div(warp).map_or(u32::MAX, |warps| warps * SUB_CORES)
}

/// Blocks that are on a multiprocessor at once; 0: not even one fits.
pub(super) fn blocks(chip: &Chip, needs: &Needs) -> u32 {
    if needs.threads == 0 || needs.threads > MAX_BLOCK_THREADS || needs.shared_bytes > chip.shared_per_block_optin {
        return 0;
    }
    let warps = needs.threads.div_ceil(WARP_SIZE);
    let by_warps = chip.warps_per_multiprocessor() / warps;
    let by_registers = warps_by_registers(needs.registers) / warps;
    let by_barriers = chip.barriers_per_multiprocessor.checked_div(needs.barriers).unwrap_or(u32::MAX);

    let block = (needs.shared_bytes + SHARED_RESERVED_PER_BLOCK).next_multiple_of(SHARED_UNIT);
    // Without a wish all that can be is shared memory; a wish counts as long as one block fits.
    let wish = needs.carveout.map_or(u32::MAX, |percent| chip.shared_per_multiprocessor() * percent / 100);
    let by_shared = shared_configuration(chip, wish.max(block)) / block;

    [by_registers, by_barriers, by_shared, chip.blocks_per_multiprocessor].into_iter().fold(by_warps, u32::min)
}

/// The smallest shared memory that a multiprocessor can be configured to with at least `bytes`, or else the largest.
fn shared_configuration(chip: &Chip, bytes: u32) -> u32 {
    let fitting = chip.shared_carveouts_kb.iter().map(|kb| kb * 1024).find(|size| *size >= bytes);
    fitting.unwrap_or(chip.shared_per_multiprocessor())
}

/// The same for a function and its present settings.
pub(super) fn blocks_per_multiprocessor(function: &Function, threads: u32, dynamic_shared_bytes: u32) -> u32 {
    if dynamic_shared_bytes > function.max_dynamic_shared() {
        return 0;
    }
    blocks(function.context.device.chip, &function.needs(threads, dynamic_shared_bytes))
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
        if blocks(chip, &function.needs(threads, 0)) < num_blocks {
            return Err(Code::INVALID_VALUE.into());
        }
        let share = chip.shared_per_multiprocessor() / num_blocks / SHARED_UNIT * SHARED_UNIT;
        let usable = (share - SHARED_RESERVED_PER_BLOCK).min(chip.shared_per_block_optin);
        out.set((usable - function.kernel.static_shared_bytes).min(function.max_dynamic_shared()) as usize)
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
#[path = "occupancy_tests.rs"]
mod tests;
