//! Checkpoint tensors as their formats define them, sharing no code with the kernel.

use super::{Problem, Source};
use crate::quant::{GroupedFormat, GroupedMatrix};

/// A checkpoint's tensors; words are i32.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Words, or bytes of NF4, little endian.
    pub qweight: &'a [u8],
    /// Words.
    pub qzeros: Option<&'a [u8]>,
    /// Scales; of NF4 magnitudes, or the codes of such.
    pub scales: &'a [f32],
    /// What the codes of magnitudes stand for, and the magnitudes of each 256 of them.
    pub nested: Option<(&'a [f32], &'a [f32])>,
}

/// Where AWQ puts column `i` of 8.
const AWQ_PLACES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

fn word(bytes: &[u8], index: usize) -> u32 {
    bytes.as_chunks().0.get(index).map_or(0, |&bytes| u32::from_le_bytes(bytes))
}

/// The matrix, its columns as they lie in the checkpoint.
pub fn reference(problem: &Problem, inputs: &Inputs) -> GroupedMatrix {
    let format = problem.format;
    let GroupedFormat { n, k, codes, .. } = format;
    let (groups, bits, per_word) = (format.groups(), codes.bits(), 32 / codes.bits());
    let mask = (1_u32 << bits) - 1;
    let code = |row: usize, column: usize| match problem.source {
        Source::Gptq | Source::GptqV2 => {
            word(inputs.qweight, column / per_word * n + row) >> (column % per_word * bits) & mask
        }
        Source::Awq => word(inputs.qweight, column * (n / 8) + row / 8) >> (4 * AWQ_PLACES[row % 8]) & mask,
        Source::Nf4 => {
            let byte = u32::from(inputs.qweight[(row * k + column) / 2]);
            if column.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
        }
    };
    let scale = |row: usize, group: usize| match (problem.source, inputs.nested) {
        (Source::Nf4, None) => inputs.scales[row * groups + group],
        (Source::Nf4, Some((table, magnitudes))) => {
            let block = row * groups + group;
            table[inputs.scales[block] as usize] * magnitudes[block / 256] + problem.offset
        }
        _ => inputs.scales[group * n + row],
    };
    let zero = |qzeros: &[u8], row: usize, group: usize| match problem.source {
        Source::Awq => word(qzeros, group * (n / 8) + row / 8) >> (4 * AWQ_PLACES[row % 8]) & mask,
        source => {
            let stored = word(qzeros, group * (n / per_word) + row / per_word) >> (row % per_word * bits) & mask;
            if source == Source::Gptq { (stored + 1) & mask } else { stored }
        }
    };
    let all = |count: usize| (0..n).flat_map(move |row| (0..count).map(move |index| (row, index)));
    GroupedMatrix {
        format,
        codes: all(k).map(|(row, column)| code(row, column) as u8).collect(),
        scales: all(groups).map(|(row, group)| scale(row, group)).collect(),
        zeros: inputs.qzeros.map(|qzeros| all(groups).map(|(row, group)| zero(qzeros, row, group) as u8).collect()),
        g_idx: None,
    }
}
