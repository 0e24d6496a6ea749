//! `fused::rms_norm`.

mod counters;
mod plan;
mod rejects;

use super::*;
use llm_kernels::fused::rms_norm::reference::{Input, Output, plain, reference};
use llm_kernels::fused::rms_norm::{Args, Operands, Options, Problem, Types, rms_norm};

/// A call with its input.
#[derive(Clone, Debug)]
struct Norm {
    /// `None`: in place, in `out`.
    x: Option<Tensor>,
    residual: Option<Tensor>,
    weight: Option<Tensor>,
    /// With what it holds before.
    out: Tensor,
    options: Options,
}

impl Norm {
    /// Rows of one type, with weights.
    fn new(dtype: DType, shape: &[usize]) -> Self {
        let d = *shape.last().unwrap();
        Self {
            x: Some(Tensor::normal(1, dtype, shape)),
            residual: None,
            weight: Some(Tensor::normal(2, dtype, &[d])),
            out: Tensor::normal(3, dtype, shape),
            options: Options::default(),
        }
    }

    fn operands(&self) -> Operands {
        Operands {
            x: self.x.as_ref().map(|tensor| tensor.operand(0)),
            residual: self.residual.as_ref().map(|tensor| tensor.operand(1)),
            weight: self.weight.as_ref().map(|tensor| tensor.operand(2)),
            out: self.out.operand(3),
        }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), &self.options).unwrap_or_else(|error| panic!("{error}"))
    }

    /// `out` and `residual` after the call.
    fn run(&self) -> (HostTensor, Option<HostTensor>) {
        let _shared = shared();
        let mut residual = self.residual.as_ref().map(Tensor::upload);
        let mut out = self.out.upload();
        self.launch(&mut residual, &mut out).unwrap_or_else(|error| panic!("{error}"));
        (download(&out, "out"), residual.map(|residual| download(&residual, "residual")))
    }

    fn launch(&self, residual: &mut Option<DeviceTensor>, out: &mut DeviceTensor) -> Result<()> {
        let (x, weight) = (self.x.as_ref().map(Tensor::upload), self.weight.as_ref().map(Tensor::upload));
        let args = Args {
            x: x.as_ref().map(DeviceTensor::view).transpose()?,
            residual: residual.as_mut().map(DeviceTensor::view_mut).transpose()?,
            weight: weight.as_ref().map(DeviceTensor::view).transpose()?,
            out: out.view_mut()?,
            options: self.options,
        };
        rms_norm(queue(), args)?;
        queue().synchronize()
    }

    /// The references of f64 and of f32.
    fn expected(&self) -> [Output; 2] {
        let input = Input {
            x: &self.x.as_ref().unwrap_or(&self.out).values,
            residual: self.residual.as_ref().map(|tensor| &tensor.values[..]),
            weight: self.weight.as_ref().map(|tensor| &tensor.values[..]),
            addend: self.options.accumulate.then_some(&self.out.values[..]),
        };
        [reference(&self.problem(), &input), plain(&self.problem(), &input)]
    }

    #[track_caller]
    fn assert_agrees(&self) -> HostTensor {
        let (out, residual) = self.run();
        let [exact, plain] = self.expected();
        let types = (self.problem().types, self.out.layout, self.options);
        assert_close(&out, &exact.out, &plain.out, &types);
        if let Some(residual) = residual {
            assert_close(&residual, &exact.sum, &plain.sum, &types);
        }
        out
    }

    fn counters(&self) -> Option<Counters> {
        let (mut residual, mut out) = (self.residual.as_ref().map(Tensor::upload), self.out.upload());
        count(|| self.launch(&mut residual, &mut out))
    }
}

mod agrees {
    use super::*;

    #[test]
    fn every_case_of_check_agrees() {
        assert_checks("fused/rms_norm");
    }

    #[test]
    fn every_mix_of_types_agrees() {
        for [x, residual, weight, out] in (0..81).map(|i| [i % 3, i / 3 % 3, i / 9 % 3, i / 27].map(|t| FLOATS[t])) {
            let mut norm = Norm::new(x, &[5, 72]);
            norm.residual = Some(Tensor::normal(4, residual, &[5, 72]));
            norm.weight = Some(Tensor::normal(5, weight, &[72]));
            norm.out = Tensor::normal(6, out, &[5, 72]);
            norm.options.accumulate = weight == F16;
            norm.assert_agrees();
        }
    }

