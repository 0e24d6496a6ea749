//! The plan of a launch: pure data.

use super::{OP, Problem, Shape};
use crate::{DType, Error, LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance, grid, block and memory.
    pub launch: LaunchPlan,
    /// Queries of a block.
    pub block_m: usize,
    /// Keys of a step of a block's loop.
    pub block_n: usize,
    /// Tiles of queries in a sequence.
    pub num_query_tiles: usize,
    /// What it costs.
    pub resources: Resources,
}

/// An instance of the kernel: what decides tiling and shared memory.
struct Instance {
    name: &'static str,
    dtype: DType,
    d: usize,
    block_m: usize,
    block_n: usize,
    threads: u32,
    shared_bytes: u32,
}

const fn instance(name: &'static str, dtype: DType, d: usize, [block_m, block_n]: [usize; 2]) -> Instance {
    // One tile each of q, k and v.
    let shared_bytes = ((block_m + 2 * block_n) * d * dtype.size_bytes()) as u32;
    Instance { name, dtype, d, block_m, block_n, threads: 128, shared_bytes }
}

impl Instance {
    fn launch(&self, blocks: u32) -> LaunchPlan {
        LaunchPlan {
            op: OP,
            instance: self.name,
            grid: [blocks, 1, 1],
            block: [self.threads, 1, 1],
            shared_bytes: self.shared_bytes,
            workspace_bytes: 0,
        }
    }
}

/// The instances at the end of `kernels/attention/flash_forward.cu`.
const INSTANCES: [Instance; 6] = [
    instance("flash_forward_f16_d64", DType::F16, 64, [128, 128]),
    instance("flash_forward_f16_d128", DType::F16, 128, [128, 64]),
    instance("flash_forward_f16_d256", DType::F16, 256, [64, 32]),
    instance("flash_forward_bf16_d64", DType::BF16, 64, [128, 128]),
    instance("flash_forward_bf16_d128", DType::BF16, 128, [128, 64]),
    instance("flash_forward_bf16_d256", DType::BF16, 256, [64, 32]),
];

/// One block of each instance that fits the chip's shared memory.
#[cfg(feature = "verify")]
pub(crate) fn launches(limits: &Limits) -> Vec<LaunchPlan> {
    let fits = |instance: &&Instance| instance.shared_bytes <= limits.shared_bytes_per_block;
    INSTANCES.iter().filter(fits).map(|instance| instance.launch(1)).collect()
}

/// Chooses the instance and the grid.
///
/// # Errors
/// No instance fits the chip's shared memory, or more blocks than a grid holds.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let Shape { b, s_q, h_q, d, .. } = problem.shape;
    let unsupported = || Error::Unsupported {
        op: OP,
        argument: "q",
        what: "head_dim",
        got: d.to_string(),
        supported: "64, 128, 256",
    };
    let chosen = INSTANCES.iter().find(|instance| (instance.dtype, instance.d) == (problem.dtype, d));
    let chosen = chosen.ok_or_else(unsupported)?;
    if chosen.shared_bytes > limits.shared_bytes_per_block {
        return Err(Error::SharedMemory {
            op: OP,
            instance: chosen.name,
            needed: chosen.shared_bytes,
            available: limits.shared_bytes_per_block,
        });
    }
    let num_query_tiles = s_q.div_ceil(chosen.block_m);
    let blocks = num_query_tiles as u128 * b as u128 * h_q as u128;
    let limit = i32::MAX as u64;
    if blocks > u128::from(limit) {
        let got = u64::try_from(blocks).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got, limit });
    }
    let launch = chosen.launch(blocks as u32);
    let (block_m, block_n) = (chosen.block_m, chosen.block_n);
    let resources = resources(problem, block_m, block_n);
    Ok(Plan { launch, block_m, block_n, num_query_tiles, resources })
}

/// Work and traffic; `lse` is counted as written.
///
/// A block reads its queries once and the keys and values of every tile that it visits; a block that sees no key
/// reads nothing.
fn resources(problem: &Problem, block_m: usize, block_n: usize) -> Resources {
    let Shape { b, s_q, s_k, h_q, h_kv, d } = problem.shape;
    let heads = (b * h_q) as f64;
    let row_bytes = (d * problem.dtype.size_bytes()) as f64;
    let output_bytes = heads * s_q as f64 * (row_bytes + 4.0);
    let needed = (b * s_q * h_q + 2 * b * s_k * h_kv) as f64 * row_bytes + output_bytes;
    let rows_read: usize = (0..s_q)
        .step_by(block_m)
        .map(|first| {
            let end = (first + block_m).min(s_q);
            match keys_read(problem, first, end - 1, block_n) {
                0 => 0,
                keys => end - first + 2 * keys,
            }
        })
        .sum();
    Resources {
        flops: Some(4.0 * heads * problem.visible_pairs() as f64 * d as f64),
        bytes_needed: Some(needed),
        bytes_moved: Some(heads * rows_read as f64 * row_bytes + output_bytes),
        peak_bytes: Some(needed),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    }
}

/// Keys that the block of queries `first ..= last` reads: whole tiles, up to the last key.
fn keys_read(problem: &Problem, first: usize, last: usize, block_n: usize) -> usize {
    let (start, end) = (problem.visible_keys(first).start, problem.visible_keys(last).end);
    if start >= end {
        return 0;
    }
    end.next_multiple_of(block_n).min(problem.shape.s_k) - start / block_n * block_n
}
