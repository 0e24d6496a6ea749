//! Counters: deterministic figures of a launch, under Nsight Compute's names where one exists.

mod json;
mod launches;
mod lines;
pub mod memory;
mod metrics;
mod settings;
mod tally;
pub mod time;
mod trace;

pub(crate) use launches::record;
pub use launches::{LaunchReport, clear_launches, launches};
pub use lines::{LineCounters, by_source, hottest, lines};
pub use memory::DeviceTraffic;
pub(crate) use memory::{Access, MOST_BLOCK_RUNS, Records, Waves};
pub(crate) use settings::profile_or;
pub use settings::{Profile, set_profile};
pub use tally::{OpTraffic, Tally};
pub use time::LaunchTime;
pub use trace::{BlockTrace, Event, What};

use crate::ptx::isa::Pipe;
use std::collections::BTreeMap;

/// Warp and thread instructions of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InstructionCount {
    /// Executed by warps.
    pub warp: u64,
    /// Executed by threads: the active threads of each warp instruction (a false guard does not make one inactive).
    pub thread: u64,
}

/// Accesses of one kind to device memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GlobalAccess {
    /// Warp-level memory instructions.
    pub requests: u64,
    /// Aligned 32-byte pieces touched, summed over requests.
    pub sectors: u64,
    /// Bytes that the threads asked for.
    pub bytes: u64,
}

/// Accesses of one kind to shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedAccess {
    /// Warp-level instructions (each matrix of an ldmatrix is one phase of one request).
    pub requests: u64,
    /// Cycles that the banks need.
    pub wavefronts: u64,
    /// The same without bank conflicts.
    pub ideal_wavefronts: u64,
}

/// Deterministic counters of a launch. 1 and N host threads give identical figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Blocks run.
    pub blocks: u64,
    /// Warps run.
    pub warps: u64,
    /// `inst_executed` and `thread_inst_executed` by PTX mnemonic.
    pub instructions: BTreeMap<&'static str, InstructionCount>,
    /// The same by pipe.
    pub pipes: BTreeMap<&'static str, InstructionCount>,
    /// `ld.global`.
    pub global_loads: GlobalAccess,
    /// `st.global`.
    pub global_stores: GlobalAccess,
    /// Sources of `cp.async` (LDGSTS).
    pub async_copies: GlobalAccess,
    /// Atomics on device memory.
    pub global_atomics: GlobalAccess,
    /// `ld.shared`.
    pub shared_loads: SharedAccess,
    /// `st.shared`.
    pub shared_stores: SharedAccess,
    /// `ldmatrix`.
    pub matrix_loads: SharedAccess,
    /// Destinations of `cp.async`.
    pub async_stores: SharedAccess,
    /// Atomics on shared memory (one wavefront a distinct address).
    pub shared_atomics: SharedAccess,
    /// Tensor-core multiply-adds, all lanes together.
    pub tensor_multiply_adds: u64,
    /// Branches at which threads of a warp went different ways.
    pub divergent_branches: u64,
    /// Barriers that a warp met.
    pub barriers: u64,
    /// Of the thread instructions, those that a false guard kept from taking effect. Branches, exits and barriers are not
    /// among them: their predicate says where a thread goes, not whether it takes part.
    pub predicated_off: u64,
    /// Traffic of device memory; `None`: not measured (`SOFTCUDA_PROFILE`).
    pub memory: Option<DeviceTraffic>,
}

impl InstructionCount {
    fn add(&mut self, other: InstructionCount) {
        self.warp += other.warp;
        self.thread += other.thread;
    }
}

impl GlobalAccess {
    fn add(&mut self, other: GlobalAccess) {
        self.requests += other.requests;
        self.sectors += other.sectors;
        self.bytes += other.bytes;
    }
}

impl SharedAccess {
    fn add(&mut self, other: SharedAccess) {
        self.requests += other.requests;
        self.wavefronts += other.wavefronts;
        self.ideal_wavefronts += other.ideal_wavefronts;
    }
}

