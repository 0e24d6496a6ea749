//! Attention on the device that LLM_KERNELS_DEVICE names.

mod append_kv;
mod decode;
mod flash_backward;
mod flash_forward;
mod merge;

#[path = "../support/mod.rs"]
mod support;

use support::{LAUNCHES, count, get, queue, rounded, upload};

use llm_kernels::attention::flash_forward::Options;

const FULL: Options = Options {
    causal: false,
    scale: None,
    window_left: None,
    window_right: None,
    softcap: None,
    dropout_p: 0.0,
    dropout_seed: 0,
};
const CAUSAL: Options = Options { causal: true, ..FULL };
