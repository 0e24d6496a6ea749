//! A CUDA device in software.
pub mod chip;
pub mod config;
pub mod exec;
pub mod fault;
pub mod memory;
pub mod profile;
pub mod program;
pub mod ptx;
/// Not there yet.
pub fn install(_: &[chip::Architecture]) -> Result<(), String> {
    Err("this build has none".into())
}
