//! `fused::gated_backward`.

use super::*;
use llm_kernels::fused::gated::Activation;
use llm_kernels::fused::gated::reference::activation;
use llm_kernels::fused::gated_backward::reference::{Output, plain, reference};
use llm_kernels::fused::gated_backward::{Args, Operands, Problem, Types, gated_backward};
use proptest::prelude::*;

/// A call with its input.
#[derive(Clone, Debug)]
struct Backward {
    gate: Tensor,
    up: Option<Tensor>,
    d_out: Tensor,
    /// Where the gradients lie, and their types.
    d_gate: Tensor,
    d_up: Tensor,
    activation: Activation,
}

impl Backward {
    fn new(activation: Activation, dtype: DType, shape: &[usize]) -> Self {
        let wide: Vec<f64> = random::normal(1, shape.iter().product()).iter().map(|x| 3.0 * x).collect();
        Self {
            gate: Tensor::new(dtype, shape, &wide),
            up: Some(Tensor::normal(2, dtype, shape)),
            d_out: Tensor::normal(3, dtype, shape),
            d_gate: Tensor::normal(4, dtype, shape),
            d_up: Tensor::normal(5, dtype, shape),
            activation,
        }
    }

    fn operands(&self) -> Operands {
        Operands {
            gate: self.gate.operand(0),
            up: self.up.as_ref().map(|up| up.operand(1)),
            d_out: self.d_out.operand(2),
            d_gate: self.d_gate.operand(3),
            d_up: self.up.as_ref().map(|_| self.d_up.operand(4)),
        }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), self.activation).unwrap_or_else(|error| panic!("{error}"))
    }

    fn launch(&self, d_gate: &mut DeviceTensor, d_up: &mut DeviceTensor) -> Result<()> {
        let (gate, up, d_out) = (self.gate.upload(), self.up.as_ref().map(Tensor::upload), self.d_out.upload());
        let args = Args {
            gate: gate.view()?,
            up: up.as_ref().map(DeviceTensor::view).transpose()?,
            d_out: d_out.view()?,
            d_gate: d_gate.view_mut()?,
            d_up: up.is_some().then(|| d_up.view_mut()).transpose()?,
            activation: self.activation,
        };
        gated_backward(queue(), args)?;
        queue().synchronize()
    }

    fn run(&self) -> [HostTensor; 2] {
        let _shared = shared();
        let (mut d_gate, mut d_up) = (self.d_gate.upload(), self.d_up.upload());
        self.launch(&mut d_gate, &mut d_up).unwrap_or_else(|error| panic!("{error}"));
        [download(&d_gate, "d_gate"), download(&d_up, "d_up")]
    }

    fn expected(&self) -> [Output; 2] {
        let (problem, up) = (self.problem(), self.up.as_ref().map(|up| &up.values[..]));
        [reference, plain].map(|reference| reference(&problem, &self.gate.values, up, &self.d_out.values))
    }

    #[track_caller]
    fn assert_agrees(&self) -> [HostTensor; 2] {
        let (outputs, [exact, plain]) = (self.run(), self.expected());
        let tolerance = |output: &HostTensor| Tolerance::gradients(output.dtype, 0.0);
        assert_within(&outputs[0], &exact.d_gate, &plain.d_gate, tolerance(&outputs[0]), &self.problem());
        if self.up.is_some() {
            assert_within(&outputs[1], &exact.d_up, &plain.d_up, tolerance(&outputs[1]), &self.problem());
        }
        outputs
    }
}

mod agrees {
    use super::*;

    #[test]
    fn every_case_of_check_agrees() {
        assert_checks("fused/gated_backward");
    }

    #[test]
    fn every_activation_and_mix_of_types_agrees() {
        for i in 0..3_usize.pow(5) {
            let [gate, up, d_out, d_gate, d_up] = [1, 3, 9, 27, 81].map(|power| FLOATS[i / power % 3]);
            let shape = [2, 40];
            let call = Backward {
                gate: Tensor::normal(1, gate, &shape),
                up: Some(Tensor::normal(2, up, &shape)),
                d_out: Tensor::normal(3, d_out, &shape),
                d_gate: Tensor::normal(4, d_gate, &shape),
                d_up: Tensor::normal(5, d_up, &shape),
                activation: Activation::ALL[i % 4],
            };
            call.assert_agrees();
        }
    }
}

mod properties {
    use super::*;

    proptest! {
        #![proptest_config(cases(50))]

        #[test]
        fn any_rows_agree(
            m in 1..20_usize, d in 1..1500_usize, function in 0..4_usize, dtype in 0..3_usize, gap in 0..9_usize, up: bool,
        ) {
            let mut call = Backward::new(Activation::ALL[function], FLOATS[dtype], &[m, d]);
            call.d_gate = call.d_gate.strided(&[d + gap, 1]);
            call.up = call.up.filter(|_| up);
            call.assert_agrees();
        }
    }

