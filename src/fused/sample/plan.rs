//! The plan of the launches: pure data.

use super::{OP, Problem};
use crate::{Error, LaunchPlan, Limits, Resources, Result};

/// Planned launches, in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The largest key and the sums of every part of a row.
    pub parts: LaunchPlan,
    /// The token of every row.
    pub rows: LaunchPlan,
    /// Parts of a row.
    pub num_parts: usize,
    /// Units of a part.
    pub units_per_part: usize,
    /// What the parts give, in bytes.
    pub workspace_bytes: usize,
    /// What it costs, without the passes that filters may need.
    pub resources: Resources,
}

/// The instances at the end of `kernels/fused/sample.cu`, by the elements of a unit.
const INSTANCES: [(usize, [&str; 2]); 3] = [
    (8, ["sample_parts_unit8", "sample_unit8"]),
    (4, ["sample_parts_unit4", "sample_unit4"]),
    (1, ["sample_parts_unit1", "sample_unit1"]),
];
const PART_THREADS: usize = 256;
const ROW_THREADS: usize = 512;
/// Units of a part for each of its threads, at least.
const UNITS_PER_THREAD: usize = 2;
/// Blocks of a multiprocessor that keep it busy.
const RESIDENT_BLOCKS: usize = 4;
/// What a part gives: a key, a token, a logit, a maximum and two sums.
const PART_BYTES: usize = 24;

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
    let both = |&(_, [parts, rows]): &(usize, [&'static str; 2])| {
        [launch(parts, 1, PART_THREADS, 0), launch(rows, 1, ROW_THREADS, 0)]
    };
    INSTANCES.iter().flat_map(both).collect()
}

/// Divides rows into parts: enough blocks for the whole chip, if rows are few, but none without work.
///
/// # Errors
/// More blocks than a grid holds.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let (unit, [parts, rows]) = INSTANCES[INSTANCES.iter().position(|(unit, _)| *unit == problem.unit).unwrap_or(2)];
    let units = (problem.n / unit).max(1);
    let wanted = (limits.multiprocessors as usize * RESIDENT_BLOCKS).div_ceil(problem.m.max(1));
    let most = units.div_ceil(PART_THREADS * UNITS_PER_THREAD);
    let units_per_part = units.div_ceil(wanted.clamp(1, most));
    let num_parts = units.div_ceil(units_per_part);
    let (blocks, limit) = (problem.m as u128 * num_parts as u128, i32::MAX as u64);
    if blocks > u128::from(limit) {
        let got = u64::try_from(blocks).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got, limit });
    }
    let workspace_bytes = blocks as usize * PART_BYTES;
    let (m, n) = (problem.m as f64, problem.n as f64);
    let needed = m * (n * problem.dtype.size_bytes() as f64 + if problem.log_probabilities { 8.0 } else { 4.0 });
    let resources = Resources {
        // A division, an exponential and an addition.
        flops: Some(3.0 * m * n),
        bytes_needed: Some(needed),
        bytes_moved: Some(needed + 2.0 * workspace_bytes as f64),
        peak_bytes: Some(needed + workspace_bytes as f64),
        workspace_bytes: Some(workspace_bytes as f64),
        ..Resources::default()
    };
    Ok(Plan {
        parts: launch(parts, blocks as usize, PART_THREADS, workspace_bytes),
        rows: launch(rows, problem.m, ROW_THREADS, workspace_bytes),
        num_parts,
        units_per_part,
        workspace_bytes,
        resources,
    })
}
