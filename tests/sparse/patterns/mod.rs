//! `sparse::patterns` on the host: every builder equals its definition, element by element.

use llm_kernels::Error;
use llm_kernels::sparse::patterns::{BigBird, PatternKind, random_blocks};
use llm_kernels::sparse::{Band, Pattern, TileGrid, TileMask};
use proptest::prelude::*;

/// Sizes with one tile, several, uneven ones, fewer and more keys than queries, and none.
const SIZES: [[usize; 2]; 8] = [[1, 1], [64, 64], [130, 130], [200, 333], [300, 170], [5, 259], [0, 70], [70, 0]];

const BIG_BIRD: BigBird = BigBird { block: 16, window: 1, global: 1, random: 2, seed: 7 };

fn grids() -> impl Iterator<Item = TileGrid> {
    let tiles = [[64, 64], [64, 128], [128, 64], [128, 128]];
    SIZES.into_iter().flat_map(move |sizes| tiles.map(|tiles| TileGrid::new(sizes, tiles).unwrap()))
}

/// Asserts that a kind shows query at place `p` key `j` exactly where `sees(p, j, s_k)` says.
fn assert_equals(kind: &PatternKind, sees: impl Fn(i64, i64, usize) -> bool) {
    for grid in grids() {
        let pattern = kind.pattern(grid).unwrap();
        assert_holds(kind, &pattern, |i, j| sees(grid.place(i), j as i64, grid.s_k()));
    }
}

/// Likewise of a pattern; besides, tiles that hold nothing are not visited, and those that hold all are full.
fn assert_holds(what: &impl std::fmt::Debug, pattern: &Pattern, sees: impl Fn(usize, usize) -> bool) {
    let grid = pattern.grid();
    let mut pairs = 0;
    for row in 0..grid.query_tiles() {
        let visited: Vec<_> = pattern.row(row).collect();
        for tile in 0..grid.key_tiles() {
            let (mut seen, mut all) = (0, 0);
            for (i, j) in grid.queries(row).flat_map(|i| grid.keys(tile).map(move |j| (i, j))) {
                let expected = sees(i, j);
                assert_eq!(pattern.sees(i, j), expected, "{what:?} {grid:?}: query {i}, key {j}");
                (seen, all) = (seen + u64::from(expected), all + 1);
            }
            let mask = visited.iter().find(|(visited, _)| *visited == tile).map(|(_, mask)| *mask);
            assert_eq!(mask.is_some(), seen > 0, "{what:?} {grid:?}: row {row}, tile {tile}");
            assert_eq!(mask == Some(TileMask::Full), seen == all, "{what:?} {grid:?}: row {row}, tile {tile}");
            pairs += seen;
        }
    }
    assert_eq!(pattern.visible_pairs(), pairs, "{what:?} {grid:?}");
}

#[test]
fn causal_sees_what_is_not_later() {
    assert_equals(&PatternKind::Causal, |p, j, _| j <= p);
}

#[test]
fn a_sliding_window_sees_both_sides() {
    for (left, right) in [(0, 0), (63, 0), (64, 3), (100, 200), (5, 1 << 40)] {
        let kind = PatternKind::SlidingWindow { left, right };
        assert_equals(&kind, |p, j, _| p - left as i64 <= j && j <= p + right as i64);
    }
}

#[test]
fn a_dilated_window_steps_over_keys() {
    for (left, right, dilation) in [(3, 0, 2), (20, 10, 7), (1000, 1000, 1), (2, 2, 64)] {
        let kind = PatternKind::Dilated { left, right, dilation };
        let (left, right, dilation) = (left as i64, right as i64, dilation as i64);
        assert_equals(&kind, |p, j, _| (-left..=right).any(|t| j == p + t * dilation));
    }
}

#[test]
fn strided_sees_the_last_stride_and_every_stride_th() {
    for stride in [1, 7, 64, 90] {
        let far = |p: i64, j: i64| (p - j) % stride == 0;
        let kind = PatternKind::Strided { stride: stride as usize };
        assert_equals(&kind, |p, j, _| j <= p && (p - j <= stride || far(p, j)));
    }
}

#[test]
fn fixed_sees_its_stride_and_the_summaries_of_others() {
    for (stride, summary) in [(1, 1), (16, 3), (64, 0), (90, 10)] {
        let kind = PatternKind::Fixed { stride: stride as usize, summary: summary as usize };
        assert_equals(&kind, |p, j, _| j <= p && (p / stride == j / stride || j % stride >= stride - summary));
    }
}

