//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use llm_kernels::quant::PackedOperand;
use llm_kernels::quant::gguf_rows::Operands;
use llm_kernels::{Error, Operand};

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 32) + (slot << 24), dtype, layout: Layout::contiguous(shape).unwrap() }
}

/// Valid tensors: 4 rows of a Q6_K matrix [10, 512].
fn valid() -> Operands {
    let bytes = operand(0, DType::U8, &[10 * 420]);
    Operands {
        w: PackedOperand { format: Format::Q6K, n: 10, k: 512, bytes },
        ids: Some(operand(1, DType::I32, &[4])),
        out: operand(2, F16, &[4, 512]),
    }
}

/// The error's text after the operator's name.
#[track_caller]
fn error(change: impl FnOnce(&mut Operands)) -> String {
    let mut operands = valid();
    change(&mut operands);
    let text = Problem::check(&operands, 1.0).expect_err("bad input was taken").to_string();
    text.strip_prefix("quant/gguf_rows: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = Layout::contiguous(shape).unwrap();
}

#[test]
fn valid_input_is_taken() {
    let problem = Problem::check(&valid(), 1.0).unwrap();
    assert_eq!((problem.rows, problem.gathered, problem.dtype), (4, true, F16));
}

#[test]
fn truncated_data_are_refused_with_the_place() {
    let text = error(|t| reshape(&mut t.w.bytes, &[10 * 420 - 1]));
    assert_eq!(text, "w has 4199 bytes, expected 4200: it ends within block 1 of row 9 (q6_k [10, 512])");
    let text = error(|t| reshape(&mut t.w.bytes, &[0]));
    assert_eq!(text, "w has 0 bytes, expected 4200: it ends within block 0 of row 0 (q6_k [10, 512])");
}

#[test]
fn sizes_that_differ_or_do_not_fit_blocks_are_refused() {
    assert_eq!(error(|t| reshape(&mut t.out, &[4, 256])), "out has k 256, expected 512 (= w)");
    assert_eq!(error(|t| reshape(&mut t.out, &[5, 512])), "out has rows 5, expected 4 (= ids)");
    assert_eq!(error(|t| t.ids = None), "out has rows 4, expected 10 (= w)");
    let text = error(|t| t.w.k = 384);
    assert_eq!(text, "w has k 384 in blocks of 256 (q6_k); supported: multiples of 256");
}

#[test]
fn a_scale_that_is_not_finite_is_refused() {
    let text = Problem::check(&valid(), f32::NAN).expect_err("bad input was taken").to_string();
    assert_eq!(text, "quant/gguf_rows: scale is NaN, expected a finite number");
}

#[test]
fn types_ranks_and_gaps_that_do_not_fit_are_refused() {
    assert_eq!(error(|t| t.ids.as_mut().unwrap().dtype = DType::I64), "ids is i64, expected i32");
    assert_eq!(error(|t| t.out.dtype = DType::I32), "out has dtype i32; supported: f16, bf16, f32");
    assert_eq!(error(|t| t.w.bytes.dtype = F16), "w is f16, expected u8");
    assert_eq!(error(|t| reshape(&mut t.out, &[4, 2, 256])), "out has rank 3, expected 2 [rows, k]");
    assert_eq!(error(|t| reshape(t.ids.as_mut().unwrap(), &[2, 2])), "ids has rank 2, expected 1 [rows]");
    assert_eq!(error(|t| reshape(&mut t.w.bytes, &[10, 420])), "w has rank 2, expected 1 [bytes]");
    let gaps = Layout::strided(&[4], &[2]).unwrap();
    assert!(error(|t| t.ids.as_mut().unwrap().layout = gaps).starts_with("ids has strides [2]"));
    let gaps = Layout::strided(&[4, 512], &[1024, 2]).unwrap();
    assert_eq!(error(|t| t.out.layout = gaps), "out has stride 2 in its last dimension, expected 1");
}

#[test]
fn misaligned_bytes_are_refused() {
    assert!(error(|t| t.w.bytes.address += 8).ends_with("expected a multiple of 16"));
}

#[test]
fn an_output_that_overlaps_another_tensor_or_itself_is_refused() {
    assert_eq!(error(|t| t.out.address = t.w.bytes.address), "out overlaps w in memory");
    assert_eq!(error(|t| t.out.address = t.ids.unwrap().address), "out overlaps ids in memory");
    let broadcast = Layout::strided(&[4, 512], &[0, 1]).unwrap();
    assert!(error(|t| t.out.layout = broadcast).starts_with("out has strides [0, 1]"));
}

#[test]
fn a_refused_call_writes_nothing() {
    let mut rows = Rows::all(Format::Q4K, 3, 256);
    rows.w.pop();
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let mut tensors = rows.tensors(rows.layout()).unwrap();
    let error = tensors.launch(&rows.problem).unwrap_err();
    assert!(matches!(error, Error::Truncated { got: 431, needed: 432, .. }), "{error}");
    assert!(tensors.out.image(queue()).unwrap().iter().all(|&byte| byte == 0xFF));
}
