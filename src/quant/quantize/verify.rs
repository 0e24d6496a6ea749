//! How the operator is checked, measured and run by name.

use super::cases::{BENCH_CASES, CHECK_CASES};
use super::problem::NESTED;
use super::reference::{quantize_blocks, quantize_groups, quantize_magnitudes, quantize_row};
use super::{Args, NestedOutput, OP, Output, Problem, Target, dynamic_table, launches, plan, quantize};
use crate::quant::{Codes, GroupedFormat, verify};
use crate::verify::tolerance::Tolerance;
use crate::verify::{
    Agreement, Bindings, Case, Description, DeviceTensor, HostTensor, Op, OptionSpec, OptionType, Prepared, TensorSpec,
    compare, random,
};
use crate::{DType, Error, Layout, Limits, Queue, Resources, Result};

/// The operator's entry in the family's table.
pub(crate) const ENTRY: Op = Op {
    path: OP,
    summary: "weights to 4 or 8 bits in groups or NF4 blocks, or activations to 8 bits row by row",
    description: DESCRIPTION,
    check_cases: CHECK_CASES,
    bench_cases: BENCH_CASES,
    make_inputs,
    prepare,
    launches,
};

const DESCRIPTION: Description = Description {
    inputs: &[tensor("x", verify::FLOATS, &["n", "k"], false, "numbers to be rounded")],
    options: &[
        option("to", OptionType::Choice(TARGETS), "must be set", "what they become; nf4_blocks: as in a checkpoint"),
        option("group", OptionType::Count, "k", "columns that share a scale; not of i8 and e4m3"),
        option("zeros", OptionType::Bool, "false", "with zero-points"),
        option("nested", OptionType::Bool, "false", "of nf4_blocks: magnitudes are quantised too"),
        option("dtype", OptionType::Choice(&["f16", "bf16"]), "f16", "element type of the scales of groups"),
    ],
    outputs: &[
        tensor("q", &[DType::U8, DType::I8, DType::E4M3], &["codes"], false, "codes, packed, bytes of two or [n, k]"),
        tensor("scales", verify::FLOATS, &["scales"], false, "scales, packed or [n], or magnitudes"),
        tensor("zeros", &[DType::U8], &["scales"], true, "zero-points, packed"),
        tensor("nested_codes", &[DType::U8], &["blocks"], true, "quantised magnitudes, of bitsandbytes' dynamic type"),
        tensor("nested_magnitudes", &[DType::F32], &["parts"], true, "of 256 of them each"),
        tensor("nested_offset", &[DType::F32], &["one"], true, "their mean"),
    ],
};

const TARGETS: &[&str] = &["int4", "int8", "nf4", "nf4_blocks", "i8", "e4m3"];

