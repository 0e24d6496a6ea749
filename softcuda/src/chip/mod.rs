//! The emulated chips: their limits, as the driver reports and enforces them, and what the time model knows of them.
//!
//! The figures of a chip stand in one file, with their sources: `chips/` has those that are built in.

pub mod file;
mod time;

pub use time::{Bandwidth, Cost, Latency, TensorFlops, Throughput, TimeFigures};

use std::str::FromStr;
use std::sync::OnceLock;

/// An emulated architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// A100.
    Sm80,
    /// RTX 4090.
    Sm89,
    /// H100.
    Sm90,
}

impl Architecture {
    /// Every architecture there is.
    pub const ALL: [Architecture; 3] = [Self::Sm80, Self::Sm89, Self::Sm90];

    /// 80, 89 or 90.
    pub fn number(self) -> u32 {
        match self {
            Self::Sm80 => 80,
            Self::Sm89 => 89,
            Self::Sm90 => 90,
        }
    }

    /// The chip that stands for this architecture.
    pub fn chip(self) -> &'static Chip {
        CHIPS[self as usize].get_or_init(|| {
            let name = match self {
                Self::Sm80 => "a100-sxm-80gb",
                Self::Sm89 => "rtx-4090",
                Self::Sm90 => "h100-sxm",
            };
            // A test loads them all.
            file::load(name).unwrap_or_else(|error| unreachable!("{error}"))
        })
    }
}

/// A name that is none of `sm_80`, `sm_89`, `sm_90`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown architecture {0:?}: expected sm_80, sm_89 or sm_90")]
pub struct UnknownArchitecture(pub String);

impl FromStr for Architecture {
    type Err = UnknownArchitecture;

    fn from_str(text: &str) -> Result<Self, UnknownArchitecture> {
        match text.trim() {
            "sm_80" => Ok(Self::Sm80),
            "sm_89" => Ok(Self::Sm89),
            "sm_90" => Ok(Self::Sm90),
            other => Err(UnknownArchitecture(other.to_owned())),
        }
    }
}

/// Threads of a warp.
pub const WARP_SIZE: u32 = 32;
/// Threads of a block at most.
pub const MAX_BLOCK_THREADS: u32 = 1024;
/// Threads of a block at most in x, y, z.
pub const MAX_BLOCK: [u32; 3] = [1024, 1024, 64];
/// Blocks of a grid at most in x, y, z.
pub const MAX_GRID: [u32; 3] = [0x7fff_ffff, 65_535, 65_535];
/// Shared memory of a block in bytes (static and dynamic) without opting in to more.
pub const SHARED_PER_BLOCK: u32 = 48 * 1024;
/// Shared memory in bytes that the system keeps for itself in each block.
pub const SHARED_RESERVED_PER_BLOCK: u32 = 1024;
/// Shared memory is given to blocks in units of this many bytes.
pub const SHARED_UNIT: u32 = 128;
/// 32-bit registers of a multiprocessor, and of a block at most.
pub const REGISTERS: u32 = 65_536;
/// Registers are given to warps in units of this many.
pub const REGISTER_UNIT: u32 = 256;
/// Sub-cores of a multiprocessor; the register file is split evenly among them.
pub const SUB_CORES: u32 = 4;
/// Bytes of a kernel's parameters at most.
pub const MAX_PARAMETER_BYTES: u32 = 4096;

/// What distinguishes one chip from another.
#[derive(Clone, Copy, Debug)]
pub struct Chip {
    /// Its architecture.
    pub architecture: Architecture,
    /// The name that the driver reports.
    pub name: &'static str,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Boost clock of the multiprocessors in kHz.
    pub clock_khz: u32,
    /// Memory clock in kHz.
    pub memory_clock_khz: u32,
    /// Width of the memory bus in bits.
    pub memory_bus_bits: u32,
    /// Device memory in bytes.
    pub memory_bytes: u64,
    /// Whether memory has error correction.
    pub ecc: bool,
    /// L2 cache in bytes.
    pub l2_bytes: u32,
    /// The part of L2 in bytes that can be set aside for persisting accesses.
    pub l2_persisting_bytes: u32,
    /// Sizes in KB that the shared memory of a multiprocessor can be configured to, ascending.
    pub shared_carveouts_kb: &'static [u32],
    /// Shared memory of a block in bytes after opting in.
    pub shared_per_block_optin: u32,
    /// Threads of a multiprocessor.
    pub threads_per_multiprocessor: u32,
    /// Blocks of a multiprocessor.
    pub blocks_per_multiprocessor: u32,
    /// Named barriers of a multiprocessor, which its blocks share.
    pub barriers_per_multiprocessor: u32,
    /// f32 operations for each f64 operation.
    pub single_to_double_ratio: u32,
    /// Copy engines.
    pub copy_engines: u32,
    /// Figures of the time model.
    pub time: TimeFigures,
}

impl Chip {
    /// Compute capability: (8, 9) for sm_89.
    pub fn compute_capability(&self) -> (u32, u32) {
        let number = self.architecture.number();
        (number / 10, number % 10)
    }

    /// Shared memory of a multiprocessor in bytes.
    pub fn shared_per_multiprocessor(&self) -> u32 {
        self.shared_carveouts_kb.last().map_or(0, |kb| kb * 1024)
    }

    /// Warps of a multiprocessor.
    pub fn warps_per_multiprocessor(&self) -> u32 {
        self.threads_per_multiprocessor / WARP_SIZE
    }
}

/// The chips that stand for the architectures of this process.
static CHIPS: [OnceLock<Chip>; 3] = [const { OnceLock::new() }; 3];

/// Makes a chip stand for its architecture, in place of the one that is built in; the chip back if that comes too late:
/// the architecture has been used.
pub fn replace(chip: Chip) -> Result<(), Box<Chip>> {
    CHIPS[chip.architecture as usize].set(chip).map_err(Box::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opting_in_leaves_exactly_the_reserved_part_of_a_multiprocessor() {
        for architecture in Architecture::ALL {
            let chip = architecture.chip();
            assert_eq!(
                chip.shared_per_block_optin + SHARED_RESERVED_PER_BLOCK,
                chip.shared_per_multiprocessor(),
                "{}",
                chip.name
            );
        }
    }

    #[test]
    fn every_chip_that_is_built_in_loads_and_stands_for_its_architecture() {
        for (name, architecture) in file::names().zip(Architecture::ALL) {
            let chip = file::load(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(chip.architecture, architecture, "{name}");
            let figures = chip.time;
            let peak = figures.tensor_flops.f16 * f64::from(chip.multiprocessors) * f64::from(chip.clock_khz) * 1e3;
            assert!((1e14..1e15).contains(&peak), "{name}: {peak:e} FLOP/s");
        }
    }

    #[test]
    fn names_of_architectures_parse_and_others_say_what_is_expected() {
        assert_eq!("sm_89".parse(), Ok(Architecture::Sm89));
        let error = "sm_70".parse::<Architecture>().unwrap_err();
        assert_eq!(error.to_string(), "unknown architecture \"sm_70\": expected sm_80, sm_89 or sm_90");
    }
}
