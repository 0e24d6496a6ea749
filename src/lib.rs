//! Hand-written CUDA kernels for resource-efficient language models, behind safe Rust.
//!
//! The way of the data is one direction, one type per arrow:
//!
//! ```text
//! attention::flash_forward(&queue, Args { q, k, v, out, lse, options })   views of the caller's memory, named options
//!   -> Problem::check     every error is raised here; the result is the checked shape
//!   -> plan               pure data: instance, grid, block, shared memory; tested without a device
//!   -> Params             one struct per kernel, passed by value
//!   -> queue.launch       cudarc -> libcuda: a GPU, or the software device
//! ```
//!
//! A [`Device`] is a CUDA context with the kernels loaded into it, a [`Queue`] a device and a stream. Operators
//! allocate nothing, never synchronise, and leave the caller's current context as they found it.
//! Each operator documents itself with its derivation and ships with a naive reference.
//!
//! Capturing into a graph: call [`Device::prepare`] with the plan first, and switch off cudarc's event tracking
//! (`CudaContext::disable_event_tracking`), since events recorded outside a capture can't be waited for inside.
//!
//! Features: `software` adds [`Device`]'s software device, `verify` the module `verify`, which tests, benches and
//! the command line share, `bundled-nvcc` fetches NVIDIA's compiler when the build finds none.

pub mod attention;
mod check;
mod device;
mod dtype;
mod e4m3;
pub mod embedded;
mod error;
pub mod fused;
mod launch;
mod layout;
pub mod quant;
mod resources;
mod rotation;
pub mod scan;
#[cfg(feature = "software")]
pub mod software;
pub mod sparse;
mod tensor;
#[cfg(feature = "verify")]
pub mod verify;

pub use device::{Device, Limits};
pub use dtype::{DType, Element};
pub use e4m3::E4M3;
pub use error::{Error, Result};
pub use launch::{LaunchPlan, Queue};
pub use layout::{Layout, MAX_RANK, overlap};
pub use quant::Format;
pub use resources::Resources;
pub use tensor::{Buffer, BufferMut, Operand, TensorView, TensorViewMut};

/// The examples of the walk through an engine, as tests.
#[cfg(doctest)]
#[doc = include_str!("../examples/engine.md")]
mod engine {}
