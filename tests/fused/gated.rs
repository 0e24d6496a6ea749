//! `fused::gated`.

use super::*;
use llm_kernels::fused::gated::reference::{activation, derivative, normal_cdf, plain, reference};
use llm_kernels::fused::gated::{Activation, Args, Operands, Problem, Types, gated};
use proptest::prelude::*;

/// A call with its input.
#[derive(Clone, Debug)]
struct Gate {
    /// `None`: in place, in `out`.
    gate: Option<Tensor>,
    up: Option<Tensor>,
    out: Tensor,
    activation: Activation,
}

impl Gate {
    fn new(activation: Activation, dtype: DType, shape: &[usize]) -> Self {
        // Wide enough for both tails.
        let wide: Vec<f64> = random::normal(1, shape.iter().product()).iter().map(|x| 4.0 * x).collect();
        let up = Some(Tensor::normal(2, dtype, shape));
        Self { gate: Some(Tensor::new(dtype, shape, &wide)), up, out: Tensor::normal(3, dtype, shape), activation }
    }

    fn operands(&self) -> Operands {
        let operand = |tensor: &Option<Tensor>, slot| tensor.as_ref().map(|tensor| tensor.operand(slot));
        Operands { gate: operand(&self.gate, 0), up: operand(&self.up, 1), out: self.out.operand(2) }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), self.activation).unwrap_or_else(|error| panic!("{error}"))
    }

    fn launch(&self, out: &mut DeviceTensor) -> Result<()> {
        let [gate, up] = [&self.gate, &self.up].map(|tensor| tensor.as_ref().map(Tensor::upload));
        let args = Args {
            gate: gate.as_ref().map(DeviceTensor::view).transpose()?,
            up: up.as_ref().map(DeviceTensor::view).transpose()?,
            out: out.view_mut()?,
            activation: self.activation,
        };
        gated(queue(), args)?;
        queue().synchronize()
    }

    fn run(&self) -> HostTensor {
        let _shared = shared();
        let mut out = self.out.upload();
        self.launch(&mut out).unwrap_or_else(|error| panic!("{error}"));
        download(&out, "out")
    }

    #[track_caller]
    fn assert_agrees(&self) -> HostTensor {
        let gate = &self.gate.as_ref().unwrap_or(&self.out).values;
        let up = self.up.as_ref().map(|up| &up.values[..]);
        let out = self.run();
        let what = (self.problem(), self.out.layout);
        assert_close(&out, &reference(&what.0, gate, up), &plain(&what.0, gate, up), &what);
        out
    }
}

mod agrees {
    use super::*;

    #[test]
    fn every_case_of_check_agrees() {
        assert_checks("fused/gated");
    }

    #[test]
    fn every_activation_and_mix_of_types_agrees() {
        for activation in Activation::ALL {
            for [gate, up, out] in (0..27).map(|i| [i % 3, i / 3 % 3, i / 9].map(|t| FLOATS[t])) {
                let mut call = Gate::new(activation, gate, &[3, 88]);
                call.up = Some(Tensor::normal(4, up, &[3, 88]));
                call.out = Tensor::normal(5, out, &[3, 88]);
                call.assert_agrees();
            }
        }
    }

    #[test]
    fn the_reference_has_the_values_of_tables() {
        // Phi from tables of the normal distribution.
        for (x, phi) in [(0.0, 0.5), (1.0, 0.841344746068543), (-2.0, 0.022750131948179), (-5.0, 2.866515718791939e-7)]
        {
            assert!((normal_cdf(x) - phi).abs() <= 1e-12 * phi, "{x}: {}", normal_cdf(x));
            assert!((normal_cdf(x) + normal_cdf(-x) - 1.0).abs() < 1e-15);
        }
        // Series and continued fraction meet.
        assert!((normal_cdf(-2.9999999) / normal_cdf(-3.0) - 1.0).abs() < 1e-6);
        assert!((activation(Activation::Silu, 2.0) - 1.7615941559557649).abs() < 1e-15);
        assert!((activation(Activation::Gelu, 1.0) - 0.841344746068543).abs() < 1e-14);
        assert!((activation(Activation::GeluTanh, 1.0) - 0.8411919906082768).abs() < 1e-14);
        assert_eq!([-3.0, 0.0, 3.0].map(|x| activation(Activation::Relu2, x)), [0.0, 0.0, 9.0]);
    }

