//! The emulated chips: their limits, as the driver reports and enforces them.

/// An emulated architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// A100.
    Sm80,
    /// RTX 4090.
    Sm89,
    /// H100.
    Sm90,
}

impl Architecture {
    /// 80, 89 or 90.
    pub fn number(self) -> u32 {
        match self {
            Self::Sm80 => 80,
            Self::Sm89 => 89,
            Self::Sm90 => 90,
        }
    }
}
