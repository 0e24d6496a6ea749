//! Drawing as it is defined: naive, in double precision, sharing no code with the kernel but the definition of the random
//! numbers. And the probabilities in f32, as one would write them: the yardstick for the kernel's error.

use super::{Options, Problem};
use crate::attention::philox::philox;

/// Result of a reference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// `[m]`
    pub ids: Vec<f64>,
    /// `[m]`
    pub log_probabilities: Vec<f64>,
}

/// The probabilities that tokens are drawn with: of the softmax over what the filters leave, and 0 for what they exclude.
/// Logits that are NaN count as minus infinity; at least one must be finite.
pub fn probabilities(options: &Options, logits: &[f64]) -> Vec<f64> {
    let logits: Vec<f64> = logits.iter().map(|&l| if l.is_nan() { f64::NEG_INFINITY } else { l }).collect();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if options.temperature == 0.0 {
        let first = logits.iter().position(|&logit| logit == largest);
        return (0..logits.len()).map(|token| f64::from(Some(token) == first)).collect();
    }
    let weight = |logit: f64| ((logit - largest) / f64::from(options.temperature)).exp();
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    // From the largest logit down: how many are above, and their probability.
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let mut allowed = vec![0.0; logits.len()];
    let (mut above, mut mass_above) = (0, 0.0);
    for equals in order.chunk_by(|&a, &b| logits[a] == logits[b]) {
        let own = weight(logits[equals[0]]);
        let stays = options.top_k.is_none_or(|k| above < k as usize)
            && (options.top_p >= 1.0 || mass_above < f64::from(options.top_p) * total)
            && own >= f64::from(options.min_p);
        equals.iter().filter(|_| stays).for_each(|&token| allowed[token] = own);
        above += equals.len();
        mass_above += own * equals.len() as f64;
    }
    let sum: f64 = allowed.iter().sum();
    allowed.into_iter().map(|weight| weight / sum).collect()
}

/// The random number of a token, from 0 to 1, both excluded.
pub fn uniform(seed: u64, step: u32, row: u32, token: usize) -> f64 {
    let bits = philox([(token / 4) as u32, row, step, 0], [seed as u32, (seed >> 32) as u32])[token % 4];
    (f64::from(bits) + 0.5) / 2f64.powi(32)
}

/// Draws in double precision, from `logits` `[m, n]` with `steps` `[m]`: of the tokens that may be drawn, the one with the
/// largest `ln(probability) - ln(-ln(1 - uniform))`.
pub fn reference(problem: &Problem, logits: &[f64], steps: &[f64]) -> Output {
    let options = &problem.options;
    every_row(problem, logits, steps, |row, logits, step| {
        let probabilities = probabilities(options, logits);
        let key = |token: usize| {
            let gumbel = -(-(-uniform(options.seed, step, row, token)).ln_1p()).ln();
            probabilities[token].ln() + if options.temperature == 0.0 { 0.0 } else { gumbel }
        };
        let possible = (0..logits.len()).filter(|&token| probabilities[token] > 0.0);
        possible.map(|token| (key(token), token)).reduce(|a, b| if b.0 > a.0 { b } else { a }).map(|(_, token)| token)
    })
}

fn every_row(
    problem: &Problem,
    logits: &[f64],
    steps: &[f64],
    draw: impl Fn(u32, &[f64], u32) -> Option<usize>,
) -> Output {
    let mut output = Output::default();
    for row in 0..problem.m {
        let logits = &logits[row * problem.n..][..problem.n];
        let step = problem.options.step.wrapping_add(steps.get(row).map_or(0, |&step| step as i64 as u32));
        let seen = logits.iter().filter(|logit| !logit.is_nan());
        let largest = seen.clone().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            output.ids.push(-1.0);
            output.log_probabilities.push(f64::NAN);
            continue;
        }
        // Of infinities the first.
        let infinite = || logits.iter().position(|&logit| logit == f64::INFINITY);
        let drawn = if largest == f64::INFINITY { infinite() } else { draw(row as u32, logits, step) };
        let token = drawn.unwrap_or(0);
        output.ids.push(token as f64);
        let sum: f64 = seen.map(|logit| (logit - largest).exp()).sum();
        output.log_probabilities.push(logits[token] - largest - sum.ln());
    }
    output
}

/// The logarithms of probabilities in f32, of tokens drawn elsewhere.
pub fn plain(problem: &Problem, logits: &[f64], ids: &[f64]) -> Vec<f64> {
    let row = |row: usize| {
        let logits: Vec<f32> = logits[row * problem.n..][..problem.n].iter().map(|&logit| logit as f32).collect();
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().filter(|logit| !logit.is_nan()).map(|logit| (logit - largest).exp()).sum();
        if ids[row] < 0.0 { f64::NAN } else { f64::from(logits[ids[row] as usize] - largest - sum.ln()) }
    };
    (0..problem.m).map(row).collect()
}
