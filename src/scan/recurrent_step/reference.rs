//! The step as it is defined: naive, in double precision, sharing no code with the kernel. And the same in f32: the yardstick
//! for the kernel's error.

use super::Problem;
use crate::DType;
use crate::scan::SequenceSizes;
use crate::scan::linear_recurrence::{self, reference};

pub use crate::scan::linear_recurrence::reference::{Inputs, Output};

/// The step in double precision, of one position of each sequence.
pub fn reference(problem: &Problem, inputs: &Inputs) -> Output {
    reference::reference(&of_one_step(problem), inputs)
}

/// The step in f32, the result rounded to the problem's element type.
pub fn plain(problem: &Problem, inputs: &Inputs) -> Output {
    // Nothing here goes through a tensor core: in f32 but for the result.
    let mut output =
        reference::plain(&linear_recurrence::Problem { dtype: DType::F32, ..of_one_step(problem) }, inputs);
    for out in &mut output.out {
        *out = match problem.dtype {
            DType::F16 => half::f16::from_f64(*out).to_f64(),
            DType::BF16 => half::bf16::from_f64(*out).to_f64(),
            _ => *out,
        };
    }
    output
}

/// A sequence of one step.
fn of_one_step(problem: &Problem) -> linear_recurrence::Problem {
    let Problem { dtype, b, shape, decay, feature_map, normaliser, scale } = *problem;
    let sequences = SequenceSizes::uniform(b, 1);
    linear_recurrence::Problem {
        dtype,
        sequences,
        shape,
        decay,
        feature_map,
        normaliser,
        scale,
        chunk: None,
        states: 2,
    }
}
