//! 8-bit floating point.

/// A number of 4 exponent and 3 mantissa bits: magnitudes from 2^-9 to 448, no infinities; 0x7f and 0xff are NaN.
/// (Micikevicius et al., *FP8 formats for deep learning*, 2022, arXiv:2209.05433.)
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct E4M3(pub u8);

// SAFETY: a byte, of which every value is valid.
unsafe impl cudarc::driver::DeviceRepr for E4M3 {}

impl E4M3 {
    /// The largest number.
    pub const MAX: Self = Self(0x7e);

    /// Rounds to nearest even; what is beyond the largest number becomes that.
    pub fn from_f64(x: f64) -> Self {
        if x.is_nan() {
            return Self(0x7f);
        }
        let magnitude = x.abs().min(448.0);
        // Subnormal numbers have the exponent of the least normal ones.
        let exponent = (magnitude.max(2f64.powi(-6)).log2().floor() as i32).min(8);
        let units = (magnitude / 2f64.powi(exponent - 3)).round_ties_even() as u8;
        // 8 units and more have the hidden bit; 16 carry over into the exponent.
        let code = ((exponent + 6) as u8) * 8 + units;
        Self(code | u8::from(x.is_sign_negative()) << 7)
    }

    /// The number, exactly.
    pub fn to_f64(self) -> f64 {
        let (exponent, mantissa) = (i32::from(self.0 >> 3 & 15), f64::from(self.0 & 7));
        let magnitude = match (exponent, self.0 & 7) {
            (15, 7) => f64::NAN,
            (0, _) => mantissa * 2f64.powi(-9),
            _ => (8.0 + mantissa) * 2f64.powi(exponent - 10),
        };
        if self.0 >> 7 == 1 { -magnitude } else { magnitude }
    }
}

#[cfg(test)]
mod tests {
    use super::E4M3;

    #[test]
    fn every_number_is_its_own_rounding() {
        for code in (0..=u8::MAX).filter(|code| code & 0x7f != 0x7f) {
            assert_eq!(E4M3::from_f64(E4M3(code).to_f64()), E4M3(code));
        }
        assert!([0x7f, 0xff].iter().all(|&code| E4M3(code).to_f64().is_nan()));
    }

    #[test]
    fn numbers_between_two_go_to_the_nearer_and_halfway_to_the_even() {
        for code in 0..0x7e_u8 {
            let (low, high) = (E4M3(code).to_f64(), E4M3(code + 1).to_f64());
            assert!(low < high);
            let at = |part: f64| E4M3::from_f64(low + part * (high - low)).0;
            assert_eq!([at(0.49), at(0.5), at(0.51)], [code, code + code % 2, code + 1]);
        }
    }

    #[test]
    fn known_codes_are_their_numbers() {
        let known = [(0x00, 0.0), (0x01, 2f64.powi(-9)), (0x38, 1.0), (0x7e, 448.0), (0xb8, -1.0), (0x80, -0.0)];
        assert!(known.iter().all(|&(code, x)| E4M3(code).to_f64().to_bits() == f64::to_bits(x)));
        assert_eq!([1e9, f64::INFINITY, -500.0, f64::NAN].map(|x| E4M3::from_f64(x).0), [0x7e, 0x7e, 0xfe, 0x7f]);
    }
}
