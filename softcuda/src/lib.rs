//! A CUDA device in software.
pub mod chip;
pub mod config;
pub mod exec;
pub mod fault;
pub mod memory;
pub mod profile;
pub mod program;
pub mod ptx;
