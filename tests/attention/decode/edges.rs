//! Lengths around tiles, empty sequences, strides, extreme values, NaN, tables and lengths that are wrong.

use super::*;
use cudarc::driver::{DevicePtr, sys};
use llm_kernels::TensorViewMut;

#[test]
fn lengths_around_tiles_and_slices_agree() {
    for (sizes, tile) in [(SMALL, 128), (LLAMA, 64), (GEMMA, 32)] {
        let lengths = [0, 1, 15, 16, 17, tile - 1, tile, tile + 1, 2 * tile, 2 * tile + 17];
        for options in [DEFAULT, splits(2)] {
            Decode::new(F16, F16, sizes, &lengths, options).in_pages(16).assert_agrees();
            Decode::new(BF16, I8, sizes, &lengths, options).assert_agrees();
        }
    }
}

#[test]
fn a_sequence_without_keys_gives_0_and_minus_infinity_or_its_sink() {
    for options in [DEFAULT, splits(3)] {
        let decode = Decode::new(F16, F16, SMALL, &[0, 40], options);
        let results = decode.assert_agrees();
        assert!(results.out()[..4 * 64].iter().all(|&x| x == 0.0));
        assert!(results.lse()[..4].iter().all(|&x| x == f64::NEG_INFINITY));
        let results = decode.with_sinks(&[0.5, -1.0, 2.0, f64::NEG_INFINITY]).assert_agrees();
        assert!(results.out()[..4 * 64].iter().all(|&x| x == 0.0));
        assert_eq!(results.lse()[..4], [0.5, -1.0, 2.0, f64::NEG_INFINITY]);
    }
}

#[test]
fn queries_before_the_first_key_see_none() {
    let decode = Decode::new(F16, F16, Sizes { s_q: 5, ..SMALL }, &[2, 3, 80], splits(2));
    let results = decode.assert_agrees();
    // Queries 0 to 2 of the first sequence stand at -3 to -1.
    assert!(results.out()[..3 * 4 * 64].iter().all(|&x| x == 0.0));
    assert!((0..4).all(|head| results.lse()[head * 5..][..3].iter().all(|&x| x == f64::NEG_INFINITY)));
}

#[test]
fn a_nan_reaches_exactly_the_rows_that_see_it() {
    let decode = Decode::new(F16, F16, Sizes { s_q: 3, ..SMALL }, &[140, 140], splits(2));
    let mut query = decode.clone();
    // Sequence 1, query 2, head 3.
    query.q[((3 + 2) * 4 + 3) * 64 + 5] = f64::NAN;
    let results = query.assert_agrees();
    assert_eq!(results.out().iter().filter(|x| x.is_nan()).count(), 64);
    assert_eq!(results.lse().iter().filter(|x| x.is_nan()).count(), 1);
    // Key 138 of head 1 of sequence 0, which queries 1 and 2 of its 2 heads see.
    let mut key = decode.clone();
    key.k[(138 * 2 + 1) * 64 + 63] = f64::NAN;
    let results = key.assert_agrees();
    assert_eq!(results.lse().iter().filter(|x| x.is_nan()).count(), 4);
    // So does a key's scale.
    let mut scale = Decode::new(BF16, E4M3, Sizes { s_q: 3, ..SMALL }, &[140, 140], splits(2));
    scale.k_scales[138 * 2 + 1] = f64::NAN;
    let results = scale.assert_agrees();
    assert_eq!(results.lse().iter().filter(|x| x.is_nan()).count(), 4);
}

