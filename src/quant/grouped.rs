//! Matrices of 4- and 8-bit codes with a scale for each group of a row's columns, in the order in which kernels take them.

use cudarc::driver::SyncOnDrop;

use super::{ActOrder, ColumnsOperand};
use crate::check::Checks;
use crate::{DType, Error, Operand, Queue, Result, TensorView};

/// What a weight is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codes {
    /// 0 to 15; without zero-points 8 stands for 0.
    Int4,
    /// 0 to 255; without zero-points 128 stands for 0.
    Int8,
    /// The 16 values of [`NF4`], without zero-points.
    Nf4,
}

/// What codes of NF4 stand for: quantiles of the normal distribution, and 0. (Dettmers et al., *QLoRA*, 2023,
/// arXiv:2305.14314, appendix E.)
#[rustfmt::skip]
pub const NF4: [f32; 16] = [
    -1.0, -0.696_192_8, -0.525_073_05, -0.394_917_5, -0.284_441_38, -0.184_773_43, -0.091_050_036, 0.0,
    0.079_580_3, 0.160_930_2, 0.246_112_3, 0.337_915_24, 0.440_709_83, 0.562_617, 0.722_956_84, 1.0,
];

impl Codes {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Int4, Self::Int8, Self::Nf4];

    /// The name used everywhere: `int4`, `int8`, `nf4`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Nf4 => "nf4",
        }
    }

    /// Bits of a code.
    pub const fn bits(self) -> usize {
        match self {
            Self::Int4 | Self::Nf4 => 4,
            Self::Int8 => 8,
        }
    }

    /// Whether a matrix may have zero-points.
    pub const fn has_zeros(self) -> bool {
        !matches!(self, Self::Nf4)
    }

    /// What stands for 0 without zero-points.
    pub const fn middle(self) -> u8 {
        match self {
            Self::Int4 => 8,
            Self::Int8 => 128,
            // Seven of them; a table has no middle.
            Self::Nf4 => 7,
        }
    }
}

impl std::fmt::Display for Codes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Codes {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|codes| codes.name() == name)
            .ok_or_else(|| format!("{name:?} is no kind of codes: int4, int8 or nf4"))
    }
}

/// A matrix `[n, k]` of codes in which `group` neighbouring columns of a row share a scale and a zero-point:
/// `w = scale * (code - zero)`, or `scale * NF4[code]`.
///
/// Packed, it is tiles of 16 rows by chunks of 64 columns, with rows and columns added to fill tiles and pairs of chunks:
/// codes as `kernels/common/quant/grouped.cuh` says; scales and zero-points as `[tiles][groups][8][2]`, of rows `g` and
/// `g + 8` of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupedFormat {
    /// What a weight is stored as.
    pub codes: Codes,
    /// Rows.
    pub n: usize,
    /// Columns.
    pub k: usize,
    /// Columns of a group: 32, 64, 128 or `k`.
    pub group: usize,
}

/// Rows of a tile, and columns of a pair of chunks.
pub(crate) const TILE_ROWS: usize = 16;
pub(crate) const CHUNK_COLUMNS: usize = 64;
/// Largest number of rows or columns.
const MAX_SIZE: usize = 1 << 30;

impl GroupedFormat {
    /// Tiles of 16 rows.
    pub fn tiles(&self) -> usize {
        self.n.div_ceil(TILE_ROWS)
    }

    /// Chunks of 64 columns in a row, an even number.
    pub fn chunks(&self) -> usize {
        self.k.div_ceil(2 * CHUNK_COLUMNS) * 2
    }

    /// Groups of a row.
    pub fn groups(&self) -> usize {
        self.k.checked_div(self.group).unwrap_or(0)
    }

    /// Groups of a row when packed: also those of added columns.
    pub fn packed_groups(&self) -> usize {
        (self.chunks() * CHUNK_COLUMNS).div_ceil(32 << self.group_shift()).max(1)
    }

