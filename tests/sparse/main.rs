//! Sparse attention on the device that LLM_KERNELS_DEVICE names.

mod block_sparse;
mod block_sparse_backward;
mod layout;
mod patterns;

#[path = "../support/mod.rs"]
mod support;

use support::{LAUNCHES, count, get, queue, rounded, upload};
