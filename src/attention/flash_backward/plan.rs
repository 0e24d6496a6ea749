//! The plan of the launches: pure data.

use super::problem::of_sizes;
use super::{OP, Options, Problem, Shape, Wanted};
use crate::{DType, Error, LaunchPlan, Limits, Resources, Result};

/// Planned launches, in their order. One that has nothing to do is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// lse and delta of every query; turns and ticket to 0.
    pub statistics: Option<LaunchPlan>,
    /// The products.
    pub main: Option<LaunchPlan>,
    /// Sums to `d_q`.
    pub finish_queries: Option<LaunchPlan>,
    /// Partial sums to `d_k` and to `d_v`, if blocks share the query heads of a key-value head.
    pub finish_keys: Option<[LaunchPlan; 2]>,
    /// Sums to `d_sinks`, if they are wanted.
    pub finish_sinks: Option<LaunchPlan>,
    /// Where in the workspace what lies.
    pub workspace: Workspace,
    /// Queries of a step of a block's loop.
    pub block_m: usize,
    /// Keys of a block.
    pub block_n: usize,
    /// Columns of a sum in the workspace.
    pub slab_d: usize,
    /// Tiles of queries in a sequence; in the longest.
    pub num_query_tiles: usize,
    /// Tiles of keys in a sequence; in the longest.
    pub num_key_tiles: usize,
    /// Tiles of queries in all sequences, of one head: room for as many.
    pub query_tiles: usize,
    /// Tiles of keys in all sequences, of one head: room for as many.
    pub key_tiles: usize,
    /// Blocks that share the query heads of a key-value head: each has a partial sum of `d_k` and `d_v`.
    pub num_parts: usize,
    /// Batches that a block goes through: all, if the bias's gradient is a sum over them, else 1.
    pub block_batches: usize,
    /// Likewise key-value heads.
    pub block_kv_heads: usize,
    /// What it costs.
    pub resources: Resources,
}

/// Places in the workspace, in bytes from its start, where the ticket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// lse and delta of every query.
    pub statistics: usize,
    /// How many blocks have added to each tile of `d_q`.
    pub turns: usize,
    /// Sums of `d_q`.
    pub d_q: usize,
    /// Partial sums of `d_k`: `num_parts` of them, if there is more than one part.
    pub d_k: usize,
    /// Partial sums of `d_v`, likewise.
    pub d_v: usize,
    /// Sums of `d_sinks`, one for each tile of queries.
    pub sinks: usize,
    /// All of it.
    pub bytes: usize,
}

/// An instance of the main kernel: what decides tiling and shared memory.
pub(super) struct Instance {
    name: &'static str,
    dtype: DType,
    /// Of a plain instance the head dimension, else the most that it may be.
    d: usize,
    features: bool,
    block_n: usize,
    threads: u32,
    /// Columns of `d_q` that a warp computes, or leaves out, together.
    pub(super) query_columns: usize,
    shared_bytes: u32,
}

/// Queries of a tile, and rows of a block of the kernel `statistics`.
const BLOCK_M: usize = 32;
const THREADS: u32 = 128;
/// A block's ticket, its keys and its head, in shared memory.
const BLOCK_BYTES: usize = 48;
/// Parts of the workspace begin at multiples of this.
const ALIGNMENT: usize = 128;

const fn instance(
    name: &'static str,
    dtype: DType,
    d: usize,
    block_n: usize,
    [key_warps, column_warps]: [usize; 2],
    stages: usize,
    features: bool,
) -> Instance {
    let warps = key_warps * column_warps;
    let (element, single) = (dtype.size_bytes(), matches!(dtype, DType::F32));
    let keys = 2 * block_n * d * element;
    let stage = 2 * BLOCK_M * d * element + BLOCK_M * 8;
    // Where two warps share the keys, powers go through shared memory as well; of f32 one after the other.
    let scores = if column_warps > 1 && !single { 2 } else { 1 } * block_n * BLOCK_M * element;
    // Addresses that a thread keeps there.
    let addresses = if single { 0 } else { warps * 32 * 16 };
    let shared_bytes = (keys + stages * stage + scores + addresses + BLOCK_BYTES) as u32;
    let query_columns = if single || features && d / warps > 32 { 32 } else { d / warps };
    Instance { name, dtype, d, features, block_n, threads: warps as u32 * 32, query_columns, shared_bytes }
}

