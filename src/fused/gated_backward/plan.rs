//! The plan of a launch: pure data.

use super::super::tiles::{self, Instance};
use super::{OP, Problem};
use crate::{LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance, grid, block and memory.
    pub launch: LaunchPlan,
    /// Blocks of a row.
    pub tiles_per_row: usize,
    /// What it costs.
    pub resources: Resources,
}

/// The instances at the end of `kernels/fused/gated_backward.cu`.
const INSTANCES: [Instance; 3] = [
    Instance { name: "gated_backward_unit8", unit: 8, units_per_thread: 2 },
    Instance { name: "gated_backward_unit4", unit: 4, units_per_thread: 4 },
    Instance { name: "gated_backward_unit1", unit: 1, units_per_thread: 4 },
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
    let (launch, tiles_per_row) = tiles::plan(OP, &INSTANCES, problem.unit, [problem.num_rows, problem.width])?;
    let elements = problem.num_rows as f64 * problem.width as f64;
    let moved = elements * problem.bytes_of_an_element() as f64;
    let resources = Resources {
        // An activation and its derivative count as one operation each, and so does every product.
        flops: Some(elements * if problem.types.up.is_some() { 5.0 } else { 2.0 }),
        bytes_needed: Some(moved),
        bytes_moved: Some(moved),
        peak_bytes: Some(moved),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    };
    Ok(Plan { launch, tiles_per_row, resources })
}
