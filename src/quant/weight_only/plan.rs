//! The plan of the launches: pure data.

use super::{OP, Problem};
use crate::quant::{Codes, Shares};
use crate::{DType, Error, LaunchPlan, Limits, Resources, Result};

/// Planned launches, in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Columns of the activations into the order of the weights', if they are in another and rows are many.
    pub permute: Option<LaunchPlan>,
    /// The product.
    pub multiply: LaunchPlan,
    /// The sum over splits of k, or over parts of tiles that blocks share, if there are such.
    pub finish: Option<LaunchPlan>,
    /// Rows of the result that a thread block computes.
    pub rows: usize,
    /// And columns.
    pub columns: usize,
    /// Splits of k, of few rows.
    pub num_splits: usize,
    /// Chunks of 64 columns of a split, but of the last.
    pub split_chunks: usize,
    /// Which blocks compute which tiles, of many rows.
    pub shares: Shares,
    /// Where in the workspace what lies.
    pub workspace: Workspace,
    /// What it costs.
    pub resources: Resources,
}

/// Places in the workspace, in bytes from its start: permuted activations come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workspace {
    /// Results of splits, f32 `[splits, m, n]`; of many rows partial sums of tiles.
    pub partials: usize,
    /// All of it.
    pub bytes: usize,
}

/// Threads of the kernels that permute and finish; a thread has 8 elements or one.
const SIDE_THREADS: u32 = 128;

