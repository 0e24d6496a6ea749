//! Sparse attention on the device that LLM_KERNELS_DEVICE names.

mod layout;
mod patterns;
