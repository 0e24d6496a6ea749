//! Element types that a kernel learns when it runs.

use crate::{DType, Error, Result};

/// The number that stands for a type in `kernels/common/quant/element.cuh`; -1 for one that no kernel takes.
pub(super) fn code(dtype: DType) -> i32 {
    match dtype {
        DType::F16 => 0,
        DType::BF16 => 1,
        DType::F32 => 2,
        _ => -1,
    }
}

/// An error for a type that no kernel takes.
pub(super) fn check(op: &'static str, argument: &'static str, dtype: DType) -> Result<()> {
    if code(dtype) >= 0 {
        return Ok(());
    }
    Err(Error::Unsupported { op, argument, what: "dtype", got: dtype.to_string(), supported: "f16, bf16, f32" })
}
