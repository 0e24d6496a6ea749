//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;
use cudarc::driver::CudaContext;
use llm_kernels::attention::SequenceOperand;
use llm_kernels::attention::flash_forward::Operands;
use llm_kernels::{Device, Error, Operand, TensorView, TensorViewMut};

const START: u64 = 1 << 32;

fn operand(slot: u64, dtype: DType, layout: Layout) -> Operand {
    Operand { address: START + (slot << 24), dtype, layout }
}

fn contiguous(shape: &[usize]) -> Layout {
    Layout::contiguous(shape).unwrap()
}

/// Valid tensors: b 2, s_q 10, s_k 20, 4 heads over 2, d 64.
fn valid() -> Operands {
    Operands {
        q: operand(0, F16, contiguous(&[2, 10, 4, 64])),
        k: operand(1, F16, contiguous(&[2, 20, 2, 64])),
        v: operand(2, F16, contiguous(&[2, 20, 2, 64])),
        out: operand(3, F16, contiguous(&[2, 10, 4, 64])),
        lse: Some(operand(4, DType::F32, contiguous(&[2, 4, 10]))),
        sinks: None,
        alibi_slopes: None,
        bias: None,
        mask_bits: None,
        prefix: None,
        cu_seqlens_q: None,
        cu_seqlens_k: None,
    }
}

/// The error's text after the operator's name.
#[track_caller]
fn error(change: impl FnOnce(&mut Operands)) -> String {
    let mut operands = valid();
    change(&mut operands);
    let error = Problem::check(&operands, &FULL).expect_err("bad input was taken");
    let text = error.to_string();
    let text = text.strip_prefix("attention/flash_forward: ").unwrap_or_else(|| panic!("no operator in: {text}"));
    text.to_owned()
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = contiguous(shape);
}

#[test]
fn valid_input_is_taken() {
    let problem = Problem::check(&valid(), &FULL).unwrap();
    assert_eq!(problem.shape, shape([2, 10, 20, 4, 2, 64]));
    assert_eq!(problem.scale, 0.125);
}

#[test]
fn a_rank_other_than_4_is_refused() {
    assert_eq!(error(|t| reshape(&mut t.q, &[10, 4, 64])), "q has rank 3, expected 4 [b, s_q, h_q, d]");
    assert_eq!(error(|t| reshape(&mut t.k, &[1, 2, 20, 2, 64])), "k has rank 5, expected 4 [b, s_k, h_kv, d]");
    let lse = error(|t| t.lse.as_mut().unwrap().layout = contiguous(&[2, 4, 10, 1]));
    assert_eq!(lse, "lse has rank 4, expected 3 [b, h_q, s_q]");
}

#[test]
fn an_unsupported_head_dimension_is_refused_with_what_is_supported() {
    let odd = error(|t| {
        for tensor in [&mut t.q, &mut t.k, &mut t.v, &mut t.out] {
            let shape = tensor.layout.shape().to_vec();
            reshape(tensor, &[shape[0], shape[1], shape[2], 100]);
        }
    });
    assert_eq!(odd, "q has head_dim 100; supported: multiples of 8 up to 256");
}

#[test]
fn an_unsupported_element_type_is_refused_with_what_is_supported() {
    let integers = error(|t| {
        for tensor in [&mut t.q, &mut t.k, &mut t.v, &mut t.out] {
            tensor.dtype = DType::I32;
        }
    });
    assert_eq!(integers, "q has dtype i32; supported: f16, bf16, f32");
}

#[test]
fn element_types_that_differ_are_refused() {
    assert_eq!(error(|t| t.k.dtype = BF16), "k is bf16, expected f16 (= q)");
    assert_eq!(error(|t| t.out.dtype = DType::F32), "out is f32, expected f16 (= q)");
    assert_eq!(error(|t| t.lse.as_mut().unwrap().dtype = F16), "lse is f16, expected f32");
    // f32 mixes with nothing either.
    let single = |change: fn(&mut Operands)| {
        error(|t| {
            for tensor in [&mut t.q, &mut t.k, &mut t.v, &mut t.out] {
                tensor.dtype = F32;
            }
            change(t);
        })
    };
    assert_eq!(single(|t| t.k.dtype = F16), "k is f16, expected f32 (= q)");
    assert_eq!(single(|t| t.out.dtype = BF16), "out is bf16, expected f32 (= q)");
    let bias = |t: &mut Operands| t.bias = Some(operand(5, F16, contiguous(&[1, 1, 10, 20])));
    assert_eq!(single(bias), "bias is f16, expected f32 (= q)");
}

