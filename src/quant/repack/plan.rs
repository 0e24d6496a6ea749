//! The plan of the launches: pure data.

use super::{OP, Problem};
use crate::{DType, Error, LaunchPlan, Resources, Result};

/// Planned launches; nothing where there is nothing to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Codes.
    pub codes: Option<LaunchPlan>,
    /// Scales and zero-points.
    pub factors: Option<LaunchPlan>,
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
    ["repack_codes", "repack_factors"].map(|instance| launch(instance, 1)).to_vec()
}

/// Chooses the grids.
///
/// # Errors
/// More blocks than a grid holds.
pub fn plan(problem: &Problem) -> Result<Plan> {
    problem.check_sizes()?;
    let format = &problem.format;
    // A thread makes 16 bytes of codes, or one scale.
    let [codes, factors] = [("repack_codes", format.code_bytes() / 16), ("repack_factors", format.scales_len())].map(
        |(instance, threads)| {
            let (blocks, limit) = (threads.div_ceil(THREADS as usize) as u64, i32::MAX as u64);
            if blocks > limit {
                return Err(Error::TooLarge { op: OP, what: "number of blocks", got: blocks, limit });
            }
            Ok((blocks > 0).then(|| launch(instance, blocks as u32)))
        },
    );
    let (source_codes, packed) = (format.n * format.k * format.codes.bits() / 8, format.code_bytes());
    let scales = format.n * format.groups();
    let scale_bytes = if problem.scales_dtype == DType::U8 { 1 } else { problem.scales_dtype.size_bytes() };
    let zero_bits = if problem.has_zeros { format.codes.bits() } else { 0 };
    let read =
        source_codes + scales * scale_bytes + scales * zero_bits / 8 + if problem.permuted { format.k * 4 } else { 0 };
    let written = packed + format.scales_len() * (2 + usize::from(problem.has_zeros));
    let bytes = (read + written) as f64;
    let resources = Resources {
        flops: Some(0.0),
        bytes_needed: Some(bytes),
        bytes_moved: Some(bytes),
        peak_bytes: Some(bytes),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    };
    Ok(Plan { codes: codes?, factors: factors?, resources })
}
