//! The plan of the launch: pure data.

use super::{OP, Problem, Shape};
use crate::{Error, LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The launch; `None` if there is nothing to do.
    pub launch: Option<LaunchPlan>,
    /// Channels of a block.
    pub channels: usize,
    /// Blocks that share a group's B and C of a sequence.
    pub tiles_of_group: usize,
    /// What it costs.
    pub resources: Resources,
}

/// The instances at the end of `kernels/scan/selective_scan.cu`: most states of a channel, channels and threads of a block.
const INSTANCES: [(&str, usize, usize, usize); 3] =
    [("selective_scan_16", 16, 32, 128), ("selective_scan_64", 64, 64, 512), ("selective_scan_256", 256, 24, 384)];

fn launch(instance: &'static str, blocks: usize, threads: usize) -> LaunchPlan {
    let (grid, block) = ([blocks as u32, 1, 1], [threads as u32, 1, 1]);
    LaunchPlan { op: OP, instance, grid, block, shared_bytes: 0, workspace_bytes: 0 }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    INSTANCES.iter().map(|&(name, _, _, threads)| launch(name, 1, threads)).collect()
}

/// Chooses the instance by the number of states.
///
/// # Errors
/// More blocks than a grid has.
pub fn plan(problem: &Problem, _: &Limits) -> Result<Plan> {
    let Shape { sequences, dim, d_state, groups } = problem.shape;
    let (instance, _, channels, threads) =
        INSTANCES.into_iter().find(|(_, most, ..)| d_state <= *most).unwrap_or(INSTANCES[2]);
    let tiles_of_group = (dim / groups).div_ceil(channels);
    let (blocks, limit) = (sequences.b.saturating_mul(groups * tiles_of_group), i32::MAX as usize);
    if blocks > limit {
        return Err(Error::TooLarge { op: OP, what: "blocks", got: blocks as u64, limit: limit as u64 });
    }
    // Without positions only states are left to do.
    let is_empty = blocks == 0 || (sequences.positions() == 0 && !problem.parts.final_state);
    let launch = (!is_empty).then(|| launch(instance, blocks, threads));
    Ok(Plan { launch, channels, tiles_of_group, resources: resources(problem, tiles_of_group) })
}

/// Work and traffic.
fn resources(problem: &Problem, tiles_of_group: usize) -> Resources {
    let Problem { dtype, shape, parts, .. } = problem;
    let Shape { sequences, dim, d_state, groups } = *shape;
    let (positions, bytes) = (sequences.positions() as f64, dtype.size_bytes() as f64);
    let of_channels = positions * (dim * if parts.z { 4 } else { 3 }) as f64 * bytes;
    let of_states = positions * (2 * groups * d_state) as f64 * bytes;
    let vectors = (usize::from(parts.d) + usize::from(parts.delta_bias)) * dim * 4;
    let coefficients = (dim * d_state * 4 + vectors) as f64;
    let states = usize::from(parts.initial_state) + usize::from(parts.final_state);
    let states = (states * sequences.b * dim * d_state * 4) as f64;
    let boundaries =
        if parts.boundary_states { shape.boundary_states().iter().product::<usize>() as f64 * 4.0 } else { 0.0 };
    let needed = of_channels + of_states + coefficients + states + boundaries;
    Resources {
        // delta A, its exponential, delta B u, the state, and C's product.
        flops: Some(positions * (dim * d_state) as f64 * 7.0),
        bytes_needed: Some(needed),
        bytes_moved: Some(
            needed
                + of_states * (tiles_of_group as f64 - 1.0).max(0.0)
                + coefficients * (sequences.b as f64 - 1.0).max(0.0),
        ),
        peak_bytes: Some(needed - if problem.options.update { states / 2.0 } else { 0.0 }),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    }
}
