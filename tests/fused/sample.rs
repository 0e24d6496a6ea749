//! `fused::sample`.

mod counters;
mod plan;
mod rejects;

use super::*;
use llm_kernels::fused::sample::reference::{probabilities, reference};
use llm_kernels::fused::sample::{Args, Operands, Options, Problem, sample};
use proptest::prelude::*;

/// A call with its input.
#[derive(Clone, Debug)]
struct Sample {
    logits: Tensor,
    steps: Option<Vec<f64>>,
    options: Options,
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq)]
struct Drawn {
    ids: HostTensor,
    log_probabilities: HostTensor,
    steps: Vec<f64>,
}

impl Sample {
    /// `[m, n]`, a few logits far above the others.
    fn new(dtype: DType, shape: [usize; 2], options: Options) -> Self {
        let logits: Vec<f64> =
            random::normal(1, shape[0] * shape[1]).iter().map(|x| 1.5 * x + 0.3 * x.powi(3)).collect();
        Self { logits: Tensor::new(dtype, &shape, &logits), steps: None, options }
    }

    /// The same row again and again.
    fn repeated(dtype: DType, row: &[f64], m: usize, options: Options) -> Self {
        Self { logits: Tensor::new(dtype, &[m, row.len()], &row.repeat(m)), steps: None, options }
    }

    fn operands(&self) -> Operands {
        let m = self.logits.layout.shape()[0];
        let vector = |dtype, slot| Tensor::new(dtype, &[m], &vec![0.0; m]).operand(slot);
        let workspace = Layout::contiguous(&[1 << 30]).unwrap();
        Operands {
            logits: self.logits.operand(0),
            ids: vector(DType::I32, 1),
            log_probabilities: Some(vector(F32, 2)),
            steps: self.steps.as_ref().map(|_| vector(DType::I32, 3)),
            workspace: Operand { address: 1 << 50, dtype: DType::U8, layout: workspace },
        }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), &self.options).unwrap_or_else(|error| panic!("{error}"))
    }

    fn launch(&self, logits: &DeviceTensor, outputs: &mut [DeviceTensor; 3]) -> Result<()> {
        let [ids, log_probabilities, steps] = outputs;
        let bytes = llm_kernels::fused::sample::plan(&self.problem(), queue().device().limits())?.workspace_bytes;
        let mut workspace = poisoned(DType::U8, Layout::contiguous(&[bytes])?);
        let args = Args {
            logits: logits.view()?,
            ids: ids.view_mut()?,
            log_probabilities: Some(log_probabilities.view_mut()?),
            steps: self.steps.as_ref().map(|_| steps.view_mut()).transpose()?,
            workspace: workspace.view_mut()?,
            options: self.options,
        };
        sample(queue(), args)?;
        queue().synchronize()
    }

    fn outputs(&self) -> [DeviceTensor; 3] {
        let m = self.logits.layout.shape()[0];
        let layout = Layout::contiguous(&[m]).unwrap();
        let steps = Tensor::new(DType::I32, &[m], self.steps.as_ref().unwrap_or(&vec![0.0; m]));
        [poisoned(DType::I32, layout), poisoned(F32, layout), steps.upload()]
    }

    fn run(&self) -> Drawn {
        let _shared = shared();
        let mut outputs = self.outputs();
        self.launch(&self.logits.upload(), &mut outputs).unwrap_or_else(|error| panic!("{error}"));
        let [ids, log_probabilities, steps] = ["ids", "log_probabilities", "steps"];
        Drawn {
            ids: download(&outputs[0], ids),
            log_probabilities: download(&outputs[1], log_probabilities),
            steps: download(&outputs[2], steps).to_f64(),
        }
    }

    #[track_caller]
    fn assert_agrees(&self) -> Drawn {
        let (drawn, problem) = (self.run(), self.problem());
        let exact = reference(&problem, &self.logits.values, self.steps.as_deref().unwrap_or_default());
        let plain = llm_kernels::fused::sample::reference::plain(&problem, &self.logits.values, &exact.ids);
        assert_within(&drawn.ids, &exact.ids, &exact.ids, Tolerance::exact(), &problem);
        let tolerance = Tolerance::logarithms(0);
        assert_within(&drawn.log_probabilities, &exact.log_probabilities, &plain, tolerance, &problem);
        drawn
    }
}

