//! With the reference, and with `flash_forward`.

use super::*;
use llm_kernels::verify;

#[test]
fn every_case_of_check_agrees() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let op = verify::select(Some("attention/decode"))[0];
    for case in op.check_cases.iter().filter(|case| !case.gpu_only || !queue().device().is_software()) {
        let row = op.check(queue(), case).unwrap_or_else(|error| panic!("{}: {error}", case.shape()));
        assert!(row.agreement.passed(), "{} {}: {}", case.dtype, case.shape(), row.agreement.report());
    }
}

#[test]
fn the_reference_is_that_of_attention_with_a_mask_aligned_to_the_end() {
    use llm_kernels::attention::flash_forward::{self, reference as forward};
    let sizes = Sizes { s_q: 3, ..SMALL };
    let options = Options { window_left: Some(20), softcap: Some(4.0), ..DEFAULT };
    let decode = Decode::new(F16, F16, sizes, &[50], options).in_pages(16);
    let table = decode.table();
    let inputs = Inputs {
        q: &decode.q,
        k: &decode.k,
        v: &decode.v,
        lengths: &decode.lengths,
        block_table: &table,
        ..Inputs::default()
    };
    let shape = flash_forward::Shape { b: 1, s_q: 3, s_k: 50, h_q: 4, h_kv: 2, d: 64, d_v: 64 };
    let options =
        flash_forward::Options { causal: true, window_left: Some(20), softcap: Some(4.0), ..Default::default() };
    let problem = flash_forward::Problem::new(F16, shape, &options).unwrap();
    let rows = 50 * 2 * 64;
    let whole = forward::Inputs { q: &decode.q, k: &decode.k[..rows], v: &decode.v[..rows], ..Default::default() };
    let (a, b) = (reference(&decode.problem, &inputs), forward::reference(&problem, &whole));
    let near = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12);
    assert!(near(&a.out, &b.out) && near(&a.lse, &b.lse));
}

#[test]
fn every_cache_agrees_contiguous_and_in_pages_of_every_size() {
    for (dtype, cache) in [(F16, F16), (BF16, BF16), (F16, I8), (BF16, I8), (F16, E4M3), (BF16, E4M3)] {
        let decode = Decode::new(dtype, cache, SMALL, &[300, 77], splits(3));
        decode.assert_agrees();
        for page_size in [1, 16, 32, 64, 128, 256] {
            decode.in_scattered_pages(page_size).assert_agrees();
        }
    }
}

#[test]
fn every_number_of_queries_up_to_16_agrees() {
    for s_q in 1..=16 {
        Decode::new(F16, F16, Sizes { s_q, ..SMALL }, &[90, 20], splits(2)).assert_agrees();
    }
}

#[test]
fn every_8_bit_code_is_its_number() {
    // Keys of one element that is not 0 each, and a query that picks it out: the score is the code's number. Values hold
    // the codes in another order.
    let codes: Vec<u8> = (0..=255).collect();
    for (dtype, cache) in [(F16, I8), (BF16, I8), (F16, E4M3), (BF16, E4M3)] {
        let numbers = HostTensor { name: String::new(), dtype: cache, shape: vec![256], bytes: codes.clone() }.to_f64();
        // NaN has a test of its own.
        let numbers: Vec<f64> = numbers.into_iter().map(|x| if x.is_nan() { 0.0 } else { x }).collect();
        let mut decode = Decode::new(dtype, cache, Sizes { s_q: 1, h_q: 1, h_kv: 1, d: 256 }, &[256], DEFAULT);
        decode.k.fill(0.0);
        for j in 0..256 {
            decode.k[j * 256 + j] = numbers[j];
            for column in 0..256 {
                decode.v[j * 256 + column] = numbers[(j + 3 * column) % 256];
            }
        }
        decode.k_scales.fill(1.0 / 256.0);
        decode.q = (0..256).map(|j| [0.5, 1.0, -0.25, 2.0][j % 4]).collect();
        decode.assert_agrees();
    }
}
