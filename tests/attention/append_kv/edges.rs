//! Tokens without a slot, values that are no numbers, tiny and huge ones, strides, sizes around units.

use super::*;
use cudarc::driver::DevicePtr;

#[test]
fn a_position_out_of_range_is_written_nowhere_and_its_query_is_copied() {
    for position in [-1, i32::MIN, 20, i32::MAX] {
        for cache in [F16, I8] {
            let mut append = Append::new(types(F16, cache), SMALL, &[3, 5], &[4, 4], 20);
            append.positions[2] = position;
            let results = append.assert_agrees();
            assert_eq!(append.of_token(&results, 2), None);
            assert_eq!(results.q.unwrap().to_f64()[2 * 3 * 64..][..3 * 64], append.q[2 * 3 * 64..][..3 * 64]);
            append.in_scattered_pages(4).assert_agrees();
        }
    }
    // First positions of which a part is out of range, or that would wrap.
    for first in [-2, 18, i32::MAX - 1, i32::MIN] {
        let append = Append::new(types(BF16, BF16), SMALL, &[first, 5], &[4, 4], 20);
        Append { first: Some(vec![first, 5]), ..append }.assert_agrees();
    }
}

#[test]
fn a_page_that_the_cache_does_not_have_is_written_nowhere() {
    for page in [-1, i32::MIN, 16, i32::MAX] {
        let mut append = Append::new(types(F16, E4M3), SMALL, &[3, 5], &[9, 9], 16).in_scattered_pages(4);
        append.table.as_mut().unwrap()[2] = page;
        // The device's memory check would end this launch if it left the cache.
        let results = append.assert_agrees();
        assert_eq!(append.of_token(&results, 5), None);
        assert!(append.of_token(&results, 4).is_some());
    }
}

#[test]
fn nothing_but_the_new_tokens_slots_is_written() {
    for (cache, page_size) in CACHES.iter().flat_map(|&cache| [1, 16].map(|page_size| (cache, page_size))) {
        let append = Append::new(types(F16, cache), SMALL, &[7, 2], &[3, 3], 16).in_scattered_pages(page_size);
        let results = append.run();
        let rows = results.k.bytes.len() / (2 * 64 * cache.size_bytes());
        let row =
            |tensor: &HostTensor, row: usize| tensor.bytes.chunks(tensor.bytes.len() / rows).nth(row).unwrap().to_vec();
        let sequences = append.sequences();
        let slots: Vec<_> =
            (0..6).filter_map(|token| slot(&append.problem(), &append.inputs(&sequences), token)).collect();
        for at in (0..rows).filter(|at| !slots.contains(at)) {
            assert!(row(&results.k, at).iter().chain(&row(&results.v, at)).all(|&byte| byte == 0xFF));
        }
    }
}

#[test]
fn a_row_that_is_not_finite_has_a_scale_of_nan_and_the_others_are_as_they_were() {
    for cache in [I8, E4M3] {
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let clean = Append::new(types(F32, cache), SMALL, &[0], &[4], 4);
            let mut append = clean.clone();
            // Token 1, head 1 of k; token 2, head 0 of v.
            append.k[(2 + 1) * 64 + 63] = wrong;
            append.v[(2 * 2) * 64] = wrong;
            let (results, expected) = (append.run(), clean.run());
            let ([k_scales, v_scales], [k_clean, v_clean]) = (results.scales.unwrap(), expected.scales.unwrap());
            for (at, (scales, clean)) in [(3, (k_scales, k_clean)), (4, (v_scales, v_clean))] {
                let (scales, clean) = (scales.to_f64(), clean.to_f64());
                assert!((0..8).all(|i| if i == at { scales[i].is_nan() } else { scales[i] == clean[i] }));
            }
            for (at, (codes, clean)) in [(3, (results.k, expected.k)), (4, (results.v, expected.v))] {
                for (i, (codes, clean)) in codes.bytes.chunks(64).zip(clean.bytes.chunks(64)).enumerate() {
                    assert!(if i == at { codes.iter().all(|&code| code == 0) } else { codes == clean });
                }
            }
        }
    }
    // In 16 bits it stays in its pair.
    let mut append = Append::new(types(F32, BF16), SMALL, &[0], &[4], 4);
    append.k[(2 + 1) * 64 + 63] = f64::NAN;
    let k = append.assert_agrees().k.to_f64();
    let wrong: Vec<usize> = (0..k.len()).filter(|&i| k[i].is_nan()).collect();
    assert_eq!(wrong, [3 * 64 + 31, 3 * 64 + 63]);
}

