//! `scan::selective_scan`.

use crate::support::selective::Inputs;
use crate::support::*;
use llm_kernels::scan::SequenceSizes;
use llm_kernels::scan::selective_scan::reference::{Output, mean_age, plain, reference};
use llm_kernels::scan::selective_scan::{
    Args, CHUNK, Extras, Operands, Options, Parts, Problem, Shape, plan, selective_scan,
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
}

impl Scan {
    fn new(dtype: DType, sizes: [usize; 5]) -> Self {
        Self::of(Inputs::new(dtype, sizes))
    }

    fn of(inputs: Inputs) -> Self {
        let out = Layout::contiguous(inputs.u.layout.shape()).unwrap();
        Self { inputs, out, options: SOFTPLUS, boundary_states: false }
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
            cu_seqlens: inputs.sequence_operand(),
        }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), &self.options).unwrap_or_else(|error| panic!("{error}"))
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

mod properties {
    use super::*;

    proptest! {
        #![proptest_config(cases(40))]

        #[test]
        fn any_call_agrees(
            b in 1..3_usize, s in 0..100_usize, channels in 1..14_usize, states in 1..12_usize, groups in 1..4_usize,
            dtype in 0..3_usize, gap in 0..3_usize, parts in 0..16_u8,
        ) {
            let dim = 4 * channels * groups;
            let inputs = Inputs::new(FLOATS[dtype], [b, s, dim, 4 * states, groups]).with_parts(parts);
            let (stride, width) = (dim + 4 * gap, groups * 4 * states + 8 * gap);
            let out = Layout::strided(&[b, s, dim], &[s * stride, stride, 1]).unwrap();
            let mut scan = Scan { out, ..Scan::of(inputs) };
            scan.inputs.u = scan.inputs.u.strided(&[s * stride, stride, 1]);
            scan.inputs.b = scan.inputs.b.strided(&[s * width, width, 4 * states, 1]);
            scan.assert_agrees();
        }

        #[test]
        fn two_parts_with_the_state_between_give_the_same_bits(
            s in 0..100_usize, at in 0..100_usize, states in 1..8_usize, dtype in 0..3_usize,
        ) {
            let whole = Scan::new(FLOATS[dtype], [2, s, 12, 4 * states, 1]);
            let at = at.min(s);
            let part = |range, state| Scan::of(whole.inputs.part(range, state));
            let [first, state, _] = part(0..at, whole.inputs.initial_state.clone()).run();
            let [second, last, _] = part(at..s, Some(Tensor::new(F32, &state.shape, &state.to_f64()))).run();
            let [out, expected, _] = whole.run();
            prop_assert_eq!(last.bytes, expected.bytes);
            let out = Tensor::new(FLOATS[dtype], &[2, s, 12], &out.to_f64());
            prop_assert_eq!(first.to_f64(), out.positions(0..at).values);
            prop_assert_eq!(second.to_f64(), out.positions(at..s).values);
        }

        #[test]
        fn updates_of_any_size_give_the_same_bits(steps in prop::collection::vec(0..40_usize, 1..4), states in 1..8_usize) {
            let whole = Scan::new(F16, [3, steps.iter().sum(), 12, 4 * states, 1]);
            let [out, last, _] = whole.run();
            let out = Tensor::new(F16, whole.inputs.u.layout.shape(), &out.to_f64());
            let (mut state, mut at) = (whole.inputs.initial_state.clone(), 0);
            for step in steps {
                let options = Options { update: true, ..SOFTPLUS };
                let call = Scan { options, ..Scan::of(whole.inputs.part(at..at + step, state)) };
                let [part, next, _] = call.run();
                prop_assert_eq!(part.to_f64(), out.positions(at..at + step).values);
                state = Some(Tensor::new(F32, &next.shape, &next.to_f64()));
                at += step;
            }
            prop_assert_eq!(state.unwrap().values, last.to_f64());
        }

        #[test]
        fn sequences_of_various_lengths_are_as_each_alone(
            lengths in prop::collection::vec(0..90_usize, 0..6), states in 1..8_usize, dtype in 0..3_usize,
        ) {
            let scan = Scan::of(Inputs::various(FLOATS[dtype], &lengths, [16, 4 * states, 2]));
            let [out, state, _] = scan.assert_agrees();
            let (mut at, size) = (0, 16 * 4 * states);
            for (i, &length) in lengths.iter().enumerate() {
                let [alone, last, _] = Scan::of(scan.inputs.alone(i)).run();
                prop_assert_eq!(&alone.to_f64()[..], &out.to_f64()[at * 16..(at + length) * 16]);
                prop_assert_eq!(&last.to_f64()[..], &state.to_f64()[i * size..][..size]);
                at += length;
            }
        }

        #[test]
        fn boundary_states_are_those_of_a_scan_that_ends_there(s in 1..260_usize, states in 1..24_usize) {
            let scan = Scan { boundary_states: true, ..Scan::new(F32, [2, s, 8, 4 * states, 1]) };
            let ([_, _, boundaries], size) = (scan.run(), 8 * 4 * states);
            for (batch, chunk) in (0..2).flat_map(|batch| (0..s.div_ceil(CHUNK)).map(move |chunk| (batch, chunk))) {
                let head = Scan::of(scan.inputs.part(0..chunk * CHUNK, scan.inputs.initial_state.clone()));
                let expected = &head.run()[1].to_f64()[batch * size..][..size];
                let got = &boundaries.to_f64()[(batch * s.div_ceil(CHUNK) + chunk) * size..][..size];
                prop_assert_eq!(got, expected);
            }
        }
    }

