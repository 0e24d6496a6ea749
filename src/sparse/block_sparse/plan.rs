//! The plan of a launch: pure data.

use super::{OP, Problem};
use crate::attention::flash_forward::Shape;
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
    /// Blocks of queries in a sequence; in the longest.
    pub num_row_tiles: usize,
    /// What it costs.
    pub resources: Resources,
}

/// What a block keeps in shared memory beside its tiles: its mask, and where its list begins.
const BLOCK_BYTES: usize = 16 + 16;
const THREADS: u32 = 128;

/// An instance of the kernel: what decides tiling and shared memory.
#[derive(Clone, Copy)]
struct Instance {
    name: &'static str,
    dtype: DType,
    d: usize,
    d_v: usize,
    block_m: usize,
    block_n: usize,
    shared_bytes: u32,
}

const fn instance(name: &'static str, dtype: DType, [d, d_v]: [usize; 2], [block_m, block_n]: [usize; 2]) -> Instance {
    let shared_bytes = ((block_m * d + block_n * (d + d_v)) * dtype.size_bytes() + BLOCK_BYTES) as u32;
    Instance { name, dtype, d, d_v, block_m, block_n, shared_bytes }
}

impl Instance {
    fn launch(&self, blocks: u32) -> LaunchPlan {
        LaunchPlan {
            op: OP,
            instance: self.name,
            grid: [blocks, 1, 1],
            block: [THREADS, 1, 1],
            shared_bytes: self.shared_bytes,
            workspace_bytes: 0,
        }
    }
}

/// The instances at the end of `kernels/sparse/block_sparse.cu`: of each type and head dimensions first those of
/// `attention/flash_forward`, then those for small tiles.
const INSTANCES: [Instance; 14] = [
    instance("block_sparse_f16_d64_128x128", DType::F16, [64, 64], [128, 128]),
    instance("block_sparse_f16_d64_64x64", DType::F16, [64, 64], [64, 64]),
    instance("block_sparse_f16_d128_128x64", DType::F16, [128, 128], [128, 64]),
    instance("block_sparse_f16_d128_64x64", DType::F16, [128, 128], [64, 64]),
    instance("block_sparse_f16_d192_128_128x64", DType::F16, [192, 128], [128, 64]),
    instance("block_sparse_f16_d192_128_64x64", DType::F16, [192, 128], [64, 64]),
    instance("block_sparse_f16_d256_64x32", DType::F16, [256, 256], [64, 32]),
    instance("block_sparse_bf16_d64_128x128", DType::BF16, [64, 64], [128, 128]),
    instance("block_sparse_bf16_d64_64x64", DType::BF16, [64, 64], [64, 64]),
    instance("block_sparse_bf16_d128_128x64", DType::BF16, [128, 128], [128, 64]),
    instance("block_sparse_bf16_d128_64x64", DType::BF16, [128, 128], [64, 64]),
    instance("block_sparse_bf16_d192_128_128x64", DType::BF16, [192, 128], [128, 64]),
    instance("block_sparse_bf16_d192_128_64x64", DType::BF16, [192, 128], [64, 64]),
    instance("block_sparse_bf16_d256_64x32", DType::BF16, [256, 256], [64, 32]),
];

/// One block of each instance that fits the chip's shared memory.
#[cfg(feature = "verify")]
pub(crate) fn launches(limits: &Limits) -> Vec<LaunchPlan> {
    let fits = |instance: &&Instance| instance.shared_bytes <= limits.shared_bytes_per_block;
    INSTANCES.iter().filter(fits).map(|instance| instance.launch(1)).collect()
}

/// Chooses the instance, the largest whose blocks fit the layout's tiles, and the grid.
///
/// # Errors
/// No instance of this type and these head dimensions, none that fits the chip's shared memory, or more blocks than a
/// grid holds.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let Shape { b, s_q, h_q, d, d_v, .. } = problem.attention.shape;
    let grid = problem.layout.grid;
    let fits = |instance: &&Instance| {
        let tiles = grid.tile_q().is_multiple_of(instance.block_m) && grid.tile_k().is_multiple_of(instance.block_n);
        instance.dtype == problem.attention.dtype && [instance.d, instance.d_v] == [d, d_v] && tiles
    };
    let Some(chosen) = INSTANCES.iter().find(fits) else {
        let (argument, what, got) = ("q", "head_dim", d.to_string());
        return Err(Error::Unsupported { op: OP, argument, what, got, supported: "64, 128, 192, 256" });
    };
    let (needed, available) = (chosen.shared_bytes, limits.shared_bytes_per_block);
    if needed > available {
        return Err(Error::SharedMemory { op: OP, instance: chosen.name, needed, available });
    }
    let num_row_tiles = s_q.div_ceil(chosen.block_m);
    let blocks = num_row_tiles as u128 * b as u128 * h_q as u128;
    let limit = i32::MAX as u64;
    if blocks > u128::from(limit) {
        let got = u64::try_from(blocks).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got, limit });
    }
    let (block_m, block_n) = (chosen.block_m, chosen.block_n);
    let launch = chosen.launch(blocks as u32);
    Ok(Plan { launch, block_m, block_n, num_row_tiles, resources: resources(problem, block_m) })
}

/// Work and traffic; `lse` is counted as written. Unknown of a layout, or lengths, that lie on the device alone.
///
/// A block reads its rows of q once and the keys and values of every tile that it visits; a block that visits none reads
/// nothing. What it reads of the layout is a few words a tile, and not counted.
fn resources(problem: &Problem, block_m: usize) -> Resources {
    let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = problem.attention.shape;
    let [queries, keys] = problem.attention.totals.unwrap_or([b * s_q, b * s_k]).map(|positions| positions as f64);
    let element = problem.attention.dtype.size_bytes() as f64;
    let output_bytes = queries * h_q as f64 * (d_v as f64 * element + 4.0);
    let needed = (queries * (h_q * d) as f64 + keys * (h_kv * (d + d_v)) as f64) * element + output_bytes;
    let work = problem.work();
    let moved = work.map(|work| {
        let keys_read = work.keys[usize::from(block_m == 128)];
        (work.queries as f64 * d as f64 + keys_read as f64 * (d + d_v) as f64) * element + output_bytes
    });
    Resources {
        flops: work.map(|work| 2.0 * work.pairs as f64 * (d + d_v) as f64),
        bytes_needed: Some(needed),
        bytes_moved: moved,
        peak_bytes: Some(needed),
        workspace_bytes: Some(0.0),
        ..Resources::default()
    }
}