#[test]
fn zeros_and_tiny_and_huge_rows_keep_their_values() {
    for cache in [I8, E4M3] {
        for magnitude in [0.0, 1e-45, 1e-38, 2.9e-36, 3.1e-36, 1e-30, 1e30, 3e38] {
            let heads = Heads { h_q: 0, n: 0, ..SMALL };
            let mut append = Append::new(types(F32, cache), heads, &[0], &[3], 3);
            let largest = append.v.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
            append.v.iter_mut().for_each(|x| *x = *x / largest * magnitude);
            append.v = rounded(F32, &append.v);
            let results = append.assert_agrees();
            let (codes, scales) = (results.v.to_f64(), results.scales.as_ref().unwrap()[1].to_f64());
            let least = 2f64.powi(-118);
            for (row, (codes, scale)) in codes.chunks(64).zip(&scales).enumerate() {
                assert!(scale.is_finite() && codes.iter().all(|code| code.is_finite()), "{magnitude}");
                let new = &append.v[row * 64..][..64];
                let most = new.iter().fold(0f64, |most, x| most.max(x.abs()));
                // Half a step of integers; of e4m3 half of one in 8.
                let step = if cache == I8 { most / 127.0 / 2.0 } else { most / 16.0 };
                let allowed = if most < least { least } else { step * 1.0001 };
                assert!(new.iter().zip(codes).all(|(x, code)| (x - code * scale).abs() <= allowed), "{magnitude}");
            }
        }
    }
    // f16 and bf16 have their least and largest numbers too.
    for (dtype, magnitude) in [(F16, 65504.0), (F16, 6e-8), (BF16, 3.38e38), (BF16, 1e-40)] {
        let mut append = Append::new(types(dtype, I8), SMALL, &[0], &[3], 3);
        append.v.iter_mut().for_each(|x| *x = x.signum() * magnitude);
        append.v = rounded(dtype, &append.v);
        append.assert_agrees();
    }
}

#[test]
fn what_f16_cannot_hold_is_infinite() {
    let mut append = Append::new(types(F32, F16), SMALL, &[0], &[1], 1);
    append.v[5] = 1e6;
    assert_eq!(append.assert_agrees().v.to_f64()[5], f64::INFINITY);
}

#[test]
fn in_place_gives_the_same_bits() {
    for heads in [LLAMA, SMALL, Heads { n: 16, ..LLAMA }, Heads { d: 75, n: 13, ..SMALL }] {
        let append = Append::new(types(F16, I8), heads, &[4, 0], &[5, 5], 9);
        assert_eq!(Append { in_place: true, ..append.clone() }.run(), append.assert_agrees());
    }
}

#[test]
fn slices_of_one_tensor_give_the_same_bits() {
    for (heads, cache) in [(LLAMA, BF16), (GEMMA, E4M3), (Heads { d: 75, n: 13, ..SMALL }, I8)] {
        for lengths in [[5, 5], [3, 7]] {
            let append = Append::new(types(BF16, cache), heads, &[4, 0], &lengths, 9);
            assert_eq!(Append { packed: true, ..append.clone() }.run(), append.assert_agrees());
        }
    }
}

