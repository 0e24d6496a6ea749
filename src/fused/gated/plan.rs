//! The plan of a launch: pure data.

use super::super::tiles::{self, Instance};
use super::{OP, Problem};
use crate::{DType, LaunchPlan, Limits, Resources, Result};

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

/// The instances at the end of `kernels/fused/gated.cu`.
const INSTANCES: [Instance; 3] = [
    Instance { name: "gated_unit8", unit: 8, units_per_thread: 2 },
    Instance { name: "gated_unit4", unit: 4, units_per_thread: 4 },
    Instance { name: "gated_unit1", unit: 1, units_per_thread: 4 },
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
    let bytes = |dtype: DType| dtype.size_bytes() as f64;
    let types = problem.types;
    let inputs = bytes(types.gate.unwrap_or(types.out)) + types.up.map_or(0.0, bytes);
    let moved = elements * (inputs + bytes(types.out));
    let in_place = if types.gate.is_none() { elements * bytes(types.out) } else { 0.0 };
    let resources = Resources {
        // An activation counts as one operation, and so does the product.
        flops: Some(elements * if types.up.is_some() { 2.0 } else { 1.0 }),
        bytes_needed: Some(moved),
        bytes_moved: Some(moved),
        peak_bytes: Some(moved - in_place),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    };
    Ok(Plan { launch, tiles_per_row, resources })
}
