//! The software device as cudarc sees it: tests by subject, and what they share.

#[macro_use]
#[path = "../driver_calls/mod.rs"]
mod calls;
mod batches;
mod context;
mod devices;
mod graph;
mod graph_resources;
mod launch;
mod libraries;
mod linking;
mod managed;
mod memory;
mod module;
mod names;
mod options;
mod pointers;
mod pools;
mod streams;
mod time;
mod virtual_memory;

use calls::KERNELS;
use cudarc::{
    driver::{CudaContext, CudaModule},
    nvrtc::Ptx,
};
use softcuda::chip::Architecture;
use std::sync::Arc;

/// A context on device `ordinal` of an A100, an RTX 4090 and an H100.
fn context(ordinal: usize) -> Arc<CudaContext> {
    softcuda::install(&Architecture::ALL).expect("the software device installs");
    CudaContext::new(ordinal).expect("a context")
}

/// The module of [`KERNELS`].
fn kernels(context: &Arc<CudaContext>) -> Arc<CudaModule> {
    let module = context.load_module(Ptx::from_src(KERNELS));
    module.expect("the module loads")
}
