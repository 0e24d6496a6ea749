//! `quant::repack`.

mod agrees;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::quant::repack::reference::{Inputs, reference};
use llm_kernels::quant::repack::{Args, Nested, Problem, Source, repack};
use llm_kernels::quant::{ActOrder, Codes, GroupedFormat, GroupedMatrix, PackedMatrix, sample};
use llm_kernels::verify::{DeviceTensor, HostTensor, random};
use llm_kernels::{DType, Layout, Result};

use crate::{LAUNCHES, queue};

use Codes::{Int4, Int8, Nf4};
use DType::{BF16, F16, F32};
use Source::{Awq, Gptq, GptqV2};

/// A checkpoint's matrix.
#[derive(Clone, Debug)]
struct Checkpoint {
    problem: Problem,
    qweight: Vec<u8>,
    qzeros: Option<Vec<u8>>,
    scales: Vec<f64>,
    nested: Option<[Vec<f64>; 2]>,
    g_idx: Option<Vec<i32>>,
}

impl Checkpoint {
    /// Random words, f16 scales; with zero-points where the source has such.
    fn new(source: Source, codes: Codes, [n, k, group]: [usize; 3]) -> Self {
        let format = GroupedFormat { codes, n, k, group };
        let nf4 = source == Source::Nf4;
        let scales_dtype = if nf4 { F32 } else { F16 };
        let (has_zeros, permuted, nested) = (!nf4, false, false);
        let problem = Problem { source, format, has_zeros, permuted, nested, scales_dtype, dtype: F16, offset: 0.0 };
        let count = n * format.groups();
        Self {
            problem,
            qweight: sample::bytes(3, n * k * codes.bits() / 8),
            qzeros: has_zeros.then(|| sample::bytes(4, count * codes.bits() / 8)),
            scales: HostTensor::from_f64("", scales_dtype, &[count], &random::normal(5, count)).to_f64(),
            nested: None,
            g_idx: None,
        }
    }

    fn without_zeros(mut self) -> Self {
        self.problem.has_zeros = false;
        Self { qzeros: None, ..self }
    }

    /// Magnitudes that were quantised.
    fn nested(mut self) -> Self {
        let count = self.scales.len();
        (self.problem.nested, self.problem.scales_dtype, self.problem.offset) = (true, DType::U8, 0.37);
        self.scales = sample::bytes(6, count).into_iter().map(f64::from).collect();
        let floats = |seed, count| HostTensor::from_f64("", F32, &[count], &random::normal(seed, count)).to_f64();
        Self { nested: Some([floats(7, 256), floats(8, count.div_ceil(256))]), ..self }
    }

    fn with_act_order(mut self) -> Self {
        let GroupedFormat { k, group, .. } = self.problem.format;
        self.problem.permuted = true;
        Self { g_idx: Some((0..k).map(|column| (column * 4099 % k / group) as i32).collect()), ..self }
    }

    fn to(mut self, dtype: DType) -> Self {
        self.problem.dtype = dtype;
        self
    }

    /// The matrix that it is, as defined.
    fn matrix(&self) -> GroupedMatrix {
        let floats = |values: &[f64]| values.iter().map(|&x| x as f32).collect::<Vec<f32>>();
        let nested = self.nested.as_ref().map(|[table, magnitudes]| [floats(table), floats(magnitudes)]);
        let scales = floats(&self.scales);
        let inputs = Inputs {
            qweight: &self.qweight,
            qzeros: self.qzeros.as_deref(),
            scales: &scales,
            nested: nested.as_ref().map(|[table, magnitudes]| (table.as_slice(), magnitudes.as_slice())),
        };
        GroupedMatrix { g_idx: self.g_idx.clone(), ..reference(&self.problem, &inputs) }
    }

    /// Its columns' order, and the packed matrix.
    fn expected(&self) -> PackedMatrix {
        let group = self.problem.format.group;
        let order = self.g_idx.as_ref().map(|g_idx| llm_kernels::quant::order_of_groups(g_idx, group).unwrap());
        self.matrix().pack(self.problem.dtype, order.as_deref())
    }

