//! The plan of the launches: pure data.

use super::problem::check_features;
use super::{OP, Problem, Shape};
use crate::{DType, Error, LaunchPlan, Limits, Resources, Result};

/// Planned launches, in their order. One that has nothing to do is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// lse and delta of every query.
    pub statistics: Option<LaunchPlan>,
    /// The products.
    pub main: Option<LaunchPlan>,
    /// Partial sums to `d_q`.
    pub finish_queries: Option<LaunchPlan>,
    /// Partial sums to `d_k` and to `d_v`: two launches, if blocks share the query heads of a key-value head.
    pub finish_keys: Option<LaunchPlan>,
    /// Where in the workspace what lies.
    pub workspace: Workspace,
    /// Queries of a step of a block's loop.
    pub block_m: usize,
    /// Keys of a block.
    pub block_n: usize,
    /// Tiles of queries in a sequence.
    pub num_query_tiles: usize,
    /// Tiles of keys in a sequence.
    pub num_key_tiles: usize,
    /// Blocks that share the key tiles of a head: each has a partial sum of `d_q`.
    pub num_splits: usize,
    /// Blocks that share the query heads of a key-value head: each has a partial sum of `d_k` and `d_v`.
    pub num_parts: usize,
    /// What it costs.
    pub resources: Resources,
}

/// Places in the workspace, in bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Partial sums of `d_q`: `num_splits` slabs.
    pub d_q: usize,
    /// Partial sums of `d_k`: `num_parts` slabs, if there is more than one part.
    pub d_k: usize,
    /// Partial sums of `d_v`, likewise.
    pub d_v: usize,
    /// All of it.
    pub bytes: usize,
}

/// An instance of the main kernel: what decides tiling and shared memory.
struct Instance {
    name: &'static str,
    dtype: DType,
    d: usize,
    block_n: usize,
    shared_bytes: u32,
}

/// Queries of a tile, and rows of a block of the kernel `statistics`.
const BLOCK_M: usize = 32;
const THREADS: u32 = 128;
/// A grid's second and third axis end here.
const MAX_SPLITS: usize = 65_535;

const fn instance(name: &'static str, dtype: DType, d: usize, block_n: usize, stages: usize) -> Instance {
    let keys = 2 * block_n * d * 2;
    let stage = 2 * BLOCK_M * d * 2 + BLOCK_M * 8;
    // Where two warps share the keys, powers go through shared memory as well.
    let scores = if d > 128 { 2 } else { 1 } * block_n * BLOCK_M * 2;
    let shared_bytes = (keys + stages * stage + scores + THREADS as usize * 16) as u32;
    Instance { name, dtype, d, block_n, shared_bytes }
}

/// The instances at the end of `kernels/attention/flash_backward.cu`.
const INSTANCES: [Instance; 6] = [
    instance("flash_backward_f16_d64", DType::F16, 64, 128, 2),
    instance("flash_backward_f16_d128", DType::F16, 128, 64, 2),
    instance("flash_backward_f16_d256", DType::F16, 256, 32, 1),
    instance("flash_backward_bf16_d64", DType::BF16, 64, 128, 2),
    instance("flash_backward_bf16_d128", DType::BF16, 128, 64, 2),
    instance("flash_backward_bf16_d256", DType::BF16, 256, 32, 1),
];

fn launch(instance: &'static str, grid: [u32; 3], shared_bytes: u32, workspace_bytes: usize) -> LaunchPlan {
    LaunchPlan { op: OP, instance, grid, block: [THREADS, 1, 1], shared_bytes, workspace_bytes }
}

/// One block of each instance that fits the chip's shared memory.
#[cfg(feature = "verify")]
pub(crate) fn launches(limits: &Limits) -> Vec<LaunchPlan> {
    let fits = |instance: &&Instance| instance.shared_bytes <= limits.shared_bytes_per_block;
    let main = INSTANCES.iter().filter(fits).map(|instance| launch(instance.name, [1; 3], instance.shared_bytes, 0));
    let ends = [DType::F16, DType::BF16].into_iter().flat_map(|dtype| [statistics(dtype), finish(dtype)]);
    main.chain(ends.map(|name| launch(name, [1; 3], 0, 0))).collect()
}

fn statistics(dtype: DType) -> &'static str {
    if dtype == DType::F16 { "flash_backward_statistics_f16" } else { "flash_backward_statistics_bf16" }
}

fn finish(dtype: DType) -> &'static str {
    if dtype == DType::F16 { "flash_backward_finish_f16" } else { "flash_backward_finish_bf16" }
}

