//! Block-sparse attention as it is defined: dense attention under the element mask of the layout, naive, in double
//! precision. And the same in the precision of the kernel's inputs: the yardstick for its error.

use crate::DType;
use crate::attention::flash_forward::reference as dense;
use crate::attention::flash_forward::{Broadcast, Problem};
use crate::sparse::Pattern;

pub use dense::{Inputs, Output, Row, reference_row, rows};

/// The element mask of each head's pattern, `[heads, s_q, ceil(s_k / 32)]`: key `j` is seen if bit `j % 32` of word `j / 32`
/// is set.
pub fn mask_bits<'a>(heads: impl IntoIterator<Item = &'a Pattern>) -> Vec<u32> {
    let mut words = Vec::new();
    for pattern in heads {
        let grid = pattern.grid();
        for i in 0..grid.s_q() {
            let first = words.len();
            words.resize(first + grid.s_k().div_ceil(32), 0);
            for j in (0..grid.s_k()).filter(|&j| pattern.sees(i, j)) {
                words[first + j / 32] |= 1 << (j % 32);
            }
        }
    }
    words
}

/// The dense problem under the element masks of `heads` patterns like `pattern`: one for all heads, or one for each.
pub fn masked(problem: &Problem, heads: usize, pattern: &Pattern) -> Problem {
    let (s_q, columns) = (pattern.grid().s_q(), pattern.grid().s_k().div_ceil(32));
    let mask = Broadcast { dtype: DType::U32, b: 1, h_q: heads, s_q, columns };
    Problem { mask_bits: Some(mask), ..*problem }
}

/// Attention to what the patterns of `heads` show, in double precision: one for all heads, or one for each. `inputs` are
/// q, k, v and where sequences lie.
pub fn reference(problem: &Problem, heads: &[&Pattern], inputs: &Inputs) -> Output {
    every_row(problem, heads, inputs, dense::reference)
}

/// Likewise in the precision of the inputs, one matrix after the other.
pub fn plain(problem: &Problem, heads: &[&Pattern], inputs: &Inputs) -> Output {
    every_row(problem, heads, inputs, dense::plain)
}

fn every_row(
    problem: &Problem,
    heads: &[&Pattern],
    inputs: &Inputs,
    attention: fn(&Problem, &Inputs) -> Output,
) -> Output {
    let Some(pattern) = heads.first() else { return Output::default() };
    let mask_bits = mask_bits(heads.iter().copied());
    attention(&masked(problem, heads.len(), pattern), &Inputs { mask_bits: &mask_bits, ..*inputs })
}