#[test]
fn a_nan_of_8_bits_is_one() {
    for dtype in [F16, BF16] {
        let mut decode = Decode::new(dtype, E4M3, Sizes { s_q: 2, ..SMALL }, &[140], splits(2));
        // The neighbours in a register have the largest numbers.
        decode.k[(139 * 2 + 1) * 64..][..4].copy_from_slice(&[448.0, f64::NAN, -448.0, 448.0]);
        let results = decode.assert_agrees();
        // Query 1 sees it, with the heads of its group.
        assert_eq!(results.lse().iter().filter(|x| x.is_nan()).count(), 2);
        let mut decode = Decode::new(dtype, E4M3, Sizes { s_q: 2, ..SMALL }, &[140], splits(2));
        decode.v[(20 * 2) * 64 + 9] = -f64::NAN;
        let results = decode.assert_agrees();
        assert_eq!(results.out().iter().filter(|x| x.is_nan()).count(), 4);
    }
}

#[test]
fn what_is_not_finite_beyond_the_length_or_the_window_is_not_read() {
    let mut decode = Decode::new(F16, F16, LLAMA, &[300, 100], Options { window_left: Some(63), ..splits(2) });
    for slot in (0..236).chain(300..300 + 36) {
        decode.poison(slot);
    }
    let results = decode.assert_agrees();
    assert!(results.out().iter().all(|x| x.is_finite()));
}

#[test]
fn scales_of_any_magnitude_keep_their_values() {
    for (dtype, cache) in [(F16, I8), (BF16, E4M3)] {
        // All small, all large, all of one sign, and mixed within a tile.
        for (seed, magnitude) in [(0, 1e-7), (1, 1e-3), (2, 3.0), (3, -0.01)] {
            let mut decode = Decode::seeded(seed, dtype, cache, SMALL, &[200], splits(2));
            decode.v_scales.iter_mut().for_each(|scale| *scale *= magnitude);
            decode.v_scales = rounded(F32, &decode.v_scales);
            decode.assert_agrees();
        }
        let mut decode = Decode::new(dtype, cache, SMALL, &[200], DEFAULT);
        for (j, scale) in decode.v_scales.iter_mut().enumerate() {
            *scale = [1e-30, 1e-4, 0.5, 0.0][j % 4];
        }
        decode.v_scales = rounded(F32, &decode.v_scales);
        decode.assert_agrees();
        decode.v_scales.fill(0.0);
        assert!(decode.assert_agrees().out().iter().all(|&x| x == 0.0));
        decode.k_scales.fill(0.0);
        decode.assert_agrees();
    }
}

#[test]
fn large_scores_and_values_stay_finite() {
    let mut decode = Decode::new(F16, F16, SMALL, &[150], splits(2));
    decode.q.iter_mut().for_each(|x| *x = (*x * 60.0).clamp(-400.0, 400.0));
    decode.q = rounded(F16, &decode.q);
    decode.v.iter_mut().for_each(|x| *x = x.signum() * 65504.0);
    let results = decode.assert_agrees();
    assert!(results.out().iter().all(|x| x.is_finite()));
}

#[test]
fn a_scale_of_zero_or_below_agrees() {
    for scale in [0.0, -0.2] {
        Decode::new(F16, F16, SMALL, &[77], Options { scale: Some(scale), ..splits(2) }).assert_agrees();
        Decode::new(BF16, I8, SMALL, &[77], Options { scale: Some(scale), ..DEFAULT }).assert_agrees();
    }
}

#[test]
fn any_layout_of_the_cache_agrees() {
    for cache in [F16, I8] {
        let decode = Decode::new(F16, cache, LLAMA, &[130, 60], splits(2)).in_scattered_pages(16);
        let Shape { num_pages, page_size, h_kv, d, .. } = decode.problem.shape;
        let heads_first = Layout::contiguous(&[num_pages, h_kv, page_size, d]).unwrap().permute(&[0, 2, 1, 3]).unwrap();
        decode.assert_is(&decode.run_in(heads_first).unwrap());
        let row = d + 16;
        let gaps = [(page_size + 1) * h_kv * row, h_kv * row, row, 1];
        let gaps = Layout::strided(&[num_pages, page_size, h_kv, d], &gaps).unwrap();
        decode.assert_is(&decode.run_in(gaps).unwrap());
    }
}

