//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use llm_kernels::quant::weight_only::Operands;
use llm_kernels::quant::{ColumnsOperand, GroupedOperand, order_of_groups};
use llm_kernels::{Error, Operand};

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 32) + (slot << 24), dtype, layout: Layout::contiguous(shape).unwrap() }
}

/// Valid tensors: m 3, a matrix [20, 256] in groups of 64.
fn valid() -> Operands {
    let format = GroupedFormat { codes: Int4, n: 20, k: 256, group: 64 };
    Operands {
        w: GroupedOperand {
            format,
            codes: operand(0, DType::U8, &[2 * 4 * 512]),
            scales: operand(1, F16, &[2 * 4 * 16]),
            zeros: Some(operand(2, DType::U8, &[2 * 4 * 16])),
            columns: Some(ColumnsOperand { address: 1 << 40, k: 256 }),
        },
        x: operand(3, F16, &[3, 256]),
        bias: Some(operand(4, F32, &[20])),
        y: operand(5, BF16, &[3, 20]),
        workspace: Some(operand(6, DType::U8, &[640])),
    }
}

/// The error's text after the operator's name.
#[track_caller]
fn error(change: impl FnOnce(&mut Operands)) -> String {
    let mut operands = valid();
    change(&mut operands);
    let text = Problem::check(&operands).expect_err("bad input was taken").to_string();
    text.strip_prefix("quant/weight_only: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = Layout::contiguous(shape).unwrap();
}

#[test]
fn valid_input_is_taken() {
    let problem = Problem::check(&valid()).unwrap();
    assert_eq!((problem.m, problem.format.n, problem.format.k), (3, 20, 256));
    assert!(problem.has_zeros && problem.permuted);
}

#[test]
fn a_group_that_does_not_divide_a_row_is_refused() {
    let supported = "supported: 32, 64 and 128, where they divide k, and k itself";
    assert_eq!(error(|t| t.w.format.group = 48), format!("w has group 48 of k = 256; {supported}"));
    assert_eq!(error(|t| t.w.format.group = 0), format!("w has group 0 of k = 256; {supported}"));
    let text = error(|t| {
        (t.w.format.k, t.w.format.group) = (96, 64);
        reshape(&mut t.x, &[3, 96]);
    });
    assert_eq!(text, format!("w has group 64 of k = 96; {supported}"));
    let text = error(|t| {
        t.w.format.k = 40;
        reshape(&mut t.x, &[3, 40]);
    });
    assert_eq!(text, "w has k 40; supported: multiples of 32");
}

#[test]
fn truncated_data_are_refused_with_the_place() {
    let text = error(|t| reshape(&mut t.w.codes, &[4095]));
    assert_eq!(text, "codes has 4095 bytes, expected 4096: it ends within tile 1 (int4 [20, 256] in groups of 64)");
    let text = error(|t| reshape(&mut t.w.scales, &[63]));
    assert_eq!(text, "scales has 126 bytes, expected 256: it ends within tile 0 (int4 [20, 256] in groups of 64)");
    let text = error(|t| reshape(t.w.zeros.as_mut().unwrap(), &[100]));
    assert_eq!(text, "zeros has 100 bytes, expected 128: it ends within tile 1 (int4 [20, 256] in groups of 64)");
}

#[test]
fn groups_of_columns_that_do_not_exist_or_are_uneven_are_refused() {
    let refused = |g_idx: &[i32]| order_of_groups(g_idx, 2).unwrap_err().to_string();
    assert_eq!(refused(&[0, 0, 1, 2]), "act_order: g_idx[3] is group 2, expected 0 to 1");
    assert_eq!(refused(&[0, -1, 1, 1]), "act_order: g_idx[1] is group -1, expected 0 to 1");
    assert_eq!(refused(&[0, 0, 0, 1]), "act_order: group 0 has 3 columns, expected 2");
    assert_eq!(refused(&[0, 0, 1]), "act_order: 3 columns are no whole groups of 2");
    let nothing = ActOrder::new(queue(), &[], 2).unwrap_err();
    assert_eq!(nothing.to_string(), "act_order: there are no columns");
    assert_eq!(error(|t| t.w.columns.as_mut().unwrap().k = 128), "act_order has k 128, expected 256 (= w)");
}

#[test]
fn sizes_that_differ_are_refused() {
    assert_eq!(error(|t| reshape(&mut t.x, &[3, 128])), "x has k 128, expected 256 (= w)");
    assert_eq!(error(|t| reshape(&mut t.y, &[2, 20])), "y has m 2, expected 3 (= x)");
    assert_eq!(error(|t| reshape(&mut t.y, &[3, 21])), "y has n 21, expected 20 (= w)");
    assert_eq!(error(|t| reshape(t.bias.as_mut().unwrap(), &[3])), "bias has n 3, expected 20 (= w)");
}

#[test]
fn types_and_ranks_that_do_not_fit_are_refused() {
    assert_eq!(error(|t| t.x.dtype = F32), "x has dtype f32; supported: f16, bf16");
    assert_eq!(error(|t| t.w.scales.dtype = BF16), "scales is bf16, expected f16 (= x)");
    assert_eq!(error(|t| t.w.codes.dtype = DType::I32), "codes is i32, expected u8");
    assert_eq!(error(|t| t.w.zeros.as_mut().unwrap().dtype = F16), "zeros is f16, expected u8");
    assert_eq!(error(|t| t.w.format.codes = Nf4), "zeros has codes nf4; supported: int4, int8");
    assert_eq!(error(|t| t.y.dtype = DType::I32), "y has dtype i32; supported: f16, bf16, f32");
    assert_eq!(error(|t| t.bias.as_mut().unwrap().dtype = DType::I32), "bias has dtype i32; supported: f16, bf16, f32");
    assert_eq!(error(|t| reshape(&mut t.x, &[3, 2, 128])), "x has rank 3, expected 2 [m, k]");
    assert_eq!(error(|t| reshape(&mut t.w.codes, &[2, 2048])), "codes has rank 2, expected 1 [bytes]");
}

#[test]
fn misaligned_tensors_and_gaps_are_refused() {
    assert!(error(|t| t.w.codes.address += 8).ends_with("expected a multiple of 16"));
    assert!(error(|t| t.w.scales.address += 8).ends_with("expected a multiple of 16"));
    assert!(error(|t| t.w.zeros.as_mut().unwrap().address += 8).ends_with("expected a multiple of 16"));
    assert!(error(|t| t.x.address += 8).ends_with("expected a multiple of 16"));
    assert!(error(|t| t.workspace.as_mut().unwrap().address += 4).ends_with("expected a multiple of 16"));
    let odd = Layout::strided(&[3, 256], &[260, 1]).unwrap();
    assert_eq!(error(|t| t.x.layout = odd), "x has stride[0] in elements 260, expected a multiple of 8");
    let gaps = Layout::strided(&[3, 20], &[40, 2]).unwrap();
    assert_eq!(error(|t| t.y.layout = gaps), "y has stride 2 in its last dimension, expected 1");
}

#[test]
fn an_output_that_overlaps_another_tensor_or_itself_is_refused() {
    assert_eq!(error(|t| t.y.address = t.w.codes.address), "y overlaps codes in memory");
    assert_eq!(error(|t| t.y.address = t.w.scales.address), "y overlaps scales in memory");
    assert_eq!(error(|t| t.y.address = t.x.address), "y overlaps x in memory");
    assert_eq!(error(|t| t.workspace.as_mut().unwrap().address = t.y.address), "workspace overlaps y in memory");
    let broadcast = Layout::strided(&[3, 20], &[0, 1]).unwrap();
    assert!(error(|t| t.y.layout = broadcast).starts_with("y has strides [0, 1]"));
}

#[test]
fn a_missing_or_small_workspace_is_refused_and_nothing_is_written() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let product = Product::new(Int4, 128, [2, 32, 4096]);
    let needed = plan(&product.problem, queue().device().limits()).unwrap().workspace.bytes;
    assert!(needed > 0);
    for bytes in [0, needed - 1] {
        let mut tensors = product.tensors(product.layouts()).unwrap();
        tensors.workspace = DeviceTensor::poisoned(queue(), DType::U8, Layout::contiguous(&[bytes]).unwrap()).unwrap();
        let error = tensors.launch(&product.problem).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("quant/weight_only: workspace has {bytes} bytes, the plan needs {needed}")
        );
        assert!(matches!(error, Error::Workspace { .. }));
        assert!(tensors.y.image(queue()).unwrap().iter().all(|&byte| byte == 0xFF));
    }
}