#[test]
fn longformer_sees_its_window_and_the_global_positions() {
    for (window, global) in [(10, vec![]), (64, vec![0]), (20, vec![3, 99, 100, 5000])] {
        let is_global = |place: i64| usize::try_from(place).is_ok_and(|place| global.contains(&place));
        let kind = PatternKind::Longformer { window, global: global.clone() };
        assert_equals(&kind, |p, j, _| (p - j).unsigned_abs() as usize <= window || is_global(p) || is_global(j));
    }
}

#[test]
fn big_bird_sees_window_global_and_drawn_blocks() {
    for numbers in
        [BIG_BIRD, BigBird { block: 64, ..BIG_BIRD }, BigBird { window: 0, global: 0, random: 50, ..BIG_BIRD }]
    {
        let block = numbers.block;
        assert_equals(&PatternKind::BigBird(numbers), |p, j, s_k| {
            let Ok(p) = usize::try_from(p) else { return false };
            let (m, n) = (p / block, j as usize / block);
            let drawn = random_blocks(&numbers, s_k.div_ceil(block), m).contains(&n);
            m.abs_diff(n) <= numbers.window || m.min(n) < numbers.global || drawn
        });
    }
}

#[test]
fn drawn_blocks_are_new_different_and_of_the_seed() {
    let numbers = BigBird { random: 3, ..BIG_BIRD };
    let mut counts = vec![0; 64];
    for m in 0..64 {
        let drawn = random_blocks(&numbers, 64, m);
        assert_eq!(drawn.len(), if m < numbers.global { 0 } else { 3 });
        for n in &drawn {
            assert!(*n >= numbers.global && n.abs_diff(m) > numbers.window && *n < 64);
            counts[*n] += 1;
        }
        let different: std::collections::BTreeSet<_> = drawn.iter().collect();
        assert_eq!(different.len(), drawn.len());
        assert_eq!(drawn, random_blocks(&numbers, 64, m));
    }
    // 189 draws over 63 blocks: no block gets a large part of them.
    assert!(*counts.iter().max().unwrap() <= 12, "{counts:?}");
    let other = |m| random_blocks(&BigBird { seed: 8, ..numbers }, 64, m) != random_blocks(&numbers, 64, m);
    assert!((1..64).filter(|&m| other(m)).count() > 50);
    // All that are left.
    assert_eq!(random_blocks(&BigBird { random: 9, ..BIG_BIRD }, 6, 3).len(), 2);
}

#[test]
fn streaming_sees_sinks_and_recent_keys() {
    for (sinks, recent) in [(4, 100), (0, 1), (64, 64), (200, 0)] {
        let kind = PatternKind::Streaming { sinks: sinks as usize, recent: recent as usize };
        assert_equals(&kind, |p, j, _| j <= p && (j < sinks || p - j < recent));
    }
}

#[test]
fn the_last_queries_of_a_tri_shape_see_all() {
    for last in [0, 1, 70, 10_000] {
        let kind = PatternKind::TriShape { sinks: 5, recent: 40, last };
        assert_equals(&kind, |p, j, s_k| j <= p && (j < 5 || p - j < 40 || p + last as i64 >= s_k as i64));
    }
}

#[test]
fn vertical_and_slash_lines_are_seen() {
    let (vertical, slash) = (vec![0, 17, 18, 150], vec![0, 1, 66, 200]);
    let kind = PatternKind::VerticalSlash { vertical: vertical.clone(), slash: slash.clone() };
    assert_equals(&kind, |p, j, _| j <= p && (vertical.contains(&(j as usize)) || slash.contains(&((p - j) as usize))));
}

#[test]
fn documents_do_not_see_each_other() {
    for causal in [true, false] {
        let ends = vec![40, 40, 128, 131];
        let of = |position: i64| ends.iter().filter(|end| **end as i64 <= position).count();
        let kind = PatternKind::Documents { ends: ends.clone(), causal };
        assert_equals(&kind, |p, j, _| p >= 0 && of(p) == of(j) && (!causal || j <= p));
    }
}

