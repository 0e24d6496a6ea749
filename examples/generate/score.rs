//! How likely the model finds a text.

use crate::Result;
use crate::engine::Engine;
use crate::scratch::LOGIT_ROWS;

/// Runs a sequence and hands the logits after each token to `look`, with the token's place.
pub(crate) fn for_each_token(
    engine: &mut Engine,
    ids: &[u32],
    mut look: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    engine.prompt(ids)?;
    for first in (0..ids.len()).step_by(LOGIT_ROWS) {
        let rows = LOGIT_ROWS.min(ids.len() - first);
        engine.logits(first, rows)?;
        let logits = engine.read_logits(rows)?;
        for (row, logits) in logits.chunks_exact(engine.sizes.vocabulary).enumerate() {
            look(first + row, logits)?;
        }
    }
    Ok(())
}

/// The mean of `-ln p(token | tokens before it)` over all tokens but the first.
pub(crate) fn mean_negative_log_likelihood(engine: &mut Engine, ids: &[u32]) -> Result<f64> {
    let mut sum = 0.0;
    for_each_token(engine, ids, |place, logits| {
        if let Some(&next) = ids.get(place + 1) {
            sum -= log_probability(logits, next);
        }
        Ok(())
    })?;
    Ok(sum / (ids.len() as f64 - 1.0))
}

/// The natural logarithm of a token's probability.
pub(crate) fn log_probability(logits: &[f32], id: u32) -> f64 {
    f64::from(logits[id as usize]) - log_sum_exp(logits)
}

/// `ln(sum(exp(x)))`.
pub(crate) fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - largest).exp()).sum();
    f64::from(largest) + sum.ln()
}
