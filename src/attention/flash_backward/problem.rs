//! The checked problem: a [`Problem`] of the forward pass, from more operands.

use super::{OP, Options, Plan, Problem, Shape};
use crate::attention::{SequenceOperand, flash_forward};
use crate::check::Checks;
use crate::{DType, Error, Operand, Result};

/// The tensors, as the kernels see them; see [`Args`](super::Args) and [`Extras`](super::Extras).
#[derive(Clone, Copy, Debug)]
pub struct Operands {
    /// `[b, s_q, h_q, d]`, or `[total_q, h_q, d]`
    pub q: Operand,
    /// `[b, s_k, h_kv, d]`, or `[total_k, h_kv, d]`
    pub k: Operand,
    /// `[b, s_k, h_kv, d_v]`, or `[total_k, h_kv, d_v]`
    pub v: Operand,
    /// `[b, s_q, h_q, d_v]`, or `[total_q, h_q, d_v]`
    pub out: Operand,
    /// `[b, h_q, s_q]`, or `[h_q, total_q]`
    pub lse: Operand,
    /// As out.
    pub d_out: Operand,
    /// As q.
    pub d_q: Operand,
    /// As k.
    pub d_k: Operand,
    /// As v.
    pub d_v: Operand,
    /// Bytes.
    pub workspace: Operand,
    /// `[h_q]`
    pub sinks: Option<Operand>,
    /// `[h_q]`
    pub alibi_slopes: Option<Operand>,
    /// `[b or 1, h_q or 1, s_q, s_k]`
    pub bias: Option<Operand>,
    /// `[b or 1, h_q or 1, s_q, ceil(s_k / 32)]`
    pub mask_bits: Option<Operand>,
    /// `[b]`
    pub prefix: Option<Operand>,
    /// Sequences of q and all that is shaped like it.
    pub cu_seqlens_q: Option<SequenceOperand>,
    /// Sequences of k and v and their gradients.
    pub cu_seqlens_k: Option<SequenceOperand>,
    /// `[h_q]`
    pub d_sinks: Option<Operand>,
    /// As bias.
    pub d_bias: Option<Operand>,
}

/// Gradients that are wanted beside those of q, k and v.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of the sinks.
    pub d_sinks: bool,
    /// Of the bias.
    pub d_bias: bool,
}

const CHECKS: Checks = Checks { op: OP };
/// The kernels load and store 16 bytes a lane.
const ALIGNMENT: u64 = 16;
/// Largest head dimension.
const MAX_HEAD_DIM: usize = 256;

/// Checks tensors and options.
///
/// # Errors
/// Rank, element type, head dimensions, sizes that disagree, heads that don't divide, one `cu_seqlens` without the
/// other, a gradient of sinks or of a bias that are not there, a scale or softcap that is not finite or a dropout
/// probability outside `0..1`, a last stride other than 1, misaligned rows, gaps in lse or the workspace, an output that
/// overlaps itself or another tensor, sizes beyond 2^29: each its own [`Error`], naming the argument, what it has and
/// what is expected.
pub fn problem(operands: &Operands, options: &Options) -> Result<Problem> {
    of_operands(CHECKS, operands, |dtype, shape| of_sizes(dtype, shape, options))
}

