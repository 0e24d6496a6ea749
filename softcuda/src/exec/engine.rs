//! One host thread's engine: what it needs to run blocks of one launch, and the counters it gathers.

use super::async_copy::AsyncCopies;
use super::local::LocalMemory;
use super::registers::Registers;
use super::schedule::Random;
use super::warp::Warp;
use super::watch::{BlockWatch, Watch};
use super::{Launch, Machine};
use crate::memory::Reach;
use crate::profile::{BlockTrace, Counters, Records, Tally};
use crate::program::Kernel;
use crate::program::op::Preset;
use crate::ptx::ast::Special;
use std::sync::atomic::AtomicU64;

/// Generic addresses of shared memory: [`SHARED_WINDOW`], 16 MiB long.
pub(crate) const SHARED_WINDOW: u64 = 0x7e00_0000_0000;
/// Generic addresses of local memory, 16 MiB long.
pub(crate) const LOCAL_WINDOW: u64 = 0x7e10_0000_0000;
/// Generic addresses of the parameters of the kernel, 16 MiB long.
pub(crate) const PARAM_WINDOW: u64 = 0x7e20_0000_0000;
/// Length of each window.
pub(crate) const WINDOW_BYTES: u64 = 1 << 24;

/// Warp instructions that a warp runs before another warp gets its turn.
pub(crate) const QUANTUM: i64 = 1 << 17;

/// Memories of the block that an engine runs.
pub(crate) struct Site {
    /// How many blocks have started before.
    pub(crate) position: u64,
    /// Decides where order is left to chance.
    pub(crate) random: Option<Random>,
    /// Block number, x fastest.
    pub(crate) number: u64,
    /// %ctaid.
    pub(crate) block: [u32; 3],
    /// Shared memory, static then dynamic.
    pub(crate) shared: AlignedBytes,
    /// For each 4 bytes of shared memory, rounded up to 16 bytes: whether a `cp.async` to it is in flight.
    pub(crate) poison: AlignedBytes,
    /// Lanes of copies in flight in the whole block.
    pub(crate) in_flight: usize,
    /// Lowest and highest device address that a copy in flight has been issued for.
    pub(crate) sources: (u64, u64),
    /// Asynchronous copies in flight, warp by warp.
    pub(crate) copies: Vec<AsyncCopies>,
    /// Local memory.
    pub(crate) local: LocalMemory,
    /// What its threads have printed.
    pub(crate) printed: Vec<u8>,
    /// What the checkers know of it.
    pub(crate) watch: BlockWatch,
    /// What it does, if it is one of those that the time model replays.
    pub(crate) trace: Option<Box<BlockTrace>>,
}

/// Bytes aligned to 16.
pub(crate) struct AlignedBytes {
    words: Vec<u128>,
    bytes: usize,
}

impl AlignedBytes {
    pub(crate) fn new(bytes: usize) -> AlignedBytes {
        AlignedBytes { words: vec![u128::MAX; bytes.div_ceil(16)], bytes }
    }
    /// Every byte zero.
    pub(crate) fn zero(bytes: usize) -> AlignedBytes {
        AlignedBytes { words: vec![0; bytes.div_ceil(16)], bytes }
    }
    /// Every byte 0xff: f16, bf16 and f32 NaN, and absurd as an index.
    pub(crate) fn reset(&mut self) {
        self.words.fill(u128::MAX);
    }
    /// One byte.
    pub(crate) fn byte(&self, offset: u64) -> Option<u8> {
        let word = self.words.get(usize::try_from(offset / 16).ok()?)?;
        (offset < self.bytes as u64).then(|| word.to_le_bytes()[offset as usize % 16])
    }
    pub(crate) fn len(&self) -> u64 {
        self.bytes as u64
    }
    pub(crate) fn pointer(&mut self) -> *mut u8 {
        self.words.as_mut_ptr().cast()
    }
    #[inline(always)]
    pub(crate) fn slice(&self) -> &[u8] {
        // SAFETY: the words hold at least that many bytes, and every byte is valid.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.bytes) }
    }
    #[inline(always)]
    pub(crate) fn slice_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), self.bytes) }
    }
}

/// The allocation that an instruction touched last.
#[derive(Clone, Copy, Default)]
pub(crate) struct Span {
    pub(crate) base: u64,
    pub(crate) end: u64,
    /// Host address minus device address.
    pub(crate) shift: usize,
    pub(crate) read_only: bool,
}

/// State of a launch that its host threads share.
pub(crate) struct Shared {
    /// Warp instructions executed so far, brought up to date at every yield.
    pub(crate) executed: AtomicU64,
    /// Place in the order of the first block that faulted.
    pub(crate) faulted: AtomicU64,
}

