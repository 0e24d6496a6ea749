//! The named patterns of sparse attention, as tiles.
//!
//! Query `i` stands at place `p = i + s_k - s_q` of the keys: the last query at the last key. Every builder says which
//! keys `j` are seen from place `p`, and yields the tiles that hold exactly these.

use std::ops::Range;

use super::{Band, Pattern, TileGrid};
use crate::attention::philox::philox;
use crate::{Error, Result};

const OP: &str = "sparse/patterns";

/// What a named pattern shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PatternKind {
    /// All keys with `j <= p`.
    Causal,
    /// Sliding window: `p - left <= j <= p + right`.
    SlidingWindow {
        /// Keys before the place.
        left: usize,
        /// Keys after it; 0 when causal.
        right: usize,
    },
    /// Dilated sliding window (Beltagy, Peters and Cohan, *Longformer*, 2020, section 3.1): `j = p + t * dilation` for `-left
    /// <= t <= right`.
    Dilated {
        /// Seen keys before the place.
        left: usize,
        /// Seen keys after it.
        right: usize,
        /// From a seen key to the next; at least 1.
        dilation: usize,
    },
    /// Strided attention (Child, Gray, Radford and Sutskever, *Sparse Transformers*, 2019, section 4.3), both heads in one: `j
    /// <= p` with `p - j <= stride` or `(p - j) % stride == 0`.
    Strided {
        /// At least 1.
        stride: usize,
    },
    /// Fixed attention (likewise): `j <= p` with `p / stride == j / stride` or `j % stride >= stride - summary`.
    Fixed {
        /// At least 1.
        stride: usize,
        /// Last keys of each stride that all later places see; at most `stride`.
        summary: usize,
    },
    /// Local and global (*Longformer*): `|p - j| <= window`, or `p` or `j` is one of `global`.
    Longformer {
        /// Keys on either side.
        window: usize,
        /// Places that see all and that all see.
        global: Vec<usize>,
    },
    /// Window, global and random (Zaheer et al., *Big Bird*, 2020, section 2 and appendix D): over blocks of `block`
    /// positions, with `m = p / block` and `n = j / block`, `|m - n| <= window`, or `m` or `n` is below `global`, or `n` is one
    /// of [`random_blocks`] of `m`.
    BigBird(BigBird),
    /// Sinks and recent keys (Xiao et al., *StreamingLLM*, 2023): `j <= p` with `j < sinks` or `p - j < recent`. At the same
    /// time the A-shape of MInference.
    Streaming {
        /// First keys that all see.
        sinks: usize,
        /// Last keys, the place's own among them.
        recent: usize,
    },
    /// Tri-shape (Li et al., *SCBench*, 2024): likewise, and the last `last` queries see all keys with `j <= p`.
    TriShape {
        /// First keys that all see.
        sinks: usize,
        /// Last keys, the place's own among them.
        recent: usize,
        /// Queries at the end that see all.
        last: usize,
    },
    /// Vertical and slash lines (Jiang et al., *MInference*, 2024, section 3): `j <= p` with `j` one of `vertical` or `p - j` one
    /// of `slash`.
    VerticalSlash {
        /// Keys that all later places see.
        vertical: Vec<usize>,
        /// Distances.
        slash: Vec<usize>,
    },
    /// Documents one after the other: `j <= p`, if `causal`, and `j` is of the document of `p`. Documents end at `ends`; after
    /// the last comes one more.
    Documents {
        /// One past the last position of each document, in rising order.
        ends: Vec<usize>,
        /// No later key is seen.
        causal: bool,
    },
    /// Prefix language model: `j <= p` or `j < prefix`.
    PrefixLm {
        /// First keys that all see.
        prefix: usize,
    },
}

/// Numbers of [`PatternKind::BigBird`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BigBird {
    /// Positions of a block; at least 1.
    pub block: usize,
    /// Blocks seen on either side of a block's own.
    pub window: usize,
    /// First blocks that see all and that all see.
    pub global: usize,
    /// Blocks drawn for each block, of those that it does not see already.
    pub random: usize,
    /// Which ones are drawn.
    pub seed: u64,
}

