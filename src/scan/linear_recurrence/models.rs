//! The recurrences of named models, as arguments.

use super::{Args, Decay, FeatureMap, Options};
use crate::{TensorView, TensorViewMut};

impl<'a> Args<'a> {
    /// Linear attention: `out = f(q) S / (f(q) z + 1e-6)`, `S` the sum of `f(k) (x) v` and `z` that of `f(k)`.
    /// Katharopoulos et al., 2020, arXiv:2006.16236, have [`FeatureMap::EluPlusOne`].
    pub fn linear_attention(
        q: TensorView<'a>,
        k: TensorView<'a>,
        v: TensorView<'a>,
        out: TensorViewMut<'a>,
        feature_map: FeatureMap,
    ) -> Self {
        let options = Options { scale: Some(1.0), feature_map, normaliser: Some(1e-6), ..Options::default() };
        Self { options, ..Self::new(q, k, v, out) }
    }

    /// Retention: a decay of each head, [`retention_log_decays`]. Sun et al., 2023, arXiv:2307.08621; the scale is
    /// `1 / sqrt(d_k)`, the rotation of q and k and the norm behind are operators of their own.
    pub fn retention(
        q: TensorView<'a>,
        k: TensorView<'a>,
        v: TensorView<'a>,
        out: TensorViewMut<'a>,
        log_decays: TensorView<'a>,
    ) -> Self {
        Self { decay: Decay::Heads(log_decays), ..Self::new(q, k, v, out) }
    }

    /// Lightning attention: likewise with [`lightning_log_decays`] and without a scale. Qin et al., 2024, arXiv:2401.04658.
    pub fn lightning(
        q: TensorView<'a>,
        k: TensorView<'a>,
        v: TensorView<'a>,
        out: TensorViewMut<'a>,
        log_decays: TensorView<'a>,
    ) -> Self {
        let options = Options { scale: Some(1.0), ..Options::default() };
        Self { options, ..Self::retention(q, k, v, out, log_decays) }
    }

    /// Gated linear attention: a decay of each step, head and key channel. Yang et al., 2023, arXiv:2312.06635; the scale
    /// is `1 / sqrt(d_k)`.
    pub fn gla(
        q: TensorView<'a>,
        k: TensorView<'a>,
        v: TensorView<'a>,
        out: TensorViewMut<'a>,
        log_decay: TensorView<'a>,
    ) -> Self {
        Self { decay: Decay::Channels(log_decay), ..Self::new(q, k, v, out) }
    }

    /// Mamba-2's state-space duality: `h_t = exp(dt_t A) h_{t-1} + B_t (x) (dt_t x_t)`, `y_t = C_t h_t`, where the heads of
    /// a group share `c` and `b`. `x` holds `dt_t x_t`, `log_decay` `[b, s, h]` holds `dt_t A`. Dao and Gu, 2024,
    /// arXiv:2405.21060.
    pub fn mamba2(
        c: TensorView<'a>,
        b: TensorView<'a>,
        x: TensorView<'a>,
        y: TensorViewMut<'a>,
        log_decay: TensorView<'a>,
    ) -> Self {
        let options = Options { scale: Some(1.0), ..Options::default() };
        Self { decay: Decay::Steps(log_decay), options, ..Self::new(c, b, x, y) }
    }
}

/// Retention's decays of `heads` heads: `ln(1 - 2^(-5 - i))`.
pub fn retention_log_decays(heads: usize) -> Vec<f32> {
    (0..heads).map(|head| (-(2f64.powi(-5 - head as i32))).ln_1p() as f32).collect()
}

/// Lightning attention's decays of `heads` heads in a layer: minus ALiBi's slopes `2^(-8 (i + 1) / heads)`, which fall to
/// 0 towards the last of the layers, which are counted from 0.
pub fn lightning_log_decays(heads: usize, layer: usize, layers: usize) -> Vec<f32> {
    let share = 1.0 - layer as f64 / (layers.max(2) - 1) as f64 + 1e-5;
    let slope = |head: usize| 2f64.powf(-8.0 * (head + 1) as f64 / heads as f64);
    (0..heads).map(|head| (-slope(head) * share) as f32).collect()
}
