//! `fused::rms_norm_backward`.

use super::*;
use llm_kernels::fused::rms_norm::Options;
use llm_kernels::fused::rms_norm_backward::reference::{Input, Output, plain, reference, terms};
use llm_kernels::fused::rms_norm_backward::{Args, Operands, Problem, Types, plan, rms_norm_backward};
use proptest::prelude::*;

/// A call with its input.
#[derive(Clone, Debug)]
struct Backward {
    x: Tensor,
    weight: Option<Tensor>,
    d_out: Tensor,
    /// With what it holds before.
    d_x: Tensor,
    d_weight: Option<DType>,
    options: Options,
}

impl Backward {
    fn new(dtype: DType, shape: &[usize]) -> Self {
        Self {
            x: Tensor::normal(1, dtype, shape),
            weight: Some(Tensor::normal(2, dtype, &shape[shape.len() - 1..])),
            d_out: Tensor::normal(3, dtype, shape),
            d_x: Tensor::normal(4, dtype, shape),
            d_weight: Some(F32),
            options: Options::default(),
        }
    }

    fn d(&self) -> usize {
        *self.x.layout.shape().last().unwrap()
    }

    fn operands(&self) -> Operands {
        let d_weight = self.d_weight.map(|dtype| Tensor::normal(5, dtype, &[self.d()]).operand(4));
        let workspace = Layout::contiguous(&[1 << 30]).unwrap();
        Operands {
            x: self.x.operand(0),
            weight: self.weight.as_ref().map(|weight| weight.operand(1)),
            d_out: self.d_out.operand(2),
            d_x: self.d_x.operand(3),
            d_weight,
            workspace: Operand { address: 1 << 50, dtype: DType::U8, layout: workspace },
        }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), &self.options).unwrap_or_else(|error| panic!("{error}"))
    }

    fn launch(&self, d_x: &mut DeviceTensor, d_weight: &mut DeviceTensor) -> Result<()> {
        let (x, weight, d_out) = (self.x.upload(), self.weight.as_ref().map(Tensor::upload), self.d_out.upload());
        let bytes = plan(&self.problem(), queue().device().limits())?.workspace_bytes;
        let mut workspace = poisoned(DType::U8, Layout::contiguous(&[bytes])?);
        let args = Args {
            x: x.view()?,
            weight: weight.as_ref().map(DeviceTensor::view).transpose()?,
            d_out: d_out.view()?,
            d_x: d_x.view_mut()?,
            d_weight: self.d_weight.map(|_| d_weight.view_mut()).transpose()?,
            workspace: workspace.view_mut()?,
            options: self.options,
        };
        rms_norm_backward(queue(), args)?;
        queue().synchronize()
    }

    fn outputs(&self) -> [DeviceTensor; 2] {
        let d_weight = poisoned(self.d_weight.unwrap_or(F32), Layout::contiguous(&[self.d()]).unwrap());
        [self.d_x.upload(), d_weight]
    }

    fn run(&self) -> [HostTensor; 2] {
        let _shared = shared();
        let [mut d_x, mut d_weight] = self.outputs();
        self.launch(&mut d_x, &mut d_weight).unwrap_or_else(|error| panic!("{error}"));
        [download(&d_x, "d_x"), download(&d_weight, "d_weight")]
    }

    fn input(&self) -> Input<'_> {
        Input {
            x: &self.x.values,
            weight: self.weight.as_ref().map(|weight| &weight.values[..]),
            d_out: &self.d_out.values,
            addend: self.options.accumulate.then_some(&self.d_x.values[..]),
        }
    }

    fn expected(&self) -> [Output; 2] {
        [reference, plain].map(|reference| reference(&self.problem(), &self.input()))
    }

    #[track_caller]
    fn assert_agrees(&self) -> [HostTensor; 2] {
        let ([d_x, d_weight], [exact, plain]) = (self.run(), self.expected());
        let [of_rows, of_weights] = terms(&self.problem(), &self.input());
        assert_within(&d_x, &exact.d_x, &plain.d_x, Tolerance::gradients(d_x.dtype, of_rows), &self.problem());
        if self.d_weight.is_some() {
            let tolerance = Tolerance::gradients(d_weight.dtype, of_weights);
            assert_within(&d_weight, &exact.d_weight, &plain.d_weight, tolerance, &self.problem());
        }
        [d_x, d_weight]
    }
}