impl PatternKind {
    /// The tiles of this pattern.
    ///
    /// # Errors
    /// [`Error::OutOfRange`]: a stride, dilation or block of 0, a summary above its stride, ends that fall.
    pub fn pattern(&self, grid: TileGrid) -> Result<Pattern> {
        self.check()?;
        let s_k = grid.s_k();
        let place = |i| grid.place(i);
        match self {
            Self::Causal => of_band(grid, None, Some(0)),
            Self::SlidingWindow { left, right } => of_band(grid, Some(*left), Some(*right)),
            Self::Dilated { left, right, dilation } => Pattern::from_rows(grid, &[], |i| {
                let seen = -(*left as i128)..=*right as i128;
                // Those among them that lie within the keys.
                let (place, step) = (i128::from(place(i)), *dilation as i128);
                let first = (-place).div_euclid(step) + i128::from((-place).rem_euclid(step) != 0);
                let last = (s_k as i128 - 1 - place).div_euclid(step);
                let steps = first.max(*seen.start())..=last.min(*seen.end());
                steps.map(|t| single((place + t * step) as usize)).collect()
            }),
            Self::Strided { stride } => Pattern::from_rows(grid, &[Band::causal(&grid)], |i| {
                let Ok(place) = usize::try_from(place(i)) else { return Vec::new() };
                let far = (0..=place).rev().step_by(*stride).map(single);
                far.chain(std::iter::once(place.saturating_sub(*stride)..place + 1)).collect()
            }),
            Self::Fixed { stride, summary } => Pattern::from_rows(grid, &[Band::causal(&grid)], |i| {
                let Ok(place) = usize::try_from(place(i)) else { return Vec::new() };
                let end = |range: Range<usize>| range.start..range.end.min(place + 1);
                let far = (0..=place / stride).map(|at| end((at + 1) * stride - summary..(at + 1) * stride));
                far.chain(std::iter::once(place / stride * stride..place + 1)).collect()
            }),
            Self::Longformer { window, global } => {
                let (left, right) = (Some(*window), Some(*window));
                let band = Band { diagonal: grid.diagonal(), left, right };
                Pattern::from_rows(grid, &[band], |i| {
                    let is_global = usize::try_from(place(i)).is_ok_and(|place| global.contains(&place));
                    let all = is_global.then_some(0..s_k);
                    all.into_iter().chain(global.iter().map(|&j| single(j))).chain([band.keys(i, s_k)]).collect()
                })
            }
            Self::BigBird(numbers) => big_bird(grid, numbers),
            Self::Streaming { sinks, recent } => streaming(grid, *sinks, *recent, 0),
            Self::TriShape { sinks, recent, last } => streaming(grid, *sinks, *recent, *last),
            Self::VerticalSlash { vertical, slash } => Pattern::from_rows(grid, &[Band::causal(&grid)], |i| {
                let Ok(place) = usize::try_from(place(i)) else { return Vec::new() };
                let lines = vertical.iter().copied().filter(|&j| j <= place);
                lines.chain(slash.iter().filter_map(|distance| place.checked_sub(*distance))).map(single).collect()
            }),
            Self::Documents { ends, causal } => Pattern::from_rows(grid, &[Band::causal(&grid)], |i| {
                let Ok(place) = usize::try_from(place(i)) else { return Vec::new() };
                let document = ends.partition_point(|end| *end <= place);
                let begin = document.checked_sub(1).map_or(0, |before| ends[before]);
                let end = ends.get(document).copied().unwrap_or(usize::MAX);
                std::iter::once(begin..if *causal { place + 1 } else { end }).collect()
            }),
            Self::PrefixLm { prefix } => {
                let causal = Band::causal(&grid);
                Pattern::from_rows(grid, &[causal], |i| vec![0..*prefix, causal.keys(i, s_k)])
            }
        }
    }

