//! The software device as cudarc sees it: tests by subject, and what they share.

mod context;
mod memory;
mod names;

use cudarc::driver::CudaContext;
use softcuda::chip::Architecture;
use std::sync::Arc;

/// A context on device `ordinal` of an A100, an RTX 4090 and an H100.
fn context(ordinal: usize) -> Arc<CudaContext> {
    softcuda::install(&Architecture::ALL).expect("the software device installs");
    CudaContext::new(ordinal).expect("a context")
}
