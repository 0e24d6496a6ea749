//! `scan::causal_conv1d`.

use crate::support::*;
use llm_kernels::scan::SequenceSizes;
use llm_kernels::scan::causal_conv1d::reference::{Input, Output, plain, reference};
use llm_kernels::scan::causal_conv1d::{Args, Operands, Options, Problem, Shape, Types, causal_conv1d, plan};
use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{DeviceTensor, HostTensor};
use llm_kernels::{DType, Layout, Limits, Result};
use proptest::prelude::*;

use DType::{BF16, F16, F32};

const PATH: &str = "scan/causal_conv1d";

/// A call with its input.
#[derive(Clone, Debug)]
struct Conv {
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    initial_state: Option<Tensor>,
    out: Layout,
    /// Empty: sequences of one length.
    offsets: Vec<i32>,
    options: Options,
}

impl Conv {
    fn new(dtype: DType, [b, s, dim, width]: [usize; 4]) -> Self {
        let shape = [b, s, dim];
        Self {
            x: Tensor::normal(1, dtype, &shape),
            weight: Tensor::normal(2, dtype, &[dim, width]),
            bias: Some(Tensor::normal(3, dtype, &[dim])),
            initial_state: Some(Tensor::normal(4, dtype, &[b, dim, width - 1])),
            out: Layout::contiguous(&shape).unwrap(),
            offsets: Vec::new(),
            options: Options { silu: true, update: false },
        }
    }

    /// One sequence after the other.
    fn various(dtype: DType, lengths: &[usize], [dim, width]: [usize; 2]) -> Self {
        let mut offsets = vec![0];
        lengths.iter().for_each(|&length| offsets.push(offsets.last().unwrap() + length as i32));
        let total = *offsets.last().unwrap() as usize;
        let call = Self::new(dtype, [1, total, dim, width]);
        Self {
            x: call.x.reshaped(&[total, dim]),
            initial_state: Some(Tensor::normal(4, dtype, &[lengths.len(), dim, width - 1])),
            out: Layout::contiguous(&[total, dim]).unwrap(),
            offsets,
            ..call
        }
    }

    fn states(&self) -> Layout {
        let [dim, width] = std::array::from_fn(|at| self.weight.layout.shape()[at]);
        let b = if self.offsets.is_empty() { self.x.layout.shape()[0] } else { self.offsets.len() - 1 };
        Layout::contiguous(&[b, dim, width - 1]).unwrap()
    }

