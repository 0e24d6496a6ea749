//! Element types.

use std::fmt;

/// The type of a tensor's elements.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// IEEE single precision.
    F32,
    /// 32-bit signed integers.
    I32,
    /// 32-bit unsigned integers: bits.
    U32,
    /// 64-bit signed integers.
    I64,
    /// Bytes.
    U8,
    /// 8-bit signed integers.
    I8,
    /// 8-bit floating point of 4 exponent and 3 mantissa bits: see [`E4M3`](crate::E4M3).
    E4M3,
}

impl DType {
    /// Bytes of one element.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::E4M3 => 1,
            Self::F16 | Self::BF16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::I64 => 8,
        }
    }

    /// The name used everywhere: `f16`, `bf16`, `f32`, `i32`, `u32`, `i64`, `u8`, `i8`, `e4m3`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F32 => "f32",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::E4M3 => "e4m3",
        }
    }

    /// Distance from 1 to the next larger number of a floating-point type; `None` for integers.
    pub const fn epsilon(self) -> Option<f64> {
        match self {
            Self::F16 => Some(1.0 / 1024.0),
            Self::BF16 => Some(1.0 / 128.0),
            Self::F32 => Some(f32::EPSILON as f64),
            Self::E4M3 => Some(1.0 / 8.0),
            Self::I32 | Self::U32 | Self::I64 | Self::U8 | Self::I8 => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for DType {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::F16, Self::BF16, Self::F32, Self::I32, Self::U32, Self::I64, Self::U8, Self::I8, Self::E4M3]
            .into_iter()
            .find(|dtype| dtype.name() == name)
            .ok_or_else(|| format!("{name:?} is not an element type: f16, bf16, f32, i32, u32, i64, u8, i8 or e4m3"))
    }
}

/// A Rust type whose values can be a tensor's elements.
pub trait Element: bytemuck::Pod + cudarc::driver::DeviceRepr {
    /// The element type that it is.
    const DTYPE: DType;
}

impl Element for half::f16 {
    const DTYPE: DType = DType::F16;
}
impl Element for half::bf16 {
    const DTYPE: DType = DType::BF16;
}
impl Element for f32 {
    const DTYPE: DType = DType::F32;
}
impl Element for i32 {
    const DTYPE: DType = DType::I32;
}
impl Element for u32 {
    const DTYPE: DType = DType::U32;
}
impl Element for i64 {
    const DTYPE: DType = DType::I64;
}
impl Element for u8 {
    const DTYPE: DType = DType::U8;
}
impl Element for i8 {
    const DTYPE: DType = DType::I8;
}
impl Element for crate::E4M3 {
    const DTYPE: DType = DType::E4M3;
}