    #[test]
    fn a_difference_beyond_the_tolerance_is_seen() {
        let call = Gate::new(Activation::Gelu, F32, &[1, 64]);
        let (out, problem) = (call.run(), call.problem());
        let (gate, up) = (&call.gate.as_ref().unwrap().values, call.up.as_ref().map(|up| &up.values[..]));
        let mut values = out.to_f64();
        values[7] += 1e-4;
        let changed = HostTensor::from_f64("out", F32, &[1, 64], &values);
        let references = (reference(&problem, gate, up), plain(&problem, gate, up));
        assert!(!compare(&changed, &references.0, &references.1, Tolerance::values(F32)).passed());
    }
}

mod properties {
    use super::*;

    proptest! {
        #![proptest_config(cases(60))]

        #[test]
        fn any_rows_agree(
            m in 1..20_usize, d in 1..3000_usize, function in 0..4_usize, dtype in 0..3_usize, gap in 0..9_usize, up: bool,
        ) {
            let mut call = Gate::new(Activation::ALL[function], FLOATS[dtype], &[m, d]);
            call.gate = call.gate.map(|gate| gate.strided(&[d + gap, 1]));
            call.up = call.up.filter(|_| up);
            call.assert_agrees();
        }

        #[test]
        fn derivatives_of_the_reference_are_differences(function in 0..4_usize, x in -6.0..6.0_f64) {
            let function = Activation::ALL[function];
            let difference = (activation(function, x + 1e-5) - activation(function, x - 1e-5)) / 2e-5;
            prop_assert!((difference - derivative(function, x)).abs() < 1e-5 * (1.0 + x.abs()));
        }
    }

    #[test]
    fn in_place_and_halves_of_one_product_give_the_same_bits() {
        let call = Gate::new(Activation::GeluTanh, F16, &[40, 64]);
        let out = call.run();
        let in_place = Gate { gate: None, out: call.gate.clone().unwrap(), ..call.clone() };
        assert_eq!(in_place.run(), out);
        let half = |tensor: &Option<Tensor>| tensor.clone().map(|tensor| tensor.strided(&[128, 1]));
        assert_eq!(Gate { gate: half(&call.gate), up: half(&call.up), ..call.clone() }.run(), out);
    }
}

mod edges {
    use super::*;

    #[test]
    fn lengths_around_a_tile_agree() {
        for dtype in [F16, F32] {
            for d in [1, 7, 8, 9, 511, 512, 513, 2040, 2047, 2048, 2049, 4104] {
                Gate::new(Activation::Silu, dtype, &[1, d]).assert_agrees();
                let mut rows = Gate::new(Activation::Silu, dtype, &[3, d]);
                rows.out = rows.out.strided(&[d + 8, 1]);
                rows.assert_agrees();
            }
        }
        for shape in [[0, 8], [8, 0]] {
            assert!(Gate::new(Activation::Silu, F32, &shape).run().bytes.is_empty());
        }
    }

