//! The operator as it is defined: naive, in double precision, sharing no code with the kernel. And the same in f32, as one
//! would write it: the yardstick for the kernel's error.

use half::{bf16, f16};

use super::{Problem, Shape};
use crate::fused::rope;
use crate::{DType, E4M3, Result};

/// Input, row-major; what a problem does not have is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// `[num_tokens, h_kv, d]`
    pub k: &'a [f64],
    /// Likewise.
    pub v: &'a [f64],
    /// `[num_tokens, h_q, d]`
    pub q: &'a [f64],
    /// `[n]`
    pub inverse_frequencies: &'a [f64],
    /// The position of every token.
    pub positions: &'a [i32],
    /// The sequence of every token.
    pub sequences: &'a [usize],
    /// `[b, pages_per_sequence]`
    pub block_table: &'a [i32],
}

/// A cache, before and after: numbers as they lie in it, without the scales.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cache {
    /// `[num_pages, page_size, h_kv, d]`
    pub k: Vec<f64>,
    /// Likewise.
    pub v: Vec<f64>,
    /// `[num_pages, page_size, h_kv]`; empty in 16 bits.
    pub k_scales: Vec<f64>,
    /// Likewise.
    pub v_scales: Vec<f64>,
}

/// Below, a row counts as zero: 2^-118.
const LEAST: f64 = 3.009265538105056e-36;

/// The largest code of an 8-bit type.
fn most(cache: DType) -> f64 {
    if cache == DType::I8 { 127.0 } else { 448.0 }
}

/// The definition of 8-bit rows, bit for bit: the scale, and the codes as numbers. With `m` the largest magnitude:
///
/// - i8: scale `m * (1 / 127)`, codes `x * (127 / m)` rounded to integers; what is in brackets and the scale rounded to f32
/// - e4m3: scale `m * (1 / 448)`, codes `x * (448 / m)` rounded to f32 and then to e4m3
/// - a row of magnitudes below 2^-118 is 0 with a scale of 0, one with an infinity or a NaN is 0 with a scale of NaN
pub fn quantise(cache: DType, row: &[f32]) -> (f32, Vec<f64>) {
    let zeros = vec![0.0; row.len()];
    if !row.iter().all(|x| x.is_finite()) {
        return (f32::NAN, zeros);
    }
    let largest = row.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    if f64::from(largest) < LEAST {
        return (0.0, zeros);
    }
    let most = most(cache) as f32;
    let inverse = most / largest;
    let code = |&x: &f32| match cache {
        // A product of two f32 is exact in f64.
        DType::I8 => (f64::from(x) * f64::from(inverse)).round_ties_even(),
        _ => E4M3::from_f64((x * inverse).into()).to_f64(),
    };
    (largest * (1.0 / most), row.iter().map(code).collect())
}

/// The cache after the call, and the queries `[num_tokens, h_q, d]`, in double precision: codes of 8 bits are not rounded.
///
/// # Errors
/// None for a problem that was checked.
pub fn reference(problem: &Problem, inputs: &Inputs, before: &Cache) -> Result<(Cache, Vec<f64>)> {
    let positions = angles(problem, inputs);
    let rotate = |x: &[f64], h| match rotation(problem, h, DType::F32)? {
        Some(of) => Ok(rope::reference::reference(&of, x, &positions, inputs.inverse_frequencies)),
        None => Ok(x.to_vec()),
    };
    let row = |row: &[f64]| -> (f64, Vec<f64>) {
        if !problem.types.is_eight_bit() {
            return (1.0, row.to_vec());
        }
        if !row.iter().all(|x| x.is_finite()) {
            return (f64::NAN, vec![0.0; row.len()]);
        }
        let largest = row.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        if largest < LEAST {
            return (0.0, vec![0.0; row.len()]);
        }
        let scale = largest / most(problem.types.cache);
        (scale, row.iter().map(|x| x / scale).collect())
    };
    let k = rotate(inputs.k, problem.shape.h_kv)?;
    Ok((append(problem, inputs, before, [&k, inputs.v], row), rotate(inputs.q, problem.shape.h_q)?))
}

