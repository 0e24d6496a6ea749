//! `scan::linear_recurrence_backward`.

mod agrees;
mod properties;
mod rejects;

use llm_kernels::attention::CuSeqlens;
use llm_kernels::scan::SequenceSizes;
use llm_kernels::scan::linear_recurrence::{FeatureMap, reference as forward};
use llm_kernels::scan::linear_recurrence_backward::reference::{Inputs, Output, plain, reference};
use llm_kernels::scan::linear_recurrence_backward::{
    Args, Decay, DecayKind, Operands, Options, Problem, Shape, compare_all, linear_recurrence_backward, plan as plan_of,
};
use llm_kernels::verify::{DeviceTensor, HostTensor, random};
use llm_kernels::{DType, Layout, Limits, Operand, Result};

use crate::{get, poisoned, queue, rounded, shared, upload};

use DType::{BF16, F16, F32};

const PLAIN: Options = Options { scale: None, feature_map: FeatureMap::Identity, normaliser: None, chunk: None };
const DECAYS: [Option<DecayKind>; 4] =
    [None, Some(DecayKind::Heads), Some(DecayKind::Steps), Some(DecayKind::Channels)];

const LINEAR: Options = Options { feature_map: FeatureMap::EluPlusOne, normaliser: Some(1e-2), ..PLAIN };
const MAPS: [FeatureMap; 4] = [FeatureMap::Identity, FeatureMap::EluPlusOne, FeatureMap::Relu, FeatureMap::Exp];

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
    initial_normaliser: Vec<f64>,
    d_final_normaliser: Vec<f64>,
    offsets: Vec<i32>,
}

/// What the kernels gave: d_q, d_k, d_v, d_initial_state, d_decay if there are decays, and d_initial_normaliser if there is a
/// normaliser.
type Given = Vec<HostTensor>;

