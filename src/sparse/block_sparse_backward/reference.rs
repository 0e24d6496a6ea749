//! The gradients of block-sparse attention as they are defined: those of dense attention under the element mask of the
//! layout, naive, in double precision. And the same in the precision of the kernels' inputs.

use crate::attention::flash_backward::reference as dense;
use crate::attention::flash_forward::Problem;
use crate::sparse::Pattern;
use crate::sparse::block_sparse::reference::{mask_bits, masked};

pub use dense::{Gradients, Inputs, terms};

/// The gradients where the patterns of `heads` show keys, in double precision: one for all heads, or one for each.
pub fn reference(problem: &Problem, heads: &[&Pattern], inputs: &Inputs) -> Gradients {
    under_mask(problem, heads, inputs, dense::reference)
}

/// Likewise in the precision of the inputs.
pub fn plain(problem: &Problem, heads: &[&Pattern], inputs: &Inputs) -> Gradients {
    under_mask(problem, heads, inputs, dense::plain)
}

fn under_mask(
    problem: &Problem,
    heads: &[&Pattern],
    inputs: &Inputs,
    gradients: fn(&Problem, &Inputs) -> Gradients,
) -> Gradients {
    let Some(pattern) = heads.first() else { return Gradients::default() };
    let mask_bits = mask_bits(heads.iter().copied());
    let mut inputs = *inputs;
    inputs.forward.mask_bits = &mask_bits;
    gradients(&masked(problem, heads.len(), pattern), &inputs)
}
