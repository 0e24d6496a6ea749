//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::reference::{Inputs, reference};
use super::{Args, Nested, OP, Problem, Source, launches, plan, repack};
use crate::quant::{Codes, GroupedFormat, sample};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Case, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare,
};
use crate::{DType, Error, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "weights of a GPTQ, AWQ or NF4 checkpoint, packed for quant/weight_only",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const HALVES: &[DType] = &[DType::F16, DType::BF16];

const DESCRIPTION: Description = Description {
    inputs: &[
        tensor("qweight", &[DType::I32, DType::U8], &["words"], false, "codes, in one dimension"),
        tensor("qzeros", &[DType::I32], &["zero_words"], true, "zero-points, in one dimension"),
        tensor(
            "scales",
            &[DType::F16, DType::BF16, DType::F32, DType::U8],
            &["scales"],
            false,
            "scales, in one dimension",
        ),
        tensor("nested_table", &[DType::F32], &["codes"], true, "NF4: what codes of magnitudes stand for"),
        tensor("nested_magnitudes", &[DType::F32], &["blocks"], true, "NF4: of each 256 magnitudes"),
    ],
    options: &[
        choice("source", OptionType::Choice(&["gptq", "gptq_v2", "awq", "nf4"]), "must be set", "whose tensors"),
        choice("codes", OptionType::Choice(&["int4", "int8", "nf4"]), "must be set", "what a weight is stored as"),
        choice("n", OptionType::Count, "must be set", "rows of the matrix"),
        choice("k", OptionType::Count, "must be set", "its columns"),
        choice("group", OptionType::Count, "k", "columns that share a scale"),
        choice("nested_offset", OptionType::Float, "0", "NF4: added to magnitudes"),
        choice("dtype", OptionType::Choice(&["f16", "bf16"]), "f16", "element type of the packed scales"),
    ],
    outputs: &[
        tensor("codes", &[DType::U8], &["code_bytes"], false, "packed codes"),
        tensor("out_scales", HALVES, &["packed_scales"], false, "packed scales"),
        tensor("zeros", &[DType::U8], &["packed_scales"], true, "packed zero-points"),
    ],
};

const fn choice(name: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
    OptionSpec { name, kind, default, meaning }
}

const fn tensor(
    name: &'static str,
    dtypes: &'static [DType],
    shape: &'static [&'static str],
    optional: bool,
    meaning: &'static str,
) -> TensorSpec {
    TensorSpec { name, dtypes, shape, shape_of_sequences: &[], optional, meaning }
}

