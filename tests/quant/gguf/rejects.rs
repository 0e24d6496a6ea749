//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use llm_kernels::quant::PackedOperand;
use llm_kernels::quant::gguf::Operands;
use llm_kernels::{Error, Operand};

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 32) + (slot << 24), dtype, layout: Layout::contiguous(shape).unwrap() }
}

/// Valid tensors: m 3, a Q4_K matrix [10, 512].
fn valid() -> Operands {
    let bytes = operand(0, DType::U8, &[10 * 288]);
    Operands {
        w: PackedOperand { format: Format::Q4K, n: 10, k: 512, bytes },
        x: operand(1, F16, &[3, 512]),
        bias: Some(operand(2, F32, &[10])),
        y: operand(3, BF16, &[3, 10]),
        workspace: Some(operand(4, DType::U8, &[3 * 640])),
    }
}

/// The error's text after the operator's name.
#[track_caller]
fn error(change: impl FnOnce(&mut Operands)) -> String {
    let mut operands = valid();
    change(&mut operands);
    let text = Problem::check(&operands, Q8).expect_err("bad input was taken").to_string();
    text.strip_prefix("quant/gguf: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = Layout::contiguous(shape).unwrap();
}

#[test]
fn valid_input_is_taken() {
    let problem = Problem::check(&valid(), Exact).unwrap();
    assert_eq!((problem.m, problem.n, problem.k), (3, 10, 512));
    assert_eq!((problem.x_dtype, problem.bias_dtype, problem.y_dtype), (F16, Some(F32), BF16));
}

#[test]
fn truncated_data_are_refused_with_the_place() {
    let text = error(|t| reshape(&mut t.w.bytes, &[3 * 288 + 200]));
    assert_eq!(text, "w has 1064 bytes, expected 2880: it ends within block 1 of row 3 (q4_k [10, 512])");
}

#[test]
fn sizes_that_differ_or_do_not_fit_blocks_are_refused() {
    assert_eq!(error(|t| reshape(&mut t.x, &[3, 256])), "x has k 256, expected 512 (= w)");
    assert_eq!(error(|t| reshape(&mut t.y, &[2, 10])), "y has m 2, expected 3 (= x)");
    assert_eq!(error(|t| reshape(&mut t.y, &[3, 11])), "y has n 11, expected 10 (= w)");
    assert_eq!(error(|t| reshape(t.bias.as_mut().unwrap(), &[3])), "bias has n 3, expected 10 (= w)");
    let text = error(|t| t.w.k = 500);
    assert_eq!(text, "w has k 500 in blocks of 256 (q4_k); supported: multiples of 256");
    let text = error(|t| (t.w.format, t.w.k) = (Format::Q8_0, 500));
    assert_eq!(text, "w has k 500 in blocks of 32 (q8_0); supported: multiples of 32");
    assert_eq!(error(|t| t.w.n = (1 << 30) + 1), "n is 1073741825, the limit is 1073741824");
}

#[test]
fn types_and_ranks_that_do_not_fit_are_refused() {
    assert_eq!(error(|t| t.x.dtype = DType::U8), "x has dtype u8; supported: f16, bf16, f32");
    assert_eq!(error(|t| t.y.dtype = DType::I32), "y has dtype i32; supported: f16, bf16, f32");
    assert_eq!(error(|t| t.bias.as_mut().unwrap().dtype = DType::I32), "bias has dtype i32; supported: f16, bf16, f32");
    assert_eq!(error(|t| t.w.bytes.dtype = F32), "w is f32, expected u8");
    assert_eq!(error(|t| reshape(&mut t.x, &[3, 2, 256])), "x has rank 3, expected 2 [m, k]");
    assert_eq!(error(|t| reshape(&mut t.y, &[30])), "y has rank 1, expected 2 [m, n]");
    assert_eq!(error(|t| reshape(t.bias.as_mut().unwrap(), &[1, 10])), "bias has rank 2, expected 1 [n]");
}

#[test]
fn misaligned_tensors_and_gaps_are_refused() {
    assert!(error(|t| t.w.bytes.address += 2).ends_with("expected a multiple of 16"));
    assert!(error(|t| t.x.address += 8).ends_with("expected a multiple of 16"));
    assert!(error(|t| t.workspace.as_mut().unwrap().address += 4).ends_with("expected a multiple of 16"));
    let odd = Layout::strided(&[3, 512], &[516, 1]).unwrap();
    assert_eq!(error(|t| t.x.layout = odd), "x has stride[0] in elements 516, expected a multiple of 8");
    let gaps = Layout::strided(&[3, 10], &[40, 2]).unwrap();
    assert_eq!(error(|t| t.y.layout = gaps), "y has stride 2 in its last dimension, expected 1");
    let gaps = Layout::strided(&[10], &[2]).unwrap();
    assert!(error(|t| t.bias.as_mut().unwrap().layout = gaps).starts_with("bias has strides [2]"));
}

#[test]
fn an_output_that_overlaps_another_tensor_or_itself_is_refused() {
    assert_eq!(error(|t| t.y.address = t.w.bytes.address), "y overlaps w in memory");
    assert_eq!(error(|t| t.y.address = t.x.address), "y overlaps x in memory");
    assert_eq!(error(|t| t.y.address = t.bias.unwrap().address), "y overlaps bias in memory");
    assert_eq!(error(|t| t.workspace.as_mut().unwrap().address = t.y.address), "workspace overlaps y in memory");
    let broadcast = Layout::strided(&[3, 10], &[0, 1]).unwrap();
    assert!(error(|t| t.y.layout = broadcast).starts_with("y has strides [0, 1]"));
}

#[test]
fn a_missing_or_small_workspace_is_refused_and_nothing_is_written() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let product = Product::new(Format::Q4K, Q8, [2, 5, 256]);
    for bytes in [0, 639] {
        let mut tensors = product.tensors(product.layouts()).unwrap();
        tensors.workspace = DeviceTensor::poisoned(queue(), DType::U8, Layout::contiguous(&[bytes]).unwrap()).unwrap();
        let error = tensors.launch(&product.problem).unwrap_err();
        assert_eq!(error.to_string(), format!("quant/gguf: workspace has {bytes} bytes, the plan needs 640"));
        assert!(matches!(error, Error::Workspace { .. }));
        assert!(tensors.y.image(queue()).unwrap().iter().all(|&byte| byte == 0xFF));
    }
}
