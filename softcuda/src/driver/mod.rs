//! The CUDA driver API, version 13.0: one file for each kind of CUDA object.
//!
//! Most operations are complete when their call returns. That is one of the orders that streams and events allow, so a
//! correct program cannot tell; an incorrect one, which forgets to wait, is not found out here. What has to wait for the
//! program itself is queued: see `queue`.
//!
//! Functions are found by name through the table in `names`; `abi` holds what is C about them. What they do is
//! described in NVIDIA's driver API reference; comments here say what differs.

#![allow(non_snake_case, reason = "the functions have the names of the driver API")]

pub mod abi;
pub mod batch;
pub mod capture;
mod clock;
pub mod context;
pub mod copy;
pub mod device;
pub mod error;
pub mod event;
pub mod fill;
pub mod function;
pub mod graph;
pub mod host;
pub mod launch;
pub mod library;
pub mod linker;
pub mod location;
pub mod managed;
pub mod memory;
pub mod module;
pub mod occupancy;
pub mod peer;
pub mod pointer;
pub mod pool;
pub mod primary;
pub mod proc_address;
pub mod stream;
pub mod unsupported;
pub mod value;
pub mod virtual_memory;

mod address;
mod attribute;
mod codes;
mod faults;
mod jit;
mod limit;
mod names;
mod operation;
mod parameters;
mod queue;
mod source;
mod table;
mod versions;

pub use address::forget_written;
pub(crate) use device::configure;
pub(crate) use names::functions;
