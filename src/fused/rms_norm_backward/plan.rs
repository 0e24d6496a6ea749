//! The plan of the launches: pure data.

use super::{OP, Problem, Types};
use crate::{DType, LaunchPlan, Limits, Resources, Result};

/// Planned launches, in their order. One that has nothing to do is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The gradient of the rows, and partial sums for the weights.
    pub rows: Option<LaunchPlan>,
    /// Partial sums to the gradient of the weights.
    pub d_weight: Option<LaunchPlan>,
    /// Threads that share a row: a power of two; the whole block if more than 32.
    pub team: usize,
    /// Elements of a row that stay in registers; the others are read twice.
    pub held: usize,
    /// Partial sums of each weight's gradient: one a warp, or a block that is a team.
    pub num_partials: usize,
    /// What they take, in bytes.
    pub workspace_bytes: usize,
    /// What it costs.
    pub resources: Resources,
}

/// The instances at the end of `kernels/fused/rms_norm_backward.cu`: elements of a unit, units that a thread holds.
const INSTANCES: [(&str, usize, usize); 3] =
    [("rms_norm_backward_unit8", 8, 2), ("rms_norm_backward_unit4", 4, 4), ("rms_norm_backward_unit1", 1, 8)];
const D_WEIGHT: &str = "rms_norm_backward_d_weight";

/// Threads of a block whose teams are warps or parts of one.
const THREADS: usize = 128;
/// The smallest and the largest team.
const TEAMS: [usize; 2] = [8, 512];
/// Threads of a multiprocessor, with the registers that a thread takes.
const RESIDENT_THREADS: usize = 512;
/// Columns and threads of a block of the second kernel.
const COLUMNS: usize = 32;
const COLUMN_THREADS: usize = 256;

fn launch(instance: &'static str, blocks: usize, threads: usize, workspace_bytes: usize) -> LaunchPlan {
    LaunchPlan {
        op: OP,
        instance,
        grid: [blocks as u32, 1, 1],
        block: [threads as u32, 1, 1],
        shared_bytes: 0,
        workspace_bytes,
    }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    let rows = INSTANCES.iter().map(|(name, ..)| launch(name, 1, THREADS, 0));
    rows.chain([launch(D_WEIGHT, 1, COLUMN_THREADS, 0)]).collect()
}

/// Chooses the instance, the team and the grids: the smallest team that holds a row in registers, and as many blocks as
/// the chip runs at once.
///
/// # Errors
/// None so far.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let (instance, unit, units_held) =
        INSTANCES[INSTANCES.iter().position(|(_, unit, _)| *unit == problem.unit).unwrap_or(2)];
    let [smallest, largest] = TEAMS;
    let team = (problem.d / unit).div_ceil(units_held).next_power_of_two().clamp(smallest, largest);
    // A team beyond a warp is its block.
    let threads = if team > 32 { team } else { THREADS };
    let rows_per_block = threads / team;
    let resident = limits.multiprocessors as usize * (RESIDENT_THREADS / threads);
    let blocks = problem.num_rows.div_ceil(rows_per_block).min(resident.max(1));
    let held = (team * units_held * unit).min(problem.d);
    let wants_weight = problem.types.d_weight.is_some() && problem.d > 0;
    let num_partials = if wants_weight { (blocks * threads).div_ceil(team.max(32)) } else { 0 };
    let workspace_bytes = num_partials * problem.d * 4;
    let is_empty = problem.num_rows == 0 || problem.d == 0;
    Ok(Plan {
        rows: (!is_empty).then(|| launch(instance, blocks, threads, workspace_bytes)),
        d_weight: wants_weight.then(|| launch(D_WEIGHT, problem.d.div_ceil(COLUMNS), COLUMN_THREADS, workspace_bytes)),
        team,
        held,
        num_partials,
        workspace_bytes,
        // Teams of one warp read the weights together.
        resources: resources(problem, held, (blocks * threads).div_ceil(team.max(32)), workspace_bytes),
    })
}

/// Work and traffic: `readers` warps or blocks read the weights.
fn resources(problem: &Problem, held: usize, readers: usize, workspace_bytes: usize) -> Resources {
    let Types { x, weight, d_out, d_x, d_weight } = problem.types;
    let bytes = |dtype: Option<DType>| dtype.map_or(0.0, |dtype| dtype.size_bytes() as f64);
    let (rows, d, rest) = (problem.num_rows as f64, problem.d as f64, (problem.d - held) as f64);
    let inputs = bytes(Some(x)) + bytes(Some(d_out));
    let old = if problem.options.accumulate { bytes(Some(d_x)) } else { 0.0 };
    let each = inputs + bytes(Some(d_x)) + old;
    let weights = readers as f64 * held as f64 + 2.0 * rows * rest;
    // A sum of a weight beyond the held ones is written for each row, and read for each but the first of a team.
    let partials = 2.0 * workspace_bytes as f64
        + if workspace_bytes > 0 { 8.0 * rest * (rows - workspace_bytes as f64 / (4.0 * d)) } else { 0.0 };
    let needed = rows * d * each + d * (bytes(weight) + bytes(d_weight));
    Resources {
        flops: Some(rows * d * if d_weight.is_some() { 9.0 } else { 7.0 }),
        bytes_needed: Some(needed),
        bytes_moved: Some(rows * (d * each + rest * inputs) + weights * bytes(weight) + partials + d * bytes(d_weight)),
        peak_bytes: Some(needed - rows * d * old + workspace_bytes as f64),
        workspace_bytes: Some(workspace_bytes as f64),
        ..Resources::default()
    }
}
