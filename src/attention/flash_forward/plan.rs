//! The plan of a launch: pure data.

use super::{OP, Problem, Shape};
use crate::{DType, Error, LaunchPlan, Limits, Resources, Result};

/// A planned launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance, grid, block and memory.
    pub launch: LaunchPlan,
    /// Rows of scores of a block.
    pub block_m: usize,
    /// Keys of a step of a block's loop.
    pub block_n: usize,
    /// Query heads whose rows share a block: 1, or all `h_q / h_kv` that share keys and values.
    pub pack: usize,
    /// Blocks of rows in a sequence, for each `pack` heads.
    pub num_row_tiles: usize,
    /// What it costs.
    pub resources: Resources,
}

/// What a block keeps of its mask in shared memory.
const MASK_BYTES: usize = 16;

/// An instance of the kernel: what decides tiling and shared memory.
#[derive(Clone, Copy)]
struct Instance {
    name: &'static str,
    dtype: DType,
    /// Of a plain instance the head dimensions, else the most that they may be.
    d: usize,
    d_v: usize,
    features: bool,
    block_m: usize,
    block_n: usize,
    threads: u32,
    shared_bytes: u32,
}

const fn instance(
    name: &'static str,
    dtype: DType,
    [d, d_v]: [usize; 2],
    [block_m, block_n]: [usize; 2],
    features: bool,
) -> Instance {
    // One tile each of q, k and v, and the block's mask.
    let shared_bytes = ((block_m * d + block_n * (d + d_v)) * dtype.size_bytes() + MASK_BYTES) as u32;
    Instance { name, dtype, d, d_v, features, block_m, block_n, threads: 128, shared_bytes }
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

    /// Blocks of rows that the query heads of one key head take.
    fn row_tiles(&self, s_q: usize, group: usize, pack: usize) -> usize {
        (s_q * pack).div_ceil(self.block_m) * (group / pack)
    }
}

/// The instances at the end of `kernels/attention/flash_forward.cu`; of those with features, smaller ones first.
const INSTANCES: [Instance; 17] = [
    instance("flash_forward_f16_d64", DType::F16, [64, 64], [128, 128], false),
    instance("flash_forward_f16_d128", DType::F16, [128, 128], [128, 64], false),
    instance("flash_forward_f16_d192_128", DType::F16, [192, 128], [128, 64], false),
    instance("flash_forward_f16_d256", DType::F16, [256, 256], [64, 32], false),
    instance("flash_forward_bf16_d64", DType::BF16, [64, 64], [128, 128], false),
    instance("flash_forward_bf16_d128", DType::BF16, [128, 128], [128, 64], false),
    instance("flash_forward_bf16_d192_128", DType::BF16, [192, 128], [128, 64], false),
    instance("flash_forward_bf16_d256", DType::BF16, [256, 256], [64, 32], false),
    instance("flash_forward_features_f16_d64", DType::F16, [64, 64], [64, 64], true),
    instance("flash_forward_features_f16_d128", DType::F16, [128, 128], [64, 64], true),
    instance("flash_forward_features_f16_d256", DType::F16, [256, 256], [64, 32], true),
    instance("flash_forward_features_bf16_d64", DType::BF16, [64, 64], [64, 64], true),
    instance("flash_forward_features_bf16_d128", DType::BF16, [128, 128], [64, 64], true),
    instance("flash_forward_features_bf16_d256", DType::BF16, [256, 256], [64, 32], true),
    instance("flash_forward_features_f32_d64", DType::F32, [64, 64], [64, 64], true),
    instance("flash_forward_features_f32_d128", DType::F32, [128, 128], [64, 32], true),
    instance("flash_forward_features_f32_d256", DType::F32, [256, 256], [64, 16], true),
];

/// One block of each instance that fits the chip's shared memory.
#[cfg(feature = "verify")]
pub(crate) fn launches(limits: &Limits) -> Vec<LaunchPlan> {
    let fits = |instance: &&Instance| instance.shared_bytes <= limits.shared_bytes_per_block;
    INSTANCES.iter().filter(fits).map(|instance| instance.launch(1)).collect()
}