#[test]
fn sizes_that_differ_are_refused() {
    assert_eq!(error(|t| reshape(&mut t.k, &[2, 20, 2, 128])), "k has head_dim 128, expected 64 (= q)");
    assert_eq!(error(|t| reshape(&mut t.k, &[3, 20, 2, 64])), "k has b 3, expected 2 (= q)");
    assert_eq!(error(|t| reshape(&mut t.v, &[2, 21, 2, 64])), "v has s_k 21, expected 20 (= k)");
    assert_eq!(error(|t| reshape(&mut t.v, &[2, 20, 4, 64])), "v has h_kv 4, expected 2 (= k)");
    assert_eq!(error(|t| reshape(&mut t.out, &[2, 11, 4, 64])), "out has s_q 11, expected 10 (= q)");
    assert_eq!(error(|t| reshape(&mut t.out, &[2, 10, 4, 128])), "out has head_dim 128, expected 64 (= v)");
    let lse = error(|t| t.lse.as_mut().unwrap().layout = contiguous(&[2, 10, 4]));
    assert_eq!(lse, "lse has h_q 10, expected 4 (= q)");
}

#[test]
fn heads_that_do_not_divide_are_refused() {
    let uneven = error(|t| {
        reshape(&mut t.k, &[2, 20, 3, 64]);
        reshape(&mut t.v, &[2, 20, 3, 64]);
    });
    assert_eq!(uneven, "q has 4 heads, expected a multiple of 3 (heads of k)");
    let none = error(|t| {
        reshape(&mut t.k, &[2, 20, 0, 64]);
        reshape(&mut t.v, &[2, 20, 0, 64]);
    });
    assert_eq!(none, "q has 4 heads, expected a multiple of 0 (heads of k)");
}

