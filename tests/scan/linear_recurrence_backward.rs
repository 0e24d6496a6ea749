//! `scan::linear_recurrence_backward`.

use llm_kernels::attention::CuSeqlens;
use llm_kernels::scan::SequenceSizes;
use llm_kernels::scan::linear_recurrence::{FeatureMap, reference as forward};
use llm_kernels::scan::linear_recurrence_backward::reference::{Inputs, Output, plain, reference, sum_over_steps};
use llm_kernels::scan::linear_recurrence_backward::{
    Args, Decay, DecayKind, Operands, Options, Problem, Shape, linear_recurrence_backward, plan as plan_of,
};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{DeviceTensor, HostTensor, compare, compare_rows, random};
use llm_kernels::{DType, Layout, Limits, Operand, Result};

use crate::{get, poisoned, queue, rounded, shared, upload};

use DType::{BF16, F16, F32};

const PLAIN: Options = Options { scale: None, feature_map: FeatureMap::Identity, normaliser: None, chunk: None };
const DECAYS: [Option<DecayKind>; 3] = [None, Some(DecayKind::Heads), Some(DecayKind::Steps)];

/// A problem with its input, row-major.
#[derive(Clone, Debug)]
struct Gradients {
    problem: Problem,
    options: Options,
    q: Vec<f64>,
    k: Vec<f64>,
    v: Vec<f64>,
    d_out: Vec<f64>,
    decay: Vec<f64>,
    initial_state: Vec<f64>,
    d_final_state: Vec<f64>,
    offsets: Vec<i32>,
}

/// What the kernels gave: d_q, d_k, d_v, d_initial_state, and d_decay if there are decays.
type Given = Vec<HostTensor>;

struct Uploaded {
    inputs: [DeviceTensor; 4],
    gradients: [DeviceTensor; 3],
    decay: DeviceTensor,
    d_decay: DeviceTensor,
    initial_state: DeviceTensor,
    d_initial_state: DeviceTensor,
    d_final_state: DeviceTensor,
    cu_seqlens: Option<CuSeqlens<'static>>,
    workspace: DeviceTensor,
}

impl Gradients {
    /// Input of the standard normal distribution, states too; sizes are `[b, s, h_k, h, d_k, d_v]`.
    fn new(dtype: DType, [b, s, h_k, h, d_k, d_v]: [usize; 6], decay: Option<DecayKind>, options: Options) -> Self {
        let shape = Shape { h_k, h, d_k, d_v };
        Self::seeded(0, dtype, SequenceSizes::uniform(b, s), shape, decay, options)
    }