    fn operands(&self) -> Operands {
        Operands {
            x: self.x.operand(0),
            weight: self.weight.operand(1),
            out: operand(self.x.dtype, self.out, 2),
            bias: self.bias.as_ref().map(|bias| bias.operand(3)),
            initial_state: self.initial_state.as_ref().filter(|_| !self.options.update).map(|state| state.operand(4)),
            final_state: Some(operand(self.x.dtype, self.states(), 5)),
            cu_seqlens: sequence_operand(&self.offsets),
        }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), &self.options).unwrap_or_else(|error| panic!("{error}"))
    }

    fn run(&self) -> [HostTensor; 2] {
        let _shared = shared();
        let launch = || -> Result<[HostTensor; 2]> {
            let upload = |tensor: &Option<Tensor>| tensor.as_ref().map(Tensor::upload);
            let (x, weight, bias) = (self.x.upload(), self.weight.upload(), upload(&self.bias));
            let initial_state = upload(&self.initial_state);
            let (mut out, mut state) = (poisoned(self.x.dtype, self.out), poisoned(self.x.dtype, self.states()));
            if self.options.update {
                state = upload(&self.initial_state).unwrap();
            }
            let offsets = sequences(&self.offsets);
            let given = initial_state.as_ref().filter(|_| !self.options.update);
            let args = Args {
                bias: bias.as_ref().map(DeviceTensor::view).transpose()?,
                initial_state: given.map(DeviceTensor::view).transpose()?,
                final_state: Some(state.view_mut()?),
                cu_seqlens: offsets.as_ref(),
                options: self.options,
                ..Args::new(x.view()?, weight.view()?, out.view_mut()?)
            };
            causal_conv1d(queue(), args)?;
            queue().synchronize()?;
            Ok([download(&out, "out"), download(&state, "final_state")])
        };
        launch().unwrap_or_else(|error| panic!("{error}"))
    }

    fn expected(&self) -> [Output; 2] {
        let input = Input {
            x: &self.x.values,
            weight: &self.weight.values,
            bias: self.bias.as_ref().map(|bias| &bias.values[..]),
            initial_state: self.initial_state.as_ref().map(|state| &state.values[..]),
            cu_seqlens: &self.offsets,
        };
        [reference, plain].map(|of| of(&self.problem(), &input))
    }

    #[track_caller]
    fn assert_agrees(&self) -> [HostTensor; 2] {
        let ([out, state], [exact, plain]) = (self.run(), self.expected());
        assert_within(&out, &exact.out, &plain.out, Tolerance::values(out.dtype), &self.problem());
        assert_within(&state, &exact.final_state, &plain.final_state, Tolerance::exact(), &self.problem());
        [out, state]
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
                let mut call = Conv::new(x, [2, 21, 24, width]);
                call.weight = Tensor::normal(2, weight, &[24, width]);
                call.bias = (i % 4 > 0).then(|| Tensor::normal(3, bias, &[24]));
                call.options.silu = i % 2 == 0;
                call.assert_agrees();
            }
        }
    }

    #[test]
    fn the_reference_is_the_definition() {
        // Two channels, width 2: y[t] = bias + w0 x[t - 1] + w1 x[t].
        let mut call = Conv::new(F32, [1, 3, 2, 2]);
        call.x = Tensor::new(F32, &[1, 3, 2], &[1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
        call.weight = Tensor::new(F32, &[2, 2], &[100.0, 1.0, 0.0, 2.0]);
        call.bias = Some(Tensor::new(F32, &[2], &[0.5, 0.25]));
        call.initial_state = Some(Tensor::new(F32, &[1, 2, 1], &[7.0, 8.0]));
        call.options.silu = false;
        for output in call.expected() {
            assert_eq!(output.out, [701.5, 20.25, 102.5, 40.25, 203.5, 60.25]);
            assert_eq!(output.final_state, [3.0, 30.0]);
        }
    }

    #[test]
    fn a_difference_beyond_the_tolerance_is_seen() {
        let call = Conv::new(F16, [1, 9, 16, 4]);
        let mut wrong = call.clone();
        wrong.weight.values[5] += 0.25;
        let ([out, _], [exact, plain]) = (call.run(), wrong.expected());
        let found = llm_kernels::verify::compare(&out, &exact.out, &plain.out, Tolerance::values(F16));
        assert!(!found.passed());
    }
}

mod properties;

mod edges {
    use super::*;

    #[test]
    fn lengths_around_a_tile_agree() {
        for s in [0, 1, 2, 3, 4, 15, 16, 17, 31, 32, 33, 63, 64, 65, 129] {
            Conv::new(F16, [2, s, 16, 4]).assert_agrees();
        }
        // As many threads as let each have 32 and 64 positions.
        Conv::new(F16, [1, 2100, 1024, 4]).assert_agrees();
    }

    #[test]
    fn without_positions_the_state_stays() {
        let call = Conv::new(BF16, [3, 0, 24, 4]);
        assert_eq!(call.run()[1].to_f64(), call.initial_state.unwrap().values);
        let none = Conv { initial_state: None, ..Conv::new(BF16, [3, 0, 24, 4]) };
        assert!(none.run()[1].to_f64().iter().all(|&x| x == 0.0));
        for sizes in [[0, 5, 8, 4], [2, 5, 0, 4]] {
            assert!(Conv::new(F32, sizes).run()[0].bytes.is_empty());
        }
    }

    #[test]
    fn strides_of_any_order_of_sequences_and_positions_give_the_same_bits() {
        let call = Conv::new(BF16, [2, 40, 48, 4]);
        let [expected, _] = call.assert_agrees();
        // Positions before sequences; gaps that leave 16 bytes, or not.
        for strides in [[48, 96, 1], [40 * 64, 64, 1], [40 * 51, 51, 1]] {
            let x = call.x.clone().strided(&strides);
            assert_eq!(Conv { x, ..call.clone() }.run()[0], expected, "{strides:?}");
            let out = Layout::strided(&[2, 40, 48], &strides).unwrap();
            assert_eq!(Conv { out, ..call.clone() }.run()[0], expected, "{strides:?}");
        }
    }

    #[test]
    fn nan_reaches_its_channel_and_the_positions_after_alone() {
        let mut call = Conv::new(F32, [1, 20, 8, 4]);
        call.x.values[5 * 8 + 3] = f64::NAN;
        let out = call.run()[0].to_f64();
        let wrong: Vec<usize> = (0..out.len()).filter(|&at| out[at].is_nan()).collect();
        assert_eq!(wrong, [43, 51, 59, 67]);
    }

    #[test]
    fn extreme_values_agree() {
        for scale in [1e-30, 1e4, 1e30] {
            let mut call = Conv::new(F32, [1, 20, 8, 4]);
            call.x = call.x.map(|x| x * scale);
            call.assert_agrees();
        }
    }
}

mod rejects;

mod plan {
    use super::*;

    #[test]
    fn every_instance_is_embedded_without_spills() {
        assert_embedded(PATH, 9);
    }

    #[test]
    fn threads_own_as_many_channels_as_16_bytes_hold_and_more_positions_where_there_are_many() {
        let planned = |call: &Conv| {
            let problem = call.problem();
            let plan = plan(&problem, &Limits { multiprocessors: 4, ..Limits::of_capability(8, 0) }).unwrap();
            (plan.launch.unwrap().instance, plan.positions)
        };
        assert_eq!(planned(&Conv::new(F16, [1, 100, 64, 4])), ("causal_conv1d_unit8_width4", 16));
        assert_eq!(planned(&Conv::new(F32, [1, 100, 64, 3])), ("causal_conv1d_unit4_width3", 16));
        assert_eq!(planned(&Conv::new(F16, [1, 100, 63, 2])), ("causal_conv1d_unit1_width2", 16));
        assert_eq!(planned(&Conv::new(F16, [1, 2000, 1024, 2])), ("causal_conv1d_unit8_width2", 64));
        let mut odd = Conv::new(F16, [1, 100, 64, 4]);
        odd.out = Layout::strided(&[1, 100, 64], &[6500, 65, 1]).unwrap();
        assert_eq!(planned(&odd), ("causal_conv1d_unit1_width4", 16));
        let update = Options { silu: true, update: true };
        assert_eq!(planned(&Conv { options: update, ..Conv::new(F16, [9, 64, 64, 4]) }).1, 64);
    }

    #[test]
    fn more_threads_than_a_grid_has_are_refused() {
        let types = Types { x: F16, weight: F16, bias: None };
        let shape = Shape { sequences: SequenceSizes::uniform(1 << 20, 1), dim: 1 << 16, width: 4 };
        let problem = Problem::new(types, shape, [false; 2], Options::default()).unwrap();
        let error = plan(&problem, &Limits::of_capability(8, 0)).unwrap_err().to_string();
        assert_eq!(error, "scan/causal_conv1d: threads is 8589934592, the limit is 4294967167");
    }
}

mod counters {
    use super::*;

    #[test]
    fn every_byte_comes_from_memory_once_and_instructions_are_few() {
        for (name, [instructions, l2_bytes]) in [
            ("Mamba 130M, 2048 tokens", [20.0, 1.4]),
            ("Mamba 2.8B, 1024 tokens", [20.0, 1.4]),
            // Each position has its own thread, which reads weights; states lie in thirds of what a lane moves.
            ("Mamba 2.8B, step of 64", [70.0, 3.0]),
        ] {
            let case = bench_case(PATH, name);
            let Some((counters, resources)) = profile(PATH, &case) else { return };
            let needed = resources.bytes_needed.unwrap();
            assert_at_most(&format!("{name}: DRAM bytes"), get(&counters, "dram_bytes") / needed, 1.02);
            let size = |name: &str| case.sizes.iter().find(|(known, _)| *known == name).unwrap().1;
            let elements = (size("b") * size("s") * size("dim")) as f64;
            let each = get(&counters, "thread_inst_executed") / elements;
            assert_at_most(&format!("{name}: thread instructions an element"), each, instructions);
            assert_at_most(&format!("{name}: L2 bytes"), get(&counters, "global_bytes") / needed, l2_bytes);
        }
    }
}
