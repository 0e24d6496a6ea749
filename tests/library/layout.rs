//! Layouts, against what counting every element gives.

use std::collections::BTreeSet;

use llm_kernels::{Layout, MAX_RANK, overlap};
use proptest::prelude::*;

/// Offsets of all elements.
fn offsets(layout: &Layout) -> Vec<usize> {
    let mut offsets = vec![0];
    for (&size, &stride) in layout.shape().iter().zip(layout.strides()) {
        offsets = offsets.iter().flat_map(|base| (0..size).map(move |i| base + i * stride)).collect();
    }
    offsets
}

/// Bytes of all elements at an address.
fn bytes(address: usize, layout: &Layout, size: usize) -> BTreeSet<usize> {
    offsets(layout).iter().flat_map(|offset| (0..size).map(move |byte| address + offset * size + byte)).collect()
}

fn layouts() -> impl Strategy<Value = Layout> {
    proptest::collection::vec((0..5_usize, 0..30_usize), 0..4).prop_map(|dims| {
        let (shape, strides): (Vec<_>, Vec<_>) = dims.into_iter().unzip();
        Layout::strided(&shape, &strides).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn length_and_span_are_those_of_the_elements(layout in layouts()) {
        let offsets = offsets(&layout);
        prop_assert_eq!(layout.len(), offsets.len());
        prop_assert_eq!(layout.span(), offsets.iter().max().map_or(0, |last| last + 1));
        prop_assert_eq!(layout.is_empty(), offsets.is_empty());
    }

    #[test]
    fn two_tensors_overlap_exactly_when_they_share_a_byte(
        a in layouts(),
        b in layouts(),
        distance in 0..200_usize,
        sizes in (1..5_usize, 1..5_usize),
    ) {
        let (at, to) = (1000, 900 + distance);
        let shared = !bytes(at, &a, sizes.0).is_disjoint(&bytes(to, &b, sizes.1));
        prop_assert_eq!(overlap((at as u64, &a, sizes.0), (to as u64, &b, sizes.1)), shared);
        prop_assert_eq!(overlap((to as u64, &b, sizes.1), (at as u64, &a, sizes.0)), shared);
    }

    #[test]
    fn a_tensor_that_overlaps_itself_is_seen(layout in layouts()) {
        let offsets = offsets(&layout);
        let distinct: BTreeSet<_> = offsets.iter().collect();
        // Strides that are not nested may count as overlapping; an overlap is never missed.
        if distinct.len() < offsets.len() {
            prop_assert!(layout.overlaps_itself());
        }
    }
}

#[test]
fn nested_strides_do_not_overlap() {
    for (shape, strides) in [([4, 3, 5], [15, 5, 1]), ([4, 3, 5], [100, 1, 3]), ([1, 3, 5], [0, 8, 1])] {
        assert!(!Layout::strided(&shape, &strides).unwrap().overlaps_itself(), "{shape:?} {strides:?}");
    }
}

#[test]
fn big_interleaved_tensors_are_told_apart_in_no_time() {
    // Two halves of a buffer of [b, s, 2, h, d].
    let half = Layout::strided(&[8, 65536, 32, 128], &[65536 * 8192, 8192, 128, 1]).unwrap();
    assert!(!overlap((1 << 40, &half, 2), ((1 << 40) + 8192, &half, 2)));
    assert!(overlap((1 << 40, &half, 2), ((1 << 40) + 8190, &half, 2)));
}

#[test]
fn sizes_that_overflow_are_refused() {
    let refused = |shape: &[usize], strides: &[usize]| {
        let error = Layout::strided(shape, strides).unwrap_err().to_string();
        assert!(error.contains("overflow"), "{error}");
    };
    refused(&[usize::MAX, 2], &[1, 1]);
    refused(&[2, 2], &[usize::MAX / 2, usize::MAX / 2]);
    refused(&[1 << 40, 1 << 40], &[0, 0]);
    assert!(Layout::contiguous(&[1 << 40, 1 << 40]).is_err());
    // Nothing to reach: no overflow.
    assert_eq!(Layout::strided(&[0, 2], &[usize::MAX, 1]).unwrap().span(), 0);
}

#[test]
fn ranks_that_differ_or_exceed_the_limit_are_refused() {
    assert!(Layout::strided(&[2, 2], &[1]).is_err());
    assert!(Layout::contiguous(&[1; MAX_RANK]).is_ok());
    assert!(Layout::contiguous(&[1; MAX_RANK + 1]).is_err());
}

#[test]
fn dimensions_can_be_reordered_and_narrowed() {
    let layout = Layout::contiguous(&[2, 3, 4]).unwrap();
    let turned = layout.permute(&[2, 0, 1]).unwrap();
    assert_eq!((turned.shape(), turned.strides()), (&[4, 2, 3][..], &[1, 12, 4][..]));
    assert!(layout.permute(&[0, 1, 1]).is_err() && layout.permute(&[0, 1]).is_err());
    let (narrowed, offset) = layout.narrow(1, 1, 2).unwrap();
    assert_eq!((narrowed.shape(), offset), (&[2, 2, 4][..], 4));
    assert!(layout.narrow(1, 2, 2).is_err() && layout.narrow(3, 0, 1).is_err());
    assert!(layout.narrow(1, usize::MAX, 2).is_err());
    assert!(layout.is_contiguous() && !turned.is_contiguous() && !narrowed.is_contiguous());
}