/// The instance, and how many heads share its blocks.
///
/// The plain instance of the head dimensions, if there is one and no feature is asked for. Where the query heads that
/// share keys need at most half as many blocks when their rows are packed together, they are: keys and values are then
/// read that much less often, and the instances with features can do it.
fn choose(problem: &Problem) -> Option<(&'static Instance, usize)> {
    let Shape { s_q, h_q, h_kv, d, d_v, .. } = problem.shape;
    let of_type = || INSTANCES.iter().filter(|instance| instance.dtype == problem.dtype);
    let any = of_type().find(|instance| instance.features && d.max(d_v) <= instance.d)?;
    let plain = of_type().find(|instance| !instance.features && (instance.d, instance.d_v) == (d, d_v));
    let plain = plain.filter(|_| problem.is_plain()).unwrap_or(any);
    let group = h_q.checked_div(h_kv).unwrap_or(1).max(1);
    let packs = group > 1 && 2 * any.row_tiles(s_q, group, group) <= plain.row_tiles(s_q, group, 1);
    Some(if packs { (any, group) } else { (plain, 1) })
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
        supported: "multiples of 8 up to 256",
    };
    let (chosen, pack) = choose(problem).ok_or_else(unsupported)?;
    if chosen.shared_bytes > limits.shared_bytes_per_block {
        return Err(Error::SharedMemory {
            op: OP,
            instance: chosen.name,
            needed: chosen.shared_bytes,
            available: limits.shared_bytes_per_block,
        });
    }
    let num_row_tiles = (s_q * pack).div_ceil(chosen.block_m);
    let blocks = num_row_tiles as u128 * b as u128 * (h_q / pack) as u128;
    let limit = i32::MAX as u64;
    if blocks > u128::from(limit) {
        let got = u64::try_from(blocks).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got, limit });
    }
    let launch = chosen.launch(blocks as u32);
    let (block_m, block_n) = (chosen.block_m, chosen.block_n);
    let resources = resources(problem, block_m, block_n, pack);
    Ok(Plan { launch, block_m, block_n, pack, num_row_tiles, resources })
}

/// Work and traffic; `lse` is counted as written. What depends on lengths, prefixes or masks in device memory is not
/// known.
///
/// A block reads its rows of q once and the keys and values of every tile that it visits, with the bias and the words
/// of the mask of its rows and those keys; a block that sees no key reads nothing.
fn resources(problem: &Problem, block_m: usize, block_n: usize, pack: usize) -> Resources {
    let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = problem.shape;
    let heads = (b * h_q) as f64;
    let [queries, keys] = problem.totals.unwrap_or([b * s_q, b * s_k]).map(|positions| positions as f64);
    let element = problem.dtype.size_bytes() as f64;
    let output_bytes = queries * h_q as f64 * (d_v as f64 * element + 4.0);
    let small = (if problem.sinks { 4 * h_q } else { 0 } + if problem.alibi { 4 * h_q } else { 0 }) as f64;
    let extras =
        [problem.bias, problem.mask_bits].iter().flatten().map(|extra| extra.bytes() as f64).sum::<f64>() + small;
    let rows = queries * (h_q * d) as f64 + keys * (h_kv * (d + d_v)) as f64;
    let needed = rows * element + output_bytes + extras;
    let pairs = problem.visible_pairs();
    // Bytes that one pair of a row and a visited key costs beside the tiles.
    let bias_element = problem.bias.map_or(0.0, |bias| bias.dtype.size_bytes() as f64);
    let moved = pairs.map(|_| {
        let bytes = |first: usize| {
            let end = (first + block_m).min(s_q * pack);
            let keys = keys_read(problem, first / pack, (end - 1) / pack, block_n);
            let rows = if keys > 0 { end - first } else { 0 };
            (rows * d + keys * (d + d_v)) as f64 * element + bias_element * (rows * keys) as f64
        };
        (0..s_q * pack).step_by(block_m).map(bytes).sum::<f64>() * heads / pack as f64 + output_bytes
    });
    Resources {
        flops: pairs.map(|pairs| 2.0 * heads * pairs as f64 * (d + d_v) as f64),
        bytes_needed: Some(needed),
        bytes_moved: moved,
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