    fn tensors(&self) -> Result<Tensors> {
        let GroupedFormat { codes, n, k, group } = self.problem.format;
        let (groups, per_word) = (self.problem.format.groups(), 32 / codes.bits());
        let tensor = |dtype, shape: &[usize], bytes: &[u8]| -> Result<DeviceTensor> {
            let mut tensor = DeviceTensor::poisoned(queue(), dtype, Layout::contiguous(shape)?)?;
            tensor.write(queue(), bytes)?;
            Ok(tensor)
        };
        let floats = |dtype, shape: &[usize], values: &[f64]| {
            tensor(dtype, shape, &HostTensor::from_f64("", dtype, shape, values).bytes)
        };
        let poisoned = |dtype, len| DeviceTensor::poisoned(queue(), dtype, Layout::contiguous(&[len])?);
        let nf4 = self.problem.source == Source::Nf4;
        let qweight = match self.problem.source {
            Source::Nf4 => tensor(DType::U8, &[n * k / 2], &self.qweight)?,
            Source::Awq => tensor(DType::I32, &[k, n / 8], &self.qweight)?,
            _ => tensor(DType::I32, &[k / per_word, n], &self.qweight)?,
        };
        let scales_shape = if nf4 { vec![n * groups] } else { vec![groups, n] };
        let len = self.problem.format.scales_len();
        let nested = match &self.nested {
            Some([table, magnitudes]) => {
                Some([floats(F32, &[256], table)?, floats(F32, &[magnitudes.len()], magnitudes)?])
            }
            None => None,
        };
        Ok(Tensors {
            qweight,
            qzeros: self.qzeros.as_ref().map(|zeros| tensor(DType::I32, &[groups, n / per_word], zeros)).transpose()?,
            scales: match self.problem.scales_dtype {
                DType::U8 => {
                    let codes: Vec<u8> = self.scales.iter().map(|&code| code as u8).collect();
                    tensor(DType::U8, &scales_shape, &codes)?
                }
                dtype => floats(dtype, &scales_shape, &self.scales)?,
            },
            nested,
            act_order: self.g_idx.as_ref().map(|g_idx| ActOrder::new(queue(), g_idx, group)).transpose()?,
            codes: poisoned(DType::U8, self.problem.format.code_bytes())?,
            out_scales: poisoned(self.problem.dtype, len)?,
            zeros: self.problem.has_zeros.then(|| poisoned(DType::U8, len)).transpose()?,
        })
    }

    fn run(&self) -> Result<PackedMatrix> {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        let mut tensors = self.tensors()?;
        tensors.launch(&self.problem)?;
        queue().synchronize()?;
        let bytes = |tensor: &DeviceTensor| tensor.download(queue(), "").map(|host| host.bytes);
        Ok(PackedMatrix {
            codes: bytes(&tensors.codes)?,
            scales: bytes(&tensors.out_scales)?,
            zeros: tensors.zeros.as_ref().map(bytes).transpose()?,
        })
    }

    #[track_caller]
    fn assert_exact(&self) {
        let (got, expected) = (self.run().unwrap_or_else(|error| panic!("{error}")), self.expected());
        assert!(got.codes == expected.codes, "{:?}: codes differ", self.problem);
        assert!(got.scales == expected.scales, "{:?}: scales differ", self.problem);
        assert!(got.zeros == expected.zeros, "{:?}: zero-points differ", self.problem);
    }
}

struct Tensors {
    qweight: DeviceTensor,
    qzeros: Option<DeviceTensor>,
    scales: DeviceTensor,
    nested: Option<[DeviceTensor; 2]>,
    act_order: Option<ActOrder>,
    codes: DeviceTensor,
    out_scales: DeviceTensor,
    zeros: Option<DeviceTensor>,
}

impl Tensors {
    fn launch(&mut self, problem: &Problem) -> Result<()> {
        let nested = match &self.nested {
            Some([table, magnitudes]) => {
                Some(Nested { table: table.view()?, magnitudes: magnitudes.view()?, offset: problem.offset })
            }
            None => None,
        };
        let args = Args {
            source: problem.source,
            format: problem.format,
            qweight: self.qweight.view()?,
            qzeros: self.qzeros.as_ref().map(DeviceTensor::view).transpose()?,
            scales: self.scales.view()?,
            nested,
            act_order: self.act_order.as_ref(),
            codes: self.codes.view_mut()?,
            out_scales: self.out_scales.view_mut()?,
            zeros: self.zeros.as_mut().map(DeviceTensor::view_mut).transpose()?,
        };
        repack(queue(), args)
    }
}