/// Random words.
fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let [n, k] = ["n", "k"].map(|name| case.size(op.path, name));
    let (n, k) = (n?, k?);
    let option = |name| case.options.iter().find(|(option, _)| *option == name).map(|(_, value)| *value);
    let missing = |name| Error::Binding { op: OP, problem: format!("case {:?} has no {name}", case.name) };
    let codes: Codes = option("codes").and_then(|name| name.parse().ok()).ok_or_else(|| missing("codes"))?;
    let group = option("group").and_then(|group| group.parse().ok()).ok_or_else(|| missing("group"))?;
    let format = GroupedFormat { codes, n, k, group };
    let words = |name: &str, dtype, count: usize, seed| HostTensor {
        name: name.to_owned(),
        dtype,
        shape: vec![count],
        bytes: sample::bytes(seed, count * DType::size_bytes(dtype)),
    };
    let scales: Vec<f64> = sample::grouped(format, false, 5).scales.iter().map(|&scale| scale.into()).collect();
    if codes == Codes::Nf4 {
        let scales = HostTensor::from_f64("scales", DType::F32, &[scales.len()], &scales);
        return Ok(vec![words("qweight", DType::U8, n * k / 2, 1), scales]);
    }
    let per_word = 32 / codes.bits();
    Ok(vec![
        words("qweight", DType::I32, n * k / per_word, 1),
        words("qzeros", DType::I32, format.groups() * n / per_word, 2),
        HostTensor::from_f64("scales", DType::F16, &[scales.len()], &scales),
    ])
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    qweight: (HostTensor, DeviceTensor),
    qzeros: Option<(HostTensor, DeviceTensor)>,
    scales: (HostTensor, DeviceTensor),
    nested: Option<[(HostTensor, DeviceTensor); 2]>,
    codes: DeviceTensor,
    out_scales: DeviceTensor,
    zeros: Option<DeviceTensor>,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let missing = |name| Error::Binding { op: OP, problem: format!("option {name} is missing") };
    let count = |name| bindings.count(name).map(|count| count as usize).ok_or_else(|| missing(name));
    let source = bindings.choice("source").and_then(|name| Source::ALL.into_iter().find(|s| s.name() == name));
    let source = source.ok_or_else(|| missing("source"))?;
    let codes: Option<Codes> = bindings.choice("codes").and_then(|name| name.parse().ok());
    let (n, k) = (count("n")?, count("k")?);
    let group = bindings.count("group").map_or(k, |group| group as usize);
    let format = GroupedFormat { codes: codes.ok_or_else(|| missing("codes"))?, n, k, group };
    // As the source shapes them, so that the operator's checks see how many there are.
    let reshaped = |host: &HostTensor, columns: usize| {
        let len = host.shape.iter().product::<usize>();
        let rows = len.checked_div(columns).unwrap_or(0);
        let shape = if source == Source::Nf4 { vec![len] } else { vec![rows, columns] };
        HostTensor { shape, ..host.clone() }
    };
    let upload = |host: HostTensor| -> Result<_> {
        let device = host.upload(queue)?;
        Ok((host, device))
    };
    let per_word = 32 / format.codes.bits();
    let columns = if source == Source::Awq { n / 8 } else { n };
    let qweight = upload(reshaped(bindings.required(OP, "qweight")?, columns))?;
    let qzeros = bindings.tensor("qzeros").map(|zeros| upload(reshaped(zeros, n / per_word))).transpose()?;
    let scales = upload(reshaped(bindings.required(OP, "scales")?, n))?;
    let nested = match (bindings.tensor("nested_table"), bindings.tensor("nested_magnitudes")) {
        (Some(table), Some(magnitudes)) => Some([upload(table.clone())?, upload(magnitudes.clone())?]),
        (None, None) => None,
        (Some(_), None) => return Err(Error::Alone { op: OP, argument: "nested_table", missing: "nested_magnitudes" }),
        (None, Some(_)) => return Err(Error::Alone { op: OP, argument: "nested_magnitudes", missing: "nested_table" }),
    };
    let problem = Problem {
        source,
        format,
        has_zeros: qzeros.is_some(),
        permuted: false,
        nested: nested.is_some(),
        scales_dtype: scales.0.dtype,
        dtype: bindings.choice("dtype").and_then(|name| name.parse().ok()).unwrap_or(DType::F16),
        offset: bindings.float("nested_offset").map_or(0.0, |offset| offset as f32),
    };
    problem.check_sizes()?;
    let poisoned = |dtype, len| DeviceTensor::poisoned(queue, dtype, Layout::contiguous(&[len])?);
    let codes = poisoned(DType::U8, format.code_bytes())?;
    let out_scales = poisoned(problem.dtype, format.scales_len())?;
    let zeros = problem.has_zeros.then(|| poisoned(DType::U8, format.scales_len())).transpose()?;
    Ok(Box::new(Setup { problem, qweight, qzeros, scales, nested, codes, out_scales, zeros }))
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let nested = match &self.nested {
            Some([table, magnitudes]) => {
                let offset = self.problem.offset;
                Some(Nested { table: table.1.view()?, magnitudes: magnitudes.1.view()?, offset })
            }
            None => None,
        };
        let args = Args {
            source: self.problem.source,
            format: self.problem.format,
            qweight: self.qweight.1.view()?,
            qzeros: self.qzeros.as_ref().map(|(_, device)| device.view()).transpose()?,
            scales: self.scales.1.view()?,
            nested,
            act_order: None,
            codes: self.codes.view_mut()?,
            out_scales: self.out_scales.view_mut()?,
            zeros: self.zeros.as_mut().map(DeviceTensor::view_mut).transpose()?,
        };
        repack(queue, args)
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        let zeros = self.zeros.as_ref().map(|zeros| zeros.download(queue, "zeros")).transpose()?;
        let outputs = [self.codes.download(queue, "codes")?, self.out_scales.download(queue, "out_scales")?];
        Ok(outputs.into_iter().chain(zeros).collect())
    }

    fn resources(&self, _: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem)?.resources)
    }

    /// Bit for bit: there is no tolerance.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let floats = |host: &HostTensor| host.to_f64().into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        let nested = self.nested.as_ref().map(|[table, magnitudes]| [floats(&table.0), floats(&magnitudes.0)]);
        let scales = floats(&self.scales.0);
        let inputs = Inputs {
            qweight: &self.qweight.0.bytes,
            qzeros: self.qzeros.as_ref().map(|(host, _)| host.bytes.as_slice()),
            scales: &scales,
            nested: nested.as_ref().map(|[table, magnitudes]| (table.as_slice(), magnitudes.as_slice())),
        };
        let packed = reference(&self.problem, &inputs).pack(self.problem.dtype, None);
        let host = |name: &str, dtype, bytes: Vec<u8>| HostTensor {
            name: name.to_owned(),
            dtype,
            shape: vec![bytes.len() / DType::size_bytes(dtype)],
            bytes,
        };
        let mut expected =
            vec![host("codes", DType::U8, packed.codes), host("out_scales", self.problem.dtype, packed.scales)];
        expected.extend(packed.zeros.map(|zeros| host("zeros", DType::U8, zeros)));
        let agree = |(got, expected): (&HostTensor, &HostTensor)| {
            let exact = expected.to_f64();
            compare(got, &exact, &exact, Tolerance::exact())
        };
        Ok(Agreement { outputs: self.outputs(queue)?.iter().zip(&expected).map(agree).collect() })
    }
}
