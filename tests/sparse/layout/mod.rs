//! The checked layout: what a pattern's parts and a layout's words may be.

use llm_kernels::sparse::patterns::PatternKind;
use llm_kernels::sparse::{Band, BlockLayout, LayoutSizes, Pattern, PatternParts, TileGrid, TileMask};
use llm_kernels::verify::{self, DeviceTensor, HostTensor};
use llm_kernels::{DType, Layout, Queue};

fn queue() -> &'static Queue {
    verify::queue().unwrap_or_else(|error| panic!("{error}"))
}

fn grid() -> TileGrid {
    TileGrid::new([200, 300], [128, 64]).unwrap()
}

/// Two rows of tiles, of five columns.
fn parts() -> PatternParts {
    PatternParts {
        offsets: vec![0, 2, 5],
        tiles: vec![1, 4, 0, 1, 3],
        masks: vec![TileMask::Full, TileMask::Band(0), TileMask::Full, TileMask::Bits(0), TileMask::Full],
        bands: vec![Band { diagonal: 100, left: Some(7), right: Some(0) }],
        bits: vec![0x0F0F_0F0F; 128 * 2],
    }
}

#[test]
fn each_mistake_of_a_pattern_has_its_own_error() {
    Pattern::new(grid(), parts()).unwrap();
    type Spoil = fn(&mut PatternParts);
    let cases: [(Spoil, &str); 13] = [
        (|parts| parts.offsets = vec![0, 5], "2 offsets, expected 3 (tiles of 128 in 200 queries, and 1)"),
        (|parts| parts.offsets[0] = 1, "offsets[0] is 1, expected 0"),
        (|parts| parts.offsets[1] = 6, "offsets[2] is 5, expected at least 6 (= offsets[1])"),
        (|parts| parts.offsets[2] = 4, "the last offset is 4, expected 5 (= tiles)"),
        (|parts| parts.masks.truncate(4), "4 masks, expected 5 (= tiles)"),
        (|parts| parts.bits.truncate(255), "255 words of bits, expected a multiple of 256 (a tile)"),
        (|parts| parts.tiles[4] = 5, "row 1 has tile 5, expected one below 5"),
        (|parts| parts.tiles[0] = 4, "row 0 has tile 4 twice"),
        (|parts| parts.tiles.swap(2, 4), "row 1 has tile 1 after 3, expected rising order"),
        (|parts| parts.masks[0] = TileMask::Band(1), "masks[0] names band 1, expected one below 1"),
        (|parts| parts.masks[3] = TileMask::Bits(1), "masks[3] names bits 1, expected one below 1"),
        (|parts| parts.bands[0].left = Some((1 << 29) + 1), "bands[0] has 536870913, the limit is 2^29"),
        (|parts| parts.bands[0].diagonal = -(1 << 40), "bands[0] has 1099511627776, the limit is 2^29"),
    ];
    for (change, expected) in cases {
        let mut parts = parts();
        change(&mut parts);
        let error = Pattern::new(grid(), parts).unwrap_err();
        assert_eq!(error.to_string(), format!("block_layout: {expected}"));
    }
}

#[test]
fn each_mistake_of_heads_has_its_own_error() {
    let pattern = Pattern::new(grid(), parts()).unwrap();
    let other = Pattern::full(TileGrid::new([200, 300], [64, 64]).unwrap()).unwrap();
    for (patterns, heads, expected) in [
        (vec![], vec![0], "no patterns, expected at least 1"),
        (vec![pattern.clone()], vec![], "no heads, expected at least 1"),
        (vec![pattern.clone()], vec![0, 1], "heads[1] names pattern 1, expected one below 1"),
        (vec![pattern.clone(), other], vec![0, 1], "patterns[1] is of TileGrid"),
    ] {
        let error = BlockLayout::of_heads(queue(), patterns, heads).unwrap_err().to_string();
        assert!(error.starts_with(&format!("block_layout: {expected}")), "{error}");
    }
}

