//! What a matrix instruction multiplies: shape and types of one tile of 16 rows and 8 columns.
//!
//! Every form of `mma`, `mma.sp` and `wmma` comes down to such tiles: products of 8 rows leave the other 8 zero, a `wmma` is two
//! tiles, and the element types differ only in how a register is taken apart (HARDWARE 1.1, 1.2). The one exception is
//! `m8n8k4` of f16, whose four products of eight lanes each have a layout of their own.

use crate::exec::value::rounding::Rounding;

/// Type of the elements of A or B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// The upper 19 bits of an f32; the others are ignored.
    Tf32,
    /// 8 bits, 4 of them exponent; no infinities.
    E4m3,
    /// 8 bits, 5 of them exponent.
    E5m2,
    /// IEEE binary64.
    F64,
    /// 8-bit signed integer.
    S8,
    /// 8-bit unsigned integer.
    U8,
    /// 4-bit signed integer.
    S4,
    /// 4-bit unsigned integer.
    U4,
    /// A bit.
    B1,
}

impl Element {
    /// Its size in bits.
    pub const fn bits(self) -> usize {
        match self {
            Self::F64 => 64,
            Self::Tf32 => 32,
            Self::F16 | Self::Bf16 => 16,
            Self::E4m3 | Self::E5m2 | Self::S8 | Self::U8 => 8,
            Self::S4 | Self::U4 => 4,
            Self::B1 => 1,
        }
    }

    /// Elements in a register.
    pub const fn per_register(self) -> usize {
        match self {
            Self::F64 => 1,
            other => 32 / other.bits(),
        }
    }
}

/// Type of the accumulators C or D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulator {
    /// IEEE binary16, two to a register.
    F16,
    /// IEEE binary32.
    F32,
    /// 32-bit signed integer.
    S32,
    /// IEEE binary64.
    F64,
}

/// What is special about a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Sums of products; integer sums wrap.
    Plain,
    /// Integer sums are clamped to the range of s32.
    Saturating,
    /// Counts the ones of `a xor b`.
    Xor,
    /// Counts the ones of `a and b`.
    And,
    /// f64 sums with this rounding.
    Rounded(Rounding),
    /// A holds half of the elements of its rows; metadata says which.
    Sparse(Sparse),
    /// `m8n8k4`: four products, each of a quad of lanes 0 to 15 and its counterpart above.
    Quads {
        /// A is column-major.
        a_columns: bool,
        /// B is column-major.
        b_columns: bool,
    },
}

/// `mma.sp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sparse {
    /// Which lanes of a quad hold metadata; see the module `sparse`.
    pub selector: u8,
    /// `::ordered_metadata`: indices ascend.
    pub ordered: bool,
    /// Integer sums are clamped.
    pub saturating: bool,
}

/// The form of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Columns of A, zeros of a sparse one included.
    pub k: usize,
    /// Elements of A.
    pub a: Element,
    /// Elements of B.
    pub b: Element,
    /// Accumulators that are read.
    pub c: Accumulator,
    /// Accumulators that are written.
    pub d: Accumulator,
    /// The rest.
    pub variant: Variant,
}

impl Form {
    /// A plain product.
    pub const fn new(k: usize, a: Element, b: Element, c: Accumulator, d: Accumulator) -> Form {
        Form { k, a, b, c, d, variant: Variant::Plain }
    }

    /// The same with something special.
    pub const fn with(mut self, variant: Variant) -> Form {
        self.variant = variant;
        self
    }

    /// Whether A is sparse.
    pub const fn is_sparse(&self) -> bool {
        matches!(self.variant, Variant::Sparse(_))
    }

    /// Elements in a row of A's fragment.
    pub const fn stored_k(&self) -> usize {
        if self.is_sparse() { self.k / 2 } else { self.k }
    }

    /// Registers of A's fragment.
    pub const fn a_registers(&self) -> usize {
        match self.variant {
            Variant::Quads { .. } => 2,
            _ => self.stored_k() / (2 * self.a.per_register()),
        }
    }

    /// Registers of B's fragment.
    pub const fn b_registers(&self) -> usize {
        match self.variant {
            Variant::Quads { .. } => 2,
            _ => self.k / (4 * self.b.per_register()),
        }
    }

    /// Registers of an accumulator's fragment.
    pub const fn registers_of(&self, accumulator: Accumulator) -> usize {
        let singles = if matches!(self.variant, Variant::Quads { .. }) { 8 } else { 4 };
        if matches!(accumulator, Accumulator::F16) { singles / 2 } else { singles }
    }
}
