//! The common form of fragments: what products are computed from, whatever the element type.
//!
//! Lane `4 g + t` of a fragment's register holds elements of row `g` or `g + 8` of A, or of column `g` of B, at places that `t`
//! and the register fix (PTX ISA, "Matrix fragments for mma"). A register step is what all lanes hold of one register of B, and of
//! the two registers of A beside it. In the tables its elements are *groups*: one value for every `t`, row or column. In
//! which order products are summed does not matter within a step of the tensor core, so groups need not be in order of k.
//!
//! The sixteen rows lie side by side in a vector, in the order that four-by-four transposition gives them: row `4 q + i` in lane
//! `4 i + q`.

use super::{isa::Isa, operand::Operand};
use crate::exec::value::Lanes;

/// Groups of a product at most.
pub(super) const GROUPS: usize = 8;

/// A: vectors of rows.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct ATable {
    /// By (group, t): an f32, two 16-bit integers or 32 bits for each row.
    pub(super) values: [[[u32; 16]; 4]; GROUPS],
    /// By (group or pair of groups, t): exponents, two 16-bit halves, with f32's bias.
    pub(super) exponents: [[[u32; 16]; 4]; GROUPS],
}

/// B: single elements.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct BTable {
    /// By (group, lane of the fragment): lane `4 n + t` belongs to column `n`.
    pub(super) values: [[u32; 32]; GROUPS],
    /// By (group or pair of groups, lane): exponents, two 16-bit halves, without bias.
    pub(super) exponents: [[u32; 32]; GROUPS],
}

impl Default for ATable {
    fn default() -> ATable {
        ATable { values: [[[0; 16]; 4]; GROUPS], exponents: [[[0; 16]; 4]; GROUPS] }
    }
}

impl Default for BTable {
    fn default() -> BTable {
        BTable { values: [[0; 32]; GROUPS], exponents: [[0; 32]; GROUPS] }
    }
}

/// Half `half` of a register.
#[inline(always)]
pub(super) fn take<S: Isa>(isa: S, lanes: &Lanes, half: usize) -> S::Vector {
    let (halves, _) = lanes.0.as_chunks::<16>();
    isa.load(&halves[half])
}

/// Writes a vector to half `half` of a register.
#[inline(always)]
pub(super) fn put<S: Isa>(isa: S, vector: S::Vector, lanes: &mut [u32; 32], half: usize) {
    let (halves, _) = lanes.as_chunks_mut::<16>();
    isa.store(vector, &mut halves[half]);
}

/// The rows of two registers, `g` in the first and `g + 8` in the second, as one vector for each `t`.
#[inline(always)]
pub(super) fn rows<S: Isa>(isa: S, low: &Lanes, high: &Lanes) -> [S::Vector; 4] {
    isa.transpose_quads([take(isa, low, 0), take(isa, low, 1), take(isa, high, 0), take(isa, high, 1)])
}

/// Exponent bias of A's table: sums with B's carry that of f32.
const A_BIAS: i16 = 127;

/// Decodes A; as many registers as the fragment has, two for each step.
#[inline(always)]
pub(super) fn decode_a<S: Isa, T: Operand>(isa: S, registers: &[&Lanes], exponents: bool, table: &mut ATable) {
    let steps = registers.len() / 2;
    for (step, pair) in registers.chunks_exact(2).enumerate() {
        for (t, dwords) in rows(isa, pair[0], pair[1]).into_iter().enumerate() {
            let values = T::values(isa, dwords);
            for element in 0..T::GROUPS {
                isa.store(values[element], &mut table.values[T::group(step, element, steps)][t]);
            }
            if exponents && !T::INTEGER {
                let found = T::exponents(isa, dwords, values, A_BIAS);
                for (element, place) in exponent_places::<T>(step, steps) {
                    isa.store(found[element], &mut table.exponents[place][t]);
                }
            }
        }
    }
}

/// Decodes B; a register for each step.
#[inline(always)]
pub(super) fn decode_b<S: Isa, T: Operand>(isa: S, registers: &[&Lanes], exponents: bool, table: &mut BTable) {
    let steps = registers.len();
    for (step, lanes) in registers.iter().enumerate() {
        for half in 0..2 {
            let dwords = take(isa, lanes, half);
            let values = T::values(isa, dwords);
            for element in 0..T::GROUPS {
                put(isa, values[element], &mut table.values[T::group(step, element, steps)], half);
            }
            if exponents && !T::INTEGER {
                let found = T::exponents(isa, dwords, values, 0);
                for (element, place) in exponent_places::<T>(step, steps) {
                    put(isa, found[element], &mut table.exponents[place], half);
                }
            }
        }
    }
}

/// Vectors of exponents of a step: which of those that the operand gives goes where.
#[inline(always)]
fn exponent_places<T: Operand>(step: usize, steps: usize) -> impl Iterator<Item = (usize, usize)> {
    let shared = if T::PAIRED { 2 } else { 1 };
    (0..T::GROUPS / shared).map(move |index| (index, T::group(step, shared * index, steps) / shared))
}