fn greedy() -> Options {
    Options { temperature: 0.0, ..Options::default() }
}

mod agrees {
    use super::*;

    #[test]
    fn every_case_of_check_agrees() {
        assert_checks("fused/sample");
    }

    #[test]
    fn every_type_and_filter_agrees() {
        for dtype in FLOATS {
            for (top_k, top_p, min_p, temperature) in [
                (None, 1.0, 0.0, 0.0),
                (None, 1.0, 0.0, 1.0),
                (Some(1), 1.0, 0.0, 1.0),
                (Some(20), 1.0, 0.0, 2.0),
                (None, 0.5, 0.0, 0.7),
                (None, 1.0, 0.2, 1.3),
                (Some(9), 0.8, 0.1, 1.0),
            ] {
                let options = Options { temperature, top_k, top_p, min_p, seed: u64::MAX - 5, step: 77 };
                Sample::new(dtype, [12, 1600], options).assert_agrees();
                Sample::new(dtype, [5, 1601], options).assert_agrees();
            }
        }
    }

    #[test]
    fn the_reference_restricts_as_defined() {
        let logits = [4.0_f64, 3.0, 3.0, 2.0, 1.0, f64::NEG_INFINITY].map(f64::exp).map(f64::ln);
        let possible = |options: Options| {
            let p = probabilities(&options, &logits);
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            p.iter().map(|p| *p > 0.0).collect::<Vec<_>>()
        };
        let all = Options::default();
        assert_eq!(possible(all), [true, true, true, true, true, false]);
        assert_eq!(possible(greedy()), [true, false, false, false, false, false]);
        // Equals of the last one stay.
        assert_eq!(possible(Options { top_k: Some(2), ..all }), [true, true, true, false, false, false]);
        // Probabilities 0.50, 0.18, 0.18, 0.07, 0.02.
        assert_eq!(possible(Options { top_p: 0.4, ..all }), [true, false, false, false, false, false]);
        assert_eq!(possible(Options { top_p: 0.6, ..all }), [true, true, true, false, false, false]);
        assert_eq!(possible(Options { min_p: 0.2, ..all }), [true, true, true, false, false, false]);
    }
}

mod properties {
    use super::*;

    /// Pearson's statistic of draws against probabilities, and its degrees of freedom; rare tokens are one class.
    fn chi_square(ids: &[f64], probabilities: &[f64]) -> (f64, f64) {
        let draws = ids.len() as f64;
        let mut counts = vec![0.0; probabilities.len()];
        ids.iter().for_each(|&id| counts[id as usize] += 1.0);
        let (mut statistic, mut classes, mut rare) = (0.0, 0.0, [0.0, 0.0]);
        for (count, p) in counts.iter().zip(probabilities) {
            if *p == 0.0 {
                assert_eq!(*count, 0.0, "an excluded token was drawn");
            } else if p * draws < 8.0 {
                rare = [rare[0] + count, rare[1] + p];
            } else {
                statistic += (count - p * draws).powi(2) / (p * draws);
                classes += 1.0;
            }
        }
        if rare[1] * draws >= 8.0 {
            statistic += (rare[0] - rare[1] * draws).powi(2) / (rare[1] * draws);
            classes += 1.0;
        }
        (statistic, classes - 1.0)
    }

    #[test]
    fn frequencies_match_the_distribution() {
        let row: Vec<f64> = random::normal(3, 64).iter().map(|x| 1.5 * x).collect();
        for (seed, options) in [
            Options::default(),
            Options { temperature: 0.6, ..Options::default() },
            Options { temperature: 1.7, top_k: Some(12), ..Options::default() },
            Options { top_p: 0.7, ..Options::default() },
            Options { min_p: 0.1, ..Options::default() },
            Options { top_k: Some(20), top_p: 0.9, min_p: 0.02, ..Options::default() },
        ]
        .into_iter()
        .enumerate()
        {
            let options = Options { seed: seed as u64, ..options };
            let call = Sample::repeated(F32, &row, 4000, options);
            let expected = probabilities(&options, &call.logits.values[..64]);
            let (statistic, freedom) = chi_square(&call.run().ids.to_f64(), &expected);
            // Beyond five standard deviations of the statistic: once in a million seeds.
            assert!(statistic < freedom + 5.0 * (2.0 * freedom).sqrt(), "{options:?}: {statistic} of {freedom}");
        }
    }