mod agrees {
    use super::*;

    #[test]
    fn every_case_of_check_agrees() {
        assert_checks("fused/rms_norm_backward");
    }

    #[test]
    fn every_mix_of_types_agrees() {
        for i in 0..3_usize.pow(5) {
            let [x, weight, d_out, d_x, d_weight] = [1, 3, 9, 27, 81].map(|power| FLOATS[i / power % 3]);
            let mut call = Backward::new(x, &[5, 40]);
            call.weight = Some(Tensor::normal(2, weight, &[40]));
            call.d_out = Tensor::normal(3, d_out, &[5, 40]);
            call.d_x = Tensor::normal(4, d_x, &[5, 40]);
            call.d_weight = Some(d_weight);
            call.options = Options { accumulate: i % 2 == 0, weight_offset: (i % 5) as f32 / 4.0, ..call.options };
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
            m in 1..60_usize, d in 1..700_usize, types in 0..9_usize, gap in 0..9_usize, accumulate: bool, parts in 0..4_u8,
        ) {
            let mut call = Backward::new(FLOATS[types % 3], &[m, d]);
            call.d_x = Tensor::normal(4, FLOATS[types / 3], &[m, d]).strided(&[d + gap, 1]);
            call.weight = call.weight.filter(|_| parts & 1 != 0);
            call.d_weight = call.d_weight.filter(|_| parts & 2 != 0);
            call.options.accumulate = accumulate;
            call.assert_agrees();
        }
    }

    #[test]
    fn gradients_are_differences_of_the_norm() {
        let call =
            Backward { options: Options { weight_offset: 1.0, ..Options::default() }, ..Backward::new(F32, &[3, 24]) };
        let weights = &call.weight.as_ref().unwrap().values;
        let loss = |x: &[f64], w: &[f64]| -> f64 {
            let row = |(x, d_out): (&[f64], &[f64])| {
                let root = (x.iter().map(|x| x * x).sum::<f64>() / 24.0 + 1e-6).sqrt();
                (0..24).map(|j| x[j] / root * (w[j] + 1.0) * d_out[j]).sum::<f64>()
            };
            x.chunks(24).zip(call.d_out.values.chunks(24)).map(row).sum()
        };
        let difference = |values: &[f64], i: usize, loss: &dyn Fn(&[f64]) -> f64| {
            let moved = |step: f64| {
                let mut values = values.to_vec();
                values[i] += step;
                loss(&values)
            };
            (moved(1e-5) - moved(-1e-5)) / 2e-5
        };
        let [d_x, d_weight] = call.run().map(|output| output.to_f64());
        for (i, d_x) in d_x.iter().enumerate() {
            let expected = difference(&call.x.values, i, &|x| loss(x, weights));
            assert!((d_x - expected).abs() < 1e-5, "d_x {i}: {d_x} {expected}");
        }
        for (i, d_weight) in d_weight.iter().enumerate() {
            let expected = difference(weights, i, &|w| loss(&call.x.values, w));
            assert!((d_weight - expected).abs() < 1e-5, "d_weight {i}: {d_weight} {expected}");
        }
    }

    #[test]
    fn without_epsilon_the_gradient_is_orthogonal_to_the_row() {
        let call =
            Backward { options: Options { epsilon: 0.0, ..Options::default() }, ..Backward::new(F32, &[9, 640]) };
        let d_x = call.run()[0].to_f64();
        for (x, d_x) in call.x.values.chunks(640).zip(d_x.chunks(640)) {
            let product: f64 = x.iter().zip(d_x).map(|(x, d)| x * d).sum();
            assert!(product.abs() < 1e-3, "{product}");
        }
    }