#[test]
fn any_layout_of_the_cache_gives_the_same_bits() {
    for cache in CACHES {
        let append = Append::new(types(F16, cache), SMALL, &[4, 0], &[5, 5], 16).in_scattered_pages(8);
        let expected = append.assert_agrees();
        let Shape { num_pages, page_size, h_kv, d, .. } = append.shape();
        let heads_first = Layout::contiguous(&[num_pages, h_kv, page_size, d]).unwrap().permute(&[0, 2, 1, 3]).unwrap();
        let row_major = Layout::contiguous(&[num_pages, page_size, h_kv]).unwrap();
        for (rows, scales) in [(d, row_major), (d + 1, row_major)] {
            let gaps = [(page_size + 1) * h_kv * rows, h_kv * rows, rows, 1];
            let gaps = Layout::strided(&[num_pages, page_size, h_kv, d], &gaps).unwrap();
            for layout in [heads_first, gaps] {
                let mut cache = append.cache_in(layout, scales).unwrap();
                assert_eq!(append.run_on(&mut cache).unwrap(), expected);
            }
        }
    }
}

#[test]
fn every_head_dimension_agrees() {
    for d in (1..=256).filter(|d| d % 8 == 0 || d % 37 == 0 || *d < 20) {
        let heads = Heads { h_q: (d / 2).min(1), h_kv: 1, d, n: d / 2 };
        for cache in [F16, I8] {
            Append::new(types(F16, cache), heads, &[3], &[3], 6).assert_agrees();
            Append { options: INTERLEAVED, ..Append::new(types(F32, cache), heads, &[3], &[3], 6) }.assert_agrees();
        }
    }
}

#[test]
fn few_and_many_tokens_and_heads_agree() {
    for (heads, tokens) in [
        (Heads { h_q: 40, h_kv: 40, d: 16, n: 8 }, 1),
        (Heads { h_q: 1, h_kv: 1, d: 8, n: 4 }, 9000),
        (Heads { h_q: 0, h_kv: 1, d: 256, n: 128 }, 3000),
        (Heads { h_q: 5, h_kv: 0, d: 64, n: 32 }, 3),
    ] {
        Append::new(types(F16, F16), heads, &[0], &[tokens], tokens).assert_agrees();
    }
    for lengths in [[0, 0], [0, 3], [3, 0]] {
        Append::new(types(F16, I8), SMALL, &[0, 0], &lengths, 4).assert_agrees();
    }
}

#[test]
fn many_sequences_of_various_lengths_agree() {
    let lengths: Vec<usize> = (0..37).map(|i| i * 7 % 5).collect();
    let first: Vec<i32> = (0..37).map(|i| i * 3 % 11).collect();
    let append = Append::new(types(BF16, I8), SMALL, &first, &lengths, 16);
    append.in_scattered_pages(4).assert_agrees();
    Append { first: Some(first), ..append }.assert_agrees();
}

