//! The plan of a launch: pure data.

use super::{OP, Problem, Types};
use crate::{DType, LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance, grid, block and memory.
    pub launch: LaunchPlan,
    /// Threads that share a row: a power of two; the whole block if more than 32.
    pub team: usize,
    /// Elements of a row that stay in registers; the others are read twice.
    pub held: usize,
    /// What it costs.
    pub resources: Resources,
}

/// An instance at the end of `kernels/fused/rms_norm.cu`.
struct Instance {
    name: &'static str,
    /// Elements that a lane moves at once.
    unit: usize,
    /// Units that a thread keeps in registers.
    held: usize,
}

const INSTANCES: [Instance; 5] = [
    Instance { name: "rms_norm_unit8_short", unit: 8, held: 1 },
    Instance { name: "rms_norm_unit8", unit: 8, held: 4 },
    Instance { name: "rms_norm_unit4_short", unit: 4, held: 2 },
    Instance { name: "rms_norm_unit4", unit: 4, held: 8 },
    Instance { name: "rms_norm_unit1", unit: 1, held: 16 },
];

/// Threads of a block whose teams are warps or parts of one.
const THREADS: usize = 128;
/// The smallest and the largest team.
const TEAMS: [usize; 2] = [8, 512];
/// Threads of a multiprocessor, with the registers that a thread takes.
const RESIDENT_THREADS: usize = 512;

fn launch(instance: &'static str, blocks: usize, threads: usize) -> LaunchPlan {
    LaunchPlan {
        op: OP,
        instance,
        grid: [blocks as u32, 1, 1],
        block: [threads as u32, 1, 1],
        shared_bytes: 0,
        workspace_bytes: 0,
    }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    INSTANCES.iter().map(|instance| launch(instance.name, 1, THREADS)).collect()
}

/// Chooses the instance, the team and the grid: the smallest team that holds a row in registers, and as many blocks as
/// the chip runs at once, so that each reads the weights once.
///
/// # Errors
/// None so far.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    // Short rows are those that a warp holds in the smaller instance.
    let suits = |instance: &Instance| {
        let short = problem.d <= 32 * instance.held * instance.unit;
        instance.unit == problem.unit && (short || !instance.name.ends_with("short"))
    };
    let instance = &INSTANCES[INSTANCES.iter().position(suits).unwrap_or(INSTANCES.len() - 1)];
    let units = problem.d / instance.unit;
    let [smallest, largest] = TEAMS;
    let team = units.div_ceil(instance.held).next_power_of_two().clamp(smallest, largest);
    let threads = team.max(THREADS);
    // A team beyond a warp is its block.
    let threads = if team > 32 { team } else { threads };
    let rows_per_block = threads / team;
    let resident = limits.multiprocessors as usize * (RESIDENT_THREADS / threads);
    let blocks = problem.num_rows.div_ceil(rows_per_block).min(resident.max(1)).max(1);
    let held = (team * instance.held * instance.unit).min(problem.d);
    // Teams of one warp read the weights together.
    let readers = problem.num_rows.min(blocks * rows_per_block).div_ceil((32 / team).max(1));
    let resources = resources(problem, held, readers);
    Ok(Plan { launch: launch(instance.name, blocks, threads), team, held, resources })
}

/// Work and traffic: `readers` warps or blocks read the weights.
fn resources(problem: &Problem, held: usize, readers: usize) -> Resources {
    let Types { x, residual, weight, out } = problem.types;
    let bytes = |dtype: Option<DType>| dtype.map_or(0.0, |dtype| dtype.size_bytes() as f64);
    let (rows, d, rest) = (problem.num_rows as f64, problem.d as f64, (problem.d - held) as f64);
    let x = Some(x.unwrap_or(out));
    let accumulated = if problem.options.accumulate && problem.types.x.is_some() { bytes(Some(out)) } else { 0.0 };
    let each = bytes(x) + 2.0 * bytes(residual) + bytes(Some(out)) + accumulated;
    // In place, what is added to is read a second time.
    let old = if problem.options.accumulate { bytes(Some(out)) - accumulated } else { 0.0 };
    let again = bytes(residual.or(x));
    let weights = readers as f64 * held as f64 + rows * rest;
    Resources {
        flops: Some(rows * d * (4.0 + if residual.is_some() { 1.0 } else { 0.0 })),
        bytes_needed: Some(rows * d * each + d * bytes(weight)),
        bytes_moved: Some(rows * (d * (each + old) + rest * again) + weights * bytes(weight)),
        peak_bytes: Some(rows * d * (each - accumulated - bytes(residual)) + d * bytes(weight)),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    }
}