/// The same in f32, rounded to the types of the cache and of the queries.
///
/// # Errors
/// None for a problem that was checked.
pub fn plain(problem: &Problem, inputs: &Inputs, before: &Cache) -> Result<(Cache, Vec<f64>)> {
    let positions = angles(problem, inputs);
    let rotate = |x: &[f64], h, dtype| match rotation(problem, h, dtype)? {
        Some(of) => Ok(rope::reference::plain(&of, x, &positions, inputs.inverse_frequencies)),
        None => Ok(x.to_vec()),
    };
    let row = |row: &[f64]| -> (f64, Vec<f64>) {
        let single: Vec<f32> = row.iter().map(|&x| x as f32).collect();
        if problem.types.is_eight_bit() {
            let (scale, codes) = quantise(problem.types.cache, &single);
            return (scale.into(), codes);
        }
        let round = |&x: &f32| match problem.types.cache {
            DType::F16 => f16::from_f32(x).to_f64(),
            _ => bf16::from_f32(x).to_f64(),
        };
        (1.0, single.iter().map(round).collect())
    };
    let k = rotate(inputs.k, problem.shape.h_kv, DType::F32)?;
    let q = rotate(inputs.q, problem.shape.h_q, problem.types.q_out.unwrap_or(DType::F32))?;
    Ok((append(problem, inputs, before, [&k, inputs.v], row), q))
}

/// The positions that heads are rotated by: 0 where a position is out of range.
fn angles(problem: &Problem, inputs: &Inputs) -> Vec<f64> {
    let in_range = |position: i32| usize::try_from(position).is_ok_and(|position| position < problem.capacity);
    inputs.positions.iter().map(|&position| if in_range(position) { position.into() } else { 0.0 }).collect()
}

/// The rotation of `h` heads of every token; `None`: there is none.
fn rotation(problem: &Problem, h: usize, dtype: DType) -> Result<Option<rope::Problem>> {
    let Shape { num_tokens, d, n, .. } = problem.shape;
    if n == 0 || h == 0 {
        return Ok(None);
    }
    let shape = rope::Shape { b: 1, s: num_tokens, h, d, n };
    let options = rope::Options {
        interleaved: problem.options.interleaved,
        inverse: false,
        magnitude: problem.options.magnitude,
    };
    rope::Problem::new(Some(DType::F32), dtype, shape, options).map(Some)
}

/// Puts rows of keys and values `[num_tokens, h_kv, d]` to their places, each as `convert` makes it: scale and elements.
fn append(
    problem: &Problem,
    inputs: &Inputs,
    before: &Cache,
    [k, v]: [&[f64]; 2],
    convert: impl Fn(&[f64]) -> (f64, Vec<f64>),
) -> Cache {
    let Shape { h_kv, d, .. } = problem.shape;
    let mut after = before.clone();
    for token in 0..problem.shape.num_tokens {
        let Some(slot) = slot(problem, inputs, token) else { continue };
        for head in 0..h_kv {
            let (from, to) = ((token * h_kv + head) * d, slot * h_kv + head);
            for (new, cache, scales) in [(k, &mut after.k, &mut after.k_scales), (v, &mut after.v, &mut after.v_scales)]
            {
                let (scale, elements) = convert(&new[from..][..d]);
                cache[to * d..][..d].copy_from_slice(&elements);
                if problem.types.is_eight_bit() {
                    scales[to] = scale;
                }
            }
        }
    }
    after
}

/// The slot of a token, counted through all pages of the cache; `None`: it has none.
pub fn slot(problem: &Problem, inputs: &Inputs, token: usize) -> Option<usize> {
    let Shape { num_pages, page_size, .. } = problem.shape;
    let position = usize::try_from(inputs.positions[token]).ok().filter(|&position| position < problem.capacity)?;
    let page = match problem.pages_per_sequence {
        Some(pages) => {
            let page = inputs.block_table[inputs.sequences[token] * pages + position / page_size];
            usize::try_from(page).ok().filter(|&page| page < num_pages)?
        }
        None => inputs.sequences[token],
    };
    Some(page * page_size + position % page_size)
}
