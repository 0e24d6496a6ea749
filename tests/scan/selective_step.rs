//! `scan::selective_step`.

use crate::support::selective::Inputs;
use crate::support::*;
use llm_kernels::scan::selective_scan::{self, selective_scan};
use llm_kernels::scan::selective_step::reference::{Output, plain, reference};
use llm_kernels::scan::selective_step::{Args, Extras, Operands, Options, Problem, Shape, plan, selective_step};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{DeviceTensor, HostTensor};
use llm_kernels::{DType, Layout, Limits, Result};
use proptest::prelude::*;

use DType::{BF16, F16, F32};

const PATH: &str = "scan/selective_step";

/// A call with its input: scans of one position.
#[derive(Clone, Debug)]
struct Step {
    inputs: Inputs,
    out: Layout,
    softplus: bool,
}

impl Step {
    fn new(dtype: DType, [b, dim, d_state, groups]: [usize; 4]) -> Self {
        Self::of(Inputs::new(dtype, [b, 1, dim, d_state, groups]))
    }

    /// Of inputs `[b, 1, ..]`.
    fn of(inputs: Inputs) -> Self {
        let flat = |tensor: &Tensor| {
            let shape = tensor.layout.shape();
            tensor.reshaped(&[&shape[..1], &shape[2..]].concat())
        };
        let inputs = Inputs {
            u: flat(&inputs.u),
            delta: flat(&inputs.delta),
            b: flat(&inputs.b),
            c: flat(&inputs.c),
            z: inputs.z.as_ref().map(flat),
            ..inputs
        };
        Self { out: inputs.u.layout, inputs, softplus: true }
    }

    fn state(&self) -> &Tensor {
        self.inputs.initial_state.as_ref().unwrap()
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
            state: self.state().operand(5),
            out: operand(inputs.u.dtype, self.out, 6),
            d: given(&inputs.d, 7),
            z: given(&inputs.z, 8),
            delta_bias: given(&inputs.delta_bias, 9),
        }
    }

    fn options(&self) -> Options {
        Options { softplus: self.softplus }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), &self.options()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The result and the state after.
    fn run(&self) -> [HostTensor; 2] {
        let _shared = shared();
        let launch = || -> Result<[HostTensor; 2]> {
            let inputs = &self.inputs;
            let upload = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::upload);
            let [u, delta, a, b, c] = [&inputs.u, &inputs.delta, &inputs.a, &inputs.b, &inputs.c].map(Tensor::upload);
            let [d, z, delta_bias] = [&inputs.d, &inputs.z, &inputs.delta_bias].map(upload);
            let (mut state, mut out) = (self.state().upload(), poisoned(inputs.u.dtype, self.out));
            let args = Args {
                u: u.view()?,
                delta: delta.view()?,
                a: a.view()?,
                b: b.view()?,
                c: c.view()?,
                state: state.view_mut()?,
                out: out.view_mut()?,
                extras: Extras {
                    d: d.as_ref().map(DeviceTensor::view).transpose()?,
                    z: z.as_ref().map(DeviceTensor::view).transpose()?,
                    delta_bias: delta_bias.as_ref().map(DeviceTensor::view).transpose()?,
                },
                options: self.options(),
            };
            selective_step(queue(), args)?;
            queue().synchronize()?;
            Ok([download(&out, "out"), download(&state, "state")])
        };
        launch().unwrap_or_else(|error| panic!("{error}"))
    }

    fn expected(&self) -> [Output; 2] {
        let channels: Vec<usize> = (0..self.problem().shape.dim).collect();
        [reference, plain].map(|of| of(&self.problem(), &self.inputs.input(), &channels).unwrap())
    }

    #[track_caller]
    fn assert_agrees(&self) -> [HostTensor; 2] {
        let (outputs, [exact, plain], problem) = (self.run(), self.expected(), self.problem());
        let [out, state] = &outputs;
        assert_within(out, &exact.out, &plain.out, Tolerance::recurrent(out.dtype, 1.0), &problem);
        assert_within(state, &exact.final_state, &plain.final_state, Tolerance::recurrent(F32, 1.0), &problem);
        outputs
    }
}

/// The result and the final state of a scan.
fn scan(inputs: &Inputs, softplus: bool) -> [HostTensor; 2] {
    let _shared = shared();
    let launch = || -> Result<[HostTensor; 2]> {
        let upload = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::upload);
        let [u, delta, a, b, c] = [&inputs.u, &inputs.delta, &inputs.a, &inputs.b, &inputs.c].map(Tensor::upload);
        let [d, z, delta_bias, initial_state] =
            [&inputs.d, &inputs.z, &inputs.delta_bias, &inputs.initial_state].map(upload);
        let (mut out, mut state) = (poisoned(inputs.u.dtype, inputs.u.layout), poisoned(F32, inputs.states()));
        let args = selective_scan::Args {
            extras: selective_scan::Extras {
                d: d.as_ref().map(DeviceTensor::view).transpose()?,
                z: z.as_ref().map(DeviceTensor::view).transpose()?,
                delta_bias: delta_bias.as_ref().map(DeviceTensor::view).transpose()?,
                initial_state: initial_state.as_ref().map(DeviceTensor::view).transpose()?,
                final_state: Some(state.view_mut()?),
                ..Default::default()
            },
            options: selective_scan::Options { softplus, update: false },
            ..selective_scan::Args::new(u.view()?, delta.view()?, [a.view()?, b.view()?, c.view()?], out.view_mut()?)
        };
        selective_scan(queue(), args)?;
        queue().synchronize()?;
        Ok([download(&out, "out"), download(&state, "final_state")])
    };
    launch().unwrap_or_else(|error| panic!("{error}"))
}