    fn seeded(
        seed: u64,
        dtype: DType,
        sequences: SequenceSizes,
        shape: Shape,
        decay: Option<DecayKind>,
        options: Options,
    ) -> Self {
        let Shape { h_k, h, d_k, d_v } = shape;
        let mut problem = Problem::new(dtype, sequences, shape, decay, &options).unwrap();
        (problem.d_decay, problem.d_final_state) = (decay.is_some(), true);
        let positions = sequences.positions();
        let normal = |stream, dtype, count| rounded(dtype, &random::normal(8 * seed + stream, count));
        let decays = match decay {
            None => 0,
            Some(DecayKind::Heads) => h,
            Some(_) => positions * h,
        };
        let log_decay = |x: f64| -0.05 * (-1.5 * x).exp();
        Self {
            problem,
            options,
            q: normal(0, dtype, positions * h_k * d_k),
            k: normal(1, dtype, positions * h_k * d_k),
            v: normal(2, dtype, positions * h * d_v),
            d_out: normal(3, dtype, positions * h * d_v),
            decay: normal(4, F32, decays).into_iter().map(|x| rounded(F32, &[log_decay(x)])[0]).collect(),
            initial_state: normal(5, F32, sequences.b * h * d_k * d_v),
            d_final_state: normal(6, F32, sequences.b * h * d_k * d_v),
            offsets: Vec::new(),
        }
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            q: &self.q,
            k: &self.k,
            v: &self.v,
            d_out: &self.d_out,
            decay: &self.decay,
            initial_state: &self.initial_state,
            d_final_state: &self.d_final_state,
            cu_seqlens: &self.offsets,
        }
    }

    fn upload(&self) -> Uploaded {
        let forward = &self.problem.forward;
        let Shape { h_k, h, d_k, d_v } = forward.shape;
        let of = |rest: &[usize]| [&forward.sequences.shape()[..], rest].concat();
        let (keys, values, state) = (of(&[h_k, d_k]), of(&[h, d_v]), [forward.sequences.b, h, d_k, d_v]);
        let decays = match forward.decay {
            None => vec![0],
            Some(DecayKind::Heads) => vec![h],
            Some(_) => of(&[h]),
        };
        let plan = plan_of(&self.problem, queue().device().limits()).unwrap();
        let dtype = forward.dtype;
        Uploaded {
            inputs: [
                upload(dtype, &self.q, &keys),
                upload(dtype, &self.k, &keys),
                upload(dtype, &self.v, &values),
                upload(dtype, &self.d_out, &values),
            ],
            gradients: [poisoned(dtype, &keys), poisoned(dtype, &keys), poisoned(dtype, &values)],
            decay: upload(F32, &self.decay, &decays),
            d_decay: poisoned(F32, &decays),
            initial_state: upload(F32, &self.initial_state, &state),
            d_initial_state: poisoned(F32, &state),
            d_final_state: upload(F32, &self.d_final_state, &state),
            cu_seqlens: (!self.offsets.is_empty()).then(|| CuSeqlens::new(queue(), &self.offsets).unwrap()),
            workspace: poisoned(DType::U8, &[plan.workspace.bytes]),
        }
    }

    fn launch(&self, on: &mut Uploaded) -> Result<()> {
        let [q, k, v, d_out] = &on.inputs;
        let [d_q, d_k, d_v] = &mut on.gradients;
        let args = Args {
            decay: match self.problem.forward.decay {
                None => Decay::None,
                Some(DecayKind::Heads) => Decay::Heads(on.decay.view()?),
                Some(_) => Decay::Steps(on.decay.view()?),
            },
            d_decay: self.problem.forward.decay.map(|_| on.d_decay.view_mut()).transpose()?,
            initial_state: Some(on.initial_state.view()?),
            d_initial_state: Some(on.d_initial_state.view_mut()?),
            d_final_state: Some(on.d_final_state.view()?),
            cu_seqlens: on.cu_seqlens.as_ref(),
            options: self.options,
            ..Args::new(
                [q.view()?, k.view()?, v.view()?, d_out.view()?],
                [d_q.view_mut()?, d_k.view_mut()?, d_v.view_mut()?],
                on.workspace.view_mut()?,
            )
        };
        linear_recurrence_backward(queue(), args)
    }

    fn run(&self) -> Given {
        let _shared = shared();
        let mut on = self.upload();
        self.launch(&mut on).unwrap_or_else(|error| panic!("{error}"));
        let [d_q, d_k, d_v] = &on.gradients;
        let decay = self.problem.forward.decay.map(|_| (&on.d_decay, "d_decay"));
        let all = [(d_q, "d_q"), (d_k, "d_k"), (d_v, "d_v"), (&on.d_initial_state, "d_initial_state")];
        all.into_iter().chain(decay).map(|(tensor, name)| tensor.download(queue(), name).unwrap()).collect()
    }

    #[track_caller]
    fn assert_agrees(&self) -> Given {
        let given = self.run();
        self.assert_close(&given, &reference(&self.problem, &self.inputs()), &plain(&self.problem, &self.inputs()));
        given
    }

    #[track_caller]
    fn assert_close(&self, given: &Given, exact: &Output, plain: &Output) {
        let dtype = self.problem.forward.dtype;
        let rows = [(&exact.d_q, &plain.d_q), (&exact.d_k, &plain.d_k), (&exact.d_v, &plain.d_v)];
        for ((got, (exact, plain)), terms) in given.iter().zip(rows).zip(&exact.terms) {
            let agreement = compare_rows(got, exact, plain, |row| Tolerance::gradient_products(terms[row]));
            assert!(agreement.passed(), "{:?}: {agreement}", self.problem);
        }
        let states = compare(&given[3], &exact.d_initial_state, &plain.d_initial_state, Tolerance::sums(dtype));
        assert!(states.passed(), "{:?}: {states}", self.problem);
        let Some(d_decay) = given.get(4) else { return };
        let of = |output: &Output| match self.problem.forward.decay {
            Some(DecayKind::Heads) => sum_over_steps(&self.problem, output),
            _ => (output.d_decay.clone(), output.terms[3].clone()),
        };
        let ((exact, terms), (plain, _)) = (of(exact), of(plain));
        let each = HostTensor { shape: vec![exact.len(), 1], ..d_decay.clone() };
        let agreement = compare_rows(&each, &exact, &plain, |row| Tolerance::summed_products(dtype, terms[row]));
        assert!(agreement.passed(), "{:?}: {agreement}", self.problem);
    }
}

