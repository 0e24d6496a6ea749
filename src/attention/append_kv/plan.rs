//! The plan of a launch: pure data.

use super::{OP, Problem, Shape};
use crate::{LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance, grid, block and memory.
    pub launch: LaunchPlan,
    /// Threads that have a row, a power of two up to 32.
    pub team: usize,
    /// Tokens that the grid works on at once.
    pub token_step: usize,
    /// Teams that share the heads of a token.
    pub head_groups: usize,
    /// What it costs.
    pub resources: Resources,
}

/// The instances at the end of `kernels/attention/append_kv.cu`, by the elements of a unit.
const INSTANCES: [(usize, &str); 3] = [(8, "append_kv_unit8"), (4, "append_kv_unit4"), (1, "append_kv_unit1")];
const THREADS: usize = 128;
const WARP: usize = 32;
/// Blocks of a multiprocessor that keep it busy.
const RESIDENT_BLOCKS: usize = 4;

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
/// once, unless there are too few tokens to keep the chip busy so. The teams of a warp have neighbouring tokens, whose
/// scales share sectors, where there are so many.
///
/// # Errors
/// None so far.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let Shape { num_tokens, h_q, h_kv, d, .. } = problem.shape;
    let (unit, instance) = INSTANCES[INSTANCES.iter().position(|(unit, _)| *unit == problem.unit).unwrap_or(2)];
    let team = d.div_ceil(2 * unit).next_power_of_two().min(WARP);
    let (tokens, heads) = (num_tokens.max(1), (h_q + 2 * h_kv).max(1));
    let resident = (limits.multiprocessors as usize * RESIDENT_BLOCKS * THREADS).max(THREADS) / team;
    let head_groups = resident.div_ceil(tokens).clamp(1, heads);
    let neighbours = WARP / team;
    let token_step =
        if tokens <= neighbours { tokens } else { (resident / head_groups).min(tokens).next_multiple_of(neighbours) };
    let blocks = (token_step * head_groups * team).div_ceil(THREADS);
    Ok(Plan { launch: launch(instance, blocks), team, token_step, head_groups, resources: resources(problem) })
}

/// Work and traffic, if all tokens are written. Frequencies and positions are counted once, and as few entries of the
/// table as there may be.
fn resources(problem: &Problem) -> Resources {
    let Shape { b, s_q, num_tokens, h_q, h_kv, d, n, page_size, .. } = problem.shape;
    let types = problem.types;
    let new = types.k.size_bytes();
    let scales = if types.is_eight_bit() { 4 } else { 0 };
    let q_elements = if problem.in_place { 2 * n } else { d };
    let q_out = types.q_out.map_or(0, |dtype| dtype.size_bytes());
    let heads = 2 * h_kv * (d * (new + types.cache.size_bytes()) + scales) + h_q * q_elements * (new + q_out);
    let entries = if problem.pages_per_sequence.is_some() { b * s_q.div_ceil(page_size.max(1)) } else { 0 };
    let needed = (num_tokens * (heads + 4) + 4 * n + 4 * entries) as f64;
    Resources {
        flops: Some((num_tokens * (h_q + h_kv) * 6 * n) as f64),
        bytes_needed: Some(needed),
        peak_bytes: Some(needed),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    }
}
