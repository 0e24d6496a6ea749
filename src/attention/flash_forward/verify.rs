//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{Row, plain_row, reference_row};
use super::{Args, OP, Options, Problem, Shape, flash_forward, launches, plan};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare,
};
use crate::{DType, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "exact attention: out = softmax(scale * q k^T + mask) v",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    prepare,
    launches,
};

const HALVES: &[DType] = &[DType::F16, DType::BF16];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("q", HALVES, &["b", "s_q", "h_q", "d"], "queries; d is 64, 128 or 256"),
        tensor("k", HALVES, &["b", "s_k", "h_kv", "d"], "keys, of q's type; h_kv divides h_q"),
        tensor("v", HALVES, &["b", "s_k", "h_kv", "d_v"], "values, of q's type; d_v is d"),
    ],
    options: &[
        option("causal", OptionType::Bool, "false", "no key after the query's own place is seen"),
        option("scale", OptionType::Float, "1/sqrt(d)", "factor of the scores"),
        option("window_left", OptionType::Count, "no limit", "keys seen before the query's own place"),
        option("window_right", OptionType::Count, "no limit", "keys seen after the query's own place"),
    ],
    outputs: &[
        tensor("out", HALVES, &["b", "s_q", "h_q", "d_v"], "result, of q's type"),
        tensor("lse", &[DType::F32], &["b", "h_q", "s_q"], "natural logarithm of each row's sum of exponentials"),
    ],
};

const fn tensor(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, optional: false, meaning }
}

const fn option(name: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, meaning }
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    options: Options,
    q: Input,
    k: Input,
    v: Input,
    out: DeviceTensor,
    lse: DeviceTensor,
}

struct Input {
    device: DeviceTensor,
    host: HostTensor,
}

impl Setup {
    fn new(queue: &Queue, bindings: &Bindings) -> Result<Self> {
        let input = |name| -> Result<Input> {
            let host = bindings.required(OP, name)?.clone();
            Ok(Input { device: host.upload(queue)?, host })
        };
        let (q, k, v) = (input("q")?, input("k")?, input("v")?);
        let size = |dimension| bindings.size(dimension).unwrap_or(0);
        let shape = Shape {
            b: size("b"),
            s_q: size("s_q"),
            s_k: size("s_k"),
            h_q: size("h_q"),
            h_kv: size("h_kv"),
            d: size("d"),
        };
        let options = options(bindings);
        let dtype = q.host.dtype;
        let problem = Problem::new(dtype, shape, &options)?;
        let out = Layout::contiguous(&[shape.b, shape.s_q, shape.h_q, shape.d])?;
        let lse = Layout::contiguous(&[shape.b, shape.h_q, shape.s_q])?;
        let (out, lse) = (DeviceTensor::poisoned(queue, dtype, out)?, DeviceTensor::poisoned(queue, DType::F32, lse)?);
        Ok(Self { problem, options, q, k, v, out, lse })
    }
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let args = Args {
            q: self.q.device.view()?,
            k: self.k.device.view()?,
            v: self.v.device.view()?,
            out: self.out.view_mut()?,
            lse: Some(self.lse.view_mut()?),
            options: self.options,
        };
        flash_forward(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.out.download(queue, "out")?, self.lse.download(queue, "lse")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement> {
        let problem = &self.problem;
        let Shape { b, s_q, s_k, h_q, d, .. } = problem.shape;
        let total = b * h_q * s_q;
        let count = (budget / (4 * s_k * d).max(1)).max(16).min(total);
        let rows = (0..count).map(|sample| {
            // The last row of all is among them: it sees the most.
            let row = (sample + 1) * total / count - 1;
            Row { batch: row / (h_q * s_q), head: row / s_q % h_q, i: row % s_q }
        });
        let out = self.out.download(queue, "out")?.to_f64();
        let lse = self.lse.download(queue, "lse")?.to_f64();
        let [q, k, v] = [&self.q, &self.k, &self.v].map(|input| input.host.to_f64());
        let (mut got, mut exact, mut plain) = (Rows::default(), Rows::default(), Rows::default());
        for row in rows {
            got.push((out[row.of_query(problem)..][..d].to_vec(), lse[row.of_lse(problem)]));
            exact.push(reference_row(problem, &q, &k, &v, row));
            plain.push(plain_row(problem, &q, &k, &v, row));
        }
        let out = HostTensor::from_f64("out", problem.dtype, &[count, d], &got.out);
        let lse = HostTensor::from_f64("lse", DType::F32, &[count], &got.lse);
        Ok(Agreement {
            outputs: vec![
                compare(&out, &exact.out, &plain.out, Tolerance::values(problem.dtype)),
                compare(&lse, &exact.lse, &plain.lse, Tolerance::logarithms(d)),
            ],
        })
    }
}

#[derive(Default)]
struct Rows {
    out: Vec<f64>,
    lse: Vec<f64>,
}

impl Rows {
    fn push(&mut self, (out, lse): (Vec<f64>, f64)) {
        self.out.extend(out);
        self.lse.push(lse);
    }
}

/// Scale and mask by name.
pub(crate) fn options(bindings: &Bindings) -> Options {
    let window = |name| bindings.count(name).map(|window| usize::try_from(window).unwrap_or(usize::MAX));
    Options {
        causal: bindings.bool("causal"),
        scale: bindings.float("scale").map(|scale| scale as f32),
        window_left: window("window_left"),
        window_right: window("window_right"),
    }
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    Ok(Box::new(Setup::new(queue, bindings)?))
}