#[test]
fn offsets_beyond_2_to_the_31_elements_agree() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let append = Append::new(types(F16, I8), Heads { h_q: 0, h_kv: 1, d: 64, n: 0 }, &[1, 0], &[1, 1], 2);
    // Sequences lie 2^31 elements from each other, in an allocation of which next to nothing is touched.
    let queue = queue();
    let layout = Layout::strided(&[2, 2, 1, 64], &[(1 << 31) + 512, 64, 64, 1]).unwrap();
    // SAFETY: bytes that were never written are not read.
    let memory = unsafe { queue.stream().alloc::<u8>((1 << 31) + (1 << 16)) }.unwrap();
    let start = memory.device_ptr(queue.stream()).0;
    let context = queue.device().context();
    // SAFETY: all elements lie in `memory`, which outlives the launch.
    let cache = |at: u64| unsafe { TensorViewMut::from_raw(context, start + at, I8, layout) };
    let rows = append.tokens(1);
    let (k, v) = (upload(F16, &append.k, rows).unwrap(), upload(F16, &append.v, rows).unwrap());
    let scales = scales_layout(2, 2, 1).unwrap();
    let mut scales = [0, 1].map(|_| DeviceTensor::poisoned(queue, F32, scales).unwrap());
    let [k_scales, v_scales] = &mut scales;
    let positions = HostTensor::from_slice("", &[2, 1], &append.positions).upload(queue).unwrap();
    let args = Args {
        k_scales: Some(k_scales.view_mut().unwrap()),
        v_scales: Some(v_scales.view_mut().unwrap()),
        ..Args::new(
            k.view().unwrap(),
            v.view().unwrap(),
            cache(0),
            cache(4096),
            Positions::OfTokens(positions.view().unwrap()),
        )
    };
    append_kv(queue, args).unwrap();
    queue.synchronize().unwrap();
    for (token, slot) in [(0, 64), (1, layout.offset(&[1, 0, 0, 0]))] {
        for (at, new) in [(0, &append.k), (4096, &append.v)] {
            let row: Vec<f32> = new[token * 64..][..64].iter().map(|&x| x as f32).collect();
            let bytes = queue.stream().clone_dtoh(&memory.slice(at + slot..at + slot + 64)).unwrap();
            let codes = HostTensor { name: String::new(), dtype: I8, shape: vec![64], bytes }.to_f64();
            assert_eq!(codes, quantise(I8, &row).1);
        }
    }
}

#[test]
fn what_lies_on_the_device_is_checked_on_request() {
    let validated = |append: &Append| {
        let queue = queue();
        let [k, v] =
            [&append.k, &append.v].map(|x| upload(append.types.k, x, append.tokens(append.heads.h_kv)).unwrap());
        let shape = if append.is_ragged() {
            vec![append.positions.len()]
        } else {
            vec![append.lengths.len(), append.lengths[0]]
        };
        let positions = HostTensor::from_slice("", &shape, &append.positions).upload(queue).unwrap();
        let cu_seqlens = append.is_ragged().then(|| CuSeqlens::from_lengths(queue, &append.lengths).unwrap());
        let pages = append.pages_per_sequence().unwrap_or(1);
        let entries = append.table.clone().unwrap_or_default();
        let entries = HostTensor::from_slice("", &[entries.len() / pages, pages], &entries).upload(queue).unwrap();
        // SAFETY: nothing is launched.
        let table = unsafe { BlockTable::from_raw(entries.view().unwrap(), append.num_pages) }.unwrap();
        let mut cache = append.cache().unwrap();
        let args = append.args(&mut cache, k.view().unwrap(), v.view().unwrap(), positions.view().unwrap()).unwrap();
        let args = Args { cu_seqlens: cu_seqlens.as_ref(), block_table: append.table.as_ref().map(|_| &table), ..args };
        validate(queue, &args).map_err(|error| error.to_string())
    };
    let append = Append::new(types(F16, F16), SMALL, &[3, 5], &[4, 4], 20);
    assert_eq!(validated(&append), Ok(()));
    let change = |token: usize, position: i32| {
        let mut changed = append.clone();
        changed.positions[token] = position;
        validated(&changed)
    };
    assert_eq!(change(1, -1), Ok(()));
    let range = "attention/append_kv: token 1 of sequence 0 has position 20, expected 0 to 19, or -1";
    assert_eq!(change(1, 20), Err(range.to_owned()));
    let twice = "attention/append_kv: token 3 of sequence 1 and token 0 of sequence 1 have slot 5 of page 1";
    assert_eq!(change(7, 5), Err(twice.to_owned()));
    let ragged = Append::new(types(F16, F16), SMALL, &[3, 5, 0], &[4, 0, 2], 20).in_scattered_pages(4);
    assert_eq!(validated(&ragged), Ok(()));
    let mut wrong = ragged.clone();
    wrong.table.as_mut().unwrap()[1] = 99;
    assert_eq!(validated(&wrong), Err("block_table: table[0][1] is page 99, expected 0 to 29".to_owned()));
}
