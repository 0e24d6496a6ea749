//! Mistakes, each with its error. No device is needed: operands are data.

use super::*;
use llm_kernels::attention::SequenceOperand;
use llm_kernels::scan::linear_recurrence::Operands;
use llm_kernels::{Error, Layout, Operand};

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 40) + (slot << 36), dtype, layout: Layout::contiguous(shape).unwrap() }
}

/// b 2, s 10, h_k 2, h 4, d_k 64, d_v 48.
fn operands() -> Operands {
    Operands {
        q: operand(0, F16, &[2, 10, 2, 64]),
        k: operand(1, F16, &[2, 10, 2, 64]),
        v: operand(2, F16, &[2, 10, 4, 48]),
        out: operand(3, F16, &[2, 10, 4, 48]),
        decay: None,
        initial_state: None,
        final_state: None,
        initial_normaliser: None,
        final_normaliser: None,
        cu_seqlens: None,
        workspace: None,
    }
}

fn error_with(options: Options, change: impl FnOnce(&mut Operands)) -> String {
    let mut operands = operands();
    change(&mut operands);
    Problem::check(&operands, &options).unwrap_err().to_string()
}

fn error(change: impl FnOnce(&mut Operands)) -> String {
    error_with(PLAIN, change)
}

#[test]
fn the_unchanged_operands_are_fine() {
    Problem::check(&operands(), &PLAIN).unwrap();
}

#[test]
fn ranks_types_and_sizes_that_disagree() {
    let op = "scan/linear_recurrence: ";
    let cases: [(String, &str); 10] = [
        (error(|o| o.q = operand(0, F16, &[2, 10, 64])), "q has rank 3, expected 4 [b, s, h_k, d_k]"),
        (error(|o| o.v = operand(2, F16, &[2, 10, 48])), "v has rank 3, expected 4 [b, s, h, d_v]"),
        (error(|o| o.k = operand(1, BF16, &[2, 10, 2, 64])), "k is bf16, expected f16 (= q)"),
        (error(|o| o.out = operand(3, F32, &[2, 10, 4, 48])), "out is f32, expected f16 (= q)"),
        (error(|o| o.k = operand(1, F16, &[2, 10, 2, 32])), "k has d_k 32, expected 64 (= q)"),
        (error(|o| o.k = operand(1, F16, &[2, 10, 4, 64])), "k has h_k 4, expected 2 (= q)"),
        (error(|o| o.v = operand(2, F16, &[2, 11, 4, 48])), "v has s 11, expected 10 (= q)"),
        (error(|o| o.out = operand(3, F16, &[2, 10, 4, 64])), "out has d_v 64, expected 48 (= v)"),
        (error(|o| o.v = operand(2, F16, &[2, 10, 3, 48])), "v has 3 heads, expected a multiple of 2 (heads of q)"),
        (
            error(|o| o.q.layout = Layout::strided(&[2, 10, 2, 64], &[2560, 256, 128, 2]).unwrap()),
            "q has stride 2 in its last dimension, expected 1",
        ),
    ];
    for (got, expected) in cases {
        assert_eq!(got, format!("{op}{expected}"));
    }
}

#[test]
fn what_no_instance_takes() {
    let new = |dtype, d_k, d_v| {
        let shape = Shape { h_k: 1, h: 1, d_k, d_v };
        Problem::new(dtype, SequenceSizes::uniform(1, 1), shape, None, &PLAIN).unwrap_err().to_string()
    };
    let supported = "supported: multiples of 16 up to 256";
    assert_eq!(new(F32, 64, 64), "scan/linear_recurrence: q has dtype f32; supported: f16, bf16");
    for d in [0, 8, 24, 272] {
        assert_eq!(new(F16, d, 64), format!("scan/linear_recurrence: q has d_k {d}; {supported}"));
        assert_eq!(new(F16, 64, d), format!("scan/linear_recurrence: v has d_v {d}; {supported}"));
    }
}

#[test]
fn options_out_of_their_range() {
    let with = |options| error_with(options, |_| ());
    let scale = Options { scale: Some(f32::NAN), ..PLAIN };
    assert_eq!(with(scale), "scan/linear_recurrence: scale is NaN, expected a finite number");
    let normaliser = Options { normaliser: Some(f32::INFINITY), ..PLAIN };
    assert_eq!(with(normaliser), "scan/linear_recurrence: normaliser is inf, expected a finite number");
    for chunk in [0, 63, 100] {
        let expected = format!("scan/linear_recurrence: chunk is {chunk}, expected a multiple of 64");
        assert_eq!(with(Options { chunk: Some(chunk), ..PLAIN }), expected);
    }
}