/// The instances at the end of `kernels/attention/flash_backward.cu`; of those with features, smaller ones first.
const INSTANCES: [Instance; 15] = [
    instance("flash_backward_f16_d64", DType::F16, 64, 128, [4, 1], 2, false),
    instance("flash_backward_f16_d128", DType::F16, 128, 64, [4, 1], 2, false),
    instance("flash_backward_f16_d256", DType::F16, 256, 32, [2, 2], 1, false),
    instance("flash_backward_bf16_d64", DType::BF16, 64, 128, [4, 1], 2, false),
    instance("flash_backward_bf16_d128", DType::BF16, 128, 64, [4, 1], 2, false),
    instance("flash_backward_bf16_d256", DType::BF16, 256, 32, [2, 2], 1, false),
    instance("flash_backward_features_f16_d64", DType::F16, 64, 64, [4, 1], 2, true),
    instance("flash_backward_features_f16_d128", DType::F16, 128, 64, [4, 2], 2, true),
    instance("flash_backward_features_f16_d256", DType::F16, 256, 32, [2, 2], 1, true),
    instance("flash_backward_features_bf16_d64", DType::BF16, 64, 64, [4, 1], 2, true),
    instance("flash_backward_features_bf16_d128", DType::BF16, 128, 64, [4, 2], 2, true),
    instance("flash_backward_features_bf16_d256", DType::BF16, 256, 32, [2, 2], 1, true),
    instance("flash_backward_features_f32_d64", DType::F32, 64, 64, [2, 2], 2, true),
    instance("flash_backward_features_f32_d128", DType::F32, 128, 32, [2, 2], 1, true),
    instance("flash_backward_features_f32_d256", DType::F32, 256, 16, [1, 4], 1, true),
];

fn launch(instance: &'static str, blocks: u32, threads: u32, shared_bytes: u32, workspace_bytes: usize) -> LaunchPlan {
    LaunchPlan { op: OP, instance, grid: [blocks, 1, 1], block: [threads, 1, 1], shared_bytes, workspace_bytes }
}

/// One block of each instance that fits the chip's shared memory.
#[cfg(feature = "verify")]
pub(crate) fn launches(limits: &Limits) -> Vec<LaunchPlan> {
    let fits = |instance: &&Instance| instance.shared_bytes <= limits.shared_bytes_per_block;
    let main = INSTANCES.iter().filter(fits);
    let main = main.map(|instance| launch(instance.name, 1, instance.threads, instance.shared_bytes, 0));
    let ends = [DType::F16, DType::BF16, DType::F32].into_iter().flat_map(|dtype| [statistics(dtype), finish(dtype)]);
    main.chain(ends.map(|name| launch(name, 1, THREADS, 0, 0))).chain([launch(SINKS, 1, 32, 0, 0)]).collect()
}

fn statistics(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "flash_backward_statistics_f16",
        DType::BF16 => "flash_backward_statistics_bf16",
        _ => "flash_backward_statistics_f32",
    }
}

fn finish(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "flash_backward_finish_f16",
        DType::BF16 => "flash_backward_finish_bf16",
        _ => "flash_backward_finish_f32",
    }
}

const SINKS: &str = "flash_backward_sinks";

/// The plain instance of the head dimension, if there is one and no feature is asked for; else the smallest that fits.
pub(super) fn choose(problem: &Problem) -> Option<&'static Instance> {
    let Shape { d, d_v, .. } = problem.shape;
    let of_type = || INSTANCES.iter().filter(|instance| instance.dtype == problem.dtype);
    let plain = of_type().find(|instance| !instance.features && (instance.d, instance.d) == (d, d_v));
    plain.filter(|_| problem.is_plain()).or_else(|| of_type().find(|any| any.features && d.max(d_v) <= any.d))
}

