//! One step as it is defined: a scan of one position, in place. In double precision, and in f32 as one would write it.

use super::Problem;
use crate::Result;
pub use crate::scan::selective_scan::reference::{Input, Output};
use crate::scan::selective_scan::reference::{plain as plain_scan, reference as reference_scan};

/// In double precision, of the channels asked for; `initial_state` is the state before.
///
/// # Errors
/// A problem that no kernel supports.
pub fn reference(problem: &Problem, input: &Input, channels: &[usize]) -> Result<Output> {
    Ok(reference_scan(&problem.as_scan()?, input, channels))
}

/// In f32, rounded to u's type.
///
/// # Errors
/// A problem that no kernel supports.
pub fn plain(problem: &Problem, input: &Input, channels: &[usize]) -> Result<Output> {
    Ok(plain_scan(&problem.as_scan()?, input, channels))
}
