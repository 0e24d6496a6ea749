//! The lookup as it is defined: naive, sharing no code with the kernel. And the same in f32: the yardstick for the kernel's
//! error.

use super::super::rows::rounded;
use super::{Problem, Shape};

/// `scale * table[ids[i]]` `[m, d]`, of `table` `[n, d]` and `ids` `[m]`; NaN for a number outside the table.
pub fn reference(problem: &Problem, table: &[f64], ids: &[f64]) -> Vec<f64> {
    every_element(problem, ids, |at| table[at] * f64::from(problem.scale))
}

/// The same in f32, rounded to the result's type.
pub fn plain(problem: &Problem, table: &[f64], ids: &[f64]) -> Vec<f64> {
    every_element(problem, ids, |at| rounded(problem.dtype, table[at] as f32 * problem.scale))
}

fn every_element(problem: &Problem, ids: &[f64], element: impl Fn(usize) -> f64) -> Vec<f64> {
    let Shape { n, d, .. } = problem.shape;
    let row = |&id: &f64| (0..d).map(move |j| (id, j));
    let elements = ids.iter().flat_map(row);
    elements.map(|(id, j)| if id >= 0.0 && id < n as f64 { element(id as usize * d + j) } else { f64::NAN }).collect()
}