#[test]
fn a_scale_that_is_not_finite_is_refused() {
    for scale in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let options = Options { scale: Some(scale), ..FULL };
        let error = Problem::check(&valid(), &options).unwrap_err();
        let text = format!("attention/flash_forward: scale is {scale}, expected a finite number");
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_last_stride_other_than_1_is_refused() {
    let transposed = Layout::strided(&[2, 20, 2, 64], &[2560, 1, 1280, 20]).unwrap();
    assert_eq!(error(|t| t.v.layout = transposed), "v has stride 20 in its last dimension, expected 1");
}

#[test]
fn rows_that_are_not_aligned_to_16_bytes_are_refused() {
    let address = START + 8;
    let expected = format!("q has address {address}, expected a multiple of 16");
    assert_eq!(error(|t| t.q.address = address), expected);
    let odd = Layout::strided(&[2, 20, 2, 64], &[20 * 132, 132, 68, 1]).unwrap();
    assert_eq!(error(|t| t.k.layout = odd), "k has stride[1] in elements 132, expected a multiple of 8");
    let lse = error(|t| t.lse.as_mut().unwrap().address += 2);
    assert!(lse.ends_with("expected a multiple of 4"), "{lse}");
    // The stride of a dimension of one element is never used.
    let mut single = valid();
    single.q.layout = Layout::strided(&[2, 10, 4, 64], &[2560, 256, 64, 1]).unwrap();
    let one = Layout::strided(&[1, 20, 2, 64], &[3, 128, 64, 1]).unwrap();
    for tensor in [&mut single.q, &mut single.out] {
        reshape(tensor, &[1, 10, 4, 64]);
    }
    (single.k.layout, single.v.layout, single.lse) = (one, one, None);
    Problem::check(&single, &FULL).unwrap();
}

#[test]
fn an_lse_with_gaps_is_refused() {
    let gaps = Layout::strided(&[2, 4, 10], &[80, 20, 2]).unwrap();
    let text = error(|t| t.lse.as_mut().unwrap().layout = gaps);
    assert_eq!(text, "lse has strides [80, 20, 2] for shape [2, 4, 10], expected it row-major without gaps");
}

#[test]
fn an_output_that_overlaps_another_tensor_is_refused() {
    assert_eq!(error(|t| t.out.address = t.q.address), "out overlaps q in memory");
    assert_eq!(error(|t| t.out.address = t.v.address + 16 * 64), "out overlaps v in memory");
    assert_eq!(error(|t| t.k.address = t.out.address + 10_224), "out overlaps k in memory");
    assert_eq!(error(|t| t.lse.as_mut().unwrap().address = t.out.address + 4), "lse overlaps out in memory");
    assert_eq!(error(|t| t.lse.as_mut().unwrap().address = t.k.address), "lse overlaps k in memory");
}

#[test]
fn an_output_between_the_rows_of_another_tensor_is_taken() {
    // q and out side by side in one buffer of [b, s, 2, h, d].
    let mut operands = valid();
    let half = Layout::strided(&[2, 10, 4, 64], &[5120, 512, 64, 1]).unwrap();
    (operands.q.layout, operands.out.layout) = (half, half);
    operands.out.address = operands.q.address + 2 * 256;
    Problem::check(&operands, &FULL).unwrap();
}

#[test]
fn an_output_that_overlaps_itself_is_refused() {
    let broadcast = Layout::strided(&[2, 10, 4, 64], &[0, 256, 64, 1]).unwrap();
    let text = error(|t| t.out.layout = broadcast);
    assert!(text.starts_with("out has strides [0, 256, 64, 1]"), "{text}");
    // Inputs may repeat.
    let mut operands = valid();
    operands.k.layout = Layout::strided(&[2, 20, 2, 64], &[0, 128, 64, 1]).unwrap();
    Problem::check(&operands, &FULL).unwrap();
}

#[test]
fn sizes_beyond_the_kernel_s_integers_are_refused() {
    let too_long = error(|t| {
        for tensor in [&mut t.k, &mut t.v] {
            tensor.layout = Layout::strided(&[2, (1 << 29) + 1, 2, 64], &[0, 0, 0, 1]).unwrap();
        }
    });
    assert_eq!(too_long, "s_k is 536870913, the limit is 536870912");
}

#[test]
fn a_view_of_another_device_is_refused() {
    let queue = queue();
    // A context of another device, where there is one; the software device has three.
    let ordinal = (queue.device().context().ordinal() + 1) % CudaContext::device_count().unwrap() as usize;
    if ordinal == queue.device().context().ordinal() {
        eprintln!("this machine has one GPU: no other device's views to refuse");
        return;
    }
    let context = CudaContext::new(ordinal).unwrap();
    let other = Device::from_context(context).unwrap().default_queue();
    let attention = Attention::new(F16, [1, 8, 8, 1, 1, 64], FULL);
    let layouts = attention.layouts();
    let own = |queue| DeviceTensor::poisoned(queue, F16, layouts.q).unwrap();
    let (q, k, v, mut out) = (own(queue), own(&other), own(queue), own(queue));
    let [q, k, v] = [&q, &k, &v].map(|tensor| tensor.view().unwrap());
    let args = Args::new(q, k, v, out.view_mut().unwrap());
    let text = flash_forward(queue, args).unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("attention/flash_forward: k belongs to another context (device {ordinal},")),
        "{text}"
    );
}

#[test]
fn a_view_beyond_its_buffer_is_refused() {
    let queue = queue();
    let mut buffer = queue.stream().clone_htod(&[0f32; 100]).unwrap();
    let beyond = Layout::strided(&[2, 10], &[91, 1]).unwrap();
    let text = "view of shape [2, 10] and strides [91, 1] needs 101 elements, the buffer has 100";
    assert_eq!(TensorView::new(&buffer, beyond).unwrap_err().to_string(), text);
    assert_eq!(TensorViewMut::new(&mut buffer, beyond).unwrap_err().to_string(), text);
    let inside = Layout::strided(&[2, 10], &[90, 1]).unwrap();
    let view = TensorView::new(&buffer, inside).unwrap();
    assert!(view.narrow(0, 1, 2).is_err());
}