#[test]
fn offsets_beyond_2_to_the_31_elements_agree() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let queue = queue();
    let decode = Decode::new(F16, F16, Sizes { h_q: 1, h_kv: 1, ..SMALL }, &[2, 2], DEFAULT);
    // Sequences lie 2^31 elements and more from each other, in an allocation of which next to nothing is touched.
    let layout = Layout::strided(&[2, 2, 1, 64], &[(1 << 31) + 512, 64, 64, 1]).unwrap();
    // SAFETY: bytes that were never written are only read where the rows below have been written.
    let mut memory = unsafe { queue.stream().alloc::<u8>(((1 << 31) + (1 << 16)) * 2) }.unwrap();
    let start = memory.device_ptr(queue.stream()).0;
    for (slot, values) in [&decode.k, &decode.v].into_iter().enumerate() {
        for (row, values) in values.chunks(64).enumerate() {
            let at = slot * 4096 + layout.offset(&[row / 2, row % 2, 0, 0]) * 2;
            let bytes = HostTensor::from_f64("", F16, &[64], values).bytes;
            queue.stream().memcpy_htod(&bytes, &mut memory.slice_mut(at..at + 128)).unwrap();
        }
    }
    let context = queue.device().context();
    // SAFETY: all elements lie in `memory`, which outlives the launch.
    let view = |slot: u64| unsafe { TensorView::from_raw(context, start + slot * 4096, F16, layout) };
    let rows = Layout::contiguous(&[2, 1, 1, 64]).unwrap();
    let q = upload(F16, &decode.q, rows).unwrap();
    let lengths = HostTensor::from_slice("", &[2], &decode.lengths).upload(queue).unwrap();
    let mut out = DeviceTensor::poisoned(queue, F16, rows).unwrap();
    let mut lse = DeviceTensor::poisoned(queue, F32, Layout::contiguous(&[2, 1, 1]).unwrap()).unwrap();
    let args = Args::new(q.view().unwrap(), view(0), view(1), lengths.view().unwrap(), out.view_mut().unwrap());
    super::decode(queue, Args { lse: Some(lse.view_mut().unwrap()), ..args }).unwrap();
    queue.synchronize().unwrap();
    let results = Results { out: out.download(queue, "out").unwrap(), lse: lse.download(queue, "lse").unwrap() };
    decode.assert_is(&results);
}

#[test]
fn lengths_out_of_range_count_as_the_nearest_in_range() {
    let decode = Decode::new(F16, F16, SMALL, &[100, 100], splits(2));
    let expected = Decode { lengths: vec![0, 100], ..decode.clone() };
    let wrong = Decode { lengths: vec![-7, i32::MAX], ..decode };
    assert_eq!(wrong.run(), expected.assert_agrees());
    let limited = expected.with_options(Options { max_length: Some(30), ..splits(2) });
    let cut = Decode { lengths: vec![0, 30], ..limited.clone() };
    assert_eq!(limited.run(), cut.assert_agrees());
}

/// Runs with a table that lies on the device and that nobody has checked.
fn run_with_table(decode: &Decode, entries: &[i32]) -> (Results, llm_kernels::Result<()>) {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let queue = queue();
    let Shape { b, s_q, h_q, d, num_pages, page_size, .. } = decode.problem.shape;
    let rows = Layout::contiguous(&[b, s_q, h_q, d]).unwrap();
    let cache = decode.cache_layout();
    let q = upload(F16, &decode.q, rows).unwrap();
    let (k, v) = (upload(F16, &decode.k, cache).unwrap(), upload(F16, &decode.v, cache).unwrap());
    let lengths = HostTensor::from_slice("", &[b], &decode.lengths).upload(queue).unwrap();
    let entries = HostTensor::from_slice("", &[b, entries.len() / b], entries).upload(queue).unwrap();
    // SAFETY: what the entries promise is what is tested: nothing outside the cache is reached without it.
    let table = unsafe { BlockTable::from_raw(entries.view().unwrap(), num_pages) }.unwrap();
    let mut out = DeviceTensor::poisoned(queue, F16, rows).unwrap();
    let mut lse = DeviceTensor::poisoned(queue, F32, Layout::contiguous(&[b, h_q, s_q]).unwrap()).unwrap();
    let args = Args {
        block_table: Some(&table),
        lse: Some(lse.view_mut().unwrap()),
        ..Args::new(
            q.view().unwrap(),
            k.view().unwrap(),
            v.view().unwrap(),
            lengths.view().unwrap(),
            out.view_mut().unwrap(),
        )
    };
    super::decode(queue, args).unwrap();
    queue.synchronize().unwrap();
    let valid = table.validate(queue, &lengths.view().unwrap(), page_size);
    (Results { out: out.download(queue, "out").unwrap(), lse: lse.download(queue, "lse").unwrap() }, valid)
}

