//! `scan::selective_scan_backward`.

use crate::support::selective::Inputs;
use crate::support::*;
use llm_kernels::scan::selective_scan;
use llm_kernels::scan::selective_scan_backward::reference::{Output, Upstream, plain, reference, terms};
use llm_kernels::scan::selective_scan_backward::{
    Args, Extras, Operands, Options, Parts, Problem, plan, selective_scan_backward,
};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{DeviceTensor, HostTensor};
use llm_kernels::{DType, Layout, Limits, Result};
use proptest::prelude::*;

use DType::{BF16, F16, F32};

const PATH: &str = "scan/selective_scan_backward";
const NAMES: [&str; 9] = ["d_u", "d_delta", "d_A", "d_B", "d_C", "d_D", "d_z", "d_delta_bias", "d_initial_state"];

/// A call with its input.
#[derive(Clone, Debug)]
struct Backward {
    inputs: Inputs,
    d_out: Tensor,
    d_final_state: Option<Tensor>,
    /// Layout of d_u, d_delta and d_z.
    gradients: Layout,
    /// The types of d_B and d_C.
    of_states: [DType; 2],
    softplus: bool,
}

impl Backward {
    fn new(dtype: DType, sizes: [usize; 5]) -> Self {
        Self::of(Inputs::new(dtype, sizes))
    }

    fn of(inputs: Inputs) -> Self {
        let gradients = Layout::contiguous(inputs.u.layout.shape()).unwrap();
        Self {
            d_out: Tensor::normal(20, inputs.u.dtype, inputs.u.layout.shape()),
            d_final_state: Some(Tensor::normal(21, F32, inputs.states().shape())),
            gradients,
            of_states: [inputs.u.dtype; 2],
            softplus: true,
            inputs,
        }
    }

    fn boundaries(&self) -> Layout {
        Layout::contiguous(&self.inputs.shape().boundary_states()).unwrap()
    }

    /// Types and layouts of the gradients, in the order of [`NAMES`].
    fn outputs(&self) -> [(DType, Layout); 9] {
        let (inputs, dtype) = (&self.inputs, self.inputs.u.dtype);
        let vector = Layout::contiguous(&inputs.a.layout.shape()[..1]).unwrap();
        let states = Layout::contiguous(inputs.b.layout.shape()).unwrap();
        [
            (dtype, self.gradients),
            (dtype, self.gradients),
            (F32, inputs.a.layout),
            (self.of_states[0], states),
            (self.of_states[1], states),
            (F32, vector),
            (dtype, self.gradients),
            (F32, vector),
            (F32, inputs.states()),
        ]
    }

    fn wanted(&self) -> [bool; 9] {
        let Inputs { d, z, delta_bias, .. } = &self.inputs;
        [true, true, true, true, true, d.is_some(), z.is_some(), delta_bias.is_some(), true]
    }

    fn operands(&self) -> Operands {
        let inputs = &self.inputs;
        let given = |tensor: &Option<Tensor>, slot| tensor.as_ref().map(|tensor| tensor.operand(slot));
        let outputs = self.outputs();
        let out = |which: usize| operand(outputs[which].0, outputs[which].1, 16 + which as u64);
        let wanted = |which: usize| self.wanted()[which].then(|| out(which));
        Operands {
            u: inputs.u.operand(0),
            delta: inputs.delta.operand(1),
            a: inputs.a.operand(2),
            b: inputs.b.operand(3),
            c: inputs.c.operand(4),
            boundary_states: operand(F32, self.boundaries(), 5),
            d_out: self.d_out.operand(6),
            d_u: out(0),
            d_delta: out(1),
            d_a: out(2),
            d_b: out(3),
            d_c: out(4),
            workspace: operand(DType::U8, Layout::contiguous(&[1 << 32]).unwrap(), 7),
            d: given(&inputs.d, 8),
            z: given(&inputs.z, 9),
            delta_bias: given(&inputs.delta_bias, 10),
            cu_seqlens: inputs.sequence_operand(),
            d_final_state: given(&self.d_final_state, 11),
            d_d: wanted(5),
            d_z: wanted(6),
            d_delta_bias: wanted(7),
            d_initial_state: wanted(8),
        }
    }

    fn options(&self) -> Options {
        Options { softplus: self.softplus }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), &self.options()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// All gradients that there are, after the forward pass has made the states between.
    fn run(&self) -> Vec<HostTensor> {
        let _shared = shared();
        self.launch().unwrap_or_else(|error| panic!("{error}"))
    }