/// Chooses the instance, the division of work and the grids.
///
/// # Errors
/// Something in the problem that only the forward pass takes, no instance that fits the chip's shared memory, or more
/// blocks than a grid holds.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    check_features(problem)?;
    let Shape { b, s_q, s_k, h_q, h_kv, d, .. } = problem.shape;
    let dtype = problem.dtype;
    let unsupported = || Error::Unsupported {
        op: OP,
        argument: "q",
        what: "head_dim",
        got: d.to_string(),
        supported: "64, 128, 256",
    };
    let chosen = INSTANCES.iter().find(|instance| (instance.dtype, instance.d) == (dtype, d));
    let chosen = chosen.ok_or_else(unsupported)?;
    let (needed, available) = (chosen.shared_bytes, limits.shared_bytes_per_block);
    if needed > available {
        return Err(Error::SharedMemory { op: OP, instance: chosen.name, needed, available });
    }
    let block_n = chosen.block_n;
    let (num_query_tiles, num_key_tiles) = (s_q.div_ceil(BLOCK_M), s_k.div_ceil(block_n));
    let (num_parts, num_splits) = divide(problem, limits, num_key_tiles, chosen.shared_bytes);

    let limit = i32::MAX as u64;
    let blocks = |what, counts: &[usize]| {
        let count = counts.iter().fold(1u128, |product, &count| product.saturating_mul(count as u128));
        let got = u64::try_from(count).unwrap_or(u64::MAX);
        if got > limit { Err(Error::TooLarge { op: OP, what, got, limit }) } else { Ok(got as u32) }
    };
    let statistics_blocks = blocks("number of query tiles", &[b, h_q, num_query_tiles])?;
    let main_blocks = if s_k == 0 { 0 } else { blocks("number of blocks", &[b, h_kv])? };
    // A warp sums 16 rows of 64 columns; a block has four.
    let sums = |s: usize, h| blocks("number of row blocks", &[b, h, s.div_ceil(16), d / 64]).map(|n| n.div_ceil(4));
    let (query_sums, key_sums) = (sums(s_q, h_q)?, if num_parts > 1 { sums(s_k, h_kv)? } else { 0 });
    let workspace = workspace(problem, num_query_tiles, num_key_tiles * block_n, num_splits, num_parts)?;

    let some =
        |instance, grid: [u32; 3], shared| (grid[0] > 0).then(|| launch(instance, grid, shared, workspace.bytes));
    let mut plan = Plan {
        statistics: some(statistics(dtype), [statistics_blocks, 1, 1], 0),
        main: some(chosen.name, [main_blocks, num_parts as u32, num_splits as u32], chosen.shared_bytes),
        finish_queries: some(finish(dtype), [query_sums, 1, 1], 0),
        finish_keys: some(finish(dtype), [key_sums, 1, 1], 0),
        workspace,
        block_m: BLOCK_M,
        block_n,
        num_query_tiles,
        num_key_tiles,
        num_splits,
        num_parts,
        resources: Resources::default(),
    };
    plan.resources = resources(problem, &plan);
    Ok(plan)
}

/// Into how many parts the query heads of a key-value head fall, and into how many splits its key tiles: as many as fill
/// the chip. Parts first: they cost two partial sums of k's size, where a split costs one of q's.
fn divide(problem: &Problem, limits: &Limits, num_key_tiles: usize, shared_bytes: u32) -> (usize, usize) {
    let Shape { b, h_q, h_kv, .. } = problem.shape;
    let per_multiprocessor = if 2 * shared_bytes <= limits.shared_bytes_per_block { 2 } else { 1 };
    let wanted = limits.multiprocessors as usize * per_multiprocessor;
    let heads = (b * h_kv).max(1);
    let group = h_q.checked_div(h_kv).unwrap_or(0).max(1);
    let parts = || (1..=group.min(MAX_SPLITS)).filter(|parts| group.is_multiple_of(*parts));
    let parts = parts().find(|parts| heads * parts >= wanted).or_else(|| parts().next_back()).unwrap_or(1);
    (parts, wanted.div_ceil(heads * parts).clamp(1, num_key_tiles.clamp(1, MAX_SPLITS)))
}

fn workspace(
    problem: &Problem,
    num_query_tiles: usize,
    keys: usize,
    num_splits: usize,
    num_parts: usize,
) -> Result<Workspace> {
    let Shape { b, h_q, h_kv, d, .. } = problem.shape;
    let product = |factors: &[usize]| factors.iter().fold(1u128, |product, &x| product.saturating_mul(x as u128));
    let queries = num_query_tiles * BLOCK_M;
    let statistics = product(&[b, h_q, queries, 8]);
    let d_q = product(&[num_splits, b, h_q, queries, d, 4]);
    let d_k = if num_parts > 1 { product(&[num_parts, b, h_kv, keys, d, 4]) } else { 0 };
    let bytes = statistics.saturating_add(d_q).saturating_add(d_k).saturating_add(d_k);
    let limit = isize::MAX as u64;
    if bytes > u128::from(limit) {
        let got = u64::try_from(bytes).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "workspace in bytes", got, limit });
    }
    let [statistics, d_q, d_k] = [statistics, d_q, d_k].map(|bytes| bytes as usize);
    let starts = [statistics, statistics + d_q, statistics + d_q + d_k];
    Ok(Workspace { d_q: starts[0], d_k: starts[1], d_v: starts[2], bytes: bytes as usize })
}

