//! `scan::causal_conv1d_backward`.

use crate::support::*;
use llm_kernels::scan::causal_conv1d_backward::reference::{Input, Output, plain, reference, terms};
use llm_kernels::scan::causal_conv1d_backward::{
    Args, Extras, Operands, Options, Problem, causal_conv1d_backward, plan,
};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{DeviceTensor, HostTensor};
use llm_kernels::{DType, Layout, Limits, Result};
use proptest::prelude::*;

use DType::{BF16, F16, F32};

const PATH: &str = "scan/causal_conv1d_backward";

/// A call with its input.
#[derive(Clone, Debug)]
struct Backward {
    x: Tensor,
    weight: Tensor,
    d_out: Tensor,
    bias: Option<Tensor>,
    initial_state: Option<Tensor>,
    d_final_state: Option<Tensor>,
    d_x: Layout,
    /// Empty: sequences of one length.
    offsets: Vec<i32>,
    /// The type of the gradients of weights and bias.
    sums: DType,
    options: Options,
}

impl Backward {
    fn new(dtype: DType, [b, s, dim, width]: [usize; 4]) -> Self {
        let (shape, state) = ([b, s, dim], [b, dim, width - 1]);
        Self {
            x: Tensor::normal(1, dtype, &shape),
            weight: Tensor::normal(2, dtype, &[dim, width]),
            d_out: Tensor::normal(3, dtype, &shape),
            bias: Some(Tensor::normal(4, dtype, &[dim])),
            initial_state: Some(Tensor::normal(5, dtype, &state)),
            d_final_state: Some(Tensor::normal(6, dtype, &state)),
            d_x: Layout::contiguous(&shape).unwrap(),
            offsets: Vec::new(),
            sums: F32,
            options: Options { silu: true },
        }
    }

    /// One sequence after the other.
    fn various(dtype: DType, lengths: &[usize], [dim, width]: [usize; 2]) -> Self {
        let mut offsets = vec![0];
        lengths.iter().for_each(|&length| offsets.push(offsets.last().unwrap() + length as i32));
        let total = *offsets.last().unwrap() as usize;
        let (call, state) = (Self::new(dtype, [1, total, dim, width]), [lengths.len(), dim, width - 1]);
        Self {
            x: call.x.reshaped(&[total, dim]),
            d_out: call.d_out.reshaped(&[total, dim]),
            initial_state: Some(Tensor::normal(5, dtype, &state)),
            d_final_state: Some(Tensor::normal(6, dtype, &state)),
            d_x: Layout::contiguous(&[total, dim]).unwrap(),
            offsets,
            ..call
        }
    }

    fn states(&self) -> Layout {
        let [dim, width] = std::array::from_fn(|at| self.weight.layout.shape()[at]);
        let b = if self.offsets.is_empty() { self.x.layout.shape()[0] } else { self.offsets.len() - 1 };
        Layout::contiguous(&[b, dim, width - 1]).unwrap()
    }

    fn d_bias(&self) -> Layout {
        Layout::contiguous(&self.weight.layout.shape()[..1]).unwrap()
    }