    #[test]
    fn boundary_states_of_various_lengths_lie_where_the_shape_says() {
        let lengths = [70, 0, 64, 1, 130];
        let scan = Scan { boundary_states: true, ..Scan::of(Inputs::various(BF16, &lengths, [8, 8, 1])) };
        let [_, _, boundaries] = scan.run();
        for (i, &length) in lengths.iter().enumerate() {
            let alone = Scan { boundary_states: true, ..Scan::of(scan.inputs.alone(i)) };
            let first = scan.inputs.offsets[i] as usize / CHUNK + i;
            let count = length.div_ceil(CHUNK) * 64;
            assert_eq!(alone.run()[2].to_f64()[..count], boundaries.to_f64()[first * 64..][..count], "{i}");
        }
    }
}

mod edges {
    use super::*;

    #[test]
    fn lengths_around_a_tile_agree() {
        for s in [0, 1, 2, 3, 4, 5, 11, 12, 13, 31, 32, 33, 63, 64, 65] {
            for d_state in [16, 64, 256] {
                Scan::new(F16, [2, s, 8, d_state, 1]).assert_agrees();
            }
        }
    }

    #[test]
    fn channels_around_a_block_agree() {
        for dim in [4, 20, 24, 28, 32, 36, 60, 64, 68, 100] {
            for d_state in [16, 64, 256] {
                Scan::new(BF16, [1, 9, dim, d_state, 1]).assert_agrees();
                Scan::new(F32, [1, 9, 2 * dim, d_state, 2]).assert_agrees();
            }
        }
    }

    #[test]
    fn a_long_memory_neither_overflows_nor_is_lost() {
        // Decays of 1 - 2^-17 and near 0, steps that are mostly 0, over 64K positions.
        let s = 1 << 16;
        let mut scan = Scan::new(F32, [1, s, 4, 4, 1]);
        let slow = 2f64.powi(-17);
        scan.inputs.a = Tensor::new(F32, &[4, 4], &[-slow, -1e-3, -1.0, -90.0].repeat(4));
        scan.inputs.delta = scan.inputs.delta.map(|_| 1.0);
        (scan.inputs.z, scan.inputs.delta_bias, scan.options.softplus) = (None, None, false);
        scan.inputs.initial_state = Some(Tensor::new(F32, &[1, 4, 4], &[1e30, 1e30, 1.0, 1.0].repeat(4)));
        scan.inputs.c = scan.inputs.c.map(|x| 1e-30 * x);
        let [out, state, _] = scan.assert_agrees();
        assert!(out.to_f64().iter().all(|x| x.is_finite()));
        // exp(-1/2) is left of the slowest.
        assert!((state.to_f64()[0] / 1e30 - (-0.5f64).exp()).abs() < 0.01);
    }

