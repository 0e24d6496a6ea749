//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use llm_kernels::Operand;
use llm_kernels::quant::ColumnsOperand;
use llm_kernels::quant::repack::Operands;

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 32) + (slot << 24), dtype, layout: Layout::contiguous(shape).unwrap() }
}

const FORMAT: GroupedFormat = GroupedFormat { codes: Int4, n: 24, k: 256, group: 64 };

/// Valid tensors of GPTQ.
fn valid() -> Operands {
    Operands {
        qweight: operand(0, DType::I32, &[32, 24]),
        qzeros: Some(operand(1, DType::I32, &[4, 3])),
        scales: operand(2, F16, &[4, 24]),
        nested: None,
        columns: Some(ColumnsOperand { address: 1 << 40, k: 256 }),
        codes: operand(3, DType::U8, &[2 * 4 * 512]),
        out_scales: operand(4, BF16, &[2 * 4 * 16]),
        zeros: Some(operand(5, DType::U8, &[2 * 4 * 16])),
    }
}

/// The error's text after the operator's name.
#[track_caller]
fn error(source: Source, change: impl FnOnce(&mut GroupedFormat, &mut Operands)) -> String {
    let (mut format, mut operands) = (FORMAT, valid());
    change(&mut format, &mut operands);
    let text = Problem::check(source, format, &operands, 0.0).expect_err("bad input was taken").to_string();
    text.strip_prefix("quant/repack: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = Layout::contiguous(shape).unwrap();
}

#[test]
fn valid_input_is_taken() {
    assert!(Problem::check(Gptq, FORMAT, &valid(), 0.0).unwrap().permuted);
}

#[test]
fn tensors_of_another_size_are_refused() {
    assert_eq!(error(Gptq, |_, t| reshape(&mut t.qweight, &[31, 24])), "qweight has k 31, expected 32 (= format)");
    assert_eq!(error(Awq, |_, _| ()), "qweight has k 32, expected 256 (= format)");
    assert_eq!(error(Gptq, |_, t| reshape(&mut t.scales, &[3, 24])), "scales has groups 3, expected 4 (= format)");
    let text = error(Gptq, |_, t| reshape(t.qzeros.as_mut().unwrap(), &[4, 4]));
    assert_eq!(text, "qzeros has n 4, expected 3 (= format)");
    assert_eq!(error(Gptq, |_, t| reshape(&mut t.codes, &[4095])), "codes has elements 4095, expected 4096 (= format)");
    assert_eq!(error(Gptq, |_, t| t.columns.as_mut().unwrap().k = 64), "act_order has k 64, expected 256 (= format)");
    assert_eq!(error(Gptq, |_, t| reshape(&mut t.qweight, &[768])), "qweight has rank 1, expected 2 [rows, words]");
}

#[test]
fn a_group_that_does_not_divide_a_row_is_refused() {
    let text = error(Gptq, |format, _| format.group = 96);
    assert_eq!(text, "w has group 96 of k = 256; supported: 32, 64 and 128, where they divide k, and k itself");
}

#[test]
fn what_a_source_does_not_have_is_refused() {
    assert_eq!(error(Gptq, |format, _| format.codes = Nf4), "format has codes nf4; supported: int4, int8 (gptq)");
    assert_eq!(error(Awq, |format, _| format.codes = Int8), "format has codes int8; supported: int4 (awq)");
    assert_eq!(error(Source::Nf4, |_, _| ()), "format has codes int4; supported: nf4 (nf4)");
    let nf4 = |format: &mut GroupedFormat| format.codes = Nf4;
    assert_eq!(error(Source::Nf4, |format, _| nf4(format)), "qzeros has codes nf4; supported: int4, int8");
    let text = error(Source::Nf4, |format, t| (nf4(format), t.qzeros = None, t.zeros = None).0);
    assert_eq!(text, "act_order has codes nf4; supported: int4, int8");
    let text = error(Gptq, |_, t| t.nested = Some((operand(6, F32, &[256]), operand(7, F32, &[1]))));
    assert_eq!(text, "nested_table has codes int4; supported: nf4");
    let text = error(Gptq, |format, _| format.n = 20);
    assert_eq!(text, "format has n 20; supported: multiples of 8 (whole words)");
}

#[test]
fn zero_points_without_a_place_and_a_place_without_are_refused() {
    assert_eq!(error(Gptq, |_, t| t.zeros = None), "qzeros is given without zeros");
    assert_eq!(error(Gptq, |_, t| t.qzeros = None), "zeros is given without qzeros");
}

#[test]
fn types_that_do_not_fit_are_refused() {
    assert_eq!(error(Gptq, |_, t| t.qweight.dtype = DType::U8), "qweight is u8, expected i32");
    assert_eq!(error(Gptq, |_, t| t.scales.dtype = DType::U8), "scales has dtype u8; supported: f16, bf16, f32");
    assert_eq!(error(Gptq, |_, t| t.out_scales.dtype = F32), "out_scales has dtype f32; supported: f16, bf16");
    let text = error(Source::Nf4, |format, t| {
        format.codes = Nf4;
        (t.qzeros, t.zeros, t.columns) = (None, None, None);
    });
    assert_eq!(text, "scales is f16, expected f32");
}

#[test]
fn misaligned_outputs_and_such_that_overlap_are_refused() {
    assert!(error(Gptq, |_, t| t.codes.address += 8).ends_with("expected a multiple of 16"));
    assert!(error(Gptq, |_, t| t.qweight.address += 2).ends_with("expected a multiple of 4"));
    assert_eq!(error(Gptq, |_, t| t.codes.address = t.qweight.address), "codes overlaps qweight in memory");
    assert_eq!(
        error(Gptq, |_, t| t.zeros.as_mut().unwrap().address = t.codes.address),
        "zeros overlaps codes in memory"
    );
}

#[test]
fn an_offset_that_is_not_finite_is_refused() {
    let error = Problem::check(Gptq, FORMAT, &valid(), f32::NAN).unwrap_err();
    assert_eq!(error.to_string(), "quant/repack: nested_offset is NaN, expected a finite number");
}