    #[test]
    fn every_run_gives_the_same_bits() {
        let call = Backward::new(F16, &[700, 136]);
        let first = call.run();
        assert!((0..3).all(|_| call.run() == first));
    }
}

mod edges {
    use super::*;

    #[test]
    fn lengths_around_every_team_agree() {
        for dtype in [F16, F32] {
            for d in [1, 7, 8, 9, 128, 136, 512, 520, 4096, 4097, 8192, 8200, 9001] {
                Backward::new(dtype, &[3, d]).assert_agrees();
            }
        }
    }

    #[test]
    fn more_rows_than_the_chip_has_teams_agree() {
        Backward::new(F16, &[5_000, 64]).assert_agrees();
        Backward::new(F32, &[700, 1500]).assert_agrees();
        // Beyond registers, sums of the weights go through memory from row to row.
        Backward::new(BF16, &[250, 8_208]).assert_agrees();
    }

    #[test]
    fn without_rows_the_gradient_of_the_weights_is_0() {
        assert_eq!(Backward::new(F32, &[0, 40]).run()[1].to_f64(), [0.0; 40]);
        assert!(Backward::new(F32, &[4, 0]).run()[1].bytes.is_empty());
    }

    #[test]
    fn extreme_values_neither_overflow_nor_vanish() {
        for scale in [1e-20, 1e5, 1e18, 1e25] {
            let mut call = Backward::new(F32, &[3, 640]);
            call.options.epsilon = 0.0;
            let values: Vec<f64> = call.x.values.iter().map(|x| x * scale).collect();
            call.x = Tensor::new(F32, &[3, 640], &values);
            let [exact, _] = call.expected();
            let [of_rows, of_weights] = terms(&call.problem(), &call.input());
            let [d_x, d_weight] = call.run();
            // The plain f32 gradient fails here: it is no yardstick.
            assert_within(&d_x, &exact.d_x, &exact.d_x, Tolerance::gradients(F32, of_rows), &scale);
            assert_within(&d_weight, &exact.d_weight, &exact.d_weight, Tolerance::gradients(F32, of_weights), &scale);
        }
    }

    #[test]
    fn nan_stays_in_its_row_and_reaches_every_weight() {
        let mut call = Backward::new(F32, &[5, 96]);
        call.x.values[2 * 96 + 50] = f64::NAN;
        let [d_x, d_weight] = call.run().map(|output| output.to_f64());
        assert!(d_x.iter().enumerate().all(|(i, x)| x.is_nan() == (i / 96 == 2)));
        assert!(d_weight.iter().all(|x| x.is_nan()));
    }
}

mod rejects {
    use super::*;