#[test]
fn a_prefix_is_seen_by_all() {
    for prefix in [0, 1, 64, 100, 10_000] {
        assert_equals(&PatternKind::PrefixLm { prefix: prefix as usize }, |p, j, _| j <= p || j < prefix);
    }
}

#[test]
fn causal_and_windows_are_rules_and_repeating_masks_are_kept_once() {
    let grid = TileGrid::new([1024, 1024], [64, 64]).unwrap();
    for kind in [PatternKind::Causal, PatternKind::SlidingWindow { left: 200, right: 0 }] {
        let pattern = kind.pattern(grid).unwrap();
        assert!(pattern.bits().is_empty() && pattern.masks().contains(&TileMask::Band(0)), "{kind:?}");
    }
    let strided = PatternKind::Strided { stride: 128 }.pattern(grid).unwrap();
    let masks: usize = strided.bits().len() / grid.mask_words();
    assert!(masks <= 4 && strided.tiles().len() > 80, "{masks} masks of {} tiles", strided.tiles().len());
}

#[test]
fn a_long_sequence_is_cut_in_a_moment() {
    let grid = TileGrid::new([1 << 16, 1 << 16], [128, 128]).unwrap();
    let pattern = PatternKind::Streaming { sinks: 64, recent: 1024 }.pattern(grid).unwrap();
    assert!(pattern.tiles().len() <= 512 * 10, "{}", pattern.tiles().len());
    let pairs: u64 = (0..1_u64 << 16).map(|p| (p + 1).min(1024) + p.saturating_sub(1023).min(64)).sum();
    assert_eq!(pattern.visible_pairs(), pairs);
}

#[test]
fn impossible_numbers_are_rejected() {
    let grid = TileGrid::new([64, 64], [64, 64]).unwrap();
    for (kind, expected) in [
        (PatternKind::Strided { stride: 0 }, "stride is 0, expected at least 1"),
        (PatternKind::Fixed { stride: 0, summary: 0 }, "stride is 0, expected at least 1"),
        (PatternKind::Fixed { stride: 4, summary: 5 }, "summary is 5, expected at most the stride"),
        (PatternKind::Dilated { left: 1, right: 0, dilation: 0 }, "dilation is 0, expected at least 1"),
        (PatternKind::BigBird(BigBird { block: 0, ..BIG_BIRD }), "block is 0, expected at least 1"),
        (PatternKind::Documents { ends: vec![9, 3], causal: true }, "ends is 3 after 9, expected rising order"),
    ] {
        let error = kind.pattern(grid).unwrap_err();
        assert_eq!(error.to_string(), format!("sparse/patterns: {expected}"), "{kind:?}");
    }
    for (tiles, name, got) in [([32, 64], "tile_q", 32), ([64, 96], "tile_k", 96)] {
        let problem = format!("{name} is {got}, expected 64 or 128");
        assert_eq!(TileGrid::new([1, 1], tiles).unwrap_err(), Error::BlockLayout { problem });
    }
    let error = TileGrid::new([1, 1 << 30], [64, 64]).unwrap_err();
    assert_eq!(error.to_string(), "block_layout: s_k is 1073741824, the limit is 536870912");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_element_mask_becomes_its_tiles(
        sizes in [0_usize..200, 0_usize..200],
        tiles in prop::sample::select(vec![[64, 64], [64, 128], [128, 64], [128, 128]]),
        seed in any::<u64>(),
        // Of tiles of 16 by 16, so that some larger ones are full and some are empty.
        dense in 0_u64..=8,
    ) {
        let grid = TileGrid::new(sizes, tiles).unwrap();
        let hash = |i: usize, j: usize| {
            let mixed = (seed ^ (i / 16 * 977 + j / 16) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            (mixed ^ mixed >> 29) % 8
        };
        let sees = |i: usize, j: usize| hash(i, j) < dense;
        assert_holds(&"elements", &Pattern::from_elements(grid, sees).unwrap(), sees);
    }

    #[test]
    fn bands_show_what_they_say(diagonal in -50_i64..50, left in 0_usize..80, right in 0_usize..80, i in 0_usize..90) {
        let band = Band { diagonal, left: Some(left), right: Some(right) };
        let place = i as i64 + diagonal;
        for j in 0..60 {
            let expected = place - left as i64 <= j && j <= place + right as i64;
            prop_assert_eq!(band.keys(i, 60).contains(&(j as usize)), expected);
        }
    }
}
