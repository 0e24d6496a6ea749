//! Products with quantised weights on the device that LLM_KERNELS_DEVICE names.

mod gguf;
mod gguf_rows;
mod quantize;
mod repack;
mod weight_only;

use std::sync::RwLock;

use llm_kernels::quant::sample;
use llm_kernels::verify::{self, Counters, DeviceTensor, HostTensor, counted};
use llm_kernels::{DType, Format, Layout, Queue, Result};

/// Launches share it; what counts launches has it alone.
static LAUNCHES: RwLock<()> = RwLock::new(());

fn queue() -> &'static Queue {
    verify::queue().unwrap_or_else(|error| panic!("{error}"))
}

/// Numbers as the element type holds them.
fn rounded(dtype: DType, values: &[f64]) -> Vec<f64> {
    HostTensor::from_f64("", dtype, &[values.len()], values).to_f64()
}

/// Values laid out as given, in memory that is NaN wherever nothing was put.
fn upload(dtype: DType, values: &[f64], layout: Layout) -> Result<DeviceTensor> {
    let mut tensor = DeviceTensor::poisoned(queue(), dtype, layout)?;
    tensor.write(queue(), &HostTensor::from_f64("", dtype, layout.shape(), values).bytes)?;
    Ok(tensor)
}

/// Bytes, and after them none that a kernel may read.
fn upload_bytes(bytes: &[u8]) -> Result<DeviceTensor> {
    HostTensor::from_slice("w", &[bytes.len()], bytes).upload(queue())
}

/// A matrix `[n, k]` of weights as large as a model's.
fn packed(format: Format, n: usize, k: usize) -> Vec<u8> {
    sample::weights(format, 1, n * k / format.block_weights())
}

/// Counters of `work`; `None` on a GPU, which has no such figures.
fn count(work: impl FnOnce() -> Result<()>) -> Option<Counters> {
    let ((), counters) = counted(queue(), work).unwrap_or_else(|error| panic!("{error}"));
    if counters.is_none() {
        assert!(!queue().device().is_software(), "the software device counted nothing");
        eprintln!("not run: {} is a GPU, it has no counters", queue().device().name());
    }
    counters
}

fn get(counters: &Counters, name: &str) -> f64 {
    counters.get(name).unwrap_or_else(|| panic!("no counter {name}"))
}