#[test]
fn a_page_that_does_not_exist_is_found_and_never_read() {
    let decode = Decode::new(F16, F16, SMALL, &[64, 60], DEFAULT).in_pages(16);
    let table = decode.table();
    let (results, valid) = run_with_table(&decode, &table);
    assert_eq!((results, valid), (decode.assert_agrees(), Ok(())));
    for page in [-1, i32::MIN, 8, i32::MAX] {
        let mut wrong = table.clone();
        wrong[2] = page;
        // The device's memory check would end this launch if it left the cache. The other sequence is as it was.
        let (results, valid) = run_with_table(&decode, &wrong);
        assert_eq!(results.out()[4 * 64..], decode.run().out()[4 * 64..]);
        let text = valid.unwrap_err().to_string();
        assert_eq!(text, format!("block_table: table[0][2] is page {page}, expected 0 to 7"));
        // Where no position uses it, it may be anything.
        let short = Decode { lengths: vec![32, 60], ..decode.clone() };
        let (results, valid) = run_with_table(&short, &wrong);
        assert_eq!(valid, Ok(()));
        short.assert_is(&results);
    }
    let long = Decode { lengths: vec![64, 65], ..decode };
    let text = run_with_table(&long, &table).1.unwrap_err().to_string();
    assert_eq!(text, "block_table: sequence 1 has length 65, expected 0 to 64, which its pages hold");
}

