//! Grouped matrices on the host, as they are defined.

use half::{bf16, f16};

use super::grouped::NF4;
use super::{Codes, GroupedFormat};
use crate::DType;

/// A matrix `[n, k]` of codes, row-major: `w[j, l] = scale[j, g] * (code[j, l] - zero[j, g])` with `g` the group of `l`; of
/// NF4 `scale * NF4[code]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupedMatrix {
    /// Its sizes.
    pub format: GroupedFormat,
    /// `[n, k]`
    pub codes: Vec<u8>,
    /// `[n, groups]`, f16 or bf16 numbers.
    pub scales: Vec<f32>,
    /// `[n, groups]`; [`Codes::middle`] without.
    pub zeros: Option<Vec<u8>>,
    /// The group of each column; `l / group` without.
    pub g_idx: Option<Vec<i32>>,
}

/// The bytes of a packed matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedMatrix {
    /// Codes.
    pub codes: Vec<u8>,
    /// Scales, of the type that was asked for.
    pub scales: Vec<u8>,
    /// Zero-points.
    pub zeros: Option<Vec<u8>>,
}

impl GroupedMatrix {
    fn group(&self, column: usize) -> usize {
        match &self.g_idx {
            Some(g_idx) => g_idx[column] as usize,
            None => column / self.format.group,
        }
    }

    /// What a weight's scale is multiplied by, and the scale.
    fn factors(&self, row: usize, column: usize) -> [f64; 2] {
        let (kind, code) = (self.format.codes, self.codes[row * self.format.k + column]);
        let at = row * self.format.groups() + self.group(column);
        let zero = self.zeros.as_ref().map_or(kind.middle(), |zeros| zeros[at]);
        let value = match kind {
            Codes::Nf4 => f64::from(NF4[usize::from(code & 15)]),
            Codes::Int4 | Codes::Int8 => f64::from(code) - f64::from(zero),
        };
        [value, self.scales[at].into()]
    }

    /// All weights `[n, k]`: exact.
    pub fn dequantised(&self) -> Vec<f64> {
        let GroupedFormat { n, k, .. } = self.format;
        let weight = |[value, scale]: [f64; 2]| value * scale;
        (0..n * k).map(|at| weight(self.factors(at / k, at % k))).collect()
    }

    /// All weights `[n, k]` as arithmetic of a 16-bit type gives them: values of NF4 and products are rounded to it.
    pub fn rounded(&self, dtype: DType) -> Vec<f64> {
        let GroupedFormat { n, k, .. } = self.format;
        let round = |x: f64| match dtype {
            DType::BF16 => bf16::from_f64(x).to_f64(),
            _ => f16::from_f64(x).to_f64(),
        };
        let weight = |[value, scale]: [f64; 2]| round(round(value) * scale);
        (0..n * k).map(|at| weight(self.factors(at / k, at % k))).collect()
    }

    /// Packs the matrix. Its columns are taken in the order `order`, if there is one: that of [`super::ActOrder`].
    pub fn pack(&self, dtype: DType, order: Option<&[i32]>) -> PackedMatrix {
        let GroupedFormat { codes: kind, n, k, .. } = self.format;
        let mut codes = vec![0; self.format.code_bytes()];
        for row in 0..n {
            for column in 0..k {
                let from = order.map_or(column, |order| order[column] as usize);
                let code = self.codes[row * k + from];
                let (byte, bit) = self.format.place(row, column);
                codes[byte] |= stored(kind, code) << bit;
            }
        }
        let mut scales = vec![0; self.format.scales_len() * 2];
        let mut zeros = self.zeros.as_ref().map(|_| vec![0; self.format.scales_len()]);
        let groups = self.format.groups();
        for at in 0..n * groups {
            let to = self.format.scale_place(at / groups, at % groups);
            let scale = match dtype {
                DType::BF16 => bf16::from_f32(self.scales[at]).to_bits(),
                _ => f16::from_f32(self.scales[at]).to_bits(),
            };
            scales[2 * to..][..2].copy_from_slice(&scale.to_le_bytes());
            if let (Some(to_zeros), Some(zeros)) = (&mut zeros, &self.zeros) {
                to_zeros[to] = zeros[at];
            }
        }
        PackedMatrix { codes, scales, zeros }
    }

    /// The matrix that was packed, its columns in the order in which they are. All parts must be whole.
    pub fn unpack(format: GroupedFormat, packed: &PackedMatrix, dtype: DType) -> Self {
        let GroupedFormat { codes: kind, n, k, .. } = format;
        let code = |at: usize| {
            let (byte, bit) = format.place(at / k, at % k);
            match kind {
                Codes::Int4 | Codes::Nf4 => packed.codes[byte] >> bit & 15,
                Codes::Int8 => packed.codes[byte] ^ 0x80,
            }
        };
        let groups = format.groups();
        let place = |at: usize| format.scale_place(at / groups, at % groups);
        let scale = |at: usize| {
            let bits = u16::from_le_bytes([packed.scales[2 * place(at)], packed.scales[2 * place(at) + 1]]);
            if dtype == DType::BF16 { bf16::from_bits(bits).to_f32() } else { f16::from_bits(bits).to_f32() }
        };
        Self {
            format,
            codes: (0..n * k).map(code).collect(),
            scales: (0..n * groups).map(scale).collect(),
            zeros: packed.zeros.as_ref().map(|zeros| (0..n * groups).map(|at| zeros[place(at)]).collect()),
            g_idx: None,
        }
    }
}

/// Eight bits are stored less 128, as a signed number.
fn stored(codes: Codes, code: u8) -> u8 {
    match codes {
        Codes::Int4 | Codes::Nf4 => code & 15,
        Codes::Int8 => code ^ 0x80,
    }
}
