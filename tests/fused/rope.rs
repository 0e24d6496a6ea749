//! `fused::rope`.

mod counters;
mod plan;

use super::*;
use llm_kernels::fused::rope::reference::{plain, reference};
use llm_kernels::fused::rope::{Args, Operands, Options, Problem, Shape, rope};
use proptest::prelude::*;

/// A call with its input.
#[derive(Clone, Debug)]
struct Rope {
    /// `None`: in place, in `out`.
    x: Option<Tensor>,
    positions: Tensor,
    frequencies: Tensor,
    out: Tensor,
    options: Options,
}

const INTERLEAVED: Options = Options { interleaved: true, inverse: false, magnitude: 1.0 };

impl Rope {
    /// Sizes are `[b, s, h, d, n]`.
    fn new(dtype: DType, [b, s, h, d, n]: [usize; 5], options: Options) -> Self {
        let positions: Vec<f64> = (0..b * s).map(|i| (i * 37 % 2048 + i / s * 60_000) as f64).collect();
        let frequencies: Vec<f64> = (0..n).map(|i| 1e4_f64.powf(-(i as f64) / n as f64)).collect();
        Self {
            x: Some(Tensor::normal(1, dtype, &[b, s, h, d])),
            positions: Tensor::new(DType::I32, &[b, s], &positions),
            frequencies: Tensor::new(F32, &[n], &frequencies),
            out: Tensor::normal(3, dtype, &[b, s, h, d]),
            options,
        }
    }

    fn operands(&self) -> Operands {
        Operands {
            x: self.x.as_ref().map(|x| x.operand(0)),
            positions: self.positions.operand(1),
            inverse_frequencies: self.frequencies.operand(2),
            out: self.out.operand(3),
        }
    }

    fn problem(&self) -> Problem {
        Problem::check(&self.operands(), &self.options).unwrap_or_else(|error| panic!("{error}"))
    }

    fn launch(&self, out: &mut DeviceTensor) -> Result<()> {
        let (positions, frequencies) = (self.positions.upload(), self.frequencies.upload());
        let x = self.x.as_ref().map(Tensor::upload);
        let args = Args {
            x: x.as_ref().map(DeviceTensor::view).transpose()?,
            positions: positions.view()?,
            inverse_frequencies: frequencies.view()?,
            out: out.view_mut()?,
            options: self.options,
        };
        rope(queue(), args)?;
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
        let (out, problem) = (self.run(), self.problem());
        let x = &self.x.as_ref().unwrap_or(&self.out).values;
        let [exact, plain] = [reference, plain]
            .map(|reference| reference(&problem, x, &self.positions.values, &self.frequencies.values));
        assert_close(&out, &exact, &plain, &problem);
        out
    }
}

mod agrees {
    use super::*;

    #[test]
    fn every_case_of_check_agrees() {
        assert_checks("fused/rope");
    }

    #[test]
    fn every_pair_of_types_agrees_in_every_mode() {
        for (x, out) in FLOATS.iter().flat_map(|&x| FLOATS.map(|out| (x, out))) {
            for mode in 0..4 {
                let options = Options { interleaved: mode % 2 == 1, inverse: mode / 2 == 1, magnitude: 1.5 };
                let mut call = Rope::new(x, [2, 5, 3, 48, 16], options);
                call.out = Tensor::normal(4, out, &[2, 5, 3, 48]);
                call.assert_agrees();
            }
        }
    }

    #[test]
    fn the_reference_is_the_definition() {
        // A quarter turn of (1, 2) is (-2, 1), whatever lies beside the pair.
        let half_pi = std::f64::consts::FRAC_PI_2;
        for (interleaved, x, expected) in
            [(false, [1.0, 9.0, 2.0, 8.0], [-2.0, 9.0, 1.0, 8.0]), (true, [1.0, 2.0, 9.0, 8.0], [-2.0, 1.0, 9.0, 8.0])]
        {
            let options = Options { interleaved, ..Options::default() };
            let problem = Problem::new(Some(F32), F32, Shape { b: 1, s: 1, h: 1, d: 4, n: 2 }, options).unwrap();
            for (rotated, error) in
                [reference, plain].map(|of| of(&problem, &x, &[1.0], &[half_pi, 0.0])).iter().zip([1e-15, 1e-6])
            {
                assert!(rotated.iter().zip(expected).all(|(a, b)| (a - b).abs() <= error), "{rotated:?}");
            }
        }
    }

    #[test]
    fn a_difference_beyond_the_tolerance_is_seen() {
        let call = Rope::new(F32, [1, 4, 2, 64, 32], Options::default());
        let mut wrong = call.clone();
        wrong.positions.values[2] += 0.25;
        let problem = call.problem();
        let [exact, plain] = [reference, plain].map(|reference| {
            reference(&problem, &call.x.as_ref().unwrap().values, &wrong.positions.values, &call.frequencies.values)
        });
        assert!(!compare(&call.run(), &exact, &plain, Tolerance::values(F32)).passed());
    }
}

mod properties {
    use super::*;