    /// log2 of a group's columns over 32; a large number if a row is one group.
    pub(crate) fn group_shift(&self) -> usize {
        match self.group {
            32 => 0,
            64 => 1,
            128 => 2,
            _ => 25,
        }
    }

    /// Columns of a packed group.
    pub(crate) fn packed_group_columns(&self) -> usize {
        let columns = self.chunks() * CHUNK_COLUMNS;
        if self.packed_groups() == 1 { columns } else { 32 << self.group_shift() }
    }

    /// Bytes of packed codes.
    pub fn code_bytes(&self) -> usize {
        self.tiles() * self.chunks() * TILE_ROWS * CHUNK_COLUMNS * self.codes.bits() / 8
    }

    /// Elements of packed scales, and bytes of packed zero-points.
    pub fn scales_len(&self) -> usize {
        self.tiles() * self.packed_groups() * TILE_ROWS
    }

    /// Where a code lies: byte, and the bit in it.
    pub fn place(&self, row: usize, column: usize) -> (usize, usize) {
        let (g, upper) = (row % 8, row % TILE_ROWS / 8);
        let (lane, product) = (g * 4 + column % 32 / 8, column % CHUNK_COLUMNS / 32 * 2 + column % 8 / 4);
        // Which register of operand A, and which of its halves.
        let (register, half) = (column % 4 / 2 * 2 + upper, column % 2);
        let chunk = row / TILE_ROWS * self.chunks() + column / CHUNK_COLUMNS;
        match self.codes {
            Codes::Int4 | Codes::Nf4 => {
                (chunk * 512 + lane * 16 + product * 4 + half * 2 + register / 2, register % 2 * 4)
            }
            Codes::Int8 => {
                let word = product % 2 * 2 + register / 2;
                (chunk * 1024 + product / 2 * 512 + lane * 16 + word * 4 + half * 2 + register % 2, 0)
            }
        }
    }

    /// Where a row's scale and zero-point of a group lie.
    pub fn scale_place(&self, row: usize, group: usize) -> usize {
        let tile = row / TILE_ROWS * self.packed_groups() + group;
        tile * TILE_ROWS + row % 8 * 2 + row % TILE_ROWS / 8
    }

    /// Sizes within limits, a group that the kernels know and that divides a row.
    pub(crate) fn check(&self, op: &'static str) -> Result<()> {
        let Self { n, k, group, .. } = *self;
        for (what, got) in [("n", n), ("k", k)] {
            if got > MAX_SIZE {
                return Err(Error::TooLarge { op, what, got: got as u64, limit: MAX_SIZE as u64 });
            }
        }
        if !k.is_multiple_of(32) {
            let supported = "multiples of 32";
            return Err(Error::Unsupported { op, argument: "w", what: "k", got: k.to_string(), supported });
        }
        if group != k && (!matches!(group, 32 | 64 | 128) || !k.is_multiple_of(group)) {
            let (got, supported) = (format!("{group} of k = {k}"), "32, 64 and 128, where they divide k, and k itself");
            return Err(Error::Unsupported { op, argument: "w", what: "group", got, supported });
        }
        Ok(())
    }
}

/// A packed matrix in device memory.
#[derive(Debug)]
pub struct GroupedTensor<'a> {
    /// Its sizes.
    pub format: GroupedFormat,
    /// [`GroupedFormat::code_bytes`] bytes or more, u8, at a multiple of 16.
    pub codes: TensorView<'a>,
    /// [`GroupedFormat::scales_len`] scales or more, f16 or bf16, at a multiple of 16.
    pub scales: TensorView<'a>,
    /// As many zero-points, u8, at a multiple of 16; [`Codes::middle`] without.
    pub zeros: Option<TensorView<'a>>,
    /// Which column of the activations belongs to which of the matrix; each to its own without.
    pub act_order: Option<&'a ActOrder>,
}

