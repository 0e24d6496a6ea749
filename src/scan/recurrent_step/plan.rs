//! The plan of a launch: pure data.

use super::{DecayKind, OP, Problem, Shape};
use crate::{DType, Error, LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance, grid, block and memory.
    pub launch: LaunchPlan,
    /// Tiles of 64 value columns that a block goes through: 1, or all with a normaliser, which is in place, too.
    pub tiles_per_block: usize,
    /// What it costs.
    pub resources: Resources,
}

/// Value columns of a tile.
const COLUMNS: usize = 64;

fn launch(dtype: DType, blocks: u32) -> LaunchPlan {
    let instance = match dtype {
        DType::F16 => "recurrent_step_f16",
        DType::BF16 => "recurrent_step_bf16",
        _ => "recurrent_step_f32",
    };
    LaunchPlan { op: OP, instance, grid: [blocks, 1, 1], block: [128, 1, 1], shared_bytes: 0, workspace_bytes: 0 }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    [DType::F16, DType::BF16, DType::F32].map(|dtype| launch(dtype, 1)).to_vec()
}

/// Chooses the instance and the grid.
///
/// # Errors
/// More blocks than a grid holds.
pub fn plan(problem: &Problem, _: &Limits) -> Result<Plan> {
    let tiles = problem.shape.d_v.div_ceil(COLUMNS);
    let tiles_per_block = if problem.normaliser.is_some() { tiles } else { 1 };
    let blocks = problem.b as u128 * problem.shape.h as u128 * (tiles / tiles_per_block) as u128;
    let limit = i32::MAX as u64;
    if blocks > u128::from(limit) {
        let got = u64::try_from(blocks).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got, limit });
    }
    Ok(Plan { launch: launch(problem.dtype, blocks as u32), tiles_per_block, resources: resources(problem) })
}

/// Work and traffic: the state in and out, and everything else once.
fn resources(problem: &Problem) -> Resources {
    let Shape { h_k, h, d_k, d_v } = problem.shape;
    let b = problem.b as f64;
    let sums = if problem.normaliser.is_some() { d_k } else { 0 };
    let states = b * (8 * h * (d_k * d_v + sums)) as f64;
    let decays = match problem.decay {
        None => 0.0,
        Some(DecayKind::Heads) => (4 * h) as f64,
        Some(DecayKind::Steps) => b * (4 * h) as f64,
        Some(DecayKind::Channels) => b * (4 * h * d_k) as f64,
    };
    let rows = b * (2 * h_k * d_k + 2 * h * d_v) as f64 * problem.dtype.size_bytes() as f64;
    let needed = states + decays + rows;
    Resources {
        flops: Some(4.0 * b * (h * d_k * d_v) as f64),
        bytes_needed: Some(needed),
        // Device memory holds the state once.
        peak_bytes: Some(needed - states / 2.0),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    }
}
