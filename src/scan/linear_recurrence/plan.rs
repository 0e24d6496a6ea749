//! The plan of the launches: pure data.

use super::problem::CHUNK_UNIT;
use super::{DecayKind, OP, Problem, Shape};
use crate::{DType, Error, LaunchPlan, Limits, Resources, Result};

/// Planned launches, in their order. One that has nothing to do is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// What each chunk but a sequence's last adds to the state, if there is more than one chunk.
    pub states: Option<LaunchPlan>,
    /// What each chunk begins with, likewise.
    pub combine: Option<LaunchPlan>,
    /// The outputs.
    pub main: Option<LaunchPlan>,
    /// Steps of a chunk.
    pub chunk: usize,
    /// Chunks of a sequence; of the longest.
    pub num_chunks: usize,
    /// Where in the workspace what lies.
    pub workspace: Workspace,
    /// Bytes of device memory that this way of computing moves: q, k, v, decays and out once, and with more than one chunk
    /// k, v and decays of all but the last chunks a second time and their states written twice and read twice. `None` where
    /// that depends on lengths in device memory.
    pub device_bytes: Option<f64>,
    /// What it costs.
    pub resources: Resources,
}

/// Places in the workspace, in bytes from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workspace {
    /// States of chunks.
    pub states: usize,
    /// Normalisers of chunks.
    pub normalisers: usize,
    /// Decays of chunks.
    pub decays: usize,
    /// All of it.
    pub bytes: usize,
}

/// What decays of an instance are of, as in `kernels/scan/recurrence_block.cuh`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecayOf {
    Step,
    KeyChannel,
    ValueColumn,
}

/// An instance of the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Instance {
    op: &'static str,
    name: &'static str,
    dtype: DType,
    /// Most key channels.
    d_k: usize,
    decay: DecayOf,
    shared_bytes: u32,
}

pub(crate) const fn instance(
    op: &'static str,
    name: &'static str,
    dtype: DType,
    d_k: usize,
    tile: usize,
    decay: DecayOf,
) -> Instance {
    let blocks = tile / 16;
    // Decays of a step.
    let decays = match decay {
        DecayOf::Step => 0,
        DecayOf::KeyChannel => d_k,
        DecayOf::ValueColumn => VALUES,
    };
    let of_steps = decays == 0;
    // q, k, v and decays of two tiles.
    let stage = tile * (2 * d_k + VALUES) * 2 + if of_steps { 256 } else { tile * decays * 4 };
    // Scores and factors of the blocks of 16 steps, weights of steps or decays, two times a normaliser, sums of steps.
    let weights = if of_steps { tile } else { blocks * decays };
    let sums = if of_steps { tile * 4 } else { 0 };
    let shared_bytes = (2 * stage + blocks * 1024 + weights * 8 + blocks * 8 + 128 + sums) as u32;
    Instance { op, name, dtype, d_k, decay, shared_bytes }
}

/// Value columns of a block, and its threads: four warps, and one for the normaliser.
const VALUES: usize = 64;
const THREADS: u32 = 128;
const COMBINE: &str = "linear_recurrence_combine";
/// A chunk is at least so long, for what its state costs.
const LEAST_CHUNK: usize = 512;
/// Parts of the workspace begin at multiples of this.
const ALIGNMENT: usize = 128;

/// The instances at the end of `kernels/scan/linear_recurrence.cu`; smaller ones first.
const INSTANCES: [Instance; 12] = [
    instance(OP, "linear_recurrence_f16_d64", DType::F16, 64, 64, DecayOf::Step),
    instance(OP, "linear_recurrence_f16_d128", DType::F16, 128, 32, DecayOf::Step),
    instance(OP, "linear_recurrence_f16_d256", DType::F16, 256, 32, DecayOf::Step),
    instance(OP, "linear_recurrence_bf16_d64", DType::BF16, 64, 64, DecayOf::Step),
    instance(OP, "linear_recurrence_bf16_d128", DType::BF16, 128, 32, DecayOf::Step),
    instance(OP, "linear_recurrence_bf16_d256", DType::BF16, 256, 32, DecayOf::Step),
    instance(OP, "linear_recurrence_channels_f16_d64", DType::F16, 64, 32, DecayOf::KeyChannel),
    instance(OP, "linear_recurrence_channels_f16_d128", DType::F16, 128, 32, DecayOf::KeyChannel),
    instance(OP, "linear_recurrence_channels_f16_d256", DType::F16, 256, 16, DecayOf::KeyChannel),
    instance(OP, "linear_recurrence_channels_bf16_d64", DType::BF16, 64, 32, DecayOf::KeyChannel),
    instance(OP, "linear_recurrence_channels_bf16_d128", DType::BF16, 128, 32, DecayOf::KeyChannel),
    instance(OP, "linear_recurrence_channels_bf16_d256", DType::BF16, 256, 16, DecayOf::KeyChannel),
];

