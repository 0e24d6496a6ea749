//! Mistakes, each with its error.

use super::*;

fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
    Operand { address: (1 << 40) + (slot << 36), dtype, layout: Layout::contiguous(shape).unwrap() }
}

fn error(options: Options, change: impl FnOnce(&mut Operands)) -> String {
    let (keys, values) = ([2, 10, 2, 64], [2, 10, 4, 48]);
    let mut operands = Operands {
        q: operand(0, F16, &keys),
        k: operand(1, F16, &keys),
        v: operand(2, F16, &values),
        d_out: operand(3, F16, &values),
        d_q: operand(4, F16, &keys),
        d_k: operand(5, F16, &keys),
        d_v: operand(6, F16, &values),
        decay: None,
        d_decay: None,
        initial_state: None,
        d_initial_state: None,
        d_final_state: None,
        initial_normaliser: None,
        d_initial_normaliser: None,
        d_final_normaliser: None,
        cu_seqlens: None,
        workspace: operand(7, DType::U8, &[1 << 20]),
    };
    Problem::check(&operands, &PLAIN).unwrap();
    change(&mut operands);
    Problem::check(&operands, &options).unwrap_err().to_string()
}

#[test]
fn each_mistake_has_its_error() {
    let heads = |o: &mut Operands| o.decay = Some((DecayKind::Heads, operand(8, F32, &[4])));
    let normalised = Options { normaliser: Some(0.5), ..PLAIN };
    let cases = [
        (error(PLAIN, |o| o.k = operand(1, F16, &[2, 10, 2, 32])), "k has d_k 32, expected 64 (= q)"),
        (error(PLAIN, |o| o.d_out = operand(3, BF16, &[2, 10, 4, 48])), "d_out is bf16, expected f16 (= q)"),
        (error(PLAIN, |o| o.d_q = operand(4, F16, &[2, 10, 4, 64])), "d_q has h_k 4, expected 2 (= q)"),
        (error(PLAIN, |o| o.d_v = operand(6, F16, &[2, 10, 4, 64])), "d_v has d_v 64, expected 48 (= v)"),
        (error(PLAIN, |o| o.d_decay = Some(operand(8, F32, &[4]))), "d_decay is given without decay"),
        (
            error(PLAIN, |o| {
                heads(o);
                o.d_decay = Some(operand(9, F32, &[2]));
            }),
            "d_decay has h 2, expected 4 (= v)",
        ),
        (
            error(PLAIN, |o| o.d_final_state = Some(operand(8, F32, &[2, 4, 48, 64]))),
            "d_final_state has d_k 48, expected 64 (= q)",
        ),
        (
            error(PLAIN, |o| o.d_initial_state = Some(operand(8, F16, &[2, 4, 64, 48]))),
            "d_initial_state is f16, expected f32",
        ),
        (error(PLAIN, |o| o.d_q.address = o.q.address), "d_q overlaps q in memory"),
        (error(PLAIN, |o| o.d_k.address = o.d_q.address), "d_k overlaps d_q in memory"),
        (error(PLAIN, |o| o.workspace = operand(7, F32, &[64])), "workspace is f32, expected u8"),
        (
            error(PLAIN, |o| o.decay = Some((DecayKind::Channels, operand(8, F32, &[2, 10, 4, 48])))),
            "decay has d_k 48, expected 64 (= q)",
        ),
        (
            error(PLAIN, |o| o.d_final_normaliser = Some(operand(8, F32, &[2, 4, 64]))),
            "d_final_normaliser is given without options.normaliser",
        ),
        (
            error(normalised, |o| o.initial_normaliser = Some(operand(8, F32, &[2, 4, 48]))),
            "initial_normaliser has d_k 48, expected 64 (= q)",
        ),
        (
            error(normalised, |o| o.d_initial_normaliser = Some(operand(8, F32, &[2, 4]))),
            "d_initial_normaliser has rank 2, expected 3 [b, h, d_k]",
        ),
        (error(Options { normaliser: Some(f32::NAN), ..PLAIN }, |_| ()), "normaliser is NaN, expected a finite number"),
        (error(Options { chunk: Some(7), ..PLAIN }, |_| ()), "chunk is 7, expected a multiple of 64"),
    ];
    for (got, expected) in cases {
        assert_eq!(got, format!("scan/linear_recurrence_backward: {expected}"));
    }
}

#[test]
fn a_workspace_that_is_too_small_before_anything_is_written() {
    let _shared = shared();
    let call = Gradients::new(F16, [1, 20, 1, 1, 32, 32], None, PLAIN);
    let mut on = call.upload();
    let needed = plan_of(&call.problem, queue().device().limits()).unwrap().workspace.bytes;
    on.workspace = poisoned(DType::U8, &[needed - 1]);
    let expected =
        format!("scan/linear_recurrence_backward: workspace has {} bytes, the plan needs {needed}", needed - 1);
    assert_eq!(call.launch(&mut on).unwrap_err().to_string(), expected);
    assert!(on.gradients[2].image(queue()).unwrap().iter().all(|&byte| byte == 0xFF));
}