    #[test]
    fn a_distribution_that_is_off_by_a_tenth_is_seen() {
        let row: Vec<f64> = random::normal(3, 64);
        let draws = Sample::repeated(F32, &row, 4000, Options::default()).run().ids.to_f64();
        let wrong = probabilities(&Options { temperature: 1.15, ..Options::default() }, &row);
        let (statistic, freedom) = chi_square(&draws, &wrong);
        assert!(statistic > freedom + 5.0 * (2.0 * freedom).sqrt(), "{statistic} of {freedom}");
    }

    proptest! {
        #![proptest_config(cases(60))]

        #[test]
        fn any_call_agrees(
            m in 1..12_usize, n in 1..3000_usize, dtype in 0..3_usize, seed: u64, step: u32, k in 0..60_u32,
            p in 0..10_u32, min in 0..4_u32, gap in 0..9_usize,
        ) {
            let top_k = (k > 0).then_some(k);
            let (top_p, min_p) = (1.0 - p as f32 / 10.0, min as f32 / 10.0);
            let mut call =
                Sample::new(FLOATS[dtype], [m, n], Options { temperature: 1.1, top_k, top_p, min_p, seed, step });
            call.logits = call.logits.strided(&[n + gap, 1]);
            call.steps = Some((0..m).map(|i| (i * i) as f64).collect());
            call.assert_agrees();
        }
    }

    #[test]
    fn low_temperatures_approach_the_largest() {
        let largest = Sample::new(F32, [50, 500], greedy()).run().ids;
        let cold = Options { temperature: 0.001, ..Options::default() };
        assert_eq!(Sample::new(F32, [50, 500], cold).run().ids, largest);
        let one = Options { top_k: Some(1), ..Options::default() };
        assert_eq!(Sample::new(F32, [50, 500], one).run().ids, largest);
    }

    #[test]
    fn steps_advance_and_make_new_draws_that_a_step_of_its_own_repeats() {
        let mut call = Sample::new(F16, [40, 1000], Options { seed: 9, temperature: 3.0, ..Options::default() });
        call.steps = Some((0..40).map(f64::from).collect());
        let first = call.run();
        assert_eq!(first.steps, (1..41).map(f64::from).collect::<Vec<_>>());
        call.steps = Some(first.steps.clone());
        let second = call.run();
        assert!(first.ids.to_f64().iter().zip(second.ids.to_f64()).filter(|(a, b)| *a != b).count() > 20);
        // The step may come from the options as well.
        let same = Sample {
            steps: Some((0..40).map(f64::from).collect()),
            options: Options { step: 1, ..call.options },
            ..call
        };
        assert_eq!(same.run().ids, second.ids);
    }

    #[test]
    fn captured_in_a_graph_every_replay_draws_the_next_step() {
        let _alone = alone();
        let call = Sample {
            steps: Some(vec![5.0; 3]),
            ..Sample::new(F32, [3, 700], Options { seed: 4, ..Options::default() })
        };
        let expected: Vec<Vec<f64>> = (5..9)
            .map(|step| {
                let steps = vec![f64::from(step); 3];
                reference(&call.problem(), &call.logits.values, &steps).ids
            })
            .collect();
        // The legacy default stream can't be captured.
        let queue = &queue().device().new_queue().unwrap();
        let plan = llm_kernels::fused::sample::plan(&call.problem(), queue.device().limits()).unwrap();
        let logits = call.logits.upload();
        let [mut ids, _, mut steps] = call.outputs();
        let mut workspace = poisoned(DType::U8, Layout::contiguous(&[plan.workspace_bytes]).unwrap());
        for launch in [plan.parts, plan.rows] {
            queue.device().prepare(&launch).unwrap();
        }
        queue.synchronize().unwrap();
        // Events recorded outside a capture can't be waited for inside.
        // SAFETY: everything runs on this one queue, alone; nothing else needs the events.
        unsafe { queue.device().context().disable_event_tracking() };
        let mode = cudarc::driver::sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        queue.stream().begin_capture(mode).unwrap();
        let args = Args {
            logits: logits.view().unwrap(),
            ids: ids.view_mut().unwrap(),
            log_probabilities: None,
            steps: Some(steps.view_mut().unwrap()),
            workspace: workspace.view_mut().unwrap(),
            options: call.options,
        };
        sample(queue, args).unwrap();
        let flags = cudarc::driver::sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = queue.stream().end_capture(flags).unwrap().expect("a graph");
        for expected in expected {
            graph.launch().unwrap();
            queue.synchronize().unwrap();
            assert_eq!(ids.download(queue, "ids").unwrap().to_f64(), expected);
        }
        // SAFETY: as above.
        unsafe { queue.device().context().enable_event_tracking() };
    }
}

