//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use llm_kernels::attention::merge::Operands;
use llm_kernels::{Error, Operand};

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 32) + (slot << 24), dtype, layout: Layout::contiguous(shape).unwrap() }
}

/// Valid tensors: 3 parts, b 2, s_q 10, 4 heads, d 64.
fn valid() -> Operands {
    Operands {
        parts_out: operand(0, F16, &[3, 2, 10, 4, 64]),
        parts_lse: operand(1, F32, &[3, 2, 4, 10]),
        out: operand(2, F16, &[2, 10, 4, 64]),
        lse: Some(operand(3, F32, &[2, 4, 10])),
    }
}

/// The error's text after the operator's name.
#[track_caller]
fn error(change: impl FnOnce(&mut Operands)) -> String {
    let mut operands = valid();
    change(&mut operands);
    let text = Problem::check(&operands).expect_err("bad input was taken").to_string();
    text.strip_prefix("attention/merge: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = Layout::contiguous(shape).unwrap();
}

#[test]
fn valid_input_is_taken() {
    assert_eq!(Problem::check(&valid()).unwrap().shape, shape([3, 2, 10, 4, 64]));
}

#[test]
fn another_rank_is_refused() {
    let parts = error(|t| reshape(&mut t.parts_out, &[2, 10, 4, 64]));
    assert_eq!(parts, "parts_out has rank 4, expected 5 [n, b, s_q, h_q, d]");
    assert_eq!(error(|t| reshape(&mut t.parts_lse, &[2, 4, 10])), "parts_lse has rank 3, expected 4 [n, b, h_q, s_q]");
    assert_eq!(error(|t| reshape(&mut t.out, &[10, 4, 64])), "out has rank 3, expected 4 [b, s_q, h_q, d]");
}

#[test]
fn types_that_do_not_go_together_are_refused() {
    assert_eq!(error(|t| t.out.dtype = F32), "out is f32, expected f16 (= parts_out)");
    assert_eq!(error(|t| t.parts_lse.dtype = F16), "parts_lse is f16, expected f32");
    assert_eq!(error(|t| t.lse.as_mut().unwrap().dtype = BF16), "lse is bf16, expected f32");
    assert_eq!(error(|t| t.parts_out.dtype = DType::I32), "parts_out has dtype i32; supported: f16, bf16, f32");
    let integers = error(|t| {
        t.parts_out.dtype = F32;
        t.out.dtype = DType::I64;
    });
    assert_eq!(integers, "out has dtype i64; supported: f16, bf16, f32");
}

#[test]
fn an_unsupported_head_dimension_is_refused_with_what_is_supported() {
    for d in [0, 4, 100, 264] {
        let text = error(|t| reshape(&mut t.parts_out, &[3, 2, 10, 4, d]));
        assert_eq!(text, format!("parts_out has head_dim {d}; supported: multiples of 8 up to 256"));
    }
}

#[test]
fn sizes_that_differ_are_refused() {
    assert_eq!(error(|t| reshape(&mut t.parts_lse, &[2, 2, 4, 10])), "parts_lse has n 2, expected 3 (= parts_out)");
    assert_eq!(error(|t| reshape(&mut t.parts_lse, &[3, 2, 10, 4])), "parts_lse has h_q 10, expected 4 (= parts_out)");
    assert_eq!(error(|t| reshape(&mut t.out, &[2, 11, 4, 64])), "out has s_q 11, expected 10 (= parts_out)");
    assert_eq!(error(|t| reshape(&mut t.out, &[2, 10, 4, 128])), "out has head_dim 128, expected 64 (= parts_out)");
    let lse = error(|t| reshape(t.lse.as_mut().unwrap(), &[1, 4, 10]));
    assert_eq!(lse, "lse has b 1, expected 2 (= parts_out)");
}

#[test]
fn too_many_parts_are_refused() {
    let text = error(|t| {
        reshape(&mut t.parts_out, &[257, 2, 10, 4, 64]);
        reshape(&mut t.parts_lse, &[257, 2, 4, 10]);
    });
    assert_eq!(text, "n is 257, the limit is 256");
}

#[test]
fn rows_that_are_not_aligned_to_16_bytes_are_refused() {
    assert!(error(|t| t.parts_out.address += 8).ends_with("expected a multiple of 16"));
    let odd = Layout::strided(&[2, 10, 4, 64], &[10 * 272, 272, 68, 1]).unwrap();
    assert_eq!(error(|t| t.out.layout = odd), "out has stride[2] in elements 68, expected a multiple of 8");
    let transposed = Layout::strided(&[2, 10, 4, 64], &[2560, 1, 640, 10]).unwrap();
    assert_eq!(error(|t| t.out.layout = transposed), "out has stride 10 in its last dimension, expected 1");
}

#[test]
fn logarithms_with_gaps_are_refused() {
    let gaps = Layout::strided(&[3, 2, 4, 10], &[160, 80, 20, 2]).unwrap();
    assert!(error(|t| t.parts_lse.layout = gaps).starts_with("parts_lse has strides [160, 80, 20, 2]"));
    let gaps = Layout::strided(&[2, 4, 10], &[80, 20, 2]).unwrap();
    assert!(error(|t| t.lse.as_mut().unwrap().layout = gaps).starts_with("lse has strides [80, 20, 2]"));
}

#[test]
fn an_output_that_overlaps_another_tensor_or_itself_is_refused() {
    assert_eq!(error(|t| t.out.address = t.parts_out.address), "out overlaps parts_out in memory");
    assert_eq!(error(|t| t.lse.as_mut().unwrap().address = t.parts_lse.address), "lse overlaps parts_lse in memory");
    assert_eq!(error(|t| t.lse.as_mut().unwrap().address = t.out.address), "lse overlaps out in memory");
    let broadcast = Layout::strided(&[2, 10, 4, 64], &[0, 256, 64, 1]).unwrap();
    assert!(error(|t| t.out.layout = broadcast).starts_with("out has strides [0, 256, 64, 1]"));
}

#[test]
fn a_refused_call_writes_nothing() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let tensor =
        |dtype, shape: &[usize]| DeviceTensor::poisoned(queue(), dtype, Layout::contiguous(shape).unwrap()).unwrap();
    let (parts_out, parts_lse) = (tensor(F16, &[2, 1, 8, 2, 64]), tensor(F32, &[2, 1, 2, 8]));
    let (mut out, mut lse) = (tensor(F16, &[1, 8, 2, 64]), tensor(F32, &[1, 8, 2]));
    let args = Args {
        parts_out: parts_out.view().unwrap(),
        parts_lse: parts_lse.view().unwrap(),
        out: out.view_mut().unwrap(),
        lse: Some(lse.view_mut().unwrap()),
    };
    let error = merge(queue(), args).unwrap_err();
    assert!(matches!(error, Error::Dimension { argument: "lse", .. }), "{error}");
    for tensor in [&out, &lse] {
        assert!(tensor.image(queue()).unwrap().iter().all(|&byte| byte == 0xFF));
    }
}
