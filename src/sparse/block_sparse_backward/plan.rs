//! The plan of the launches: pure data.

use super::problem::check_dims;
use super::{OP, Problem};
#[cfg(feature = "verify")]
use crate::LaunchPlan;
use crate::attention::flash_backward::plan::{Instance, instance, plan_with};
use crate::attention::flash_backward::{Shape, Wanted};
use crate::{DType, Error, Limits, Resources, Result};

pub use crate::attention::flash_backward::Plan;

/// The instances at the end of `kernels/sparse/block_sparse_backward.cu`.
const INSTANCES: [Instance; 6] = [
    instance("block_sparse_backward_f16_d64", DType::F16, 64, 64, [4, 1], 2, false),
    instance("block_sparse_backward_f16_d128", DType::F16, 128, 64, [4, 1], 2, false),
    instance("block_sparse_backward_f16_d256", DType::F16, 256, 32, [2, 2], 1, false),
    instance("block_sparse_backward_bf16_d64", DType::BF16, 64, 64, [4, 1], 2, false),
    instance("block_sparse_backward_bf16_d128", DType::BF16, 128, 64, [4, 1], 2, false),
    instance("block_sparse_backward_bf16_d256", DType::BF16, 256, 32, [2, 2], 1, false),
];

/// One block of each instance that fits the chip's shared memory.
#[cfg(feature = "verify")]
pub(crate) fn launches(limits: &Limits) -> Vec<LaunchPlan> {
    let fits = |instance: &&Instance| instance.shared_bytes <= limits.shared_bytes_per_block;
    let launch = |instance: &Instance| LaunchPlan {
        op: OP,
        instance: instance.name,
        grid: [1; 3],
        block: [instance.threads, 1, 1],
        shared_bytes: instance.shared_bytes,
        workspace_bytes: 0,
    };
    INSTANCES.iter().filter(fits).map(launch).collect()
}

/// Chooses the instance, the division of work and the grids. The kernels before and after the main one are those of
/// [`flash_backward`](mod@crate::attention::flash_backward).
///
/// # Errors
/// Head dimensions or an element type that no instance takes, none that fits the chip's shared memory, or more blocks than
/// a grid holds.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    check_dims(problem)?;
    let dense = &problem.attention;
    let fits = |instance: &&Instance| instance.dtype == dense.dtype && instance.d == dense.shape.d;
    let Some(chosen) = INSTANCES.iter().find(fits) else {
        let (argument, what, got) = ("q", "head_dim", dense.shape.d.to_string());
        return Err(Error::Unsupported { op: OP, argument, what, got, supported: "64, 128, 256" });
    };
    let mut plan = plan_with(OP, dense, Wanted::default(), limits, chosen)?;
    plan.resources = resources(problem, &plan);
    Ok(plan)
}

/// Work and traffic. Unknown of a layout, or lengths, that lie on the device alone. Of the layout a few words a tile are
/// read, which are not counted.
fn resources(problem: &Problem, plan: &Plan) -> Resources {
    let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = problem.attention.shape;
    let [queries, keys] = problem.attention.totals.unwrap_or([b * s_q, b * s_k]).map(|positions| positions as f64);
    let element = problem.attention.dtype.size_bytes() as f64;
    let (rows, key_rows) = (queries * h_q as f64, keys * h_kv as f64);
    let row_bytes = (d + d_v) as f64 * element;
    // q, d_q, out, d_out; lse; k, v and their gradients.
    let needed = rows * (2.0 * row_bytes + 4.0) + key_rows * 2.0 * row_bytes;
    let work = problem.work();
    let moved = work.map(|work| {
        let statistics = rows * (2.0 * d_v as f64 * element + 4.0 + 8.0);
        // A row of queries with its statistics for each block of keys that it visits, and its sum there and back; the
        // first block finds none.
        let visits = work.visited as f64 / plan.block_n as f64;
        let sum = d as f64 * 4.0;
        let main = visits * (row_bytes + 8.0 + 2.0 * sum) - work.queries as f64 * sum;
        let finish = work.queries as f64 * sum + rows * d as f64 * element;
        let parts = plan.num_parts as f64;
        let slabs = if plan.num_parts > 1 { 2.0 * parts * key_rows * (d + d_v) as f64 * 4.0 } else { 0.0 };
        statistics + main + finish + key_rows * (parts + 1.0) * row_bytes + slabs
    });
    Resources {
        flops: work.map(|work| 2.0 * work.pairs as f64 * (3 * d + 2 * d_v) as f64),
        bytes_needed: Some(needed),
        bytes_moved: moved,
        peak_bytes: Some(needed + plan.workspace.bytes as f64),
        workspace_bytes: Some(plan.workspace.bytes as f64),
        ..Resources::default()
    }
}