/// What the gradients of an operator on these tensors have in common; `new` makes the problem from its sizes.
pub(crate) fn of_operands(
    checks: Checks,
    operands: &Operands,
    new: impl FnOnce(DType, Shape) -> Result<Problem>,
) -> Result<Problem> {
    let op = checks.op;
    let Operands { q, k, v, out, lse, d_out, d_q, d_k, d_v, workspace, d_sinks, d_bias, .. } = operands;
    let forward = flash_forward::Operands {
        q: *q,
        k: *k,
        v: *v,
        out: *out,
        lse: Some(*lse),
        sinks: operands.sinks,
        alibi_slopes: operands.alibi_slopes,
        bias: operands.bias,
        mask_bits: operands.mask_bits,
        prefix: operands.prefix,
        cu_seqlens_q: operands.cu_seqlens_q,
        cu_seqlens_k: operands.cu_seqlens_k,
    };
    let problem = Problem::of_operands(checks, &forward, new)?;
    same_shape(op, "d_out", d_out, "out", out)?;
    same_shape(op, "d_q", d_q, "q", q)?;
    same_shape(op, "d_k", d_k, "k", k)?;
    same_shape(op, "d_v", d_v, "v", v)?;
    for (name, tensor) in [("d_out", d_out), ("d_q", d_q), ("d_k", d_k), ("d_v", d_v)] {
        checks.element_type(name, tensor, q.dtype, " (= q)")?;
        checks.rows(name, tensor, ALIGNMENT)?;
    }
    checks.rank("workspace", workspace, 1, "[bytes]")?;
    checks.element_type("workspace", workspace, DType::U8, "")?;
    checks.contiguous("workspace", workspace)?;
    checks.rows("workspace", workspace, ALIGNMENT)?;
    let extras = [("d_sinks", d_sinks, "sinks", &operands.sinks), ("d_bias", d_bias, "bias", &operands.bias)];
    for (argument, gradient, missing, input) in extras {
        let Some(gradient) = gradient else { continue };
        let Some(input) = input else { return Err(Error::Alone { op, argument, missing }) };
        same_shape(op, argument, gradient, missing, input)?;
        checks.element_type(argument, gradient, DType::F32, "")?;
        checks.rows(argument, gradient, 4)?;
    }
    if let Some(d_sinks) = d_sinks {
        checks.contiguous("d_sinks", d_sinks)?;
    }
    let mut others = forward.inputs();
    others.extend([("out", out), ("lse", lse), ("d_out", d_out)]);
    let written = [("d_q", d_q), ("d_k", d_k), ("d_v", d_v), ("workspace", workspace)];
    let wanted = [("d_sinks", d_sinks), ("d_bias", d_bias)];
    let wanted = wanted.into_iter().filter_map(|(name, tensor)| Some((name, tensor.as_ref()?)));
    for (name, tensor) in written.into_iter().chain(wanted) {
        checks.writable(name, tensor, &others)?;
        others.push((name, tensor));
    }
    Ok(problem)
}

/// A gradient has the shape of what it is the gradient of.
fn same_shape(
    op: &'static str,
    argument: &'static str,
    tensor: &Operand,
    of: &'static str,
    other: &Operand,
) -> Result<()> {
    let (shape, expected) = (tensor.layout.shape(), other.layout.shape());
    if shape == expected {
        return Ok(());
    }
    let (got, expected) = (shape.to_vec(), expected.to_vec());
    Err(Error::Shape { op, argument, got, expected, of })
}

/// A problem from its sizes and options alone.
pub(super) fn of_sizes(dtype: DType, shape: Shape, options: &Options) -> Result<Problem> {
    for (argument, d) in [("q", shape.d), ("v", shape.d_v)] {
        if d == 0 || d % 8 != 0 || d > MAX_HEAD_DIM {
            let (what, got, supported) = ("head_dim", d.to_string(), "multiples of 8 up to 256");
            return Err(Error::Unsupported { op: OP, argument, what, got, supported });
        }
    }
    Problem::of_op(OP, dtype, shape, options)
}

impl Operands {
    /// The gradients that there is room for.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted { d_sinks: self.d_sinks.is_some(), d_bias: self.d_bias.is_some() }
    }

    /// Whether the workspace is large enough for a plan.
    pub(crate) fn check_workspace(&self, op: &'static str, plan: &Plan) -> Result<()> {
        let (got, needed) = (self.workspace.layout.len(), plan.workspace.bytes);
        if got >= needed {
            return Ok(());
        }
        Err(Error::Workspace { op, got: got as u64, needed: needed as u64 })
    }
}