#[test]
fn a_refused_call_writes_nothing() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let queue = queue();
    let layout = contiguous(&[1, 8, 2, 64]);
    let input = DeviceTensor::poisoned(queue, F16, layout).unwrap();
    let mut out = DeviceTensor::poisoned(queue, F16, layout).unwrap();
    let mut lse = DeviceTensor::poisoned(queue, DType::F32, contiguous(&[1, 8, 2])).unwrap();
    let view = || input.view().unwrap();
    let args =
        Args { lse: Some(lse.view_mut().unwrap()), ..Args::new(view(), view(), view(), out.view_mut().unwrap()) };
    let error = flash_forward(queue, args).unwrap_err();
    assert!(matches!(error, Error::Dimension { argument: "lse", .. }), "{error}");
    for tensor in [&out, &lse] {
        assert!(tensor.image(queue).unwrap().iter().all(|&byte| byte == 0xFF));
    }
}

/// Valid tensors with everything that can be left out.
fn complete() -> Operands {
    Operands {
        sinks: Some(operand(5, DType::F32, contiguous(&[4]))),
        alibi_slopes: Some(operand(6, DType::F32, contiguous(&[4]))),
        bias: Some(operand(7, F16, contiguous(&[1, 4, 10, 20]))),
        mask_bits: Some(operand(8, DType::U32, contiguous(&[2, 1, 10, 1]))),
        prefix: Some(operand(9, DType::I32, contiguous(&[2]))),
        ..valid()
    }
}

#[track_caller]
fn complete_error(change: impl FnOnce(&mut Operands)) -> String {
    error(|operands| {
        *operands = complete();
        change(operands);
    })
}

#[test]
fn features_of_the_wrong_form_are_refused() {
    Problem::check(&complete(), &CAUSAL).unwrap();
    let with = |name: &str, dtype: DType, shape: &[usize]| {
        complete_error(|t| {
            let tensor = match name {
                "sinks" => &mut t.sinks,
                "alibi_slopes" => &mut t.alibi_slopes,
                "bias" => &mut t.bias,
                "mask_bits" => &mut t.mask_bits,
                _ => &mut t.prefix,
            };
            *tensor = Some(operand(10, dtype, contiguous(shape)));
        })
    };
    assert_eq!(with("sinks", DType::F32, &[1, 4]), "sinks has rank 2, expected 1 [h_q]");
    assert_eq!(with("sinks", F16, &[4]), "sinks is f16, expected f32");
    assert_eq!(with("sinks", DType::F32, &[2]), "sinks has h_q 2, expected 4 (= q)");
    assert_eq!(with("alibi_slopes", DType::F32, &[5]), "alibi_slopes has h_q 5, expected 4 (= q)");
    assert_eq!(with("alibi_slopes", BF16, &[4]), "alibi_slopes is bf16, expected f32");
    assert_eq!(with("bias", F16, &[10, 20]), "bias has rank 2, expected 4 [b or 1, h_q or 1, s_q, s_k]");
    assert_eq!(with("bias", BF16, &[1, 1, 10, 20]), "bias is bf16, expected f16 (= q) or f32");
    assert_eq!(with("bias", F16, &[3, 1, 10, 20]), "bias has b 3, expected 1 or 2 (= q)");
    assert_eq!(with("bias", F16, &[1, 2, 10, 20]), "bias has h_q 2, expected 1 or 4 (= q)");
    assert_eq!(with("bias", DType::F32, &[1, 1, 9, 20]), "bias has s_q 9, expected 10 (= q)");
    assert_eq!(with("bias", F16, &[1, 1, 10, 21]), "bias has s_k 21, expected 20 (= k)");
    assert_eq!(with("mask_bits", DType::I32, &[1, 1, 10, 1]), "mask_bits is i32, expected u32");
    assert_eq!(with("mask_bits", DType::U32, &[1, 1, 10, 2]), "mask_bits has words 2, expected 1 (= ceil(s_k / 32))");
    assert_eq!(with("mask_bits", DType::U32, &[1, 3, 10, 1]), "mask_bits has h_q 3, expected 1 or 4 (= q)");
    assert_eq!(with("prefix", DType::I32, &[3]), "prefix has b 3, expected 2 (= q)");
    assert_eq!(with("prefix", DType::I64, &[2]), "prefix is i64, expected i32");
    let last = Layout::strided(&[1, 4, 10, 20], &[800, 200, 1, 10]).unwrap();
    assert_eq!(
        complete_error(|t| t.bias.as_mut().unwrap().layout = last),
        "bias has stride 10 in its last dimension, expected 1"
    );
    let gaps = Layout::strided(&[4], &[2]).unwrap();
    assert!(complete_error(|t| t.sinks.as_mut().unwrap().layout = gaps).starts_with("sinks has strides [2]"));
    assert_eq!(complete_error(|t| t.out.address = t.bias.unwrap().address), "out overlaps bias in memory");
    assert_eq!(
        complete_error(|t| t.lse.as_mut().unwrap().address = t.sinks.unwrap().address),
        "lse overlaps sinks in memory"
    );
}

