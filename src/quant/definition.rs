//! The formats as they are defined: from the bytes of one block to its weights. Shares no code with the kernels.
//!
//! Source: the block structures of `ggml-common.h` and `dequantize_row_*` of `ggml-quants.c` in ggml (MIT), whose results
//! these are bit for bit.

use half::f16;

use super::Format;

/// The values that an index of IQ4_NL and IQ4_XS stands for.
const TABLE: [i32; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The weights of a block.
pub(super) fn block(format: Format, block: &[u8]) -> Vec<f32> {
    match format {
        Format::Q4_0 => weights_32(|i| half_at(block, 0) * (nibble(&block[2..], i) - 8) as f32),
        Format::Q4_1 => weights_32(|i| half_at(block, 0) * nibble(&block[4..], i) as f32 + half_at(block, 2)),
        Format::Q5_0 => {
            weights_32(|i| half_at(block, 0) * (nibble(&block[6..], i) + 16 * bit(&block[2..], i) - 16) as f32)
        }
        Format::Q5_1 => weights_32(|i| {
            half_at(block, 0) * (nibble(&block[8..], i) + 16 * bit(&block[4..], i)) as f32 + half_at(block, 2)
        }),
        Format::Q8_0 => weights_32(|i| half_at(block, 0) * f32::from(block[2 + i] as i8)),
        Format::IQ4NL => weights_32(|i| half_at(block, 0) * TABLE[nibble(&block[2..], i) as usize] as f32),
        Format::Q2K => weights_256(|group, i| {
            let scales = i32::from(block[2 * group + i / 16]);
            let q = i32::from(block[16 + group / 4 * 32 + i]) >> (2 * (group % 4)) & 3;
            half_at(block, 80) * (scales & 15) as f32 * q as f32 - half_at(block, 82) * (scales >> 4) as f32
        }),
        Format::Q3K => weights_256(|group, i| {
            let low = i32::from(block[32 + group / 4 * 32 + i]) >> (2 * (group % 4)) & 3;
            let high = i32::from(block[i]) >> group & 1;
            let scale = scale_of_12_bytes(&block[96..108], 2 * group + i / 16) - 32;
            half_at(block, 108) * scale as f32 * (low + 4 * high - 4) as f32
        }),
        Format::Q4K => weights_256(|group, i| {
            let (scale, minimum) = scale_and_minimum(&block[4..16], group);
            let q = i32::from(block[16 + group / 2 * 32 + i]) >> (4 * (group % 2)) & 15;
            half_at(block, 0) * scale as f32 * q as f32 - half_at(block, 2) * minimum as f32
        }),
        Format::Q5K => weights_256(|group, i| {
            let (scale, minimum) = scale_and_minimum(&block[4..16], group);
            let low = i32::from(block[48 + group / 2 * 32 + i]) >> (4 * (group % 2)) & 15;
            let high = i32::from(block[16 + i]) >> group & 1;
            half_at(block, 0) * scale as f32 * (low + 16 * high) as f32 - half_at(block, 2) * minimum as f32
        }),
        Format::Q6K => weights_256(|group, i| {
            // Halves of 128 weights; in each, groups 0 and 2, 1 and 3 share bytes of the lower bits.
            let (half, quarter) = (group / 4, group % 4);
            let low = i32::from(block[64 * half + 32 * (quarter % 2) + i]) >> (4 * (quarter / 2)) & 15;
            let high = i32::from(block[128 + 32 * half + i]) >> (2 * quarter) & 3;
            let scale = f32::from(block[192 + 2 * group + i / 16] as i8);
            half_at(block, 208) * scale * (low + 16 * high - 32) as f32
        }),
        Format::IQ4XS => weights_256(|group, i| {
            let low = i32::from(block[4 + group / 2]) >> (4 * (group % 2)) & 15;
            let high = i32::from(u16::from_le_bytes([block[2], block[3]])) >> (2 * group) & 3;
            let q = TABLE[nibble(&block[8 + 16 * group..], i) as usize];
            half_at(block, 0) * (low + 16 * high - 32) as f32 * q as f32
        }),
    }
}

fn weights_32(weight: impl Fn(usize) -> f32) -> Vec<f32> {
    (0..32).map(weight).collect()
}

/// 8 groups of 32.
fn weights_256(weight: impl Fn(usize, usize) -> f32) -> Vec<f32> {
    (0..256).map(|i| weight(i / 32, i % 32)).collect()
}

fn half_at(block: &[u8], offset: usize) -> f32 {
    f16::from_le_bytes([block[offset], block[offset + 1]]).to_f32()
}

/// Of 16 bytes: the lower 4 bits of byte i are the 4 bits of weight i, the upper ones those of weight i + 16.
fn nibble(bytes: &[u8], i: usize) -> i32 {
    i32::from(bytes[i % 16]) >> (4 * (i / 16)) & 15
}

/// Bit i of little-endian bytes.
fn bit(bytes: &[u8], i: usize) -> i32 {
    i32::from(bytes[i / 8]) >> (i % 8) & 1
}

/// Scale and minimum `group` (0 to 7), 6 bits each, of the 12 bytes of Q4_K and Q5_K.
fn scale_and_minimum(bytes: &[u8], group: usize) -> (i32, i32) {
    let byte = |i: usize| i32::from(bytes[i]);
    if group < 4 {
        (byte(group) & 63, byte(group + 4) & 63)
    } else {
        let low = byte(group + 4);
        (low & 15 | byte(group - 4) >> 6 << 4, low >> 4 | byte(group) >> 6 << 4)
    }
}

/// Scale `i` (0 to 15), 6 bits, of the 12 bytes of Q3_K: 8 bytes with lower bits, 4 with the upper two of four scales each.
fn scale_of_12_bytes(bytes: &[u8], i: usize) -> i32 {
    let low = i32::from(bytes[i % 8]) >> (4 * (i / 8)) & 15;
    let high = i32::from(bytes[8 + i % 4]) >> (2 * (i / 4)) & 3;
    low | high << 4
}