#[test]
fn decays_of_the_wrong_shape_or_type() {
    let decay = |kind, dtype, shape: &[usize]| error(|o| o.decay = Some((kind, operand(4, dtype, shape))));
    let cases = [
        (decay(DecayKind::Heads, F16, &[4]), "decay is f16, expected f32"),
        (decay(DecayKind::Heads, F32, &[2]), "decay has h 2, expected 4 (= v)"),
        (decay(DecayKind::Heads, F32, &[2, 4]), "decay has rank 2, expected 1 [h]"),
        (decay(DecayKind::Steps, F32, &[2, 10]), "decay has rank 2, expected 3 [b, s, h]"),
        (decay(DecayKind::Steps, F32, &[2, 10, 2]), "decay has h 2, expected 4 (= v)"),
        (decay(DecayKind::Channels, F32, &[2, 10, 4]), "decay has rank 3, expected 4 [b, s, h, d_k]"),
        (decay(DecayKind::Channels, F32, &[2, 10, 4, 48]), "decay has d_k 48, expected 64 (= q)"),
    ];
    for (got, expected) in cases {
        assert_eq!(got, format!("scan/linear_recurrence: {expected}"));
    }
}

#[test]
fn states_of_the_wrong_shape_type_or_place() {
    let state = |shape: &[usize]| error(|o| o.initial_state = Some(operand(5, F32, shape)));
    assert_eq!(state(&[2, 4, 64]), "scan/linear_recurrence: initial_state has rank 3, expected 4 [b, h, d_k, d_v]");
    assert_eq!(state(&[2, 2, 64, 48]), "scan/linear_recurrence: initial_state has h 2, expected 4 (= v)");
    assert_eq!(state(&[2, 4, 48, 64]), "scan/linear_recurrence: initial_state has d_k 48, expected 64 (= q)");
    let half = error(|o| o.final_state = Some(operand(5, F16, &[2, 4, 64, 48])));
    assert_eq!(half, "scan/linear_recurrence: final_state is f16, expected f32");
    let same = error(|o| {
        o.initial_state = Some(operand(5, F32, &[2, 4, 64, 48]));
        o.final_state = o.initial_state;
    });
    assert_eq!(same, "scan/linear_recurrence: final_state overlaps initial_state in memory");
    let gaps = Layout::strided(&[2, 4, 64, 48], &[4 * 64 * 64, 64 * 64, 64, 1]).unwrap();
    let strided = error(|o| o.final_state = Some(Operand { layout: gaps, ..operand(5, F32, &[1]) }));
    assert!(strided.contains("final_state has strides") && strided.contains("expected it row-major"), "{strided}");
    let sums = error(|o| o.final_normaliser = Some(operand(5, F32, &[2, 4, 64])));
    assert_eq!(sums, "scan/linear_recurrence: final_normaliser is given without options.normaliser");
    let options = Options { normaliser: Some(0.0), ..PLAIN };
    let sums = error_with(options, |o| o.initial_normaliser = Some(operand(5, F32, &[2, 4, 48])));
    assert_eq!(sums, "scan/linear_recurrence: initial_normaliser has d_k 48, expected 64 (= q)");
}

#[test]
fn outputs_that_share_memory() {
    assert_eq!(error(|o| o.out.address = o.v.address), "scan/linear_recurrence: out overlaps v in memory");
    let broadcast = Layout::strided(&[2, 10, 4, 48], &[1920, 192, 0, 1]).unwrap();
    let twice = error(|o| o.out.layout = broadcast);
    assert!(twice.contains("so that elements overlap each other"), "{twice}");
}

#[test]
fn rows_that_are_not_aligned() {
    let got = error(|o| o.k.address += 8);
    assert!(
        got.starts_with("scan/linear_recurrence: k has address ") && got.ends_with("expected a multiple of 16"),
        "{got}"
    );
    let odd = Layout::strided(&[2, 10, 2, 64], &[1400, 140, 70, 1]).unwrap();
    let got = error(|o| o.q.layout = odd);
    assert_eq!(got, "scan/linear_recurrence: q has stride[1] in elements 140, expected a multiple of 8");
}

#[test]
fn sequences_that_disagree() {
    let sequences = SequenceOperand { address: 1 << 39, sequences: 3, total: 20, longest: 9 };
    let with = |q: &[usize]| error(|o| (o.cu_seqlens, o.q) = (Some(sequences), operand(0, F16, q)));
    assert_eq!(with(&[2, 10, 2, 64]), "scan/linear_recurrence: q has rank 4, expected 3 [total, h_k, d_k]");
    assert_eq!(with(&[19, 2, 64]), "scan/linear_recurrence: q has total 19, expected 20 (= cu_seqlens)");
}

#[test]
fn a_workspace_that_is_too_small_before_anything_is_written() {
    let _shared = shared();
    let options = Options { chunk: Some(64), ..PLAIN };
    let call = Recurrence::new(F16, [1, 200, 1, 1, 32, 32], None, options);
    let mut on = call.upload();
    let needed = plan_of(&call.problem, queue().device().limits()).unwrap().workspace.bytes;
    on.workspace = poisoned(DType::U8, &[needed - 1]);
    let error = call.launch(&mut on).unwrap_err();
    assert_eq!(error, Error::Workspace { op: "scan/linear_recurrence", got: needed as u64 - 1, needed: needed as u64 });
    assert!(on.out.image(queue()).unwrap().iter().all(|&byte| byte == 0xFF));
}