    fn any_call() -> impl Strategy<Value = Rope> {
        let sizes = (1..3_usize, 1..20_usize, 1..6_usize, 1..60_usize, 0..40_usize);
        let options = (any::<bool>(), any::<bool>(), 0..3_usize);
        (sizes, options).prop_map(|((b, s, h, n, rest), (interleaved, inverse, dtype))| {
            let options = Options { interleaved, inverse, magnitude: 1.0 };
            Rope::new(FLOATS[dtype], [b, s, h, 2 * n + rest, n], options)
        })
    }

    proptest! {
        #![proptest_config(cases(80))]

        #[test]
        fn any_call_agrees(call in any_call(), gap in 0..9_usize) {
            let [_, s, h, d] = std::array::from_fn(|dim| call.out.layout.shape()[dim]);
            let strided = call.out.clone().strided(&[s * h * (d + gap), h * (d + gap), d + gap, 1]);
            Rope { out: strided, ..call }.assert_agrees();
        }

        #[test]
        fn in_place_gives_the_same_bits(call in any_call()) {
            prop_assert_eq!(Rope { x: None, out: call.x.clone().unwrap(), ..call.clone() }.run(), call.run());
        }

        #[test]
        fn pairs_keep_their_norms(call in any_call()) {
            let call = Rope { x: call.x.map(|x| Tensor { dtype: F32, ..x }), out: Tensor { dtype: F32, ..call.out }, ..call };
            let (d, n) = (call.out.layout.shape()[3], call.frequencies.values.len());
            let (before, after) = (&call.x.as_ref().unwrap().values, call.run().to_f64());
            for (before, after) in before.chunks(d).zip(after.chunks(d)) {
                for i in 0..n {
                    let (i, j) = if call.options.interleaved { (2 * i, 2 * i + 1) } else { (i, i + n) };
                    let norm = |x: &[f64]| x[i].hypot(x[j]);
                    prop_assert!((norm(before) - norm(after)).abs() <= 1e-6 * norm(before));
                }
                prop_assert_eq!(&before[2 * n..], &after[2 * n..]);
            }
        }

        #[test]
        fn the_inverse_undoes(call in any_call()) {
            let forth = Rope { out: Tensor { dtype: F32, ..call.out.clone() }, ..call.clone() };
            let options = Options { inverse: !call.options.inverse, ..call.options };
            let shape = call.out.layout.shape();
            let back = Rope { x: Some(Tensor::new(F32, shape, &forth.run().to_f64())), options, ..forth };
            for (a, b) in back.run().to_f64().iter().zip(&call.x.unwrap().values) {
                prop_assert!((a - b).abs() <= 4e-6, "{a} {b}");
            }
        }

        #[test]
        fn products_of_queries_and_keys_depend_on_distances_alone(
            far in 0..100_000_u32, distance in 0..1000_u32, interleaved: bool,
        ) {
            let product = |at: u32| {
                let options = Options { interleaved, ..Options::default() };
                let mut call = Rope::new(F32, [1, 2, 1, 64, 32], options);
                call.positions = Tensor::new(DType::I32, &[1, 2], &[f64::from(at), f64::from(at + distance)]);
                let rotated = call.run().to_f64();
                rotated[..64].iter().zip(&rotated[64..]).map(|(q, k)| q * k).sum::<f64>()
            };
            let (near, far) = (product(0), product(far));
            prop_assert!((near - far).abs() < 1e-4, "{near} {far}");
        }
    }

    #[test]
    fn the_backward_pass_is_the_transpose() {
        // <rope(x), y> = <x, backward(y)>, the magnitude included.
        let options = Options { interleaved: false, inverse: false, magnitude: 1.3 };
        let call = Rope::new(F32, [1, 6, 3, 40, 16], options);
        let y = Tensor::normal(8, F32, &[1, 6, 3, 40]);
        let backward = Rope { x: Some(y.clone()), options: Options { inverse: true, ..options }, ..call.clone() };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let left = dot(&call.run().to_f64(), &y.values);
        let right = dot(&call.x.as_ref().unwrap().values, &backward.run().to_f64());
        assert!((left - right).abs() < 1e-4, "{left} {right}");
    }
}

mod edges {
    use super::*;

    #[test]
    fn far_positions_are_exact_where_f32_angles_are_not() {
        for interleaved in [false, true] {
            let mut call = Rope::new(F32, [1, 8, 1, 64, 32], Options { interleaved, ..Options::default() });
            let far = [0, 1, -1, 131_071, 1_000_003, 4_000_037, -3_999_999, 77_777].map(f64::from);
            call.positions = Tensor::new(DType::I32, &[1, 8], &far);
            let x = &call.x.as_ref().unwrap().values;
            let exact = reference(&call.problem(), x, &call.positions.values, &call.frequencies.values);
            // Against the exact result alone: the plain f32 rotation is off by 0.1 here.
            assert_close(&call.run(), &exact, &exact, &"far positions");
        }
    }

