//! `scan::recurrent_step`.

use llm_kernels::scan::linear_recurrence::{Decay, DecayKind, FeatureMap, Options, Shape};
use llm_kernels::scan::recurrent_step::{Args, Operands, Problem, plan as plan_of, recurrent_step};
use llm_kernels::verify::{HostTensor, random};
use llm_kernels::{DType, Layout, Limits, Operand};

use crate::linear_recurrence::{Given, Recurrence};
use crate::{get, poisoned, queue, rounded, shared, upload};

use DType::{BF16, F16, F32};

const PLAIN: Options = Options { scale: None, feature_map: FeatureMap::Identity, normaliser: None, chunk: None };
const DECAYS: [Option<DecayKind>; 4] =
    [None, Some(DecayKind::Heads), Some(DecayKind::Steps), Some(DecayKind::Channels)];

/// Runs all steps of a recurrence, one after the other, with one state.
fn step_by_step(call: &Recurrence) -> Given {
    let _shared = shared();
    let (problem, Shape { h_k, h, d_k, d_v }) = (&call.problem, call.problem.shape);
    let (b, s) = (problem.sequences.b, problem.sequences.s);
    let of = |values: &[f64], width: usize| if values.is_empty() { vec![0.0; width] } else { values.to_vec() };
    let mut state = upload(F32, &of(&call.initial_state, b * h * d_k * d_v), &[b, h, d_k, d_v]);
    let mut sums = problem.normaliser.map(|_| upload(F32, &of(&call.initial_normaliser, b * h * d_k), &[b, h, d_k]));
    let mut all = vec![0.0; b * s * h * d_v];
    for t in 0..s {
        let one = call.steps(t..t + 1);
        let (q, k) = (upload(problem.dtype, &one.q, &[b, h_k, d_k]), upload(problem.dtype, &one.k, &[b, h_k, d_k]));
        let v = upload(problem.dtype, &one.v, &[b, h, d_v]);
        let mut out = poisoned(problem.dtype, &[b, h, d_v]);
        let decays = match problem.decay {
            None => vec![0],
            Some(DecayKind::Heads) => vec![h],
            Some(DecayKind::Steps) => vec![b, h],
            Some(DecayKind::Channels) => vec![b, h, d_k],
        };
        let decay = upload(F32, &one.decay, &decays);
        let args = Args {
            decay: match problem.decay {
                None => Decay::None,
                Some(DecayKind::Heads) => Decay::Heads(decay.view().unwrap()),
                Some(DecayKind::Steps) => Decay::Steps(decay.view().unwrap()),
                Some(DecayKind::Channels) => Decay::Channels(decay.view().unwrap()),
            },
            normaliser: sums.as_mut().map(|sums| sums.view_mut().unwrap()),
            options: call.options,
            ..Args::new(
                q.view().unwrap(),
                k.view().unwrap(),
                v.view().unwrap(),
                out.view_mut().unwrap(),
                state.view_mut().unwrap(),
            )
        };
        recurrent_step(queue(), args).unwrap();
        let rows = out.download(queue(), "out").unwrap().to_f64();
        for (batch, row) in rows.chunks(h * d_v).enumerate() {
            all[(batch * s + t) * h * d_v..][..h * d_v].copy_from_slice(row);
        }
    }
    Given {
        out: HostTensor::from_f64("out", problem.dtype, &[b, s, h, d_v], &all),
        state: state.download(queue(), "state").unwrap(),
        normaliser: sums.map(|sums| sums.download(queue(), "normaliser").unwrap()),
    }
}

mod agrees {
    #[test]
    fn every_case_of_check_agrees() {
        crate::assert_checks("scan/recurrent_step");
    }
}

mod properties {
    use super::*;
    use llm_kernels::scan::linear_recurrence::reference::{plain, reference};

    #[test]
    fn step_by_step_is_the_chunked_recurrence() {
        for decay in DECAYS {
            let options = Options { feature_map: FeatureMap::EluPlusOne, normaliser: Some(1e-3), ..PLAIN };
            for options in [PLAIN, options] {
                let call = Recurrence::new(BF16, [2, 40, 1, 2, 32, 80], decay, options).with_state();
                let (exact, plain) = (reference(&call.problem, &call.inputs()), plain(&call.problem, &call.inputs()));
                call.assert_close(&step_by_step(&call), &exact, &plain);
                call.assert_close(&call.run(), &exact, &plain);
            }
        }
    }