/// An instance of `kernels/quant/weight_only.cu`.
#[derive(Clone, Copy, Debug)]
struct Tile {
    instance: &'static str,
    /// What adds up sums of shared tiles, and its blocks for each.
    add: (&'static str, usize),
    rows: usize,
    columns: usize,
    threads: u32,
    /// Shared memory that a launch asks for.
    shared_bytes: usize,
}

/// Threads of the kernels for many rows.
const MATRIX_THREADS: u32 = 256;
/// Columns of k of a unit of a shared tile.
const UNIT_DEPTH: usize = 128;
/// float4 of partial sums that a thread adds up.
const ADD_QUADS: usize = 2;
/// What sharing costs, in units' time.
const SHARING_COST: usize = 3;

/// Most rows of activations of the kernel for few.
const VECTOR_ROWS: usize = 8;
/// Most rows of activations of the kernels that split k.
const SPLIT_ROWS: usize = 32;

macro_rules! names {
    ($codes:literal, $dtype:literal) => {
        [
            concat!("weight_only_vector_", $codes, "_", $dtype),
            concat!("weight_only_rows16_", $codes, "_", $dtype),
            concat!("weight_only_rows32_", $codes, "_", $dtype),
            concat!("weight_only_rows64_", $codes, "_", $dtype),
            concat!("weight_only_rows128_", $codes, "_", $dtype),
        ]
    };
}

fn tile(problem: &Problem) -> Tile {
    let names = match (problem.format.codes, problem.x_dtype) {
        (Codes::Int4, DType::BF16) => names!("int4", "bf16"),
        (Codes::Int4, _) => names!("int4", "f16"),
        (Codes::Int8, DType::BF16) => names!("int8", "bf16"),
        (Codes::Int8, _) => names!("int8", "f16"),
        (Codes::Nf4, DType::BF16) => names!("nf4", "bf16"),
        (Codes::Nf4, _) => names!("nf4", "f16"),
    };
    if problem.m <= VECTOR_ROWS {
        return Tile { instance: names[0], add: ("", 0), rows: 8, columns: 32, threads: 128, shared_bytes: 0 };
    }
    if problem.m <= SPLIT_ROWS {
        return dozens_tile(problem, if problem.m <= 16 { names[1] } else { names[2] });
    }
    // The numbers of `GroupedTile` in `kernels/quant/weight_only_matrix_load.cuh`.
    let wide = problem.format.codes.bits() < 8;
    let (instance, add, [rows, columns], teams, stages) = match problem.m {
        33..=64 if wide => (names[3], "weight_only_add_64x256", [64, 256], 2, 3),
        33..=64 => (names[3], "weight_only_add_64x128", [64, 128], 2, 3),
        _ if wide => (names[4], "weight_only_add_128x256", [128, 256], 1, 4),
        _ => (names[4], "weight_only_add_128x128", [128, 128], 1, 4),
    };
    // Activations; at the end the sums that teams give each other.
    let quads = rows * columns / 4 / MATRIX_THREADS as usize;
    let sums = if teams == 2 { rows * columns * 4 } else { 0 };
    let shared_bytes = (stages * teams * rows * 128).max(sums) + MATRIX_THREADS as usize * 16;
    Tile { instance, add: (add, quads / ADD_QUADS), rows, columns, threads: MATRIX_THREADS, shared_bytes }
}

/// Of the kernels for up to 32 rows: the numbers of `DozensTile` in `kernels/quant/weight_only_dozens_load.cuh`.
fn dozens_tile(problem: &Problem, instance: &'static str) -> Tile {
    let (rows, columns, teams) = (if problem.m <= 16 { 16 } else { 32 }, 128, 2);
    // 8 tiles: their codes, scales of two groups and zero-points; 128 bytes of each row of activations. At the end sums.
    let stage = 8 * (16 * 64 * problem.format.codes.bits() / 8 + 2 * 32 + 2 * 16) + rows * 128;
    let stages = if 4 * teams * stage <= 99 * 1024 { 4 } else { 3 };
    let shared_bytes = (stages * teams * stage).max(rows * (columns + 4) * 4);
    Tile { instance, add: ("", 0), rows, columns, threads: MATRIX_THREADS, shared_bytes }
}

fn launch(instance: &'static str, grid: [u32; 3], threads: u32, shared_bytes: usize, workspace: usize) -> LaunchPlan {
    let shared_bytes = shared_bytes as u32;
    LaunchPlan { op: OP, instance, grid, block: [threads, 1, 1], shared_bytes, workspace_bytes: workspace }
}

/// One block of each instance.
#[cfg(feature = "verify")]
pub(crate) fn launches(limits: &Limits) -> Vec<LaunchPlan> {
    let product = |(codes, x_dtype, m)| {
        let format = crate::quant::GroupedFormat { codes, n: 32, k: 256, group: 128 };
        let (has_zeros, permuted, bias_dtype, y_dtype) = (false, false, None, x_dtype);
        let problem = Problem { format, has_zeros, permuted, m, x_dtype, bias_dtype, y_dtype };
        plan(&problem, limits).ok().map(|plan| plan.multiply)
    };
    let kinds = |(codes, dtype)| [1, 16, 32, 64, 128].map(|m| (codes, dtype, m));
    let types = |codes| [DType::F16, DType::BF16].map(|dtype| (codes, dtype));
    let products = Codes::ALL.into_iter().flat_map(types).flat_map(kinds).filter_map(product);
    let side = ["weight_only_permute", "weight_only_finish"].map(|instance| (instance, SIDE_THREADS));
    let add =
        ["weight_only_add_64x256", "weight_only_add_128x256", "weight_only_add_64x128", "weight_only_add_128x128"];
    let others = side.into_iter().chain(add.map(|instance| (instance, MATRIX_THREADS)));
    others.map(|(instance, threads)| launch(instance, [1; 3], threads, 0, 0)).chain(products).collect()
}

/// Chooses the instance, the splits and the grids.
///
/// # Errors
/// More shared memory than the chip has, or more blocks than a grid holds.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    problem.check_sizes()?;
    let (m, n, k) = (problem.m, problem.format.n, problem.format.k);
    let tile = tile(problem);
    if tile.shared_bytes > limits.shared_bytes_per_block as usize {
        let (needed, available) = (tile.shared_bytes as u32, limits.shared_bytes_per_block);
        return Err(Error::SharedMemory { op: OP, instance: tile.instance, needed, available });
    }
    let tiles = grid_size(m.div_ceil(tile.rows) as u128 * n.div_ceil(tile.columns) as u128)?;
    let places = limits.multiprocessors.max(1) as usize;
    let few = m <= SPLIT_ROWS;
    let (num_splits, split_chunks) = if few { splits(problem, &tile, tiles as usize, places) } else { (1, 0) };
    let units = k.div_ceil(UNIT_DEPTH);
    let shares = if few { Shares::none(0) } else { Shares::new(tiles as usize, units, places, SHARING_COST) };

