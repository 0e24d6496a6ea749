//! The checked problem: a [`Problem`] of the forward pass, from more operands.

use super::{OP, Options, Plan, Problem, Shape};
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernels see them.
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s_q, h_q, d]`
    pub q: Operand,
    /// `[b, s_k, h_kv, d]`
    pub k: Operand,
    /// `[b, s_k, h_kv, d]`
    pub v: Operand,
    /// `[b, s_q, h_q, d]`
    pub out: Operand,
    /// `[b, h_q, s_q]`
    pub lse: Operand,
    /// `[b, s_q, h_q, d]`
    pub d_out: Operand,
    /// `[b, s_q, h_q, d]`
    pub d_q: Operand,
    /// `[b, s_k, h_kv, d]`
    pub d_k: Operand,
    /// `[b, s_k, h_kv, d]`
    pub d_v: Operand,
    /// Bytes.
    pub workspace: Operand,
}

const CHECKS: Checks = Checks { op: OP };
/// The kernels load and store 16 bytes a lane.
const ALIGNMENT: u64 = 16;
/// Those of the instances.
const HEAD_DIMS: [usize; 3] = [64, 128, 256];

/// Checks tensors and options.
///
/// # Errors
/// Rank, element type, head dimension, sizes that disagree, heads that don't divide, a scale that is not finite, an
/// option that only the forward pass takes (softcap, dropout), a last stride other than 1, misaligned rows, gaps in lse
/// or the workspace, an output that overlaps itself or another tensor, sizes beyond 2^29: each its own [`Error`], naming
/// the argument, what it has and what is expected.
pub fn problem(operands: &Operands, options: &Options) -> Result<Problem> {
    let Operands { q, k, v, out, lse, d_out, d_q, d_k, d_v, workspace } = operands;
    let (of_queries, of_keys) = ("[b, s_q, h_q, d]", "[b, s_k, h_kv, d]");
    let queries = [("out", out), ("d_out", d_out), ("d_q", d_q)];
    let keys = [("k", k), ("v", v), ("d_k", d_k), ("d_v", d_v)];
    CHECKS.rank("q", q, 4, of_queries)?;
    for (name, tensor) in keys {
        CHECKS.rank(name, tensor, 4, of_keys)?;
    }
    for (name, tensor) in queries {
        CHECKS.rank(name, tensor, 4, of_queries)?;
    }
    CHECKS.rank("lse", lse, 3, "[b, h_q, s_q]")?;
    CHECKS.rank("workspace", workspace, 1, "[bytes]")?;
    for (name, tensor) in keys.into_iter().chain(queries) {
        CHECKS.element_type(name, tensor, q.dtype, " (= q)")?;
    }
    CHECKS.element_type("lse", lse, DType::F32, "")?;
    CHECKS.element_type("workspace", workspace, DType::U8, "")?;
    let [b, s_q, h_q, d] = std::array::from_fn(|dim| q.layout.shape()[dim]);
    let [s_k, h_kv] = [1, 2].map(|dim| k.layout.shape()[dim]);
    let problem = of_sizes(q.dtype, Shape { b, s_q, s_k, h_q, h_kv, d, d_v: d }, options)?;
    for (name, tensor) in keys {
        CHECKS.sizes(name, tensor, [("b", b, "q"), ("s_k", s_k, "k"), ("h_kv", h_kv, "k"), ("head_dim", d, "q")])?;
    }
    for (name, tensor) in queries {
        CHECKS.sizes(name, tensor, [("b", b, "q"), ("s_q", s_q, "q"), ("h_q", h_q, "q"), ("head_dim", d, "q")])?;
    }
    CHECKS.sizes("lse", lse, [("b", b, "q"), ("h_q", h_q, "q"), ("s_q", s_q, "q")])?;
    CHECKS.contiguous("lse", lse)?;
    CHECKS.contiguous("workspace", workspace)?;
    for (name, tensor) in keys.into_iter().chain(queries).chain([("q", q), ("workspace", workspace)]) {
        CHECKS.rows(name, tensor, ALIGNMENT)?;
    }
    let mut others = vec![("q", q), ("k", k), ("v", v), ("out", out), ("lse", lse), ("d_out", d_out)];
    for (name, tensor) in [("d_q", d_q), ("d_k", d_k), ("d_v", d_v), ("workspace", workspace)] {
        CHECKS.writable(name, tensor, &others)?;
        others.push((name, tensor));
    }
    Ok(problem)
}

/// A problem from its sizes and options alone.
pub(super) fn of_sizes(dtype: DType, shape: Shape, options: &Options) -> Result<Problem> {
    check_head_dims(shape)?;
    let problem = Problem::of_op(OP, dtype, shape, options)?;
    check_features(&problem)?;
    Ok(problem)
}

/// Whether the kernels take a problem: of what shapes scores they know scale, causal and windows.
///
/// # Errors
/// Head dimensions, and each thing that the forward pass takes and they don't.
pub(super) fn check_features(problem: &Problem) -> Result<()> {
    check_head_dims(problem.shape)?;
    let given = [
        ("softcap", problem.softcap.is_some()),
        ("dropout_p", problem.dropout.is_some()),
        ("sinks", problem.sinks),
        ("alibi_slopes", problem.alibi),
        ("bias", problem.bias.is_some()),
        ("mask_bits", problem.mask_bits.is_some()),
        ("prefix", problem.prefix),
        ("cu_seqlens", problem.totals.is_some()),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((what, _)) => Err(Error::NotTaken { op: OP, what }),
        None => Ok(()),
    }
}

fn check_head_dims(Shape { d, d_v, .. }: Shape) -> Result<()> {
    if !HEAD_DIMS.contains(&d) {
        let (argument, what, supported) = ("q", "head_dim", "64, 128, 256");
        return Err(Error::Unsupported { op: OP, argument, what, got: d.to_string(), supported });
    }
    if d_v != d {
        return Err(Error::Dimension { op: OP, argument: "v", dimension: "head_dim", got: d_v, expected: d, of: "q" });
    }
    Ok(())
}

impl Operands {
    /// Whether the workspace is large enough for a plan.
    pub(super) fn check_workspace(&self, plan: &Plan) -> Result<()> {
        let (got, needed) = (self.workspace.layout.len(), plan.workspace.bytes);
        if got >= needed {
            return Ok(());
        }
        Err(Error::Workspace { op: OP, got: got as u64, needed: needed as u64 })
    }
}