#[test]
fn a_captured_graph_follows_lengths_and_pages_that_change_on_the_device() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let queue = queue().device().new_queue().unwrap();
    let stream = queue.stream();
    let decode = Decode::new(F16, F16, SMALL, &[300, 290], splits(3)).in_pages(64);
    let Shape { b, s_q, h_q, d, num_pages, .. } = decode.problem.shape;
    let plan = plan(&decode.problem, queue.device().limits()).unwrap();
    for launch in [Some(plan.launch), plan.merge].into_iter().flatten() {
        queue.device().prepare(&launch).unwrap();
    }
    let bytes = |dtype, values: &[f64]| HostTensor::from_f64("", dtype, &[values.len()], values).bytes;
    let upload = |bytes: &[u8]| stream.clone_htod(bytes).unwrap();
    let (q, k, v) = (bytes(F16, &decode.q), bytes(F16, &decode.k), bytes(F16, &decode.v));
    let (q, k, v) = (upload(&q), upload(&k), upload(&v));
    let (mut lengths, mut table) = (upload(&[0xFF; 8]), upload(&[0xFF; 2 * 5 * 4]));
    let (out, lse) = (upload(&vec![0xFF; b * s_q * h_q * d * 2]), upload(&vec![0xFF; b * h_q * s_q * 4]));
    let workspace = upload(&vec![0xFF; plan.workspace_bytes]);
    queue.synchronize().unwrap();
    // Events recorded outside a capture can't be waited for inside: addresses alone go into the graph.
    let context = queue.device().context();
    let address = |memory: &cudarc::driver::CudaSlice<u8>| memory.device_ptr(stream).0;
    let layout = |shape: &[usize]| Layout::contiguous(shape).unwrap();
    let raw = |memory, dtype, layout| {
        // SAFETY: the memory outlives the graph's launches, which its only stream keeps in order with its other uses.
        unsafe { TensorView::from_raw(context, address(memory), dtype, layout) }
    };
    let raw_mut = |memory, dtype, layout| {
        // SAFETY: as above.
        unsafe { TensorViewMut::from_raw(context, address(memory), dtype, layout) }
    };
    // SAFETY: entries are in range before a launch that uses them.
    let pages = unsafe { BlockTable::from_raw(raw(&table, I32, layout(&[b, 5])), num_pages) }.unwrap();
    let rows = layout(&[b, s_q, h_q, d]);
    let cache = decode.cache_layout();
    let args = Args {
        lse: Some(raw_mut(&lse, F32, layout(&[b, h_q, s_q]))),
        block_table: Some(&pages),
        workspace: Some(raw_mut(&workspace, DType::U8, layout(&[plan.workspace_bytes]))),
        options: decode.options,
        ..Args::new(
            raw(&q, F16, rows),
            raw(&k, F16, cache),
            raw(&v, F16, cache),
            raw(&lengths, I32, layout(&[b])),
            raw_mut(&out, F16, rows),
        )
    };
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    let captured = super::decode(&queue, args);
    let flags = sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
    let graph = stream.end_capture(flags).unwrap().unwrap();
    captured.unwrap();
    for now in [[1, 64], [2, 65], [128, 200], [300, 290]] {
        let mut entries = [-1_i32; 2 * 5];
        for (sequence, &length) in now.iter().enumerate() {
            let used = &decode.pages[sequence][..(length as usize).div_ceil(64)];
            entries[sequence * 5..][..used.len()].copy_from_slice(used);
        }
        stream.memcpy_htod(&entries.map(i32::to_le_bytes).concat(), &mut table).unwrap();
        stream.memcpy_htod(&now.map(i32::to_le_bytes).concat(), &mut lengths).unwrap();
        graph.launch().unwrap();
        let download = |memory, name: &str, dtype, shape: &[usize]| HostTensor {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
            bytes: stream.clone_dtoh(memory).unwrap(),
        };
        let results = Results {
            out: download(&out, "out", F16, &[b, s_q, h_q, d]),
            lse: download(&lse, "lse", F32, &[b, h_q, s_q]),
        };
        queue.synchronize().unwrap();
        Decode { lengths: now.to_vec(), ..decode.clone() }.assert_is(&results);
    }
}

#[test]
fn a_page_set_later_is_used() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let queue = queue();
    let lengths = HostTensor::from_slice("", &[2], &[40_i32, 16]).upload(queue).unwrap();
    let mut table = BlockTable::new(queue, &[vec![3, 1], vec![0]], 3, 4).unwrap();
    let valid =
        |table: &BlockTable| table.validate(queue, &lengths.view().unwrap(), 16).map_err(|error| error.to_string());
    assert_eq!(valid(&table), Err("block_table: table[0][2] is page -1, expected 0 to 3".to_owned()));
    table.set(queue, 0, 2, 2).unwrap();
    assert_eq!(valid(&table), Ok(()));
}

#[test]
fn a_sequence_before_its_first_position_has_no_key() {
    let options = Options { lengths_exclude_new: true, ..splits(2) };
    // Lengths that don't count the 3 new keys: no key, 2, as many as there is room for, and more.
    let decode = Decode::new(F16, F16, Sizes { s_q: 3, ..SMALL }, &[100; 6], options);
    let given = Decode { lengths: vec![-3, -1, 97, 98, i32::MAX, i32::MIN], ..decode.clone() };
    let counted = Decode { lengths: vec![-3, -1, 97, 97, 97, -3], ..decode };
    assert_eq!(given.run(), counted.assert_agrees());
    assert!(given.run().lse()[..4 * 3].iter().all(|&x| x == f64::NEG_INFINITY));
}
