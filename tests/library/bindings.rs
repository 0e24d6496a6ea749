//! Input by name: what doesn't fit a description is refused in one clear line.

use llm_kernels::verify::{self, Bindings, HostTensor, Op};
use llm_kernels::{DType, Result};

fn op() -> &'static Op {
    verify::select(Some("attention/flash_forward"))[0]
}

fn tensor(name: &str, dtype: DType, shape: &[usize]) -> HostTensor {
    HostTensor::from_f64(name, dtype, shape, &vec![1.0; shape.iter().product()])
}

fn valid() -> Vec<HostTensor> {
    let keys = [2, 5, 2, 64];
    vec![tensor("q", DType::F16, &[2, 3, 4, 64]), tensor("k", DType::F16, &keys), tensor("v", DType::F16, &keys)]
}

fn bind(tensors: Vec<HostTensor>, options: &[(&str, &str)]) -> Result<Bindings> {
    Bindings::new(op(), tensors, options)
}

/// The error's text after the operator's name.
#[track_caller]
fn refused(tensors: Vec<HostTensor>, options: &[(&str, &str)]) -> String {
    let text = bind(tensors, options).expect_err("bad input was taken").to_string();
    assert!(!text.contains('\n'), "more than a line: {text}");
    text.strip_prefix("attention/flash_forward: ").expect("no operator in the text").to_owned()
}

#[test]
fn sizes_and_options_are_read() {
    let options = [("causal", "true"), ("scale", "0.5"), ("window_left", "7")];
    let bindings = bind(valid(), &options).unwrap();
    let sizes = ["b", "s_q", "s_k", "h_q", "h_kv", "d", "m"].map(|dimension| bindings.size(dimension));
    assert_eq!(sizes, [Some(2), Some(3), Some(5), Some(4), Some(2), Some(64), None]);
    assert!(bindings.bool("causal"));
    assert_eq!(bindings.float("scale"), Some(0.5));
    assert_eq!((bindings.count("window_left"), bindings.count("window_right")), (Some(7), None));
    assert_eq!(bindings.tensor("q").unwrap().shape, [2, 3, 4, 64]);
}

#[test]
fn expected_outputs_in_the_same_file_are_passed_over() {
    let mut tensors = valid();
    tensors.push(tensor("out", DType::F32, &[1]));
    assert!(bind(tensors, &[]).unwrap().tensor("out").is_none());
}

#[test]
fn unknown_names_are_refused_with_those_there_are() {
    let mut tensors = valid();
    tensors.push(tensor("query", DType::F16, &[1]));
    assert_eq!(
        refused(tensors, &[]),
        "input \"query\" is unknown; there are: q, k, v, sinks, alibi_slopes, bias, mask_bits, prefix, cu_seqlens_q, cu_seqlens_k"
    );
    let text = "option \"window\" is unknown; there are: causal, scale, window_left, window_right, softcap, dropout_p, dropout_seed";
    assert_eq!(refused(valid(), &[("window", "3")]), text);
}

#[test]
fn what_is_missing_or_comes_twice_is_refused() {
    let mut tensors = valid();
    tensors.pop();
    assert_eq!(refused(tensors, &[]), "input v [\"b\", \"s_k\", \"h_kv\", \"d_v\"] is missing");
    let mut tensors = valid();
    tensors.push(valid().swap_remove(0));
    assert_eq!(refused(tensors, &[]), "input q is given twice");
    assert_eq!(refused(valid(), &[("scale", "1"), ("scale", "1")]), "option scale is set twice");
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let with = |index: usize, tensor: HostTensor| {
        let mut tensors = valid();
        tensors[index] = tensor;
        refused(tensors, &[])
    };
    let text = "q is i32, supported: f16, bf16, f32";
    assert_eq!(with(0, tensor("q", DType::I32, &[2, 3, 4, 64])), text);
    let text = "k has rank 2, expected 4 [b, s_k, h_kv, d] or 3 [total_k, h_kv, d]";
    assert_eq!(with(1, tensor("k", DType::F16, &[2, 64])), text);
    assert_eq!(with(2, tensor("v", DType::F16, &[2, 6, 2, 64])), "v has s_k 6, expected 5 (= k)");
    assert_eq!(with(1, tensor("k", DType::F16, &[3, 5, 2, 64])), "k has b 3, expected 2 (= q)");
    let mut short = tensor("q", DType::F16, &[2, 3, 4, 64]);
    short.bytes.pop();
    assert_eq!(with(0, short), "q of shape [2, 3, 4, 64] and type f16 has 3071 bytes");
}

#[test]
fn options_that_cannot_be_read_are_refused() {
    for (name, text, expected) in [
        ("causal", "yes", "true or false"),
        ("scale", "nan", "a finite number"),
        ("scale", "inf", "a finite number"),
        ("scale", "", "a finite number"),
        ("window_left", "-1", "a whole number from 0 on"),
        ("window_right", "1.5", "a whole number from 0 on"),
    ] {
        let error = refused(valid(), &[(name, text)]);
        assert_eq!(error, format!("option {name} is {text:?}, expected {expected}"));
    }
}

#[test]
fn numbers_survive_the_way_into_a_tensor_and_back() {
    let values = [0.0, -1.5, 96.0, 3.0, 200.0];
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::I32, DType::U32, DType::I64, DType::U8] {
        let values = if dtype.epsilon().is_some() { values } else { [0.0, 1.0, 96.0, 3.0, 200.0] };
        assert_eq!(HostTensor::from_f64("x", dtype, &[5], &values).to_f64(), values, "{dtype}");
    }
}

#[test]
fn every_operator_can_be_selected_by_name_and_family() {
    for op in verify::ops() {
        let (family, _) = op.path.split_once('/').unwrap();
        assert_eq!(verify::select(Some(op.path)).len(), 1);
        assert!(verify::select(Some(family)).iter().any(|found| found.path == op.path));
    }
    assert_eq!(verify::select(None).len(), verify::ops().count());
    assert!(verify::select(Some("attention/none")).is_empty());
}