struct Uploaded {
    inputs: [DeviceTensor; 4],
    gradients: [DeviceTensor; 3],
    decay: DeviceTensor,
    d_decay: DeviceTensor,
    initial_state: DeviceTensor,
    d_initial_state: DeviceTensor,
    d_final_state: DeviceTensor,
    initial_normaliser: Option<DeviceTensor>,
    d_initial_normaliser: Option<DeviceTensor>,
    d_final_normaliser: Option<DeviceTensor>,
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
        problem.d_final_normaliser = options.normaliser.is_some();
        let sums = if options.normaliser.is_some() { sequences.b * h * d_k } else { 0 };
        let normal = |stream, dtype, count| rounded(dtype, &random::normal(8 * seed + stream, count));
        let decays = match decay {
            None => 0,
            Some(DecayKind::Heads) => h,
            Some(DecayKind::Steps) => positions * h,
            Some(DecayKind::Channels) => positions * h * d_k,
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
            initial_normaliser: normal(7, F32, sums).into_iter().map(f64::abs).collect(),
            d_final_normaliser: normal(4, F32, sums),
            offsets: Vec::new(),
        }
    }

    /// With q and k above 0 where nothing else keeps a normaliser from 0.
    fn positive(mut self) -> Self {
        let Options { feature_map, normaliser, .. } = self.options;
        if feature_map == FeatureMap::Identity && normaliser.is_some() {
            self.q.iter_mut().chain(&mut self.k).for_each(|x| *x = x.abs());
        }
        self
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
            initial_normaliser: &self.initial_normaliser,
            d_final_normaliser: &self.d_final_normaliser,
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
            Some(DecayKind::Steps) => of(&[h]),
            Some(DecayKind::Channels) => of(&[h, d_k]),
        };
        let plan = plan_of(&self.problem, queue().device().limits()).unwrap();
        let (dtype, normalised) = (forward.dtype, forward.normaliser.is_some());
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
            initial_normaliser: normalised.then(|| upload(F32, &self.initial_normaliser, &state[..3])),
            d_initial_normaliser: normalised.then(|| poisoned(F32, &state[..3])),
            d_final_normaliser: normalised.then(|| upload(F32, &self.d_final_normaliser, &state[..3])),
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
                Some(DecayKind::Steps) => Decay::Steps(on.decay.view()?),
                Some(DecayKind::Channels) => Decay::Channels(on.decay.view()?),
            },
            d_decay: self.problem.forward.decay.map(|_| on.d_decay.view_mut()).transpose()?,
            initial_state: Some(on.initial_state.view()?),
            d_initial_state: Some(on.d_initial_state.view_mut()?),
            d_final_state: Some(on.d_final_state.view()?),
            initial_normaliser: on.initial_normaliser.as_ref().map(DeviceTensor::view).transpose()?,
            d_initial_normaliser: on.d_initial_normaliser.as_mut().map(DeviceTensor::view_mut).transpose()?,
            d_final_normaliser: on.d_final_normaliser.as_ref().map(DeviceTensor::view).transpose()?,
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
        let normaliser = on.d_initial_normaliser.iter().map(|tensor| (tensor, "d_initial_normaliser"));
        all.into_iter()
            .chain(decay)
            .chain(normaliser)
            .map(|(tensor, name)| tensor.download(queue(), name).unwrap())
            .collect()
    }

    #[track_caller]
    fn assert_agrees(&self) -> Given {
        let given = self.run();
        self.assert_close(&given, &reference(&self.problem, &self.inputs()), &plain(&self.problem, &self.inputs()));
        given
    }

    #[track_caller]
    fn assert_close(&self, given: &Given, exact: &Output, plain: &Output) {
        for agreement in compare_all(&self.problem, given, exact, plain) {
            assert!(agreement.passed(), "{:?}: {agreement}", self.problem);
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
    fn more_steps_than_a_chunk_agree_where_no_chunk_is_given() {
        for (decay, options) in [(DecayKind::Heads, PLAIN), (DecayKind::Steps, LINEAR), (DecayKind::Channels, LINEAR)] {
            Gradients::new(BF16, [1, 300, 1, 1, 16, 16], Some(decay), options).assert_agrees();
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

mod plan {
    use super::*;

    #[test]
    fn every_instance_is_embedded() {
        crate::assert_embedded("scan/linear_recurrence_backward", 15);
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
        // Rows of q and k, one a warp; heads of sequences and of chunks of 256 steps.
        assert_eq!((plan.keys.unwrap().grid[0], plan.decays.unwrap().grid[0]), (500, 64));
        assert_eq!(plan.workspace.d_k, 2 * 1000 * 8 * 128 * 4);
    }

    #[test]
    fn only_what_an_option_needs_is_launched() {
        let launches = |feature_map, normaliser| {
            let options = Options { feature_map, normaliser, ..PLAIN };
            let shape = Shape { h_k: 1, h: 2, d_k: 64, d_v: 64 };
            let problem = Problem::new(F16, SequenceSizes::uniform(1, 100), shape, None, &options).unwrap();
            let plan = plan_of(&problem, &Limits::of_capability(8, 0)).unwrap();
            [plan.features, plan.divide, plan.add, plan.keys, plan.decays].map(|launch| launch.is_some())
        };
        assert_eq!(launches(FeatureMap::Identity, None), [false, false, false, true, false]);
        assert_eq!(launches(FeatureMap::Exp, None), [true, false, false, true, false]);
        assert_eq!(launches(FeatureMap::Identity, Some(0.1)), [false, true, true, true, false]);
        assert_eq!(launches(FeatureMap::Relu, Some(0.1)), [true, true, true, true, false]);
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
    fn instructions_for_each_product_stay_below_their_ceiling() {
        let linear = Options { feature_map: FeatureMap::EluPlusOne, normaliser: Some(1e-6), ..PLAIN };
        let calls = [
            (Gradients::new(BF16, [1, 256, 1, 4, 128, 64], Some(DecayKind::Steps), PLAIN), 40.6),
            (Gradients::new(BF16, [1, 256, 1, 1, 256, 256], Some(DecayKind::Heads), PLAIN), 27.6),
            (Gradients::new(F16, [1, 256, 4, 4, 64, 64], None, linear), 89.2),
            (Gradients::new(BF16, [1, 256, 2, 2, 128, 128], Some(DecayKind::Channels), PLAIN), 50.9),
        ];
        for (mut call, ceiling) in calls {
            // As they are in models: most near 1.
            call.decay.iter_mut().for_each(|decay| *decay = rounded(F32, &[0.2 * *decay])[0]);
            let mut on = call.upload();
            let Some(counters) = crate::count(|| call.launch(&mut on)) else { return };
            let ratio = get(&counters, "inst_executed") / get(&counters, "inst_executed_pipe_tensor");
            eprintln!("{:?}: {ratio:.2} instructions for each of the tensor cores'", call.problem.forward.decay);
            assert!(ratio <= ceiling, "{:?}: {ratio}", call.problem);
        }
    }

    #[test]
    fn feature_maps_and_the_normaliser_move_what_they_read_and_write() {
        let options = Options { feature_map: FeatureMap::EluPlusOne, normaliser: Some(1e-6), ..PLAIN };
        let call = Gradients::new(BF16, [1, 512, 4, 4, 64, 64], None, options);
        let mut on = call.upload();
        let Some(counters) = crate::count(|| call.launch(&mut on)) else { return };
        let (rows, heads) = (512.0 * 4.0 * 64.0 * 2.0, 512.0 * 4.0 * 64.0 * 4.0);
        // Features: q and k, read and written. Recurrences: as without. Division: q, k and d_out, two written, a gradient of heads
        // in f32 changed; addition: q, and another. Keys: as without.
        let expected = 4.0 * rows + (9.0 + 2.0 + 3.0) * rows + 4.0 * heads + 5.0 * rows + rows + 4.0 * heads;
        let states = 4.0 * 4.0 * 64.0 * 65.0 * 4.0;
        let moved = get(&counters, "dram_bytes");
        eprintln!("{moved} bytes for {expected} and states of {states}");
        assert!(moved <= 1.05 * (expected + states), "{moved} for {expected}");
        let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
        assert!(taken <= 1.02 * ideal, "{taken} wavefronts for {ideal}");
    }

    #[test]
    fn device_memory_moves_little_beside_the_gradients_of_heads() {
        let options = Options { chunk: Some(512), ..PLAIN };
        let call = Gradients::new(BF16, [1, 512, 4, 4, 64, 64], Some(DecayKind::Steps), options);
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