#[test]
fn heads_have_their_own_patterns() {
    let causal = PatternKind::Causal.pattern(grid()).unwrap();
    let full = Pattern::full(grid()).unwrap();
    let layout = BlockLayout::of_heads(queue(), vec![causal.clone(), full.clone()], vec![0, 1, 0]).unwrap();
    let heads: Vec<_> = (0..4).map(|head| layout.pattern(head)).collect();
    assert_eq!(heads, [Some(&causal), Some(&full), Some(&causal), None]);
    layout.validate(queue()).unwrap();
    let shared = BlockLayout::new(queue(), full.clone()).unwrap();
    assert_eq!((shared.pattern(0), shared.pattern(77)), (Some(&full), Some(&full)));
}

/// The words of the parts above, for two heads, and their sizes.
fn words() -> (Vec<i32>, LayoutSizes) {
    let mut words = vec![100, 7, 0, 0, 0, 0, 0, 2, 5, 2, 9, 0, 3, 6, 0, -1, 0, 1, 0];
    words.extend([0x0F0F_0F0F; 256]);
    // The same by columns.
    words.extend([0, 1, 3, 3, 4, 5, 6, 2, 5, 4, 1, 2, 0, 3, 4, 1]);
    (words, LayoutSizes { heads: 2, patterns: 1, tiles: 5, bands: 1, masks: 1 })
}

fn upload(words: &[i32]) -> DeviceTensor {
    let mut tensor = DeviceTensor::poisoned(queue(), DType::I32, Layout::contiguous(&[words.len()]).unwrap()).unwrap();
    tensor.write(queue(), &HostTensor::from_slice("words", &[words.len()], words).bytes).unwrap();
    tensor
}

#[test]
fn words_on_the_device_are_checked_on_request() {
    let (good, sizes) = words();
    assert_eq!(sizes.places(&grid()), [4, 6, 9, 14, 19, 275, 281, 286, good.len()]);
    for (at, word, expected) in [
        (0, 100, ""),
        (1, -2, "a limit of bands[0] is -2, expected -1 or more"),
        (5, 1, "heads[1] is 1, expected a pattern below 1"),
        (6, 1, "offsets[0] is 1, expected 0"),
        (7, -1, "offsets[2] is 5, expected at least"),
        (8, 6, "an offset is 6, expected at most 5"),
        (8, 4, "the last offset is 4, expected 5 (= tiles)"),
        (9, 10, "row 0 has tile 5, expected one below 5"),
        (9, 3, "tiles[0] is 3, expected one that says whether its mask, 0, is 0"),
        (12, 1, "row 1 has tile 0 twice"),
        (11, 2, "row 1 has tile 1 twice"),
        (276, 2, "word 1 of columns, rows and places is 2, expected 1"),
        (282, 3, "word 7 of columns, rows and places is 3, expected 2"),
        (290, 4, "word 15 of columns, rows and places is 4, expected 1"),
        (15, -2, "masks[1] names band 1, expected one below 1"),
        (17, 2, "masks[3] names bits 1, expected one below 1"),
    ] {
        let mut words = good.clone();
        words[at] = word;
        let memory = upload(&words);
        // SAFETY: no kernel uses it.
        let layout = unsafe { BlockLayout::from_raw(memory.view().unwrap(), grid(), sizes) }.unwrap();
        assert!(layout.pattern(0).is_none());
        match layout.validate(queue()) {
            Ok(()) => assert_eq!(expected, ""),
            Err(error) => {
                let right = error.to_string().starts_with(&format!("block_layout: {expected}"));
                assert!(right && !expected.is_empty(), "words[{at}] = {word}: {error}");
            }
        }
    }
}

#[test]
fn memory_of_another_size_or_type_is_no_layout() {
    let (words, sizes) = words();
    let memory = upload(&words);
    let error = |sizes| {
        // SAFETY: no kernel uses it.
        unsafe { BlockLayout::from_raw(memory.view().unwrap(), grid(), sizes) }.unwrap_err().to_string()
    };
    assert!(error(LayoutSizes { tiles: 6, ..sizes }).contains("expected i32 [277] without gaps"));
    let none = LayoutSizes { heads: 5, patterns: 0, ..sizes };
    assert!(error(none).contains("5 heads and 0 patterns, expected at least 1"));
}
