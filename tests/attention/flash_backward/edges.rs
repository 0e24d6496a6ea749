//! Sizes around a tile's, rows without keys, strides, extreme values, NaN.

use super::*;
use cudarc::driver::DevicePtr;
use llm_kernels::{TensorView, TensorViewMut};

/// Queries and keys of a tile.
fn tiles(d: usize) -> (usize, usize) {
    let problem = Problem::new(F16, shape([1, 1, 1, 1, 1, d]), &FULL).unwrap();
    let plan = plain_plan(&problem, queue().device().limits()).unwrap();
    (plan.block_m, plan.block_n)
}

#[test]
fn sizes_around_the_tile_s_agree() {
    for (dtype, d) in [(F16, 64), (BF16, 128), (F16, 256)] {
        let (block_m, block_n) = tiles(d);
        for s_q in [0, 1, block_m - 1, block_m, block_m + 1] {
            for s_k in [0, 1, block_n - 1, block_n, block_n + 1] {
                for options in [FULL, CAUSAL] {
                    Attention::new(dtype, [1, s_q, s_k, 1, 1, d], options).assert_agrees();
                }
            }
        }
    }
}

#[test]
fn no_batch_and_no_heads_are_nothing_to_do() {
    for sizes in [[0, 5, 5, 2, 2, 64], [1, 5, 5, 0, 0, 64], [3, 0, 0, 2, 1, 64]] {
        let results = Attention::new(F16, sizes, CAUSAL).run();
        assert!(results.d_q.bytes.is_empty() && results.d_k.bytes.is_empty() && results.d_v.bytes.is_empty());
    }
}

#[test]
fn without_queries_or_query_heads_the_gradients_of_keys_are_0() {
    for sizes in [[1, 0, 140, 2, 1, 64], [2, 5, 70, 0, 2, 128]] {
        let gradients = Attention::new(F16, sizes, FULL).run().gradients();
        assert!(gradients.d_q.is_empty() && !gradients.d_k.is_empty());
        assert!(gradients.d_k.iter().chain(&gradients.d_v).all(|&x| x == 0.0));
    }
}

#[test]
fn a_row_that_sees_no_key_has_and_gives_no_gradient() {
    for (options, sizes, rows) in [
        (CAUSAL, [1, 100, 40, 1, 1, 64], 0..60),
        (Options { window_right: Some(4), ..FULL }, [1, 200, 40, 1, 1, 128], 0..156),
        (FULL, [1, 70, 0, 1, 1, 256], 0..70),
    ] {
        let mut attention = Attention::new(F16, sizes, options);
        let before = attention.assert_agrees();
        for i in rows {
            let row = attention.query_row(0, i, 0);
            assert!(before.d_q.to_f64()[row.clone()].iter().all(|&x| x == 0.0), "{options:?}: row {i} is not 0");
            attention.d_out[row].fill(9.0);
        }
        assert_eq!(attention.run(), before);
    }
}

#[test]
fn windows_of_every_width_around_a_tile_s_agree() {
    for (d, s_q, s_k) in [(64, 100, 290), (256, 70, 90)] {
        let (block_m, block_n) = tiles(d);
        let around = [None, Some(0), Some(block_m - 1), Some(block_m), Some(block_n), Some(block_n + 1)];
        for window_left in around {
            for window_right in [None, Some(0), Some(block_m + 1)] {
                let options = Options { window_left, window_right, ..FULL };
                Attention::new(F16, [1, s_q, s_k, 1, 1, d], options).assert_agrees();
            }
        }
    }
}

#[test]
fn any_strides_give_the_same_bits() {
    let attention = Attention::new(BF16, [2, 70, 90, 4, 2, 128], CAUSAL);
    let row_major = attention.assert_agrees();
    let strided = |shape: &[usize], strides: &[usize]| Layout::strided(shape, strides).unwrap();
    let (queries, keys) = ([2, 70, 4, 128], [2, 90, 2, 128]);
    // [b, h, s, d]
    let (q, k) = (strided(&queries, &[4 * 70 * 128, 128, 70 * 128, 1]), strided(&keys, &[23040, 128, 90 * 128, 1]));
    let transposed = Layouts { q, k, v: k, out: q, d_out: q, d_q: q, d_k: k, d_v: k };
    // Gaps of 8 elements after each row, batches inside positions, all different.
    let gaps = Layouts {
        q: strided(&queries, &[4 * 136, 8 * 136, 136, 1]),
        k: strided(&keys, &[2 * 136, 4 * 136, 136, 1]),
        v: strided(&keys, &[90 * 400, 400, 200, 1]),
        out: strided(&queries, &[152, 4 * 2 * 152, 2 * 152, 1]),
        d_out: strided(&queries, &[70 * 640, 640, 160, 1]),
        d_q: strided(&queries, &[4 * 144, 8 * 144, 144, 1]),
        d_k: strided(&keys, &[90 * 272, 272, 136, 1]),
        d_v: strided(&keys, &[144, 4 * 144, 2 * 144, 1]),
    };
    for layouts in [transposed, gaps] {
        assert_eq!(attention.run_in(layouts).unwrap(), row_major, "{layouts:?}");
    }
}

