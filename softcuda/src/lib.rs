//! A CUDA device in software.
pub mod check;
pub mod chip;
pub mod config;
pub mod container;
#[doc(hidden)]
pub mod driver;
pub mod exec;
pub mod fault;
mod image;
mod install;
pub mod memory;
pub mod profile;
pub mod program;
pub mod ptx;

pub use check::{BenignRace, benign_races, clear_benign_races};
pub use config::{set_checks, set_schedule};
pub use driver::error::{last_error_text, last_fault};
pub use driver::forget_written;
pub use install::{InstallError, install};
pub use profile::{LaunchReport, clear_launches, launches};
