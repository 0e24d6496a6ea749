//! The plan of the launches: pure data.

use super::{DecayKind, OP, Problem, Shape};
use crate::scan::linear_recurrence::{self, DecayOf, FeatureMap, Instance, instance, plan_of};
use crate::{DType, Error, LaunchPlan, Limits, Resources, Result};

/// Planned launches, in their order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Features of q and k, if there is a feature map.
    pub features: Option<LaunchPlan>,
    /// The recurrences that give the gradients of q, of k and of v.
    pub sweeps: [linear_recurrence::Plan; 3],
    /// Behind the first of them, if there is a normaliser: divides by it, and gives its gradient.
    pub divide: Option<LaunchPlan>,
    /// Behind the others, likewise: adds its part to the gradients of k.
    pub add: Option<LaunchPlan>,
    /// Sums over the heads that share q and k.
    pub keys: Option<LaunchPlan>,
    /// Sums over steps to the gradient of the decays, if it is wanted.
    pub decays: Option<LaunchPlan>,
    /// Where in the workspace what lies.
    pub workspace: Workspace,
    /// What it costs.
    pub resources: Resources,
}

/// Places in the workspace, in bytes from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Workspace {
    /// Gradients of q of every head of the state, f32.
    pub d_q: usize,
    /// Likewise of k.
    pub d_k: usize,
    /// For each step and head `q d_q - k d_k`, if the gradient of the decays is wanted; with decays of channels, in the place
    /// of the gradients of q.
    pub differences: usize,
    /// The final state, if that has a gradient which the decays' needs.
    pub final_state: usize,
    /// What q and k are replaced by, of their types, if there is a feature map.
    pub q_features: usize,
    /// Likewise.
    pub k_features: usize,
    /// Queries and gradients of the result of every head of the state, whose products are those of both over the divisor, if there
    /// is a normaliser.
    pub q_weighed: usize,
    /// Likewise.
    pub d_out_weighed: usize,
    /// Gradients of the divisors, f32.
    pub d_divisors: usize,
    /// The final normaliser, if that has a gradient which the decays' needs.
    pub final_normaliser: usize,
    /// Normalisers between chunks, and their gradients, if the gradient of the decays is wanted.
    pub chunk_normalisers: [usize; 2],
    /// What the recurrences need: one after the other, or, if the gradient of the decays is wanted, which the states between
    /// chunks have a part in, each its own.
    pub sweeps: [usize; 3],
    /// All of it.
    pub bytes: usize,
}

const THREADS: u32 = 128;
/// Of the normaliser's scans.
const SCAN_THREADS: u32 = 256;
/// Rows of a block of the kernel that sums over heads: one a warp.
const ROWS: u128 = 4;
/// Parts of the workspace begin at multiples of this.
const ALIGNMENT: u128 = 128;
const DECAYS: &str = "linear_recurrence_backward_decays";

/// The recurrences with decays of value columns, at the end of `kernels/scan/linear_recurrence_backward.cu`.
const COLUMNS: [Instance; 6] = [
    instance(OP, "linear_recurrence_columns_f16_d64", DType::F16, 64, 32, DecayOf::ValueColumn),
    instance(OP, "linear_recurrence_columns_f16_d128", DType::F16, 128, 32, DecayOf::ValueColumn),
    instance(OP, "linear_recurrence_columns_f16_d256", DType::F16, 256, 32, DecayOf::ValueColumn),
    instance(OP, "linear_recurrence_columns_bf16_d64", DType::BF16, 64, 32, DecayOf::ValueColumn),
    instance(OP, "linear_recurrence_columns_bf16_d128", DType::BF16, 128, 32, DecayOf::ValueColumn),
    instance(OP, "linear_recurrence_columns_bf16_d256", DType::BF16, 256, 32, DecayOf::ValueColumn),
];

/// Kernels beside the recurrences, of an element type.
struct Beside {
    features: &'static str,
    divide: &'static str,
    add: &'static str,
    keys: &'static str,
}

const F16: Beside = Beside {
    features: "linear_recurrence_backward_features_f16",
    divide: "linear_recurrence_backward_divide_f16",
    add: "linear_recurrence_backward_add_f16",
    keys: "linear_recurrence_backward_keys_f16",
};
const BF16: Beside = Beside {
    features: "linear_recurrence_backward_features_bf16",
    divide: "linear_recurrence_backward_divide_bf16",
    add: "linear_recurrence_backward_add_bf16",
    keys: "linear_recurrence_backward_keys_bf16",
};

fn launch(instance: &'static str, blocks: u32, threads: u32, workspace_bytes: usize) -> LaunchPlan {
    LaunchPlan { op: OP, instance, grid: [blocks, 1, 1], block: [threads, 1, 1], shared_bytes: 0, workspace_bytes }
}

/// One block of each instance of this operator's own that fits the chip.
#[cfg(feature = "verify")]
pub(crate) fn launches(limits: &Limits) -> Vec<LaunchPlan> {
    let columns = COLUMNS.iter().filter(|instance| instance.fits(limits)).map(Instance::launch);
    let rows = [F16.features, F16.keys, BF16.features, BF16.keys, DECAYS].map(|name| launch(name, 1, THREADS, 0));
    let scans = [F16.divide, F16.add, BF16.divide, BF16.add].map(|name| launch(name, 1, SCAN_THREADS, 0));
    columns.chain(rows).chain(scans).collect()
}

