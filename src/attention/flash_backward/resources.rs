//! Work and traffic of a plan.

use super::plan::Instance;
use super::{Plan, Problem, Shape, Wanted};
use crate::Resources;

/// Work and traffic. What depends on lengths, prefixes or masks in device memory is not known.
pub(super) fn resources(problem: &Problem, plan: &Plan, wanted: Wanted, chosen: &Instance) -> Resources {
    let Shape { b, s_q, s_k, h_q, h_kv, d, d_v } = problem.shape;
    let [queries, keys] = problem.totals.unwrap_or([b * s_q, b * s_k]).map(|positions| positions as f64);
    let element = problem.dtype.size_bytes() as f64;
    let bias = problem.bias.map_or(0.0, |bias| {
        let gradient = if wanted.d_bias { bias.bytes() / bias.dtype.size_bytes() * 4 } else { 0 };
        (bias.bytes() + gradient) as f64
    });
    let mask = problem.mask_bits.map_or(0.0, |mask| mask.bytes() as f64);
    // q, d_q, out, d_out; lse; k, v and their gradients.
    let needed = queries * h_q as f64 * (2.0 * (d + d_v) as f64 * element + 4.0)
        + keys * (h_kv * 2 * (d + d_v)) as f64 * element
        + bias
        + mask;
    let pairs = problem.visible_pairs();
    let moved = pairs.map(|_| {
        (b * h_q) as f64 * query_traffic(problem, plan, wanted, chosen) + (b * h_kv) as f64 * key_traffic(problem, plan)
    });
    Resources {
        flops: pairs.map(|pairs| 2.0 * (b * h_q) as f64 * pairs as f64 * (3 * d + 2 * d_v) as f64),
        bytes_needed: Some(needed),
        bytes_moved: moved,
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

/// Bytes moved for a query head: its statistics, its rows for every key tile, its sums, the bias and its gradient.
fn query_traffic(problem: &Problem, plan: &Plan, wanted: Wanted, chosen: &Instance) -> f64 {
    let Shape { s_q, d, d_v, .. } = problem.shape;
    let element = problem.dtype.size_bytes();
    let padded = plan.num_query_tiles * plan.block_m;
    let statistics = s_q * (2 * d_v * element + 4) + padded * 8;
    let (mut rows, mut visits) = (0, 0);
    let mut visited = vec![false; plan.num_query_tiles];
    for tile in 0..plan.num_key_tiles {
        let tiles = query_tiles(problem, plan, tile);
        rows += (tiles.end * plan.block_m).min(s_q) - (tiles.start * plan.block_m).min(s_q);
        visits += tiles.len();
        visited[tiles].fill(true);
    }
    let first = visited.iter().filter(|&&visited| visited).count();
    let sum_row = d.next_multiple_of(chosen.query_columns) * 4;
    let main = rows * (d + d_v) * element + visits * plan.block_m * 8 + (2 * visits - first) * plan.block_m * sum_row;
    let summed: usize =
        (0..s_q.div_ceil(16)).filter(|block| visited[block * 16 / plan.block_m]).map(|_| 16 * d * 4).sum();
    let pair_bytes = problem.bias.map_or(0, |bias| bias.dtype.size_bytes() + if wanted.d_bias { 4 } else { 0 });
    (statistics + main + summed + s_q * d * element + visits * plan.block_m * plan.block_n * pair_bytes) as f64
}

/// Bytes moved for a key-value head: its rows once a part, its gradients.
fn key_traffic(problem: &Problem, plan: &Plan) -> f64 {
    let Shape { s_k, h_q, d, d_v, .. } = problem.shape;
    let row_bytes = (d + d_v) * problem.dtype.size_bytes();
    let visited = |tile: &usize| h_q > 0 && !query_tiles(problem, plan, *tile).is_empty();
    let read: usize =
        (0..plan.num_key_tiles).filter(visited).map(|tile| plan.block_n.min(s_k - tile * plan.block_n)).sum();
    let sums = if plan.num_parts > 1 {
        let written = 2 * plan.num_key_tiles * plan.block_n * plan.slab_d;
        (written + s_k.next_multiple_of(16) * (d + d_v)) * 4
    } else {
        0
    };
    (plan.num_parts * (read * row_bytes + sums) + s_k * row_bytes) as f64
}
