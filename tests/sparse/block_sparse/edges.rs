//! Where tiles, sequences and numbers end.

use super::*;
use llm_kernels::Error;
use llm_kernels::sparse::patterns::BigBird;

const CAUSAL: PatternKind = PatternKind::Causal;

#[test]
fn lengths_around_a_tile_agree() {
    for tiles in [[64, 64], [128, 128]] {
        for s_q in [1, 63, 64, 65, 127, 128, 129] {
            Sparse::new(F16, [1, s_q, 192 - s_q, 1, 1, 64], tiles, &CAUSAL).assert_agrees();
        }
        for s_k in [0, 1, 63, 64, 65, 127, 128, 129] {
            Sparse::full(BF16, [1, 66, s_k, 1, 1, 128], tiles).assert_agrees();
        }
    }
}

#[test]
fn causal_and_window_layouts_give_the_bits_of_dense_attention() {
    for (d, tiles) in [(64, [128, 128]), (128, [128, 64]), (192, [128, 64]), (256, [64, 64])] {
        for (s_q, s_k) in [(300, 300), (130, 333), (333, 200)] {
            let (left, options) = (90, flash_forward::Options { causal: true, ..Default::default() });
            let window = PatternKind::SlidingWindow { left, right: 0 };
            let windowed = flash_forward::Options { window_left: Some(left), ..options };
            for (kind, options) in [(CAUSAL, options), (window, windowed)] {
                let sparse = Sparse::new(F16, [1, s_q, s_k, 2, 2, d], tiles, &kind);
                let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
                let dense = sparse.launch_dense(options, None, |work| work()).unwrap();
                let own = sparse.launch(sparse.layouts(), |work| work()).unwrap();
                assert_eq!(own, dense, "{sparse:?}");
            }
        }
    }
}

#[test]
fn rows_that_visit_no_tile_are_0_and_minus_infinity() {
    for d in [64, 128, 192, 256] {
        let sizes = [1, 200, 200, 1, 1, d];
        let grid = grid(shape(sizes), [64, 64]);
        // Of the middle rows none, of the last only by an element.
        let rows = |i: usize| {
            let seen = match i {
                0..70 => 0..100,
                199 => 199..200,
                _ => 0..0,
            };
            Vec::from([seen])
        };
        let pattern = Pattern::from_rows(grid, &[], rows).unwrap();
        let results = Sparse::of_heads(3, F16, sizes, vec![pattern]).assert_agrees();
        let (out, lse) = (results.out.to_f64(), results.lse.to_f64());
        let width = shape(sizes).d_v;
        for i in 70..199 {
            assert_eq!(lse[i], f64::NEG_INFINITY, "{i}");
            assert!(out[i * width..][..width].iter().all(|x| *x == 0.0), "{i}");
        }
    }
}

#[test]
fn keys_of_tiles_that_are_not_listed_are_not_read() {
    let kind = PatternKind::BigBird(BigBird { block: 64, window: 0, global: 0, random: 1, seed: 9 });
    for (d, tiles) in [(64, [64, 64]), (128, [128, 64]), (256, [64, 64])] {
        let mut sparse = Sparse::new(F16, [1, 128, 500, 1, 1, d], tiles, &kind);
        let results = sparse.assert_agrees();
        let seen = |j: usize| (0..128).any(|i| sparse.heads[0].sees(i, j));
        let hidden: Vec<usize> = (0..500).filter(|&j| !seen(j / 64 * 64)).collect();
        assert!(hidden.len() > 100);
        for j in hidden {
            sparse.k[j * d..][..d].fill(f64::NAN);
            sparse.v[j * d..][..d].fill(f64::INFINITY);
        }
        assert_eq!(sparse.run(), results);
    }
}

#[test]
fn nan_in_a_query_reaches_its_row_alone() {
    let mut sparse = Sparse::new(BF16, [1, 130, 130, 1, 1, 64], [128, 128], &CAUSAL);
    let clean = sparse.assert_agrees().out.to_f64();
    sparse.q[70 * 64 + 3] = f64::NAN;
    let out = sparse.run().out.to_f64();
    for (i, (row, clean)) in out.chunks(64).zip(clean.chunks(64)).enumerate() {
        assert!(if i == 70 { row.iter().all(|x| x.is_nan()) } else { row == clean }, "{i}");
    }
}

