//! Plain f32 sums, the same bits on every host: fused multiply-adds in order of k, starting at the accumulator.

use super::{isa::Isa, second::Second, table::ATable};

/// Four columns. `GROUPS` groups of four places, of which a register holds `STEP`: places in order of k are those of a step by t,
/// then by group. `EXACT`: products are exact in f32.
#[inline(always)]
pub(super) fn columns<S: Isa, const GROUPS: usize, const STEP: usize, const EXACT: bool, B: Second>(
    isa: S,
    a: &ATable,
    b: &B,
    columns: [usize; 4],
    mut sum: [S::Vector; 4],
) -> [S::Vector; 4] {
    for step in (0..GROUPS).step_by(STEP) {
        for t in 0..4 {
            for group in step..step + STEP {
                let of_a = isa.load(&a.values[group][t]);
                for i in 0..4 {
                    let of_b = b.values(isa, group, t, columns[i]);
                    sum[i] = if EXACT {
                        isa.multiply_add_exact(of_a, of_b, sum[i])
                    } else {
                        isa.multiply_add(of_a, of_b, sum[i])
                    };
                }
            }
        }
    }
    // No `map`: the library's functions are compiled without the host's instructions, and calls of each would remain.
    for sum in &mut sum {
        *sum = isa.canonical_nan(*sum);
    }
    sum
}