mod agrees {
    use super::*;

    #[test]
    fn every_case_of_check_agrees() {
        crate::assert_checks("scan/linear_recurrence_backward");
    }

    #[test]
    fn every_decay_agrees_in_both_types_at_every_width_of_instance() {
        for decay in DECAYS {
            for dtype in [F16, BF16] {
                for (d_k, d_v) in [(64, 64), (128, 32), (16, 144)] {
                    Gradients::new(dtype, [1, 40, 1, 2, d_k, d_v], decay, PLAIN).assert_agrees();
                }
            }
        }
    }

    /// The loss that the gradients are of: `sum out d_out + sum S_T d_final_state`.
    fn loss(call: &Gradients) -> f64 {
        let inputs = forward::Inputs {
            q: &call.q,
            k: &call.k,
            v: &call.v,
            decay: &call.decay,
            initial_state: &call.initial_state,
            initial_normaliser: &[],
            cu_seqlens: &[],
        };
        let output = forward::reference(&call.problem.forward, &inputs);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(&output.out, &call.d_out) + dot(&output.state, &call.d_final_state)
    }

    #[test]
    fn the_reference_is_the_slope_of_the_forward_reference() {
        const STEP: f64 = 1e-5;
        for decay in DECAYS {
            let call = Gradients::new(F16, [1, 12, 1, 2, 16, 16], decay, PLAIN);
            let exact = reference(&call.problem, &call.inputs());
            let d_decay = match decay {
                Some(DecayKind::Heads) => sum_over_steps(&call.problem, &exact).0,
                _ => exact.d_decay.clone(),
            };
            let slope = |change: &dyn Fn(&mut Gradients, f64)| {
                let at = |distance| {
                    let mut changed = call.clone();
                    change(&mut changed, distance);
                    loss(&changed)
                };
                (at(STEP) - at(-STEP)) / (2.0 * STEP)
            };
            let close = |name: &str, i: usize, slope: f64, gradient: f64| {
                assert!((slope - gradient).abs() <= 1e-6 * (1.0 + gradient.abs()), "{name}[{i}]: {slope}, {gradient}");
            };
            for i in (0..call.q.len()).step_by(13) {
                close("d_q", i, slope(&|call, by| call.q[i] += by), exact.d_q[i]);
                close("d_k", i, slope(&|call, by| call.k[i] += by), exact.d_k[i]);
            }
            for i in (0..call.v.len()).step_by(17) {
                close("d_v", i, slope(&|call, by| call.v[i] += by), exact.d_v[i]);
            }
            for i in (0..call.initial_state.len()).step_by(37) {
                close("d_initial_state", i, slope(&|call, by| call.initial_state[i] += by), exact.d_initial_state[i]);
            }
            for i in 0..call.decay.len() {
                close("d_decay", i, slope(&|call, by| call.decay[i] += by), d_decay[i]);
            }
        }
    }

