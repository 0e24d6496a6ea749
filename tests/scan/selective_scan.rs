//! `scan::selective_scan`.

use crate::support::selective::Inputs;
use crate::support::*;
use llm_kernels::scan::SequenceSizes;
use llm_kernels::scan::selective_scan::reference::{Output, mean_age, plain, reference};
use llm_kernels::scan::selective_scan::{
    Args, CHUNK, Extras, Operands, Options, Parts, Plan, Problem, Shape, plan, selective_scan,
};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{DeviceTensor, HostTensor};
use llm_kernels::{DType, Layout, Limits, Result};
use proptest::prelude::*;

use DType::{BF16, F16, F32};

const PATH: &str = "scan/selective_scan";
const SOFTPLUS: Options = Options { softplus: true, update: false };

/// A call with its input.
#[derive(Clone, Debug)]
struct Scan {
    inputs: Inputs,
    out: Layout,
    options: Options,
    boundary_states: bool,
    /// Whether there is a workspace.
    workspace: bool,
}

impl Scan {
    fn new(dtype: DType, sizes: [usize; 5]) -> Self {
        Self::of(Inputs::new(dtype, sizes))
    }

    fn of(inputs: Inputs) -> Self {
        let out = Layout::contiguous(inputs.u.layout.shape()).unwrap();
        Self { inputs, out, options: SOFTPLUS, boundary_states: false, workspace: false }
    }

    fn boundaries(&self) -> Layout {
        Layout::contiguous(&self.inputs.shape().boundary_states()).unwrap()
    }

    fn operands(&self) -> Operands {
        let inputs = &self.inputs;
        let given = |tensor: &Option<Tensor>, slot| tensor.as_ref().map(|tensor| tensor.operand(slot));
        Operands {
            u: inputs.u.operand(0),
            delta: inputs.delta.operand(1),
            a: inputs.a.operand(2),
            b: inputs.b.operand(3),
            c: inputs.c.operand(4),
            out: operand(inputs.u.dtype, self.out, 5),
            d: given(&inputs.d, 6),
            z: given(&inputs.z, 7),
            delta_bias: given(&inputs.delta_bias, 8),
            initial_state: given(&inputs.initial_state, 9).filter(|_| !self.options.update),
            final_state: Some(operand(F32, inputs.states(), 10)),
            boundary_states: self.boundary_states.then(|| operand(F32, self.boundaries(), 11)),
            workspace: self.workspace.then(|| operand(DType::U8, Layout::contiguous(&[1 << 32]).unwrap(), 12)),
            cu_seqlens: inputs.sequence_operand(),
        }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), &self.options).unwrap_or_else(|error| panic!("{error}"))
    }

    fn plan(&self) -> Plan {
        plan(&self.problem(), queue().device().limits()).unwrap()
    }

    /// The result, the final state and the states before each chunk.
    fn run(&self) -> [HostTensor; 3] {
        let _shared = shared();
        let launch = || -> Result<[HostTensor; 3]> {
            let inputs = &self.inputs;
            let upload = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::upload);
            let [u, delta, a, b, c] = [&inputs.u, &inputs.delta, &inputs.a, &inputs.b, &inputs.c].map(Tensor::upload);
            let [d, z, delta_bias, initial_state] =
                [&inputs.d, &inputs.z, &inputs.delta_bias, &inputs.initial_state].map(upload);
            let (mut out, mut state) = (poisoned(inputs.u.dtype, self.out), poisoned(F32, inputs.states()));
            let mut boundary_states = poisoned(F32, self.boundaries());
            if self.options.update {
                state = upload(&inputs.initial_state).unwrap();
            }
            let bytes = self.plan().workspace_bytes;
            let mut workspace = poisoned(DType::U8, Layout::contiguous(&[bytes])?);
            let offsets = inputs.sequences();
            let args = Args {
                extras: Extras {
                    d: d.as_ref().map(DeviceTensor::view).transpose()?,
                    z: z.as_ref().map(DeviceTensor::view).transpose()?,
                    delta_bias: delta_bias.as_ref().map(DeviceTensor::view).transpose()?,
                    initial_state: initial_state
                        .as_ref()
                        .filter(|_| !self.options.update)
                        .map(DeviceTensor::view)
                        .transpose()?,
                    final_state: Some(state.view_mut()?),
                    boundary_states: if self.boundary_states { Some(boundary_states.view_mut()?) } else { None },
                    workspace: if self.workspace { Some(workspace.view_mut()?) } else { None },
                    cu_seqlens: offsets.as_ref(),
                },
                options: self.options,
                ..Args::new(u.view()?, delta.view()?, [a.view()?, b.view()?, c.view()?], out.view_mut()?)
            };
            selective_scan(queue(), args)?;
            queue().synchronize()?;
            Ok([
                download(&out, "out"),
                download(&state, "final_state"),
                boundary_states.download(queue(), "boundary_states")?,
            ])
        };
        launch().unwrap_or_else(|error| panic!("{error}"))
    }

    fn expected(&self) -> [Output; 2] {
        let problem = self.problem();
        [reference, plain].map(|of| of(&problem, &self.inputs.input(), &self.inputs.all_channels()))
    }

    #[track_caller]
    fn assert_agrees(&self) -> [HostTensor; 3] {
        let (outputs, [exact, plain], problem) = (self.run(), self.expected(), self.problem());
        let age = mean_age(&problem, &self.inputs.input(), &self.inputs.all_channels());
        let [out, state, _] = &outputs;
        assert_within(out, &exact.out, &plain.out, Tolerance::recurrent(out.dtype, age), &problem);
        assert_within(state, &exact.final_state, &plain.final_state, Tolerance::recurrent(F32, age), &problem);
        outputs
    }
}

