//! With the reference, with its definition of 8 bits bit for bit, and with `rope`.

use super::*;
use llm_kernels::fused::rope;
use llm_kernels::verify;

#[test]
fn every_case_of_check_agrees() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let op = verify::select(Some("attention/append_kv"))[0];
    for case in op.check_cases.iter().filter(|case| !case.gpu_only || !queue().device().is_software()) {
        let row = op.check(queue(), case).unwrap_or_else(|error| panic!("{}: {error}", case.shape()));
        assert!(row.agreement.passed(), "{} {}: {}", case.dtype, case.shape(), row.agreement.report());
    }
}

#[test]
fn every_mix_of_types_agrees() {
    for (k, cache) in FLOATS.iter().flat_map(|&k| CACHES.map(|cache| (k, cache))) {
        for q_out in FLOATS {
            for options in [Options::default(), INTERLEAVED] {
                let types = Types { k, cache, q_out: Some(q_out) };
                Append { options, ..Append::new(types, SMALL, &[3, 8], &[5, 5], 13) }.assert_agrees();
            }
        }
    }
}

#[test]
fn pages_of_every_size_agree() {
    for cache in CACHES {
        let append = Append::new(types(BF16, cache), LLAMA, &[200, 17], &[57, 57], 257);
        append.assert_agrees();
        for page_size in [1, 16, 32, 64, 128, 256] {
            append.in_scattered_pages(page_size).assert_agrees();
        }
    }
}

/// What 8-bit codes of unrotated rows must be, bit for bit.
#[track_caller]
fn assert_is_quantised(append: &Append, results: &Results, k: &[f64]) {
    let Heads { h_kv, d, .. } = append.heads;
    for (new, tensor, scales) in [
        (k, &results.k, &results.scales.as_ref().unwrap()[0]),
        (&append.v[..], &results.v, &results.scales.as_ref().unwrap()[1]),
    ] {
        let (codes, scales) = (tensor.to_f64(), scales.to_f64());
        for token in 0..append.positions.len() {
            let slot = slot(&append.problem(), &append.inputs(&append.sequences()), token).unwrap();
            for head in 0..h_kv {
                let row: Vec<f32> = new[(token * h_kv + head) * d..][..d].iter().map(|&x| x as f32).collect();
                let (scale, expected) = quantise(append.types.cache, &row);
                let at = slot * h_kv + head;
                assert!(scales[at] == f64::from(scale) || (scale.is_nan() && scales[at].is_nan()), "{scale}");
                assert_eq!(codes[at * d..][..d], expected, "{} {row:?}", append.types.cache);
            }
        }
    }
}

#[test]
fn eight_bits_are_those_of_the_definition_bit_for_bit() {
    for (dtype, cache) in FLOATS.iter().flat_map(|&dtype| [I8, E4M3].map(|cache| (dtype, cache))) {
        for heads in [
            Heads { n: 0, h_q: 0, ..LLAMA },
            Heads { n: 0, h_q: 0, d: 36, h_kv: 3 },
            Heads { n: 0, h_q: 0, d: 7, h_kv: 3 },
        ] {
            let mut append = Append::new(types(dtype, cache), heads, &[0], &[64], 64);
            // Magnitudes of every order within and between rows, and numbers halfway between two codes.
            for (i, x) in append.k.iter_mut().enumerate() {
                *x *= 10f64.powi((i / heads.d % 9) as i32 - 4) * [1.0, 1e-1, 1e-2, 1e-3][i % 4];
            }
            append.k = rounded(dtype, &append.k);
            for (i, x) in append.v.iter_mut().enumerate() {
                *x = if i % heads.d == 0 { 127.0 } else { (i % 255) as f64 * 0.5 - 63.5 };
            }
            append.v = rounded(dtype, &append.v);
            let results = append.run();
            assert_is_quantised(&append, &results, &append.k);
        }
    }
}

#[test]
fn every_code_of_e4m3_and_what_lies_halfway_is_rounded_to_even() {
    // Rows whose largest element is 448, so that codes are the numbers themselves.
    let codes: Vec<u8> = (0..0x7f).collect();
    let numbers = HostTensor { name: String::new(), dtype: E4M3, shape: vec![127], bytes: codes }.to_f64();
    let mut halves: Vec<f64> = numbers.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect();
    halves.extend(numbers.iter().map(|x| -x));
    halves.resize(255, 1e-9);
    halves.push(448.0);
    let heads = Heads { h_q: 0, h_kv: 1, d: 256, n: 0 };
    let append = Append { k: halves.clone(), v: halves, ..Append::new(types(F32, E4M3), heads, &[2], &[1], 4) };
    let results = append.run();
    assert_is_quantised(&append, &results, &append.k);
    assert_eq!(results.scales.unwrap()[0].to_f64()[2], 1.0);
}

