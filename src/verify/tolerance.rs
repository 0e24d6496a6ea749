//! The one home of tolerances.
//!
//! Against the reference in double precision, on inputs as rounded, each row's largest error may be twice the same
//! row's error of a plain implementation in the same precision, plus a few units in the last place at the row's
//! scale. The first term follows the difficulty of the input; the second lets a row pass whose plain result happens
//! to be exact. FlashAttention's tests use the same factor of two, and of three for gradients; here it holds row by row, so that one bad row is
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
    /// Values, of a floating-point type: one unit of f16 or bf16, of which rounding the result takes half; four of
    /// f32.
    pub fn values(dtype: DType) -> Self {
        let ulps = if dtype == DType::F32 { 4.0 } else { 1.0 };
        Self { factor: 2.0, ulps, least_scale: 0.0 }
    }

    /// Sums of so many products by tensor cores: as values, and in f32 a unit more for each 16. Where products cancel in f32,
    /// a row is judged at `terms`, the root of the sum of their squares: the size that partial sums have.
    ///
    /// A tensor core adds up 16 products at a time and cuts the sum off where a processor rounds it: a unit each time. In
    /// 16-bit types this is far below a unit.
    pub fn sums(dtype: DType, products: usize, terms: f64) -> Self {
        let values = Self::values(dtype);
        match dtype {
            DType::F32 => Self { ulps: values.ulps + products as f64 / 16.0, least_scale: terms, ..values },
            _ => values,
        }
    }

    /// Means of values weighed by a softmax, whose scores are of `sizes`: as values, and in f32 a unit more for each 1 of
    /// the largest size.
    ///
    /// A weight's relative error is the absolute error of its exponent, a sum of many products. Tensor cores truncate each
    /// sum: of a number of size `x` by up to `x` units, by luck of much less; that of the last, largest sums is what is
    /// allowed. How errors are spread is held by tests of their root mean square. In 16-bit types this is far below a unit, and sizes are not asked for.
    pub fn weighed(dtype: DType, sizes: impl Iterator<Item = f64>) -> Self {
        let values = Self::values(dtype);
        Self { ulps: values.ulps + units_of_weights(dtype, sizes), ..values }
    }

    /// Sums of a few products whose magnitudes add up to `terms`, which may cancel: as values, and four units of f32 of the
    /// terms where the row itself is smaller.
    pub fn cancelling(dtype: DType, terms: f64) -> Self {
        let values = Self::values(dtype);
        let unit = dtype.epsilon().unwrap_or(1.0);
        Self { least_scale: 4.0 * f64::from(f32::EPSILON) / (values.ulps * unit) * terms, ..values }
    }

    /// Results and states of a linear recurrence, which remember `positions` positions: as values, and in f32 two units more
    /// for each of them, and for a gate.
    ///
    /// A decay comes from an approximate exponential, whose relative error is up to 2^-22, two units, as a gate does. That
    /// of a product of decays is the sum of theirs, whatever the order of the sums.
    pub fn recurrent(dtype: DType, positions: f64) -> Self {
        let values = Self::values(dtype);
        Self { ulps: values.ulps + if dtype == DType::F32 { 2.0 * (positions + 1.0) } else { 0.0 }, ..values }
    }

    /// Values, or the codes of an 8-bit type, whose reference is the number that was to be rounded: of codes, twice the
    /// plain implementation's error alone.
    pub fn rounded(dtype: DType) -> Self {
        match dtype {
            DType::I8 | DType::E4M3 => Self { factor: 2.0, ulps: 0.0, least_scale: 0.0 },
            _ => Self::values(dtype),
        }
    }

    /// Values that are sums of products whose operands are rounded to the type: where terms cancel, a row is judged at their
    /// size, the root of the sum of their squares, which is how rounding errors add up.
    pub fn products(dtype: DType, terms: f64) -> Self {
        Self { least_scale: terms, ..Self::values(dtype) }
    }

    /// Gradients that are such sums.
    pub fn gradient_products(terms: f64) -> Self {
        Self { factor: 3.0, ulps: 2.0, least_scale: terms }
    }

    /// Numbers in f32 that are such sums, of products of `terms` in size.
    pub fn summed_products(dtype: DType, terms: f64) -> Self {
        let ulps = 2.0 * dtype.epsilon().unwrap_or(1.0) / f64::from(f32::EPSILON);
        Self { factor: 3.0, ulps, least_scale: terms }
    }

    /// Sums in f32 of terms that are rounded to a 16-bit type on the way: as values of that type. A row of numbers so small
    /// that factors of its terms were subnormal is judged at the size where they are not: for f16 with other factors of size 1,
    /// for bf16 where f32 ends.
    pub fn sums_of_rounded(terms: DType) -> Self {
        let values = Self::values(terms);
        let ulps = values.ulps * terms.epsilon().unwrap_or(1.0) / f64::from(f32::EPSILON);
        Self { ulps, least_scale: if terms == DType::F16 { 2f64.powi(-12) } else { 2f64.powi(-100) }, ..values }
    }

    /// The reference, bit for bit; and integers.
    pub fn exact() -> Self {
        Self { factor: 0.0, ulps: 0.0, least_scale: 0.0 }
    }

    /// Logarithms in f32 of sums of exponentials, whose exponents are sums of `products` products.
    ///
    /// A tensor core adds up 16 products at a time and cuts the sum off where a processor rounds it, always downwards:
    /// a unit each time. An error of the logarithm is a relative error of what it is the logarithm of, however close
    /// to zero it comes: so the scale is at least 1.
    pub fn logarithms(products: usize) -> Self {
        let values = Self::values(DType::F32);
        Self { ulps: values.ulps + products as f64 / 16.0, least_scale: 1.0, ..values }
    }

    /// Gradients: three times the plain implementation's error, as sums of rounded products follow one
    /// another, and two units.
    ///
    /// A gradient is made of differences that may cancel. `terms` is the magnitude that a row's terms have before; 16
    /// units of f32 of it are allowed where the row itself is smaller.
    pub fn gradients(dtype: DType, terms: f64) -> Self {
        Self::weighed_gradients(dtype, terms, std::iter::empty())
    }

    /// Gradients through a softmax, whose scores are of `sizes`: as [`Self::gradients`], and in f32 a unit more for each 1 of
    /// the largest size, as [`Self::weighed`] has.
    pub fn weighed_gradients(dtype: DType, terms: f64, sizes: impl Iterator<Item = f64>) -> Self {
        let of_weights = units_of_weights(dtype, sizes);
        let ulps = 2.0 + of_weights;
        let unit = dtype.epsilon().unwrap_or(1.0);
        let least_scale = (16.0 + of_weights) * f64::from(f32::EPSILON) / (ulps * unit) * terms;
        Self { factor: 3.0, ulps, least_scale }
    }

    /// Gradients of a linear recurrence that remembers `positions` positions: as gradients, and of the terms four units of
    /// f32 more for each of them, as decays are multiplied on the way forwards and back.
    pub fn recurrent_gradients(dtype: DType, terms: f64, positions: f64) -> Self {
        Self::gradients(dtype, terms * (1.0 + positions / 4.0))
    }

    /// The error that a row may have: `plain_error` is the plain implementation's, `scale` the largest magnitude in
    /// the reference.
    pub fn limit(&self, dtype: DType, plain_error: f64, scale: f64) -> f64 {
        let unit = dtype.epsilon().unwrap_or(0.0);
        self.factor * plain_error + self.ulps * unit * scale.max(self.least_scale)
    }
}

/// Units in the last place that weights of a softmax may be wrong by; 0 in 16-bit types.
fn units_of_weights(dtype: DType, sizes: impl Iterator<Item = f64>) -> f64 {
    match dtype {
        DType::F32 => sizes.filter(|size| size.is_finite()).fold(0.0, f64::max),
        _ => 0.0,
    }
}
