//! The plan of the launch: pure data.

use super::{MAX_UPDATE, OP, Problem, Shape, Types};
use crate::scan::SequenceSizes;
use crate::{Error, LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The launch; `None` if there is nothing to do.
    pub launch: Option<LaunchPlan>,
    /// Positions of a thread.
    pub positions: usize,
    /// Tiles of that many positions of all sequences, and numbers without a tile between them.
    pub num_tiles: usize,
    /// What it costs.
    pub resources: Resources,
}

/// The instances at the end of `kernels/scan/causal_conv1d.cu`: channels of a thread, width.
const INSTANCES: [(&str, usize, usize); 9] = [
    ("causal_conv1d_unit8_width2", 8, 2),
    ("causal_conv1d_unit8_width3", 8, 3),
    ("causal_conv1d_unit8_width4", 8, 4),
    ("causal_conv1d_unit4_width2", 4, 2),
    ("causal_conv1d_unit4_width3", 4, 3),
    ("causal_conv1d_unit4_width4", 4, 4),
    ("causal_conv1d_unit1_width2", 1, 2),
    ("causal_conv1d_unit1_width3", 1, 3),
    ("causal_conv1d_unit1_width4", 1, 4),
];

const THREADS: usize = 128;
/// Threads of a multiprocessor that keep its memory busy.
const BUSY_THREADS: usize = 512;
/// Positions of a thread: many, so that few inputs are read twice, unless the chip would idle.
const POSITIONS: [usize; 3] = [64, 32, 16];

fn launch(instance: &'static str, blocks: usize) -> LaunchPlan {
    let (grid, block) = ([blocks as u32, 1, 1], [THREADS as u32, 1, 1]);
    LaunchPlan { op: OP, instance, grid, block, shared_bytes: 0, workspace_bytes: 0 }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    INSTANCES.iter().map(|(name, ..)| launch(name, 1)).collect()
}

/// Numbers of tiles of so many positions: `conv_tile` of `kernels/scan/conv_tiles.cuh`.
pub(crate) fn num_tiles(sequences: &SequenceSizes, positions: usize) -> usize {
    match sequences.total {
        None => sequences.b * sequences.s.div_ceil(positions).max(1),
        Some(_) if sequences.b == 0 => 0,
        Some(total) => total / positions + sequences.b,
    }
}

/// Chooses the instance and how many positions a thread has.
///
/// # Errors
/// More threads than a grid has.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let Shape { sequences, dim, width } = problem.shape;
    let suits = |instance: &&(&str, usize, usize)| (instance.1, instance.2) == (problem.unit, width);
    let instance = INSTANCES.iter().find(suits).map_or(INSTANCES[8].0, |instance| instance.0);
    let units = dim / problem.unit;
    let busy = limits.multiprocessors as usize * BUSY_THREADS;
    let enough = |positions: &&usize| num_tiles(&sequences, **positions) * units >= busy;
    let chosen = POSITIONS.iter().find(enough).copied().unwrap_or(POSITIONS[2]);
    // A state in place is read and written by the same thread.
    let positions = if problem.options.update { MAX_UPDATE } else { chosen };
    let num_tiles = num_tiles(&sequences, positions);
    let (threads, limit) = (num_tiles.saturating_mul(units), u32::MAX as usize - THREADS);
    if threads > limit {
        return Err(Error::TooLarge { op: OP, what: "threads", got: threads as u64, limit: limit as u64 });
    }
    // Without positions only states are left to do.
    let is_empty = threads == 0 || (sequences.positions() == 0 && !problem.has_final_state);
    let launch = (!is_empty).then(|| launch(instance, threads.div_ceil(THREADS)));
    Ok(Plan { launch, positions, num_tiles, resources: resources(problem, positions) })
}

/// Work and traffic.
fn resources(problem: &Problem, positions: usize) -> Resources {
    let Problem { types: Types { x, weight, bias }, shape: Shape { sequences, dim, width }, .. } = problem;
    let x = x.size_bytes() as f64;
    let elements = (sequences.positions() * dim) as f64;
    let weights = *dim as f64 * (width * weight.size_bytes() + bias.map_or(0, |bias| bias.size_bytes())) as f64;
    let num_states = usize::from(problem.has_initial_state) + usize::from(problem.has_final_state);
    let states = (num_states * sequences.b * dim * (width - 1)) as f64 * x;
    let needed = 2.0 * x * elements + weights + states;
    // Inputs before a thread's first position are read again, and so are its weights.
    let tiles = num_tiles(sequences, positions) as f64;
    let again = (tiles - sequences.b as f64).max(0.0) * (width - 1) as f64 * *dim as f64 * x;
    Resources {
        flops: Some(elements * (2 * width) as f64),
        bytes_needed: Some(needed),
        bytes_moved: Some(needed + again + (tiles - 1.0).max(0.0) * weights),
        peak_bytes: Some(needed - if problem.options.update { states / 2.0 } else { 0.0 }),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    }
}
