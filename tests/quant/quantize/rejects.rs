//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use llm_kernels::Operand;
use llm_kernels::quant::quantize::{NestedOperands, Operands};

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 32) + (slot << 24), dtype, layout: Layout::contiguous(shape).unwrap() }
}

const FORMAT: GroupedFormat = GroupedFormat { codes: Int4, n: 20, k: 256, group: 64 };

/// Valid tensors of groups.
fn groups() -> Operands {
    Operands {
        x: operand(0, F32, &[20, 256]),
        q: operand(1, DType::U8, &[2 * 4 * 512]),
        scales: operand(2, BF16, &[2 * 4 * 16]),
        zeros: Some(operand(3, DType::U8, &[2 * 4 * 16])),
        nested: None,
    }
}

/// And of rows.
fn rows() -> Operands {
    Operands {
        x: operand(0, F16, &[20, 256]),
        q: operand(1, I8, &[20, 256]),
        scales: operand(2, F32, &[20]),
        zeros: None,
        nested: None,
    }
}

/// And of blocks.
fn blocks() -> Operands {
    Operands {
        x: operand(0, F16, &[20, 256]),
        q: operand(1, DType::U8, &[20 * 128]),
        scales: operand(2, F32, &[80]),
        zeros: None,
        nested: Some(NestedOperands {
            table: operand(3, F32, &[256]),
            codes: operand(4, DType::U8, &[80]),
            magnitudes: operand(5, F32, &[1]),
            offset: operand(6, F32, &[1]),
        }),
    }
}

#[track_caller]
fn error(target: Target, operands: &Operands) -> String {
    let text = Problem::check(target, operands).expect_err("bad input was taken").to_string();
    text.strip_prefix("quant/quantize: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

#[track_caller]
fn of_groups(change: impl FnOnce(&mut GroupedFormat, &mut Operands)) -> String {
    let (mut format, mut operands) = (FORMAT, groups());
    change(&mut format, &mut operands);
    error(Target::Groups(format), &operands)
}

#[track_caller]
fn of_rows(change: impl FnOnce(&mut Operands)) -> String {
    let mut operands = rows();
    change(&mut operands);
    error(Target::Rows(operands.q.dtype), &operands)
}

#[track_caller]
fn of_blocks(change: impl FnOnce(&mut Operands, &mut NestedOperands)) -> String {
    let mut operands = blocks();
    let mut nested = operands.nested.unwrap();
    change(&mut operands, &mut nested);
    error(Target::Blocks { block: 64, nested: true }, &Operands { nested: Some(nested), ..operands })
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = Layout::contiguous(shape).unwrap();
}

#[test]
fn valid_input_is_taken() {
    assert!(Problem::check(Target::Groups(FORMAT), &groups()).unwrap().has_zeros);
    assert!(!Problem::check(Target::Rows(I8), &rows()).unwrap().has_zeros);
    Problem::check(Target::Blocks { block: 64, nested: true }, &blocks()).unwrap();
}

#[test]
fn a_group_that_does_not_divide_a_row_is_refused() {
    let text = of_groups(|format, _| format.group = 96);
    assert_eq!(text, "w has group 96 of k = 256; supported: 32, 64 and 128, where they divide k, and k itself");
}

#[test]
fn sizes_that_differ_are_refused() {
    assert_eq!(of_groups(|_, t| reshape(&mut t.x, &[19, 256])), "x has n 19, expected 20 (= format)");
    assert_eq!(of_groups(|_, t| reshape(&mut t.q, &[4095])), "q has elements 4095, expected 4096 (= x)");
    assert_eq!(of_groups(|_, t| reshape(&mut t.scales, &[127])), "scales has elements 127, expected 128 (= x)");
    assert_eq!(of_rows(|t| reshape(&mut t.q, &[20, 252])), "q has k 252, expected 256 (= x)");
    assert_eq!(of_rows(|t| reshape(&mut t.scales, &[19])), "scales has elements 19, expected 20 (= x)");
    assert_eq!(of_rows(|t| reshape(&mut t.x, &[20, 254])), "x has k 254; supported: multiples of 4");
}

#[test]
fn types_that_do_not_fit_are_refused() {
    assert_eq!(of_groups(|_, t| t.x.dtype = I8), "x has dtype i8; supported: f16, bf16, f32");
    assert_eq!(of_groups(|_, t| t.scales.dtype = F32), "scales has dtype f32; supported: f16, bf16");
    assert_eq!(of_groups(|format, _| format.codes = Nf4), "zeros has codes nf4; supported: int4, int8");
    assert_eq!(of_groups(|_, t| t.q.dtype = I8), "q is i8, expected u8");
    assert_eq!(of_rows(|t| t.q.dtype = DType::U8), "q has dtype u8; supported: i8, e4m3");
    assert_eq!(of_rows(|t| t.scales.dtype = F16), "scales is f16, expected f32");
}

#[test]
fn misaligned_tensors_and_such_that_overlap_are_refused() {
    assert!(of_groups(|_, t| t.x.address += 8).ends_with("expected a multiple of 16"));
    assert!(of_groups(|_, t| t.q.address += 8).ends_with("expected a multiple of 16"));
    assert!(of_rows(|t| t.q.address += 2).ends_with("expected a multiple of 4"));
    assert_eq!(of_groups(|_, t| t.q.address = t.x.address), "q overlaps x in memory");
    assert_eq!(of_rows(|t| t.scales.address = t.q.address), "scales overlaps q in memory");
}

#[test]
fn tensors_of_blocks_that_do_not_fit_are_refused() {
    let text = error(Target::Blocks { block: 96, nested: true }, &blocks());
    assert_eq!(text, "w has group 96 of k = 256; supported: 32, 64 and 128, where they divide k, and k itself");
    assert_eq!(of_blocks(|t, _| reshape(&mut t.q, &[2559])), "q has elements 2559, expected 2560 (= x)");
    assert_eq!(of_blocks(|t, _| reshape(&mut t.scales, &[20])), "magnitudes has elements 20, expected 80 (= x)");
    assert_eq!(of_blocks(|t, _| t.scales.dtype = F16), "magnitudes is f16, expected f32");
    assert_eq!(of_blocks(|_, t| reshape(&mut t.table, &[255])), "nested_table has elements 255, expected 256 (= x)");
    assert_eq!(of_blocks(|_, t| t.codes.dtype = I8), "nested_codes is i8, expected u8");
    assert_eq!(
        of_blocks(|_, t| reshape(&mut t.magnitudes, &[2])),
        "nested_magnitudes has elements 2, expected 1 (= x)"
    );
    assert_eq!(of_blocks(|_, t| reshape(&mut t.offset, &[0])), "nested_offset has elements 0, expected 1 (= x)");
    assert_eq!(of_blocks(|t, n| n.codes.address = t.q.address), "nested_codes overlaps q in memory");
    assert_eq!(of_blocks(|_, n| n.offset.address = n.table.address), "nested_offset overlaps nested_table in memory");
}