#[test]
fn options_out_of_range_are_refused() {
    for softcap in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let error = Problem::check(&valid(), &Options { softcap: Some(softcap), ..FULL }).unwrap_err();
        let text = format!("attention/flash_forward: softcap is {softcap}, expected a finite number above 0");
        assert_eq!(error.to_string(), text);
    }
    for dropout_p in [1.0, -0.1, 1.5, f32::NAN, f32::INFINITY] {
        let error = Problem::check(&valid(), &Options { dropout_p, ..FULL }).unwrap_err();
        let text = format!("attention/flash_forward: dropout_p is {dropout_p}, expected a number from 0 to below 1");
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn sequences_that_do_not_fit_are_refused() {
    let sequences = |sequences, total, longest| Some(SequenceOperand { address: START, sequences, total, longest });
    let valid = || Operands {
        q: operand(0, F16, contiguous(&[30, 4, 64])),
        k: operand(1, F16, contiguous(&[50, 2, 64])),
        v: operand(2, F16, contiguous(&[50, 2, 64])),
        out: operand(3, F16, contiguous(&[30, 4, 64])),
        lse: Some(operand(4, DType::F32, contiguous(&[4, 30]))),
        cu_seqlens_q: sequences(3, 30, 12),
        cu_seqlens_k: sequences(3, 50, 40),
        ..valid()
    };
    let refused = |change: fn(&mut Operands)| {
        error(|operands| {
            *operands = valid();
            change(operands);
        })
    };
    let problem = Problem::check(&valid(), &FULL).unwrap();
    assert_eq!(problem.shape, shape([3, 12, 40, 4, 2, 64]));
    assert_eq!(refused(|t| t.cu_seqlens_q = None), "cu_seqlens_k is given without cu_seqlens_q");
    assert_eq!(refused(|t| t.cu_seqlens_k = None), "cu_seqlens_q is given without cu_seqlens_k");
    let count = refused(|t| t.cu_seqlens_k.as_mut().unwrap().sequences = 4);
    assert_eq!(count, "cu_seqlens_k has sequences 4, expected 3 (= cu_seqlens_q)");
    assert_eq!(refused(|t| reshape(&mut t.q, &[1, 30, 4, 64])), "q has rank 4, expected 3 [total_q, h_q, d]");
    assert_eq!(refused(|t| reshape(&mut t.q, &[31, 4, 64])), "q has total_q 31, expected 30 (= cu_seqlens_q)");
    assert_eq!(refused(|t| reshape(&mut t.v, &[49, 2, 64])), "v has total_k 49, expected 50 (= cu_seqlens_k)");
    let lse = refused(|t| t.lse.as_mut().unwrap().layout = contiguous(&[30, 4]));
    assert_eq!(lse, "lse has h_q 30, expected 4 (= q)");
}

#[test]
fn offsets_that_are_no_sequences_are_refused() {
    let text = |offsets: &[i32]| CuSeqlens::new(queue(), offsets).unwrap_err().to_string();
    assert_eq!(text(&[]), "cu_seqlens: no offsets, expected one more than there are sequences");
    assert_eq!(text(&[1, 2]), "cu_seqlens: offsets[0] is 1, expected 0");
    assert_eq!(text(&[0, 7, 5]), "cu_seqlens: offsets[2] is 5, expected at least 7 (= offsets[1])");
    let long = CuSeqlens::from_lengths(queue(), &[1 << 31]).unwrap_err().to_string();
    assert_eq!(long, "cu_seqlens: 2147483648 positions, the limit is 2147483647");
    let floats = DeviceTensor::poisoned(queue(), DType::F32, contiguous(&[4])).unwrap();
    // SAFETY: it is refused before anything is read.
    let wrong = unsafe { CuSeqlens::from_raw(floats.view().unwrap(), 1, 1) };
    assert!(wrong.unwrap_err().to_string().contains("expected i32 [b + 1]"));
}
