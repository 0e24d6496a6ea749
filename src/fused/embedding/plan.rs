//! The plan of a launch: pure data.

use super::super::tiles::{self, Instance};
use super::{OP, Problem, Shape};
use crate::{LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance, grid, block and memory.
    pub launch: LaunchPlan,
    /// Blocks of a row.
    pub tiles_per_row: usize,
    /// What it costs, if all numbers differ.
    pub resources: Resources,
}

/// The instances at the end of `kernels/fused/embedding.cu`.
const INSTANCES: [Instance; 3] = [
    Instance { name: "embedding_unit8", unit: 8, units_per_thread: 2 },
    Instance { name: "embedding_unit4", unit: 4, units_per_thread: 4 },
    Instance { name: "embedding_unit1", unit: 1, units_per_thread: 4 },
];

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    INSTANCES.iter().map(|instance| instance.launch(OP, 1)).collect()
}

/// Chooses the instance and the grid.
///
/// # Errors
/// More blocks than a grid holds.
pub fn plan(problem: &Problem, _: &Limits) -> Result<Plan> {
    let Shape { m, n, d } = problem.shape;
    let (launch, tiles_per_row) = tiles::plan(OP, &INSTANCES, problem.unit, [m, d])?;
    let bytes = (problem.table_dtype.size_bytes() + problem.dtype.size_bytes()) as f64;
    let moved = m as f64 * (d as f64 * bytes + 4.0);
    let resources = Resources {
        flops: Some(m as f64 * d as f64),
        bytes_needed: Some(moved),
        bytes_moved: Some(moved),
        peak_bytes: Some(n as f64 * d as f64 * problem.table_dtype.size_bytes() as f64 + moved),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    };
    Ok(Plan { launch, tiles_per_row, resources })
}
