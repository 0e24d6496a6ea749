//! The plan of the launches: pure data.

use super::{OP, Problem, Shape, Types};
use crate::scan::causal_conv1d::num_tiles;
use crate::scan::column_sum;
use crate::{Error, LaunchPlan, Limits, Resources, Result};

/// Planned launches, in their order. One that has nothing to do is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The gradients of inputs and states, and partial sums for the others.
    pub tiles: Option<LaunchPlan>,
    /// Partial sums to the gradient of the weights.
    pub d_weight: Option<LaunchPlan>,
    /// Partial sums to the gradient of the bias.
    pub d_bias: Option<LaunchPlan>,
    /// Positions of a tile.
    pub positions: usize,
    /// Tiles of that many positions of all sequences, and numbers without a tile between them.
    pub num_tiles: usize,
    /// Partial sums of each weight's gradient: of every `num_groups`-th tile.
    pub num_groups: usize,
    /// What they take, in bytes.
    pub workspace_bytes: usize,
    /// What it costs.
    pub resources: Resources,
}

/// The instances at the end of `kernels/scan/causal_conv1d_backward.cu`: channels of a thread, width.
const INSTANCES: [(&str, usize, usize); 9] = [
    ("causal_conv1d_backward_unit8_width2", 8, 2),
    ("causal_conv1d_backward_unit8_width3", 8, 3),
    ("causal_conv1d_backward_unit8_width4", 8, 4),
    ("causal_conv1d_backward_unit4_width2", 4, 2),
    ("causal_conv1d_backward_unit4_width3", 4, 3),
    ("causal_conv1d_backward_unit4_width4", 4, 4),
    ("causal_conv1d_backward_unit1_width2", 1, 2),
    ("causal_conv1d_backward_unit1_width3", 1, 3),
    ("causal_conv1d_backward_unit1_width4", 1, 4),
];
const SUM: &str = "causal_conv1d_backward_sum";

const THREADS: usize = 128;
/// Threads of a multiprocessor, with the registers that a thread takes.
const RESIDENT_THREADS: usize = 256;
/// Positions of a tile: many, so that few are computed twice, unless the chip would idle.
const POSITIONS: [usize; 2] = [32, 16];

fn launch(instance: &'static str, blocks: usize, workspace_bytes: usize) -> LaunchPlan {
    let (grid, block) = ([blocks as u32, 1, 1], [THREADS as u32, 1, 1]);
    LaunchPlan { op: OP, instance, grid, block, shared_bytes: 0, workspace_bytes }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    INSTANCES.iter().map(|(name, ..)| launch(name, 1, 0)).chain(column_sum::launch(OP, SUM, 1)).collect()
}

/// Chooses the instance, positions of a tile, and as many groups of tiles as the chip runs at once.
///
/// # Errors
/// More tiles than 32 bits count, more threads than a grid has.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let Shape { sequences, dim, width } = problem.shape;
    let suits = |instance: &&(&str, usize, usize)| (instance.1, instance.2) == (problem.unit, width);
    let instance = INSTANCES.iter().find(suits).map_or(INSTANCES[8].0, |instance| instance.0);
    let units = dim / problem.unit;
    let resident = limits.multiprocessors as usize * RESIDENT_THREADS;
    let enough = |positions: &&usize| num_tiles(&sequences, **positions) * units >= resident;
    let positions = POSITIONS.iter().find(enough).copied().unwrap_or(POSITIONS[1]);
    let num_tiles = num_tiles(&sequences, positions);
    let num_groups = resident.checked_div(units).map_or(0, |groups| num_tiles.min(groups.max(1)));
    let threads = num_groups.saturating_mul(units);
    for (what, got, limit) in
        [("tiles", num_tiles, i32::MAX as usize / 2), ("threads", threads, u32::MAX as usize - THREADS)]
    {
        if got > limit {
            return Err(Error::TooLarge { op: OP, what, got: got as u64, limit: limit as u64 });
        }
    }
    let workspace_bytes = num_groups * dim * (width + 1) * 4;
    Ok(Plan {
        tiles: (threads > 0).then(|| launch(instance, threads.div_ceil(THREADS), workspace_bytes)),
        d_weight: column_sum::launch(OP, SUM, dim * width),
        d_bias: problem.d_bias.and_then(|_| column_sum::launch(OP, SUM, dim)),
        positions,
        num_tiles,
        num_groups,
        workspace_bytes,
        resources: resources(problem, positions, workspace_bytes),
    })
}

impl Plan {
    /// Where the partial sums of weights and of the bias begin, in a workspace at an address.
    pub(super) fn partials(&self, problem: &Problem, workspace: u64) -> [u64; 2] {
        let weights = self.num_groups * problem.shape.dim * problem.shape.width * 4;
        [workspace, workspace + weights as u64]
    }
}

/// Work and traffic.
fn resources(problem: &Problem, positions: usize, workspace_bytes: usize) -> Resources {
    let Problem { types: Types { x, weight, bias }, shape: Shape { sequences, dim, width }, states, .. } = *problem;
    let x = x.size_bytes() as f64;
    let elements = (sequences.positions() * dim) as f64;
    let bytes = |dtype: Option<crate::DType>| dtype.map_or(0, |dtype| dtype.size_bytes());
    let weights = dim * width * (weight.size_bytes() + problem.d_weight.size_bytes());
    let biases = dim * (bytes(bias) + bytes(problem.d_bias));
    let num_states = [states.initial, states.d_final, states.d_initial].into_iter().filter(|given| *given).count();
    let state = (num_states * sequences.b * dim * (width - 1)) as f64 * x;
    let needed = 3.0 * x * elements + (weights + biases) as f64 + state;
    // Beyond a tile's first and last positions.
    let tiles = (num_tiles(&sequences, positions) as f64 - sequences.b as f64).max(0.0);
    let again = tiles * (3 * (width - 1) * dim) as f64 * x;
    Resources {
        flops: Some(elements * (6 * width) as f64),
        bytes_needed: Some(needed),
        bytes_moved: Some(needed + again + 2.0 * workspace_bytes as f64),
        peak_bytes: Some(needed + workspace_bytes as f64),
        workspace_bytes: Some(workspace_bytes as f64),
        ..Resources::default()
    }
}