/// Plans the recurrences and what comes behind them.
///
/// # Errors
/// Those of [`linear_recurrence::plan()`], of the recurrences.
pub fn plan(problem: &Problem, limits: &Limits) -> Result<Plan> {
    let Shape { h_k, h, d_k, d_v } = problem.forward.shape;
    let (b, positions) = (problem.forward.sequences.b, problem.forward.sequences.positions());
    let [of_q, of_k, of_v] = problem.sweeps();
    let channels = problem.forward.decay == Some(DecayKind::Channels);
    let across = |sweep| {
        if channels { plan_of(sweep, limits, &COLUMNS) } else { linear_recurrence::plan(sweep, limits) }
    };
    let sweeps = [across(&of_q)?, across(&of_k)?, linear_recurrence::plan(&of_v, limits)?];
    let mut end = 0u128;
    let mut place = |wanted: bool, factors: &[usize]| {
        let start = end;
        let bytes = factors.iter().fold(u128::from(wanted), |product, &x| product.saturating_mul(x as u128));
        end = start.saturating_add(bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(u128::MAX));
        start as usize
    };
    let (d_q, d_k_place) = (place(true, &[positions, h, d_k, 4]), place(true, &[positions, h, d_k, 4]));
    let differences = place(problem.d_decay && !channels, &[positions, h, 4]);
    let final_state = place(problem.d_decay && problem.d_final_state, &[b, h, d_k, d_v, 4]);
    let (maps, divides) = (problem.forward.feature_map != FeatureMap::Identity, problem.forward.normaliser.is_some());
    let element = problem.forward.dtype.size_bytes();
    let features = [0; 2].map(|_| place(maps, &[positions, h_k, d_k, element]));
    let weighed = [d_k, d_v].map(|width| place(divides, &[positions, h, width, element]));
    let d_divisors = place(divides, &[positions, h, 4]);
    let final_normaliser = place(problem.d_decay && problem.d_final_normaliser, &[b, h, d_k, 4]);
    let num_chunks = sweeps[0].num_chunks;
    let of_chunks = problem.d_decay && divides;
    let chunk_normalisers = [0; 2].map(|_| place(of_chunks, &[b, num_chunks - 1, h, d_k, 4]));
    let sweep_bytes = sweeps.map(|sweep| sweep.workspace.bytes);
    let sweep_places = if problem.d_decay {
        sweep_bytes.map(|bytes| place(true, &[bytes]))
    } else {
        [place(true, &[sweep_bytes.into_iter().max().unwrap_or(0)]); 3]
    };
    let too_large = |what, got: u128, limit: u64| {
        Err(Error::TooLarge { op: OP, what, got: u64::try_from(got).unwrap_or(u64::MAX), limit })
    };
    if end > isize::MAX as u128 {
        return too_large("workspace in bytes", end, isize::MAX as u64);
    }
    let workspace = Workspace {
        d_q,
        d_k: d_k_place,
        differences,
        final_state,
        q_features: features[0],
        k_features: features[1],
        q_weighed: weighed[0],
        d_out_weighed: weighed[1],
        d_divisors,
        final_normaliser,
        chunk_normalisers,
        sweeps: sweep_places,
        bytes: end as usize,
    };
    let rows = (positions as u128 * h_k as u128).div_ceil(ROWS);
    if rows > i32::MAX as u128 {
        return too_large("number of blocks", rows, i32::MAX as u64);
    }
    let decays = match problem.forward.decay {
        Some(DecayKind::Heads) => h,
        _ => b * num_chunks * h,
    };
    let some = |wanted: bool, name, blocks: usize, threads| {
        (wanted && blocks > 0).then(|| launch(name, blocks as u32, threads, workspace.bytes))
    };
    let beside = if problem.forward.dtype == DType::F16 { F16 } else { BF16 };
    Ok(Plan {
        features: some(maps, beside.features, rows as usize, THREADS),
        sweeps,
        divide: some(divides, beside.divide, b * h, SCAN_THREADS),
        add: some(divides, beside.add, b * h, SCAN_THREADS),
        keys: some(true, beside.keys, rows as usize, THREADS),
        decays: some(problem.d_decay, DECAYS, decays, THREADS),
        workspace,
        resources: resources(problem, &workspace),
    })
}

/// Work and traffic: six products of a row with a state, or of two rows to a state.
fn resources(problem: &Problem, workspace: &Workspace) -> Resources {
    let Shape { h_k, h, d_k, d_v } = problem.forward.shape;
    let positions = problem.forward.sequences.positions() as f64;
    let rows = positions * (4 * h_k * d_k + 3 * h * d_v) as f64 * problem.forward.dtype.size_bytes() as f64;
    let decays = match problem.forward.decay {
        None | Some(DecayKind::Heads) => 0.0,
        Some(kind) => {
            let width = if kind == DecayKind::Channels { d_k } else { 1 };
            positions * (4 * h * width * (1 + usize::from(problem.d_decay))) as f64
        }
    };
    let state = problem.forward.states * d_v + problem.normalisers;
    let states = (state * problem.forward.sequences.b * 4 * h * d_k) as f64;
    let needed = rows + decays + states;
    Resources {
        flops: Some(12.0 * positions * (h * d_k * d_v) as f64),
        bytes_needed: Some(needed),
        peak_bytes: Some(needed + workspace.bytes as f64),
        workspace_bytes: Some(workspace.bytes as f64),
        ..Resources::default()
    }
}
