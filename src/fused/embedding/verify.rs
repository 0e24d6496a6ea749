//! How the operator is checked, measured and run by name.

use super::super::described::{FLOATS, required, tensor};
use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{plain, reference};
use super::{Args, OP, Problem, Shape, embedding, launches, plan};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Case, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, compare,
};
use crate::{DType, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "rows of a table by number, scaled",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("table", FLOATS, &["n", "d"], "the table"),
        tensor("ids", &[DType::I32], &["m"], "numbers of rows; others than 0 to n - 1 give NaN"),
    ],
    options: &[OptionSpec {
        name: "scale",
        kind: OptionType::Float,
        default: "1",
        meaning: "what rows are multiplied by: sqrt(d) for Gemma",
    }],
    outputs: &[tensor("out", FLOATS, &["m", "d"], "the rows, of the table's type")],
};

/// Numbers all over the table, and two that are not in it.
fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let mut inputs = op.normal_inputs(case)?;
    let n = inputs[0].shape[0] as f64;
    let m = inputs[1].shape[0];
    let id = |i: usize| match i {
        3 => -1.0,
        5 => n,
        _ => (i as f64 * 7919.0 + 13.0) % n,
    };
    inputs[1] = HostTensor::from_f64("ids", DType::I32, &[m], &(0..m).map(id).collect::<Vec<_>>());
    Ok(inputs)
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    table: (HostTensor, DeviceTensor),
    ids: (HostTensor, DeviceTensor),
    out: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let (table, ids) = (required(queue, bindings, OP, "table")?, required(queue, bindings, OP, "ids")?);
    let [m, n, d] = ["m", "n", "d"].map(|name| bindings.size(name).unwrap_or(0));
    let dtype = table.0.dtype;
    let scale = bindings.float("scale").map_or(1.0, |value| value as f32);
    let problem = Problem::new(dtype, dtype, Shape { m, n, d }, scale)?;
    let out = DeviceTensor::poisoned(queue, dtype, Layout::contiguous(&[m, d])?)?;
    Ok(Box::new(Setup { problem, table, ids, out }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let (table, ids) = (self.table.1.view()?, self.ids.1.view()?);
        embedding(queue, Args { table, ids, out: self.out.view_mut()?, scale: self.problem.scale })
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.out.download(queue, "out")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes no longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let (table, ids) = (self.table.0.to_f64(), self.ids.0.to_f64());
        let (exact, plain) = (reference(&self.problem, &table, &ids), plain(&self.problem, &table, &ids));
        let out = self.out.download(queue, "out")?;
        Ok(Agreement { outputs: vec![compare(&out, &exact, &plain, Tolerance::values(out.dtype))] })
    }
}
