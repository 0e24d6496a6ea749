//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use llm_kernels::attention::flash_backward::{Operands, problem};
use llm_kernels::attention::flash_forward::Broadcast;
use llm_kernels::{Error, Operand};

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 32) + (slot << 24), dtype, layout: Layout::contiguous(shape).unwrap() }
}

/// Valid tensors: b 2, s_q 10, s_k 20, 4 heads over 2, d 64.
fn valid() -> Operands {
    let (queries, keys) = ([2, 10, 4, 64], [2, 20, 2, 64]);
    Operands {
        q: operand(0, F16, &queries),
        k: operand(1, F16, &keys),
        v: operand(2, F16, &keys),
        out: operand(3, F16, &queries),
        lse: operand(4, F32, &[2, 4, 10]),
        d_out: operand(5, F16, &queries),
        d_q: operand(6, F16, &queries),
        d_k: operand(7, F16, &keys),
        d_v: operand(8, F16, &keys),
        workspace: operand(9, U8, &[1 << 20]),
    }
}

/// The error's text after the operator's name.
#[track_caller]
fn error(change: impl FnOnce(&mut Operands)) -> String {
    let mut operands = valid();
    change(&mut operands);
    let text = problem(&operands, &FULL).expect_err("bad input was taken").to_string();
    text.strip_prefix("attention/flash_backward: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = Layout::contiguous(shape).unwrap();
}

fn all(t: &mut Operands) -> [&mut Operand; 8] {
    [&mut t.q, &mut t.k, &mut t.v, &mut t.out, &mut t.d_out, &mut t.d_q, &mut t.d_k, &mut t.d_v]
}

#[test]
fn valid_input_is_taken() {
    let problem = problem(&valid(), &FULL).unwrap();
    assert_eq!(problem.shape, shape([2, 10, 20, 4, 2, 64]));
    assert_eq!(problem.scale, 0.125);
}

#[test]
fn another_rank_is_refused() {
    assert_eq!(error(|t| reshape(&mut t.d_out, &[10, 4, 64])), "d_out has rank 3, expected 4 [b, s_q, h_q, d]");
    assert_eq!(error(|t| reshape(&mut t.d_k, &[20, 2, 64])), "d_k has rank 3, expected 4 [b, s_k, h_kv, d]");
    assert_eq!(error(|t| reshape(&mut t.lse, &[2, 40])), "lse has rank 2, expected 3 [b, h_q, s_q]");
    assert_eq!(error(|t| reshape(&mut t.workspace, &[2, 40])), "workspace has rank 2, expected 1 [bytes]");
}

#[test]
fn types_that_do_not_go_together_are_refused() {
    assert_eq!(error(|t| t.d_out.dtype = BF16), "d_out is bf16, expected f16 (= q)");
    assert_eq!(error(|t| t.d_v.dtype = F32), "d_v is f32, expected f16 (= q)");
    assert_eq!(error(|t| t.lse.dtype = F16), "lse is f16, expected f32");
    assert_eq!(error(|t| t.workspace.dtype = F32), "workspace is f32, expected u8");
    let single = error(|t| all(t).into_iter().for_each(|tensor| tensor.dtype = F32));
    assert_eq!(single, "q has dtype f32; supported: f16, bf16");
}

#[test]
fn an_unsupported_head_dimension_is_refused_with_what_is_supported() {
    let odd = error(|t| {
        for tensor in all(t) {
            let shape = tensor.layout.shape().to_vec();
            reshape(tensor, &[shape[0], shape[1], shape[2], 96]);
        }
    });
    assert_eq!(odd, "q has head_dim 96; supported: 64, 128, 256");
    assert_eq!(error(|t| reshape(&mut t.v, &[2, 20, 2, 128])), "v has head_dim 128, expected 64 (= q)");
}

#[test]
fn sizes_that_differ_are_refused() {
    assert_eq!(error(|t| reshape(&mut t.d_q, &[2, 11, 4, 64])), "d_q has s_q 11, expected 10 (= q)");
    assert_eq!(error(|t| reshape(&mut t.out, &[2, 10, 2, 64])), "out has h_q 2, expected 4 (= q)");
    assert_eq!(error(|t| reshape(&mut t.d_v, &[2, 21, 2, 64])), "d_v has s_k 21, expected 20 (= k)");
    assert_eq!(error(|t| reshape(&mut t.d_k, &[2, 20, 2, 128])), "d_k has head_dim 128, expected 64 (= q)");
    assert_eq!(error(|t| reshape(&mut t.lse, &[2, 10, 4])), "lse has h_q 10, expected 4 (= q)");
}

#[test]
fn heads_that_do_not_divide_are_refused() {
    let uneven = error(|t| {
        for tensor in [&mut t.k, &mut t.v, &mut t.d_k, &mut t.d_v] {
            reshape(tensor, &[2, 20, 3, 64]);
        }
    });
    assert_eq!(uneven, "q has 4 heads, expected a multiple of 3 (heads of k)");
}

#[test]
fn a_scale_that_is_not_finite_is_refused() {
    for scale in [f32::NAN, f32::INFINITY] {
        let error = problem(&valid(), &Options { scale: Some(scale), ..FULL }).unwrap_err();
        assert_eq!(error.to_string(), format!("attention/flash_backward: scale is {scale}, expected a finite number"));
    }
}

#[test]
fn what_only_the_forward_pass_takes_is_refused_by_name() {
    let refused = |what| format!("attention/flash_backward: {what} is given, which it does not take");
    let softcap = problem(&valid(), &Options { softcap: Some(30.0), ..FULL }).unwrap_err();
    assert_eq!(softcap.to_string(), refused("softcap"));
    let dropout = problem(&valid(), &Options { dropout_p: 0.5, ..FULL }).unwrap_err();
    assert_eq!(dropout.to_string(), refused("dropout_p"));
    // Without effect, so taken.
    problem(&valid(), &Options { dropout_seed: 7, ..FULL }).unwrap();
    // Bad values have the errors of the forward pass, in this operator's name.
    let endless = problem(&valid(), &Options { softcap: Some(f32::INFINITY), ..FULL }).unwrap_err();
    assert_eq!(endless.to_string(), "attention/flash_backward: softcap is inf, expected a finite number above 0");
    let certain = problem(&valid(), &Options { dropout_p: 1.0, ..FULL }).unwrap_err();
    let range = "attention/flash_backward: dropout_p is 1, expected a number from 0 to below 1";
    assert_eq!(certain.to_string(), range);

    // The rest no operand stands for: a plan refuses it.
    let size = shape([1, 64, 64, 2, 2, 64]);
    let plain = Problem::new(F16, size, &FULL).unwrap();
    let broadcast = Some(Broadcast { dtype: F32, b: 1, h_q: 1, s_q: 64, columns: 64 });
    for (problem, what) in [
        (Problem { sinks: true, ..plain }, "sinks"),
        (Problem { alibi: true, ..plain }, "alibi_slopes"),
        (Problem { bias: broadcast, ..plain }, "bias"),
        (Problem { mask_bits: broadcast, ..plain }, "mask_bits"),
        (Problem { prefix: true, ..plain }, "prefix"),
        (Problem { totals: Some([64, 64]), ..plain }, "cu_seqlens"),
    ] {
        let error = plan(&problem, queue().device().limits()).unwrap_err();
        assert_eq!(error.to_string(), refused(what));
    }
    let narrow = Problem::new(F16, Shape { d: 40, ..size }, &FULL).unwrap();
    let error = plan(&narrow, queue().device().limits()).unwrap_err();
    assert_eq!(error.to_string(), "attention/flash_backward: q has head_dim 40; supported: 64, 128, 256");
    let uneven = Problem::new(F16, Shape { d_v: 32, ..size }, &FULL).unwrap();
    let error = plan(&uneven, queue().device().limits()).unwrap_err();
    assert_eq!(error.to_string(), "attention/flash_backward: v has head_dim 32, expected 64 (= q)");
}

#[test]
fn rows_that_are_not_aligned_to_16_bytes_are_refused() {
    for (name, text) in [
        ("d_out", error(|t| t.d_out.address += 8)),
        ("d_q", error(|t| t.d_q.address += 8)),
        ("workspace", error(|t| t.workspace.address += 8)),
    ] {
        assert!(
            text.starts_with(&format!("{name} has address")) && text.ends_with("expected a multiple of 16"),
            "{text}"
        );
    }
    let odd = Layout::strided(&[2, 20, 2, 64], &[20 * 132, 132, 68, 1]).unwrap();
    assert_eq!(error(|t| t.d_k.layout = odd), "d_k has stride[1] in elements 132, expected a multiple of 8");
    let transposed = Layout::strided(&[2, 20, 2, 64], &[2560, 1, 1280, 20]).unwrap();
    assert_eq!(error(|t| t.d_v.layout = transposed), "d_v has stride 20 in its last dimension, expected 1");
}

#[test]
fn gaps_in_lse_or_the_workspace_are_refused() {
    let gaps = Layout::strided(&[2, 4, 10], &[80, 20, 2]).unwrap();
    assert!(error(|t| t.lse.layout = gaps).starts_with("lse has strides [80, 20, 2]"));
    let gaps = Layout::strided(&[100], &[2]).unwrap();
    assert!(error(|t| t.workspace.layout = gaps).starts_with("workspace has strides [2]"));
}

#[test]
fn an_output_that_overlaps_another_tensor_or_itself_is_refused() {
    assert_eq!(error(|t| t.d_q.address = t.q.address), "d_q overlaps q in memory");
    assert_eq!(error(|t| t.d_k.address = t.v.address), "d_k overlaps v in memory");
    assert_eq!(error(|t| t.d_v.address = t.d_k.address), "d_v overlaps d_k in memory");
    assert_eq!(error(|t| t.workspace.address = t.lse.address), "workspace overlaps lse in memory");
    let broadcast = Layout::strided(&[2, 10, 4, 64], &[0, 256, 64, 1]).unwrap();
    assert!(error(|t| t.d_q.layout = broadcast).starts_with("d_q has strides [0, 256, 64, 1]"));
    // Inputs may repeat, and be one another.
    let mut operands = valid();
    operands.v = operands.k;
    operands.d_out.layout = broadcast;
    problem(&operands, &FULL).unwrap();
}

#[test]
fn sizes_beyond_the_kernel_s_integers_are_refused() {
    let too_long = error(|t| {
        for tensor in [&mut t.k, &mut t.v, &mut t.d_k, &mut t.d_v] {
            tensor.layout = Layout::strided(&[2, (1 << 29) + 1, 2, 64], &[0, 0, 0, 1]).unwrap();
        }
    });
    assert_eq!(too_long, "s_k is 536870913, the limit is 536870912");
}

#[test]
fn a_workspace_that_is_too_small_is_refused_and_nothing_is_written() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let tensor =
        |dtype, shape: &[usize]| DeviceTensor::poisoned(queue(), dtype, Layout::contiguous(shape).unwrap()).unwrap();
    let (input, lse) = (tensor(F16, &[1, 8, 2, 64]), tensor(F32, &[1, 2, 8]));
    let mut outputs = [(); 3].map(|()| tensor(F16, &[1, 8, 2, 64]));
    let size = shape([1, 8, 8, 2, 2, 64]);
    let plan = plan(&Problem::new(F16, size, &FULL).unwrap(), queue().device().limits()).unwrap();
    let mut workspace = tensor(U8, &[plan.workspace.bytes - 1]);
    let [d_q, d_k, d_v] = outputs.each_mut().map(|tensor| tensor.view_mut().unwrap());
    let view = || input.view().unwrap();
    let args = Args {
        q: view(),
        k: view(),
        v: view(),
        out: view(),
        lse: lse.view().unwrap(),
        d_out: view(),
        d_q,
        d_k,
        d_v,
        workspace: workspace.view_mut().unwrap(),
        options: FULL,
    };
    let error = flash_backward(queue(), args).unwrap_err();
    let (got, needed) = (plan.workspace.bytes - 1, plan.workspace.bytes);
    let text = format!("attention/flash_backward: workspace has {got} bytes, the plan needs {needed}");
    assert_eq!(error.to_string(), text);
    assert!(matches!(error, Error::Workspace { .. }));
    for tensor in outputs.iter().chain([&workspace]) {
        assert!(tensor.image(queue()).unwrap().iter().all(|&byte| byte == 0xFF));
    }
}