    fn launch(&self) -> Result<Vec<HostTensor>> {
        let inputs = &self.inputs;
        let upload = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::upload);
        fn view(tensor: &Option<DeviceTensor>) -> Result<Option<llm_kernels::TensorView<'_>>> {
            tensor.as_ref().map(DeviceTensor::view).transpose()
        }
        let [u, delta, a, b, c] = [&inputs.u, &inputs.delta, &inputs.a, &inputs.b, &inputs.c].map(Tensor::upload);
        let [d, z, delta_bias, initial_state, d_final_state] =
            [&inputs.d, &inputs.z, &inputs.delta_bias, &inputs.initial_state, &self.d_final_state].map(upload);
        let (d_out, offsets) = (self.d_out.upload(), inputs.sequences());
        let mut boundary_states = poisoned(F32, self.boundaries());
        let mut out = poisoned(inputs.u.dtype, self.gradients);
        let forward = selective_scan::Args {
            extras: selective_scan::Extras {
                initial_state: view(&initial_state)?,
                boundary_states: Some(boundary_states.view_mut()?),
                delta_bias: view(&delta_bias)?,
                cu_seqlens: offsets.as_ref(),
                ..Default::default()
            },
            options: selective_scan::Options { softplus: self.softplus, update: false },
            ..selective_scan::Args::new(u.view()?, delta.view()?, [a.view()?, b.view()?, c.view()?], out.view_mut()?)
        };
        selective_scan::selective_scan(queue(), forward)?;
        let bytes = plan(&self.problem(), queue().device().limits())?.workspace_bytes;
        let mut workspace = poisoned(DType::U8, Layout::contiguous(&[bytes])?);
        let mut outputs = self.outputs().map(|(dtype, layout)| poisoned(dtype, layout));
        let wanted = self.wanted();
        let [d_u, d_delta, d_a, d_b, d_c, d_d, d_z, d_delta_bias, d_initial_state] = &mut outputs;
        let args = Args {
            u: u.view()?,
            delta: delta.view()?,
            a: a.view()?,
            b: b.view()?,
            c: c.view()?,
            boundary_states: boundary_states.view()?,
            d_out: d_out.view()?,
            d_u: d_u.view_mut()?,
            d_delta: d_delta.view_mut()?,
            d_a: d_a.view_mut()?,
            d_b: d_b.view_mut()?,
            d_c: d_c.view_mut()?,
            workspace: workspace.view_mut()?,
            extras: Extras {
                d: view(&d)?,
                z: view(&z)?,
                delta_bias: view(&delta_bias)?,
                cu_seqlens: offsets.as_ref(),
                d_final_state: view(&d_final_state)?,
                d_d: if wanted[5] { Some(d_d.view_mut()?) } else { None },
                d_z: if wanted[6] { Some(d_z.view_mut()?) } else { None },
                d_delta_bias: if wanted[7] { Some(d_delta_bias.view_mut()?) } else { None },
                d_initial_state: Some(d_initial_state.view_mut()?),
            },
            options: self.options(),
        };
        selective_scan_backward(queue(), args)?;
        queue().synchronize()?;
        let all = outputs.iter().zip(NAMES).zip(wanted).filter(|(_, wanted)| *wanted);
        Ok(all.map(|((tensor, name), _)| download(tensor, name)).collect())
    }

    fn upstream(&self) -> Upstream<'_> {
        Upstream {
            d_out: &self.d_out.values,
            d_final_state: self.d_final_state.as_ref().map(|state| &state.values[..]),
        }
    }

    fn expected(&self) -> [Output; 2] {
        [reference, plain].map(|of| of(&self.problem(), &self.inputs.input(), &self.upstream()))
    }

    fn age(&self) -> f64 {
        let problem = self.problem();
        let options = selective_scan::Options { softplus: self.softplus, update: false };
        let forward =
            selective_scan::Problem::new(problem.dtype, problem.shape, selective_scan::Parts::default(), options);
        selective_scan::reference::mean_age(&forward.unwrap(), &self.inputs.input(), &self.inputs.all_channels())
    }

    #[track_caller]
    fn assert_agrees(&self) -> Vec<HostTensor> {
        let (outputs, [exact, plain], age) = (self.run(), self.expected(), self.age());
        let terms = terms(&self.problem(), &self.inputs.input(), &self.upstream());
        for got in &outputs {
            let which = NAMES.iter().position(|name| *name == got.name).unwrap();
            let tolerance = Tolerance::recurrent_gradients(got.dtype, terms[which], age);
            assert_within(got, exact.parts()[which], plain.parts()[which], tolerance, &(&got.name, self.problem()));
        }
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
            let mut call = Backward { softplus, ..Backward::of(inputs) };
            call.of_states = [FLOATS[i as usize % 3], FLOATS[i as usize / 3 % 3]];
            call.d_final_state = call.d_final_state.filter(|_| i % 5 > 1);
            call.assert_agrees();
        }
    }

    #[test]
    fn every_number_of_states_agrees() {
        for d_state in (4..=256).step_by(4) {
            Backward::new(FLOATS[d_state / 4 % 3], [1, 19, 20, d_state, 1]).assert_agrees();
        }
    }

    #[test]
    fn a_difference_beyond_the_tolerance_is_seen() {
        let call = Backward::new(F16, [1, 20, 16, 16, 1]);
        let mut wrong = call.clone();
        wrong.inputs.a.values[5] *= 1.5;
        let ([exact, plain], outputs) = (wrong.expected(), call.run());
        let terms = terms(&call.problem(), &call.inputs.input(), &call.upstream());
        for which in [0, 1, 2, 3, 4] {
            let tolerance = Tolerance::recurrent_gradients(outputs[which].dtype, terms[which], call.age());
            let found =
                llm_kernels::verify::compare(&outputs[which], exact.parts()[which], plain.parts()[which], tolerance);
            assert!(!found.passed(), "{}", NAMES[which]);
        }
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
    fn the_number_of_states_chooses_the_instance_and_every_chip_has_room_for_it() {
        let planned = |dim, d_state, groups| {
            let problem = Backward::new(F16, [3, 5, dim, d_state, groups]).problem();
            let plan = plan(&problem, &Limits::of_capability(8, 6)).unwrap();
            (plan.scan.unwrap().instance, plan.scan.unwrap().grid[0], plan.tiles_of_group)
        };
        assert_eq!(planned(64, 16, 1), ("selective_scan_backward_16", 6, 2));
        assert_eq!(planned(72, 4, 2), ("selective_scan_backward_16", 12, 2));
        assert_eq!(planned(64, 20, 1), ("selective_scan_backward_64", 12, 4));
        assert_eq!(planned(64, 68, 1), ("selective_scan_backward_128", 24, 8));
        assert_eq!(planned(64, 132, 1), ("selective_scan_backward_256", 24, 8));
    }

    #[test]
    fn a_device_with_too_little_shared_memory_is_refused() {
        let problem = Backward::new(F16, [1, 5, 8, 256, 1]).problem();
        let limits = Limits { shared_bytes_per_block: 64 << 10, ..Limits::of_capability(8, 6) };
        let error = plan(&problem, &limits).unwrap_err().to_string();
        let needs = "selective_scan_backward_256 needs 98368 bytes of shared memory a block, the device allows 65536";
        assert_eq!(error, format!("{PATH}: {needs}"));
    }

    #[test]
    fn the_workspace_is_far_smaller_than_all_states() {
        let inputs = Backward::new(F16, [1, 256, 1536, 16, 1]);
        let plan = plan(&inputs.problem(), &Limits::of_capability(8, 6)).unwrap();
        let all_states = 256 * 1536 * 16 * 4;
        assert!(plan.workspace_bytes * 10 < all_states, "{}", plan.workspace_bytes);
    }
}

mod counters {
    use super::*;

    #[test]
    fn bytes_and_instructions_are_few_and_shared_memory_has_no_conflicts() {
        for name in ["Mamba 130M, 256 tokens", "Mamba 2.8B, 128 tokens"] {
            let case = bench_case(PATH, name);
            let Some((counters, resources)) = profile(PATH, &case) else { return };
            let needed = resources.bytes_needed.unwrap();
            assert_at_most(&format!("{name}: DRAM bytes"), get(&counters, "dram_bytes") / needed, 1.53);
            assert_at_most(&format!("{name}: L2 bytes"), get(&counters, "global_bytes") / needed, 1.65);
            let size = |name: &str| case.sizes.iter().find(|(known, _)| *known == name).unwrap().1;
            let states = (size("b") * size("s") * size("dim") * size("d_state")) as f64;
            let each = get(&counters, "thread_inst_executed") / states;
            assert_at_most(&format!("{name}: thread instructions a state"), each, 64.2);
            let conflicts = get(&counters, "shared_wavefronts") / get(&counters, "shared_ideal_wavefronts");
            assert_at_most(&format!("{name}: wavefronts of shared memory"), conflicts, 1.05);
        }
    }
}
