//! Each mistake has its own error.

use super::*;

#[track_caller]
fn error(change: impl FnOnce(&mut Operands)) -> String {
    let call = Backward::new(F16, [2, 10, 24, 16, 2]);
    let mut operands = call.operands();
    change(&mut operands);
    let text = Problem::check(&operands, &call.options()).expect_err("bad input was taken").to_string();
    text.strip_prefix("scan/selective_scan_backward: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

#[test]
fn bad_tensors_are_refused_each_with_its_reason() {
    let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
    assert_eq!(error(|t| t.u.layout = shape(&[20, 24])), "u has rank 2, expected 3 [b, s, dim]");
    assert_eq!(error(|t| t.d_out.layout = shape(&[2, 11, 24])), "d_out has s 11, expected 10 (= u)");
    assert_eq!(error(|t| t.d_u.dtype = F32), "d_u is f32, expected f16 (= u)");
    assert_eq!(error(|t| t.d_delta.layout = shape(&[2, 10, 28])), "d_delta has dim 28, expected 24 (= u)");
    assert_eq!(error(|t| t.d_a.layout = shape(&[24, 12])), "d_A has d_state 12, expected 16 (= A)");
    assert_eq!(error(|t| t.d_a.dtype = F16), "d_A is f16, expected f32");
    assert_eq!(error(|t| t.d_b.layout = shape(&[2, 10, 1, 16])), "d_B has groups 1, expected 2 (= B)");
    assert_eq!(error(|t| t.d_c.dtype = DType::I32), "d_C has dtype i32; supported: f32, f16, bf16");
    let gaps = Layout::strided(&[2, 10, 2, 16], &[400, 40, 20, 1]).unwrap();
    assert!(error(|t| t.d_b.layout = gaps).starts_with("d_B has strides [400, 40, 20, 1]"));
    let states = error(|t| t.boundary_states.layout = shape(&[1, 24, 16]));
    assert_eq!(states, "boundary_states has chunks 1, expected 2 (= u and cu_seqlens)");
    let states = error(|t| t.d_final_state.as_mut().unwrap().layout = shape(&[2, 24, 12]));
    assert_eq!(states, "d_final_state has d_state 12, expected 16 (= A)");
    assert_eq!(error(|t| t.d = None), "d_D is given without D");
    assert_eq!(error(|t| t.z = None), "d_z is given without z");
    assert_eq!(error(|t| t.delta_bias = None), "d_delta_bias is given without delta_bias");
    assert_eq!(error(|t| t.d_z.as_mut().unwrap().dtype = BF16), "d_z is bf16, expected f16 (= u)");
    assert_eq!(error(|t| t.d_u.address = t.d_out.address), "d_u overlaps d_out in memory");
    assert_eq!(error(|t| t.d_c.address = t.d_b.address), "d_C overlaps d_B in memory");
    assert_eq!(error(|t| t.workspace.dtype = F32), "workspace is f32, expected u8");
    assert!(error(|t| t.workspace.address += 8).ends_with("expected a multiple of 16"));
}

#[test]
fn more_states_than_there_is_room_for_are_refused() {
    let shape = llm_kernels::scan::selective_scan_backward::Shape {
        d_state: 260,
        ..Backward::new(F16, [1, 1, 8, 256, 1]).inputs.shape()
    };
    let error = Problem::new(F16, [F16; 2], shape, Parts::default(), Options::default()).unwrap_err().to_string();
    assert_eq!(error, "scan/selective_scan_backward: A has d_state 260; supported: multiples of 4 up to 256");
}

#[test]
fn a_small_workspace_is_refused_before_anything_is_written() {
    let call = Backward::new(F16, [1, 8, 16, 16, 1]);
    let planned = plan(&call.problem(), queue().device().limits()).unwrap().workspace_bytes;
    let inputs = &call.inputs;
    let [u, delta, a, b, c] = [&inputs.u, &inputs.delta, &inputs.a, &inputs.b, &inputs.c].map(Tensor::upload);
    let (d_out, boundary_states) = (call.d_out.upload(), poisoned(F32, call.boundaries()));
    let mut workspace = poisoned(DType::U8, Layout::contiguous(&[64]).unwrap());
    let mut outputs = call.outputs().map(|(dtype, layout)| poisoned(dtype, layout));
    let [d_u, d_delta, d_a, d_b, d_c, ..] = &mut outputs;
    let args = Args {
        u: u.view().unwrap(),
        delta: delta.view().unwrap(),
        a: a.view().unwrap(),
        b: b.view().unwrap(),
        c: c.view().unwrap(),
        boundary_states: boundary_states.view().unwrap(),
        d_out: d_out.view().unwrap(),
        d_u: d_u.view_mut().unwrap(),
        d_delta: d_delta.view_mut().unwrap(),
        d_a: d_a.view_mut().unwrap(),
        d_b: d_b.view_mut().unwrap(),
        d_c: d_c.view_mut().unwrap(),
        workspace: workspace.view_mut().unwrap(),
        extras: Extras::default(),
        options: call.options(),
    };
    let error = selective_scan_backward(queue(), args).unwrap_err().to_string();
    assert_eq!(error, format!("{PATH}: workspace has 64 bytes, the plan needs {planned}"));
    assert!(download(&outputs[0], "d_u").to_f64().iter().all(|x| x.is_nan()));
}