    let permutes = problem.permuted && m > VECTOR_ROWS;
    let permuted_bytes = if permutes { m * k * 2 } else { 0 };
    let partials = permuted_bytes.next_multiple_of(16);
    let split_bytes = if num_splits > 1 { num_splits * m * n * 4 } else { 0 };
    let partial_bytes = split_bytes + shares.partial_bytes(tile.rows * tile.columns);
    let workspace = Workspace { partials, bytes: partials + partial_bytes };
    let side = |instance, threads: u128| {
        let blocks = grid_size(threads.div_ceil(SIDE_THREADS.into()))?;
        Ok(launch(instance, [blocks, 1, 1], SIDE_THREADS, 0, workspace.bytes))
    };
    let permute = permutes.then(|| side("weight_only_permute", m as u128 * (k as u128 / 8)));
    let finish = if shares.shared_tiles > 0 {
        let (instance, blocks) = tile.add;
        let blocks = grid_size(blocks as u128 * shares.shared_tiles as u128)?;
        Some(launch(instance, [blocks, 1, 1], MATRIX_THREADS, 0, workspace.bytes))
    } else {
        (num_splits > 1).then(|| side("weight_only_finish", m as u128 * n as u128)).transpose()?
    };
    let grid = if few { [tiles, num_splits as u32, 1] } else { [shares.blocks as u32, 1, 1] };
    Ok(Plan {
        permute: permute.transpose()?,
        multiply: launch(tile.instance, grid, tile.threads, tile.shared_bytes, workspace.bytes),
        finish,
        rows: tile.rows,
        columns: tile.columns,
        num_splits,
        split_chunks,
        shares,
        workspace,
        resources: resources(problem, permuted_bytes, partial_bytes, workspace),
    })
}

fn grid_size(blocks: u128) -> Result<u32> {
    let limit = i32::MAX as u64;
    if blocks > u128::from(limit) {
        let got = u64::try_from(blocks).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got, limit });
    }
    Ok(blocks as u32)
}

/// Splits of k, so that every multiprocessor has work, and their chunks.
///
/// Few rows are bound by memory, and adding up costs a launch: only where there are fewer blocks than multiprocessors. Of
/// more the time is that of the multiprocessor with the most blocks; a split adds to each block the time of `rows / 24` chunks
/// for its sums' way to memory and back.
fn splits(problem: &Problem, tile: &Tile, blocks: usize, multiprocessors: usize) -> (usize, usize) {
    let chunks = problem.format.chunks();
    let split_chunks = |splits: usize| chunks.div_ceil(splits).next_multiple_of(2).max(2);
    let cost = |&splits: &usize| {
        let waves = (blocks * splits).div_ceil(multiprocessors);
        waves * (24 * split_chunks(splits) + if splits > 1 { tile.rows } else { 0 })
    };
    let best = if problem.m <= VECTOR_ROWS {
        if blocks < multiprocessors { (2 * multiprocessors / blocks.max(1)).min(chunks / 16) } else { 1 }
    } else {
        (1..=(chunks / 4).clamp(1, 16)).min_by_key(cost).unwrap_or(1)
    };
    let split_chunks = split_chunks(best.max(1));
    (chunks.div_ceil(split_chunks).max(1), split_chunks)
}

/// Work and traffic: everything once.
fn resources(problem: &Problem, permuted: usize, partials: usize, workspace: Workspace) -> Resources {
    let Problem { format, has_zeros, permuted: has_order, m, x_dtype, bias_dtype, y_dtype } = *problem;
    let [rows, columns, depth] = [m, format.n, format.k].map(|size| size as f64);
    let weights = format.code_bytes() + format.scales_len() * (2 + usize::from(has_zeros));
    let order = if has_order { depth * 4.0 } else { 0.0 };
    let bias = bias_dtype.map_or(0.0, |dtype| columns * dtype.size_bytes() as f64);
    let activations = rows * (depth * x_dtype.size_bytes() as f64 + columns * y_dtype.size_bytes() as f64);
    let needed = weights as f64 + order + bias + activations;
    Resources {
        flops: Some(2.0 * rows * columns * depth),
        bytes_needed: Some(needed),
        bytes_moved: Some(needed + 2.0 * (permuted + partials) as f64),
        peak_bytes: Some(needed + workspace.bytes as f64),
        workspace_bytes: Some(workspace.bytes as f64),
        ..Resources::default()
    }
}
