//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;

#[track_caller]
fn error(change: impl FnOnce(&mut Operands, &mut Options)) -> String {
    let call = Sample { steps: Some(vec![0.0; 4]), ..Sample::new(F16, [4, 64], Options::default()) };
    let (mut operands, mut options) = (call.operands(), call.options);
    change(&mut operands, &mut options);
    let text = Problem::check(&operands, &options).expect_err("bad input was taken").to_string();
    text.strip_prefix("fused/sample: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

#[test]
fn bad_tensors_are_refused_each_with_its_reason() {
    let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
    assert_eq!(error(|t, _| t.logits.layout = shape(&[4, 2, 32])), "logits has rank 3, expected 2 [m, n]");
    assert_eq!(error(|t, _| t.logits.layout = shape(&[4, 0])), "logits has n 0; supported: 1 to 2^31 - 1");
    assert_eq!(error(|t, _| t.logits.dtype = DType::I32), "logits has dtype i32; supported: f32, f16, bf16");
    assert_eq!(error(|t, _| t.ids.dtype = DType::I64), "ids is i64, expected i32");
    assert_eq!(error(|t, _| t.ids.layout = shape(&[5])), "ids has m 5, expected 4 (= logits)");
    let log = error(|t, _| t.log_probabilities.as_mut().unwrap().dtype = F16);
    assert_eq!(log, "log_probabilities is f16, expected f32");
    assert_eq!(error(|t, _| t.steps.as_mut().unwrap().layout = shape(&[3])), "steps has m 3, expected 4 (= logits)");
    assert_eq!(error(|t, _| t.ids.address = t.logits.address), "ids overlaps logits in memory");
    assert_eq!(error(|t, _| t.steps.as_mut().unwrap().address = t.ids.address), "steps overlaps ids in memory");
    assert!(error(|t, _| t.workspace.address += 2).ends_with("expected a multiple of 4"));
}

#[test]
fn options_out_of_range_are_refused() {
    for temperature in [-1.0, 0.0005, f32::NAN, f32::INFINITY] {
        let text = error(|_, o| o.temperature = temperature);
        assert_eq!(text, format!("temperature is {temperature}, expected 0, or a finite number from 0.001 on"));
    }
    assert_eq!(error(|_, o| o.top_k = Some(0)), "top_k is 0, expected at least 1");
    for top_p in [0.0, 1.5, f32::NAN] {
        assert_eq!(error(|_, o| o.top_p = top_p), format!("top_p is {top_p}, expected a number above 0, up to 1"));
    }
    for min_p in [-0.1, 1.5, f32::NAN] {
        assert_eq!(error(|_, o| o.min_p = min_p), format!("min_p is {min_p}, expected a number from 0 to 1"));
    }
}

#[test]
fn a_workspace_that_is_too_small_is_refused_and_nothing_written() {
    let _shared = shared();
    let call = Sample::new(F16, [4, 64], Options::default());
    let [mut ids, ..] = call.outputs();
    let (logits, mut workspace) = (call.logits.upload(), poisoned(DType::U8, Layout::contiguous(&[95]).unwrap()));
    let args = Args {
        logits: logits.view().unwrap(),
        ids: ids.view_mut().unwrap(),
        log_probabilities: None,
        steps: None,
        workspace: workspace.view_mut().unwrap(),
        options: call.options,
    };
    let error = sample(queue(), args).unwrap_err().to_string();
    assert_eq!(error, "fused/sample: workspace has 95 bytes, the plan needs 96");
    assert!(ids.image(queue()).unwrap().iter().all(|&byte| byte == 0xFF));
}