mod agrees {
    use super::*;

    #[test]
    fn every_case_of_check_agrees() {
        assert_checks(PATH);
    }

    #[test]
    fn every_type_with_and_without_what_may_be_left_out_agrees() {
        for (i, dtype) in (0..32).flat_map(|i| FLOATS.map(|dtype| (i, dtype))) {
            let mut inputs = Inputs::new(dtype, [1, 37, 20, 16, 1]).with_parts(i);
            let softplus = i & 16 != 0;
            if !softplus {
                inputs = inputs.with_plain_steps();
            }
            Scan { options: Options { softplus, update: false }, ..Scan::of(inputs) }.assert_agrees();
        }
    }

    #[test]
    fn every_number_of_states_agrees() {
        for d_state in (4..=256).step_by(4) {
            Scan::new(FLOATS[d_state / 4 % 3], [1, 19, 28, d_state, 1]).assert_agrees();
        }
    }

    #[test]
    fn the_reference_is_the_definition() {
        // One step and two states: h = exp(delta A) h + delta B u.
        let mut scan = Scan::new(F32, [1, 1, 4, 4, 1]);
        scan.inputs.delta = Tensor::new(F32, &[1, 1, 4], &[0.5; 4]);
        scan.inputs.u = Tensor::new(F32, &[1, 1, 4], &[3.0; 4]);
        scan.inputs.a = Tensor::new(F32, &[4, 4], &[-2.0; 16]);
        scan.inputs.b = Tensor::new(F32, &[1, 1, 1, 4], &[1.0, 2.0, 0.0, 0.0]);
        scan.inputs.c = Tensor::new(F32, &[1, 1, 1, 4], &[1.0, 10.0, 0.0, 0.0]);
        scan.inputs.initial_state = Some(Tensor::new(F32, &[1, 4, 4], &[1.0; 16]));
        scan.inputs.d = Some(Tensor::new(F32, &[4], &[100.0; 4]));
        scan.inputs.z = Some(Tensor::new(F32, &[1, 1, 4], &[0.0, 1.0, -1.0, 2.0]));
        scan.inputs.delta_bias = None;
        scan.options.softplus = false;
        let decay = (-1f64).exp();
        let y = (decay + 1.5) + 10.0 * (decay + 3.0) + 300.0;
        for (output, error) in scan.expected().iter().zip([1e-12, 1e-4]) {
            for (z, out) in [0.0, 1.0, -1.0, 2.0].iter().zip(&output.out) {
                assert!((out - y * z / (1.0 + (-z).exp())).abs() < error);
            }
            assert!((output.final_state[1] - decay - 3.0).abs() < error);
        }
    }