impl Instance {
    /// One block.
    #[cfg(feature = "verify")]
    pub(crate) fn launch(&self) -> LaunchPlan {
        launch(self.op, self.name, 1, THREADS, self.shared_bytes, 0)
    }

    /// Whether it fits the chip.
    #[cfg(feature = "verify")]
    pub(crate) fn fits(&self, limits: &Limits) -> bool {
        self.shared_bytes <= limits.shared_bytes_per_block
    }
}

fn launch(
    op: &'static str,
    instance: &'static str,
    blocks: u32,
    threads: u32,
    shared_bytes: u32,
    workspace_bytes: usize,
) -> LaunchPlan {
    LaunchPlan { op, instance, grid: [blocks, 1, 1], block: [threads, 1, 1], shared_bytes, workspace_bytes }
}

/// One block of each instance that fits the chip's shared memory.
#[cfg(feature = "verify")]
pub(crate) fn launches(limits: &Limits) -> Vec<LaunchPlan> {
    let main = INSTANCES.iter().filter(|instance| instance.fits(limits)).map(Instance::launch);
    main.chain([launch(OP, COMBINE, 1, THREADS, 0, 0)]).collect()
}

/// Chooses the instance, the chunks and the grids.
///
/// A sequence is one chunk where heads and value columns alone fill the chip. Else it falls into as many as do, of 512
/// steps or more.
///
/// # Errors
/// No instance fits the chip's shared memory, more blocks than a grid holds, or a workspace beyond the address space.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    plan_of(problem, limits, &INSTANCES)
}

/// The same with instances of another operator.
pub(crate) fn plan_of(problem: &Problem, limits: &Limits, instances: &[Instance]) -> Result<Plan> {
    let Shape { h, d_k, d_v, .. } = problem.shape;
    let (b, s) = (problem.sequences.b, problem.sequences.s);
    let channels = problem.decay == Some(DecayKind::Channels);
    let unsupported = || Error::Unsupported {
        op: OP,
        argument: "q",
        what: "d_k",
        got: d_k.to_string(),
        supported: "multiples of 16 up to 256",
    };
    let fits = |instance: &&Instance| {
        let of_decay = channels == (instance.decay != DecayOf::Step);
        of_decay && instance.dtype == problem.dtype && d_k <= instance.d_k
    };
    let chosen = instances.iter().find(fits).ok_or_else(unsupported)?;
    let (needed, available) = (chosen.shared_bytes, limits.shared_bytes_per_block);
    if needed > available {
        return Err(Error::SharedMemory { op: OP, instance: chosen.name, needed, available });
    }
    let tiles = d_v.div_ceil(VALUES);
    let wide = |factors: &[usize]| factors.iter().fold(1u128, |product, &x| product.saturating_mul(x as u128));
    let chunk = problem.chunk.unwrap_or_else(|| {
        // Two blocks share a multiprocessor.
        let wanted = 2 * u128::from(limits.multiprocessors);
        let parts = wanted / wide(&[b, h, tiles]).max(1);
        let longest = s.div_ceil(parts.clamp(1, usize::MAX as u128) as usize).max(LEAST_CHUNK.min(s));
        longest.max(1).next_multiple_of(CHUNK_UNIT)
    });
    // A whole number of units that the kernel's numbers hold: no sequence is longer.
    let chunk = chunk.min(1 << 30);
    let num_chunks = s.div_ceil(chunk).max(1);
    let limit = i32::MAX as u64;
    let blocks = |factors: &[usize]| {
        let got = u64::try_from(wide(factors)).unwrap_or(u64::MAX);
        if got > limit { Err(Error::TooLarge { op: OP, what: "number of blocks", got, limit }) } else { Ok(got as u32) }
    };
    let main = blocks(&[b, num_chunks, h, tiles])?;
    let decays = match chosen.decay {
        DecayOf::Step => 1,
        DecayOf::KeyChannel => d_k,
        DecayOf::ValueColumn => d_v,
    };
    let workspace = workspace(problem, num_chunks, decays)?;
    let threads = if problem.normaliser.is_some() { THREADS + 32 } else { THREADS };
    let some = |op, name, count: u32, threads, shared| {
        (count > 0).then(|| launch(op, name, count, threads, shared, workspace.bytes))
    };
    let units = d_k * d_v / 4 + if problem.normaliser.is_some() { d_k / 4 } else { 0 };
    let combines = if num_chunks > 1 { blocks(&[b, h, units.div_ceil(THREADS as usize)])? } else { 0 };
    let device_bytes = device_bytes(problem, num_chunks, chunk);
    Ok(Plan {
        states: some(chosen.op, chosen.name, blocks(&[b, num_chunks - 1, h, tiles])?, threads, needed),
        combine: some(OP, COMBINE, combines, THREADS, 0),
        main: some(chosen.op, chosen.name, main, threads, needed),
        chunk,
        num_chunks,
        workspace,
        device_bytes,
        resources: resources(problem, &workspace, device_bytes),
    })
}

