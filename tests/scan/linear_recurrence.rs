//! `scan::linear_recurrence`.

mod agrees;
mod counters;
mod edges;
mod plan;
mod properties;
mod rejects;

use llm_kernels::attention::CuSeqlens;
use llm_kernels::scan::SequenceSizes;
use llm_kernels::scan::linear_recurrence::reference::{Inputs, Output, plain, reference};
use llm_kernels::scan::linear_recurrence::{
    Args, Decay, DecayKind, FeatureMap, Options, Problem, Shape, linear_recurrence, plan as plan_of,
};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{DeviceTensor, HostTensor, compare, compare_rows, random};
use llm_kernels::{DType, Result, TensorView};

use crate::{poisoned, queue, rounded, shared, upload};

use DType::{BF16, F16, F32};

const PLAIN: Options = Options { scale: None, feature_map: FeatureMap::Identity, normaliser: None, chunk: None };
const DECAYS: [Option<DecayKind>; 4] =
    [None, Some(DecayKind::Heads), Some(DecayKind::Steps), Some(DecayKind::Channels)];

/// A problem with its input, row-major.
#[derive(Clone, Debug)]
pub(crate) struct Recurrence {
    pub(crate) problem: Problem,
    pub(crate) options: Options,
    pub(crate) q: Vec<f64>,
    pub(crate) k: Vec<f64>,
    pub(crate) v: Vec<f64>,
    pub(crate) decay: Vec<f64>,
    pub(crate) initial_state: Vec<f64>,
    pub(crate) initial_normaliser: Vec<f64>,
    pub(crate) offsets: Vec<i32>,
}

/// What the kernel gave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Given {
    pub(crate) out: HostTensor,
    pub(crate) state: HostTensor,
    pub(crate) normaliser: Option<HostTensor>,
}

/// The input on the device.
pub(crate) struct Uploaded {
    q: DeviceTensor,
    k: DeviceTensor,
    v: DeviceTensor,
    decay: DeviceTensor,
    initial_state: Option<DeviceTensor>,
    initial_normaliser: Option<DeviceTensor>,
    cu_seqlens: Option<CuSeqlens<'static>>,
    out: DeviceTensor,
    state: DeviceTensor,
    normaliser: Option<DeviceTensor>,
    workspace: DeviceTensor,
}

impl Recurrence {
    /// Input of the standard normal distribution, without an initial state; sizes are `[b, s, h_k, h, d_k, d_v]`.
    pub(crate) fn new(dtype: DType, sizes: [usize; 6], decay: Option<DecayKind>, options: Options) -> Self {
        Self::seeded(0, dtype, SequenceSizes::uniform(sizes[0], sizes[1]), sizes, decay, options)
    }

    /// Sequences of various lengths.
    fn of_lengths(
        dtype: DType,
        lengths: &[usize],
        heads: [usize; 4],
        decay: Option<DecayKind>,
        options: Options,
    ) -> Self {
        let mut offsets = vec![0];
        offsets.extend(lengths.iter().scan(0, |sum, &length| {
            *sum += length as i32;
            Some(*sum)
        }));
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let sequences = SequenceSizes { b: lengths.len(), s: longest, total: Some(lengths.iter().sum()) };
        let [h_k, h, d_k, d_v] = heads;
        let sizes = [lengths.len(), longest, h_k, h, d_k, d_v];
        Self { offsets, ..Self::seeded(0, dtype, sequences, sizes, decay, options) }
    }

    fn seeded(
        seed: u64,
        dtype: DType,
        sequences: SequenceSizes,
        [_, _, h_k, h, d_k, d_v]: [usize; 6],
        decay: Option<DecayKind>,
        options: Options,
    ) -> Self {
        let positions = sequences.positions();
        let shape = Shape { h_k, h, d_k, d_v };
        let problem = Problem::new(dtype, sequences, shape, decay, &options).unwrap();
        let normal = |stream, count| rounded(dtype, &random::normal(8 * seed + stream, count));
        let decays = match decay {
            None => 0,
            Some(DecayKind::Heads) => h,
            Some(DecayKind::Steps) => positions * h,
            Some(DecayKind::Channels) => positions * h * d_k,
        };
        let log_decay = |x: f64| -0.05 * (-1.5 * x).exp();
        let decay: Vec<_> = random::normal(8 * seed + 3, decays).into_iter().map(log_decay).collect();
        Self {
            problem,
            options,
            q: normal(0, positions * h_k * d_k),
            k: normal(1, positions * h_k * d_k),
            v: normal(2, positions * h * d_v),
            decay: rounded(F32, &decay),
            initial_state: Vec::new(),
            initial_normaliser: Vec::new(),
            offsets: Vec::new(),
        }
    }

    /// With a state, and a sum of keys, that it begins with.
    pub(crate) fn with_state(mut self) -> Self {
        let (b, Shape { h, d_k, d_v, .. }) = (self.problem.sequences.b, self.problem.shape);
        self.initial_state = rounded(F32, &random::normal(1001, b * h * d_k * d_v));
        if self.problem.normaliser.is_some() {
            let sums: Vec<_> = random::normal(1002, b * h * d_k).into_iter().map(f64::abs).collect();
            self.initial_normaliser = rounded(F32, &sums);
        }
        self
    }

