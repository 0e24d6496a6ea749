//! `quant::quantize`.

mod agrees;
mod blocks;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::quant::quantize::reference::{
    NestedMagnitudes, quantize_blocks, quantize_groups, quantize_magnitudes, quantize_row,
};
use llm_kernels::quant::quantize::{Args, NestedOutput, Output, Problem, Target, quantize};
use llm_kernels::quant::{Codes, GroupedFormat, GroupedMatrix, PackedMatrix, dynamic_table};
use llm_kernels::verify::{DeviceTensor, HostTensor, random};
use llm_kernels::{DType, Layout, Result};

use crate::{LAUNCHES, queue, rounded, upload};

use Codes::{Int4, Int8, Nf4};
use DType::{BF16, E4M3, F16, F32, I8};

/// Numbers, and what they are to become.
#[derive(Clone, Debug)]
struct Numbers {
    problem: Problem,
    x: Vec<f64>,
}

impl Numbers {
    /// Of the standard normal distribution, in f32, symmetric, with scales of f16.
    fn groups(codes: Codes, [n, k, group]: [usize; 3]) -> Self {
        let target = Target::Groups(GroupedFormat { codes, n, k, group });
        let problem = Problem { target, n, k, has_zeros: false, x_dtype: F32, scales_dtype: F16 };
        Self { problem, x: rounded(F32, &random::normal(3, n * k)) }
    }

    /// To tensors of a checkpoint.
    fn blocks([n, k, block]: [usize; 3], nested: bool) -> Self {
        let target = Target::Blocks { block, nested };
        let problem = Problem { target, n, k, has_zeros: false, x_dtype: F32, scales_dtype: F32 };
        Self { problem, x: rounded(F32, &random::normal(3, n * k)) }
    }

    fn rows(dtype: DType, n: usize, k: usize) -> Self {
        let target = Target::Rows(dtype);
        let problem = Problem { target, n, k, has_zeros: false, x_dtype: F32, scales_dtype: F32 };
        Self { problem, x: rounded(F32, &random::normal(3, n * k)) }
    }

    fn with_zeros(mut self) -> Self {
        self.problem.has_zeros = true;
        self
    }

    fn with_types(mut self, x: DType, scales: DType) -> Self {
        self.problem.x_dtype = x;
        if matches!(self.problem.target, Target::Groups(_)) {
            self.problem.scales_dtype = scales;
        }
        Self { x: rounded(x, &self.x), ..self }
    }

    fn tensors(&self, x: Layout) -> Result<Tensors> {
        let Problem { target, n, k, has_zeros, scales_dtype, .. } = self.problem;
        let poisoned = |dtype, shape: &[usize]| DeviceTensor::poisoned(queue(), dtype, Layout::contiguous(shape)?);
        let (q, scales, zeros) = match target {
            Target::Groups(format) => {
                let len = [format.scales_len()];
                let zeros = has_zeros.then(|| poisoned(DType::U8, &len)).transpose()?;
                (poisoned(DType::U8, &[format.code_bytes()])?, poisoned(scales_dtype, &len)?, zeros)
            }
            Target::Blocks { block, .. } => {
                (poisoned(DType::U8, &[n * k / 2])?, poisoned(F32, &[n * k / block])?, None)
            }
            Target::Rows(dtype) => (poisoned(dtype, &[n, k])?, poisoned(F32, &[n])?, None),
        };
        let nested = match target {
            Target::Blocks { block, nested: true } => {
                let (blocks, table) = (n * k / block, HostTensor::from_slice("", &[256], &dynamic_table()));
                let parts = poisoned(F32, &[blocks.div_ceil(256)])?;
                Some([table.upload(queue())?, poisoned(DType::U8, &[blocks])?, parts, poisoned(F32, &[1])?])
            }
            _ => None,
        };
        Ok(Tensors { x: upload(self.problem.x_dtype, &self.x, x)?, q, scales, zeros, nested })
    }

    /// Bytes of codes, scales and zero-points.
    fn run_in(&self, x: Layout) -> Result<PackedMatrix> {
        Ok(self.run_all(x)?.0)
    }

    /// And magnitudes that were quantised.
    fn run_all(&self, x: Layout) -> Result<(PackedMatrix, Option<NestedMagnitudes>)> {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        let mut tensors = self.tensors(x)?;
        tensors.launch(&self.problem)?;
        queue().synchronize()?;
        let bytes = |tensor: &DeviceTensor| tensor.download(queue(), "").map(|host| host.bytes);
        let zeros = tensors.zeros.as_ref().map(bytes).transpose()?;
        let nested = match &tensors.nested {
            Some([_, codes, magnitudes, offset]) => {
                let (magnitudes, offset) = (singles(&bytes(magnitudes)?), singles(&bytes(offset)?)[0]);
                Some(NestedMagnitudes { codes: bytes(codes)?, magnitudes, offset })
            }
            None => None,
        };
        Ok((PackedMatrix { codes: bytes(&tensors.q)?, scales: bytes(&tensors.scales)?, zeros }, nested))
    }

    fn run(&self) -> PackedMatrix {
        let layout = Layout::contiguous(&[self.problem.n, self.problem.k]).unwrap();
        self.run_in(layout).unwrap_or_else(|error| panic!("{error}"))
    }

    fn singles(&self) -> Vec<f32> {
        self.x.iter().map(|&x| x as f32).collect()
    }

    /// What the definition gives, of groups.
    fn matrix(&self) -> GroupedMatrix {
        let Target::Groups(format) = self.problem.target else { panic!("rows are no matrix") };
        quantize_groups(format, &self.singles(), self.problem.has_zeros, self.problem.scales_dtype)
    }

    fn expected(&self) -> PackedMatrix {
        match self.problem.target {
            Target::Groups(_) => self.matrix().pack(self.problem.scales_dtype, None),
            Target::Blocks { block, .. } => {
                let (codes, magnitudes) = quantize_blocks(block, &self.singles());
                PackedMatrix { codes, scales: bytemuck::cast_slice(&magnitudes).to_vec(), zeros: None }
            }
            Target::Rows(dtype) => {
                let x = self.singles();
                let rows = x.chunks(self.problem.k).map(|row| quantize_row(dtype, row));
                let (scales, codes): (Vec<f32>, Vec<Vec<f64>>) = rows.unzip();
                let codes = codes.concat();
                PackedMatrix {
                    codes: HostTensor::from_f64("", dtype, &[codes.len()], &codes).bytes,
                    scales: HostTensor::from_slice("", &[scales.len()], &scales).bytes,
                    zeros: None,
                }
            }
        }
    }

    #[track_caller]
    fn assert_exact(&self) {
        let (got, expected) = (self.run(), self.expected());
        assert!(got.scales == expected.scales, "{:?}: scales differ", self.problem);
        assert!(got.zeros == expected.zeros, "{:?}: zero-points differ", self.problem);
        assert!(got.codes == expected.codes, "{:?}: codes differ", self.problem);
    }
}

/// Numbers of f32 in bytes that lie anywhere.
fn singles(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

struct Tensors {
    x: DeviceTensor,
    q: DeviceTensor,
    scales: DeviceTensor,
    zeros: Option<DeviceTensor>,
    /// Table, codes, magnitudes, offset.
    nested: Option<[DeviceTensor; 4]>,
}

impl Tensors {
    fn launch(&mut self, problem: &Problem) -> Result<()> {
        let (q, scales) = (self.q.view_mut()?, self.scales.view_mut()?);
        let to = match problem.target {
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
        quantize(queue(), Args { x: self.x.view()?, to })
    }
}