mod agrees {
    use super::*;

    #[test]
    fn every_case_of_check_agrees() {
        assert_checks(PATH);
    }

    #[test]
    fn every_type_with_and_without_what_may_be_left_out_agrees() {
        for (i, dtype) in (0..16).flat_map(|i| FLOATS.map(|dtype| (i, dtype))) {
            let mut inputs = Inputs::new(dtype, [3, 1, 20, 16, 1]).with_parts(i | 8);
            let softplus = i & 8 != 0;
            if !softplus {
                inputs = inputs.with_plain_steps();
            }
            Step { softplus, ..Step::of(inputs) }.assert_agrees();
        }
    }

    #[test]
    fn every_number_of_states_agrees() {
        for d_state in (4..=256).step_by(4) {
            Step::new(FLOATS[d_state / 4 % 3], [2, 12, d_state, 1]).assert_agrees();
        }
    }

    #[test]
    fn a_difference_beyond_the_tolerance_is_seen() {
        let step = Step::new(F16, [2, 16, 16, 1]);
        let mut wrong = step.clone();
        wrong.inputs.a.values[5] *= 1.5;
        let ([_, state], [exact, plain]) = (step.run(), wrong.expected());
        let tolerance = Tolerance::recurrent(F32, 1.0);
        assert!(!llm_kernels::verify::compare(&state, &exact.final_state, &plain.final_state, tolerance).passed());
    }
}

mod properties {
    use super::*;

    proptest! {
        #![proptest_config(cases(40))]

        #[test]
        fn any_call_agrees(
            b in 1..6_usize, channels in 1..20_usize, states in 1..65_usize, groups in 1..4_usize, dtype in 0..3_usize,
            gap in 0..9_usize, parts in 0..8_u8,
        ) {
            let dim = 4 * channels * groups;
            let mut step =
                Step::of(Inputs::new(FLOATS[dtype], [b, 1, dim, 4 * states, groups]).with_parts(parts | 8));
            step.out = Layout::strided(&[b, dim], &[dim + gap, 1]).unwrap();
            step.inputs.u = step.inputs.u.strided(&[dim + gap, 1]);
            let width = 4 * states + 4 * gap;
            step.inputs.b = step.inputs.b.strided(&[groups * width, width, 1]);
            step.assert_agrees();
        }

        #[test]
        fn steps_give_the_bits_of_a_scan(s in 1..8_usize, states in 1..65_usize, groups in 1..3_usize, dtype in 0..3_usize) {
            let dtype = FLOATS[dtype];
            let inputs = Inputs::new(dtype, [2, s, 12 * groups, 4 * states, groups]);
            let [out, last] = scan(&inputs, true);
            let out = Tensor::new(dtype, inputs.u.layout.shape(), &out.to_f64());
            let mut state = inputs.initial_state.clone();
            for at in 0..s {
                let [token, next] = Step::of(inputs.part(at..at + 1, state)).run();
                prop_assert_eq!(token.to_f64(), out.positions(at..at + 1).values);
                state = Some(Tensor::new(F32, &next.shape, &next.to_f64()));
            }
            prop_assert_eq!(state.unwrap().values, last.to_f64());
        }
    }
}

mod edges {
    use super::*;

    #[test]
    fn channels_around_a_block_agree() {
        for dim in [4, 8, 28, 32, 36, 124, 132] {
            for d_state in [16, 64, 256] {
                Step::new(BF16, [1, dim, d_state, 1]).assert_agrees();
                Step::new(F32, [3, dim, d_state, 1]).assert_agrees();
            }
        }
    }

    #[test]
    fn empty_calls_are_no_calls() {
        assert!(Step::new(F32, [0, 8, 16, 1]).run()[0].bytes.is_empty());
        assert!(Step::new(F32, [2, 0, 16, 1]).run()[0].bytes.is_empty());
    }

    #[test]
    fn nan_stays_in_its_channel() {
        let mut step = Step::new(F32, [2, 8, 16, 1]);
        step.inputs.u.values[11] = f64::NAN;
        let [out, state] = step.run().map(|tensor| tensor.to_f64());
        assert!((0..16).all(|at| out[at].is_nan() == (at == 11)));
        assert!((0..256).all(|at| state[at].is_nan() == (at / 16 == 11)));
    }
}

