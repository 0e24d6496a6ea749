//! The plan of a launch: pure data.

use super::{OP, Problem, Shape};
use crate::attention::merge;
use crate::{DType, Error, LaunchPlan, Limits, Resources, Result};

/// A planned launch, and a second that merges its parts if there are several. Neither depends on the sequences' lengths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Instance, grid, block and memory.
    pub launch: LaunchPlan,
    /// The launch that merges the splits' results.
    pub merge: Option<LaunchPlan>,
    /// Keys of a tile.
    pub block_n: usize,
    /// Tiles of 16 rows of a block.
    pub row_tiles: usize,
    /// Blocks that the rows of a group of heads take: queries times the heads that share keys.
    pub num_row_blocks: usize,
    /// Parts of each sequence's visible keys, one block each.
    pub num_splits: usize,
    /// Tiles that a part has at least, as long as there are so many; later parts are empty then.
    pub least_tiles: usize,
    /// Bytes that [`Args::workspace`](super::Args::workspace) needs.
    pub workspace_bytes: usize,
}

/// An instance of the kernel.
#[derive(Clone, Copy)]
struct Instance {
    name: &'static str,
    dtype: DType,
    /// The largest head dimension.
    d: usize,
    eight_bit: bool,
    /// Keys of a tile.
    block_n: usize,
}

const fn instance(name: &'static str, dtype: DType, d: usize, eight_bit: bool) -> Instance {
    let row_bytes = if eight_bit { d } else { 2 * d };
    // Tiles of 16 KiB.
    let block_n = if row_bytes <= 128 { 128 } else { 16384 / row_bytes };
    Instance { name, dtype, d, eight_bit, block_n }
}

const THREADS: u32 = 128;
/// Rows of a row tile.
const ROWS: usize = 16;
const INSTANCES: [Instance; 12] = [
    instance("decode_f16_d64", DType::F16, 64, false),
    instance("decode_f16_d128", DType::F16, 128, false),
    instance("decode_f16_d256", DType::F16, 256, false),
    instance("decode_bf16_d64", DType::BF16, 64, false),
    instance("decode_bf16_d128", DType::BF16, 128, false),
    instance("decode_bf16_d256", DType::BF16, 256, false),
    instance("decode_f16_d64_8bit", DType::F16, 64, true),
    instance("decode_f16_d128_8bit", DType::F16, 128, true),
    instance("decode_f16_d256_8bit", DType::F16, 256, true),
    instance("decode_bf16_d64_8bit", DType::BF16, 64, true),
    instance("decode_bf16_d128_8bit", DType::BF16, 128, true),
    instance("decode_bf16_d256_8bit", DType::BF16, 256, true),
];

impl Instance {
    /// Two tiles each of keys and values, with their rows' offsets and scales, and the rows of q.
    fn shared_bytes(&self, row_tiles: usize) -> u32 {
        let (element, scales) = if self.eight_bit { (1, 4) } else { (2, 0) };
        let key = 4 * self.d * element + 2 * 16 + 4 * scales;
        (self.block_n * key + row_tiles * ROWS * self.d * 2) as u32
    }

    fn launch(&self, blocks: u32, row_tiles: usize, workspace_bytes: usize) -> LaunchPlan {
        LaunchPlan {
            op: OP,
            instance: self.name,
            grid: [blocks, 1, 1],
            block: [THREADS, 1, 1],
            shared_bytes: self.shared_bytes(row_tiles),
            workspace_bytes,
        }
    }
}

/// One block of each instance that fits the chip's shared memory, of one row tile.
#[cfg(feature = "verify")]
pub(crate) fn launches(limits: &Limits) -> Vec<LaunchPlan> {
    let fits = |instance: &&Instance| instance.shared_bytes(1) <= limits.shared_bytes_per_block;
    INSTANCES.iter().filter(fits).map(|instance| instance.launch(1, 1, 0)).collect()
}

/// Most parts: what a merge takes.
const MAX_SPLITS: usize = 256;
/// Blocks that a multiprocessor runs at once: what registers and most chips' shared memory allow.
const BLOCKS_PER_MULTIPROCESSOR: usize = 2;
/// A part's keys, where sequences may be so long: one long sequence in a batch of short ones is not to be one block's.
const LONG_SPLIT: usize = 8192;
/// A split's result, written and read again, costs at most one part in so many of the bytes of its keys and values.
const SPLIT_SHARE: usize = 80;