    #[test]
    fn a_difference_beyond_the_tolerance_is_seen() {
        let call = Gradients::new(F16, [1, 40, 1, 1, 32, 32], Some(DecayKind::Steps), PLAIN);
        let (exact, plain) = (reference(&call.problem, &call.inputs()), plain(&call.problem, &call.inputs()));
        let given = call.assert_agrees();
        for output in 0..given.len() {
            for wrong in [20.0, f64::NAN] {
                let mut changed = given.clone();
                let mut values = given[output].to_f64();
                values[7] += wrong;
                changed[output] = HostTensor::from_f64("", given[output].dtype, &given[output].shape, &values);
                let seen = std::panic::catch_unwind(|| call.assert_close(&changed, &exact, &plain)).is_err();
                assert!(seen, "output {output} off by {wrong}");
            }
        }
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::Config;

    fn problems() -> impl Strategy<Value = Gradients> {
        let sizes = (1..3_usize, 1..90_usize, 1..3_usize, 1..3_usize, 1..5_usize, 1..5_usize);
        let chunks = prop_oneof![Just(None), Just(Some(64))];
        (any::<u64>(), any::<bool>(), 0..3_usize, sizes, chunks).prop_map(
            |(seed, half, decay, (b, s, h_k, group, d_k, d_v), chunk)| {
                let shape = Shape { h_k, h: h_k * group, d_k: d_k * 16, d_v: d_v * 16 };
                let (dtype, sequences) = (if half { F16 } else { BF16 }, SequenceSizes::uniform(b, s));
                Gradients::seeded(seed >> 8, dtype, sequences, shape, DECAYS[decay], Options { chunk, ..PLAIN })
            },
        )
    }

    proptest! {
        #![proptest_config(Config { cases: 12, failure_persistence: None, max_shrink_iters: 10, ..Config::default() })]

        #[test]
        fn any_problem_agrees(call in problems()) {
            call.assert_agrees();
        }
    }

    #[test]
    fn the_chunk_does_not_change_the_result_beyond_the_tolerance() {
        for decay in DECAYS {
            let call =
                |chunk| Gradients::new(BF16, [1, 200, 1, 2, 32, 48], decay, Options { chunk: Some(chunk), ..PLAIN });
            let one = call(64);
            let (exact, plain) = (reference(&one.problem, &one.inputs()), plain(&one.problem, &one.inputs()));
            for chunk in [64, 128, 256] {
                call(chunk).assert_close(&call(chunk).run(), &exact, &plain);
            }
        }
    }

    #[test]
    fn the_same_input_gives_the_same_bits() {
        let options = Options { chunk: Some(64), ..PLAIN };
        let call = Gradients::new(F16, [2, 100, 1, 3, 32, 32], Some(DecayKind::Heads), options);
        assert_eq!(call.run(), call.run());
    }

    #[test]
    fn sequences_of_various_lengths_are_each_by_itself() {
        let (shape, options) = (Shape { h_k: 1, h: 2, d_k: 32, d_v: 48 }, Options { chunk: Some(64), ..PLAIN });
        let (lengths, offsets) = ([70, 0, 1, 30], vec![0, 70, 70, 71, 101]);
        let sequences = SequenceSizes { b: 4, s: 70, total: Some(101) };
        let all =
            Gradients { offsets, ..Gradients::seeded(0, BF16, sequences, shape, Some(DecayKind::Steps), options) };
        let given = all.assert_agrees();
        for (batch, length) in lengths.into_iter().enumerate() {
            let part = |values: &[f64]| {
                let width = values.len() / 101;
                values[all.offsets[batch] as usize * width..][..length * width].to_vec()
            };
            let state = |values: &[f64]| values[batch * 3072..][..3072].to_vec();
            let mut one = Gradients::new(BF16, [1, length, 1, 2, 32, 48], Some(DecayKind::Steps), options);
            (one.q, one.k, one.v, one.d_out) = (part(&all.q), part(&all.k), part(&all.v), part(&all.d_out));
            one.decay = part(&all.decay);
            (one.initial_state, one.d_final_state) = (state(&all.initial_state), state(&all.d_final_state));
            let alone = one.run();
            for output in [0, 1, 2, 4] {
                assert_eq!(alone[output].to_f64(), part(&given[output].to_f64()), "sequence {batch}, output {output}");
            }
            assert_eq!(alone[3].to_f64(), state(&given[3].to_f64()), "sequence {batch}");
        }
    }
}

mod edges {
    use super::*;

    #[test]
    fn numbers_of_steps_around_a_block_and_a_chunk_agree() {
        for s in [0, 1, 15, 16, 17, 64, 65, 129] {
            let options = Options { chunk: Some(64), ..PLAIN };
            Gradients::new(F16, [1, s, 1, 1, 16, 16], Some(DecayKind::Steps), options).assert_agrees();
        }
    }

    #[test]
    fn without_steps_the_state_s_gradient_is_passed_on() {
        let call = Gradients::new(BF16, [2, 0, 1, 2, 16, 32], Some(DecayKind::Heads), PLAIN);
        let given = call.run();
        assert_eq!(given[3].to_f64(), call.d_final_state);
        // A decay that no step has has no part in anything: but for the state as a whole.
        assert_eq!(given[4].to_f64(), [0.0; 2]);
    }