/// The engine of one host thread.
pub(crate) struct Engine<'a> {
    pub(crate) machine: &'a Machine<'a>,
    pub(crate) kernel: &'a Kernel,
    pub(crate) launch: &'a Launch<'a>,
    pub(crate) shared_state: &'a Shared,
    pub(crate) site: Site,
    /// Last allocation by access and asynchronous copy.
    pub(crate) access_spans: Vec<Span>,
    pub(crate) copy_spans: Vec<Span>,
    /// Counts by record and basic block.
    pub(crate) tally: Tally,
    /// Sectors of device memory that the block has accessed.
    pub(crate) records: Records,
    pub(crate) counters: Counters,
    /// Warp instructions left in this turn, of how many.
    pub(crate) fuel: i64,
    pub(crate) quantum: i64,
    /// What was left of the turn when the warp went to sleep.
    pub(crate) slept: i64,
    /// Warp instructions executed and not yet counted against the launch's limit.
    pub(crate) unsettled: u64,
    /// Local memory of a thread in bytes.
    pub(crate) local_bytes: u32,
    /// Where warps that go different ways meet again.
    pub(crate) meeting: u32,
    /// Whether threads that part may go on as one group: nobody follows accesses, and no order is left to chance.
    pub(crate) parts: bool,
    /// Paths of warps in lock-step whose threads have parted.
    pub(crate) parted: Vec<super::parted::Frame>,
    /// Warp instructions of the turn of several warps that some of them have not executed.
    pub(crate) missed: i64,
    /// Which of several warps has failed: those before it have executed the op, it and those behind it have not.
    pub(crate) failed: usize,
    /// The warps that run are all that the block has left, and nobody waits at a barrier.
    pub(crate) whole_block: bool,
    /// What the checkers know of the launch, if any is on that follows accesses.
    pub(crate) watch: Option<Box<Watch>>,
    /// Tensor-core functions.
    pub(crate) tensor: super::tensor::Tensor,
}

impl<'a> Engine<'a> {
    pub(crate) fn new(
        machine: &'a Machine<'a>,
        kernel: &'a Kernel,
        launch: &'a Launch<'a>,
        shared: &'a Shared,
    ) -> Self {
        Engine {
            machine,
            kernel,
            launch,
            shared_state: shared,
            site: Site::new(kernel, launch),
            access_spans: vec![Span::default(); kernel.tables.accesses.len()],
            copy_spans: vec![Span::default(); kernel.tables.async_copies.len()],
            tally: Tally::new(kernel),
            records: Records::new(machine.config.profile.memory),
            counters: Counters::default(),
            fuel: 0,
            quantum: QUANTUM,
            slept: 0,
            unsettled: 0,
            local_bytes: launch.local_bytes(kernel),
            meeting: 0,
            parts: machine.config.lock_step && !machine.config.checks.watch() && machine.config.schedule.is_none(),
            parted: Vec::new(),
            missed: 0,
            failed: 0,
            whole_block: false,
            watch: Watch::new(machine.config.checks),
            tensor: super::tensor::Tensor::new(machine, kernel),
        }
    }

    /// The allocation around `[address, address + bytes)`, if it lies inside one.
    pub(crate) fn lookup(&self, address: u64, bytes: u64) -> Option<Span> {
        let Reach { base, bytes: size, host, read_only, .. } = self.machine.memory.reach(address)?;
        let end = base + size;
        let shift = (host as usize).wrapping_sub(base as usize);
        (address + bytes <= end).then_some(Span { base, end, shift, read_only })
    }

    /// %tid of a lane.
    pub(super) fn thread(&self, warp: u32, lane: u32) -> [u32; 3] {
        let linear = 32 * warp + lane;
        let [x, y, _] = self.launch.block;
        [linear % x, linear / x % y, linear / (x * y)]
    }

    /// Fills the slots that keep their values for the whole launch.
    pub(crate) fn fill_presets(&self, warp: &mut Warp) {
        for preset in &self.kernel.presets {
            let slot = preset.slot;
            match preset.value {
                Preset::Word(value) => *warp.registers.word_mut(slot) = [value; 32],
                Preset::Double(value) => *warp.registers.double_mut(slot) = [value; 32],
                Preset::Param32 { offset, bytes, signed } => {
                    *warp.registers.word_mut(slot) = [self.parameter(offset, bytes, signed); 32];
                }
                Preset::Param64 { offset } => {
                    let mut bytes = [0; 8];
                    bytes.copy_from_slice(&self.launch.params[offset as usize..offset as usize + 8]);
                    *warp.registers.double_mut(slot) = [u64::from_le_bytes(bytes); 32];
                }
                Preset::Special(special) => self.fill_special(warp.index, &mut warp.registers, slot, special),
                Preset::FramePointer => {}
            }
        }
    }

