//! Block formats of GGUF files.

use std::fmt;

/// A block format, exactly as ggml lays it out.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 4 bits, a scale for 32 weights.
    Q4_0,
    /// 4 bits, a scale and a minimum for 32.
    Q4_1,
    /// 5 bits, a scale for 32.
    Q5_0,
    /// 5 bits, a scale and a minimum for 32.
    Q5_1,
    /// 8 bits, a scale for 32.
    Q8_0,
    /// 2 bits, a 4-bit scale and minimum for 16, two scales for 256.
    Q2K,
    /// 3 bits, a 6-bit scale for 16, a scale for 256.
    Q3K,
    /// 4 bits, a 6-bit scale and minimum for 32, two scales for 256.
    Q4K,
    /// 5 bits, otherwise as [`Format::Q4K`].
    Q5K,
    /// 6 bits, an 8-bit scale for 16, a scale for 256.
    Q6K,
    /// 4 bits that index a table, a scale for 32.
    IQ4NL,
    /// 4 bits that index the same table, a 6-bit scale for 32, a scale for 256.
    IQ4XS,
}

/// Name, number in a GGUF file, weights and bytes of a block.
struct Facts {
    name: &'static str,
    gguf_type: u32,
    block_weights: usize,
    block_bytes: usize,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 12] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::IQ4NL,
        Self::IQ4XS,
    ];

    const fn facts(self) -> Facts {
        let (name, gguf_type, block_weights, block_bytes) = match self {
            Self::Q4_0 => ("q4_0", 2, 32, 18),
            Self::Q4_1 => ("q4_1", 3, 32, 20),
            Self::Q5_0 => ("q5_0", 6, 32, 22),
            Self::Q5_1 => ("q5_1", 7, 32, 24),
            Self::Q8_0 => ("q8_0", 8, 32, 34),
            Self::Q2K => ("q2_k", 10, 256, 84),
            Self::Q3K => ("q3_k", 11, 256, 110),
            Self::Q4K => ("q4_k", 12, 256, 144),
            Self::Q5K => ("q5_k", 13, 256, 176),
            Self::Q6K => ("q6_k", 14, 256, 210),
            Self::IQ4NL => ("iq4_nl", 20, 32, 18),
            Self::IQ4XS => ("iq4_xs", 23, 256, 136),
        };
        Facts { name, gguf_type, block_weights, block_bytes }
    }

    /// The name used everywhere: `q4_0`, `q4_k`, `iq4_nl` ...
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The number of the type in a GGUF file (`ggml_type`).
    pub const fn gguf_type(self) -> u32 {
        self.facts().gguf_type
    }

    /// The format with that number; `None` for types that are not quantised, or not supported.
    pub fn from_gguf_type(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.gguf_type() == number)
    }

    /// Weights of a block: 32 or 256.
    pub const fn block_weights(self) -> usize {
        self.facts().block_weights
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        self.facts().block_bytes
    }

    /// Bytes of a row of `k` weights; `None` if blocks don't divide it, or the number overflows.
    pub fn row_bytes(self, k: usize) -> Option<usize> {
        let whole = k.is_multiple_of(self.block_weights());
        whole.then(|| (k / self.block_weights()).checked_mul(self.block_bytes())).flatten()
    }

    /// The weights of packed blocks, as the format defines them: every operation in f32, each product rounded.
    ///
    /// Bytes after the last whole block are passed over.
    pub fn dequantise(self, packed: &[u8]) -> Vec<f32> {
        packed.chunks_exact(self.block_bytes()).flat_map(|block| super::definition::block(self, block)).collect()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| format!("{name:?} is not a block format: {}", names()))
    }
}