    #[test]
    fn a_step_with_a_decay_of_0_keeps_its_own_keys_alone() {
        let mut call = Recurrence::new(F16, [1, 1, 1, 1, 16, 16], Some(DecayKind::Heads), PLAIN).with_state();
        call.decay[0] = f64::NEG_INFINITY;
        let given = step_by_step(&call);
        for (i, x) in given.state.to_f64().into_iter().enumerate() {
            assert_eq!(x, call.k[i / 16] * call.v[i % 16]);
        }
    }
}

mod edges {
    use super::*;

    #[test]
    fn every_width_agrees_with_the_chunked_reference() {
        for width in (16..=256).step_by(16) {
            let call = Recurrence::new(BF16, [1, 2, 1, 2, width, 272 - width], Some(DecayKind::Channels), PLAIN);
            let exact = llm_kernels::scan::linear_recurrence::reference::reference(&call.problem, &call.inputs());
            let plain = llm_kernels::scan::linear_recurrence::reference::plain(&call.problem, &call.inputs());
            call.assert_close(&step_by_step(&call), &exact, &plain);
        }
    }

    #[test]
    fn a_nan_in_a_state_reaches_its_column_alone() {
        let mut call = Recurrence::new(F16, [1, 1, 1, 2, 32, 32], None, PLAIN).with_state();
        call.initial_state[5 * 32 + 7] = f64::NAN;
        let out = step_by_step(&call).out.to_f64();
        assert!(out.iter().enumerate().all(|(i, x)| x.is_nan() == (i == 7)), "{out:?}");
    }
}

mod rejects {
    use super::*;

    fn operand(slot: u64, dtype: DType, shape: &[usize]) -> Operand {
        Operand { address: (1 << 40) + (slot << 36), dtype, layout: Layout::contiguous(shape).unwrap() }
    }

    fn error(options: Options, change: impl FnOnce(&mut Operands)) -> String {
        let mut operands = Operands {
            q: operand(0, F16, &[2, 2, 64]),
            k: operand(1, F16, &[2, 2, 64]),
            v: operand(2, F16, &[2, 4, 48]),
            out: operand(3, F16, &[2, 4, 48]),
            decay: None,
            state: operand(4, F32, &[2, 4, 64, 48]),
            normaliser: None,
        };
        Problem::check(&operands, &PLAIN).unwrap();
        change(&mut operands);
        Problem::check(&operands, &options).unwrap_err().to_string()
    }

    #[test]
    fn each_mistake_has_its_error() {
        let decay = |kind, shape: &[usize]| error(PLAIN, |o| o.decay = Some((kind, operand(5, F32, shape))));
        let normalised = Options { normaliser: Some(0.0), ..PLAIN };
        let cases = [
            (error(PLAIN, |o| o.q = operand(0, F16, &[2, 128])), "q has rank 2, expected 3 [b, h_k, d_k]"),
            (error(PLAIN, |o| o.k = operand(1, BF16, &[2, 2, 64])), "k is bf16, expected f16 (= q)"),
            (error(PLAIN, |o| o.k = operand(1, F16, &[2, 4, 64])), "k has h_k 4, expected 2 (= q)"),
            (
                error(PLAIN, |o| o.v = operand(2, F16, &[2, 3, 48])),
                "v has 3 heads, expected a multiple of 2 (heads of q)",
            ),
            (error(PLAIN, |o| o.out = operand(3, F16, &[2, 4, 64])), "out has d_v 64, expected 48 (= v)"),
            (error(PLAIN, |o| o.state = operand(4, F32, &[2, 4, 48, 64])), "state has d_k 48, expected 64 (= q)"),
            (error(PLAIN, |o| o.state = operand(4, F16, &[2, 4, 64, 48])), "state is f16, expected f32"),
            (error(PLAIN, |o| o.out.address = o.v.address), "out overlaps v in memory"),
            (decay(DecayKind::Heads, &[2]), "decay has h 2, expected 4 (= v)"),
            (decay(DecayKind::Steps, &[4]), "decay has rank 1, expected 2 [b, h]"),
            (decay(DecayKind::Channels, &[2, 4, 48]), "decay has d_k 48, expected 64 (= q)"),
            (error(normalised, |_| ()), "options.normaliser is given without normaliser"),
            (
                error(PLAIN, |o| o.normaliser = Some(operand(6, F32, &[2, 4, 64]))),
                "normaliser is given without options.normaliser",
            ),
            (error(Options { chunk: Some(64), ..PLAIN }, |_| ()), "chunk is 64, expected none: there is one step"),
            (error(Options { scale: Some(f32::NAN), ..PLAIN }, |_| ()), "scale is NaN, expected a finite number"),
            (
                error(PLAIN, |o| (o.q, o.k) = (operand(0, F16, &[2, 2, 40]), operand(1, F16, &[2, 2, 40]))),
                "q has d_k 40; supported: multiples of 16 up to 256",
            ),
        ];
        for (got, expected) in cases {
            assert_eq!(got, format!("scan/recurrent_step: {expected}"));
        }
    }
}