    #[track_caller]
    fn error(change: impl FnOnce(&mut Operands, &mut Options)) -> String {
        let call = Backward::new(F16, &[4, 64]);
        let (mut operands, mut options) = (call.operands(), call.options);
        change(&mut operands, &mut options);
        let text = Problem::check(&operands, &options).expect_err("bad input was taken").to_string();
        text.strip_prefix("fused/rms_norm_backward: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
    }

    #[test]
    fn bad_tensors_are_refused_each_with_its_reason() {
        let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
        assert_eq!(error(|t, _| t.d_out.layout = shape(&[4, 65])), "d_out has d 65, expected 64 (= x)");
        assert_eq!(error(|t, _| t.d_x.layout = shape(&[5, 64])), "d_x has dimension 0 5, expected 4 (= x)");
        let weight = error(|t, _| t.d_weight.as_mut().unwrap().layout = shape(&[63]));
        assert_eq!(weight, "d_weight has d 63, expected 64 (= x)");
        assert_eq!(error(|t, _| t.d_x.dtype = DType::I32), "d_x has dtype i32; supported: f32, f16, bf16");
        assert_eq!(error(|t, _| t.d_x.address = t.x.address), "d_x overlaps x in memory");
        assert_eq!(error(|t, _| t.workspace.address = t.d_out.address), "workspace overlaps d_out in memory");
        assert!(error(|t, _| t.workspace.address += 8).ends_with("expected a multiple of 16"));
        assert_eq!(error(|_, o| o.epsilon = -1.0), "epsilon is -1, expected a finite number from 0 on");
    }

    #[test]
    fn a_workspace_that_is_too_small_is_refused() {
        let _shared = shared();
        let call = Backward::new(F16, &[4, 64]);
        let [mut d_x, mut d_weight] = call.outputs();
        let (x, d_out) = (call.x.upload(), call.d_out.upload());
        let mut workspace = poisoned(DType::U8, Layout::contiguous(&[64]).unwrap());
        let args = Args {
            x: x.view().unwrap(),
            weight: None,
            d_out: d_out.view().unwrap(),
            d_x: d_x.view_mut().unwrap(),
            d_weight: Some(d_weight.view_mut().unwrap()),
            workspace: workspace.view_mut().unwrap(),
            options: call.options,
        };
        let error = rms_norm_backward(queue(), args).unwrap_err().to_string();
        assert!(error.starts_with("fused/rms_norm_backward: workspace has 64 bytes, the plan needs "), "{error}");
        assert!(d_weight.image(queue()).unwrap().iter().all(|&byte| byte == 0xFF));
    }
}

mod plan {
    use super::*;

    #[test]
    fn every_instance_is_embedded() {
        assert_embedded("fused/rms_norm_backward", 4);
    }

    #[test]
    fn a_team_for_each_row_up_to_what_the_chip_runs_at_once() {
        let limits = Limits::of_capability(8, 0);
        let types = Types { x: F16, weight: Some(F16), d_out: F16, d_x: F16, d_weight: Some(F32) };
        let planned = |m, d| {
            llm_kernels::fused::rms_norm_backward::plan(
                &Problem::new(types, m, d, Options::default()).unwrap(),
                &limits,
            )
            .unwrap()
        };
        let few = planned(3, 4096);
        assert_eq!((few.team, few.num_partials, few.workspace_bytes), (256, 3, 3 * 4096 * 4));
        // 16 multiprocessors, 2 blocks of 256 threads each.
        assert_eq!(planned(1000, 4096).num_partials, 32);
        assert!(planned(0, 64).rows.is_none() && planned(0, 64).d_weight.is_some());
        assert!(planned(4, 0).rows.is_none() && planned(4, 0).d_weight.is_none());
    }
}

mod counters {
    use super::*;

    #[test]
    fn every_row_is_moved_once_in_whole_sectors_and_instructions_are_few() {
        if !is_modelled_a100() {
            return;
        }
        for (dtype, shape, wants_weight, allowed, ceiling) in [
            (F16, [40_000, 64], true, 1.06, 78.0),
            (BF16, [1_000, 4096], false, 1.0, 45.0),
            (F32, [4_000, 640], false, 1.0, 66.0),
        ] {
            let mut call = Backward::new(dtype, &shape);
            if !wants_weight {
                (call.weight, call.d_weight) = (None, None);
            }
            let [mut d_x, mut d_weight] = call.outputs();
            let Some(counters) = count(|| call.launch(&mut d_x, &mut d_weight)) else {
                return;
            };
            let resources = llm_kernels::fused::rms_norm_backward::plan(&call.problem(), queue().device().limits())
                .unwrap()
                .resources;
            let (moved, needed) = (get(&counters, "global_bytes"), resources.bytes_needed.unwrap());
            // What is moved beyond the rows is the partial sums.
            assert!(moved <= 1.02 * allowed * needed, "{dtype} {shape:?}: {moved} bytes moved, {needed} needed");
            assert!((moved / resources.bytes_moved.unwrap() - 1.0).abs() < 0.01, "{dtype} {shape:?}: {resources:?}");
            assert_instructions(&counters, shape[0] * shape[1], ceiling, &(dtype, shape));
        }
    }
}
