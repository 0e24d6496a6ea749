//! Random numbers of dropout: a counter-based generator, so that any score's number is known without any other.

/// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as easy as 1, 2, 3*, 2011): 128 random bits
/// of a counter and a key.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    let halves = |a: u32, b: u32| {
        let product = u64::from(a) * u64::from(b);
        ((product >> 32) as u32, product as u32)
    };
    for _ in 0..10 {
        let (high_0, low_0) = halves(0xD251_1F53, counter[0]);
        let (high_2, low_2) = halves(0xCD9E_8D57, counter[2]);
        counter = [high_2 ^ counter[1] ^ key[0], low_2, high_0 ^ counter[3] ^ key[1], low_0];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// Which probabilities of attention are dropped, and what the others are multiplied by.
///
/// Score (batch, head, query `i`, key `j`), with `i` and `j` counted from the start of their sequence, has the random
/// number
///
/// ```text
/// philox(counter = [j / 16 * 4 + j % 8 / 2, i, head, batch], key = [seed % 2^32, seed / 2^32])[j / 8 % 2 * 2 + j % 2]
/// ```
///
/// and stays if that is not below `threshold`. So one call of the generator serves the four scores that a lane of a
/// tensor-core tile holds of a row in 16 columns, and tiles may come in any order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of being dropped, times 2^32, at least 1.
    pub threshold: u32,
    /// `1 / (1 - p)`
    pub scale: f32,
    /// The key.
    pub seed: u64,
}

impl Dropout {
    /// Dropout with probability `p`, which must lie in `0..1`; `None` where it would drop nothing.
    pub fn new(p: f32, seed: u64) -> Option<Self> {
        let threshold = (f64::from(p) * 2f64.powi(32)).round() as u32;
        (threshold > 0).then_some(Self { threshold, scale: (1.0 / (1.0 - f64::from(p))) as f32, seed })
    }

    /// Whether a probability stays.
    pub fn keeps(&self, batch: usize, head: usize, i: usize, j: usize) -> bool {
        let counter = [j / 16 * 4 + j % 8 / 2, i, head, batch].map(|index| index as u32);
        philox(counter, [self.seed as u32, (self.seed >> 32) as u32])[j / 8 % 2 * 2 + j % 2] >= self.threshold
    }
}
