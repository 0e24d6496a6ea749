//! Each mistake has its own error.

use super::*;

#[track_caller]
fn error(change: impl FnOnce(&mut Operands, &mut Options)) -> String {
    let call = Conv::new(F16, [2, 10, 24, 4]);
    let (mut operands, mut options) = (call.operands(), call.options);
    change(&mut operands, &mut options);
    let text = Problem::check(&operands, &options).expect_err("bad input was taken").to_string();
    text.strip_prefix("scan/causal_conv1d: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

#[test]
fn bad_tensors_are_refused_each_with_its_reason() {
    let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
    assert_eq!(error(|t, _| t.x.layout = shape(&[20, 24])), "x has rank 2, expected 3 [b, s, dim]");
    assert_eq!(error(|t, _| t.x.dtype = DType::I32), "x has dtype i32; supported: f32, f16, bf16");
    assert_eq!(error(|t, _| t.out.layout = shape(&[2, 11, 24])), "out has s 11, expected 10 (= x)");
    assert_eq!(error(|t, _| t.out.layout = shape(&[2, 10, 25])), "out has dim 25, expected 24 (= x)");
    assert_eq!(error(|t, _| t.out.dtype = F32), "out is f32, expected f16 (= x)");
    assert_eq!(error(|t, _| t.weight.layout = shape(&[24, 5])), "weight has width 5; supported: 2, 3, 4");
    assert_eq!(error(|t, _| t.weight.layout = shape(&[24, 1])), "weight has width 1; supported: 2, 3, 4");
    assert_eq!(error(|t, _| t.weight.layout = shape(&[23, 4])), "weight has dim 23, expected 24 (= x)");
    assert_eq!(error(|t, _| t.bias.as_mut().unwrap().layout = shape(&[25])), "bias has dim 25, expected 24 (= x)");
    assert_eq!(
        error(|t, _| t.bias.as_mut().unwrap().dtype = DType::U8),
        "bias has dtype u8; supported: f32, f16, bf16"
    );
    let state = |change: fn(&mut llm_kernels::Operand)| error(|t, _| change(t.initial_state.as_mut().unwrap()));
    assert_eq!(state(|t| t.dtype = F32), "initial_state is f32, expected f16 (= x)");
    assert_eq!(
        state(|t| t.layout = Layout::contiguous(&[2, 24, 4]).unwrap()),
        "initial_state has width - 1 4, expected 3 (= weight)"
    );
    assert_eq!(
        state(|t| t.layout = Layout::contiguous(&[3, 24, 3]).unwrap()),
        "initial_state has b 3, expected 2 (= x and cu_seqlens)"
    );
    assert!(
        state(|t| t.layout = Layout::strided(&[2, 24, 3], &[72, 1, 24]).unwrap())
            .starts_with("initial_state has strides")
    );
    let columns = Layout::strided(&[2, 10, 24], &[240, 1, 10]).unwrap();
    assert_eq!(error(|t, _| t.x.layout = columns), "x has stride 10 in its last dimension, expected 1");
    assert_eq!(error(|t, _| t.out.address = t.x.address), "out overlaps x in memory");
    assert_eq!(error(|t, _| t.final_state = t.initial_state), "final_state overlaps initial_state in memory");
    assert_eq!(error(|t, _| t.x.address += 1), "x has address 1099511627777, expected a multiple of 2");
    let broadcast = Layout::strided(&[2, 10, 24], &[0, 24, 1]).unwrap();
    assert!(error(|t, _| t.out.layout = broadcast).ends_with("so that elements overlap each other"));
}

#[test]
fn tensors_that_do_not_go_with_the_sequences_are_refused() {
    let error = |change: fn(&mut Operands)| {
        let mut operands = Conv::various(F16, &[4, 0, 6], [24, 4]).operands();
        change(&mut operands);
        Problem::check(&operands, &Options::default()).expect_err("bad input was taken").to_string()
    };
    let op = "scan/causal_conv1d: ";
    assert_eq!(
        error(|t| t.x.layout = Layout::contiguous(&[1, 10, 24]).unwrap()),
        format!("{op}x has rank 3, expected 2 [total, dim], with cu_seqlens")
    );
    assert_eq!(
        error(|t| t.x.layout = Layout::contiguous(&[11, 24]).unwrap()),
        format!("{op}x has total 11, expected 10 (= cu_seqlens)")
    );
    assert_eq!(
        error(|t| t.initial_state.as_mut().unwrap().layout = Layout::contiguous(&[1, 24, 3]).unwrap()),
        format!("{op}initial_state has b 1, expected 3 (= x and cu_seqlens)")
    );
}

#[test]
fn updates_without_a_state_with_two_or_of_many_positions_are_refused() {
    let update = |options: &mut Options| options.update = true;
    assert_eq!(
        error(|t, o| (t.final_state, t.initial_state) = {
            update(o);
            (None, None)
        }),
        "update is given without final_state"
    );
    assert_eq!(error(|_, o| update(o)), "update is true, expected false where initial_state is given");
    let types = Types { x: F16, weight: F16, bias: None };
    let shape = Shape { sequences: SequenceSizes::uniform(1, 65), dim: 8, width: 4 };
    let options = Options { silu: false, update: true };
    assert_eq!(
        Problem::new(types, shape, [false, true], options).unwrap_err().to_string(),
        "scan/causal_conv1d: s of a call that updates is 65, the limit is 64"
    );
    let large = Shape { sequences: SequenceSizes::uniform(1, 1 << 30), ..shape };
    assert_eq!(
        Problem::new(types, large, [false, true], Options::default()).unwrap_err().to_string(),
        "scan/causal_conv1d: s is 1073741824, the limit is 1073741823"
    );
}
