//! `CUlimit`: what may be asked for and set, by chip.

use super::error::{Code, Error};
use crate::chip::{Architecture, Chip};

/// CU_LIMIT_STACK_SIZE.
pub(super) const STACK_SIZE: u32 = 0;
/// CU_LIMIT_MALLOC_HEAP_SIZE.
pub(super) const MALLOC_HEAP_SIZE: u32 = 2;
const DEV_RUNTIME_SYNC_DEPTH: u32 = 3;
const MAX_L2_FETCH_GRANULARITY: u32 = 5;
const PERSISTING_L2_CACHE_SIZE: u32 = 6;

/// First values, from CU_LIMIT_STACK_SIZE over PRINTF_FIFO_SIZE, MALLOC_HEAP_SIZE, DEV_RUNTIME_SYNC_DEPTH,
/// DEV_RUNTIME_PENDING_LAUNCH_COUNT and MAX_L2_FETCH_GRANULARITY to PERSISTING_L2_CACHE_SIZE.
pub(super) const DEFAULTS: [usize; 7] = [1024, 1 << 20, 8 << 20, 2, 2048, 64, 0];

/// Local memory of a thread in bytes at most.
const MAX_STACK_BYTES: usize = 512 << 10;
/// Kernels that start kernels may wait for them down to this depth at most, on the chips where they may at all.
const MAX_SYNC_DEPTH: usize = 24;
/// Bytes that L2 fetches from memory at once, at most.
const MAX_FETCH_BYTES: usize = 128;

/// An error for a limit that the chip does not have.
pub(super) fn check(chip: &Chip, limit: u32) -> Result<(), Error> {
    match limit {
        DEV_RUNTIME_SYNC_DEPTH if chip.architecture >= Architecture::Sm90 => Err(Code::UNSUPPORTED_LIMIT.into()),
        limit if (limit as usize) < DEFAULTS.len() => Ok(()),
        _ => Err(Code::UNSUPPORTED_LIMIT.into()),
    }
}

/// The value that a limit gets when `value` is asked for: hints about caches are cut to what there is.
pub(super) fn accept(chip: &Chip, limit: u32, value: usize) -> Result<usize, Error> {
    check(chip, limit)?;
    match limit {
        STACK_SIZE if value > MAX_STACK_BYTES => Err(Code::INVALID_VALUE.into()),
        DEV_RUNTIME_SYNC_DEPTH if value > MAX_SYNC_DEPTH => Err(Code::INVALID_VALUE.into()),
        MAX_L2_FETCH_GRANULARITY => Ok(value.min(MAX_FETCH_BYTES)),
        PERSISTING_L2_CACHE_SIZE => Ok(value.min(chip.l2_persisting_bytes as usize)),
        _ => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_chip() {
        let [a100, ada, hopper] = Architecture::ALL.map(Architecture::chip);
        assert_eq!(accept(a100, STACK_SIZE, 4096).unwrap(), 4096);
        assert!(accept(a100, STACK_SIZE, (512 << 10) + 1).is_err());
        assert_eq!(accept(ada, PERSISTING_L2_CACHE_SIZE, usize::MAX).unwrap(), 51_904_512);
        assert_eq!(accept(a100, MAX_L2_FETCH_GRANULARITY, 1000).unwrap(), 128);
        assert!(check(ada, DEV_RUNTIME_SYNC_DEPTH).is_ok());
        assert!(check(hopper, DEV_RUNTIME_SYNC_DEPTH).is_err());
        assert!(check(a100, 7).is_err());
    }
}