/// Chooses the instance, the division of work and the grids.
///
/// # Errors
/// Head dimensions or an element type that no instance takes, no instance that fits the chip's shared memory, or more
/// blocks than a grid holds.
pub fn plan(problem: &Problem, wanted: Wanted, limits: &Limits) -> Result<Plan> {
    of_sizes(problem.dtype, problem.shape, &Options::default())?;
    let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = problem.shape;
    let dtype = problem.dtype;
    let unsupported = || Error::Unsupported {
        op: OP,
        argument: "q",
        what: "head_dim",
        got: d.to_string(),
        supported: "multiples of 8 up to 256",
    };
    let chosen = choose(problem).ok_or_else(unsupported)?;
    let (needed, available) = (chosen.shared_bytes, limits.shared_bytes_per_block);
    if needed > available {
        return Err(Error::SharedMemory { op: OP, instance: chosen.name, needed, available });
    }
    let block_n = chosen.block_n;
    let (num_query_tiles, num_key_tiles) = (s_q.div_ceil(BLOCK_M), s_k.div_ceil(block_n));
    let [query_tiles, key_tiles] = match problem.totals {
        Some([total_q, total_k]) => [total_q / BLOCK_M + b, total_k / block_n + b],
        None => [b * num_query_tiles, b * num_key_tiles],
    };
    // One block adds up what a broadcast bias gets from batches and heads.
    let bias = problem.bias.filter(|_| wanted.d_bias);
    let block_batches = if bias.is_some_and(|bias| bias.b == 1) { b.max(1) } else { 1 };
    let all_heads = bias.is_some_and(|bias| bias.h_q == 1);
    let block_kv_heads = if all_heads { h_kv.max(1) } else { 1 };
    let heads = (b / block_batches) * (h_kv / block_kv_heads);
    let num_parts = if all_heads { 1 } else { divide(problem, limits, heads * num_key_tiles, chosen) };

    let limit = i32::MAX as u64;
    let blocks = |what, counts: &[usize]| {
        let count = counts.iter().fold(1u128, |product, &count| product.saturating_mul(count as u128));
        let got = u64::try_from(count).unwrap_or(u64::MAX);
        if got > limit { Err(Error::TooLarge { op: OP, what, got, limit }) } else { Ok(got as u32) }
    };
    blocks("number of query tiles", &[h_q, query_tiles])?;
    let statistics_blocks = blocks("number of query tiles", &[b, h_q, num_query_tiles])?;
    let main_blocks = blocks("number of blocks", &[heads, num_parts, num_key_tiles])?;
    // Where there are no queries, one block still has the ticket to set.
    let statistics_blocks = statistics_blocks.max(main_blocks.min(1));
    // A warp sums 16 rows of 64 columns; a block has four.
    let sums = |s: usize, h: usize, d: usize| {
        blocks("number of row blocks", &[b, h, s.div_ceil(16), d.div_ceil(64)]).map(|count| count.div_ceil(4))
    };
    let query_sums = sums(s_q, h_q, d)?;
    let key_sums = if num_parts > 1 { [sums(s_k, h_kv, d)?, sums(s_k, h_kv, d_v)?] } else { [0; 2] };

    let mut plan = Plan {
        statistics: None,
        main: None,
        finish_queries: None,
        finish_keys: None,
        finish_sinks: None,
        workspace: Workspace { statistics: 0, turns: 0, d_q: 0, d_k: 0, d_v: 0, sinks: 0, bytes: 0 },
        block_m: BLOCK_M,
        block_n,
        slab_d: chosen.d,
        num_query_tiles,
        num_key_tiles,
        query_tiles,
        key_tiles,
        num_parts,
        block_batches,
        block_kv_heads,
        resources: Resources::default(),
    };
    plan.workspace = workspace(problem, &plan, wanted)?;
    let bytes = plan.workspace.bytes;
    let some = |name, count: u32, threads, shared| (count > 0).then(|| launch(name, count, threads, shared, bytes));
    plan.statistics = some(statistics(dtype), statistics_blocks, THREADS, 0);
    plan.main = some(chosen.name, main_blocks, chosen.threads, chosen.shared_bytes);
    plan.finish_queries = some(finish(dtype), query_sums, THREADS, 0);
    let finish_keys = key_sums.map(|count| some(finish(dtype), count, THREADS, 0));
    plan.finish_keys = finish_keys[0].zip(finish_keys[1]).map(|(keys, values)| [keys, values]);
    plan.finish_sinks = some(SINKS, if wanted.d_sinks { h_q as u32 } else { 0 }, 32, 0);
    plan.resources = super::resources::resources(problem, &plan, wanted, chosen);
    Ok(plan)
}

/// Into how many parts the query heads of a key-value head fall, where there are `tiles` tiles of keys in all heads: as
/// many as fill the chip.
fn divide(problem: &Problem, limits: &Limits, tiles: usize, chosen: &Instance) -> usize {
    let Shape { h_q, h_kv, .. } = problem.shape;
    let fits_twice = 2 * chosen.shared_bytes <= limits.shared_bytes_per_block && chosen.threads <= THREADS;
    let wanted = limits.multiprocessors as usize * if fits_twice { 2 } else { 1 };
    let group = h_q.checked_div(h_kv).unwrap_or(0).max(1);
    let parts = || (1..=group).filter(|parts| group.is_multiple_of(*parts));
    parts().find(|parts| tiles * parts >= wanted).unwrap_or(group)
}

fn workspace(problem: &Problem, plan: &Plan, wanted: Wanted) -> Result<Workspace> {
    let Shape { b, h_q, h_kv, .. } = problem.shape;
    let mut end = 0u128;
    let mut place = |factors: &[usize]| {
        let start = end;
        let bytes = factors.iter().fold(1u128, |product, &x| product.saturating_mul(x as u128));
        end = start.saturating_add(bytes.checked_next_multiple_of(ALIGNMENT as u128).unwrap_or(u128::MAX));
        start as usize
    };
    // The ticket.
    place(&[4]);
    let statistics = place(&[h_q, plan.query_tiles, BLOCK_M, 8]);
    let turns = place(&[h_q, plan.query_tiles, 4]);
    let d_q = place(&[h_q, plan.query_tiles, BLOCK_M, plan.slab_d, 4]);
    let parts = if plan.num_parts > 1 { plan.num_parts } else { 0 };
    let keys = [parts, h_kv, plan.key_tiles, plan.block_n, plan.slab_d, 4];
    let (d_k, d_v) = (place(&keys), place(&keys));
    let sinks = place(&[if wanted.d_sinks { 4 } else { 0 }, h_q, b, plan.num_query_tiles]);
    let limit = isize::MAX as u64;
    if end > u128::from(limit) {
        let got = u64::try_from(end).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "workspace in bytes", got, limit });
    }
    Ok(Workspace { statistics, turns, d_q, d_k, d_v, sinks, bytes: end as usize })
}
