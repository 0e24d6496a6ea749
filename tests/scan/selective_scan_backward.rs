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
        for d_state in (4..=128).step_by(4) {
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

mod properties {
    use super::*;

    proptest! {
        #![proptest_config(cases(30))]

        #[test]
        fn any_call_agrees(
            b in 1..3_usize, s in 0..100_usize, channels in 1..14_usize, states in 1..12_usize, groups in 1..4_usize,
            dtype in 0..3_usize, gap in 0..3_usize, parts in 0..16_u8,
        ) {
            let dim = 4 * channels * groups;
            let inputs = Inputs::new(FLOATS[dtype], [b, s, dim, 4 * states, groups]).with_parts(parts);
            let stride = dim + 4 * gap;
            let gradients = Layout::strided(&[b, s, dim], &[s * stride, stride, 1]).unwrap();
            let mut call = Backward { gradients, ..Backward::of(inputs) };
            call.d_out = call.d_out.strided(&[s * stride, stride, 1]);
            call.assert_agrees();
        }

        #[test]
        fn sequences_of_various_lengths_are_as_each_alone(
            lengths in prop::collection::vec(0..90_usize, 0..5), states in 1..8_usize, dtype in 0..3_usize,
        ) {
            let call = Backward::of(Inputs::various(FLOATS[dtype], &lengths, [16, 4 * states, 2]));
            let together = call.assert_agrees();
            let (mut at, size) = (0, 16 * 4 * states);
            for (i, &length) in lengths.iter().enumerate() {
                let inputs = call.inputs.alone(i);
                let d_out = Tensor::new(FLOATS[dtype], &[1, length, 16], &call.d_out.values[at * 16..(at + length) * 16]);
                let states_of = &call.d_final_state.as_ref().unwrap().values[i * size..][..size];
                let d_final_state = Some(Tensor::new(F32, inputs.states().shape(), states_of));
                let alone = Backward { d_out, d_final_state, ..Backward::of(inputs) }.run();
                for (which, width) in [(0, 16), (1, 16), (3, 8 * states), (4, 8 * states), (6, 16)] {
                    let expected = &together[which].to_f64()[at * width..(at + length) * width];
                    prop_assert_eq!(&alone[which].to_f64()[..], expected, "{}", NAMES[which]);
                }
                prop_assert_eq!(&alone[8].to_f64()[..], &together[8].to_f64()[i * size..][..size]);
                at += length;
            }
        }

        #[test]
        fn two_parts_hand_the_gradient_of_the_state_back(s in 1..80_usize, at in 1..80_usize, states in 1..5_usize) {
            // The second part's gradient of its initial state is the first part's of its final state.
            let at = at.min(s);
            let whole = Backward::new(F32, [1, s, 12, 4 * states, 1]);
            let shape = whole.inputs.shape();
            let forward = selective_scan::Problem::new(
                F32, selective_scan::Shape { sequences: llm_kernels::scan::SequenceSizes::uniform(1, at), ..shape },
                Default::default(), selective_scan::Options { softplus: true, update: false },
            ).unwrap();
            let head = whole.inputs.part(0..at, whole.inputs.initial_state.clone());
            let between =
                selective_scan::reference::reference(&forward, &head.input(), &head.all_channels()).final_state;
            let tail = whole.inputs.part(at..s, Some(Tensor::new(F32, &[1, 12, 4 * states], &between)));
            let second = Backward { d_out: whole.d_out.positions(at..s), ..Backward::of(tail) };
            let d_between = Some(Tensor::new(F32, &[1, 12, 4 * states], &second.run()[8].to_f64()));
            let first = Backward { d_out: whole.d_out.positions(0..at), d_final_state: d_between, ..Backward::of(head) };
            let (got, exact) = (first.run(), whole.expected());
            let terms = terms(&whole.problem(), &whole.inputs.input(), &whole.upstream());
            let tolerance = Tolerance::recurrent_gradients(F32, terms[8], whole.age());
            assert_within(&got[8], &exact[0].d_initial_state, &exact[1].d_initial_state, tolerance, &(s, at));
            let d_u = Tensor::new(F32, &[1, s, 12], &exact[0].d_u).positions(0..at);
            let tolerance = Tolerance::recurrent_gradients(F32, terms[0], whole.age());
            assert_within(&got[0], &d_u.values, &d_u.values, tolerance, &(s, at));
        }
    }

    #[test]
    fn gradients_are_differences_of_the_scan() {
        for softplus in [true, false] {
            let mut inputs = Inputs::new(F32, [2, 6, 8, 4, 2]);
            if !softplus {
                inputs = inputs.with_plain_steps();
            }
            let call = Backward { softplus, ..Backward::of(inputs) };
            let problem = call.problem();
            let options = selective_scan::Options { softplus, update: false };
            let forward = selective_scan::Problem::new(F32, problem.shape, Default::default(), options).unwrap();
            // What the gradients are of: results and final states, weighed by their gradients.
            let loss = |inputs: &Inputs| -> f64 {
                let output = selective_scan::reference::reference(&forward, &inputs.input(), &inputs.all_channels());
                let weighed = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                weighed(&output.out, &call.d_out.values)
                    + weighed(&output.final_state, &call.d_final_state.as_ref().unwrap().values)
            };
            let [exact, _] = call.expected();
            let got = call.run();
            for (which, name) in NAMES.iter().enumerate() {
                for (at, &exact) in exact.parts()[which].iter().enumerate() {
                    let moved = |step: f64| {
                        let mut inputs = call.inputs.clone();
                        let tensor = match which {
                            0 => &mut inputs.u,
                            1 => &mut inputs.delta,
                            2 => &mut inputs.a,
                            3 => &mut inputs.b,
                            4 => &mut inputs.c,
                            5 => inputs.d.as_mut().unwrap(),
                            6 => inputs.z.as_mut().unwrap(),
                            7 => inputs.delta_bias.as_mut().unwrap(),
                            _ => inputs.initial_state.as_mut().unwrap(),
                        };
                        tensor.values[at] += step;
                        loss(&inputs)
                    };
                    let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!((exact - expected).abs() < 1e-6, "{name} {at}: {exact} {expected}");
                    let got = got[which].to_f64()[at];
                    assert!((got - expected).abs() < 1e-4 * (1.0 + expected.abs()), "{name} {at}: {got} {expected}");
                }
            }
        }
    }

    #[test]
    fn every_run_gives_the_same_bits() {
        let call = Backward::new(BF16, [2, 150, 72, 16, 1]);
        let first = call.run();
        assert!((0..3).all(|_| call.run() == first));
    }
}

mod edges {
    use super::*;

    #[test]
    fn lengths_around_a_chunk_agree() {
        for s in [0, 1, 2, 3, 4, 5, 7, 8, 9, 24, 31, 32, 33, 40, 63, 64, 65] {
            for d_state in [16, 64, 128] {
                Backward::new(F16, [2, s, 8, d_state, 1]).assert_agrees();
            }
        }
    }

    #[test]
    fn channels_around_a_block_agree() {
        for dim in [4, 8, 12, 16, 20, 28, 32, 36, 68] {
            for d_state in [16, 64, 128] {
                Backward::new(BF16, [1, 9, dim, d_state, 1]).assert_agrees();
                Backward::new(F32, [1, 9, 2 * dim, d_state, 2]).assert_agrees();
            }
        }
    }

    #[test]
    fn softplus_of_large_and_small_arguments_agrees() {
        for shift in [-20.0, -8.0, 8.0, 19.9, 20.1] {
            let mut call = Backward::new(F32, [1, 20, 8, 16, 1]);
            call.inputs.delta = call.inputs.delta.map(|x| x + shift);
            call.inputs.delta_bias = None;
            call.assert_agrees();
        }
    }

    #[test]
    fn without_positions_states_hand_their_gradients_on() {
        let call = Backward::new(BF16, [3, 0, 8, 16, 1]);
        let outputs = call.run();
        assert_eq!(outputs[8].to_f64(), call.d_final_state.unwrap().values);
        for which in [2, 5, 7] {
            assert!(outputs[which].to_f64().iter().all(|&x| x == 0.0), "{}", NAMES[which]);
        }
        assert!(Backward::new(F32, [0, 5, 8, 16, 1]).run()[2].to_f64().iter().all(|&x| x == 0.0));
        assert!(Backward::new(F32, [2, 5, 0, 16, 1]).run()[0].bytes.is_empty());
    }

    #[test]
    fn results_do_not_depend_on_strides() {
        let call = Backward::new(BF16, [2, 40, 48, 16, 2]);
        let expected = call.run();
        for strides in [[48, 96, 1], [40 * 60, 60, 1]] {
            let mut moved = call.clone();
            moved.inputs.u = moved.inputs.u.strided(&strides);
            moved.inputs.z = moved.inputs.z.map(|z| z.strided(&strides));
            moved.inputs.c = moved.inputs.c.strided(&[40 * 100, 100, 24, 1]);
            moved.d_out = moved.d_out.strided(&strides);
            moved.gradients = Layout::strided(&[2, 40, 48], &strides).unwrap();
            assert_eq!(moved.run(), expected, "{strides:?}");
        }
    }
}

mod rejects {
    use super::*;

    #[track_caller]
    fn error(change: impl FnOnce(&mut Operands)) -> String {
        let call = Backward::new(F16, [2, 10, 24, 16, 2]);
        let mut operands = call.operands();
        change(&mut operands);
        let text = Problem::check(&operands, &call.options()).expect_err("bad input was taken").to_string();
        text.strip_prefix("scan/selective_scan_backward: ")
            .unwrap_or_else(|| panic!("no operator in: {text}"))
            .to_owned()
    }

    #[test]
    fn bad_tensors_are_refused_each_with_its_reason() {
        let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
        assert_eq!(error(|t| t.u.layout = shape(&[20, 24])), "u has rank 2, expected 3 [b, s, dim]");
        assert_eq!(error(|t| t.d_out.layout = shape(&[2, 11, 24])), "d_out has s 11, expected 10 (= u)");
        assert_eq!(error(|t| t.d_u.dtype = F32), "d_u is f32, expected f16 (= u)");
        assert_eq!(error(|t| t.d_delta.layout = shape(&[2, 10, 28])), "d_delta has dim 28, expected 24 (= u)");
        assert_eq!(error(|t| t.d_a.layout = shape(&[24, 12])), "d_A has d_state 12, expected 16 (= A)");
        assert_eq!(error(|t| t.d_a.dtype = F16), "d_A is f16, expected f32");
        assert_eq!(error(|t| t.d_b.layout = shape(&[2, 10, 1, 16])), "d_B has groups 1, expected 2 (= B)");
        assert_eq!(error(|t| t.d_c.dtype = DType::I32), "d_C has dtype i32; supported: f32, f16, bf16");
        let gaps = Layout::strided(&[2, 10, 2, 16], &[400, 40, 20, 1]).unwrap();
        assert!(error(|t| t.d_b.layout = gaps).starts_with("d_B has strides [400, 40, 20, 1]"));
        let states = error(|t| t.boundary_states.layout = shape(&[1, 24, 16]));
        assert_eq!(states, "boundary_states has chunks 1, expected 2 (= u and cu_seqlens)");
        let states = error(|t| t.d_final_state.as_mut().unwrap().layout = shape(&[2, 24, 12]));
        assert_eq!(states, "d_final_state has d_state 12, expected 16 (= A)");
        assert_eq!(error(|t| t.d = None), "d_D is given without D");
        assert_eq!(error(|t| t.z = None), "d_z is given without z");
        assert_eq!(error(|t| t.delta_bias = None), "d_delta_bias is given without delta_bias");
        assert_eq!(error(|t| t.d_z.as_mut().unwrap().dtype = BF16), "d_z is bf16, expected f16 (= u)");
        assert_eq!(error(|t| t.d_u.address = t.d_out.address), "d_u overlaps d_out in memory");
        assert_eq!(error(|t| t.d_c.address = t.d_b.address), "d_C overlaps d_B in memory");
        assert_eq!(error(|t| t.workspace.dtype = F32), "workspace is f32, expected u8");
        assert!(error(|t| t.workspace.address += 8).ends_with("expected a multiple of 16"));
    }

    #[test]
    fn more_states_than_there_is_room_for_are_refused() {
        let shape = Backward::new(F16, [1, 1, 8, 132, 1]).inputs.shape();
        let error = Problem::new(F16, [F16; 2], shape, Parts::default(), Options::default()).unwrap_err().to_string();
        assert_eq!(error, "scan/selective_scan_backward: A has d_state 132; supported: multiples of 4 up to 128");
    }

    #[test]
    fn a_small_workspace_is_refused_before_anything_is_written() {
        let call = Backward::new(F16, [1, 8, 16, 16, 1]);
        let planned = plan(&call.problem(), queue().device().limits()).unwrap().workspace_bytes;
        let inputs = &call.inputs;
        let [u, delta, a, b, c] = [&inputs.u, &inputs.delta, &inputs.a, &inputs.b, &inputs.c].map(Tensor::upload);
        let (d_out, boundary_states) = (call.d_out.upload(), poisoned(F32, call.boundaries()));
        let mut workspace = poisoned(DType::U8, Layout::contiguous(&[64]).unwrap());
        let mut outputs = call.outputs().map(|(dtype, layout)| poisoned(dtype, layout));
        let [d_u, d_delta, d_a, d_b, d_c, ..] = &mut outputs;
        let args = Args {
            u: u.view().unwrap(),
            delta: delta.view().unwrap(),
            a: a.view().unwrap(),
            b: b.view().unwrap(),
            c: c.view().unwrap(),
            boundary_states: boundary_states.view().unwrap(),
            d_out: d_out.view().unwrap(),
            d_u: d_u.view_mut().unwrap(),
            d_delta: d_delta.view_mut().unwrap(),
            d_a: d_a.view_mut().unwrap(),
            d_b: d_b.view_mut().unwrap(),
            d_c: d_c.view_mut().unwrap(),
            workspace: workspace.view_mut().unwrap(),
            extras: Extras::default(),
            options: call.options(),
        };
        let error = selective_scan_backward(queue(), args).unwrap_err().to_string();
        assert_eq!(error, format!("{PATH}: workspace has 64 bytes, the plan needs {planned}"));
        assert!(download(&outputs[0], "d_u").to_f64().iter().all(|x| x.is_nan()));
    }
}

mod plan {
    use super::*;

    #[test]
    fn every_instance_is_embedded_without_spills() {
        assert_embedded(PATH, 4);
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
    }

    #[test]
    fn a_device_with_too_little_shared_memory_is_refused() {
        let problem = Backward::new(F16, [1, 5, 8, 128, 1]).problem();
        let limits = Limits { shared_bytes_per_block: 64 << 10, ..Limits::of_capability(8, 6) };
        let error = plan(&problem, &limits).unwrap_err().to_string();
        let needs = "selective_scan_backward_128 needs 90176 bytes of shared memory a block, the device allows 65536";
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
            assert_at_most(&format!("{name}: DRAM bytes"), get(&counters, "dram_bytes") / needed, 1.6);
            assert_at_most(&format!("{name}: L2 bytes"), get(&counters, "global_bytes") / needed, 2.0);
            let size = |name: &str| case.sizes.iter().find(|(known, _)| *known == name).unwrap().1;
            let states = (size("b") * size("s") * size("dim") * size("d_state")) as f64;
            let each = get(&counters, "thread_inst_executed") / states;
            assert_at_most(&format!("{name}: thread instructions a state"), each, 70.0);
            let conflicts = get(&counters, "shared_wavefronts") / get(&counters, "shared_ideal_wavefronts");
            assert_at_most(&format!("{name}: wavefronts of shared memory"), conflicts, 1.05);
        }
    }
}
