//! The plan of a launch: pure data.

use super::{OP, Problem, Target};
use crate::{Error, LaunchPlan, Resources, Result};

/// A planned launch; none where there is nothing to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance and grid.
    pub launch: Option<LaunchPlan>,
    /// What it costs.
    pub resources: Resources,
}

const THREADS: u32 = 128;

fn launch(instance: &'static str, blocks: u32) -> LaunchPlan {
    let (grid, block) = ([blocks, 1, 1], [THREADS, 1, 1]);
    LaunchPlan { op: OP, instance, grid, block, shared_bytes: 0, workspace_bytes: 0 }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &crate::Limits) -> Vec<LaunchPlan> {
    ["quantize_groups", "quantize_rows"].map(|instance| launch(instance, 1)).to_vec()
}

/// Chooses instance and grid.
///
/// # Errors
/// More blocks than a grid holds.
pub fn plan(problem: &Problem) -> Result<Plan> {
    problem.check_sizes()?;
    let (instance, blocks, written) = match problem.target {
        // A warp has a group of two rows.
        Target::Groups(format) => {
            let factors = format.scales_len() * (2 + usize::from(problem.has_zeros));
            (
                "quantize_groups",
                (format.scales_len() / 2).div_ceil(THREADS as usize / 32),
                format.code_bytes() + factors,
            )
        }
        Target::Rows(_) => ("quantize_rows", problem.n, problem.n * (problem.k + 4)),
    };
    let limit = i32::MAX as u64;
    if blocks as u64 > limit {
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got: blocks as u64, limit });
    }
    let bytes = (problem.n * problem.k * problem.x_dtype.size_bytes() + written) as f64;
    let resources = Resources {
        flops: Some(0.0),
        bytes_needed: Some(bytes),
        bytes_moved: Some(bytes),
        peak_bytes: Some(bytes),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    };
    Ok(Plan { launch: (blocks > 0).then(|| launch(instance, blocks as u32)), resources })
}