    #[test]
    fn a_step_of_0_leaves_states_as_they_are() {
        let mut scan = Scan::new(F32, [1, 40, 8, 16, 1]);
        scan.inputs.delta = scan.inputs.delta.map(|_| 0.0);
        (scan.inputs.delta_bias, scan.options.softplus) = (None, false);
        assert_eq!(scan.run()[1].to_f64(), scan.inputs.initial_state.unwrap().values);
    }

    #[test]
    fn softplus_of_large_and_small_arguments_agrees() {
        for shift in [-60.0, -20.0, -8.0, 8.0, 19.9, 20.1, 60.0] {
            let mut scan = Scan::new(F32, [1, 20, 8, 16, 1]);
            scan.inputs.delta = scan.inputs.delta.map(|x| x + shift);
            scan.inputs.delta_bias = None;
            scan.assert_agrees();
        }
    }

    #[test]
    fn empty_calls_are_no_calls() {
        assert_eq!(
            Scan::new(BF16, [3, 0, 8, 16, 1]).run()[1].to_f64(),
            Inputs::new(BF16, [3, 0, 8, 16, 1]).initial_state.unwrap().values
        );
        assert!(Scan::new(F32, [0, 5, 8, 16, 1]).run()[0].bytes.is_empty());
        assert!(Scan::new(F32, [2, 5, 0, 16, 1]).run()[0].bytes.is_empty());
    }

    #[test]
    fn nan_stays_in_its_channel_and_comes_after() {
        let mut scan = Scan::new(F32, [1, 20, 8, 16, 1]);
        scan.inputs.u.values[5 * 8 + 3] = f64::NAN;
        let out = scan.run()[0].to_f64();
        let expected = |at: usize| at % 8 == 3 && at >= 43;
        assert!((0..out.len()).all(|at| out[at].is_nan() == expected(at)));
    }

    #[test]
    fn results_do_not_depend_on_strides() {
        let scan = Scan::new(BF16, [2, 40, 48, 16, 2]);
        let expected = scan.run();
        for strides in [[48, 96, 1], [40 * 60, 60, 1]] {
            let mut moved = scan.clone();
            moved.inputs.u = moved.inputs.u.strided(&strides);
            moved.inputs.z = moved.inputs.z.map(|z| z.strided(&strides));
            moved.inputs.delta = moved.inputs.delta.strided(&strides);
            moved.inputs.c = moved.inputs.c.strided(&[40 * 100, 100, 24, 1]);
            moved.out = Layout::strided(&[2, 40, 48], &strides).unwrap();
            assert_eq!(moved.run()[..2], expected[..2], "{strides:?}");
        }
    }
}

mod rejects {
    use super::*;

