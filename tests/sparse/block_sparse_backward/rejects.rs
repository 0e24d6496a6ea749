//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use llm_kernels::sparse::block_sparse_backward::{Operands, problem};
use llm_kernels::sparse::{LayoutOperand, LayoutSizes};
use llm_kernels::{Error, Operand};

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 32) + (slot << 24), dtype, layout: Layout::contiguous(shape).unwrap() }
}

/// Valid tensors: b 2, s_q 100, s_k 200, 4 heads over 2, d 64.
fn valid() -> Operands {
    let (queries, keys) = ([2, 100, 4, 64], [2, 200, 2, 64]);
    let grid = TileGrid::new([100, 200], [64, 64]).unwrap();
    let sizes = LayoutSizes { heads: 1, patterns: 1, tiles: 5, bands: 0, masks: 0 };
    let dense = flash_backward::Operands {
        q: operand(0, F16, &queries),
        k: operand(1, F16, &keys),
        v: operand(2, F16, &keys),
        out: operand(3, F16, &queries),
        lse: operand(4, DType::F32, &[2, 4, 100]),
        d_out: operand(5, F16, &queries),
        d_q: operand(6, F16, &queries),
        d_k: operand(7, F16, &keys),
        d_v: operand(8, F16, &keys),
        workspace: operand(9, DType::U8, &[1 << 20]),
        sinks: None,
        alibi_slopes: None,
        bias: None,
        mask_bits: None,
        prefix: None,
        cu_seqlens_q: None,
        cu_seqlens_k: None,
        d_sinks: None,
        d_bias: None,
    };
    Operands { dense, layout: LayoutOperand { address: 1 << 31, grid, sizes, work: None } }
}

/// The error's text after the operator's name.
#[track_caller]
fn error(change: impl FnOnce(&mut Operands)) -> String {
    let mut operands = valid();
    change(&mut operands);
    let text = problem(&operands, &Options::default()).expect_err("bad input was taken").to_string();
    text.strip_prefix("sparse/block_sparse_backward: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = Layout::contiguous(shape).unwrap();
}

#[test]
fn valid_input_is_taken() {
    problem(&valid(), &Options::default()).unwrap();
}

#[test]
fn a_layout_of_other_sizes_is_refused() {
    let grid = |lengths| TileGrid::new(lengths, [64, 64]).unwrap();
    assert_eq!(error(|t| t.layout.grid = grid([99, 200])), "layout has s_q 99, expected 100 (= q)");
    assert_eq!(error(|t| t.layout.grid = grid([100, 201])), "layout has s_k 201, expected 200 (= k)");
    assert_eq!(error(|t| t.layout.sizes.heads = 2), "layout has heads 2, expected 1 or 4 (= q)");
}

#[test]
fn other_types_and_head_dimensions_are_refused() {
    assert_eq!(error(|t| reshape(&mut t.dense.q, &[2, 100, 4, 192])), "q has head_dim 192; supported: 64, 128, 256");
    assert_eq!(
        error(|t| reshape(&mut t.dense.v, &[2, 200, 2, 128])),
        "v has head_dim 128, expected 64 (= what goes with q's)"
    );
    assert_eq!(error(|t| t.dense.d_out.dtype = BF16), "d_out is bf16, expected f16 (= q)");
}

#[test]
fn gradients_of_other_shapes_and_overlaps_are_refused() {
    let shape = error(|t| reshape(&mut t.dense.d_k, &[2, 100, 2, 64]));
    assert_eq!(shape, "d_k has shape [2, 100, 2, 64], expected [2, 200, 2, 64] (= k)");
    assert_eq!(error(|t| t.dense.d_q.address = t.dense.q.address), "d_q overlaps q in memory");
    assert_eq!(
        error(|t| t.dense.workspace.address += 8),
        "workspace has address 4445962248, expected a multiple of 16"
    );
}

#[test]
fn a_workspace_that_is_too_small_is_refused_and_nothing_is_written() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let backward = Backward::without_forward(Sparse::full(F16, [1, 64, 64, 1, 1, 64], [64, 64]));
    let layouts = backward.forward.layouts();
    let [q, k, v] = backward.forward.upload(layouts).unwrap();
    let poisoned = |layout: Layout| DeviceTensor::poisoned(queue(), F16, layout).unwrap();
    let (mut d_q, mut d_k, mut d_v) = (poisoned(layouts[0]), poisoned(layouts[1]), poisoned(layouts[2]));
    let mut workspace = DeviceTensor::poisoned(queue(), DType::U8, Layout::contiguous(&[256]).unwrap()).unwrap();
    let lse = upload(DType::F32, &backward.lse, layouts[4]).unwrap();
    let before = d_q.image(queue()).unwrap();
    let layout = backward.forward.layout().unwrap();
    let args = Args {
        q: q.view().unwrap(),
        k: k.view().unwrap(),
        v: v.view().unwrap(),
        out: q.view().unwrap(),
        lse: lse.view().unwrap(),
        d_out: v.view().unwrap(),
        layout: &layout,
        d_q: d_q.view_mut().unwrap(),
        d_k: d_k.view_mut().unwrap(),
        d_v: d_v.view_mut().unwrap(),
        workspace: workspace.view_mut().unwrap(),
        cu_seqlens_q: None,
        cu_seqlens_k: None,
        options: Options::default(),
    };
    let error = block_sparse_backward(queue(), args).unwrap_err();
    assert!(matches!(error, Error::Workspace { got: 256, .. }), "{error}");
    queue().synchronize().unwrap();
    assert_eq!(d_q.image(queue()).unwrap(), before);
}
