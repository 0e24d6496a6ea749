//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{reference, rounded};
use super::{Args, OP, Problem, gguf_rows, launches, plan};
use crate::quant::{PackedTensor, sample, verify};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Case, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare,
};
use crate::{DType, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "rows of a matrix in a block format of ggml, dequantised",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const DESCRIPTION: Description = Description {
    inputs: &[
        verify::PACKED,
        TensorSpec {
            name: "ids",
            dtypes: &[DType::I32],
            shape: &["rows"],
            shape_of_sequences: &[],
            optional: true,
            meaning: "which rows; all without",
        },
    ],
    options: &[
        verify::FORMAT,
        verify::K,
        OptionSpec {
            name: "dtype",
            kind: OptionType::Choice(&["f16", "bf16", "f32"]),
            default: "f32",
            meaning: "element type of the result",
        },
        OptionSpec { name: "scale", kind: OptionType::Float, default: "1", meaning: "factor of the weights" },
    ],
    outputs: &[TensorSpec {
        name: "out",
        dtypes: verify::FLOATS,
        shape: &["rows", "k"],
        shape_of_sequences: &[],
        optional: false,
        meaning: "the rows' weights",
    }],
};

/// Ids that name the last row and the first.
fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let [rows, n, k] = ["rows", "n", "k"].map(|name| case.size(op.path, name));
    let (rows, n, k) = (rows?, n?, k?);
    let ids: Vec<i32> = (0..rows).map(|row| ((n - 1 + row * 31) % n) as i32).collect();
    let format = verify::format_of_case(OP, case)?;
    let blocks = n * k / format.block_weights();
    let packed = sample::weights(format, 1, blocks);
    Ok(vec![
        HostTensor::from_slice("w", &[n, packed.len() / n.max(1)], &packed),
        HostTensor::from_slice("ids", &[rows], &ids),
    ])
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    w: (HostTensor, DeviceTensor),
    ids: Option<(HostTensor, DeviceTensor)>,
    out: DeviceTensor,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let upload = |host: &HostTensor| -> Result<_> { Ok((host.clone(), host.upload(queue)?)) };
    let (format, n, k) = verify::packed_sizes(OP, bindings)?;
    let w = upload(&verify::flat(bindings.required(OP, "w")?))?;
    let ids = bindings.tensor("ids").map(upload).transpose()?;
    let rows = ids.as_ref().map_or(n, |(host, _)| host.shape[0]);
    let dtype = bindings.choice("dtype").and_then(|name| name.parse().ok()).unwrap_or(DType::F32);
    let problem = Problem::new(format, n, k, rows, ids.is_some(), dtype)?;
    let problem = problem.scaled(bindings.float("scale").map_or(1.0, |value| value as f32))?;
    let out = DeviceTensor::poisoned(queue, dtype, Layout::contiguous(&[rows, k])?)?;
    Ok(Box::new(Setup { problem, w, ids, out }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let Problem { format, n, k, scale, .. } = self.problem;
        let ids = self.ids.as_ref().map(|(_, device)| device.view()).transpose()?;
        let w = PackedTensor { format, n, k, bytes: self.w.1.view()? };
        gguf_rows(queue, Args { w, ids, out: self.out.view_mut()?, scale })
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        Ok(vec![self.out.download(queue, "out")?])
    }

    fn resources(&self, _: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem)?.resources)
    }

    /// Bit for bit: there is no tolerance.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let ids = self.ids.as_ref().map(|(host, _)| verify::integers(host));
        let exact = reference(&self.problem, &self.w.0.bytes, ids.as_deref());
        let expected = rounded(self.problem.dtype, &exact);
        let out = self.out.download(queue, "out")?;
        Ok(Agreement { outputs: vec![compare(&out, &expected, &expected, Tolerance::exact())] })
    }
}