const fn option(name: &'static str, kind: OptionType, default: &'static str, meaning: &'static str) -> OptionSpec {
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

fn make_inputs(op: &Op, case: &Case) -> Result<Vec<HostTensor>> {
    let [n, k] = ["n", "k"].map(|name| case.size(op.path, name));
    let (n, k) = (n?, k?);
    Ok(vec![HostTensor::from_f64("x", case.dtype, &[n, k], &random::normal(1, n * k))])
}

/// Tensors on the device, and what they were made of.
struct Setup {
    problem: Problem,
    x: (HostTensor, DeviceTensor),
    q: DeviceTensor,
    scales: DeviceTensor,
    zeros: Option<DeviceTensor>,
    /// Table, codes, magnitudes, offset.
    nested: Option<[DeviceTensor; 4]>,
}

fn prepare(queue: &Queue, bindings: &Bindings) -> Result<Box<dyn Prepared>> {
    let missing = || Error::Binding { op: OP, problem: "option to is missing".to_owned() };
    let host = bindings.required(OP, "x")?;
    let (n, k) = (host.shape[0], host.shape[1]);
    let group = bindings.count("group").map_or(k, |group| group as usize);
    let target = match bindings.choice("to").ok_or_else(missing)? {
        "nf4_blocks" => Target::Blocks { block: group, nested: bindings.bool("nested") },
        "i8" => Target::Rows(DType::I8),
        "e4m3" => Target::Rows(DType::E4M3),
        name => {
            let codes: Codes = name.parse().map_err(|problem| Error::Binding { op: OP, problem })?;
            Target::Groups(GroupedFormat { codes, n, k, group })
        }
    };
    let dtype = bindings.choice("dtype").and_then(|name| name.parse().ok()).unwrap_or(DType::F16);
    let groups = matches!(target, Target::Groups(_));
    let problem = Problem {
        target,
        n,
        k,
        has_zeros: groups && bindings.bool("zeros"),
        x_dtype: host.dtype,
        scales_dtype: if groups { dtype } else { DType::F32 },
    };
    problem.check_sizes()?;
    let poisoned = |dtype, shape: &[usize]| DeviceTensor::poisoned(queue, dtype, Layout::contiguous(shape)?);
    let (q, scales, zeros) = match target {
        Target::Groups(format) => {
            let len = [format.scales_len()];
            let zeros = problem.has_zeros.then(|| poisoned(DType::U8, &len)).transpose()?;
            (poisoned(DType::U8, &[format.code_bytes()])?, poisoned(dtype, &len)?, zeros)
        }
        Target::Blocks { block, .. } => {
            (poisoned(DType::U8, &[n * k / 2])?, poisoned(DType::F32, &[problem.num_blocks(block)])?, None)
        }
        Target::Rows(dtype) => (poisoned(dtype, &[n, k])?, poisoned(DType::F32, &[n])?, None),
    };
    let nested = match target {
        Target::Blocks { block, nested: true } => {
            let blocks = problem.num_blocks(block);
            let table = HostTensor::from_slice("nested_table", &[256], &dynamic_table()).upload(queue)?;
            let codes = poisoned(DType::U8, &[blocks])?;
            Some([table, codes, poisoned(DType::F32, &[blocks.div_ceil(NESTED)])?, poisoned(DType::F32, &[1])?])
        }
        _ => None,
    };
    Ok(Box::new(Setup { problem, x: (host.clone(), host.upload(queue)?), q, scales, zeros, nested }))
}

impl Setup {
    /// What the definition gives: names, types and bytes.
    fn expected(&self) -> Vec<HostTensor> {
        let x: Vec<f32> = self.x.0.to_f64().into_iter().map(|x| x as f32).collect();
        let host = |name: &str, dtype: DType, bytes: Vec<u8>| {
            let shape = vec![bytes.len() / dtype.size_bytes()];
            HostTensor { name: name.to_owned(), dtype, shape, bytes }
        };
        match self.problem.target {
            Target::Groups(format) => {
                let dtype = self.problem.scales_dtype;
                let packed = quantize_groups(format, &x, self.problem.has_zeros, dtype).pack(dtype, None);
                let zeros = packed.zeros.map(|zeros| host("zeros", DType::U8, zeros));
                let both = [host("q", DType::U8, packed.codes), host("scales", dtype, packed.scales)];
                both.into_iter().chain(zeros).collect()
            }
            Target::Blocks { block, nested } => {
                let (codes, magnitudes) = quantize_blocks(block, &x);
                let floats = |name: &str, values: &[f32]| HostTensor::from_slice(name, &[values.len()], values);
                let mut all = vec![host("q", DType::U8, codes), floats("magnitudes", &magnitudes)];
                if nested {
                    let nested = quantize_magnitudes(&magnitudes, &dynamic_table());
                    all.push(host("nested_codes", DType::U8, nested.codes));
                    all.push(floats("nested_magnitudes", &nested.magnitudes));
                    all.push(floats("nested_offset", &[nested.offset]));
                }
                all
            }
            Target::Rows(dtype) => {
                let (scales, codes): (Vec<f32>, Vec<Vec<f64>>) =
                    x.chunks(self.problem.k.max(1)).map(|row| quantize_row(dtype, row)).unzip();
                let codes = codes.concat();
                let scales = HostTensor::from_slice("scales", &[scales.len()], &scales);
                vec![HostTensor::from_f64("q", dtype, &[codes.len()], &codes), scales]
            }
        }
    }
}

impl Prepared for Setup {
    fn launch(&mut self, queue: &Queue) -> Result<()> {
        let (q, scales) = (self.q.view_mut()?, self.scales.view_mut()?);
        let to = match self.problem.target {
            Target::Groups(format) => {
                let zeros = self.zeros.as_mut().map(DeviceTensor::view_mut).transpose()?;
                Output::Groups { format, codes: q, scales, zeros }
            }
            Target::Blocks { block, .. } => {
                let nested = match &mut self.nested {
                    Some([table, codes, magnitudes, offset]) => Some(NestedOutput {
                        table: table.view()?,
                        codes: codes.view_mut()?,
                        magnitudes: magnitudes.view_mut()?,
                        offset: offset.view_mut()?,
                    }),
                    None => None,
                };
                Output::Blocks { block, q, magnitudes: scales, nested }
            }
            Target::Rows(_) => Output::Rows { q, scales },
        };
        quantize(queue, Args { x: self.x.1.view()?, to })
    }

    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>> {
        let zeros = self.zeros.as_ref().map(|zeros| zeros.download(queue, "zeros")).transpose()?;
        let both = [self.q.download(queue, "q")?, self.scales.download(queue, "scales")?];
        let mut outputs: Vec<HostTensor> = both.into_iter().chain(zeros).collect();
        if let Some([_, codes, magnitudes, offset]) = &self.nested {
            outputs.push(codes.download(queue, "nested_codes")?);
            outputs.push(magnitudes.download(queue, "nested_magnitudes")?);
            outputs.push(offset.download(queue, "nested_offset")?);
        }
        Ok(outputs)
    }

    fn resources(&self, _: &Limits) -> Result<Resources> {
        Ok(plan(&self.problem)?.resources)
    }

    /// Bit for bit: there is no tolerance.
    fn agreement(&self, queue: &Queue, _: usize) -> Result<Agreement> {
        let agree = |(got, expected): (&HostTensor, &HostTensor)| {
            let exact = expected.to_f64();
            let got = HostTensor { shape: vec![exact.len()], ..got.clone() };
            compare(&got, &exact, &exact, Tolerance::exact())
        };
        Ok(Agreement { outputs: self.outputs(queue)?.iter().zip(&self.expected()).map(agree).collect() })
    }
}