    fn operands(&self) -> Operands {
        let given = |tensor: &Option<Tensor>, slot| tensor.as_ref().map(|tensor| tensor.operand(slot));
        Operands {
            x: self.x.operand(0),
            weight: self.weight.operand(1),
            d_out: self.d_out.operand(2),
            d_x: operand(self.x.dtype, self.d_x, 3),
            d_weight: operand(self.sums, self.weight.layout, 4),
            workspace: operand(DType::U8, Layout::contiguous(&[1 << 30]).unwrap(), 5),
            bias: given(&self.bias, 6),
            initial_state: given(&self.initial_state, 7),
            cu_seqlens: sequence_operand(&self.offsets),
            d_final_state: given(&self.d_final_state, 8),
            d_bias: self.bias.as_ref().map(|_| operand(self.sums, self.d_bias(), 9)),
            d_initial_state: Some(operand(self.x.dtype, self.states(), 10)),
        }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), &self.options).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The gradients of x, the weights, the initial state and, if there is one, the bias.
    fn run(&self) -> Vec<HostTensor> {
        let _shared = shared();
        let launch = || -> Result<Vec<HostTensor>> {
            let upload = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::upload);
            let (x, weight, d_out) = (self.x.upload(), self.weight.upload(), self.d_out.upload());
            let [bias, initial_state, d_final_state] =
                [&self.bias, &self.initial_state, &self.d_final_state].map(upload);
            let (mut d_x, mut d_initial_state) =
                (poisoned(self.x.dtype, self.d_x), poisoned(self.x.dtype, self.states()));
            let mut d_weight = poisoned(self.sums, self.weight.layout);
            let mut d_bias = self.bias.as_ref().map(|_| poisoned(self.sums, self.d_bias()));
            let bytes = plan(&self.problem(), queue().device().limits())?.workspace_bytes;
            let mut workspace = poisoned(DType::U8, Layout::contiguous(&[bytes])?);
            let offsets = sequences(&self.offsets);
            let args = Args {
                x: x.view()?,
                weight: weight.view()?,
                d_out: d_out.view()?,
                d_x: d_x.view_mut()?,
                d_weight: d_weight.view_mut()?,
                workspace: workspace.view_mut()?,
                extras: Extras {
                    bias: bias.as_ref().map(DeviceTensor::view).transpose()?,
                    initial_state: initial_state.as_ref().map(DeviceTensor::view).transpose()?,
                    cu_seqlens: offsets.as_ref(),
                    d_final_state: d_final_state.as_ref().map(DeviceTensor::view).transpose()?,
                    d_bias: d_bias.as_mut().map(DeviceTensor::view_mut).transpose()?,
                    d_initial_state: Some(d_initial_state.view_mut()?),
                },
                options: self.options,
            };
            causal_conv1d_backward(queue(), args)?;
            queue().synchronize()?;
            let mut outputs = vec![
                download(&d_x, "d_x"),
                download(&d_weight, "d_weight"),
                download(&d_initial_state, "d_initial_state"),
            ];
            outputs.extend(d_bias.map(|d_bias| download(&d_bias, "d_bias")));
            Ok(outputs)
        };
        launch().unwrap_or_else(|error| panic!("{error}"))
    }

    fn input(&self) -> Input<'_> {
        fn given(tensor: &Option<Tensor>) -> Option<&[f64]> {
            tensor.as_ref().map(|tensor| &tensor.values[..])
        }
        Input {
            x: &self.x.values,
            weight: &self.weight.values,
            bias: given(&self.bias),
            initial_state: given(&self.initial_state),
            d_out: &self.d_out.values,
            d_final_state: given(&self.d_final_state),
            cu_seqlens: &self.offsets,
        }
    }

    #[track_caller]
    fn assert_agrees(&self) -> Vec<HostTensor> {
        let (outputs, [exact, plain]) = (self.run(), [reference, plain].map(|of| of(&self.problem(), &self.input())));
        let [of_inputs, of_weights, of_biases] = terms(&self.problem(), &self.input());
        let parts = |output: Output| [output.d_x, output.d_weight, output.d_initial_state, output.d_bias];
        let all = outputs.iter().zip(parts(exact)).zip(parts(plain));
        for (((got, exact), plain), terms) in all.zip([of_inputs, of_weights, of_inputs, of_biases]) {
            let tolerance = Tolerance::gradients(got.dtype, terms);
            assert_within(got, &exact, &plain, tolerance, &(&got.name, self.problem()));
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
    fn every_mix_of_types_and_width_agrees() {
        for i in 0..27 {
            let [x, weight, bias] = [1, 3, 9].map(|power| FLOATS[i / power % 3]);
            for width in 2..=4 {
                let mut call = Backward::new(x, [2, 21, 24, width]);
                call.weight = Tensor::normal(2, weight, &[24, width]);
                call.bias = (i % 4 > 0).then(|| Tensor::normal(3, bias, &[24]));
                call.sums = FLOATS[(i + width) % 3];
                call.options.silu = i % 2 == 0;
                call.assert_agrees();
            }
        }
    }

    #[test]
    fn a_difference_beyond_the_tolerance_is_seen() {
        let call = Backward::new(F16, [1, 9, 16, 4]);
        let mut wrong = call.clone();
        wrong.weight.values[5] += 0.25;
        let [exact, plain] = [reference, plain].map(|of| of(&wrong.problem(), &wrong.input()));
        let tolerance = Tolerance::gradients(F16, terms(&call.problem(), &call.input())[0]);
        assert!(!llm_kernels::verify::compare(&call.run()[0], &exact.d_x, &plain.d_x, tolerance).passed());
    }
}

mod properties {
    use super::*;
    use llm_kernels::scan::causal_conv1d;

    proptest! {
        #![proptest_config(cases(40))]

        #[test]
        fn any_call_agrees(
            b in 1..4_usize, s in 0..150_usize, dim in 1..70_usize, width in 2..5_usize, types in 0..9_usize,
            gap in 0..9_usize, parts in 0..16_u8,
        ) {
            let mut call = Backward::new(FLOATS[types % 3], [b, s, dim, width]);
            call.weight = Tensor::normal(2, FLOATS[types / 3], &[dim, width]);
            call.bias = call.bias.filter(|_| parts & 1 != 0);
            call.initial_state = call.initial_state.filter(|_| parts & 2 != 0);
            call.options.silu = parts & 4 != 0;
            call.d_final_state = call.d_final_state.filter(|_| parts & 8 != 0);
            call.d_x = Layout::strided(&[b, s, dim], &[s * (dim + gap), dim + gap, 1]).unwrap();
            call.assert_agrees();
        }

        #[test]
        fn sequences_of_various_lengths_are_as_each_alone(
            lengths in prop::collection::vec(0..90_usize, 0..6), width in 2..5_usize, types in 0..3_usize,
        ) {
            let call = Backward::various(FLOATS[types], &lengths, [24, width]);
            let together = call.assert_agrees();
            let (mut at, size) = (0, 24 * (width - 1));
            for (i, &length) in lengths.iter().enumerate() {
                let of = |tensor: &Tensor| {
                    Tensor::new(FLOATS[types], &[1, length, 24], &tensor.values[at * 24..(at + length) * 24])
                };
                let state = |tensor: &Option<Tensor>| {
                    let values = &tensor.as_ref().unwrap().values[i * size..][..size];
                    Some(Tensor::new(FLOATS[types], &[1, 24, width - 1], values))
                };
                let alone = Backward {
                    x: of(&call.x),
                    d_out: of(&call.d_out),
                    initial_state: state(&call.initial_state),
                    d_final_state: state(&call.d_final_state),
                    d_x: Layout::contiguous(&[1, length, 24]).unwrap(),
                    offsets: Vec::new(),
                    ..call.clone()
                };
                let alone = alone.run();
                prop_assert_eq!(&alone[0].to_f64()[..], &together[0].to_f64()[at * 24..(at + length) * 24]);
                prop_assert_eq!(&alone[2].to_f64()[..], &together[2].to_f64()[i * size..][..size]);
                at += length;
            }
        }
    }

    #[test]
    fn gradients_are_differences_of_the_convolution() {
        for silu in [false, true] {
            let call = Backward { options: Options { silu }, ..Backward::new(F32, [2, 7, 8, 3]) };
            let problem = call.problem();
            let options = causal_conv1d::Options { silu, update: false };
            let forward = causal_conv1d::Problem::new(problem.types, problem.shape, [true; 2], options).unwrap();
            // What the gradients are of: results and final states, weighed by their gradients.
            let loss = |inputs: &[Vec<f64>; 4]| -> f64 {
                let [x, weight, initial_state, bias] = inputs;
                let input = causal_conv1d::reference::Input {
                    x,
                    weight,
                    bias: Some(bias),
                    initial_state: Some(initial_state),
                    cu_seqlens: &[],
                };
                let output = causal_conv1d::reference::reference(&forward, &input);
                let weighed = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                weighed(&output.out, &call.d_out.values)
                    + weighed(&output.final_state, &call.d_final_state.as_ref().unwrap().values)
            };
            let tensors = [Some(&call.x), Some(&call.weight), call.initial_state.as_ref(), call.bias.as_ref()];
            let values = tensors.map(|tensor| tensor.unwrap().values.clone());
            let (exact, got) = (reference(&problem, &call.input()), call.run());
            for (which, exact) in [exact.d_x, exact.d_weight, exact.d_initial_state, exact.d_bias].iter().enumerate() {
                for (at, (&exact, got)) in exact.iter().zip(got[which].to_f64()).enumerate() {
                    let moved = |step: f64| {
                        let mut values = values.clone();
                        values[which][at] += step;
                        loss(&values)
                    };
                    let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    assert!((exact - expected).abs() < 1e-7, "{which} {at}: {exact} {expected}");
                    assert!((got - expected).abs() < 2e-5, "{which} {at}: {got} {expected}");
                }
            }
        }
    }

    #[test]
    fn every_run_gives_the_same_bits() {
        let call = Backward::new(F16, [3, 700, 136, 4]);
        let first = call.run();
        assert!((0..3).all(|_| call.run() == first));
    }
}

mod edges {
    use super::*;

    #[test]
    fn lengths_around_a_tile_agree() {
        for s in [0, 1, 2, 3, 4, 13, 14, 15, 16, 17, 31, 32, 33, 34, 35, 65] {
            Backward::new(F16, [2, s, 16, 4]).assert_agrees();
        }
    }

    #[test]
    fn more_tiles_than_groups_and_longer_tiles_agree() {
        // 108 multiprocessors run 27,648 threads at once.
        Backward::new(BF16, [1, 3000, 1024, 4]).assert_agrees();
        Backward::new(F32, [2, 300, 2048, 2]).assert_agrees();
    }

    #[test]
    fn without_positions_gradients_of_weights_are_0_and_states_hand_theirs_on() {
        let call = Backward::new(BF16, [3, 0, 24, 4]);
        let outputs = call.run();
        assert!(outputs[1].to_f64().iter().chain(&outputs[3].to_f64()).all(|&x| x == 0.0));
        assert_eq!(outputs[2].to_f64(), call.d_final_state.unwrap().values);
        assert!(Backward::new(F32, [0, 5, 8, 4]).run()[1].to_f64().iter().all(|&x| x == 0.0));
        assert!(Backward::new(F32, [2, 5, 0, 4]).run()[0].bytes.is_empty());
    }

    #[test]
    fn any_strides_give_the_same_bits() {
        let call = Backward::new(BF16, [2, 40, 48, 4]);
        let expected = call.assert_agrees();
        for strides in [[48, 96, 1], [40 * 64, 64, 1]] {
            let x = call.x.clone().strided(&strides);
            assert_eq!(Backward { x, ..call.clone() }.run(), expected, "{strides:?}");
            let d_out = call.d_out.clone().strided(&strides);
            assert_eq!(Backward { d_out, ..call.clone() }.run(), expected, "{strides:?}");
            let d_x = Layout::strided(&[2, 40, 48], &strides).unwrap();
            assert_eq!(Backward { d_x, ..call.clone() }.run(), expected, "{strides:?}");
        }
    }
}

mod rejects {
    use super::*;

    #[track_caller]
    fn error(change: impl FnOnce(&mut Operands)) -> String {
        let call = Backward::new(F16, [2, 10, 24, 4]);
        let mut operands = call.operands();
        change(&mut operands);
        let text = Problem::check(&operands, &call.options).expect_err("bad input was taken").to_string();
        text.strip_prefix("scan/causal_conv1d_backward: ")
            .unwrap_or_else(|| panic!("no operator in: {text}"))
            .to_owned()
    }

    #[test]
    fn bad_tensors_are_refused_each_with_its_reason() {
        let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
        assert_eq!(error(|t| t.x.layout = shape(&[20, 24])), "x has rank 2, expected 3 [b, s, dim]");
        assert_eq!(error(|t| t.d_out.layout = shape(&[2, 11, 24])), "d_out has s 11, expected 10 (= x)");
        assert_eq!(error(|t| t.d_out.dtype = F32), "d_out is f32, expected f16 (= x)");
        assert_eq!(error(|t| t.d_x.layout = shape(&[1, 10, 24])), "d_x has b 1, expected 2 (= x)");
        assert_eq!(error(|t| t.d_weight.layout = shape(&[24, 3])), "d_weight has width 3, expected 4 (= weight)");
        assert_eq!(error(|t| t.d_weight.dtype = DType::I32), "d_weight has dtype i32; supported: f32, f16, bf16");
        assert_eq!(error(|t| t.weight.layout = shape(&[24, 6])), "weight has width 6; supported: 2, 3, 4");
        assert_eq!(error(|t| t.bias = None), "d_bias is given without bias");
        let short = error(|t| t.d_bias.as_mut().unwrap().layout = shape(&[23]));
        assert_eq!(short, "d_bias has dim 23, expected 24 (= x)");
        let state = error(|t| t.d_initial_state.as_mut().unwrap().layout = shape(&[2, 24, 4]));
        assert_eq!(state, "d_initial_state has width - 1 4, expected 3 (= weight)");
        let state = error(|t| t.d_final_state.as_mut().unwrap().dtype = F32);
        assert_eq!(state, "d_final_state is f32, expected f16 (= x)");
        assert_eq!(error(|t| t.d_x.address = t.d_out.address), "d_x overlaps d_out in memory");
        assert_eq!(error(|t| t.workspace.address = t.x.address), "workspace overlaps x in memory");
        assert_eq!(
            error(|t| t.workspace.address += 8),
            "workspace has address 1443109011464, expected a multiple of 16"
        );
        assert_eq!(error(|t| t.workspace.dtype = F32), "workspace is f32, expected u8");
    }

    #[test]
    fn a_small_workspace_is_refused_before_anything_is_written() {
        let call = Backward::new(F16, [1, 8, 16, 4]);
        let (x, weight, d_out) = (call.x.upload(), call.weight.upload(), call.d_out.upload());
        let (mut d_x, mut d_weight) = (poisoned(F16, call.d_x), poisoned(F32, call.weight.layout));
        let mut workspace = poisoned(DType::U8, Layout::contiguous(&[64]).unwrap());
        let args = Args {
            x: x.view().unwrap(),
            weight: weight.view().unwrap(),
            d_out: d_out.view().unwrap(),
            d_x: d_x.view_mut().unwrap(),
            d_weight: d_weight.view_mut().unwrap(),
            workspace: workspace.view_mut().unwrap(),
            extras: Extras::default(),
            options: call.options,
        };
        let error = causal_conv1d_backward(queue(), args).unwrap_err().to_string();
        assert_eq!(error, "scan/causal_conv1d_backward: workspace has 64 bytes, the plan needs 320");
        assert!(download(&d_x, "d_x").to_f64().iter().all(|x| x.is_nan()));
    }
}

mod plan {
    use super::*;

    #[test]
    fn every_instance_is_embedded_without_spills() {
        assert_embedded(PATH, 10);
    }

    #[test]
    fn groups_fill_the_chip_and_no_more() {
        let planned = |sizes| {
            let problem = Backward::new(F16, sizes).problem();
            let plan = plan(&problem, &Limits { multiprocessors: 4, ..Limits::of_capability(8, 0) }).unwrap();
            (plan.tiles.unwrap().instance, plan.positions, plan.num_groups, plan.workspace_bytes)
        };
        assert_eq!(planned([1, 100, 64, 4]), ("causal_conv1d_backward_unit8_width4", 16, 7, 7 * 64 * 5 * 4));
        assert_eq!(planned([1, 8000, 64, 3]), ("causal_conv1d_backward_unit8_width3", 32, 128, 128 * 64 * 4 * 4));
        assert_eq!(planned([1, 100, 16384, 2]), ("causal_conv1d_backward_unit8_width2", 32, 1, 16384 * 3 * 4));
    }
}

mod counters {
    use super::*;

    #[test]
    fn bytes_come_from_memory_once_beside_partial_sums_and_instructions_are_few() {
        // Few positions: each thread has one tile, and sums of its own.
        for (name, dram_bytes) in [("Mamba 130M, 2048 tokens", 1.42), ("Mamba 2.8B, 512 tokens", 1.45)] {
            let case = bench_case(PATH, name);
            let Some((counters, resources)) = profile(PATH, &case) else { return };
            let needed = resources.bytes_needed.unwrap();
            assert_at_most(&format!("{name}: DRAM bytes"), get(&counters, "dram_bytes") / needed, dram_bytes);
            let size = |name: &str| case.sizes.iter().find(|(known, _)| *known == name).unwrap().1;
            let elements = (size("b") * size("s") * size("dim")) as f64;
            let each = get(&counters, "thread_inst_executed") / elements;
            assert_at_most(&format!("{name}: thread instructions an element"), each, 70.0);
            assert_at_most(&format!("{name}: L2 bytes"), get(&counters, "global_bytes") / needed, 2.05);
        }
    }
}