    fn check(&self) -> Result<()> {
        let least = |option: &'static str, got: usize| match got {
            0 => Err(Error::OutOfRange { op: OP, option, got: got.to_string(), expected: "at least 1" }),
            _ => Ok(()),
        };
        match self {
            Self::Dilated { dilation, .. } => least("dilation", *dilation),
            Self::Strided { stride } => least("stride", *stride),
            Self::Fixed { stride, summary } => {
                least("stride", *stride)?;
                if summary > stride {
                    let (option, got, expected) = ("summary", summary.to_string(), "at most the stride");
                    return Err(Error::OutOfRange { op: OP, option, got, expected });
                }
                Ok(())
            }
            Self::BigBird(numbers) => least("block", numbers.block),
            Self::Documents { ends, .. } => match ends.windows(2).find(|pair| pair[1] < pair[0]) {
                None => Ok(()),
                Some(pair) => {
                    let (got, expected) = (format!("{} after {}", pair[1], pair[0]), "rising order");
                    Err(Error::OutOfRange { op: OP, option: "ends", got, expected })
                }
            },
            _ => Ok(()),
        }
    }
}

fn single(j: usize) -> Range<usize> {
    j..j.saturating_add(1)
}

fn of_band(grid: TileGrid, left: Option<usize>, right: Option<usize>) -> Result<Pattern> {
    let diagonal = grid.diagonal();
    // A limit that no pair of positions reaches is none, and rules hold small numbers.
    let reach = (grid.s_q() + grid.s_k()) as i64;
    let limit = |limit: Option<usize>| limit.filter(|&limit| (limit as u64) < reach as u64);
    let band = Band { diagonal, left: limit(left), right: limit(right) };
    Pattern::from_rows(grid, &[band], |i| std::iter::once(band.keys(i, grid.s_k())).collect())
}

fn streaming(grid: TileGrid, sinks: usize, recent: usize, last: usize) -> Result<Pattern> {
    let causal = Band::causal(&grid);
    let window = recent.checked_sub(1).map(|left| Band { left: Some(left), ..causal });
    let bands: Vec<Band> = [Some(causal), window.filter(|_| recent <= grid.s_k())].into_iter().flatten().collect();
    Pattern::from_rows(grid, &bands, |i| {
        let seen = causal.keys(i, grid.s_k());
        if i + last >= grid.s_q() {
            return vec![seen];
        }
        let recent = window.map(|window| window.keys(i, grid.s_k()));
        std::iter::once(0..sinks.min(seen.end)).chain(recent).collect()
    })
}

fn big_bird(grid: TileGrid, numbers: &BigBird) -> Result<Pattern> {
    let BigBird { block, window, global, .. } = *numbers;
    let blocks = grid.s_k().div_ceil(block);
    let drawn: Vec<Vec<usize>> = (0..blocks).map(|m| random_blocks(numbers, blocks, m)).collect();
    Pattern::from_rows(grid, &[], |i| {
        let Ok(place) = usize::try_from(grid.place(i)) else { return Vec::new() };
        let m = place / block;
        if m < global {
            return std::iter::once(0..grid.s_k()).collect();
        }
        let of_blocks = |first: usize, end: usize| first.saturating_mul(block)..end.saturating_mul(block);
        let near = of_blocks(m.saturating_sub(window), m.saturating_add(window).saturating_add(1));
        let random = drawn[m].iter().map(|&n| of_blocks(n, n + 1));
        random.chain([near, of_blocks(0, global)]).collect()
    })
}

/// The blocks that are drawn for block `m` of `blocks`: all different, none that the window or the global blocks show
/// already; fewer than asked for only where no more are left.
///
/// Draw `t` takes the `philox([m, t, 0, 0], seed)[0] * n / 2^32`-th of the `n` that are left, in rising order.
pub fn random_blocks(numbers: &BigBird, blocks: usize, m: usize) -> Vec<usize> {
    let BigBird { window, global, random, seed, .. } = *numbers;
    if m < global {
        return Vec::new();
    }
    let mut left: Vec<usize> = (global.min(blocks)..blocks).filter(|n| n.abs_diff(m) > window).collect();
    let key = [seed as u32, (seed >> 32) as u32];
    let draw = |t: usize| {
        let number = philox([m as u32, t as u32, 0, 0], key)[0];
        (!left.is_empty()).then(|| left.remove((u64::from(number) * left.len() as u64 >> 32) as usize))
    };
    (0..random.min(blocks)).map_while(draw).collect()
}
