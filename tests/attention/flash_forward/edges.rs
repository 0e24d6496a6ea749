//! Sizes around a tile's, rows without keys, strides, extreme values, NaN and infinities.

use super::*;
use cudarc::driver::DevicePtr;
use llm_kernels::attention::flash_forward::plan;
use llm_kernels::{Error, TensorView, TensorViewMut};

/// Queries and keys of a tile.
fn tiles(d: usize) -> (usize, usize) {
    let problem = Problem::new(F16, shape([1, 1, 1, 1, 1, d]), &FULL).unwrap();
    let plan = plan(&problem, queue().device().limits()).unwrap();
    (plan.block_m, plan.block_n)
}

#[test]
fn sizes_around_the_tile_s_agree() {
    for (dtype, d) in [(F16, 64), (BF16, 128), (F16, 256)] {
        let (block_m, block_n) = tiles(d);
        for s_q in [0, 1, block_m - 1, block_m, block_m + 1] {
            for s_k in [0, 1, block_n - 1, block_n, block_n + 1, 2 * block_n + 1] {
                for options in [FULL, CAUSAL] {
                    Attention::new(dtype, [1, s_q, s_k, 1, 1, d], options).assert_agrees();
                }
            }
        }
    }
}

#[test]
fn no_batch_and_no_heads_are_nothing_to_do() {
    for sizes in [[0, 5, 5, 2, 2, 64], [1, 5, 5, 0, 2, 64], [1, 5, 5, 0, 0, 64], [3, 0, 0, 2, 1, 64]] {
        let results = Attention::new(F16, sizes, CAUSAL).run();
        assert!(results.out.bytes.is_empty() && results.lse.bytes.is_empty());
    }
}

#[test]
fn a_row_that_sees_no_key_is_0_with_an_lse_of_minus_infinity() {
    let without_keys = |options, sizes, rows: std::ops::Range<usize>| {
        let attention = Attention::new(F16, sizes, options);
        let results = attention.assert_agrees();
        for i in rows {
            let out = &results.out()[attention.query_row(0, i, 0)];
            assert!(out.iter().all(|&x| x == 0.0), "{options:?}: row {i} is not 0");
            assert_eq!(results.lse()[i], f64::NEG_INFINITY, "{options:?}: row {i}");
        }
    };
    // The first 60 queries stand before the first key.
    without_keys(CAUSAL, [1, 100, 40, 1, 1, 64], 0..60);
    without_keys(Options { window_right: Some(4), ..FULL }, [1, 200, 40, 1, 1, 128], 0..156);
    without_keys(FULL, [1, 70, 0, 1, 1, 256], 0..70);
}

#[test]
fn windows_of_every_width_around_a_tile_s_agree() {
    let (_, block_n) = tiles(64);
    let around = [None, Some(0), Some(1), Some(block_n - 1), Some(block_n), Some(block_n + 1)];
    for window_left in around {
        for window_right in around {
            let options = Options { window_left, window_right, ..FULL };
            Attention::new(F16, [1, 150, 290, 1, 1, 64], options).assert_agrees();
        }
    }
    let (_, block_n) = tiles(256);
    for window_left in [0, block_n - 1, block_n, block_n + 1] {
        let options = Options { window_left: Some(window_left), ..CAUSAL };
        Attention::new(BF16, [1, 130, 100, 2, 1, 256], options).assert_agrees();
    }
}

#[test]
fn an_lse_that_is_not_wanted_changes_nothing() {
    let attention = Attention::new(F16, [1, 70, 90, 2, 1, 64], CAUSAL);
    let with = attention.run();
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let queue = queue();
    let layouts = attention.layouts();
    let upload =
        |values: &[f64], layout: Layout| HostTensor::from_f64("", F16, layout.shape(), values).upload(queue).unwrap();
    let tensors = [upload(&attention.q, layouts.q), upload(&attention.k, layouts.k), upload(&attention.v, layouts.v)];
    let [q, k, v] = tensors.each_ref().map(|tensor| tensor.view().unwrap());
    let mut out = DeviceTensor::poisoned(queue, F16, layouts.out).unwrap();
    let args = Args { options: CAUSAL, ..Args::new(q, k, v, out.view_mut().unwrap()) };
    flash_forward(queue, args).unwrap();
    assert_eq!(out.download(queue, "out").unwrap(), with.out);
}

