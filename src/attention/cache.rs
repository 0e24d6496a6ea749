//! What operators on a cache of keys and values share.

use crate::{Layout, Result};

/// The layout of the scales of an 8-bit cache that moves the least bytes: `[num_pages, page_size, h_kv]`, where the scales of
/// positions that follow each other lie side by side, head after head in each page. Without pages, `[b, s_k, h_kv]`.
///
/// Memory comes in sectors of 32 bytes, eight scales, and a head's keys are read together: row-major, seven of the eight
/// would be other heads'.
///
/// # Errors
/// Sizes whose product overflows.
pub fn scales_layout(num_pages: usize, page_size: usize, h_kv: usize) -> Result<Layout> {
    Layout::contiguous(&[num_pages, h_kv, page_size])?.permute(&[0, 2, 1])
}
