//! The scans on the device that LLM_KERNELS_DEVICE names.

mod causal_conv1d;
mod causal_conv1d_backward;
mod selective_scan;
mod selective_scan_backward;
mod selective_step;
mod support;