impl Counters {
    /// `inst_executed`: warp instructions.
    pub fn warp_instructions(&self) -> u64 {
        self.instructions.values().map(|count| count.warp).sum()
    }

    /// `thread_inst_executed`: thread instructions.
    pub fn thread_instructions(&self) -> u64 {
        self.instructions.values().map(|count| count.thread).sum()
    }

    /// Of the threads of the warps, the part that was active: `smsp__thread_inst_executed_per_inst_executed` over 32.
    pub fn divergence_efficiency(&self) -> f64 {
        ratio(self.thread_instructions(), 32 * self.warp_instructions())
    }

    /// Of the active threads, the part whose guard held.
    pub fn predication_efficiency(&self) -> f64 {
        let threads = self.thread_instructions();
        ratio(threads - self.predicated_off, threads)
    }

    /// Warp instructions of one mnemonic.
    pub fn executed(&self, mnemonic: &str) -> u64 {
        self.instructions.get(mnemonic).map_or(0, |count| count.warp)
    }

    /// Bytes that move between the caches and the SMs: sectors of loads, stores, asynchronous copies and atomics.
    pub fn global_bytes(&self) -> u64 {
        32 * (self.global_loads.sectors
            + self.global_stores.sectors
            + self.async_copies.sectors
            + self.global_atomics.sectors)
    }

    /// Bytes that threads asked for, of the same accesses.
    pub fn global_requested_bytes(&self) -> u64 {
        self.global_loads.bytes + self.global_stores.bytes + self.async_copies.bytes + self.global_atomics.bytes
    }

    /// Shared-memory wavefronts of all accesses.
    pub fn shared_wavefronts(&self) -> u64 {
        self.shared_kinds().map(|access| access.wavefronts).sum()
    }

    /// Shared-memory wavefronts that conflict-free accesses would need.
    pub fn shared_ideal_wavefronts(&self) -> u64 {
        self.shared_kinds().map(|access| access.ideal_wavefronts).sum()
    }

    fn shared_kinds(&self) -> impl Iterator<Item = &SharedAccess> {
        [&self.shared_loads, &self.shared_stores, &self.matrix_loads, &self.async_stores, &self.shared_atomics]
            .into_iter()
    }

    /// Counts `count` of a mnemonic and of its pipe.
    pub(crate) fn add_instructions(&mut self, mnemonic: &'static str, pipe: Pipe, count: InstructionCount) {
        self.instructions.entry(mnemonic).or_default().add(count);
        self.pipes.entry(pipe_name(pipe)).or_default().add(count);
    }

    /// Adds another part of the same launch.
    pub(crate) fn merge(&mut self, other: &Counters) {
        self.blocks += other.blocks;
        self.warps += other.warps;
        for (&name, &count) in &other.instructions {
            self.instructions.entry(name).or_default().add(count);
        }
        for (&name, &count) in &other.pipes {
            self.pipes.entry(name).or_default().add(count);
        }
        self.global_loads.add(other.global_loads);
        self.global_stores.add(other.global_stores);
        self.async_copies.add(other.async_copies);
        self.global_atomics.add(other.global_atomics);
        self.shared_loads.add(other.shared_loads);
        self.shared_stores.add(other.shared_stores);
        self.matrix_loads.add(other.matrix_loads);
        self.async_stores.add(other.async_stores);
        self.shared_atomics.add(other.shared_atomics);
        self.tensor_multiply_adds += other.tensor_multiply_adds;
        self.divergent_branches += other.divergent_branches;
        self.barriers += other.barriers;
        self.predicated_off += other.predicated_off;
    }
}

/// 1 where there is nothing to divide by: nothing was wasted.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

fn pipe_name(pipe: Pipe) -> &'static str {
    match pipe {
        Pipe::Fma => "fma",
        Pipe::Alu => "alu",
        Pipe::Fp64 => "fp64",
        Pipe::Mufu => "mufu",
        Pipe::Lsu => "lsu",
        Pipe::Tensor => "tensor",
        Pipe::Control => "control",
        Pipe::Move => "move",
    }
}
