//! The plan of the launches: pure data.

use super::{OP, Problem, Shape};
use crate::scan::column_sum;
use crate::{Error, LaunchPlan, Limits, Resources, Result};

/// Planned launches, in their order. One that has nothing to do is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// The gradients of positions, and partial sums of the others.
    pub scan: Option<LaunchPlan>,
    /// Partial sums of the gradients of B, C, A, D and the delta bias.
    pub partials: [Partial; 5],
    /// Channels of a block.
    pub channels: usize,
    /// Blocks that share a group's B and C of a sequence.
    pub tiles_of_group: usize,
    /// Bytes of all partial sums.
    pub workspace_bytes: usize,
    /// What it costs.
    pub resources: Resources,
}

/// Partial sums of a gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Partial {
    /// Where they begin in the workspace, in bytes.
    pub offset: usize,
    /// How many there are of each element.
    pub count: usize,
    /// What adds them up; `None` if that is not wanted.
    pub sum: Option<LaunchPlan>,
}

/// An instance at the end of `kernels/scan/selective_scan_backward.cu`.
struct Instance {
    name: &'static str,
    max_states: usize,
    channels: usize,
    threads: usize,
    shared_bytes: u32,
}

const INSTANCES: [Instance; 4] = [
    Instance { name: "selective_scan_backward_16", max_states: 16, channels: 32, threads: 128, shared_bytes: 35_072 },
    Instance { name: "selective_scan_backward_64", max_states: 64, channels: 16, threads: 256, shared_bytes: 57_472 },
    Instance { name: "selective_scan_backward_128", max_states: 128, channels: 8, threads: 256, shared_bytes: 86_080 },
    Instance { name: "selective_scan_backward_256", max_states: 256, channels: 8, threads: 256, shared_bytes: 98_368 },
];
const SUM: &str = "selective_scan_backward_sum";

fn launch(instance: &Instance, blocks: usize, workspace_bytes: usize) -> LaunchPlan {
    let (grid, block) = ([blocks as u32, 1, 1], [instance.threads as u32, 1, 1]);
    LaunchPlan { op: OP, instance: instance.name, grid, block, shared_bytes: instance.shared_bytes, workspace_bytes }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    INSTANCES.iter().map(|instance| launch(instance, 1, 0)).chain(column_sum::launch(OP, SUM, 1)).collect()
}

/// Chooses the instance by the number of states, and lays out the workspace.
///
/// # Errors
/// A device with too little shared memory, more blocks than a grid has.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let Shape { sequences, dim, d_state, groups } = problem.shape;
    let suits = INSTANCES.iter().find(|instance| d_state <= instance.max_states);
    let instance = suits.unwrap_or(&INSTANCES[3]);
    let (needed, available) = (instance.shared_bytes, limits.shared_bytes_per_block);
    if needed > available {
        return Err(Error::SharedMemory { op: OP, instance: instance.name, needed, available });
    }
    let tiles_of_group = (dim / groups).div_ceil(instance.channels);
    let blocks = sequences.b.saturating_mul(groups * tiles_of_group);
    let of_positions = sequences.positions() * groups * d_state;
    let limit = i32::MAX as usize;
    for (what, got) in [("blocks", blocks), ("blocks of sums", of_positions.max(dim * d_state) / 32)] {
        if got > limit {
            return Err(Error::TooLarge { op: OP, what, got: got as u64, limit: limit as u64 });
        }
    }
    let mut workspace_bytes = 0;
    let mut partial = |count: usize, width: usize, wanted: bool| {
        let offset = workspace_bytes;
        // The next one starts at a multiple of 16 bytes.
        workspace_bytes += (count * width * 4).next_multiple_of(16);
        Partial { offset, count, sum: if wanted { column_sum::launch(OP, SUM, width) } else { None } }
    };
    let partials = [
        partial(tiles_of_group, of_positions, true),
        partial(tiles_of_group, of_positions, true),
        partial(sequences.b, dim * d_state, true),
        partial(sequences.b, dim, problem.parts.d_d),
        partial(sequences.b, dim, problem.parts.d_delta_bias),
    ];
    Ok(Plan {
        scan: (blocks > 0).then(|| launch(instance, blocks, workspace_bytes)),
        partials,
        channels: instance.channels,
        tiles_of_group,
        workspace_bytes,
        resources: resources(problem, tiles_of_group, workspace_bytes),
    })
}

/// Work and traffic.
fn resources(problem: &Problem, tiles_of_group: usize, workspace_bytes: usize) -> Resources {
    let Problem { dtype, of_states, shape, parts, .. } = problem;
    let Shape { sequences, dim, d_state, groups } = *shape;
    let (positions, bytes) = (sequences.positions() as f64, dtype.size_bytes() as f64);
    let tensors = 5 + usize::from(parts.z) + usize::from(parts.d_z);
    let of_channels = positions * (dim * tensors) as f64 * bytes;
    let states = positions * (groups * d_state) as f64;
    let gradients = states * (of_states[0].size_bytes() + of_states[1].size_bytes()) as f64;
    let vectors = [parts.d, parts.delta_bias, parts.d_d, parts.d_delta_bias].into_iter().filter(|given| *given).count();
    let coefficients = (dim * (2 * d_state + vectors) * 4) as f64;
    let ends = usize::from(parts.d_final_state) + usize::from(parts.d_initial_state);
    let kept = ends * sequences.b * dim * d_state + shape.boundary_states().iter().product::<usize>();
    let needed = of_channels + 2.0 * states * bytes + gradients + coefficients + kept as f64 * 4.0;
    Resources {
        // The states twice, 5 each; then C dy, d_B, d_C, the sum for d_u, decay, w, d_A and its sum.
        flops: Some(positions * (dim * d_state) as f64 * 24.0),
        bytes_needed: Some(needed),
        bytes_moved: Some(
            needed + 2.0 * states * bytes * (tiles_of_group as f64 - 1.0).max(0.0) + 2.0 * workspace_bytes as f64,
        ),
        peak_bytes: Some(needed + workspace_bytes as f64),
        workspace_bytes: Some(workspace_bytes as f64),
        ..Resources::default()
    }
}
