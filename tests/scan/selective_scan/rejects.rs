//! Each mistake has its own error.

use super::*;

#[track_caller]
fn error(change: impl FnOnce(&mut Operands, &mut Options)) -> String {
    let scan = Scan { boundary_states: true, ..Scan::new(F16, [2, 10, 24, 16, 2]) };
    let (mut operands, mut options) = (scan.operands(), scan.options);
    change(&mut operands, &mut options);
    let text = Problem::check(&operands, &options).expect_err("bad input was taken").to_string();
    text.strip_prefix("scan/selective_scan: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
}

#[test]
fn bad_tensors_are_refused_each_with_its_reason() {
    let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
    assert_eq!(error(|t, _| t.u.layout = shape(&[20, 24])), "u has rank 2, expected 3 [b, s, dim]");
    assert_eq!(error(|t, _| t.u.dtype = DType::I32), "u has dtype i32; supported: f32, f16, bf16");
    assert_eq!(error(|t, _| t.delta.layout = shape(&[2, 11, 24])), "delta has s 11, expected 10 (= u)");
    assert_eq!(error(|t, _| t.delta.dtype = F32), "delta is f32, expected f16 (= u)");
    assert_eq!(error(|t, _| t.out.layout = shape(&[2, 10, 28])), "out has dim 28, expected 24 (= u)");
    assert_eq!(error(|t, _| t.z.as_mut().unwrap().dtype = BF16), "z is bf16, expected f16 (= u)");
    assert_eq!(error(|t, _| t.a.dtype = F16), "A is f16, expected f32");
    assert_eq!(error(|t, _| t.a.layout = shape(&[20, 16])), "A has dim 20, expected 24 (= u)");
    assert_eq!(error(|t, _| t.a.layout = shape(&[24, 6])), "A has d_state 6; supported: multiples of 4 up to 256");
    assert_eq!(error(|t, _| t.a.layout = shape(&[24, 260])), "A has d_state 260; supported: multiples of 4 up to 256");
    assert_eq!(error(|t, _| t.b.layout = shape(&[2, 10, 2, 20])), "B has d_state 20, expected 16 (= A)");
    assert_eq!(error(|t, _| t.b.layout = shape(&[2, 10, 16])), "B has rank 3, expected 4 [b, s, groups, d_state]");
    let groups = "; supported: numbers that divide dim into groups of a multiple of 4 channels";
    assert_eq!(error(|t, _| t.b.layout = shape(&[2, 10, 4, 16])), format!("B has groups 4 for dim 24{groups}"));
    assert_eq!(error(|t, _| t.c.layout = shape(&[2, 10, 1, 16])), "C has groups 1, expected 2 (= B)");
    assert_eq!(error(|t, _| t.c.dtype = F32), "C is f32, expected f16 (= u)");
    assert_eq!(error(|t, _| t.d.as_mut().unwrap().layout = shape(&[25])), "D has dim 25, expected 24 (= u)");
    assert_eq!(error(|t, _| t.delta_bias.as_mut().unwrap().dtype = F16), "delta_bias is f16, expected f32");
    let state = error(|t, _| t.initial_state.as_mut().unwrap().layout = shape(&[2, 24, 12]));
    assert_eq!(state, "initial_state has d_state 12, expected 16 (= A)");
    let state = error(|t, _| t.final_state.as_mut().unwrap().layout = shape(&[1, 24, 16]));
    assert_eq!(state, "final_state has b 1, expected 2 (= u and cu_seqlens)");
    assert_eq!(error(|t, _| t.final_state.as_mut().unwrap().dtype = F16), "final_state is f16, expected f32");
    let state = error(|t, _| t.boundary_states.as_mut().unwrap().layout = shape(&[1, 24, 16]));
    assert_eq!(state, "boundary_states has chunks 1, expected 2 (= u and cu_seqlens)");
    let workspace = |address, dtype| Some(llm_kernels::Operand { address, dtype, layout: shape(&[1 << 20]) });
    assert_eq!(error(|t, _| t.workspace = workspace(1 << 50, F32)), "workspace is f32, expected u8");
    let odd = error(|t, _| t.workspace = workspace((1 << 50) + 8, DType::U8));
    assert!(odd.ends_with("expected a multiple of 16"), "{odd}");
    let overlapping = error(|t, _| t.workspace = workspace(t.out.address, DType::U8));
    assert_eq!(overlapping, "workspace overlaps out in memory");
    assert_eq!(error(|t, _| t.out.address = t.u.address), "out overlaps u in memory");
    assert_eq!(error(|t, _| t.final_state = t.initial_state), "final_state overlaps initial_state in memory");
    assert_eq!(error(|t, _| t.u.address += 2), "u has address 1099511627778, expected a multiple of 8");
    let odd = Layout::strided(&[2, 10, 24], &[260, 26, 1]).unwrap();
    assert_eq!(error(|t, _| t.delta.layout = odd), "delta has stride[1] in elements 26, expected a multiple of 4");
}

#[test]
fn updates_without_a_state_or_with_two_are_refused() {
    let update = |options: &mut Options| options.update = true;
    let none = error(|t, o| {
        update(o);
        (t.final_state, t.initial_state) = (None, None);
    });
    assert_eq!(none, "update is given without final_state");
    assert_eq!(error(|_, o| update(o)), "update is true, expected false where initial_state is given");
}

#[test]
fn too_many_positions_or_blocks_are_refused() {
    let shape = Shape { sequences: SequenceSizes::uniform(1, 1 << 30), dim: 8, d_state: 16, groups: 1 };
    let error = Problem::new(F16, shape, Parts::default(), SOFTPLUS).unwrap_err().to_string();
    assert_eq!(error, "scan/selective_scan: s is 1073741824, the limit is 1073741823");
    let sequences = SequenceSizes::uniform(1 << 28, 1);
    let problem = Problem::new(F16, Shape { sequences, dim: 1024, ..shape }, Parts::default(), SOFTPLUS).unwrap();
    let error = plan(&problem, &Limits::of_capability(8, 0)).unwrap_err().to_string();
    assert_eq!(error, "scan/selective_scan: blocks is 8589934592, the limit is 2147483647");
}

#[test]
fn a_small_workspace_is_refused_before_anything_is_written() {
    let scan = Scan { workspace: true, ..Scan::new(F16, [1, 600, 16, 16, 1]) };
    let inputs = &scan.inputs;
    let [u, delta, a, b, c] = [&inputs.u, &inputs.delta, &inputs.a, &inputs.b, &inputs.c].map(Tensor::upload);
    let (mut out, mut workspace) = (poisoned(F16, scan.out), poisoned(DType::U8, Layout::contiguous(&[64]).unwrap()));
    let [u, delta, a, b, c] = [&u, &delta, &a, &b, &c].map(|tensor| tensor.view().unwrap());
    let mut args = Args::new(u, delta, [a, b, c], out.view_mut().unwrap());
    args.extras.workspace = Some(workspace.view_mut().unwrap());
    let error = selective_scan(queue(), args).unwrap_err().to_string();
    let needed = scan.plan().workspace_bytes;
    assert_eq!(error, format!("{PATH}: workspace has 64 bytes, the plan needs {needed}"));
    assert!(download(&out, "out").to_f64().iter().all(|x| x.is_nan()));
}