/// Chooses instance, splits and grid.
///
/// # Errors
/// No instance fits the chip's shared memory, more splits than a merge takes, or more blocks than a grid holds.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let Shape { b, s_q, h_q, h_kv, d, .. } = problem.shape;
    let eight_bit = problem.cache_dtype != problem.dtype;
    let fits =
        |instance: &&Instance| (instance.dtype, instance.eight_bit) == (problem.dtype, eight_bit) && d <= instance.d;
    let chosen = INSTANCES.iter().find(fits).ok_or_else(|| super::problem::head_dim(d, eight_bit))?;
    let group = h_q.checked_div(h_kv).unwrap_or(1);
    let rows = s_q * group;
    let row_tiles = [1, 2, 4].into_iter().find(|tiles| rows <= tiles * ROWS).unwrap_or(4);
    let num_row_blocks = rows.div_ceil(row_tiles * ROWS);

    let blocks_of_a_split = num_row_blocks as u128 * h_kv as u128 * b as u128;
    let visible = problem.most_visible_keys();
    let block_n = chosen.block_n;
    let (num_splits, least_tiles) = match problem.num_splits {
        Some(given) => (given.max(1), 1),
        None => {
            let element = problem.cache_dtype.size_bytes();
            let (part_bytes, key_bytes) = (rows * (d + 1) * 8, 2 * d * element + if eight_bit { 8 } else { 0 });
            let least_tiles = (part_bytes * SPLIT_SHARE).div_ceil(key_bytes * block_n);
            let least_tiles = least_tiles.clamp(1, visible.div_ceil(block_n).max(1));
            let slots = limits.multiprocessors as usize * BLOCKS_PER_MULTIPROCESSOR;
            let even = (slots as u128 / blocks_of_a_split.max(1)) as usize;
            let wanted = even.max(visible.div_ceil(LONG_SPLIT));
            (wanted.min(visible / (least_tiles * block_n)).clamp(1, MAX_SPLITS), least_tiles)
        }
    };
    if num_splits > MAX_SPLITS {
        return Err(Error::TooLarge { op: OP, what: "num_splits", got: num_splits as u64, limit: MAX_SPLITS as u64 });
    }
    let (blocks, limit) = (blocks_of_a_split * num_splits as u128, i32::MAX as u64);
    if blocks > u128::from(limit) {
        let got = u64::try_from(blocks).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got, limit });
    }
    let (mut merge, mut workspace_bytes) = (None, 0);
    if num_splits > 1 {
        let shape = merge::Shape { n: num_splits, b, s_q, h_q, d };
        merge = Some(merge::plan(&merge::Problem::new(DType::F32, problem.dtype, shape)?, limits)?.launch);
        workspace_bytes = num_splits * b * s_q * h_q * (d + 1) * 4;
    }
    let launch = chosen.launch(blocks as u32, row_tiles, workspace_bytes);
    let (needed, available) = (launch.shared_bytes, limits.shared_bytes_per_block);
    if needed > available {
        return Err(Error::SharedMemory { op: OP, instance: chosen.name, needed, available });
    }
    Ok(Plan { launch, merge, block_n, row_tiles, num_row_blocks, num_splits, least_tiles, workspace_bytes })
}

impl Plan {
    /// Work and traffic when the sequences have these lengths, which the plan does not depend on; `lse` is counted as
    /// written.
    pub fn resources(&self, problem: &Problem, lengths: &[usize]) -> Resources {
        let Shape { s_q, h_q, h_kv, d, page_size, .. } = problem.shape;
        let (mut pairs, mut keys, mut entries) = (0, 0, 0);
        for &length in lengths {
            let seen = |i| problem.visible_keys(length, i);
            pairs += (0..s_q).map(|i| seen(i).len()).sum::<usize>();
            let (begin, end) = (seen(0).start, seen(s_q.saturating_sub(1)).end);
            keys += end.saturating_sub(begin);
            if problem.pages_per_sequence.is_some() && begin < end {
                entries += end.div_ceil(page_size) - begin / page_size;
            }
        }
        let rows = (lengths.len() * s_q * h_q) as f64;
        let scales = if problem.cache_dtype == problem.dtype { 0 } else { 8 };
        let key_bytes = h_kv * (2 * d * problem.cache_dtype.size_bytes() + scales);
        let head_bytes = if problem.sinks { 4 * h_q } else { 0 } + if problem.alibi { 4 * h_q } else { 0 };
        let needed = (keys * key_bytes + entries * 4 + lengths.len() * 4 + head_bytes) as f64
            + rows * (2 * d * problem.dtype.size_bytes() + 4) as f64;
        Resources {
            flops: Some(4.0 * (pairs * h_q * d) as f64),
            bytes_needed: Some(needed),
            peak_bytes: Some(needed + self.workspace_bytes as f64),
            workspace_bytes: Some(self.workspace_bytes as f64),
            ..Resources::default()
        }
    }
}