#[test]
fn any_strides_give_the_same_bits() {
    let sparse = Sparse::new(BF16, [2, 150, 190, 4, 2, 128], [128, 64], &CAUSAL);
    let row_major = sparse.assert_agrees();
    let strided = |shape: &[usize], strides: &[usize]| Layout::strided(shape, strides).unwrap();
    let lse = sparse.layouts()[4];
    let layouts = [
        // [b, h, s, d]
        [
            strided(&[2, 150, 4, 128], &[4 * 150 * 128, 128, 150 * 128, 1]),
            strided(&[2, 190, 2, 128], &[2 * 190 * 128, 128, 190 * 128, 1]),
            strided(&[2, 190, 2, 128], &[2 * 190 * 128, 128, 190 * 128, 1]),
            strided(&[2, 150, 4, 128], &[4 * 150 * 128, 128, 150 * 128, 1]),
            lse,
        ],
        // Gaps of 8 elements after each row, batches inside positions, k and v of different strides.
        [
            strided(&[2, 150, 4, 128], &[4 * 136, 8 * 136, 136, 1]),
            strided(&[2, 190, 2, 128], &[2 * 136, 4 * 136, 136, 1]),
            strided(&[2, 190, 2, 128], &[190 * 400, 400, 200, 1]),
            strided(&[2, 150, 4, 128], &[152, 4 * 2 * 152, 2 * 152, 1]),
            lse,
        ],
    ];
    for layouts in layouts {
        assert_eq!(sparse.launch(layouts, |work| work()).unwrap(), row_major, "{layouts:?}");
    }
}

#[test]
fn words_that_changed_on_the_device_never_lead_outside_the_tensors() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let queue = queue();
    for (seed, d) in [(1, 64), (2, 128), (3, 64), (4, 256)] {
        let sparse = Sparse::new(F16, [2, 300, 300, 2, 1, d], [128, 128], &PatternKind::Strided { stride: 70 });
        let original = sparse.layout().unwrap();
        let sizes = original.sizes();
        let grid = *sparse.heads[0].grid();
        let count = sizes.words(&grid);
        // Any words: small ones, so that some are in range, and absurd ones.
        let words: Vec<i32> = random::normal(seed, count)
            .iter()
            .map(|x| if x.abs() < 1.0 { (x * 8.0) as i32 } else { (x * 1e9) as i64 as i32 })
            .collect();
        let words = HostTensor::from_slice("words", &[count], &words).upload(queue).unwrap();
        // SAFETY: the words are wrong on purpose, which gives wrong results alone.
        let layout = unsafe { BlockLayout::from_raw(words.view().unwrap(), grid, sizes) }.unwrap();
        assert!(matches!(layout.validate(queue), Err(Error::BlockLayout { .. })));
        let layouts = sparse.layouts();
        let [q, k, v] = sparse.upload(layouts).unwrap();
        let mut out = DeviceTensor::poisoned(queue, F16, layouts[3]).unwrap();
        let [q, k, v] = [&q, &k, &v].map(|tensor| tensor.view().unwrap());
        let args = Args::new(q, k, v, out.view_mut().unwrap(), &layout);
        block_sparse(queue, args).unwrap();
        // A walk that left a tensor would be a fault here.
        queue.synchronize().unwrap();
        let written = out.download(queue, "out").unwrap().to_f64();
        assert!(written.iter().all(|x| x.is_finite()), "rows were left out");
    }
}

#[test]
fn sequences_without_queries_or_keys_agree() {
    let lengths = [[100, 0], [0, 77], [130, 130], [1, 64], [64, 1]];
    for kind in [CAUSAL, PatternKind::Streaming { sinks: 3, recent: 20 }] {
        let sparse = Sparse::new(F16, [5, 130, 130, 2, 1, 64], [64, 64], &kind).of_lengths(&lengths);
        sparse.assert_agrees();
    }
}
