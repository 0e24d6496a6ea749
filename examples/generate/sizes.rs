//! What the file says of the model.

use crate::Result;
use crate::file::File;

/// Sizes and numbers of a Gemma 3 model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sizes {
    pub(crate) layers: usize,
    /// Width of the residual stream.
    pub(crate) d: usize,
    pub(crate) h_q: usize,
    pub(crate) h_kv: usize,
    pub(crate) head_dim: usize,
    /// Width between the products of a feed-forward block.
    pub(crate) d_ff: usize,
    /// Number of tokens there are.
    pub(crate) vocabulary: usize,
    /// The longest sequence.
    pub(crate) context: usize,
    /// Keys that a token sees in a local layer, its own included.
    pub(crate) window: usize,
    pub(crate) epsilon: f32,
    /// Base of the rotary frequencies of global layers.
    pub(crate) global_base: f64,
}

/// Local layers have a base of their own, which files do not name.
pub(crate) const LOCAL_BASE: f64 = 10_000.0;
/// One layer in so many is global, the last of each group.
const PERIOD: usize = 6;

impl Sizes {
    /// Reads them.
    ///
    /// # Errors
    /// It is another model, or its file lacks a number.
    pub(crate) fn read(file: &File) -> Result<Self> {
        let architecture = file.text("general.architecture")?;
        if architecture != "gemma3" {
            return Err(format!("the file holds a model of architecture {architecture}, expected gemma3").into());
        }
        let size = |name: &str| file.size(&format!("gemma3.{name}"));
        let number = |name: &str| file.number(&format!("gemma3.{name}"));
        let embedding = &file.tensor("token_embd.weight")?.shape;
        Ok(Self {
            layers: size("block_count")?,
            d: size("embedding_length")?,
            h_q: size("attention.head_count")?,
            h_kv: size("attention.head_count_kv")?,
            head_dim: size("attention.key_length")?,
            d_ff: size("feed_forward_length")?,
            vocabulary: *embedding.first().ok_or("token_embd.weight has no dimensions")?,
            context: size("context_length")?,
            window: size("attention.sliding_window")?,
            epsilon: number("attention.layer_norm_rms_epsilon")?,
            global_base: number("rope.freq_base")?.into(),
        })
    }

    /// Whether a layer sees all keys; the others see a window.
    pub(crate) fn is_global(&self, layer: usize) -> bool {
        layer % PERIOD == PERIOD - 1
    }

    /// Keys that a token of a layer sees before its own.
    pub(crate) fn window_left(&self, layer: usize) -> Option<usize> {
        (!self.is_global(layer)).then(|| self.window.saturating_sub(1))
    }
}
