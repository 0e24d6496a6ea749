//! Sizes and values at the edge.

use super::*;

#[test]
fn lengths_around_a_tile_agree() {
    for s in [0, 1, 2, 3, 4, 5, 11, 12, 13, 31, 32, 33, 63, 64, 65] {
        for d_state in [16, 64, 128, 256] {
            Scan::new(F16, [2, s, 8, d_state, 1]).assert_agrees();
        }
    }
}

#[test]
fn channels_around_a_block_agree() {
    for (d_state, channels) in [(16, 32), (64, 64), (128, 96), (256, 128)] {
        for dim in [4, 20, channels - 4, channels, channels + 4, 2 * channels + 8] {
            Scan::new(BF16, [1, 9, dim, d_state, 1]).assert_agrees();
            Scan::new(F32, [1, 9, 2 * dim, d_state, 2]).assert_agrees();
        }
    }
}

#[test]
fn a_long_memory_neither_overflows_nor_is_lost() {
    // Decays of 1 - 2^-17 and near 0, steps that are mostly 0, over 64K positions.
    let s = 1 << 16;
    let mut scan = Scan::new(F32, [1, s, 4, 4, 1]);
    let slow = 2f64.powi(-17);
    scan.inputs.a = Tensor::new(F32, &[4, 4], &[-slow, -1e-3, -1.0, -90.0].repeat(4));
    scan.inputs.delta = scan.inputs.delta.map(|_| 1.0);
    (scan.inputs.z, scan.inputs.delta_bias, scan.options.softplus) = (None, None, false);
    scan.inputs.initial_state = Some(Tensor::new(F32, &[1, 4, 4], &[1e30, 1e30, 1.0, 1.0].repeat(4)));
    scan.inputs.c = scan.inputs.c.map(|x| 1e-30 * x);
    for workspace in [false, true] {
        scan.workspace = workspace;
        assert_eq!(scan.plan().segments.is_some(), workspace);
        let [out, state, _] = scan.assert_agrees();
        assert!(out.to_f64().iter().all(|x| x.is_finite()));
        // exp(-1/2) is left of the slowest.
        assert!((state.to_f64()[0] / 1e30 - (-0.5f64).exp()).abs() < 0.01);
    }
}

#[test]
fn a_step_of_0_leaves_states_as_they_are() {
    for (s, workspace) in [(40, false), (600, true)] {
        let mut scan = Scan { workspace, ..Scan::new(F32, [1, s, 8, 16, 1]) };
        scan.inputs.delta = scan.inputs.delta.map(|_| 0.0);
        (scan.inputs.delta_bias, scan.options.softplus) = (None, false);
        assert_eq!(scan.plan().segments.is_some(), workspace);
        assert_eq!(scan.run()[1].to_f64(), scan.inputs.initial_state.unwrap().values);
    }
}

#[test]
fn softplus_of_large_and_small_arguments_agrees() {
    for shift in [-60.0, -20.0, -8.0, 8.0, 19.9, 20.1, 60.0] {
        let mut scan = Scan::new(F32, [1, 20, 8, 16, 1]);
        scan.inputs.delta = scan.inputs.delta.map(|x| x + shift);
        scan.inputs.delta_bias = None;
        scan.assert_agrees();
    }
}

#[test]
fn empty_calls_are_no_calls() {
    assert_eq!(
        Scan::new(BF16, [3, 0, 8, 16, 1]).run()[1].to_f64(),
        Inputs::new(BF16, [3, 0, 8, 16, 1]).initial_state.unwrap().values
    );
    assert!(Scan::new(F32, [0, 5, 8, 16, 1]).run()[0].bytes.is_empty());
    assert!(Scan::new(F32, [2, 5, 0, 16, 1]).run()[0].bytes.is_empty());
}

#[test]
fn nan_stays_in_its_channel_and_comes_after() {
    // Before segments, at the end of one, and in the middle of one.
    for (s, workspace, position) in [(20, false, 5), (600, true, 127), (600, true, 300)] {
        let mut scan = Scan { workspace, ..Scan::new(F32, [1, s, 8, 16, 1]) };
        scan.inputs.u.values[position * 8 + 3] = f64::NAN;
        let out = scan.run()[0].to_f64();
        let expected = |at: usize| at % 8 == 3 && at / 8 >= position;
        assert!((0..out.len()).all(|at| out[at].is_nan() == expected(at)));
    }
}

#[test]
fn results_do_not_depend_on_strides() {
    let scan = Scan::new(BF16, [2, 40, 48, 16, 2]);
    let expected = scan.run();
    for strides in [[48, 96, 1], [40 * 60, 60, 1]] {
        let mut moved = scan.clone();
        moved.inputs.u = moved.inputs.u.strided(&strides);
        moved.inputs.z = moved.inputs.z.map(|z| z.strided(&strides));
        moved.inputs.delta = moved.inputs.delta.strided(&strides);
        moved.inputs.c = moved.inputs.c.strided(&[40 * 100, 100, 24, 1]);
        moved.out = Layout::strided(&[2, 40, 48], &strides).unwrap();
        assert_eq!(moved.run()[..2], expected[..2], "{strides:?}");
    }
}
