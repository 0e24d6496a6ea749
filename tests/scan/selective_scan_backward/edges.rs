//! Sizes and values at the edge.

use super::*;

#[test]
fn lengths_around_a_chunk_agree() {
    for s in [0, 1, 2, 3, 4, 5, 7, 8, 9, 24, 31, 32, 33, 40, 63, 64, 65] {
        for d_state in [16, 64, 128, 256] {
            Backward::new(F16, [2, s, 8, d_state, 1]).assert_agrees();
        }
    }
}

#[test]
fn channels_around_a_block_agree() {
    for dim in [4, 8, 12, 16, 20, 28, 32, 36, 68] {
        for d_state in [16, 64, 128, 256] {
            Backward::new(BF16, [1, 9, dim, d_state, 1]).assert_agrees();
            Backward::new(F32, [1, 9, 2 * dim, d_state, 2]).assert_agrees();
        }
    }
}

#[test]
fn softplus_of_large_and_small_arguments_agrees() {
    for shift in [-20.0, -8.0, 8.0, 19.9, 20.1] {
        let mut call = Backward::new(F32, [1, 20, 8, 16, 1]);
        call.inputs.delta = call.inputs.delta.map(|x| x + shift);
        call.inputs.delta_bias = None;
        call.assert_agrees();
    }
}

#[test]
fn without_positions_states_hand_their_gradients_on() {
    let call = Backward::new(BF16, [3, 0, 8, 16, 1]);
    let outputs = call.run();
    assert_eq!(outputs[8].to_f64(), call.d_final_state.unwrap().values);
    for which in [2, 5, 7] {
        assert!(outputs[which].to_f64().iter().all(|&x| x == 0.0), "{}", NAMES[which]);
    }
    assert!(Backward::new(F32, [0, 5, 8, 16, 1]).run()[2].to_f64().iter().all(|&x| x == 0.0));
    assert!(Backward::new(F32, [2, 5, 0, 16, 1]).run()[0].bytes.is_empty());
}

#[test]
fn results_do_not_depend_on_strides() {
    let call = Backward::new(BF16, [2, 40, 48, 16, 2]);
    let expected = call.run();
    for strides in [[48, 96, 1], [40 * 60, 60, 1]] {
        let mut moved = call.clone();
        moved.inputs.u = moved.inputs.u.strided(&strides);
        moved.inputs.z = moved.inputs.z.map(|z| z.strided(&strides));
        moved.inputs.c = moved.inputs.c.strided(&[40 * 100, 100, 24, 1]);
        moved.d_out = moved.d_out.strided(&strides);
        moved.gradients = Layout::strided(&[2, 40, 48], &strides).unwrap();
        assert_eq!(moved.run(), expected, "{strides:?}");
    }
}