mod edges {
    use super::*;

    #[test]
    fn equals_give_the_first_and_nan_is_passed_over() {
        let row = [1.0, f64::NAN, 7.0, 3.0, 7.0, 7.0, f64::NEG_INFINITY, f64::NAN];
        for dtype in FLOATS {
            let call = Sample::repeated(dtype, &row.repeat(300), 2, greedy());
            assert_eq!(call.assert_agrees().ids.to_f64(), [2.0, 2.0]);
            let drawn = Sample::repeated(dtype, &row, 200, Options::default()).assert_agrees();
            assert!(drawn.ids.to_f64().iter().all(|&id| ![1.0, 6.0, 7.0].contains(&id)));
        }
    }

    #[test]
    fn a_row_without_any_token_gives_minus_one() {
        for options in [greedy(), Options::default(), Options { top_k: Some(3), top_p: 0.5, ..Options::default() }] {
            for nothing in [f64::NAN, f64::NEG_INFINITY] {
                let mut call = Sample::new(F32, [3, 600], options);
                call.logits.values[600..1200].fill(nothing);
                let drawn = call.assert_agrees();
                assert_eq!(drawn.ids.to_f64()[1], -1.0);
                assert!(drawn.log_probabilities.to_f64()[1].is_nan());
            }
        }
    }

    #[test]
    fn of_infinite_logits_the_first_is_taken() {
        for options in [greedy(), Options::default(), Options { top_p: 0.5, min_p: 0.1, ..Options::default() }] {
            let mut call = Sample::new(F16, [1, 600], options);
            [call.logits.values[77], call.logits.values[500]] = [f64::INFINITY; 2];
            assert_eq!(call.run().ids.to_f64(), [77.0]);
        }
    }

    #[test]
    fn a_single_possible_token_is_always_drawn() {
        let mut row = vec![f64::NEG_INFINITY; 999];
        row[998] = -1e30;
        let drawn = Sample::repeated(F32, &row, 300, Options { min_p: 1.0, ..Options::default() }).run();
        assert!(drawn.ids.to_f64().iter().all(|&id| id == 998.0));
        assert!(drawn.log_probabilities.to_f64().iter().all(|&p| p == 0.0));
    }

    #[test]
    fn rows_of_a_large_vocabulary_agree() {
        for (dtype, options) in [
            (F32, greedy()),
            (BF16, Options { temperature: 0.9, top_p: 0.95, seed: 1, ..Options::default() }),
            (F32, Options { temperature: 3.0, top_k: Some(40), seed: 2, ..Options::default() }),
        ] {
            Sample::new(dtype, [1, 262_144], options).assert_agrees();
        }
    }

    #[test]
    fn equal_logits_everywhere_pass_every_filter() {
        let options = Options { top_k: Some(5), top_p: 0.3, min_p: 1.0, ..Options::default() };
        let drawn = Sample::repeated(F16, &[2.5; 512], 300, options).assert_agrees().ids.to_f64();
        let different: std::collections::BTreeSet<i64> = drawn.iter().map(|&id| id as i64).collect();
        assert!(different.len() > 150, "{} tokens", different.len());
    }
}
