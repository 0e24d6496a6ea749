//! The plan of a launch: pure data.

use super::{OP, Problem};
use crate::{Error, Format, LaunchPlan, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance, grid, block and memory.
    pub launch: LaunchPlan,
    /// Rows of a thread block.
    pub rows_per_tile: usize,
    /// Thread blocks that share a row.
    pub parts_per_row: usize,
    /// Shared memory for the packed bytes of a row, or of a part of one.
    pub stage_bytes: usize,
    /// What it costs.
    pub resources: Resources,
}

const THREADS: u32 = 128;

fn instance(format: Format) -> &'static str {
    match format {
        Format::Q4_0 => "gguf_rows_q4_0",
        Format::Q4_1 => "gguf_rows_q4_1",
        Format::Q5_0 => "gguf_rows_q5_0",
        Format::Q5_1 => "gguf_rows_q5_1",
        Format::Q8_0 => "gguf_rows_q8_0",
        Format::Q2K => "gguf_rows_q2_k",
        Format::Q3K => "gguf_rows_q3_k",
        Format::Q4K => "gguf_rows_q4_k",
        Format::Q5K => "gguf_rows_q5_k",
        Format::Q6K => "gguf_rows_q6_k",
        Format::IQ4NL => "gguf_rows_iq4_nl",
        Format::IQ4XS => "gguf_rows_iq4_xs",
    }
}

fn launch(format: Format, blocks: u32, shared_bytes: usize) -> LaunchPlan {
    LaunchPlan {
        op: OP,
        instance: instance(format),
        grid: [blocks, 1, 1],
        block: [THREADS, 1, 1],
        shared_bytes: shared_bytes as u32,
        workspace_bytes: 0,
    }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &crate::Limits) -> Vec<LaunchPlan> {
    Format::ALL.iter().map(|&format| launch(format, 1, 4096)).collect()
}

/// Chooses the instance and the grid.
///
/// # Errors
/// More blocks than a grid holds.
pub fn plan(problem: &Problem) -> Result<Plan> {
    let Problem { format, k, rows, .. } = *problem;
    // A thread decodes a group of 32 weights.
    let groups = k / 32;
    let (rows_per_tile, parts_per_row) = match groups {
        0 => (1, 1),
        1..=128 => (THREADS as usize / groups, 1),
        _ => (1, groups.div_ceil(THREADS as usize)),
    };
    let blocks = rows.div_ceil(rows_per_tile) as u64 * parts_per_row as u64;
    let limit = i32::MAX as u64;
    if blocks > limit {
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got: blocks, limit });
    }
    let part = groups.min(THREADS as usize) * 32 / format.block_weights() * format.block_bytes();
    // From the multiple of 16 before it on, and what a load of a last word may reach over.
    let stage_bytes = (part + 15).next_multiple_of(16) + 16;
    let row_bytes = (k / format.block_weights() * format.block_bytes()) as f64;
    let bytes =
        rows as f64 * (row_bytes + (k * problem.dtype.size_bytes()) as f64 + if problem.gathered { 4.0 } else { 0.0 });
    let resources = Resources {
        flops: Some(0.0),
        bytes_needed: Some(bytes),
        bytes_moved: Some(bytes),
        peak_bytes: Some(bytes),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    };
    let launch = launch(format, blocks as u32, rows_per_tile * stage_bytes);
    Ok(Plan { launch, rows_per_tile, parts_per_row, stage_bytes, resources })
}