#[test]
fn any_strides_give_the_same_bits() {
    let attention = Attention::new(BF16, [2, 70, 90, 4, 2, 128], CAUSAL);
    let row_major = attention.assert_agrees();
    let strided = |shape: &[usize], strides: &[usize]| Layout::strided(shape, strides).unwrap();
    let layouts = [
        // [b, h, s, d]
        Layouts {
            q: strided(&[2, 70, 4, 128], &[4 * 70 * 128, 128, 70 * 128, 1]),
            k: strided(&[2, 90, 2, 128], &[2 * 90 * 128, 128, 90 * 128, 1]),
            v: strided(&[2, 90, 2, 128], &[2 * 90 * 128, 128, 90 * 128, 1]),
            out: strided(&[2, 70, 4, 128], &[4 * 70 * 128, 128, 70 * 128, 1]),
        },
        // Gaps of 8 elements after each row, batches inside positions, k and v of different strides.
        Layouts {
            q: strided(&[2, 70, 4, 128], &[4 * 136, 8 * 136, 136, 1]),
            k: strided(&[2, 90, 2, 128], &[2 * 136, 4 * 136, 136, 1]),
            v: strided(&[2, 90, 2, 128], &[90 * 400, 400, 200, 1]),
            out: strided(&[2, 70, 4, 128], &[152, 4 * 2 * 152, 2 * 152, 1]),
        },
    ];
    for layouts in layouts {
        assert_eq!(attention.run_in(layouts).unwrap(), row_major, "{layouts:?}");
    }
}

#[test]
fn offsets_beyond_2_to_the_31_elements_agree() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let queue = queue();
    let far_batch = [[2, 3, 1, 64], [(1 << 31) + 512, 128, 64, 1]];
    let far_position = [[1, 3, 1, 64], [0, (1 << 30) + 512, 64, 1]];
    // All tensors interleave in one allocation of more than 4 GiB, of which next to nothing is touched.
    // SAFETY: bytes that were never written are only read where the rows below have been written.
    let mut memory = unsafe { queue.stream().alloc::<u8>(((1 << 31) + (1 << 16)) * 2) }.unwrap();
    let start = memory.device_ptr(queue.stream()).0;
    for [shape, strides] in [far_batch, far_position] {
        let [b, s, _, d] = shape;
        let attention = Attention::new(F16, [b, s, s, 1, 1, d], CAUSAL);
        let layout = Layout::strided(&shape, &strides).unwrap();
        let row = |row: usize| layout.offset(&[row / s, row % s, 0, 0]) * 2;
        let place = |slot: usize| slot * 4096;
        for (slot, values) in [&attention.q, &attention.k, &attention.v].into_iter().enumerate() {
            for (index, values) in values.chunks(d).enumerate() {
                let bytes = HostTensor::from_f64("", F16, &[d], values).bytes;
                let at = place(slot) + row(index);
                queue.stream().memcpy_htod(&bytes, &mut memory.slice_mut(at..at + d * 2)).unwrap();
            }
        }
        let address = |slot| start + place(slot) as u64;
        let context = queue.device().context();
        // SAFETY: all elements lie in `memory`, in slots of their own, and it outlives the launch.
        let view = |slot| unsafe { TensorView::from_raw(context, address(slot), F16, layout) };
        // SAFETY: as above; nothing else uses the slot.
        let out = unsafe { TensorViewMut::from_raw(context, address(3), F16, layout) };
        let mut lse = DeviceTensor::poisoned(queue, DType::F32, Layout::contiguous(&[b, 1, s]).unwrap()).unwrap();
        let lse_view = Some(lse.view_mut().unwrap());
        let args = Args { lse: lse_view, options: CAUSAL, ..Args::new(view(0), view(1), view(2), out) };
        flash_forward(queue, args).unwrap();
        queue.synchronize().unwrap();
        let rows = (0..b * s).flat_map(|index| {
            let at = place(3) + row(index);
            queue.stream().clone_dtoh(&memory.slice(at..at + d * 2)).unwrap()
        });
        let out = HostTensor { name: "out".into(), dtype: F16, shape: shape.into(), bytes: rows.collect() };
        attention.assert_is(&Results { out, lse: lse.download(queue, "lse").unwrap() });
    }
}

#[test]
fn extreme_values_agree() {
    for dtype in [F16, BF16] {
        let mut large = Attention::new(dtype, [1, 40, 100, 2, 1, 64], CAUSAL);
        // Scores of some thousands: all weight falls on one key, and no exponential may overflow.
        large.q.iter_mut().chain(&mut large.k).for_each(|x| *x *= 32.0);
        large.assert_agrees();
        let mut values = Attention::new(dtype, [1, 40, 100, 2, 1, 64], CAUSAL);
        values.v.iter_mut().for_each(|x| *x = x.signum() * 60_000.0);
        values.v = rounded(dtype, &values.v);
        values.assert_agrees();
        let mut small = Attention::new(dtype, [1, 40, 100, 2, 1, 64], FULL);
        small.v.iter_mut().for_each(|x| *x *= 2f64.powi(-12));
        small.v = rounded(dtype, &small.v);
        small.assert_agrees();
        // All scores equal: the mean of v.
        let mut equal = Attention::new(dtype, [1, 40, 100, 2, 1, 64], FULL);
        equal.q.fill(0.0);
        equal.assert_agrees();
    }
}