    #[test]
    fn large_gates_saturate_and_do_not_become_nan() {
        for activation in Activation::ALL {
            for dtype in FLOATS {
                let mut call = Gate::new(activation, dtype, &[1, 8]);
                let large = if dtype == F16 { 60_000.0 } else { 1e18 };
                let gates = [large, -large, 200.0, -200.0, 88.0, -88.0, 0.0, -0.0];
                call.gate = Some(Tensor::new(dtype, &[1, 8], &gates));
                call.up = Some(Tensor::new(dtype, &[1, 8], &[1.0; 8]));
                let out = call.assert_agrees().to_f64();
                assert!(out.iter().all(|y| !y.is_nan()), "{activation:?} {out:?}");
                assert!(out[1] == 0.0 && out[3].abs() < 1e-30, "{activation:?} {out:?}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_in_its_element() {
        for activation in Activation::ALL {
            let mut call = Gate::new(activation, F32, &[1, 64]);
            let gate = &mut call.gate.as_mut().unwrap().values;
            [gate[5], gate[6], gate[7]] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
            call.up.as_mut().unwrap().values[6] = 1.0;
            let out = call.run().to_f64();
            assert!(out[5].is_nan() && out[6] == f64::INFINITY, "{activation:?}");
            assert_eq!(out[7].is_nan(), activation != Activation::Relu2);
            assert!(out.iter().enumerate().all(|(i, y)| (5..8).contains(&i) || y.is_finite()));
        }
    }
}

mod rejects {
    use super::*;

    #[track_caller]
    fn error(change: impl FnOnce(&mut Operands)) -> String {
        let mut operands = Gate::new(Activation::Silu, F16, &[4, 64]).operands();
        change(&mut operands);
        let text = Problem::check(&operands, Activation::Silu).expect_err("bad input was taken").to_string();
        text.strip_prefix("fused/gated: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
    }

    #[test]
    fn bad_tensors_are_refused_each_with_its_reason() {
        let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
        assert_eq!(error(|t| t.gate.as_mut().unwrap().layout = shape(&[4, 65])), "gate has d 65, expected 64 (= out)");
        assert_eq!(
            error(|t| t.up.as_mut().unwrap().layout = shape(&[5, 64])),
            "up has dimension 0 5, expected 4 (= out)"
        );
        assert_eq!(error(|t| t.up.as_mut().unwrap().layout = shape(&[256])), "up has rank 1, expected 2 [.., d]");
        assert_eq!(error(|t| t.out.dtype = DType::I64), "out has dtype i64; supported: f32, f16, bf16");
        assert_eq!(error(|t| t.out.address = t.up.unwrap().address + 2), "out overlaps up in memory");
        let columns = Layout::strided(&[4, 64], &[1, 4]).unwrap();
        assert_eq!(
            error(|t| t.gate.as_mut().unwrap().layout = columns),
            "gate has stride 4 in its last dimension, expected 1"
        );
        assert!(error(|t| t.out.address += 1).ends_with("expected a multiple of 2"));
        let broadcast = Layout::strided(&[4, 64], &[0, 1]).unwrap();
        assert!(error(|t| t.out.layout = broadcast).contains("elements overlap each other"));
    }

    #[test]
    fn a_refused_call_writes_nothing() {
        let _shared = shared();
        let mut call = Gate::new(Activation::Silu, F16, &[4, 64]);
        call.up = Some(Tensor::normal(2, F16, &[4, 63]));
        let mut out = poisoned(F16, call.out.layout);
        assert!(call.launch(&mut out).is_err());
        assert!(out.image(queue()).unwrap().iter().all(|&byte| byte == 0xFF));
    }

    #[test]
    fn two_activations_at_once_are_refused() {
        let op = verify::select(Some("fused/gated"))[0];
        let gate = HostTensor::from_f64("gate", F32, &[1, 4], &[0.0; 4]);
        let bindings = verify::Bindings::new(op, vec![gate], &[("gelu", "true"), ("relu2", "true")]).unwrap();
        let error = op.run(queue(), &bindings).unwrap_err().to_string();
        assert_eq!(error, "fused/gated: option gelu and option relu2 are both set");
    }
}

mod plan {
    use super::*;
    use llm_kernels::fused::gated::plan;

    #[test]
    fn every_instance_is_embedded() {
        assert_embedded("fused/gated", 3);
    }

    fn types(dtype: DType) -> Types {
        Types { gate: Some(dtype), up: Some(dtype), out: dtype }
    }

    #[test]
    fn rows_without_gaps_are_one() {
        let call = Gate::new(Activation::Silu, F16, &[5, 3, 7]);
        assert_eq!((call.problem().num_rows, call.problem().width, call.problem().unit), (1, 105, 1));
        let apart = Gate { out: call.out.clone().strided(&[24, 8, 1]), ..call };
        assert_eq!((apart.problem().num_rows, apart.problem().width), (15, 7));
    }

    #[test]
    fn a_block_has_a_tile_of_a_row() {
        let limits = Limits::of_capability(8, 0);
        for (dtype, width, instance, tiles) in
            [(F16, 14336, "gated_unit8", 7), (F32, 14336, "gated_unit4", 7), (BF16, 1001, "gated_unit1", 2)]
        {
            let problem = Problem::new(types(dtype), 10, width, Activation::Silu).unwrap();
            let plan = plan(&problem, &limits).unwrap();
            assert_eq!(
                (plan.launch.instance, plan.tiles_per_row, plan.launch.grid[0]),
                (instance, tiles, 10 * tiles as u32)
            );
        }
        let huge = Problem::new(types(F16), (1 << 31) - 1, 4096, Activation::Silu).unwrap();
        assert!(plan(&huge, &limits).unwrap_err().to_string().contains("number of blocks is 4294967294"));
    }
}

mod counters {
    use super::*;
    use llm_kernels::fused::gated::plan;

    #[test]
    fn every_byte_is_moved_once_in_whole_sectors_and_instructions_are_few() {
        for (activation, dtype, ceiling) in [
            (Activation::Silu, F16, 27.5),
            (Activation::GeluTanh, BF16, 28.5),
            (Activation::Gelu, F16, 45.0),
            (Activation::Relu2, F32, 24.0),
        ] {
            let call = Gate::new(activation, dtype, &[64, 2048]);
            let mut out = call.out.upload();
            let Some(counters) = count(|| call.launch(&mut out)) else {
                return;
            };
            let resources = plan(&call.problem(), queue().device().limits()).unwrap().resources;
            let what = (activation, dtype);
            assert_thrifty(&counters, &resources, &what);
            assert_instructions(&counters, 64 * 2048, ceiling, &what);
        }
    }
}