mod rejects {
    use super::*;

    #[track_caller]
    fn error(change: impl FnOnce(&mut Operands)) -> String {
        let step = Step::new(F16, [2, 24, 16, 2]);
        let mut operands = step.operands();
        change(&mut operands);
        let text = Problem::check(&operands, &step.options()).expect_err("bad input was taken").to_string();
        text.strip_prefix("scan/selective_step: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
    }

    #[test]
    fn bad_tensors_are_refused_each_with_its_reason() {
        let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
        assert_eq!(error(|t| t.u.layout = shape(&[2, 1, 24])), "u has rank 3, expected 2 [b, dim]");
        assert_eq!(error(|t| t.u.dtype = DType::I32), "u has dtype i32; supported: f32, f16, bf16");
        assert_eq!(error(|t| t.delta.layout = shape(&[3, 24])), "delta has b 3, expected 2 (= u)");
        assert_eq!(error(|t| t.delta.dtype = F32), "delta is f32, expected f16 (= u)");
        assert_eq!(error(|t| t.out.layout = shape(&[2, 28])), "out has dim 28, expected 24 (= u)");
        assert_eq!(error(|t| t.z.as_mut().unwrap().dtype = BF16), "z is bf16, expected f16 (= u)");
        assert_eq!(error(|t| t.a.layout = shape(&[24, 6])), "A has d_state 6; supported: multiples of 4 up to 256");
        assert_eq!(error(|t| t.a.dtype = F16), "A is f16, expected f32");
        assert_eq!(error(|t| t.b.layout = shape(&[2, 2, 20])), "B has d_state 20, expected 16 (= A)");
        assert_eq!(error(|t| t.c.layout = shape(&[2, 1, 16])), "C has groups 1, expected 2 (= B)");
        let groups = "supported: numbers that divide dim into groups of a multiple of 4 channels";
        assert_eq!(error(|t| t.b.layout = shape(&[2, 5, 16])), format!("B has groups 5 for dim 24; {groups}"));
        assert_eq!(error(|t| t.state.layout = shape(&[2, 24, 12])), "state has d_state 12, expected 16 (= A)");
        assert_eq!(error(|t| t.state.dtype = F16), "state is f16, expected f32");
        assert_eq!(error(|t| t.d.as_mut().unwrap().layout = shape(&[25])), "D has dim 25, expected 24 (= u)");
        assert_eq!(error(|t| t.delta_bias.as_mut().unwrap().dtype = F16), "delta_bias is f16, expected f32");
        assert_eq!(error(|t| t.out.address = t.u.address), "out overlaps u in memory");
        assert_eq!(error(|t| t.state.address = t.a.address), "state overlaps A in memory");
        assert!(error(|t| t.state.address += 4).ends_with("expected a multiple of 16"));
        assert!(error(|t| t.b.address += 2).ends_with("expected a multiple of 8"));
    }

    #[test]
    fn too_many_channels_are_refused() {
        let shape = Shape { b: 1 << 20, dim: 1 << 10, d_state: 16, groups: 1 };
        let error = Problem::new(F16, shape, Default::default(), Options::default()).unwrap_err().to_string();
        assert_eq!(error, "scan/selective_step: b * dim is 1073741824, the limit is 134217727");
    }
}

mod plan {
    use super::*;

    #[test]
    fn every_instance_is_embedded_without_spills() {
        assert_embedded(PATH, 3);
    }

    #[test]
    fn the_number_of_states_chooses_the_instance() {
        let planned = |d_state| {
            let plan = plan(&Step::new(F16, [3, 64, d_state, 1]).problem(), &Limits::of_capability(8, 6)).unwrap();
            (plan.launch.unwrap().instance, plan.launch.unwrap().grid[0])
        };
        assert_eq!(planned(16), ("selective_step_16", 6));
        assert_eq!(planned(20), ("selective_step_64", 6));
        assert_eq!(planned(68), ("selective_step_256", 24));
    }
}

mod counters {
    use super::*;

    #[test]
    fn states_come_from_memory_and_go_back_once() {
        for name in ["Mamba 130M, batch of 64", "Mamba 2.8B, batch of 16"] {
            let case = bench_case(PATH, name);
            let Some((counters, resources)) = profile(PATH, &case) else { return };
            let needed = resources.bytes_needed.unwrap();
            assert_at_most(&format!("{name}: DRAM bytes"), get(&counters, "dram_bytes") / needed, 1.02);
            assert_at_most(&format!("{name}: L2 bytes"), get(&counters, "global_bytes") / needed, 2.0);
            let size = |name: &str| case.sizes.iter().find(|(known, _)| *known == name).unwrap().1;
            let states = (size("b") * size("dim") * size("d_state")) as f64;
            let each = get(&counters, "thread_inst_executed") / states;
            assert_at_most(&format!("{name}: thread instructions a state"), each, 72.0);
        }
    }
}