    pub(crate) fn inputs(&self) -> Inputs<'_> {
        Inputs {
            q: &self.q,
            k: &self.k,
            v: &self.v,
            decay: &self.decay,
            initial_state: &self.initial_state,
            initial_normaliser: &self.initial_normaliser,
            cu_seqlens: &self.offsets,
        }
    }

    fn upload(&self) -> Uploaded {
        let Problem { dtype, sequences, shape: Shape { h_k, h, d_k, d_v }, .. } = self.problem;
        let of = |rest: &[usize]| [&sequences.shape()[..], rest].concat();
        let (keys, values, state, sums) =
            (of(&[h_k, d_k]), of(&[h, d_v]), [sequences.b, h, d_k, d_v], [sequences.b, h, d_k]);
        let decays = match self.problem.decay {
            None => vec![0],
            Some(DecayKind::Heads) => vec![h],
            Some(DecayKind::Steps) => of(&[h]),
            Some(DecayKind::Channels) => of(&[h, d_k]),
        };
        let plan = plan_of(&self.problem, queue().device().limits()).unwrap();
        let given = |values: &[f64], shape: &[usize]| (!values.is_empty()).then(|| upload(F32, values, shape));
        Uploaded {
            q: upload(dtype, &self.q, &keys),
            k: upload(dtype, &self.k, &keys),
            v: upload(dtype, &self.v, &values),
            decay: upload(F32, &self.decay, &decays),
            initial_state: given(&self.initial_state, &state),
            initial_normaliser: given(&self.initial_normaliser, &sums),
            cu_seqlens: (!self.offsets.is_empty()).then(|| CuSeqlens::new(queue(), &self.offsets).unwrap()),
            out: poisoned(dtype, &values),
            state: poisoned(F32, &state),
            normaliser: self.problem.normaliser.map(|_| poisoned(F32, &sums)),
            workspace: poisoned(DType::U8, &[plan.workspace.bytes]),
        }
    }

    fn launch(&self, on: &mut Uploaded) -> Result<()> {
        fn view(tensor: &Option<DeviceTensor>) -> Result<Option<TensorView<'_>>> {
            tensor.as_ref().map(DeviceTensor::view).transpose()
        }
        let args = Args {
            decay: match self.problem.decay {
                None => Decay::None,
                Some(DecayKind::Heads) => Decay::Heads(on.decay.view()?),
                Some(DecayKind::Steps) => Decay::Steps(on.decay.view()?),
                Some(DecayKind::Channels) => Decay::Channels(on.decay.view()?),
            },
            initial_state: view(&on.initial_state)?,
            final_state: Some(on.state.view_mut()?),
            initial_normaliser: view(&on.initial_normaliser)?,
            final_normaliser: on.normaliser.as_mut().map(DeviceTensor::view_mut).transpose()?,
            cu_seqlens: on.cu_seqlens.as_ref(),
            workspace: Some(on.workspace.view_mut()?),
            options: self.options,
            ..Args::new(on.q.view()?, on.k.view()?, on.v.view()?, on.out.view_mut()?)
        };
        linear_recurrence(queue(), args)
    }

    pub(crate) fn run(&self) -> Given {
        let _shared = shared();
        let mut on = self.upload();
        self.launch(&mut on).unwrap_or_else(|error| panic!("{error}"));
        Given {
            out: on.out.download(queue(), "out").unwrap(),
            state: on.state.download(queue(), "final_state").unwrap(),
            normaliser: on.normaliser.map(|sums| sums.download(queue(), "final_normaliser").unwrap()),
        }
    }

    /// What the references have for it, and then the kernel's outputs within the tolerance of those.
    #[track_caller]
    pub(crate) fn assert_agrees(&self) -> Given {
        let given = self.run();
        let (exact, plain) = (reference(&self.problem, &self.inputs()), plain(&self.problem, &self.inputs()));
        self.assert_close(&given, &exact, &plain);
        given
    }

    #[track_caller]
    pub(crate) fn assert_close(&self, given: &Given, exact: &Output, plain: &Output) {
        let dtype = self.problem.dtype;
        let mut agreements = vec![
            compare_rows(&given.out, &exact.out, &plain.out, |row| Tolerance::products(dtype, exact.terms[row])),
            compare(&given.state, &exact.state, &plain.state, Tolerance::sums_of_rounded(dtype)),
        ];
        if let Some(sums) = &given.normaliser {
            agreements.push(compare(sums, &exact.normaliser, &plain.normaliser, Tolerance::sums_of_rounded(dtype)));
        }
        for agreement in agreements {
            assert!(agreement.passed(), "{:?}: {agreement}", self.problem);
        }
    }

    /// Steps `range` of every sequence, all of one length.
    pub(crate) fn steps(&self, range: std::ops::Range<usize>) -> Self {
        let (b, s) = (self.problem.sequences.b, self.problem.sequences.s);
        let part = |values: &[f64]| -> Vec<f64> {
            let width = values.len() / (b * s).max(1);
            (0..b)
                .flat_map(|batch| &values[(batch * s + range.start) * width..][..range.len() * width])
                .copied()
                .collect()
        };
        let of_steps = matches!(self.problem.decay, Some(DecayKind::Steps | DecayKind::Channels));
        Self {
            problem: Problem { sequences: SequenceSizes::uniform(b, range.len()), ..self.problem },
            q: part(&self.q),
            k: part(&self.k),
            v: part(&self.v),
            decay: if of_steps { part(&self.decay) } else { self.decay.clone() },
            ..self.clone()
        }
    }
}