    #[test]
    fn gradients_are_differences_of_the_function() {
        for function in Activation::ALL {
            let call = Backward::new(function, F32, &[1, 200]);
            let up = call.up.as_ref().unwrap();
            let [d_gate, d_up] = call.run().map(|output| output.to_f64());
            for i in 0..200 {
                let loss = |gate: f64, up: f64| activation(function, gate) * up * call.d_out.values[i];
                let (gate, up, step) = (call.gate.values[i], up.values[i], 1e-4);
                let by_gate = (loss(gate + step, up) - loss(gate - step, up)) / (2.0 * step);
                let by_up = (loss(gate, up + step) - loss(gate, up - step)) / (2.0 * step);
                let limit = 2e-4 * (1.0 + by_gate.abs() + by_up.abs());
                assert!((d_gate[i] - by_gate).abs() < limit, "{function:?}: d_gate {} {by_gate}", d_gate[i]);
                assert!((d_up[i] - by_up).abs() < limit, "{function:?}: d_up {} {by_up}", d_up[i]);
            }
        }
    }
}

mod edges {
    use super::*;

    #[test]
    fn lengths_around_a_tile_agree() {
        for dtype in [F16, F32] {
            for d in [1, 7, 8, 9, 511, 513, 2047, 2048, 2049] {
                Backward::new(Activation::GeluTanh, dtype, &[1, d]).assert_agrees();
            }
        }
        assert!(Backward::new(Activation::Silu, F32, &[0, 8]).run()[0].bytes.is_empty());
    }

    #[test]
    fn large_gates_have_the_slopes_of_their_ends() {
        for activation in Activation::ALL {
            let mut call = Backward::new(activation, F32, &[1, 8]);
            call.gate = Tensor::new(F32, &[1, 8], &[1e18, -1e18, 1e5, -1e5, 100.0, -100.0, 20.0, -20.0]);
            call.up = Some(Tensor::new(F32, &[1, 8], &[1.0; 8]));
            call.d_out = Tensor::new(F32, &[1, 8], &[1.0; 8]);
            let [d_gate, _] = call.assert_agrees();
            let d_gate = d_gate.to_f64();
            assert!(d_gate.iter().all(|y| y.is_finite()), "{activation:?} {d_gate:?}");
            assert!([1, 3, 5].iter().all(|&i| d_gate[i].abs() < 1e-30), "{activation:?} {d_gate:?}");
            if activation != Activation::Relu2 {
                assert!([0, 2, 4].iter().all(|&i| d_gate[i] == 1.0), "{activation:?} {d_gate:?}");
            }
        }
    }
}

mod rejects {
    use super::*;

    #[track_caller]
    fn error(change: impl FnOnce(&mut Operands)) -> String {
        let mut operands = Backward::new(Activation::Silu, F16, &[4, 64]).operands();
        change(&mut operands);
        let text = Problem::check(&operands, Activation::Silu).expect_err("bad input was taken").to_string();
        text.strip_prefix("fused/gated_backward: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
    }

    #[test]
    fn bad_tensors_are_refused_each_with_its_reason() {
        assert_eq!(error(|t| t.d_up = None), "up is given without d_up");
        assert_eq!(error(|t| t.up = None), "d_up is given without up");
        let narrow = Layout::contiguous(&[4, 65]).unwrap();
        assert_eq!(error(|t| t.d_out.layout = narrow), "d_out has d 65, expected 64 (= gate)");
        assert_eq!(error(|t| t.d_up.as_mut().unwrap().layout = narrow), "d_up has d 65, expected 64 (= gate)");
        assert_eq!(error(|t| t.d_gate.dtype = DType::U8), "d_gate has dtype u8; supported: f32, f16, bf16");
        assert_eq!(error(|t| t.d_gate.address = t.gate.address), "d_gate overlaps gate in memory");
        assert_eq!(error(|t| t.d_up.as_mut().unwrap().address = t.d_gate.address), "d_up overlaps d_gate in memory");
    }
}

mod plan {
    use super::*;
    use llm_kernels::fused::gated_backward::plan;

    #[test]
    fn every_instance_is_embedded() {
        assert_embedded("fused/gated_backward", 3);
    }

    #[test]
    fn a_block_has_a_tile_of_a_row() {
        let types = Types { gate: F16, up: Some([F16; 2]), d_out: F16, d_gate: F16 };
        let problem = Problem::new(types, 3, 4096, Activation::Silu).unwrap();
        let plan = plan(&problem, &Limits::of_capability(8, 0)).unwrap();
        assert_eq!((plan.launch.instance, plan.launch.grid), ("gated_backward_unit8", [6, 1, 1]));
        assert_eq!(plan.resources.bytes_moved, Some(3.0 * 4096.0 * 10.0));
    }
}

mod counters {
    use super::*;
    use llm_kernels::fused::gated_backward::plan;

    #[test]
    fn every_byte_is_moved_once_in_whole_sectors_and_instructions_are_few() {
        for (activation, dtype, ceiling) in
            [(Activation::Silu, F16, 47.0), (Activation::GeluTanh, BF16, 54.0), (Activation::Gelu, F32, 65.0)]
        {
            let call = Backward::new(activation, dtype, &[64, 2048]);
            let (mut d_gate, mut d_up) = (call.d_gate.upload(), call.d_up.upload());
            let Some(counters) = count(|| call.launch(&mut d_gate, &mut d_up)) else {
                return;
            };
            let resources = plan(&call.problem(), queue().device().limits()).unwrap().resources;
            assert_thrifty(&counters, &resources, &(activation, dtype));
            assert_instructions(&counters, 64 * 2048, ceiling, &(activation, dtype));
        }
    }
}
