//! The plan of the launches: pure data.

use super::vector::MAX_VECTORS;
use super::{Activations, MatrixTile, OP, Problem, Shares, VectorTile};
use crate::{DType, Error, Format, LaunchPlan, Limits, Resources, Result};

/// Planned launches, in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Activations to integers of 8 bits, to bf16 or to f32, if they are to be such and are not.
    pub prepare: Option<LaunchPlan>,
    /// The product.
    pub multiply: LaunchPlan,
    /// Sums of the tiles that blocks share, if there are any.
    pub add: Option<LaunchPlan>,
    /// How it is shared out among blocks, where rows of activations are few.
    pub tile: Option<VectorTile>,
    /// And how where they are many.
    pub matrix: MatrixTile,
    /// Which blocks compute which tiles, where rows are many.
    pub shares: Shares,
    /// What activations are when they are multiplied: integers of 8 bits, rounded to bf16 as weights are, or as they were,
    /// perhaps in f32.
    pub elements: DType,
    /// Where in the workspace what lies.
    pub workspace: Workspace,
    /// What it costs.
    pub resources: Resources,
}

/// Places in the workspace, in bytes from its start: prepared activations come first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workspace {
    /// Scales of quantised activations, with the sums of their integers.
    pub scales: usize,
    /// Sums of tiles that blocks share.
    pub partial_sums: usize,
    /// All of it.
    pub bytes: usize,
}

/// Threads of the kernels that prepare activations; each takes 8 elements.
const PREPARE_THREADS: u32 = 128;
/// Threads of the kernel that adds up partial sums.
const ADD_THREADS: u32 = 256;
/// Columns of k of a unit of a shared tile: four steps.
const UNIT_DEPTH: usize = 256;
/// What sharing costs, in units' time.
const SHARING_COST: usize = 2;
/// Exact kernels take equal times, modelled on an A100, at so many rows of weights for each multiprocessor and 8 rows of
/// activations: that for few takes a time for each, that for many the time of a tile, however few of them there are.
const EXACT_ROWS: usize = 48;
/// A grid's second axis ends here.
const MAX_GRID_Y: usize = 65_535;

/// The names of a format's instances at the end of `kernels/quant/gguf.cu`.
struct Instances {
    /// One row of activations.
    one: &'static str,
    /// Few.
    quantised: &'static str,
    exact: &'static str,
    /// Many, of integers, of bf16 and exact.
    matrix: &'static str,
    dense: &'static str,
    exact_matrix: &'static str,
}

macro_rules! instances {
    ($format:literal) => {
        Instances {
            one: concat!("gguf_vector_q8_", $format),
            quantised: concat!("gguf_vectors_q8_", $format),
            exact: concat!("gguf_vectors_exact_", $format),
            matrix: concat!("gguf_matrix_", $format),
            dense: concat!("gguf_dense_", $format),
            exact_matrix: concat!("gguf_matrix_exact_", $format),
        }
    };
}

fn instances(format: Format) -> Instances {
    match format {
        Format::Q4_0 => instances!("q4_0"),
        Format::Q4_1 => instances!("q4_1"),
        Format::Q5_0 => instances!("q5_0"),
        Format::Q5_1 => instances!("q5_1"),
        Format::Q8_0 => instances!("q8_0"),
        Format::Q2K => instances!("q2_k"),
        Format::Q3K => instances!("q3_k"),
        Format::Q4K => instances!("q4_k"),
        Format::Q5K => instances!("q5_k"),
        Format::Q6K => instances!("q6_k"),
        Format::IQ4NL => instances!("iq4_nl"),
        Format::IQ4XS => instances!("iq4_xs"),
    }
}

fn launch(instance: &'static str, grid: [u32; 3], threads: u32, shared_bytes: usize, workspace: usize) -> LaunchPlan {
    let shared_bytes = u32::try_from(shared_bytes).unwrap_or(u32::MAX);
    LaunchPlan { op: OP, instance, grid, block: [threads, 1, 1], shared_bytes, workspace_bytes: workspace }
}

/// One block of each instance, for a row of 2048.
#[cfg(feature = "verify")]
pub(crate) fn launches(limits: &Limits) -> Vec<LaunchPlan> {
    let product = |(format, m, activations)| {
        let (x_dtype, y_dtype) = (crate::DType::F16, crate::DType::F32);
        let problem = Problem { format, m, n: 1, k: 2048, x_dtype, bias_dtype: None, y_dtype, activations };
        plan(&problem, limits).ok().map(|plan| plan.multiply)
    };
    let kinds = |format| {
        let quantised = [1, 2, 16, 256].map(|m| (format, m, Activations::Q8));
        quantised.into_iter().chain([1, 16].map(|m| (format, m, Activations::Exact)))
    };
    let products = Format::ALL.into_iter().flat_map(kinds).filter_map(product);
    let prepare =
        ["gguf_quantise", "gguf_round", "gguf_widen"].map(|instance| launch(instance, [1; 3], PREPARE_THREADS, 0, 0));
    let add = launch("gguf_dense_add", [1; 3], ADD_THREADS, 0, 0);
    prepare.into_iter().chain(products).chain([add]).collect()
}