#[test]
fn the_largest_score_may_come_in_any_tile() {
    for place in [0, 63, 64, 100, 191] {
        let mut attention = Attention::new(F16, [1, 16, 192, 1, 1, 64], FULL);
        let key = attention.key_row(0, place, 0);
        attention.k[key].iter_mut().for_each(|x| *x *= 8.0);
        attention.assert_agrees();
        // And fall away again, tile after tile.
        for j in 0..192 {
            let key = attention.key_row(0, j, 0);
            attention.k[key].iter_mut().for_each(|x| *x *= (j as f64 / 24.0).floor() - 4.0);
        }
        attention.k = rounded(F16, &attention.k);
        attention.assert_agrees();
    }
}

/// Rows (query and head) whose results differ from before, and whether all of these rows are NaN throughout.
fn changed(attention: &Attention, before: &Results, after: &Results) -> (Vec<(usize, usize)>, bool) {
    let (before, after) = (before.out(), after.out());
    let shape = attention.problem.shape;
    let mut rows = Vec::new();
    let mut all_nan = true;
    for i in 0..shape.s_q {
        for head in 0..shape.h_q {
            let row = attention.query_row(0, i, head);
            let same = before[row.clone()].iter().zip(&after[row.clone()]).all(|(a, b)| a.to_bits() == b.to_bits());
            if !same {
                rows.push((i, head));
                all_nan &= after[row].iter().all(|x| x.is_nan());
            }
        }
    }
    (rows, all_nan)
}

#[test]
fn a_nan_in_q_reaches_its_row_alone() {
    let clean = Attention::new(F16, [1, 140, 140, 2, 1, 64], CAUSAL);
    let before = clean.run();
    let mut attention = clean.clone();
    let row = attention.query_row(0, 77, 1);
    attention.q[row.start + 5] = f64::NAN;
    let after = attention.run();
    assert_eq!(changed(&attention, &before, &after), (vec![(77, 1)], true));
    assert!(after.lse()[140 + 77].is_nan());
    assert_eq!(after.lse().iter().filter(|lse| lse.is_nan()).count(), 1);
}

#[test]
fn a_nan_in_k_reaches_the_rows_that_see_it_alone() {
    for (options, seen) in [(CAUSAL, 90..140), (Options { window_left: Some(20), ..CAUSAL }, 90..111)] {
        let clean = Attention::new(BF16, [1, 140, 140, 2, 2, 64], options);
        let before = clean.run();
        let mut attention = clean.clone();
        let key = attention.key_row(0, 90, 0);
        attention.k[key.start + 63] = f64::NAN;
        let expected: Vec<_> = seen.map(|i| (i, 0)).collect();
        assert_eq!(changed(&attention, &before, &attention.run()), (expected, true));
    }
}

#[test]
fn a_nan_in_v_reaches_every_row_that_sees_it_and_none_outside_its_tile() {
    let clean = Attention::new(F16, [1, 256, 256, 1, 1, 64], CAUSAL);
    let before = clean.run();
    let mut attention = clean.clone();
    let value = attention.key_row(0, 200, 0);
    attention.v[value.start + 3] = f64::NAN;
    let after = attention.run().out();
    let before = before.out();
    for i in 0..256 {
        for (column, element) in attention.query_row(0, i, 0).enumerate() {
            // The second block of 128 queries visits the tile, the first does not; only its column may change.
            let (sees, may_visit) = (i >= 200, i >= 128 && column == 3);
            let same = after[element].to_bits() == before[element].to_bits();
            match (sees && column == 3, may_visit) {
                (true, _) => assert!(after[element].is_nan(), "row {i} column {column}"),
                (false, true) => {
                    assert!(same || after[element].is_nan(), "row {i} column {column}")
                }
                (false, false) => assert!(same, "row {i} column {column}"),
            }
        }
    }
}

#[test]
fn what_lies_past_the_last_key_is_never_read_into_a_result() {
    // Views of 33 keys in memory of 97, the rest NaN: `narrow` ends them.
    let attention = Attention::new(F16, [2, 20, 33, 1, 1, 128], FULL);
    let expected = attention.run();
    let layouts = attention.layouts();
    let spaced = Layout::strided(&[2, 33, 1, 128], &[97 * 128, 128, 128, 1]).unwrap();
    let results = attention.run_in(Layouts { k: spaced, v: spaced, ..layouts }).unwrap();
    assert_eq!(results, expected);
}