    #[test]
    fn the_reference_is_the_definition() {
        // Mean of squares 25/2, with an epsilon of 11/4: the root is 15/4... of 3 and 4 over sqrt(15.25).
        let mut norm = Norm::new(F32, &[1, 2]);
        norm.x = Some(Tensor::new(F32, &[1, 2], &[3.0, 4.0]));
        norm.weight = Some(Tensor::new(F32, &[2], &[1.0, -0.5]));
        norm.out = Tensor::new(F32, &[1, 2], &[10.0, 20.0]);
        norm.options = Options { epsilon: 3.5, weight_offset: 1.0, accumulate: true };
        // sqrt(12.5 + 3.5) = 4
        for output in norm.expected() {
            assert_eq!(output.out, [10.0 + 3.0 / 4.0 * 2.0, 20.0 + 1.0 * 0.5]);
        }
        norm.assert_agrees();
    }

    #[test]
    fn a_difference_beyond_the_tolerance_is_seen() {
        let norm = Norm::new(F32, &[3, 64]);
        let (out, _) = norm.run();
        let [exact, plain] = norm.expected();
        for wrong in [1e-4, f64::NAN] {
            let mut values = out.to_f64();
            values[77] += wrong;
            let changed = HostTensor::from_f64("out", F32, &[3, 64], &values);
            assert!(!compare(&changed, &exact.out, &plain.out, Tolerance::values(F32)).passed());
        }
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(cases(60))]

        #[test]
        fn any_rows_agree(
            m in 1..40_usize, d in 1..700_usize, types in 0..81_usize, gap in 0..9_usize, accumulate: bool, parts in 0..4_u8,
        ) {
            let [x, residual, weight, out] = [types % 3, types / 3 % 3, types / 9 % 3, types / 27].map(|t| FLOATS[t]);
            let mut norm = Norm::new(x, &[m, d]);
            norm.out = Tensor::normal(6, out, &[m, d]).strided(&[d + gap, 1]);
            norm.residual = (parts & 1 != 0).then(|| Tensor::normal(4, residual, &[m, d]).strided(&[d + 8, 1]));
            norm.weight = (parts & 2 != 0).then(|| Tensor::normal(5, weight, &[d]));
            norm.options.accumulate = accumulate;
            norm.assert_agrees();
        }

        #[test]
        fn scaling_a_row_by_a_power_of_two_changes_no_bit(exponent in -60..60_i32, d in 1..300_usize) {
            let mut norm = Norm::new(F32, &[2, d]);
            norm.options.epsilon = 0.0;
            let (before, _) = norm.run();
            norm.x.as_mut().unwrap().values.iter_mut().for_each(|x| *x *= 2f64.powi(exponent));
            prop_assert_eq!(norm.run().0, before);
        }
    }

    #[test]
    fn a_row_does_not_depend_on_its_neighbours() {
        let norm = Norm::new(BF16, &[300, 136]);
        let all = norm.run().0;
        for row in [0, 17, 299] {
            let mut one = Norm { out: Tensor::normal(3, BF16, &[1, 136]), ..norm.clone() };
            one.x = Some(Tensor::new(BF16, &[1, 136], &norm.x.as_ref().unwrap().values[row * 136..][..136]));
            assert_eq!(one.run().0.bytes, all.bytes[row * 272..][..272]);
        }
    }

    #[test]
    fn without_weights_the_mean_square_is_one() {
        let norm = Norm { weight: None, ..Norm::new(F32, &[9, 640]) };
        for row in norm.run().0.to_f64().chunks(640) {
            let mean = row.iter().map(|y| y * y).sum::<f64>() / 640.0;
            assert!((mean - 1.0).abs() < 1e-5, "{mean}");
        }
    }

    #[test]
    fn in_place_gives_the_same_bits() {
        for d in [640, 257, 20_000] {
            let norm = Norm { residual: Some(Tensor::normal(4, F16, &[3, d])), ..Norm::new(F16, &[3, d]) };
            let in_place = Norm { x: None, out: norm.x.clone().unwrap(), ..norm.clone() };
            assert_eq!(norm.run(), in_place.run());
        }
    }
}

mod edges {
    use super::*;

    #[test]
    fn lengths_around_every_team_agree() {
        for dtype in [F16, F32] {
            for d in [1, 2, 7, 8, 9, 255, 256, 257, 512, 520, 1020, 1024, 1032, 4096, 4104, 8192, 8193, 16_384, 16_392]
            {
                Norm::new(dtype, &[2, d]).assert_agrees();
            }
        }
    }