/// What a kernel sees of a [`GroupedTensor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupedOperand {
    /// Its sizes.
    pub format: GroupedFormat,
    /// See [`GroupedTensor`].
    pub codes: Operand,
    /// See [`GroupedTensor`].
    pub scales: Operand,
    /// See [`GroupedTensor`].
    pub zeros: Option<Operand>,
    /// See [`GroupedTensor`].
    pub columns: Option<ColumnsOperand>,
}

impl GroupedTensor<'_> {
    /// Makes the matrix readable on a queue, as [`TensorView`]s are.
    pub(super) fn open<'b>(
        &'b self,
        op: &'static str,
        queue: &'b Queue,
    ) -> Result<(GroupedOperand, [Option<SyncOnDrop<'b>>; 4])> {
        let (codes, codes_guard) = self.codes.open(op, "codes", queue)?;
        let (scales, scales_guard) = self.scales.open(op, "scales", queue)?;
        let zeros = self.zeros.as_ref().map(|zeros| zeros.open(op, "zeros", queue)).transpose()?;
        let columns = self.act_order.map(|order| order.open(op, queue)).transpose()?;
        let (zeros, zeros_guard) = zeros.unzip();
        let (columns, columns_guard) = columns.unzip();
        let operand = GroupedOperand { format: self.format, codes, scales, zeros, columns };
        Ok((operand, [codes_guard, scales_guard, zeros_guard.flatten(), columns_guard.flatten()]))
    }
}

impl GroupedOperand {
    /// Sizes, and all bytes there, at multiples of 16; scales of type `dtype`, which `reason` says.
    pub(super) fn check(&self, op: &'static str, dtype: DType, reason: &'static str) -> Result<()> {
        self.format.check(op)?;
        let len = self.format.scales_len();
        self.check_part(op, "codes", &self.codes, (DType::U8, ""), self.format.code_bytes(), "[bytes]")?;
        self.check_part(op, "scales", &self.scales, (dtype, reason), len, "[tiles * groups * 16]")?;
        if let Some(zeros) = &self.zeros {
            if !self.format.codes.has_zeros() {
                let (got, supported) = (self.format.codes.to_string(), "int4, int8");
                return Err(Error::Unsupported { op, argument: "zeros", what: "codes", got, supported });
            }
            self.check_part(op, "zeros", zeros, (DType::U8, ""), len, "[tiles * groups * 16]")?;
        }
        if let Some(columns) = &self.columns
            && columns.k != self.format.k
        {
            let (got, expected) = (columns.k, self.format.k);
            return Err(Error::Dimension { op, argument: "act_order", dimension: "k", got, expected, of: "w" });
        }
        Ok(())
    }

    fn check_part(
        &self,
        op: &'static str,
        argument: &'static str,
        part: &Operand,
        (dtype, reason): (DType, &'static str),
        elements: usize,
        dimensions: &'static str,
    ) -> Result<()> {
        let checks = Checks { op };
        checks.rank(argument, part, 1, dimensions)?;
        checks.element_type(argument, part, dtype, reason)?;
        checks.contiguous(argument, part)?;
        checks.rows(argument, part, 16)?;
        let [got, needed] = [part.layout.len(), elements].map(|elements| elements * dtype.size_bytes());
        if got < needed {
            let GroupedFormat { codes, n, k, group } = self.format;
            let tile_bytes = needed / self.format.tiles().max(1);
            let place = format!("tile {} ({codes} [{n}, {k}] in groups of {group})", got / tile_bytes.max(1));
            return Err(Error::Truncated { op, argument, got, needed, place });
        }
        Ok(())
    }

    /// The tensors, by name.
    pub(super) fn parts(&self) -> Vec<(&'static str, &Operand)> {
        let zeros = self.zeros.as_ref().map(|zeros| ("zeros", zeros));
        [("codes", &self.codes), ("scales", &self.scales)].into_iter().chain(zeros).collect()
    }
}
