//! Where tiles, sequences and rows end.

use super::*;

const CAUSAL: PatternKind = PatternKind::Causal;

#[test]
fn lengths_around_a_tile_agree() {
    for tiles in [[64, 64], [128, 128]] {
        for s in [1, 31, 32, 33, 63, 64, 65, 127, 128, 129] {
            Backward::new(Sparse::new(F16, [1, s, 160 - s, 1, 1, 64], tiles, &CAUSAL)).assert_agrees();
        }
    }
}

#[test]
fn queries_and_keys_that_see_nobody_get_exact_zeros() {
    for d in [64, 128, 256] {
        let sizes = [1, 200, 300, 2, 1, d];
        let grid = TileGrid::new([200, 300], [64, 64]).unwrap();
        // Queries 70 .. 199 see nothing, keys from 100 on are seen by nobody but one.
        let rows = |i: usize| {
            let seen = match i {
                0..70 => 0..100,
                199 => 199..200,
                _ => return Vec::new(),
            };
            std::iter::once(seen).collect()
        };
        let pattern = Pattern::from_rows(grid, &[], rows).unwrap();
        let results = Backward::new(Sparse::of_heads(3, F16, sizes, vec![pattern])).assert_agrees();
        let zeros = |tensor: &HostTensor, range: std::ops::Range<usize>, width: usize| {
            tensor.to_f64()[range.start * width..range.end * width].iter().all(|x| *x == 0.0)
        };
        assert!(zeros(&results.d_q, 70..199, 2 * d), "d_q, d {d}");
        for tensor in [&results.d_k, &results.d_v] {
            assert!(zeros(tensor, 100..199, d) && zeros(tensor, 200..300, d), "d {d}");
            assert!(!zeros(tensor, 0..100, d));
        }
    }
}

#[test]
fn no_tiles_queries_or_keys_give_zeros() {
    for [s_q, s_k] in [[100, 130], [100, 0], [0, 100], [0, 0]] {
        let grid = TileGrid::new([s_q, s_k], [64, 64]).unwrap();
        let empty = Pattern::from_rows(grid, &[], |_| Vec::new()).unwrap();
        let results = Backward::new(Sparse::of_heads(0, BF16, [2, s_q, s_k, 2, 1, 128], vec![empty])).assert_agrees();
        for tensor in [results.d_q, results.d_k, results.d_v] {
            assert!(tensor.to_f64().iter().all(|x| *x == 0.0));
        }
    }
}

#[test]
fn tensors_of_tiles_that_are_not_listed_are_not_read() {
    // Query tiles 0 and 1 see key tiles 2 and 0.
    let grid = TileGrid::new([128, 256], [64, 64]).unwrap();
    let rows = |i: usize| std::iter::once(if i < 64 { 128..192 } else { 0..64 }).collect();
    let sparse = Sparse::of_heads(3, F16, [1, 128, 256, 1, 1, 64], vec![Pattern::from_rows(grid, &[], rows).unwrap()]);
    let mut backward = Backward::new(sparse);
    let results = backward.assert_agrees();
    for j in (64..128).chain(192..256) {
        backward.forward.k[j * 64..][..64].fill(f64::NAN);
        backward.forward.v[j * 64..][..64].fill(f64::INFINITY);
    }
    let again = backward.run();
    assert_eq!((&again.d_q, &again.d_k, &again.d_v), (&results.d_q, &results.d_k, &results.d_v));
}

#[test]
fn a_layout_of_all_tiles_gives_what_dense_attention_gives() {
    // The same sums in the same order where the instances' blocks of keys are as large.
    for d in [128, 256] {
        let backward = Backward::new(Sparse::full(F16, [1, 200, 260, 2, 2, d], [128, 64]));
        let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
        let own = backward.launch(|work| work()).unwrap();
        assert_eq!(own, backward.launch_dense(|work| work()).unwrap(), "d {d}");
    }
}