    #[test]
    fn rows_longer_than_registers_are_normalised_and_added_to() {
        for (dtype, d) in [(F32, 50_000), (F16, 33_000), (BF16, 9_001)] {
            let mut norm = Norm { residual: Some(Tensor::normal(4, BF16, &[2, d])), ..Norm::new(dtype, &[2, d]) };
            norm.options.accumulate = true;
            norm.assert_agrees();
        }
    }

    #[test]
    fn more_rows_than_blocks_agree() {
        Norm::new(F16, &[5_000, 64]).assert_agrees();
        Norm::new(F32, &[700, 1500]).assert_agrees();
    }

    #[test]
    fn no_rows_and_no_elements_are_nothing_to_do() {
        for shape in [[0, 64], [4, 0], [0, 0]] {
            assert!(Norm::new(F32, &shape).run().0.bytes.is_empty());
        }
    }

    #[test]
    fn any_strides_give_the_same_bits() {
        let norm = Norm::new(F16, &[2, 5, 3, 64]);
        let row_major = norm.assert_agrees();
        // [s, b, h, d], heads of a product of q, k and v, and rows at odd addresses.
        for strides in [[3 * 64, 2 * 3 * 64, 64, 1], [5 * 640, 640, 128, 1], [5 * 200, 200, 65, 1]] {
            let x = norm.x.clone().unwrap().strided(&strides);
            let out = norm.out.clone().strided(&strides);
            assert_eq!(Norm { x: Some(x), ..norm.clone() }.assert_agrees(), row_major, "x {strides:?}");
            assert_eq!(Norm { out, ..norm.clone() }.assert_agrees(), row_major, "out {strides:?}");
        }
    }

    #[test]
    fn rows_beyond_2_to_the_31_elements_are_reached() {
        // A stride of 2^31 + 8 elements; memory for it is more than a test should take, so an address is computed.
        let layout = Layout::strided(&[3, 64], &[(1 << 31) + 8, 1]).unwrap();
        let mut norm = Norm::new(F16, &[3, 64]);
        norm.x.as_mut().unwrap().layout = layout;
        assert_eq!(norm.problem().unit, 8);
        assert_eq!(norm.operands().x.unwrap().layout.offset(&[2, 63]), (1 << 32) + 16 + 63);
    }

    #[test]
    fn extreme_values_neither_overflow_nor_vanish() {
        for scale in [1e-38, 1e-30, 1e5, 1e18, 1e25, 2e37] {
            for (dtype, d) in [(F32, 640), (BF16, 64), (F32, 20_000), (F32, 33)] {
                let mut norm = Norm::new(dtype, &[3, d]);
                norm.options.epsilon = if scale < 1.0 { 0.0 } else { 1e-6 };
                let values: Vec<f64> = norm.x.as_ref().unwrap().values.iter().map(|x| x * scale).collect();
                norm.x = Some(Tensor::new(dtype, &[3, d], &values));
                let out = norm.run().0;
                let [exact, _] = norm.expected();
                // The plain f32 norm fails here: it is no yardstick.
                assert_close(&out, &exact.out, &exact.out, &(scale, dtype, d));
            }
        }
    }

    #[test]
    fn a_residual_stream_beyond_f16_is_kept_in_f32_and_bf16() {
        for stream in [F32, BF16] {
            let mut norm = Norm::new(F16, &[4, 640]);
            let values: Vec<f64> = random::normal(9, 4 * 640).iter().map(|x| x * 3e5).collect();
            norm.residual = Some(Tensor::new(stream, &[4, 640], &values));
            assert!(norm.assert_agrees().to_f64().iter().all(|y| y.is_finite()));
        }
    }

    #[test]
    fn what_is_not_finite_stays_in_its_row() {
        for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut norm = Norm::new(F32, &[5, 96]);
            norm.x.as_mut().unwrap().values[2 * 96 + 50] = wrong;
            let out = norm.assert_agrees().to_f64();
            for (i, y) in out.iter().enumerate() {
                let expected = i / 96 != 2 || (i != 2 * 96 + 50 && wrong.is_infinite());
                assert_eq!(y.is_finite(), expected, "element {i} is {y} with {wrong} in row 2");
            }
        }
    }

    #[test]
    fn zeros_without_epsilon_are_nan_as_defined() {
        let mut norm = Norm::new(F32, &[1, 8]);
        norm.x.as_mut().unwrap().values.fill(0.0);
        norm.options.epsilon = 0.0;
        assert!(norm.run().0.to_f64().iter().all(|y| y.is_nan()));
        norm.options.epsilon = 1e-6;
        assert!(norm.run().0.to_f64().iter().all(|&y| y == 0.0));
    }
}
