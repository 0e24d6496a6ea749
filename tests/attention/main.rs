//! Attention on the device that LLM_KERNELS_DEVICE names.

mod flash_forward;