/// Work and traffic.
fn resources(problem: &Problem, plan: &Plan) -> Resources {
    let Shape { b, s_q, s_k, h_q, h_kv, d, .. } = problem.shape;
    let (heads, kv_heads) = ((b * h_q) as f64, (b * h_kv) as f64);
    let row_bytes = (d * problem.dtype.size_bytes()) as f64;
    let slab_row_bytes = (d * 4) as f64;
    // q, out, d_out and d_q; lse; k, v, d_k and d_v.
    let needed = heads * s_q as f64 * (4.0 * row_bytes + 4.0) + kv_heads * s_k as f64 * 4.0 * row_bytes;
    let moved = heads * query_traffic(problem, plan, row_bytes, slab_row_bytes)
        + kv_heads * key_traffic(problem, plan, row_bytes, slab_row_bytes);
    Resources {
        flops: problem.visible_pairs().map(|pairs| 10.0 * heads * pairs as f64 * d as f64),
        bytes_needed: Some(needed),
        bytes_moved: Some(moved),
        peak_bytes: Some(needed + plan.workspace.bytes as f64),
        workspace_bytes: Some(plan.workspace.bytes as f64),
        ..Resources::default()
    }
}

/// The queries, in whole tiles, that see the key tile `tile`: tiles.
fn query_tiles(problem: &Problem, plan: &Plan, tile: usize) -> std::ops::Range<usize> {
    let first = tile * plan.block_n;
    let queries = problem.visible_queries(first..(first + plan.block_n).min(problem.shape.s_k));
    if queries.is_empty() { 0..0 } else { queries.start / plan.block_m..queries.end.div_ceil(plan.block_m) }
}

/// Bytes moved for a query head: its statistics, its rows for every key tile, its partial sums.
fn query_traffic(problem: &Problem, plan: &Plan, row_bytes: f64, slab_row_bytes: f64) -> f64 {
    let s_q = problem.shape.s_q;
    let padded = (plan.num_query_tiles * plan.block_m) as f64;
    let statistics = s_q as f64 * (2.0 * row_bytes + 4.0) + padded * 8.0;
    let (mut rows, mut tiles, mut again) = (0, 0, 0);
    for tile in 0..plan.num_key_tiles {
        let visited = query_tiles(problem, plan, tile);
        rows += (visited.end * plan.block_m).min(s_q) - (visited.start * plan.block_m).min(s_q);
        tiles += visited.len();
        if let Some(before) = tile.checked_sub(plan.num_splits) {
            again += query_tiles(problem, plan, before).end.saturating_sub(visited.start).min(visited.len());
        }
    }
    let tile_rows = plan.block_m as f64;
    let main = 2.0 * rows as f64 * row_bytes
        + tiles as f64 * tile_rows * 8.0
        + (tiles + again) as f64 * tile_rows * slab_row_bytes;
    let slabs: usize = (0..s_q.div_ceil(16)).map(|block| slabs_of(problem, plan, block * 16)).sum();
    statistics + main + slabs as f64 * 16.0 * slab_row_bytes + s_q as f64 * row_bytes
}

/// Slabs that hold a partial sum of the tile of query `i`.
fn slabs_of(problem: &Problem, plan: &Plan, i: usize) -> usize {
    let first = i / plan.block_m * plan.block_m;
    let last = (first + plan.block_m).min(problem.shape.s_q) - 1;
    let (start, end) = (problem.visible_keys(first).start, problem.visible_keys(last).end);
    if start >= end { 0 } else { (end.div_ceil(plan.block_n) - start / plan.block_n).min(plan.num_splits) }
}

/// Bytes moved for a key-value head: its rows once a part, its gradients.
fn key_traffic(problem: &Problem, plan: &Plan, row_bytes: f64, slab_row_bytes: f64) -> f64 {
    let s_k = problem.shape.s_k;
    let (rows, parts) = (s_k as f64, plan.num_parts as f64);
    let has_queries = problem.shape.h_q > 0;
    let visited = |tile: &usize| has_queries && !query_tiles(problem, plan, *tile).is_empty();
    let read: usize =
        (0..plan.num_key_tiles).filter(visited).map(|tile| plan.block_n.min(s_k - tile * plan.block_n)).sum();
    let sums = if plan.num_parts > 1 {
        let padded = (plan.num_key_tiles * plan.block_n + s_k.next_multiple_of(16)) as f64;
        2.0 * parts * padded * slab_row_bytes
    } else {
        0.0
    };
    2.0 * parts * read as f64 * row_bytes + sums + 2.0 * rows * row_bytes
}