    #[track_caller]
    fn error(change: impl FnOnce(&mut Operands, &mut Options)) -> String {
        let scan = Scan { boundary_states: true, ..Scan::new(F16, [2, 10, 24, 16, 2]) };
        let (mut operands, mut options) = (scan.operands(), scan.options);
        change(&mut operands, &mut options);
        let text = Problem::check(&operands, &options).expect_err("bad input was taken").to_string();
        text.strip_prefix("scan/selective_scan: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
    }

    #[test]
    fn bad_tensors_are_refused_each_with_its_reason() {
        let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
        assert_eq!(error(|t, _| t.u.layout = shape(&[20, 24])), "u has rank 2, expected 3 [b, s, dim]");
        assert_eq!(error(|t, _| t.u.dtype = DType::I32), "u has dtype i32; supported: f32, f16, bf16");
        assert_eq!(error(|t, _| t.delta.layout = shape(&[2, 11, 24])), "delta has s 11, expected 10 (= u)");
        assert_eq!(error(|t, _| t.delta.dtype = F32), "delta is f32, expected f16 (= u)");
        assert_eq!(error(|t, _| t.out.layout = shape(&[2, 10, 28])), "out has dim 28, expected 24 (= u)");
        assert_eq!(error(|t, _| t.z.as_mut().unwrap().dtype = BF16), "z is bf16, expected f16 (= u)");
        assert_eq!(error(|t, _| t.a.dtype = F16), "A is f16, expected f32");
        assert_eq!(error(|t, _| t.a.layout = shape(&[20, 16])), "A has dim 20, expected 24 (= u)");
        assert_eq!(error(|t, _| t.a.layout = shape(&[24, 6])), "A has d_state 6; supported: multiples of 4 up to 256");
        assert_eq!(
            error(|t, _| t.a.layout = shape(&[24, 260])),
            "A has d_state 260; supported: multiples of 4 up to 256"
        );
        assert_eq!(error(|t, _| t.b.layout = shape(&[2, 10, 2, 20])), "B has d_state 20, expected 16 (= A)");
        assert_eq!(error(|t, _| t.b.layout = shape(&[2, 10, 16])), "B has rank 3, expected 4 [b, s, groups, d_state]");
        let groups = "; supported: numbers that divide dim into groups of a multiple of 4 channels";
        assert_eq!(error(|t, _| t.b.layout = shape(&[2, 10, 4, 16])), format!("B has groups 4 for dim 24{groups}"));
        assert_eq!(error(|t, _| t.c.layout = shape(&[2, 10, 1, 16])), "C has groups 1, expected 2 (= B)");
        assert_eq!(error(|t, _| t.c.dtype = F32), "C is f32, expected f16 (= u)");
        assert_eq!(error(|t, _| t.d.as_mut().unwrap().layout = shape(&[25])), "D has dim 25, expected 24 (= u)");
        assert_eq!(error(|t, _| t.delta_bias.as_mut().unwrap().dtype = F16), "delta_bias is f16, expected f32");
        let state = error(|t, _| t.initial_state.as_mut().unwrap().layout = shape(&[2, 24, 12]));
        assert_eq!(state, "initial_state has d_state 12, expected 16 (= A)");
        let state = error(|t, _| t.final_state.as_mut().unwrap().layout = shape(&[1, 24, 16]));
        assert_eq!(state, "final_state has b 1, expected 2 (= u and cu_seqlens)");
        assert_eq!(error(|t, _| t.final_state.as_mut().unwrap().dtype = F16), "final_state is f16, expected f32");
        let state = error(|t, _| t.boundary_states.as_mut().unwrap().layout = shape(&[1, 24, 16]));
        assert_eq!(state, "boundary_states has chunks 1, expected 2 (= u and cu_seqlens)");
        assert_eq!(error(|t, _| t.out.address = t.u.address), "out overlaps u in memory");
        assert_eq!(error(|t, _| t.final_state = t.initial_state), "final_state overlaps initial_state in memory");
        assert_eq!(error(|t, _| t.u.address += 2), "u has address 1099511627778, expected a multiple of 8");
        let odd = Layout::strided(&[2, 10, 24], &[260, 26, 1]).unwrap();
        assert_eq!(error(|t, _| t.delta.layout = odd), "delta has stride[1] in elements 26, expected a multiple of 4");
    }

    #[test]
    fn updates_without_a_state_or_with_two_are_refused() {
        let update = |options: &mut Options| options.update = true;
        let none = error(|t, o| {
            update(o);
            (t.final_state, t.initial_state) = (None, None);
        });
        assert_eq!(none, "update is given without final_state");
        assert_eq!(error(|_, o| update(o)), "update is true, expected false where initial_state is given");
    }

    #[test]
    fn too_many_positions_or_blocks_are_refused() {
        let shape = Shape { sequences: SequenceSizes::uniform(1, 1 << 30), dim: 8, d_state: 16, groups: 1 };
        let error = Problem::new(F16, shape, Parts::default(), SOFTPLUS).unwrap_err().to_string();
        assert_eq!(error, "scan/selective_scan: s is 1073741824, the limit is 1073741823");
        let sequences = SequenceSizes::uniform(1 << 28, 1);
        let problem = Problem::new(F16, Shape { sequences, dim: 1024, ..shape }, Parts::default(), SOFTPLUS).unwrap();
        let error = plan(&problem, &Limits::of_capability(8, 0)).unwrap_err().to_string();
        assert_eq!(error, "scan/selective_scan: blocks is 8589934592, the limit is 2147483647");
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
        let planned = |dim, d_state, groups| {
            let problem = Scan::new(F16, [3, 5, dim, d_state, groups]).problem();
            let plan = plan(&problem, &Limits::of_capability(8, 6)).unwrap();
            (plan.launch.unwrap().instance, plan.launch.unwrap().grid[0], plan.tiles_of_group)
        };
        assert_eq!(planned(64, 16, 1), ("selective_scan_16", 6, 2));
        assert_eq!(planned(72, 4, 2), ("selective_scan_16", 12, 2));
        assert_eq!(planned(64, 20, 1), ("selective_scan_64", 3, 1));
        assert_eq!(planned(64, 68, 1), ("selective_scan_256", 9, 3));
    }
}

mod counters {
    use super::*;
    use llm_kernels::verify::Case;