#[test]
fn minus_infinite_scores_weigh_nothing() {
    // The first element of every query is positive, so that a key with minus infinity there is never seen.
    let mut attention = Attention::new(BF16, [1, 30, 80, 1, 1, 64], FULL);
    for i in 0..30 {
        let row = attention.query_row(0, i, 0);
        attention.q[row.start] = 1.0;
    }
    for j in 0..40 {
        let row = attention.key_row(0, 2 * j, 0);
        attention.k[row.start] = f64::NEG_INFINITY;
    }
    attention.assert_agrees();
}

#[test]
fn sizes_around_the_tile_s_agree_with_features() {
    for (dtype, d, d_v) in [(F16, 64, 64), (BF16, 72, 8), (F16, 8, 136)] {
        for s_q in [1, 63, 64, 65] {
            for s_k in [0, 1, 31, 32, 33, 63, 64, 65, 129] {
                let shape = Shape { b: 1, s_q, s_k, h_q: 1, h_kv: 1, d, d_v };
                let attention = Attention::of_shape(s_k as u64, dtype, shape, CAUSAL).with_sinks(vec![0.25]);
                let attention = attention.with_bias(dtype, [1, 1], |[_, _, i, j]| (i * 3 + j) as f64 % 4.0);
                attention.with_mask([1, 1], |[_, _, i, j]| (i + j) % 5 != 0).assert_agrees();
            }
        }
    }
}

#[test]
fn columns_past_the_head_dimension_are_never_read_nor_written() {
    // Rows of 40 and 24 elements in rows of 64; the rest is NaN, and must stay so in the output.
    let shape = Shape { b: 2, s_q: 70, s_k: 90, h_q: 2, h_kv: 2, d: 40, d_v: 24 };
    let attention = Attention::of_shape(0, F16, shape, CAUSAL);
    let spaced = |s: usize, d: usize| Layout::strided(&[2, s, 2, d], &[s * 128, 128, 64, 1]).unwrap();
    let layouts = Layouts { q: spaced(70, 40), k: spaced(90, 40), v: spaced(90, 24), out: spaced(70, 24) };
    assert_eq!(attention.run_in(layouts).unwrap(), attention.assert_agrees());
}

#[test]
fn sequences_may_be_empty_and_differ_in_any_way() {
    for lengths in
        [&[[0, 0]][..], &[], &[[0, 5], [5, 0], [0, 0], [3, 200], [200, 3]], &[[129, 129], [128, 127], [1, 1]]]
    {
        for (d, options) in [(64, CAUSAL), (128, FULL), (48, Options { window_left: Some(30), ..CAUSAL })] {
            Attention::of_lengths(1, BF16, lengths, [4, 2, d, d], options).assert_agrees();
        }
    }
}

#[test]
fn offsets_that_are_wrong_on_the_device_never_reach_outside_the_tensors() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let queue = queue();
    let input =
        |s: usize| HostTensor::from_f64("", F16, &[s, 2, 64], &random::normal(1, s * 128)).upload(queue).unwrap();
    let (q, k, v) = (input(100), input(150), input(150));
    for offsets in [[0, 50, 100], [-7, i32::MAX, i32::MIN], [1 << 30, 90, 40], [99, 1000, 100], [i32::MIN, -1, 3]] {
        let mut out = DeviceTensor::poisoned(queue, F16, Layout::contiguous(&[100, 2, 64]).unwrap()).unwrap();
        let mut lse = DeviceTensor::poisoned(queue, DType::F32, Layout::contiguous(&[2, 100]).unwrap()).unwrap();
        let device = HostTensor::from_slice("", &[3], &offsets).upload(queue).unwrap();
        // SAFETY: what is promised of the offsets does not hold: that is the test. The kernel clamps them.
        let raw = |total, longest| unsafe { CuSeqlens::from_raw(device.view().unwrap(), total, longest) }.unwrap();
        let (queries, keys) = (raw(100, 60), raw(150, 100));
        let args = Args {
            lse: Some(lse.view_mut().unwrap()),
            cu_seqlens_q: Some(&queries),
            cu_seqlens_k: Some(&keys),
            options: CAUSAL,
            ..Args::new(q.view().unwrap(), k.view().unwrap(), v.view().unwrap(), out.view_mut().unwrap())
        };
        flash_forward(queue, args).unwrap();
        // The device checks bounds: a read or write outside would be a fault.
        queue.synchronize().unwrap();
        let right = queries.validate(queue);
        assert_eq!(right.is_ok(), offsets == [0, 50, 100], "{right:?}");
        assert!(matches!(keys.validate(queue), Err(Error::Sequences { .. })));
    }
    let own = CuSeqlens::from_lengths(queue, &[3, 0, 9]).unwrap();
    assert_eq!((own.offsets(), own.total(), own.longest(), own.sequences()), (Some(&[0, 3, 3, 12][..]), 12, 9, 3));
    own.validate(queue).unwrap();
}