/// The operator `rope` on heads of every token, to f32.
fn rotated(append: &Append, x: &[f64], h: usize) -> Vec<f64> {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let (total, d) = (append.positions.len(), append.heads.d);
    let layout = Layout::contiguous(&[total, h, d]).unwrap();
    let x = upload(append.types.k, x, layout).unwrap();
    let positions = HostTensor::from_slice("", &[total], &append.positions).upload(queue()).unwrap();
    let frequencies = upload(F32, &append.frequencies, Layout::contiguous(&[append.heads.n]).unwrap()).unwrap();
    let mut out = DeviceTensor::poisoned(queue(), F32, layout).unwrap();
    let Options { interleaved, magnitude } = append.options;
    let args = rope::Args {
        x: Some(x.view().unwrap()),
        positions: positions.view().unwrap(),
        inverse_frequencies: frequencies.view().unwrap(),
        out: out.view_mut().unwrap(),
        options: rope::Options { interleaved, inverse: false, magnitude },
    };
    rope::rope(queue(), args).unwrap();
    out.download(queue(), "out").unwrap().to_f64()
}

#[test]
fn rotation_is_that_of_rope_bit_for_bit_in_every_cache() {
    for (cache, heads) in
        CACHES.iter().flat_map(|&cache| [LLAMA, GEMMA, Heads { n: 12, d: 72, ..SMALL }].map(|heads| (cache, heads)))
    {
        for options in [Options::default(), Options { interleaved: true, magnitude: 1.3 }] {
            let types = Types { q_out: Some(F32), ..types(F16, cache) };
            let fused = Append { options, ..Append::new(types, heads, &[1000, 3], &[9, 9], 1009) };
            let results = fused.run();
            assert_eq!(results.q.as_ref().unwrap().to_f64(), rotated(&fused, &fused.q, heads.h_q));
            let k = rotated(&fused, &fused.k, heads.h_kv);
            // Keys as f32, that nothing rotates any more.
            let alone = Append {
                types: Types { k: F32, q_out: None, cache },
                heads: Heads { n: 0, h_q: 0, ..heads },
                k,
                q: Vec::new(),
                frequencies: Vec::new(),
                ..fused.clone()
            };
            assert_eq!(alone.run(), Results { q: None, ..results });
        }
    }
}

#[test]
fn the_definition_of_8_bits_is_what_it_says() {
    // Halfway between two integers: to the even one.
    let (scale, codes) = quantise(I8, &[127.0, 0.5, 1.5, -2.5, -127.0]);
    assert_eq!((scale, codes), (127.0 * (1.0 / 127.0), vec![127.0, 0.0, 2.0, -2.0, -127.0]));
    let (scale, codes) = quantise(E4M3, &[-448.0, 18.9, 1.0, 0.001]);
    assert_eq!((scale, codes), (1.0, vec![-448.0, 18.0, 1.0, 0.001953125 * (0.001f64 / 0.001953125).round()]));
    assert_eq!(quantise(I8, &[0.0, -0.0]), (0.0, vec![0.0, 0.0]));
    assert_eq!(quantise(E4M3, &[3e-36, 0.0]), (0.0, vec![0.0, 0.0]));
    let (scale, codes) = quantise(I8, &[1.0, f32::INFINITY]);
    assert!(scale.is_nan() && codes == [0.0, 0.0]);
}

#[test]
fn a_difference_beyond_the_tolerance_is_seen() {
    for cache in CACHES {
        let append = Append::new(types(F16, cache), SMALL, &[3], &[4], 8);
        let results = append.run();
        let mut wrong = append.clone();
        wrong.positions[2] += 1;
        let sequences = wrong.sequences();
        let (exact, _) = reference(&wrong.problem(), &wrong.inputs(&sequences), &wrong.before()).unwrap();
        let (plain, _) = plain(&wrong.problem(), &wrong.inputs(&sequences), &wrong.before()).unwrap();
        assert!(!compare(&results.k, &exact.k, &plain.k, Tolerance::rounded(cache)).passed());
        assert!(!compare(&results.v, &exact.v, &plain.v, Tolerance::rounded(cache)).passed());
    }
}
