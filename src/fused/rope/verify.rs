//! How the operator is checked, measured and run by name.

use super::super::described::{FLOATS, required, tensor};
use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{plain, reference};
use super::{Args, OP, Options, Problem, Shape, launches, plan, rope};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Case, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, compare,
};
use crate::{DType, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "rotary position embedding: halves or interleaved, whole or partial, forward or backward",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("x", FLOATS, &["b", "s", "h", "d"], "heads of every token"),
        tensor("positions", &[DType::I32], &["b", "s"], "the position of every token"),
        tensor("inverse_frequencies", &[DType::F32], &["n"], "angle for each position of each pair; 2 n <= d"),
    ],
    options: &[
        OptionSpec {
            name: "interleaved",
            kind: OptionType::Bool,
            default: "false",
            meaning: "pairs are elements 2 i and 2 i + 1, for i and i + n",
        },
        OptionSpec {
            name: "inverse",
            kind: OptionType::Bool,
            default: "false",
            meaning: "the other way: the backward pass",
        },
        OptionSpec {
            name: "magnitude",
            kind: OptionType::Float,
            default: "1",
            meaning: "what rotated elements are multiplied by",
        },
        OptionSpec {
            name: "base",
            kind: OptionType::Float,
            default: "10000",
            meaning: "of the frequencies that check and bench make up; no meaning for run",
        },
    ],
    outputs: &[tensor("out", FLOATS, &["b", "s", "h", "d"], "the rotated heads, of x's type")],
};

/// Positions that grow from a far one in each batch entry, and frequencies `base^(-i / n)`.
fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let mut inputs = op.normal_inputs(case)?;
    let base = case.options.iter().find(|(name, _)| *name == "base").and_then(|(_, text)| text.parse::<f64>().ok());
    for input in &mut inputs {
        let count: usize = input.shape.iter().product();
        let values: Vec<f64> = match input.name.as_str() {
            "positions" => {
                let s = input.shape[1].max(1);
                (0..count).map(|i| (i % s + 100_000 * (i / s)) as f64).collect()
            }
            "inverse_frequencies" => (0..count).map(|i| base.unwrap_or(1e4).powf(-(i as f64) / count as f64)).collect(),
            _ => continue,
        };
        *input = HostTensor::from_f64(&input.name, input.dtype, &input.shape, &values);
    }
    Ok(inputs)
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    x: (HostTensor, DeviceTensor),
    positions: (HostTensor, DeviceTensor),
    inverse_frequencies: (HostTensor, DeviceTensor),
    out: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let input = |name| required(queue, bindings, OP, name);
    let (x, positions, inverse_frequencies) = (input("x")?, input("positions")?, input("inverse_frequencies")?);
    let [b, s, h, d, n] = ["b", "s", "h", "d", "n"].map(|name| bindings.size(name).unwrap_or(0));
    let options = Options {
        interleaved: bindings.bool("interleaved"),
        inverse: bindings.bool("inverse"),
        magnitude: bindings.float("magnitude").map_or(1.0, |value| value as f32),
    };
    let dtype = x.0.dtype;
    let problem = Problem::new(Some(dtype), dtype, Shape { b, s, h, d, n }, options)?;
    let out = DeviceTensor::poisoned(queue, dtype, Layout::contiguous(&[b, s, h, d])?)?;
    Ok(Box::new(Setup { problem, x, positions, inverse_frequencies, out }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let args = Args {
            x: Some(self.x.1.view()?),
            positions: self.positions.1.view()?,
            inverse_frequencies: self.inverse_frequencies.1.view()?,
            out: self.out.view_mut()?,
            options: self.problem.options,
        };
        rope(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.out.download(queue, "out")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes no longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let [x, positions, frequencies] =
            [&self.x, &self.positions, &self.inverse_frequencies].map(|(host, _)| host.to_f64());
        let exact = reference(&self.problem, &x, &positions, &frequencies);
        let plain = plain(&self.problem, &x, &positions, &frequencies);
        let out = self.out.download(queue, "out")?;
        Ok(Agreement { outputs: vec![compare(&out, &exact, &plain, Tolerance::values(out.dtype))] })
    }
}