    #[test]
    fn few_and_many_tokens_and_heads_agree() {
        for sizes in
            [[1, 1, 1, 2, 1], [1, 1, 40, 256, 128], [1, 3000, 1, 16, 8], [5, 7, 9, 264, 132], [1, 1, 1, 4096, 2048]]
        {
            for options in [Options::default(), INTERLEAVED] {
                Rope::new(F16, sizes, options).assert_agrees();
                Rope::new(F32, sizes, options).assert_agrees();
            }
        }
        for sizes in [[0, 4, 2, 8, 4], [1, 0, 2, 8, 4], [1, 4, 0, 8, 4]] {
            assert!(Rope::new(F16, sizes, INTERLEAVED).run().bytes.is_empty());
        }
    }

    #[test]
    fn any_strides_give_the_same_bits() {
        for options in [Options::default(), INTERLEAVED] {
            let call = Rope::new(BF16, [2, 6, 3, 64, 32], options);
            let row_major = call.assert_agrees();
            // Heads before tokens, and the queries in a product of queries, keys and values; odd gaps.
            for strides in [[1152, 64, 6 * 64, 1], [6 * 400, 400, 64, 1], [6 * 201, 201, 67, 1]] {
                let x = Some(call.x.clone().unwrap().strided(&strides));
                let out = call.out.clone().strided(&strides);
                assert_eq!(Rope { x, ..call.clone() }.assert_agrees(), row_major, "{strides:?}");
                assert_eq!(Rope { out, ..call.clone() }.assert_agrees(), row_major, "{strides:?}");
            }
            // One row of positions for all sequences, and a tensor without a batch.
            let shared = Tensor { values: call.positions.values[..6].repeat(2), ..call.positions.clone() };
            let broadcast = Rope { positions: shared.strided(&[0, 1]), ..call.clone() };
            broadcast.assert_agrees();
            let mut one = Rope::new(BF16, [1, 6, 3, 64, 32], options);
            let with_batch = one.run();
            one.x.as_mut().unwrap().layout = Layout::contiguous(&[6, 3, 64]).unwrap();
            one.out.layout = Layout::contiguous(&[6, 3, 64]).unwrap();
            one.positions.layout = Layout::contiguous(&[6]).unwrap();
            assert_eq!(one.run().bytes, with_batch.bytes);
        }
    }

    #[test]
    fn nan_stays_in_its_pair() {
        let mut call = Rope::new(F32, [1, 3, 2, 16, 8], Options::default());
        call.x.as_mut().unwrap().values[37] = f64::NAN;
        let out = call.run().to_f64();
        let wrong: Vec<usize> = (0..out.len()).filter(|&i| out[i].is_nan()).collect();
        assert_eq!(wrong, [37, 45]);
    }
}

mod rejects {
    use super::*;

    #[track_caller]
    fn error(change: impl FnOnce(&mut Operands)) -> String {
        let call = Rope::new(F16, [2, 10, 4, 64, 32], Options::default());
        let mut operands = call.operands();
        change(&mut operands);
        let text = Problem::check(&operands, &call.options).expect_err("bad input was taken").to_string();
        text.strip_prefix("fused/rope: ").unwrap_or_else(|| panic!("no operator in: {text}")).to_owned()
    }

    #[test]
    fn bad_tensors_are_refused_each_with_its_reason() {
        let shape = |shape: &[usize]| Layout::contiguous(shape).unwrap();
        assert_eq!(error(|t| t.out.layout = shape(&[40, 64])), "out has rank 2, expected 4 [b, s, h, d], or [s, h, d]");
        assert_eq!(error(|t| t.positions.layout = shape(&[20])), "positions has rank 1, expected 2 [b, s]");
        assert_eq!(error(|t| t.positions.layout = shape(&[2, 11])), "positions has s 11, expected 10 (= out)");
        assert_eq!(error(|t| t.positions.dtype = DType::I64), "positions is i64, expected i32");
        assert_eq!(error(|t| t.inverse_frequencies.dtype = F16), "inverse_frequencies is f16, expected f32");
        for n in [0, 33] {
            let text = error(|t| t.inverse_frequencies.layout = shape(&[n]));
            assert_eq!(text, format!("inverse_frequencies has n {n}; supported: 1 to d / 2"));
        }
        let gaps = Layout::strided(&[32], &[2]).unwrap();
        assert!(error(|t| t.inverse_frequencies.layout = gaps).starts_with("inverse_frequencies has strides [2]"));
        assert_eq!(error(|t| t.x.as_mut().unwrap().layout = shape(&[2, 10, 4, 32])), "x has d 32, expected 64 (= out)");
        assert_eq!(error(|t| t.out.dtype = DType::I32), "out has dtype i32; supported: f32, f16, bf16");
        assert_eq!(error(|t| t.out.address = t.x.unwrap().address), "out overlaps x in memory");
        assert!(error(|t| t.positions.address += 2).ends_with("expected a multiple of 4"));
    }

    #[test]
    fn a_magnitude_that_is_not_finite_is_refused() {
        let shape = Shape { b: 1, s: 1, h: 1, d: 2, n: 1 };
        let options = Options { magnitude: f32::NAN, ..Options::default() };
        let error = Problem::new(None, F32, shape, options).unwrap_err().to_string();
        assert_eq!(error, "fused/rope: magnitude is NaN, expected a finite number");
    }
}
