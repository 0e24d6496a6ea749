//! Sizes around a block's and a tile's, empty ones, strides, numbers that are not finite.

use super::*;
use crate::upload_in;
use llm_kernels::Layout;

#[test]
fn numbers_of_steps_around_a_block_a_tile_and_a_chunk_agree() {
    let options = Options { chunk: Some(64), ..PLAIN };
    for decay in DECAYS {
        for s in [0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129] {
            Recurrence::new(F16, [1, s, 1, 1, 32, 32], decay, options).with_state().assert_agrees();
        }
    }
}

#[test]
fn every_width_agrees() {
    for width in (16..=256).step_by(16) {
        Recurrence::new(BF16, [1, 20, 1, 1, width, 272 - width], Some(DecayKind::Steps), PLAIN).assert_agrees();
        Recurrence::new(F16, [1, 20, 1, 1, width, 16], Some(DecayKind::Channels), PLAIN).assert_agrees();
    }
}

#[test]
fn without_steps_the_final_state_is_the_initial_one() {
    let options = Options { normaliser: Some(0.0), ..PLAIN };
    let call = Recurrence::new(F16, [2, 0, 1, 2, 48, 80], Some(DecayKind::Steps), options).with_state();
    let given = call.run();
    assert_eq!(given.state.to_f64(), call.initial_state);
    assert_eq!(given.normaliser.unwrap().to_f64(), call.initial_normaliser);
    let zeros = Recurrence::new(F16, [2, 0, 1, 2, 48, 80], None, PLAIN).run();
    assert!(zeros.state.to_f64().iter().all(|&x| x == 0.0));
}

#[test]
fn no_sequences_and_no_heads_are_nothing_to_do() {
    for sizes in [[0, 10, 1, 1, 32, 32], [1, 10, 0, 0, 32, 32]] {
        assert!(Recurrence::new(BF16, sizes, None, PLAIN).run().out.bytes.is_empty());
    }
}

#[test]
fn a_decay_of_0_forgets_exactly() {
    for decay in [DecayKind::Steps, DecayKind::Channels] {
        for dtype in [F16, BF16] {
            let mut call = Recurrence::new(dtype, [1, 50, 1, 1, 32, 32], Some(decay), PLAIN).with_state();
            let width = call.decay.len() / 50;
            call.decay[20 * width..21 * width].fill(f64::NEG_INFINITY);
            let given = call.assert_agrees();
            // What was before has left nothing: not a bit differs.
            let mut other = call.clone();
            other.initial_state.iter_mut().for_each(|x| *x *= -3.0);
            other.v[..20 * 32].iter_mut().for_each(|x| *x *= 5.0);
            let changed = other.run();
            assert_eq!(given.out.to_f64()[20 * 32..], changed.out.to_f64()[20 * 32..]);
            assert_eq!(given.state, changed.state);
        }
    }
}

#[test]
fn a_nan_in_a_query_reaches_its_row_alone() {
    for decay in DECAYS {
        let mut call = Recurrence::new(BF16, [1, 70, 1, 1, 64, 64], decay, PLAIN);
        let clean = call.run();
        call.q[37 * 64 + 5] = f64::NAN;
        let given = call.run();
        for (i, (x, before)) in given.out.to_f64().iter().zip(clean.out.to_f64()).enumerate() {
            assert!(if i / 64 == 37 { x.is_nan() } else { *x == before }, "{decay:?}: element {i} is {x}");
        }
        assert_eq!(given.state, clean.state);
    }
}

#[test]
fn a_nan_in_a_value_reaches_its_column_from_then_on() {
    for bad in [f64::NAN, f64::INFINITY] {
        let mut call = Recurrence::new(F16, [1, 70, 1, 1, 64, 64], None, PLAIN);
        let clean = call.run();
        call.v[33 * 64 + 9] = bad;
        let given = call.run();
        for (i, (x, before)) in given.out.to_f64().iter().zip(clean.out.to_f64()).enumerate() {
            let (step, column) = (i / 64, i % 64);
            // Before it in its block of 16 steps, its product with a zero weight.
            let reached = column == 9 && step >= 32;
            assert!(if reached && step >= 33 { !x.is_finite() } else { reached || *x == before }, "element {i} is {x}");
        }
    }
}

#[test]
fn what_lies_behind_a_sequence_is_never_read() {
    // Poison between sequences: views of the first 40 of 60 positions.
    let call = Recurrence::new(F16, [2, 40, 1, 2, 48, 48], Some(DecayKind::Channels), PLAIN).with_state();
    let row_major = call.run();
    let mut on = call.upload();
    let gaps = |heads: usize, width: usize| {
        Layout::strided(&[2, 40, heads, width], &[60 * heads * (width + 8), heads * (width + 8), width + 8, 1]).unwrap()
    };
    on.q = upload_in(F16, &call.q, gaps(1, 48));
    on.k = upload_in(F16, &call.k, gaps(1, 48));
    on.v = upload_in(F16, &call.v, gaps(2, 48));
    on.decay = upload_in(F32, &call.decay, gaps(2, 48));
    on.out = DeviceTensor::poisoned(queue(), F16, gaps(2, 48)).unwrap();
    call.launch(&mut on).unwrap();
    assert_eq!(on.out.download(queue(), "out").unwrap(), row_major.out);
    let mut untouched = DeviceTensor::poisoned(queue(), F16, gaps(2, 48)).unwrap();
    untouched.write(queue(), &row_major.out.bytes).unwrap();
    assert!(untouched.image(queue()).unwrap() == on.out.image(queue()).unwrap(), "bytes between rows were written");
}

#[test]
fn heads_before_positions_give_the_same_bits() {
    let call = Recurrence::new(BF16, [2, 40, 2, 2, 32, 32], Some(DecayKind::Steps), PLAIN);
    let row_major = call.run();
    let mut on = call.upload();
    let transposed = Layout::strided(&[2, 40, 2, 32], &[40 * 64, 32, 40 * 32, 1]).unwrap();
    on.q = upload_in(BF16, &call.q, transposed);
    on.v = upload_in(BF16, &call.v, transposed);
    on.decay = upload_in(F32, &call.decay, Layout::strided(&[2, 40, 2], &[80, 1, 40]).unwrap());
    on.out = DeviceTensor::poisoned(queue(), BF16, transposed).unwrap();
    call.launch(&mut on).unwrap();
    assert_eq!(on.out.download(queue(), "out").unwrap(), row_major.out);
}