impl Plan {
    /// Bytes of device memory over those of q, k, v and out, each once.
    pub fn sweep_ratio(&self, problem: &Problem) -> Option<f64> {
        Some(self.device_bytes? / sweep_bytes(problem))
    }
}

fn workspace(problem: &Problem, num_chunks: usize, decays: usize) -> Result<Workspace> {
    let Shape { h, d_k, d_v, .. } = problem.shape;
    let slots = [problem.sequences.b, num_chunks - 1, h, 4];
    let mut end = 0u128;
    let mut place = |width: usize| {
        let start = end;
        let bytes = slots.iter().fold(width as u128, |product, &x| product.saturating_mul(x as u128));
        end = start.saturating_add(bytes.checked_next_multiple_of(ALIGNMENT as u128).unwrap_or(u128::MAX));
        start as usize
    };
    let states = place(d_k * d_v);
    let normalisers = place(if problem.normaliser.is_some() { d_k } else { 0 });
    let decays = place(decays);
    let limit = isize::MAX as u64;
    if end > u128::from(limit) {
        let got = u64::try_from(end).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "workspace in bytes", got, limit });
    }
    Ok(Workspace { states, normalisers, decays, bytes: end as usize })
}

fn sweep_bytes(problem: &Problem) -> f64 {
    let Shape { h_k, h, d_k, d_v } = problem.shape;
    problem.sequences.positions() as f64 * (2 * h_k * d_k + 2 * h * d_v) as f64 * problem.dtype.size_bytes() as f64
}

/// Bytes of all decays of a step.
fn decay_bytes(problem: &Problem) -> f64 {
    let Shape { h, d_k, .. } = problem.shape;
    match problem.decay {
        Some(DecayKind::Steps) => (4 * h) as f64,
        Some(DecayKind::Channels) => (4 * h * d_k) as f64,
        _ => 0.0,
    }
}

/// Of the states of one chunk of all heads.
fn state_bytes(problem: &Problem) -> f64 {
    let Shape { h, d_k, d_v, .. } = problem.shape;
    (4 * h * d_k * (d_v + usize::from(problem.normaliser.is_some()))) as f64
}

fn needed_bytes(problem: &Problem) -> f64 {
    let states = problem.states as f64 * problem.sequences.b as f64 * state_bytes(problem);
    sweep_bytes(problem) + problem.sequences.positions() as f64 * decay_bytes(problem) + states
}

fn device_bytes(problem: &Problem, num_chunks: usize, chunk: usize) -> Option<f64> {
    let needed = needed_bytes(problem);
    if num_chunks == 1 {
        return Some(needed);
    }
    if problem.sequences.total.is_some() {
        return None;
    }
    let Shape { h_k, h, d_k, d_v } = problem.shape;
    let repeated = problem.sequences.b as f64 * ((num_chunks - 1) * chunk) as f64;
    let step = (h_k * d_k + h * d_v) as f64 * problem.dtype.size_bytes() as f64 + decay_bytes(problem);
    let states = 4.0 * problem.sequences.b as f64 * (num_chunks - 1) as f64 * state_bytes(problem);
    Some(needed + repeated * step + states)
}

/// Work and traffic: 2 flops for each element of the state in `k (x) v`, and in `q S`.
fn resources(problem: &Problem, workspace: &Workspace, device_bytes: Option<f64>) -> Resources {
    let Shape { h, d_k, d_v, .. } = problem.shape;
    let needed = needed_bytes(problem);
    Resources {
        flops: Some(4.0 * problem.sequences.positions() as f64 * (h * d_k * d_v) as f64),
        bytes_needed: Some(needed),
        bytes_moved: device_bytes,
        peak_bytes: Some(needed + workspace.bytes as f64),
        workspace_bytes: Some(workspace.bytes as f64),
        ..Resources::default()
    }
}