    #[test]
    fn a_difference_beyond_the_tolerance_is_seen() {
        let scan = Scan::new(F16, [1, 20, 16, 16, 1]);
        let mut wrong = scan.clone();
        wrong.inputs.a.values[5] *= 1.5;
        let ([out, ..], [exact, plain]) = (scan.run(), wrong.expected());
        let found = llm_kernels::verify::compare(&out, &exact.out, &plain.out, Tolerance::recurrent(F16, 10.0));
        assert!(!found.passed());
    }
}

mod properties;

mod edges;

mod rejects;

mod plan {
    use super::*;

    #[test]
    fn every_instance_is_embedded_without_spills() {
        assert_embedded(PATH, 5);
    }

    #[test]
    fn the_number_of_states_chooses_the_instance() {
        let planned = |dim, d_state, groups| {
            let problem = Scan::new(F16, [3, 5, dim, d_state, groups]).problem();
            let plan = plan(&problem, &Limits::of_capability(8, 6)).unwrap();
            (plan.launch.unwrap().instance, plan.launch.unwrap().grid[0], plan.tiles_of_group)
        };
        assert_eq!(planned(64, 16, 1), ("selective_scan_16", 6, 2));
        assert_eq!(planned(72, 4, 2), ("selective_scan_16", 12, 2));
        assert_eq!(planned(64, 20, 1), ("selective_scan_64", 3, 1));
        assert_eq!(planned(100, 68, 1), ("selective_scan_128", 6, 2));
        assert_eq!(planned(132, 132, 1), ("selective_scan_256", 6, 2));
    }

    #[test]
    fn few_blocks_of_long_sequences_are_cut_into_segments_where_there_is_a_workspace() {
        let planned = |b, s, dim, d_state, workspace| {
            let shape = Shape { sequences: SequenceSizes::uniform(b, s), dim, d_state, groups: 1 };
            let parts = Parts { workspace, ..Parts::default() };
            let problem = Problem::new(F16, shape, parts, SOFTPLUS).unwrap();
            let limits = Limits { multiprocessors: 108, ..Limits::of_capability(8, 0) };
            let plan = plan(&problem, &limits).unwrap();
            let words = plan.segments.map_or(0, |segments| segments.carry + b * dim * d_state * 4);
            assert_eq!((plan.workspace_bytes, plan.clear.is_some()), (words, plan.segments.is_some()));
            let grid = plan.launch.unwrap().grid[0] as usize;
            assert_eq!(grid, plan.blocks * plan.segments.map_or(1, |segments| segments.count));
            plan.segments.map(|segments| (segments.positions, segments.count))
        };
        assert_eq!(planned(1, 1024, 1536, 16, false), None);
        // 48 blocks where 4 on each of 108 multiprocessors are at home.
        assert_eq!(planned(1, 1024, 1536, 16, true), Some((128, 8)));
        assert_eq!(planned(1, 2000, 1536, 16, true), Some((224, 9)));
        assert_eq!(planned(1, 1 << 16, 1536, 16, true), Some((256, 256)));
        assert_eq!(planned(1, 256, 1536, 16, true), None);
        assert_eq!(planned(4, 1024, 1536, 16, true), None);
        assert_eq!(planned(1, 1024, 1536, 64, true), Some((128, 8)));
        assert_eq!(planned(1, 1024, 1536, 128, true), Some((192, 6)));
        assert_eq!(planned(1, 1024, 1536, 256, true), None);
    }

    #[test]
    fn l2_moves_at_most_twice_what_is_needed_however_long_a_sequence_is() {
        for d_state in [16, 64, 128, 256] {
            let shape = Shape { sequences: SequenceSizes::uniform(1, 1 << 20), dim: 5120, d_state, groups: 1 };
            let parts = Parts { d: true, z: true, delta_bias: true, ..Parts::default() };
            let problem = Problem::new(BF16, shape, parts, SOFTPLUS).unwrap();
            let resources = plan(&problem, &Limits::of_capability(8, 0)).unwrap().resources;
            let ratio = resources.bytes_moved.unwrap() / resources.bytes_needed.unwrap();
            assert_at_most(&format!("{d_state} states: bytes of L2 over those needed"), ratio, 2.0);
        }
    }
}

mod counters;
