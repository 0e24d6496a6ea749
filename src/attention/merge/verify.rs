//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{plain, reference};
use super::{Args, OP, Problem, Shape, launches, merge, plan};
use crate::verify::tolerance::Tolerance;
use crate::verify::{Agreement, Bindings, Description, DeviceTensor, HostTensor, Op, Prepared, TensorSpec, compare};
use crate::{DType, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "partial attentions over disjoint sets of keys into one",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs: Op::normal_inputs,
    prepare,
    launches,
};

const FLOATS: &[DType] = &[DType::F16, DType::BF16, DType::F32];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor(
            "parts_out",
            FLOATS,
            &["n", "b", "s_q", "h_q", "d"],
            "results over each set of keys; d % 8 = 0, d <= 256",
        ),
        tensor("parts_lse", &[DType::F32], &["n", "b", "h_q", "s_q"], "their logarithms of sums of exponentials"),
    ],
    options: &[],
    outputs: &[
        tensor("out", FLOATS, &["b", "s_q", "h_q", "d"], "result over all keys, of the parts' type"),
        tensor("lse", &[DType::F32], &["b", "h_q", "s_q"], "its logarithm of the sum of exponentials"),
    ],
};

const fn tensor(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences: &[], optional: false, meaning }
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    parts_out: (HostTensor, DeviceTensor),
    parts_lse: (HostTensor, DeviceTensor),
    out: DeviceTensor,
    lse: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let input = |name| -> Result<_> {
        let host = bindings.required(OP, name)?.clone();
        let device = host.upload(queue)?;
        Ok((host, device))
    };
    let (parts_out, parts_lse) = (input("parts_out")?, input("parts_lse")?);
    let [n, b, s_q, h_q, d] = ["n", "b", "s_q", "h_q", "d"].map(|name| bindings.size(name).unwrap_or(0));
    let dtype = parts_out.0.dtype;
    let problem = Problem::new(dtype, dtype, Shape { n, b, s_q, h_q, d })?;
    let out = DeviceTensor::poisoned(queue, dtype, Layout::contiguous(&[b, s_q, h_q, d])?)?;
    let lse = DeviceTensor::poisoned(queue, DType::F32, Layout::contiguous(&[b, h_q, s_q])?)?;
    Ok(Box::new(Setup { problem, parts_out, parts_lse, out, lse }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let args = Args {
            parts_out: self.parts_out.1.view()?,
            parts_lse: self.parts_lse.1.view()?,
            out: self.out.view_mut()?,
            lse: Some(self.lse.view_mut()?),
        };
        merge(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.out.download(queue, "out")?, self.lse.download(queue, "lse")?])
    }

    fn resources(&self, limits: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem, limits)?.resources)
    }

    /// Whole: the reference takes no longer than making up the input.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let (parts_out, parts_lse) = (self.parts_out.0.to_f64(), self.parts_lse.0.to_f64());
        let exact = reference(&self.problem, &parts_out, &parts_lse);
        let plain = plain(&self.problem, &parts_out, &parts_lse);
        let (out, lse) = (self.out.download(queue, "out")?, self.lse.download(queue, "lse")?);
        Ok(Agreement {
            outputs: vec![
                compare(&out, &exact.out, &plain.out, Tolerance::values(self.problem.dtype)),
                compare(&lse, &exact.lse, &plain.lse, Tolerance::logarithms(0)),
            ],
        })
    }
}
