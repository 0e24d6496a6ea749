//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use llm_kernels::attention::SequenceOperand;
use llm_kernels::sparse::block_sparse::Operands;
use llm_kernels::{Error, Operand};

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 32) + (slot << 24), dtype, layout: Layout::contiguous(shape).unwrap() }
}

/// Valid tensors: b 2, s_q 100, s_k 200, 4 heads over 2, d 64.
fn valid() -> Operands {
    let grid = TileGrid::new([100, 200], [64, 64]).unwrap();
    let sizes = LayoutSizes { heads: 4, patterns: 2, tiles: 5, bands: 0, masks: 0 };
    Operands {
        q: operand(0, F16, &[2, 100, 4, 64]),
        k: operand(1, F16, &[2, 200, 2, 64]),
        v: operand(2, F16, &[2, 200, 2, 64]),
        out: operand(3, F16, &[2, 100, 4, 64]),
        layout: LayoutOperand { address: 1 << 31, grid, sizes, work: None },
        lse: Some(operand(4, DType::F32, &[2, 4, 100])),
        cu_seqlens_q: None,
        cu_seqlens_k: None,
    }
}

/// The error's text after the operator's name.
#[track_caller]
fn error(change: impl FnOnce(&mut Operands)) -> String {
    let mut operands = valid();
    change(&mut operands);
    let text = Problem::check(&operands, &Options::default()).expect_err("bad input was taken").to_string();
    text.strip_prefix("sparse/block_sparse: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = Layout::contiguous(shape).unwrap();
}

#[test]
fn valid_input_is_taken() {
    let problem = Problem::check(&valid(), &Options::default()).unwrap();
    assert_eq!(problem.attention.shape, shape([2, 100, 200, 4, 2, 64]));
}

#[test]
fn a_layout_of_other_sizes_is_refused() {
    let grid = |lengths| TileGrid::new(lengths, [64, 64]).unwrap();
    assert_eq!(error(|t| t.layout.grid = grid([99, 200])), "layout has s_q 99, expected 100 (= q)");
    assert_eq!(error(|t| t.layout.grid = grid([100, 201])), "layout has s_k 201, expected 200 (= k)");
    assert_eq!(error(|t| t.layout.sizes.heads = 2), "layout has heads 2, expected 1 or 4 (= q)");
    assert_eq!(error(|t| t.layout.address += 4), "layout has address 2147483652, expected a multiple of 16");
}

#[test]
fn a_layout_shorter_than_the_longest_sequence_is_refused() {
    let various = |t: &mut Operands, longest: [usize; 2]| {
        reshape(&mut t.q, &[100, 4, 64]);
        reshape(&mut t.k, &[200, 2, 64]);
        reshape(&mut t.v, &[200, 2, 64]);
        reshape(&mut t.out, &[100, 4, 64]);
        reshape(t.lse.as_mut().unwrap(), &[4, 100]);
        let sequences = |total, longest| Some(SequenceOperand { address: 1 << 30, sequences: 3, total, longest });
        (t.cu_seqlens_q, t.cu_seqlens_k) = (sequences(100, longest[0]), sequences(200, longest[1]));
    };
    let mut operands = valid();
    various(&mut operands, [60, 70]);
    Problem::check(&operands, &Options::default()).unwrap();
    let queries = error(|t| {
        various(t, [60, 70]);
        t.layout.grid = TileGrid::new([59, 200], [64, 64]).unwrap();
    });
    assert_eq!(queries, "layout has s_q 59, expected 60 (= the longest of cu_seqlens_q)");
    let keys = error(|t| {
        various(t, [60, 70]);
        t.layout.grid = TileGrid::new([100, 69], [64, 64]).unwrap();
    });
    assert_eq!(keys, "layout has s_k 69, expected 70 (= the longest of cu_seqlens_k)");
    assert_eq!(
        error(|t| {
            various(t, [60, 70]);
            t.cu_seqlens_k = None;
        }),
        "cu_seqlens_q is given without cu_seqlens_k"
    );
}

#[test]
fn other_types_and_head_dimensions_are_refused() {
    let single = error(|t| {
        for tensor in [&mut t.q, &mut t.k, &mut t.v, &mut t.out] {
            tensor.dtype = DType::F32;
        }
    });
    assert_eq!(single, "q has dtype f32; supported: f16, bf16");
    assert_eq!(error(|t| reshape(&mut t.q, &[2, 100, 4, 96])), "q has head_dim 96; supported: 64, 128, 192, 256");
    assert_eq!(
        error(|t| reshape(&mut t.v, &[2, 200, 2, 128])),
        "v has head_dim 128, expected 64 (= what goes with q's)"
    );
    assert_eq!(error(|t| t.k.dtype = BF16), "k is bf16, expected f16 (= q)");
    assert_eq!(error(|t| reshape(&mut t.q, &[2, 100, 3, 64])), "q has 3 heads, expected a multiple of 2 (heads of k)");
}

#[test]
fn sizes_ranks_and_overlaps_are_refused() {
    assert_eq!(error(|t| reshape(&mut t.q, &[100, 4, 64])), "q has rank 3, expected 4 [b, s_q, h_q, d]");
    assert_eq!(error(|t| reshape(&mut t.v, &[2, 199, 2, 64])), "v has s_k 199, expected 200 (= k)");
    assert_eq!(error(|t| reshape(&mut t.out, &[2, 100, 4, 128])), "out has head_dim 128, expected 64 (= v)");
    assert_eq!(error(|t| t.out.address = t.k.address), "out overlaps k in memory");
    assert_eq!(error(|t| t.lse.as_mut().unwrap().address = t.out.address), "lse overlaps out in memory");
    assert_eq!(error(|t| t.k.address += 8), "k has address 4311744520, expected a multiple of 16");
}

#[test]
fn a_scale_that_is_not_finite_is_refused() {
    let error = Problem::check(&valid(), &Options { scale: Some(f32::NAN) }).unwrap_err();
    assert!(matches!(error, Error::NotFinite { option: "scale", .. }), "{error}");
}

#[test]
fn a_refused_call_writes_nothing() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let sparse = Sparse::full(F16, [1, 64, 64, 1, 1, 64], [64, 64]);
    let other = Sparse::full(F16, [1, 64, 128, 1, 1, 64], [64, 64]).layout().unwrap();
    let layouts = sparse.layouts();
    let [q, k, v] = sparse.upload(layouts).unwrap();
    let mut out = DeviceTensor::poisoned(queue(), F16, layouts[3]).unwrap();
    let before = out.image(queue()).unwrap();
    let args = Args::new(q.view().unwrap(), k.view().unwrap(), v.view().unwrap(), out.view_mut().unwrap(), &other);
    let error = block_sparse(queue(), args).unwrap_err();
    assert_eq!(error.to_string(), "sparse/block_sparse: layout has s_k 128, expected 64 (= k)");
    assert_eq!(out.image(queue()).unwrap(), before);
}
