//! The one home of tolerances.
//!
//! Against the reference in double precision, on inputs as rounded, each row's largest error may be twice the same
//! row's error of a plain implementation in the same precision, plus a few units in the last place at the row's
//! scale. The first term follows the difficulty of the input; the second lets a row pass whose plain result happens
//! to be exact. FlashAttention's tests use the same factor of two; here it holds row by row, so that one bad row is
//! not lost among good ones.

use crate::DType;

/// How an output's error is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Factor of the plain implementation's error.
    pub factor: f64,
    /// Units in the last place at the row's scale.
    pub ulps: f64,
    /// The least scale that a row is given.
    pub least_scale: f64,
}

impl Tolerance {
    /// Values, of a floating-point type.
    ///
    /// One unit of f16 or bf16: rounding the result alone takes half of it. Four of f32: tensor cores cut sums off
    /// where a processor rounds, up to 2^-23 of the sum for each 16 products.
    pub fn values(dtype: DType) -> Self {
        let ulps = if dtype == DType::F32 { 4.0 } else { 1.0 };
        Self {
            factor: 2.0,
            ulps,
            least_scale: 0.0,
        }
    }

    /// Logarithms in f32: their error is the relative error of what they are the logarithm of, however close to
    /// zero they come.
    pub fn logarithms() -> Self {
        Self {
            least_scale: 1.0,
            ..Self::values(DType::F32)
        }
    }

    /// The error that a row may have: `plain_error` is the plain implementation's, `scale` the largest magnitude in
    /// the reference.
    pub fn limit(&self, dtype: DType, plain_error: f64, scale: f64) -> f64 {
        let unit = dtype.epsilon().unwrap_or(0.0);
        self.factor * plain_error + self.ulps * unit * scale.max(self.least_scale)
    }
}
