//! The plan of a launch: pure data.

use super::problem::NESTED;
use super::{OP, Problem, Target};
use crate::{Error, LaunchPlan, Resources, Result};

/// Planned launches; none where there is nothing to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Instances and grids, in order.
    pub launches: Vec<LaunchPlan>,
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
    let of_blocks = ["quantize_blocks", "quantize_block_sums", "quantize_block_offset", "quantize_block_magnitudes"];
    ["quantize_groups", "quantize_rows"].into_iter().chain(of_blocks).map(|instance| launch(instance, 1)).collect()
}

/// Chooses instances and grids.
///
/// # Errors
/// More blocks than a grid holds.
pub fn plan(problem: &Problem) -> Result<Plan> {
    problem.check_sizes()?;
    let (launches, written) = match problem.target {
        // A warp has a group of two rows.
        Target::Groups(format) => {
            let factors = format.scales_len() * (2 + usize::from(problem.has_zeros));
            let blocks = (format.scales_len() / 2).div_ceil(THREADS as usize / 32);
            (vec![("quantize_groups", blocks)], format.code_bytes() + factors)
        }
        // 8 lanes have a block; magnitudes are read anew for each step, mostly from a cache.
        Target::Blocks { block, nested } => {
            let blocks = problem.num_blocks(block);
            let parts = blocks.div_ceil(NESTED);
            let mut launches = vec![("quantize_blocks", blocks.div_ceil(THREADS as usize / 8))];
            if nested {
                launches.extend([("quantize_block_sums", parts), ("quantize_block_offset", 1)]);
                launches.push(("quantize_block_magnitudes", parts));
            }
            let nested_bytes = if nested { blocks + parts * 4 + 4 } else { 0 };
            (launches, problem.n * problem.k / 2 + blocks * 4 + nested_bytes)
        }
        Target::Rows(_) => (vec![("quantize_rows", problem.n)], problem.n * (problem.k + 4)),
    };
    let limit = i32::MAX as u64;
    if let Some((_, blocks)) = launches.iter().find(|(_, blocks)| *blocks as u64 > limit) {
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got: *blocks as u64, limit });
    }
    let launches = launches.into_iter().filter(|(_, blocks)| *blocks > 0);
    let launches = launches.map(|(instance, blocks)| launch(instance, blocks as u32)).collect();
    let bytes = (problem.n * problem.k * problem.x_dtype.size_bytes() + written) as f64;
    let resources = Resources {
        flops: Some(0.0),
        bytes_needed: Some(bytes),
        bytes_moved: Some(bytes),
        peak_bytes: Some(bytes),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    };
    Ok(Plan { launches, resources })
}