    fn parameter(&self, offset: u32, bytes: u8, signed: bool) -> u32 {
        let at = |i: usize| u32::from(self.launch.params[offset as usize + i]);
        match (bytes, signed) {
            (1, false) => at(0),
            (1, true) => at(0) as u8 as i8 as u32,
            (2, false) => at(0) | at(1) << 8,
            (2, true) => (at(0) | at(1) << 8) as u16 as i16 as u32,
            _ => at(0) | at(1) << 8 | at(2) << 16 | at(3) << 24,
        }
    }

    /// Fills the slots that change from block to block.
    pub(crate) fn fill_block_presets(&self, warp: &mut Warp) {
        for preset in &self.kernel.presets {
            match preset.value {
                Preset::Special(special @ (Special::Ctaid(_) | Special::ClusterId(_) | Special::SmId)) => {
                    self.fill_special(warp.index, &mut warp.registers, preset.slot, special);
                }
                Preset::FramePointer => *warp.registers.word_mut(preset.slot) = [0; 32],
                _ => {}
            }
        }
    }

    fn fill_special(&self, warp: u32, registers: &mut Registers, slot: u16, special: Special) {
        if let Special::Ctaid(dimension) = special {
            *registers.word_mut(slot) = [self.site.block[dimension as usize]; 32];
            return;
        }
        let threads = self.launch.block.iter().product::<u32>();
        let multiprocessors = self.machine.architecture.chip().multiprocessors;
        for (lane, value) in (0..32).zip(registers.word_mut(slot)) {
            *value = match special {
                Special::Tid(dimension) => self.thread(warp, lane)[dimension as usize],
                Special::Ntid(dimension) => self.launch.block[dimension as usize],
                Special::Ctaid(dimension) | Special::ClusterId(dimension) => self.site.block[dimension as usize],
                Special::Nctaid(dimension) | Special::NclusterId(dimension) => self.launch.grid[dimension as usize],
                Special::LaneId => lane,
                Special::WarpId => warp,
                Special::NwarpId => threads.div_ceil(32),
                // Blocks are spread over the multiprocessors in turn.
                Special::SmId => (self.site.number % u64::from(multiprocessors)) as u32,
                Special::NsmId => multiprocessors,
                Special::GridId => 1,
                Special::LanemaskEq => 1 << lane,
                Special::LanemaskLt => (1 << lane) - 1,
                Special::LanemaskLe => u32::MAX >> (31 - lane),
                Special::LanemaskGe => u32::MAX << lane,
                Special::LanemaskGt => u32::MAX << lane << 1,
                Special::DynamicSmemSize => self.launch.dynamic_shared_bytes,
                Special::TotalSmemSize | Special::AggrSmemSize => self.site.shared.len() as u32,
                // Every block is a cluster of its own.
                Special::ClusterNctaid(_) | Special::ClusterNctarank => 1,
                // Where the grid's barrier is, its upper half first.
                Special::Envreg(1) => (self.launch.grid_workspace >> 32) as u32,
                Special::Envreg(2) => self.launch.grid_workspace as u32,
                // Clocks are read where they stand; other environment and performance registers are 0.
                _ => 0,
            };
        }
    }
}

impl Site {
    pub(crate) fn new(kernel: &Kernel, launch: &Launch<'_>) -> Site {
        let bytes = if launch.dynamic_shared_bytes > 0 {
            kernel.dynamic_shared_offset + launch.dynamic_shared_bytes
        } else {
            kernel.static_shared_bytes
        } as usize;
        let threads = launch.block.iter().product::<u32>() as usize;
        Site {
            position: 0,
            random: None,
            number: 0,
            block: [0; 3],
            shared: AlignedBytes::new(bytes),
            poison: AlignedBytes::zero(4 * bytes.div_ceil(16)),
            in_flight: 0,
            sources: (u64::MAX, 0),
            copies: (0..threads.div_ceil(32)).map(|_| AsyncCopies::default()).collect(),
            local: LocalMemory::new(threads.div_ceil(32), launch.local_bytes(kernel)),
            printed: Vec::new(),
            watch: BlockWatch::default(),
            trace: None,
        }
    }

    /// Ready for block `number`; `seed` if its order is left to chance.
    pub(crate) fn restart(&mut self, number: u64, grid: [u32; 3], seed: Option<u64>) {
        self.random = seed.map(|seed| Random::new(seed, number));
        let [x, y, _] = grid.map(u64::from);
        self.number = number;
        self.block = [(number % x) as u32, (number / x % y) as u32, (number / (x * y)) as u32];
        self.shared.reset();
        self.local.reset();
        self.sources = (u64::MAX, 0);
        self.copies.iter_mut().for_each(AsyncCopies::clear);
        if self.in_flight > 0 {
            self.poison.slice_mut().fill(0);
            self.in_flight = 0;
        }
    }
}
