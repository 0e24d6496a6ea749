//! The plan of a launch: pure data.

use super::{OP, Problem, Shape};
use crate::{DType, Error, LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance, grid, block and memory.
    pub launch: LaunchPlan,
    /// What it costs.
    pub resources: Resources,
}

/// Rows of a block.
const ROWS: usize = 32;
const THREADS: u32 = 128;

/// The instances at the end of `kernels/attention/merge.cu`: types of the parts and of the result.
const INSTANCES: [(&str, DType, DType); 5] = [
    ("merge_f16_f16", DType::F16, DType::F16),
    ("merge_bf16_bf16", DType::BF16, DType::BF16),
    ("merge_f32_f32", DType::F32, DType::F32),
    ("merge_f32_f16", DType::F32, DType::F16),
    ("merge_f32_bf16", DType::F32, DType::BF16),
];

fn launch(instance: &'static str, blocks: u32, n: usize) -> LaunchPlan {
    LaunchPlan {
        op: OP,
        instance,
        grid: [blocks, 1, 1],
        block: [THREADS, 1, 1],
        // A weight for every part and row.
        shared_bytes: (n * ROWS * 4) as u32,
        workspace_bytes: 0,
    }
}

/// One block of each instance, with two parts.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    INSTANCES.iter().map(|(name, ..)| launch(name, 1, 2)).collect()
}

/// Chooses the instance and the grid.
///
/// # Errors
/// More shared memory than the chip has, or more blocks than a grid holds.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let types = (problem.part_dtype, problem.dtype);
    let found = INSTANCES.iter().find(|&&(_, part, out)| (part, out) == types);
    let &(instance, ..) = found.ok_or_else(|| Error::Unsupported {
        op: OP,
        argument: "out",
        what: "dtype",
        got: problem.dtype.to_string(),
        supported: "f16, bf16, f32",
    })?;
    let (blocks, limit) = (problem.rows().div_ceil(ROWS as u128), i32::MAX as u64);
    if blocks > u128::from(limit) {
        let got = u64::try_from(blocks).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got, limit });
    }
    let launch = launch(instance, blocks as u32, problem.shape.n);
    let (needed, available) = (launch.shared_bytes, limits.shared_bytes_per_block);
    if needed > available {
        return Err(Error::SharedMemory { op: OP, instance, needed, available });
    }
    Ok(Plan { launch, resources: resources(problem) })
}

/// Work and traffic, if no part is empty; `lse` is counted as written.
fn resources(problem: &Problem) -> Resources {
    let Shape { n, d, .. } = problem.shape;
    let (rows, n, d) = (problem.rows() as f64, n as f64, d as f64);
    let bytes = |dtype: DType| d * dtype.size_bytes() as f64 + 4.0;
    let needed = rows * (n * bytes(problem.part_dtype) + bytes(problem.dtype));
    Resources {
        flops: Some(2.0 * n * rows * d),
        bytes_needed: Some(needed),
        bytes_moved: Some(needed),
        peak_bytes: Some(needed),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    }
}
