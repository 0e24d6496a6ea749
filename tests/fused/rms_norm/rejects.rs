//! Each kind of bad input has an error of its own, and writes nothing.

use super::*;

fn valid() -> (Operands, Options) {
    let norm = Norm { residual: Some(Tensor::normal(4, F32, &[2, 5, 64])), ..Norm::new(F16, &[2, 5, 64]) };
    (norm.operands(), norm.options)
}

/// The error's text after the operator's name.
#[track_caller]
fn error(change: impl FnOnce(&mut Operands, &mut Options)) -> String {
    let (mut operands, mut options) = valid();
    change(&mut operands, &mut options);
    let text = Problem::check(&operands, &options).expect_err("bad input was taken").to_string();
    text.strip_prefix("fused/rms_norm: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

fn reshape(operand: &mut Operand, shape: &[usize]) {
    operand.layout = Layout::contiguous(shape).unwrap();
}

#[test]
fn valid_input_is_taken() {
    let (operands, options) = valid();
    let problem = Problem::check(&operands, &options).unwrap();
    assert_eq!((problem.num_rows, problem.d, problem.unit), (10, 64, 4));
}

#[test]
fn other_shapes_are_refused() {
    let x = error(|t, _| reshape(t.x.as_mut().unwrap(), &[2, 6, 64]));
    assert_eq!(x, "x has dimension 1 6, expected 5 (= out)");
    let residual = error(|t, _| reshape(t.residual.as_mut().unwrap(), &[2, 5, 65]));
    assert_eq!(residual, "residual has d 65, expected 64 (= out)");
    let flat = error(|t, _| reshape(t.x.as_mut().unwrap(), &[10, 64]));
    assert_eq!(flat, "x has rank 2, expected 3 [.., d]");
    assert_eq!(error(|t, _| reshape(t.weight.as_mut().unwrap(), &[63])), "weight has d 63, expected 64 (= out)");
    assert_eq!(error(|t, _| reshape(t.weight.as_mut().unwrap(), &[1, 64])), "weight has rank 2, expected 1 [d]");
    let many = error(|t, _| reshape(&mut t.out, &[1, 1, 1, 1, 64]));
    assert_eq!(many, "out has rank 5; supported: 1 to 4, [.., d]");
}

#[test]
fn other_types_are_refused() {
    assert_eq!(error(|t, _| t.out.dtype = DType::I32), "out has dtype i32; supported: f32, f16, bf16");
    let weight = error(|t, _| t.weight.as_mut().unwrap().dtype = DType::U8);
    assert_eq!(weight, "weight has dtype u8; supported: f32, f16, bf16");
}

#[test]
fn rows_that_are_not_neighbouring_elements_are_refused() {
    let columns = Layout::strided(&[2, 5, 64], &[320, 1, 5]).unwrap();
    assert_eq!(error(|t, _| t.out.layout = columns), "out has stride 5 in its last dimension, expected 1");
    assert_eq!(
        error(|t, _| t.x.as_mut().unwrap().address += 1),
        format!("x has address {}, expected a multiple of 2", (1_u64 << 40) + 1)
    );
    let gaps = Layout::strided(&[64], &[2]).unwrap();
    assert!(error(|t, _| t.weight.as_mut().unwrap().layout = gaps).starts_with("weight has strides [2]"));
}

#[test]
fn outputs_that_overlap_are_refused() {
    assert_eq!(error(|t, _| t.out.address = t.x.unwrap().address + 64), "out overlaps x in memory");
    assert_eq!(error(|t, _| t.out.address = t.residual.unwrap().address), "out overlaps residual in memory");
    let weight = error(|t, _| t.weight.as_mut().unwrap().address = t.residual.unwrap().address);
    assert_eq!(weight, "residual overlaps weight in memory");
    let broadcast = Layout::strided(&[2, 5, 64], &[0, 64, 1]).unwrap();
    assert!(error(|t, _| t.residual.as_mut().unwrap().layout = broadcast).contains("elements overlap each other"));
}

#[test]
fn options_out_of_range_are_refused() {
    for epsilon in [-1e-6, f32::NAN, f32::INFINITY] {
        let text = error(|_, options| options.epsilon = epsilon);
        assert_eq!(text, format!("epsilon is {epsilon}, expected a finite number from 0 on"));
    }
    assert_eq!(error(|_, o| o.weight_offset = f32::NAN), "weight_offset is NaN, expected a finite number");
}

#[test]
fn too_many_rows_are_refused() {
    let layout = Layout::strided(&[1 << 16, 1 << 15, 64], &[1 << 21, 64, 1]).unwrap();
    let text = error(|t, _| {
        *t = Operands { x: None, residual: None, ..*t };
        t.out.layout = layout;
    });
    assert_eq!(text, "number of rows is 2147483648, the limit is 2147483647");
}

#[test]
fn a_refused_call_writes_nothing() {
    let _shared = shared();
    let mut norm = Norm::new(F16, &[4, 64]);
    norm.weight = Some(Tensor::normal(2, F16, &[63]));
    let mut out = poisoned(F16, norm.out.layout);
    let error = norm.launch(&mut None, &mut out).unwrap_err().to_string();
    assert_eq!(error, "fused/rms_norm: weight has d 63, expected 64 (= out)");
    assert!(out.image(queue()).unwrap().iter().all(|&byte| byte == 0xFF));
}