mod plan {
    use super::*;

    #[test]
    fn every_instance_is_embedded() {
        crate::assert_embedded("scan/recurrent_step", 3);
    }

    #[test]
    fn value_columns_are_shared_out_unless_there_is_a_normaliser() {
        let shape = Shape { h_k: 2, h: 4, d_k: 64, d_v: 160 };
        let blocks = |normaliser| {
            let options = Options { normaliser, ..PLAIN };
            let plan = plan_of(&Problem::new(F16, 3, shape, None, &options).unwrap(), &Limits::of_capability(8, 0));
            let plan = plan.unwrap();
            (plan.launch.grid[0], plan.tiles_per_block)
        };
        assert_eq!((blocks(None), blocks(Some(0.0))), ((36, 1), (12, 3)));
    }
}

mod counters {
    use super::*;

    /// A batch of sequences at the widths of named models.
    fn ratio(dtype: DType, [b, h_k, h, d_k, d_v]: [usize; 5], decay: Option<DecayKind>) -> Option<f64> {
        let problem = Problem::new(dtype, b, Shape { h_k, h, d_k, d_v }, decay, &PLAIN).unwrap();
        let normal = |seed, dtype, shape: &[usize]| {
            upload(dtype, &rounded(dtype, &random::normal(seed, shape.iter().product())), shape)
        };
        let (q, k) = (normal(0, dtype, &[b, h_k, d_k]), normal(1, dtype, &[b, h_k, d_k]));
        let v = normal(2, dtype, &[b, h, d_v]);
        let steps = normal(3, F32, &[b, h]);
        let channels = normal(4, F32, &[b, h, d_k]);
        let (mut state, mut out) = (normal(5, F32, &[b, h, d_k, d_v]), poisoned(dtype, &[b, h, d_v]));
        let counters = crate::count(|| {
            let decay = match decay {
                None => Decay::None,
                Some(DecayKind::Channels) => Decay::Channels(channels.view()?),
                _ => Decay::Steps(steps.view()?),
            };
            recurrent_step(
                queue(),
                Args { decay, ..Args::new(q.view()?, k.view()?, v.view()?, out.view_mut()?, state.view_mut()?) },
            )
        })?;
        let needed = plan_of(&problem, queue().device().limits()).unwrap().resources.bytes_needed.unwrap();
        let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
        assert!(taken <= 1.02 * ideal, "{taken} wavefronts for {ideal}");
        Some(get(&counters, "dram_bytes") / needed)
    }

    #[test]
    fn the_state_is_read_once_and_written_once() {
        for (dtype, sizes, decay) in [
            (BF16, [4, 1, 80, 128, 64], Some(DecayKind::Steps)),
            (BF16, [2, 16, 16, 256, 256], None),
            (F16, [2, 4, 4, 256, 256], Some(DecayKind::Channels)),
        ] {
            let Some(ratio) = ratio(dtype, sizes, decay) else { return };
            eprintln!("{sizes:?}: {ratio:.4} of the bytes needed");
            assert!(ratio <= 1.02, "{sizes:?}: {ratio}");
        }
    }
}
