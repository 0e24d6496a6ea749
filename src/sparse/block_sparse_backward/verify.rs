//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::problem::check_dims;
use super::{Args, OP, Options, Problem, block_sparse_backward, launches, plan};
use crate::attention::flash_backward::verify::Setup as Dense;
use crate::attention::flash_forward::verify::both;
use crate::sparse::BlockLayout;
use crate::sparse::block_sparse::cases::make_inputs;
use crate::sparse::block_sparse::verify::{LAYOUT, LAYOUT_OPTIONS, Setup as Forward, tensor};
use crate::verify::{Agreement, Bindings, Description, HostTensor, Op, Prepared, TensorSpec};
use crate::{DType, Error, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "gradients of attention that visits the tiles of keys that a layout lists",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const FLOATS: &[DType] = &[DType::F16, DType::BF16];
const Q: [&[&str]; 2] = [&["b", "s_q", "h_q", "d"], &["total_q", "h_q", "d"]];
const K: [&[&str]; 2] = [&["b", "s_k", "h_kv", "d"], &["total_k", "h_kv", "d"]];
const V: [&[&str]; 2] = [&["b", "s_k", "h_kv", "d_v"], &["total_k", "h_kv", "d_v"]];
const OUT: [&[&str]; 2] = [&["b", "s_q", "h_q", "d_v"], &["total_q", "h_q", "d_v"]];
const LSE: [&[&str]; 2] = [&["b", "h_q", "s_q"], &["h_q", "total_q"]];

const fn optional(spec: TensorSpec) -> TensorSpec {
    TensorSpec { optional: true, ..spec }
}

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("q", FLOATS, Q[0], Q[1], "queries; d is 64, 128 or 256"),
        tensor("k", FLOATS, K[0], K[1], "keys, of q's type; h_kv divides h_q"),
        tensor("v", FLOATS, V[0], V[1], "values, of q's type; d_v is d"),
        tensor("d_out", FLOATS, OUT[0], OUT[1], "gradient of out, of q's type"),
        optional(tensor("out", FLOATS, OUT[0], OUT[1], "what sparse/block_sparse gave; without it that runs first")),
        optional(tensor("lse", &[DType::F32], LSE[0], LSE[1], "its logarithms: with out, or not at all")),
        LAYOUT[0],
        LAYOUT[1],
        LAYOUT[2],
        LAYOUT[3],
        LAYOUT[4],
        LAYOUT[5],
        LAYOUT[6],
        LAYOUT[7],
    ],
    options: &LAYOUT_OPTIONS,
    outputs: &[
        tensor("d_q", FLOATS, Q[0], Q[1], "gradient of q, of q's type"),
        tensor("d_k", FLOATS, K[0], K[1], "gradient of k"),
        tensor("d_v", FLOATS, V[0], V[1], "gradient of v"),
    ],
};

/// Tensors on the device, and what they were made of: those of the dense problem under the layout's element mask, which
/// is the definition, and the layout.
struct Setup {
    dense: Dense,
    layout: BlockLayout<'static>,
    options: Options,
    problem: Problem,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let mut forward = Forward::new(OP, queue, bindings)?;
    check_dims(&forward.problem)?;
    match (bindings.tensor("out"), bindings.tensor("lse")) {
        (Some(out), Some(lse)) => {
            (forward.dense.out, forward.dense.lse) = (out.upload(queue)?, lse.upload(queue)?);
        }
        (None, None) => forward.launch(queue)?,
        _ => return Err(Error::Binding { op: OP, problem: "out and lse come together, or not at all".to_owned() }),
    }
    let Forward { dense, layout, options, problem } = forward;
    let workspace = plan(&problem, queue.device().limits())?.workspace.bytes;
    let dense = Dense::new(OP, queue, bindings, dense, workspace)?;
    Ok(Box::new(Setup { dense, layout, options, problem }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let dense = &mut self.dense;
        let forward = &dense.forward;
        let [cu_seqlens_q, cu_seqlens_k] = both(&forward.cu_seqlens);
        let args = Args {
            q: forward.q.view()?,
            k: forward.k.view()?,
            v: forward.v.view()?,
            out: forward.out.view()?,
            lse: forward.lse.view()?,
            d_out: dense.d_out.1.view()?,
            layout: &self.layout,
            d_q: dense.d_q.view_mut()?,
            d_k: dense.d_k.view_mut()?,
            d_v: dense.d_v.view_mut()?,
            workspace: dense.workspace.view_mut()?,
            cu_seqlens_q,
            cu_seqlens_k,
            options: self.options,
        };
        block_sparse_backward(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        self.dense.outputs(queue)
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement> {
        self.dense.agreement(queue, budget)
    }
}
