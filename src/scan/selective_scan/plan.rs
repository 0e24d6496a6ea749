//! The plan of the launches: pure data.

use super::{CHUNK, OP, Problem, Shape};
use crate::{Error, LaunchPlan, Limits, Resources, Result};

/// Planned launches, in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Zeros where blocks of segments meet; `None` if there are none.
    pub clear: Option<LaunchPlan>,
    /// The scan; `None` if there is nothing to do.
    pub launch: Option<LaunchPlan>,
    /// Channels of a block.
    pub channels: usize,
    /// Blocks that share a group's B and C of a sequence.
    pub tiles_of_group: usize,
    /// Blocks of all sequences, or of a segment of each.
    pub blocks: usize,
    /// How sequences are cut; `None`: a block does a sequence from its beginning to its end.
    pub segments: Option<Segments>,
    /// Bytes of the workspace.
    pub workspace_bytes: usize,
    /// What it costs.
    pub resources: Resources,
}

/// Segments of sequences, each a block's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Positions of a segment, a multiple of [`CHUNK`].
    pub positions: usize,
    /// How many the longest sequence has.
    pub count: usize,
    /// Where the states between them begin in the workspace, in bytes.
    pub carry: usize,
}

/// An instance at the end of `kernels/scan/selective_scan.cu`.
struct Instance {
    name: &'static str,
    max_states: usize,
    channels: usize,
    shared_bytes: u32,
    /// Blocks that a multiprocessor has room for at once, by its registers; 0: it takes no segments.
    resident: usize,
}

const INSTANCES: [Instance; 4] = [
    Instance { name: "selective_scan_16", max_states: 16, channels: 32, shared_bytes: 19_752, resident: 4 },
    Instance { name: "selective_scan_64", max_states: 64, channels: 64, shared_bytes: 22_568, resident: 2 },
    Instance { name: "selective_scan_128", max_states: 128, channels: 96, shared_bytes: 18_984, resident: 1 },
    Instance { name: "selective_scan_256", max_states: 256, channels: 128, shared_bytes: 97_712, resident: 0 },
];
/// Lanes of a channel.
const LANES: usize = 4;
/// Positions of a segment, at least and at most: many hand on more often than their blocks take, and what long ones read
/// twice is gone from the L2 cache in between.
const SEGMENT: (usize, usize) = (128, 256);
const CLEAR: (&str, usize) = ("selective_scan_clear", 256);

fn launch(instance: &Instance, blocks: usize, workspace_bytes: usize) -> LaunchPlan {
    let (grid, block) = ([blocks as u32, 1, 1], [(LANES * instance.channels) as u32, 1, 1]);
    LaunchPlan { op: OP, instance: instance.name, grid, block, shared_bytes: instance.shared_bytes, workspace_bytes }
}

fn clear(words: usize) -> LaunchPlan {
    let (grid, block) = ([words.div_ceil(CLEAR.1) as u32, 1, 1], [CLEAR.1 as u32, 1, 1]);
    LaunchPlan { op: OP, instance: CLEAR.0, grid, block, shared_bytes: 0, workspace_bytes: 0 }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(_: &Limits) -> Vec<LaunchPlan> {
    INSTANCES.iter().map(|instance| launch(instance, 1, 0)).chain([clear(1)]).collect()
}

/// Chooses the instance by the number of states, and segments where there are few blocks and a workspace.
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
    let segments = if problem.parts.workspace { segments(problem, limits, instance, blocks) } else { None };
    let grid = blocks.saturating_mul(segments.map_or(1, |segments| segments.count));
    let limit = i32::MAX as usize;
    if grid > limit {
        return Err(Error::TooLarge { op: OP, what: "blocks", got: grid as u64, limit: limit as u64 });
    }
    let workspace_bytes = segments.map_or(0, |segments| segments.carry + sequences.b * dim * d_state * 4);
    // Without positions only states are left to do.
    let is_empty = blocks == 0 || (sequences.positions() == 0 && !problem.parts.final_state);
    Ok(Plan {
        clear: segments.map(|_| clear(blocks + 1)),
        launch: (!is_empty).then(|| launch(instance, grid, workspace_bytes)),
        channels: instance.channels,
        tiles_of_group,
        blocks,
        segments,
        workspace_bytes,
        resources: resources(problem, tiles_of_group, segments, workspace_bytes),
    })
}

/// As many segments as keep all multiprocessors busy. All but the first are gone through twice, so that two are no gain.
fn segments(problem: &Problem, limits: &Limits, instance: &Instance, blocks: usize) -> Option<Segments> {
    let longest = problem.shape.sequences.s;
    let wanted = (limits.multiprocessors as usize * instance.resident).checked_div(blocks)?;
    let positions = longest.checked_div(wanted)?.next_multiple_of(CHUNK).clamp(SEGMENT.0, SEGMENT.1);
    let count = longest.div_ceil(positions);
    let carry = ((blocks + 1) * 4).next_multiple_of(16);
    (wanted >= 3 && count >= 3).then_some(Segments { positions, count, carry })
}

/// Work and traffic.
fn resources(
    problem: &Problem,
    tiles_of_group: usize,
    segments: Option<Segments>,
    workspace_bytes: usize,
) -> Resources {
    let Problem { dtype, shape, parts, .. } = problem;
    let Shape { sequences, dim, d_state, groups } = *shape;
    let (positions, bytes) = (sequences.positions() as f64, dtype.size_bytes() as f64);
    let of_channels = positions * (dim * if parts.z { 4 } else { 3 }) as f64 * bytes;
    let of_states = positions * (2 * groups * d_state) as f64 * bytes;
    let vectors = (usize::from(parts.d) + usize::from(parts.delta_bias)) * dim * 4;
    let coefficients = (dim * d_state * 4 + vectors) as f64;
    let states = usize::from(parts.initial_state) + usize::from(parts.final_state);
    let states = (states * sequences.b * dim * d_state * 4) as f64;
    let boundaries =
        if parts.boundary_states { shape.boundary_states().iter().product::<usize>() as f64 * 4.0 } else { 0.0 };
    let needed = of_channels + of_states + coefficients + states + boundaries;
    // All segments but the first and the last are gone through before, for u, delta and B; between any two states are
    // handed on.
    let count = segments.map_or(1.0, |segments| segments.count as f64);
    let twice = if count > 2.0 { (count - 2.0) / count } else { 0.0 };
    let again = twice * (positions * (2 * dim) as f64 * bytes + of_states / 2.0 * tiles_of_group as f64)
        + (count - 1.0) * (2 * sequences.b * dim * d_state * 4) as f64;
    Resources {
        // delta A, its exponential, delta B u, the state, and C's product.
        flops: Some(positions * (dim * d_state) as f64 * (7.0 + 5.0 * twice)),
        bytes_needed: Some(needed),
        bytes_moved: Some(
            needed
                + of_states * (tiles_of_group as f64 - 1.0).max(0.0)
                + coefficients * (sequences.b as f64 * count - 1.0).max(0.0)
                + again,
        ),
        peak_bytes: Some(needed - if problem.options.update { states / 2.0 } else { 0.0 } + workspace_bytes as f64),
        workspace_bytes: Some(workspace_bytes as f64),
        ..Resources::default()
    }
}
