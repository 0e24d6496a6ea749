//! The table for magnitudes of NF4 blocks.

/// What the 256 codes of bitsandbytes' dynamic 8-bit type stand for, ascending: 0, 1, and of each power of ten from 1e-6 to 1,
/// with either sign, 1, 2, 4, .. 64 numbers that lie evenly between a tenth of it and it.
/// (Dettmers et al., *8-bit Optimizers via Block-wise Quantization*, 2022, arXiv:2110.02861, section 1.3.)
pub fn dynamic_table() -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut length = 2;
    table[1] = 1.0;
    for exponent in 0..7 {
        let count = 1 << exponent;
        for i in 0..count {
            let middle = 0.1 + 0.9 * (f64::from(i) + 0.5) / f64::from(count);
            let value = (middle * 10f64.powi(exponent - 6)) as f32;
            (table[length], table[length + 1]) = (value, -value);
            length += 2;
        }
    }
    table.sort_by(f32::total_cmp);
    table
}