#[test]
fn offsets_beyond_2_to_the_31_elements_agree() {
    let far = [[2, 3, 1, 64], [(1 << 31) + 512, 128, 64, 1]];
    let attention = Attention::new(F16, [2, 3, 3, 1, 1, 64], CAUSAL);
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let layout = Layout::strided(&far[0], &far[1]).unwrap();
    // All tensors interleave in one allocation of more than 4 GiB, of which next to nothing is touched.
    // SAFETY: bytes that were never written are only read where the rows below have been written.
    let mut memory = unsafe { queue().stream().alloc::<u8>(((1 << 31) + (1 << 16)) * 2) }.unwrap();
    let start = memory.device_ptr(queue().stream()).0;
    let place = |slot: usize, row: usize| slot * 4096 + layout.offset(&[row / 3, row % 3, 0, 0]) * 2;
    let inputs = [&attention.q, &attention.k, &attention.v, &attention.out, &attention.d_out];
    for (slot, values) in inputs.into_iter().enumerate() {
        for (row, values) in values.chunks(64).enumerate() {
            let bytes = HostTensor::from_f64("", F16, &[64], values).bytes;
            let at = place(slot, row);
            queue().stream().memcpy_htod(&bytes, &mut memory.slice_mut(at..at + 128)).unwrap();
        }
    }
    let context = queue().device().context();
    let address = |slot: usize| start + (slot * 4096) as u64;
    // SAFETY: all elements lie in `memory`, in slots of their own, and it outlives the launch.
    let view = |slot| unsafe { TensorView::from_raw(context, address(slot), F16, layout) };
    // SAFETY: as above; nothing else uses the slot.
    let output = |slot| unsafe { TensorViewMut::from_raw(context, address(slot), F16, layout) };
    let lse = upload(F32, &attention.lse, Layout::contiguous(&[2, 1, 3]).unwrap()).unwrap();
    let bytes = attention.plan().workspace.bytes;
    let mut workspace = DeviceTensor::poisoned(queue(), U8, Layout::contiguous(&[bytes]).unwrap()).unwrap();
    let args = Args {
        q: view(0),
        k: view(1),
        v: view(2),
        out: view(3),
        lse: lse.view().unwrap(),
        d_out: view(4),
        d_q: output(5),
        d_k: output(6),
        d_v: output(7),
        workspace: workspace.view_mut().unwrap(),
        extras: Extras::default(),
        options: CAUSAL,
    };
    flash_backward(queue(), args).unwrap();
    queue().synchronize().unwrap();
    let download = |name: &str, slot| {
        let rows = (0..6).flat_map(|row| {
            let at = place(slot, row);
            queue().stream().clone_dtoh(&memory.slice(at..at + 128)).unwrap()
        });
        HostTensor { name: name.into(), dtype: F16, shape: far[0].into(), bytes: rows.collect() }
    };
    let results = Results::plain(download("d_q", 5), download("d_k", 6), download("d_v", 7));
    let agreement = attention.compare(&results);
    assert!(agreement.passed(), "{}", agreement.report());
}

#[test]
fn extreme_values_agree() {
    for dtype in [F16, BF16] {
        let changed = |options, change: fn(&mut Attention)| {
            let mut attention = Attention::new(dtype, [1, 40, 100, 2, 1, 64], options);
            change(&mut attention);
            let Attention { forward, d_out, .. } = &mut attention;
            for values in [&mut forward.q, &mut forward.k, &mut forward.v, d_out] {
                *values = rounded(dtype, values);
            }
            attention.set_results();
            attention.assert_agrees();
        };
        // Scores of some hundreds: all weight falls on one key.
        changed(CAUSAL, |t| {
            t.q.iter_mut().for_each(|x| *x *= 8.0);
            t.k.iter_mut().for_each(|x| *x *= 8.0);
        });
        changed(CAUSAL, |t| t.v.iter_mut().for_each(|x| *x *= 256.0));
        changed(FULL, |t| t.d_out.iter_mut().for_each(|x| *x *= 2f64.powi(-9)));
        // All scores equal.
        changed(FULL, |t| t.q.fill(0.0));
        changed(FULL, |t| t.d_out.fill(0.0));
    }
}

#[test]
fn what_lies_past_the_last_row_is_never_read_into_a_result() {
    // Views of 33 keys and 21 queries in longer memory, the rest NaN.
    let attention = Attention::new(F16, [2, 21, 33, 1, 1, 128], FULL);
    let expected = attention.run();
    let q = Layout::strided(&[2, 21, 1, 128], &[97 * 128, 128, 128, 1]).unwrap();
    let k = Layout::strided(&[2, 33, 1, 128], &[97 * 128, 128, 128, 1]).unwrap();
    let results = attention.run_in(Layouts { q, k, v: k, out: q, d_out: q, d_q: q, d_k: k, d_v: k }).unwrap();
    assert_eq!(results, expected);
}

#[test]
fn a_nan_stays_within_its_head() {
    let clean = Attention::new(F16, [2, 100, 100, 4, 2, 64], CAUSAL);
    let before = clean.run().gradients();
    let mut attention = clean.clone();
    let row = attention.query_row(1, 77, 3);
    attention.d_out[row.start + 5] = f64::NAN;
    let after = attention.run().gradients();
    // The row's own gradient, and those of the keys that it sees.
    assert!(after.d_q[attention.query_row(1, 77, 3)].iter().all(|x| x.is_nan()));
    for j in 0..=77 {
        assert!(after.d_k[attention.key_row(1, j, 1)].iter().all(|x| x.is_nan()), "key {j}");
    }
    // Other heads and other batches keep their bits; other queries of this head too.
    for batch in 0..2 {
        for i in 0..100 {
            for head in 0..4 {
                let row = attention.query_row(batch, i, head);
                assert!(
                    (batch, i, head) == (1, 77, 3) || before.d_q[row.clone()] == after.d_q[row],
                    "{batch} {i} {head}"
                );
            }
            for head in 0..2 {
                let row = attention.key_row(batch, i, head);
                let same = |a: &[f64], b: &[f64]| a[row.clone()] == b[row.clone()];
                let kept = same(&before.d_k, &after.d_k) && same(&before.d_v, &after.d_v);
                assert!((batch, head) == (1, 1) || kept, "key {i} of {batch} {head}");
            }
        }
    }
}
