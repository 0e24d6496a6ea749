//! Matrix multiply-accumulate of a warp: pure functions from fragments to fragments.
//!
//! The bodies ([`exact`], [`fast`]) are generic over the host's instruction set and always inlined; [`select`] gives one
//! compiled function for a form, to be looked up once.

#![allow(clippy::needless_range_loop, reason = "places, halves and parities index several tables at once")]

pub mod element;
pub mod exact;
pub mod fast;
mod fragment;
pub mod isa;
pub mod model;
pub mod select;

pub use select::{Arithmetic, HostLevel, MmaF16, MmaF32, OperandType, Shape, TensorModel, select_f16, select_f32};
