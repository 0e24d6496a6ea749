//! Each mistake has its own error.

use super::*;

#[track_caller]
fn error(change: impl FnOnce(&mut Operands)) -> String {
    let call = Backward::new(F16, [2, 10, 24, 4]);
    let mut operands = call.operands();
    change(&mut operands);
    let text = Problem::check(&operands, &call.options).expect_err("bad input was taken").to_string();
    text.strip_prefix("scan/causal_conv1d_backward: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

#[test]
fn bad_tensors_are_refused_each_with_its_reason() {
    let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
    assert_eq!(error(|t| t.x.layout = shape(&[20, 24])), "x has rank 2, expected 3 [b, s, dim]");
    assert_eq!(error(|t| t.d_out.layout = shape(&[2, 11, 24])), "d_out has s 11, expected 10 (= x)");
    assert_eq!(error(|t| t.d_out.dtype = F32), "d_out is f32, expected f16 (= x)");
    assert_eq!(error(|t| t.d_x.layout = shape(&[1, 10, 24])), "d_x has b 1, expected 2 (= x)");
    assert_eq!(error(|t| t.d_weight.layout = shape(&[24, 3])), "d_weight has width 3, expected 4 (= weight)");
    assert_eq!(error(|t| t.d_weight.dtype = DType::I32), "d_weight has dtype i32; supported: f32, f16, bf16");
    assert_eq!(error(|t| t.weight.layout = shape(&[24, 6])), "weight has width 6; supported: 2, 3, 4");
    assert_eq!(error(|t| t.bias = None), "d_bias is given without bias");
    let short = error(|t| t.d_bias.as_mut().unwrap().layout = shape(&[23]));
    assert_eq!(short, "d_bias has dim 23, expected 24 (= x)");
    let state = error(|t| t.d_initial_state.as_mut().unwrap().layout = shape(&[2, 24, 4]));
    assert_eq!(state, "d_initial_state has width - 1 4, expected 3 (= weight)");
    let state = error(|t| t.d_final_state.as_mut().unwrap().dtype = F32);
    assert_eq!(state, "d_final_state is f32, expected f16 (= x)");
    assert_eq!(error(|t| t.d_x.address = t.d_out.address), "d_x overlaps d_out in memory");
    assert_eq!(error(|t| t.workspace.address = t.x.address), "workspace overlaps x in memory");
    assert_eq!(error(|t| t.workspace.address += 8), "workspace has address 1443109011464, expected a multiple of 16");
    assert_eq!(error(|t| t.workspace.dtype = F32), "workspace is f32, expected u8");
}

#[test]
fn a_small_workspace_is_refused_before_anything_is_written() {
    let call = Backward::new(F16, [1, 8, 16, 4]);
    let (x, weight, d_out) = (call.x.upload(), call.weight.upload(), call.d_out.upload());
    let (mut d_x, mut d_weight) = (poisoned(F16, call.d_x), poisoned(F32, call.weight.layout));
    let mut workspace = poisoned(DType::U8, Layout::contiguous(&[64]).unwrap());
    let args = Args {
        x: x.view().unwrap(),
        weight: weight.view().unwrap(),
        d_out: d_out.view().unwrap(),
        d_x: d_x.view_mut().unwrap(),
        d_weight: d_weight.view_mut().unwrap(),
        workspace: workspace.view_mut().unwrap(),
        extras: Extras::default(),
        options: call.options,
    };
    let error = causal_conv1d_backward(queue(), args).unwrap_err().to_string();
    assert_eq!(error, "scan/causal_conv1d_backward: workspace has 64 bytes, the plan needs 320");
    assert!(download(&d_x, "d_x").to_f64().iter().all(|x| x.is_nan()));
}