    #[test]
    fn a_decay_of_0_stops_gradients_as_it_stops_the_state() {
        let mut call = Gradients::new(F16, [1, 40, 1, 1, 32, 32], Some(DecayKind::Steps), PLAIN);
        call.decay[20] = f64::NEG_INFINITY;
        let given = call.assert_agrees();
        let mut other = call.clone();
        other.d_final_state.iter_mut().for_each(|x| *x *= 2.0);
        let changed = other.run();
        for output in 0..3 {
            assert_eq!(given[output].to_f64()[..20 * 32], changed[output].to_f64()[..20 * 32], "output {output}");
        }
        assert_eq!(given[3], changed[3]);
    }
}

mod rejects {
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
                error(PLAIN, |o| o.decay = Some((DecayKind::Channels, operand(8, F32, &[2, 10, 4, 64])))),
                "decay has kind Channels; supported: None, Heads, Steps",
            ),
            (
                error(Options { feature_map: FeatureMap::Relu, ..PLAIN }, |_| ()),
                "options has feature_map Relu; supported: Identity",
            ),
            (error(Options { normaliser: Some(0.5), ..PLAIN }, |_| ()), "options has normaliser 0.5; supported: none"),
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
}

mod plan {
    use super::*;

    #[test]
    fn every_instance_is_embedded() {
        crate::assert_embedded("scan/linear_recurrence_backward", 3);
    }

    #[test]
    fn gradients_are_recurrences_with_other_widths() {
        let call = Problem::new(
            BF16,
            SequenceSizes::uniform(2, 1000),
            Shape { h_k: 1, h: 8, d_k: 128, d_v: 64 },
            Some(DecayKind::Steps),
            &PLAIN,
        );
        let plan = plan_of(&Problem { d_decay: true, ..call.unwrap() }, &Limits::of_capability(8, 0)).unwrap();
        let names = plan.sweeps.map(|sweep| sweep.main.unwrap().instance);
        let (across, along) = ("linear_recurrence_bf16_d64", "linear_recurrence_bf16_d128");
        assert_eq!(names, [across, across, along]);
        // Rows of q and k, one a warp; heads of sequences.
        assert_eq!((plan.keys.unwrap().grid[0], plan.decays.unwrap().grid[0]), (500, 16));
        assert_eq!(plan.workspace.d_k, 2 * 1000 * 8 * 128 * 4);
    }
}

mod counters {
    use super::*;

    #[test]
    fn most_work_is_done_by_tensor_cores_without_bank_conflicts() {
        let call = Gradients::new(BF16, [1, 256, 1, 4, 128, 64], Some(DecayKind::Steps), PLAIN);
        let mut on = call.upload();
        let Some(counters) = crate::count(|| call.launch(&mut on)) else { return };
        let (tensor, other) =
            (get(&counters, "tensor_multiply_adds"), get(&counters, "thread_inst_executed_but_moves"));
        let share = tensor / (tensor + other);
        let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
        eprintln!("{:.1} % on tensor cores, {:.3} of the ideal wavefronts", 100.0 * share, taken / ideal);
        assert!(share >= 0.6 && taken <= 1.02 * ideal, "{share}, {taken} for {ideal}");
    }

    #[test]
    fn device_memory_moves_little_beside_the_gradients_of_heads() {
        let call = Gradients::new(BF16, [1, 512, 4, 4, 64, 64], Some(DecayKind::Steps), PLAIN);
        let mut on = call.upload();
        let Some(counters) = crate::count(|| call.launch(&mut on)) else { return };
        let plan = plan_of(&call.problem, queue().device().limits()).unwrap();
        // q, k, v and d_out are read by the recurrences 9 times instead of 4, q and k once more; each gradient of q and k of a
        // head is written and read in f32; decays are read three times; the decays' differences are written and read.
        let (rows, heads) = (512.0 * 4.0 * 64.0 * 2.0, 512.0 * 4.0 * 64.0 * 4.0);
        let expected = (9.0 + 2.0 + 3.0) * rows + 4.0 * heads + 512.0 * 4.0 * 4.0 * (3.0 + 3.0);
        let states = 6.0 * 4.0 * 64.0 * 64.0 * 4.0;
        let moved = get(&counters, "dram_bytes");
        eprintln!("{moved} bytes for {expected} and states of {states}; needed {:?}", plan.resources.bytes_needed);
        assert!(plan.sweeps[0].num_chunks == 1 && moved <= 1.05 * (expected + states), "{moved} for {expected}");
    }
}
