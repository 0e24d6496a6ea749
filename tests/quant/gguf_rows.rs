//! `quant::gguf_rows`.

mod agrees;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use std::sync::PoisonError;

use llm_kernels::quant::gguf_rows::reference::{reference, rounded};
use llm_kernels::quant::gguf_rows::{Args, Problem, gguf_rows};
use llm_kernels::quant::{PackedTensor, sample};
use llm_kernels::verify::{DeviceTensor, HostTensor};
use llm_kernels::{DType, Format, Layout, Result};

use crate::{LAUNCHES, queue, upload_bytes};

use DType::{BF16, F16, F32};

/// A matrix with the rows to be taken from it.
#[derive(Clone, Debug)]
struct Rows {
    problem: Problem,
    w: Vec<u8>,
    ids: Option<Vec<i32>>,
}

impl Rows {
    /// All rows of random bytes.
    fn all(format: Format, n: usize, k: usize) -> Self {
        let w = sample::bytes(5, n * format.row_bytes(k).unwrap());
        Self { problem: Problem::new(format, n, k, n, false, F32).unwrap(), w, ids: None }
    }

    fn gathered(mut self, ids: &[i32]) -> Self {
        (self.problem.rows, self.problem.gathered) = (ids.len(), true);
        Self { ids: Some(ids.to_vec()), ..self }
    }

    fn with_type(mut self, dtype: DType) -> Self {
        self.problem.dtype = dtype;
        self
    }

    fn layout(&self) -> Layout {
        Layout::contiguous(&[self.problem.rows, self.problem.k]).unwrap()
    }

    fn run(&self) -> HostTensor {
        self.run_in(self.layout()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs with the result laid out as given. Bytes between its elements must stay as they are.
    fn run_in(&self, layout: Layout) -> Result<HostTensor> {
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        let mut tensors = self.tensors(layout)?;
        tensors.launch(&self.problem)?;
        queue().synchronize()?;
        let out = tensors.out.download(queue(), "out")?;
        let mut untouched = DeviceTensor::poisoned(queue(), self.problem.dtype, layout)?;
        untouched.write(queue(), &out.bytes)?;
        assert!(untouched.image(queue())? == tensors.out.image(queue())?, "bytes between elements were written");
        Ok(out)
    }

    fn tensors(&self, layout: Layout) -> Result<Tensors> {
        let ids = self.ids.as_ref().map(|ids| HostTensor::from_slice("ids", &[ids.len()], ids).upload(queue()));
        let out = DeviceTensor::poisoned(queue(), self.problem.dtype, layout)?;
        Ok(Tensors { w: upload_bytes(&self.w)?, ids: ids.transpose()?, out })
    }

    /// The definition's rows, rounded to the result's type.
    fn expected(&self) -> Vec<f64> {
        rounded(self.problem.dtype, &reference(&self.problem, &self.w, self.ids.as_deref()))
    }

    /// Bit for bit; any NaN will do for a NaN.
    #[track_caller]
    fn assert_exact(&self) {
        let (got, expected) = (self.run().to_f64(), self.expected());
        assert_eq!(got.len(), expected.len());
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
            assert!(same, "{:?}: element {i} is {got:e}, expected {expected:e}", self.problem);
        }
    }
}

struct Tensors {
    w: DeviceTensor,
    ids: Option<DeviceTensor>,
    out: DeviceTensor,
}

impl Tensors {
    fn launch(&mut self, problem: &Problem) -> Result<()> {
        let Problem { format, n, k, .. } = *problem;
        let ids = self.ids.as_ref().map(DeviceTensor::view).transpose()?;
        let w = PackedTensor { format, n, k, bytes: self.w.view()? };
        gguf_rows(queue(), Args { w, ids, out: self.out.view_mut()?, scale: problem.scale })
    }
}
