//! Packed matrices.

use crate::check::Checks;
use crate::{DType, Error, Format, Operand, Queue, Result, TensorView};

/// A matrix `[n, k]` of packed rows, one after the other, as they lie in a GGUF file.
#[derive(Debug)]
pub struct PackedTensor<'a> {
    /// The format of its blocks.
    pub format: Format,
    /// Rows.
    pub n: usize,
    /// Weights of a row: a multiple of the format's block.
    pub k: usize,
    /// The bytes: one dimension, u8, at a multiple of 16; what follows the last row is not read.
    pub bytes: TensorView<'a>,
}

/// What a kernel sees of a [`PackedTensor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedOperand {
    /// The format of its blocks.
    pub format: Format,
    /// Rows.
    pub n: usize,
    /// Weights of a row.
    pub k: usize,
    /// The bytes.
    pub bytes: Operand,
}

/// Largest number of rows, or of weights in a row.
const MAX_SIZE: usize = 1 << 30;

impl PackedTensor<'_> {
    /// Makes the matrix readable on a queue, as [`TensorView`]s are.
    pub(super) fn open<'b>(
        &'b self,
        op: &'static str,
        queue: &'b Queue,
    ) -> Result<(PackedOperand, Option<cudarc::driver::SyncOnDrop<'b>>)> {
        let (bytes, guard) = self.bytes.open(op, "w", queue)?;
        Ok((PackedOperand { format: self.format, n: self.n, k: self.k, bytes }, guard))
    }
}

impl PackedOperand {
    /// Whole blocks, sizes within limits, all bytes there, at a multiple of 16.
    pub(super) fn check(&self, op: &'static str) -> Result<()> {
        let Self { format, n, k, bytes } = self;
        let checks = Checks { op };
        checks.rank("w", bytes, 1, "[bytes]")?;
        checks.element_type("w", bytes, DType::U8, "")?;
        let row_bytes = check_sizes(op, *format, *n, *k)?;
        checks.contiguous("w", bytes)?;
        checks.rows("w", bytes, 16)?;
        let (needed, got) = (n * row_bytes, bytes.layout.len());
        if got < needed {
            let (row, block) = (got / row_bytes, got % row_bytes / format.block_bytes());
            let place = format!("block {block} of row {row} ({format} [{n}, {k}])");
            return Err(Error::Truncated { op, argument: "w", got, needed, place });
        }
        Ok(())
    }
}

/// Checks what doesn't concern memory; returns the bytes of a row.
pub(super) fn check_sizes(op: &'static str, format: Format, n: usize, k: usize) -> Result<usize> {
    for (what, got) in [("n", n), ("k", k)] {
        if got > MAX_SIZE {
            return Err(Error::TooLarge { op, what, got: got as u64, limit: MAX_SIZE as u64 });
        }
    }
    let supported = if format.block_weights() == 32 { "multiples of 32" } else { "multiples of 256" };
    format.row_bytes(k).ok_or_else(|| {
        let got = format!("{k} in blocks of {} ({format})", format.block_weights());
        Error::Unsupported { op, argument: "w", what: "k", got, supported }
    })
}