/// Chooses the instances, the tiles and the grids.
///
/// # Errors
/// More shared memory than the chip has, or more blocks than a grid holds.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    problem.check_sizes()?;
    let vector = VectorTile::new(problem, limits);
    let fits = vector.shared_bytes <= limits.shared_bytes_per_block as usize;
    // Rows too long for shared memory are no obstacle to the kernel for many.
    let tile = (is_few(problem, limits) && fits).then_some(vector);
    let matrix = MatrixTile::new(problem, limits);
    let elements = match (&tile, problem.activations) {
        (Some(_), Activations::Exact) => problem.x_dtype,
        (Some(_), Activations::Q8) => DType::I8,
        (None, _) => matrix.elements,
    };
    let prepares = elements != problem.x_dtype;
    let tiles = problem.m.div_ceil(matrix.rows) * problem.n.div_ceil(matrix.columns);
    let shares = match (&tile, matrix.elements) {
        (None, DType::BF16) => {
            Shares::new(tiles, problem.k.div_ceil(UNIT_DEPTH), limits.multiprocessors as usize, SHARING_COST)
        }
        (None, _) => Shares::none(tiles),
        _ => Shares::none(0),
    };
    let workspace =
        workspace(prepares.then_some(elements), problem, shares.partial_bytes(matrix.rows * matrix.columns));
    let multiply = match &tile {
        Some(tile) => vector_launch(problem, tile, workspace)?,
        None => matrix_launch(problem, &matrix, &shares, workspace)?,
    };
    let add = (shares.shared_tiles > 0)
        .then(|| launch("gguf_dense_add", [16 * shares.shared_tiles as u32, 1, 1], ADD_THREADS, 0, workspace.bytes));
    let (needed, available) = (multiply.shared_bytes, limits.shared_bytes_per_block);
    if needed > available {
        return Err(Error::SharedMemory { op: OP, instance: multiply.instance, needed, available });
    }
    let prepare = if prepares && problem.k > 0 { Some(prepare_launch(problem, elements, workspace)?) } else { None };
    let resources = resources(problem, workspace);
    Ok(Plan { prepare, multiply, add, tile, matrix, shares, elements, workspace, resources })
}

/// Whether rows of activations are few.
fn is_few(problem: &Problem, limits: &Limits) -> bool {
    let passes = problem.m.div_ceil(MAX_VECTORS);
    let most = EXACT_ROWS * limits.multiprocessors as usize;
    passes <= 1 || problem.activations == Activations::Exact && passes * problem.n <= most
}

fn vector_launch(problem: &Problem, tile: &VectorTile, workspace: Workspace) -> Result<LaunchPlan> {
    let Problem { format, m, n, activations, .. } = *problem;
    let passes = m.div_ceil(tile.vectors_per_block.max(1));
    if passes > MAX_GRID_Y {
        let limit = (MAX_GRID_Y * tile.vectors_per_block) as u64;
        return Err(Error::TooLarge { op: OP, what: "m", got: m as u64, limit });
    }
    let names = instances(format);
    let instance = match activations {
        Activations::Q8 if tile.vectors_per_block == 1 => names.one,
        Activations::Q8 => names.quantised,
        Activations::Exact => names.exact,
    };
    let grid = [n.div_ceil(tile.rows_per_block()) as u32, passes as u32, 1];
    Ok(launch(instance, grid, 32 * tile.warps as u32, tile.shared_bytes, workspace.bytes))
}

fn matrix_launch(problem: &Problem, tile: &MatrixTile, shares: &Shares, workspace: Workspace) -> Result<LaunchPlan> {
    let blocks = shares.blocks as u64;
    let limit = i32::MAX as u64;
    if blocks > limit {
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got: blocks, limit });
    }
    let names = instances(problem.format);
    let instance = match tile.elements {
        DType::I8 => names.matrix,
        DType::BF16 => names.dense,
        _ => names.exact_matrix,
    };
    Ok(launch(instance, [blocks as u32, 1, 1], tile.threads, tile.shared_bytes, workspace.bytes))
}

fn prepare_launch(problem: &Problem, elements: DType, workspace: Workspace) -> Result<LaunchPlan> {
    let threads = problem.m as u128 * (problem.k as u128 / 8);
    let (blocks, limit) = (threads.div_ceil(PREPARE_THREADS.into()), i32::MAX as u64);
    if blocks > u128::from(limit) {
        let got = u64::try_from(blocks).unwrap_or(u64::MAX);
        return Err(Error::TooLarge { op: OP, what: "number of blocks", got, limit });
    }
    let instance = match elements {
        DType::I8 => "gguf_quantise",
        DType::BF16 => "gguf_round",
        _ => "gguf_widen",
    };
    Ok(launch(instance, [blocks as u32, 1, 1], PREPARE_THREADS, 0, workspace.bytes))
}

/// Of activations a byte for each element, and 8 bytes for each 32: 40 bytes for 32. Or 2 or 4 bytes for each. Then partial sums.
fn workspace(prepared: Option<DType>, problem: &Problem, partial_bytes: usize) -> Workspace {
    let scales = problem.m * problem.k * prepared.map_or(0, DType::size_bytes);
    let scale_bytes = if prepared == Some(DType::I8) { problem.m * (problem.k / 32) * 8 } else { 0 };
    let partial_sums = scales + scale_bytes;
    Workspace { scales, partial_sums, bytes: partial_sums + partial_bytes }
}

/// Work and traffic: everything once.
fn resources(problem: &Problem, workspace: Workspace) -> Resources {
    let Problem { format, m, n, k, x_dtype, y_dtype, bias_dtype, .. } = *problem;
    let [rows, columns, depth] = [m, n, k].map(|size| size as f64);
    let packed = columns * (problem.blocks_per_row() * format.block_bytes()) as f64;
    let bias = bias_dtype.map_or(0.0, |dtype| columns * dtype.size_bytes() as f64);
    let needed = packed + bias + rows * (depth * x_dtype.size_bytes() as f64 + columns * y_dtype.size_bytes() as f64);
    Resources {
        flops: Some(2.0 * rows * columns * depth),
        bytes_needed: Some(needed),
        bytes_moved: Some(needed + 2.0 * workspace.bytes as f64),
        peak_bytes: Some(needed + workspace.bytes as f64),
        workspace_bytes: Some(workspace.bytes as f64),
        ..Resources::default()
    }
}
