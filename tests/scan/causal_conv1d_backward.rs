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

mod properties;

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

mod rejects;

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
