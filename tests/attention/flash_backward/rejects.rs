//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use llm_kernels::attention::SequenceOperand;
use llm_kernels::attention::flash_backward::{Operands, problem};
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
        sinks: None,
        alibi_slopes: None,
        bias: None,
        mask_bits: None,
        prefix: None,
        cu_seqlens_q: None,
        cu_seqlens_k: None,
        d_sinks: None,
        d_bias: None,
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
    assert_eq!(error(|t| reshape(&mut t.k, &[20, 2, 64])), "k has rank 3, expected 4 [b, s_k, h_kv, d]");
    assert_eq!(error(|t| reshape(&mut t.out, &[10, 4, 64])), "out has rank 3, expected 4 [b, s_q, h_q, d_v]");
    assert_eq!(error(|t| reshape(&mut t.lse, &[2, 40])), "lse has rank 2, expected 3 [b, h_q, s_q]");
    assert_eq!(error(|t| reshape(&mut t.workspace, &[2, 40])), "workspace has rank 2, expected 1 [bytes]");
}

#[test]
fn types_that_do_not_go_together_are_refused() {
    assert_eq!(error(|t| t.d_out.dtype = BF16), "d_out is bf16, expected f16 (= q)");
    assert_eq!(error(|t| t.d_v.dtype = F32), "d_v is f32, expected f16 (= q)");
    assert_eq!(error(|t| t.lse.dtype = F16), "lse is f16, expected f32");
    assert_eq!(error(|t| t.workspace.dtype = F32), "workspace is f32, expected u8");
    let integers = error(|t| all(t).into_iter().for_each(|tensor| tensor.dtype = I32));
    assert_eq!(integers, "q has dtype i32; supported: f16, bf16, f32");
}

#[test]
fn an_unsupported_head_dimension_is_refused_with_what_is_supported() {
    for d in [0, 12, 264] {
        let queries = error(|t| {
            for tensor in [&mut t.q, &mut t.k, &mut t.d_q, &mut t.d_k] {
                let shape = tensor.layout.shape().to_vec();
                reshape(tensor, &[shape[0], shape[1], shape[2], d]);
            }
        });
        assert_eq!(queries, format!("q has head_dim {d}; supported: multiples of 8 up to 256"));
    }
    let values = error(|t| reshape(&mut t.v, &[2, 20, 2, 20]));
    assert_eq!(values, "v has head_dim 20; supported: multiples of 8 up to 256");
    let uneven = Problem::new(F16, Shape { d: 0, ..shape([1, 1, 1, 1, 1, 64]) }, &FULL);
    assert!(uneven.is_err());
}

#[test]
fn a_gradient_of_another_shape_is_refused() {
    let text = |name, got: [usize; 4], expected: [usize; 4], of| {
        format!("{name} has shape {got:?}, expected {expected:?} (= {of})")
    };
    assert_eq!(error(|t| reshape(&mut t.d_q, &[2, 11, 4, 64])), text("d_q", [2, 11, 4, 64], [2, 10, 4, 64], "q"));
    assert_eq!(error(|t| reshape(&mut t.d_out, &[2, 10, 2, 64])), text("d_out", [2, 10, 2, 64], [2, 10, 4, 64], "out"));
    assert_eq!(error(|t| reshape(&mut t.d_v, &[2, 21, 2, 64])), text("d_v", [2, 21, 2, 64], [2, 20, 2, 64], "v"));
    assert_eq!(error(|t| reshape(&mut t.d_k, &[2, 20, 2, 128])), text("d_k", [2, 20, 2, 128], [2, 20, 2, 64], "k"));
    assert_eq!(error(|t| reshape(&mut t.lse, &[2, 10, 4])), "lse has h_q 10, expected 4 (= q)");
    assert_eq!(error(|t| reshape(&mut t.out, &[2, 10, 2, 64])), "out has h_q 2, expected 4 (= q)");
}

#[test]
fn gradients_of_what_is_not_there_are_refused() {
    assert_eq!(error(|t| t.d_sinks = Some(operand(11, F32, &[4]))), "d_sinks is given without sinks");
    assert_eq!(error(|t| t.d_bias = Some(operand(11, F32, &[1, 4, 10, 20]))), "d_bias is given without bias");
    let wrong = |d_bias| {
        error(|t| {
            t.bias = Some(operand(12, F16, &[1, 4, 10, 20]));
            t.d_bias = Some(d_bias);
        })
    };
    let other = "d_bias has shape [2, 4, 10, 20], expected [1, 4, 10, 20] (= bias)";
    assert_eq!(wrong(operand(11, F32, &[2, 4, 10, 20])), other);
    assert_eq!(wrong(operand(11, F16, &[1, 4, 10, 20])), "d_bias is f16, expected f32");
    assert_eq!(wrong(operand(12, F32, &[1, 4, 10, 20])), "d_bias overlaps bias in memory");
    let alone = error(|t| t.cu_seqlens_q = Some(SequenceOperand { address: 0, sequences: 2, total: 20, longest: 10 }));
    assert_eq!(alone, "cu_seqlens_q is given without cu_seqlens_k");
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
fn a_softcap_or_dropout_out_of_range_is_refused() {
    let endless = problem(&valid(), &Options { softcap: Some(f32::INFINITY), ..FULL }).unwrap_err();
    assert_eq!(endless.to_string(), "attention/flash_backward: softcap is inf, expected a finite number above 0");
    let certain = problem(&valid(), &Options { dropout_p: 1.0, ..FULL }).unwrap_err();
    let range = "attention/flash_backward: dropout_p is 1, expected a number from 0 to below 1";
    assert_eq!(certain.to_string(), range);
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
    let plan = plain_plan(&Problem::new(F16, size, &FULL).unwrap(), queue().device().limits()).unwrap();
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
        extras: Extras::default(),
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
