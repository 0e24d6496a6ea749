//! The plan of a launch: pure data.

use super::{OP, Problem, Shape};
use crate::{LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance, grid, block and memory.
    pub launch: LaunchPlan,
    /// Threads that share the heads of a token, for each unit of a head.
    pub head_groups: usize,
    /// What it costs.
    pub resources: Resources,
}

/// The instances at the end of `kernels/fused/rope.cu`, by the elements of a unit.
const INSTANCES: [(usize, &str); 3] = [(8, "rope_unit8"), (4, "rope_unit4"), (1, "rope_unit1")];
const THREADS: usize = 128;
/// Blocks of a multiprocessor that keep it busy.
const RESIDENT_BLOCKS: usize = 6;

fn launch(instance: &'static str, blocks: usize) -> LaunchPlan {
    LaunchPlan {
        op: OP,
        instance,
        grid: [blocks as u32, 1, 1],
        block: [THREADS as u32, 1, 1],
        shared_bytes: 0,
        workspace_bytes: 0,
    }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    INSTANCES.iter().map(|(_, name)| launch(name, 1)).collect()
}

/// Chooses the instance, the division of heads and the grid: a thread has all heads of a token, so that it computes sines
/// once, unless there are too few tokens to keep the chip busy so.
///
/// # Errors
/// None so far.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let Shape { b, s, h, n, .. } = problem.shape;
    let (unit, instance) = INSTANCES[INSTANCES.iter().position(|(unit, _)| *unit == problem.unit).unwrap_or(2)];
    let (units, tokens) = (n / unit, b * s);
    let resident = (limits.multiprocessors as usize * RESIDENT_BLOCKS).max(1);
    let head_groups = (resident * THREADS).div_ceil((tokens * units).max(1)).clamp(1, h.max(1));
    let wanted = (tokens * units).saturating_mul(head_groups).div_ceil(THREADS);
    // A token's threads must be there all at once.
    let least = (units * head_groups).div_ceil(THREADS);
    let blocks = wanted.min(resident.max(least)).max(1);
    Ok(Plan { launch: launch(instance, blocks), head_groups, resources: resources(problem, blocks) })
}

/// Work and traffic: each block reads the frequencies once. Positions, which every warp reads, are counted once.
fn resources(problem: &Problem, blocks: usize) -> Resources {
    let Shape { b, s, h, d, n } = problem.shape;
    let rotated = (b * s * h) as f64 * 2.0 * n as f64;
    let elements = if problem.x_dtype.is_none() { rotated } else { (b * s * h * d) as f64 };
    let bytes = problem.x_dtype.unwrap_or(problem.dtype).size_bytes() + problem.dtype.size_bytes();
    let positions = (b * s * 4) as f64;
    let heads = elements * bytes as f64;
    let memory = if problem.x_dtype.is_none() { heads / 2.0 } else { heads };
    Resources {
        flops: Some(rotated * 3.0),
        bytes_needed: Some(heads + positions + 4.0 * n as f64),
        bytes_moved: Some(heads + positions + (4 * n * blocks) as f64),
        peak_bytes: Some(memory + positions + 4.0 * n as f64),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    }
}
