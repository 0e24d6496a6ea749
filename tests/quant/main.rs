//! Products with quantised weights on the device that LLM_KERNELS_DEVICE names.

mod gguf;
mod gguf_rows;
mod quantize;
mod repack;
mod weight_only;

#[path = "../support/mod.rs"]
mod support;

use support::{LAUNCHES, count, get, queue, rounded, upload};

use llm_kernels::quant::sample;
use llm_kernels::verify::{DeviceTensor, HostTensor};
use llm_kernels::{Format, Result};

/// Bytes, and after them none that a kernel may read.
fn upload_bytes(bytes: &[u8]) -> Result<DeviceTensor> {
    HostTensor::from_slice("w", &[bytes.len()], bytes).upload(queue())
}

/// A matrix `[n, k]` of weights as large as a model's.
fn packed(format: Format, n: usize, k: usize) -> Vec<u8> {
    sample::weights(format, 1, n * k / format.block_weights())
}
