//! The B that each row of a sparse A multiplies.
//!
//! A chunk of 4 places of a row (2 of tf32, 8 of 4-bit integers) has two 2-bit indices, the first in the lower bits: which
//! places its two stored elements stand for. The halves of a tf32 and pairs of 4-bit integers count as elements. Where they are
//! (PTX ISA, figures of "Matrix fragments for sparse mma"; ptxas takes the metadata of 8-bit floats apart in the same way
//! when it lowers them for sm_90): of row `g`, the 16 or 32 bits of a 16-bit fragment's 16 places, or of an 8-bit fragment's 32,
//!
//! * 16-bit elements and tf32: in the lower half of a lane's register; those of row `g + 8` in the upper half. The lane is
//!   `4 g + selector` where one lane of a quad has all, else `4 g + 2 selector + j` for the j-th 16 places;
//! * smaller ones: in lane `4 g + 2 selector`, those of row `g + 8` in the next; the second 32 places two lanes further.
//!
//! What the tensor cores' sums look like is published for dense products only. Here the products of the stored elements are
//! summed as those of a dense product with as many places.

use super::{
    element,
    form::{Element, Form, Sparse},
    operand::{SPECIAL_EXPONENT, ZERO_EXPONENT},
    second::Selected,
    tile::Context,
};
use crate::exec::value::{
    Lanes,
    half_precision::{bf16_to_f32, f16_to_f32},
};

/// How metadata is laid out.
struct Layout {
    /// Chunks of a row.
    chunks: usize,
    /// Lanes of a quad that hold metadata: 1, 2 or 4.
    lanes: usize,
    /// Both rows of a quad share a register.
    shared: bool,
}

impl Layout {
    fn new(form: &Form) -> Layout {
        // Bits of a row: 4 for each chunk.
        let per_chunk = match form.a {
            Element::Tf32 => 2,
            Element::S4 | Element::U4 => 8,
            _ => 4,
        };
        let chunks = form.k / per_chunk;
        Layout { chunks, lanes: 16 * 4 * chunks / 256, shared: form.a.bits() >= 16 }
    }

    /// The four bits of a chunk.
    fn chunk(&self, sparse: Sparse, metadata: &Lanes, row: usize, chunk: usize) -> u32 {
        let (group, upper) = (row % 8, row / 8);
        let first = 4 * group + self.lanes * usize::from(sparse.selector);
        let (lane, bit) = if self.shared {
            (first + chunk / 4, 16 * upper + 4 * (chunk % 4))
        } else {
            (first + upper + chunk / 8 * 2, 4 * (chunk % 8))
        };
        metadata.0[lane % 32] >> bit & 15
    }
}

/// Rows and chunks whose metadata PTX gives no meaning: the lane that holds the first of them, and its bits.
pub(crate) fn invalid(form: &Form, sparse: Sparse, metadata: &Lanes) -> Option<(usize, u32)> {
    let layout = Layout::new(form);
    for row in 0..16 {
        for chunk in 0..layout.chunks {
            let bits = layout.chunk(sparse, metadata, row, chunk);
            let (first, second) = (bits & 3, bits >> 2);
            let valid = match form.a {
                Element::Tf32 => matches!(bits, 0b1110 | 0b0100),
                _ if sparse.ordered => first < second,
                _ => first != second,
            };
            if !valid {
                return Some((row % 8 * 4, bits));
            }
        }
    }
    None
}

/// Place among all of a row that its stored element `stored` has.
fn place(form: &Form, layout: &Layout, sparse: Sparse, metadata: &Lanes, row: usize, stored: usize) -> usize {
    match form.a {
        Element::Tf32 => {
            let bits = layout.chunk(sparse, metadata, row, stored);
            2 * stored + (bits >> 1 & 1) as usize
        }
        Element::S4 | Element::U4 => {
            let (chunk, pair) = (stored / 4, stored % 4 / 2);
            let index = layout.chunk(sparse, metadata, row, chunk) >> (2 * pair) & 3;
            8 * chunk + 2 * index as usize + stored % 2
        }
        _ => {
            let chunk = stored / 2;
            let index = layout.chunk(sparse, metadata, row, chunk) >> (2 * (stored % 2)) & 3;
            4 * chunk + index as usize
        }
    }
}