    #[test]
    fn bytes_come_from_memory_once_and_blocks_share_b_and_c() {
        for (name, l2_bytes) in [("Mamba 130M, 1024 tokens", 1.3), ("Mamba 2.8B, 512 tokens", 1.3)] {
            let case = bench_case(PATH, name);
            let Some((counters, resources)) = profile(PATH, &case) else { return };
            let needed = resources.bytes_needed.unwrap();
            assert_at_most(&format!("{name}: DRAM bytes"), get(&counters, "dram_bytes") / needed, 1.05);
            assert_at_most(&format!("{name}: L2 bytes"), get(&counters, "global_bytes") / needed, l2_bytes);
            let size = |name: &str| case.sizes.iter().find(|(known, _)| *known == name).unwrap().1;
            let states = (size("b") * size("s") * size("dim") * size("d_state")) as f64;
            let each = get(&counters, "thread_inst_executed") / states;
            assert_at_most(&format!("{name}: thread instructions a state"), each, 17.5);
            let conflicts = get(&counters, "shared_wavefronts") / get(&counters, "shared_ideal_wavefronts");
            assert_at_most(&format!("{name}: wavefronts of shared memory"), conflicts, 1.01);
        }
    }

    #[test]
    fn cost_is_linear_in_positions() {
        let case = |sizes| Case { sizes, ..bench_case(PATH, "Mamba 130M, 1024 tokens") };
        let short: Case = case(&[("b", 1), ("s", 256), ("dim", 128), ("d_state", 16), ("groups", 1)]);
        let long: Case = case(&[("b", 1), ("s", 2048), ("dim", 128), ("d_state", 16), ("groups", 1)]);
        let (Some((short, _)), Some((long, _))) = (profile(PATH, &short), profile(PATH, &long)) else { return };
        for name in ["thread_inst_executed", "global_bytes"] {
            let ratio = get(&long, name) / get(&short, name);
            assert!((7.6..8.1).contains(&ratio), "{name}: {ratio} times for 8 times the positions");
        }
    }
}
