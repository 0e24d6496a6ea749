//! The plan of the launch: pure data.

use super::{OP, Problem, Shape};
use crate::{LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The launch; `None` if there is nothing to do.
    pub launch: Option<LaunchPlan>,
    /// Lanes of a channel.
    pub lanes: usize,
    /// What it costs.
    pub resources: Resources,
}

/// The instances at the end of `kernels/scan/selective_step.cu`: most states of a channel, its lanes.
const INSTANCES: [(&str, usize, usize); 3] =
    [("selective_step_16", 16, 4), ("selective_step_64", 64, 4), ("selective_step_256", 256, 16)];

const THREADS: usize = 128;

fn launch(instance: &'static str, blocks: usize) -> LaunchPlan {
    let (grid, block) = ([blocks as u32, 1, 1], [THREADS as u32, 1, 1]);
    LaunchPlan { op: OP, instance, grid, block, shared_bytes: 0, workspace_bytes: 0 }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    INSTANCES.iter().map(|(name, ..)| launch(name, 1)).collect()
}

/// Chooses the instance by the number of states.
///
/// # Errors
/// None so far.
pub fn plan(problem: &Problem, _: &Limits) -> Result<Plan> {
    let Shape { b, dim, d_state, groups } = problem.shape;
    let (instance, _, lanes) = INSTANCES.into_iter().find(|(_, most, _)| d_state <= *most).unwrap_or(INSTANCES[2]);
    let threads = b * dim * lanes;
    let bytes = problem.dtype.size_bytes();
    let tokens = b * (dim * if problem.parts.z { 4 } else { 3 } + 2 * groups * d_state) * bytes;
    let vectors = usize::from(problem.parts.d) + usize::from(problem.parts.delta_bias);
    let coefficients = dim * (d_state + vectors) * 4;
    let states = b * dim * d_state * 4;
    let needed = (tokens + coefficients + 2 * states) as f64;
    let resources = Resources {
        flops: Some((b * dim * d_state) as f64 * 7.0),
        bytes_needed: Some(needed),
        bytes_moved: Some(needed + (coefficients * b.saturating_sub(1)) as f64),
        peak_bytes: Some(needed - states as f64),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    };
    Ok(Plan { launch: (threads > 0).then(|| launch(instance, threads.div_ceil(THREADS))), lanes, resources })
}