/// An element as the tables have it: value, and exponent where there is one.
fn decode(element: Element, bits: u32, least: i32) -> (u32, i16) {
    let value = match element {
        Element::F16 => f16_to_f32(bits as u16),
        Element::Bf16 => bf16_to_f32(bits as u16),
        Element::Tf32 => f32::from_bits(bits & 0xffff_e000),
        Element::E5m2 => f16_to_f32((bits << 8) as u16),
        Element::E4m3 => element::e4m3_to_f32(bits as u8),
        Element::S8 => return (bits as u8 as i8 as u16 as u32, 0),
        Element::S4 => return ((((bits << 4) as u8 as i8) >> 4) as u16 as u32, 0),
        Element::U8 | Element::U4 | Element::B1 | Element::F64 => return (bits, 0),
    };
    let special = if value.is_finite() { 0 } else { SPECIAL_EXPONENT };
    let zero = if value == 0.0 { ZERO_EXPONENT } else { 0 };
    let field = (value.to_bits() >> 23 & 0xff) as i32 - 127;
    (value.to_bits(), field.max(least) as i16 + special + zero)
}

/// Fills the table of selected elements.
pub(super) fn select(context: &Context, sparse: Sparse, b: &[&Lanes], metadata: &Lanes, table: &mut Selected) {
    let form = &context.form;
    let layout = Layout::new(form);
    // Elements of B by (column, place): 128 places at most.
    let mut elements = [[(0u32, 0i16); 128]; 8];
    let (per_register, bits) = (form.b.per_register(), form.b.bits());
    for (step, lanes) in b.iter().enumerate() {
        for (lane, &word) in lanes.0.iter().enumerate() {
            for element in 0..per_register {
                let k = (4 * step + lane % 4) * per_register + element;
                let found = word >> (bits * element) & (u32::MAX >> (32 - bits));
                elements[lane / 4][k] = decode(form.b, found, context.least_exponents[1]);
            }
        }
    }
    let integer = matches!(form.b, Element::S8 | Element::U8 | Element::S4 | Element::U4);
    for lane in 0..16 {
        // The table's order of rows.
        let row = lane % 4 * 4 + lane / 4;
        for stored in 0..form.stored_k() {
            let k = place(form, &layout, sparse, metadata, row, stored);
            let (group, t, half) = position(context, stored);
            for column in 0..8 {
                let (value, exponent) = elements[column][k];
                if integer {
                    set_half(&mut table.values[group][t][column][lane], half, value);
                } else {
                    table.values[group][t][column][lane] = value;
                    let (index, half) = if form.b == Element::Tf32 { (group, 0) } else { (group / 2, group % 2) };
                    let to = &mut table.exponents[index][t][column][lane];
                    set_half(to, half, exponent as u16 as u32);
                    if form.b == Element::Tf32 {
                        set_half(to, 1, ZERO_EXPONENT as u16 as u32);
                    }
                }
            }
        }
    }
}

fn set_half(word: &mut u32, half: usize, value: u32) {
    let shift = 16 * half;
    *word = *word & !(0xffff << shift) | (value & 0xffff) << shift;
}

/// Group, t, and half of an integer pair of a stored element: where [`super::operand`] puts A's.
fn position(context: &Context, stored: usize) -> (usize, usize, usize) {
    let form = &context.form;
    let per_register = form.a.per_register();
    let (step, t, element) = (stored / (4 * per_register), stored / per_register % 4, stored % per_register);
    match form.a {
        Element::S8 | Element::U8 => (2 * step + element % 2, t, element / 2),
        Element::S4 | Element::U4 => (4 * step + element % 4, t, element / 4),
        Element::E4m3 | Element::E5m2 if context.halves_first => {
            (element / 2 * 2 * (form.stored_k() / 16) + 2 * step + element % 2, t, 0)
        }
        _ => (step * per_register + element, t, 0),
    }
}
