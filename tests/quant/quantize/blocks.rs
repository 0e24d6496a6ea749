//! Tensors of NF4 checkpoints, and magnitudes that are quantised themselves.

use super::*;
use llm_kernels::quant::repack::reference::{Inputs, reference};
use llm_kernels::quant::repack::{Problem as Repacked, Source};
use proptest::prelude::*;

impl Numbers {
    #[track_caller]
    fn assert_blocks_are_exact(&self) -> NestedMagnitudes {
        let layout = Layout::contiguous(&[self.problem.n, self.problem.k]).unwrap();
        let (got, nested) = self.run_all(layout).unwrap_or_else(|error| panic!("{error}"));
        let expected = self.expected();
        assert!(got.codes == expected.codes, "{:?}: codes differ", self.problem);
        let magnitudes = singles(&expected.scales);
        assert_same(&singles(&got.scales), &magnitudes);
        let (nested, expected) = (nested.unwrap(), quantize_magnitudes(&magnitudes, &dynamic_table()));
        assert_same(&[nested.offset], &[expected.offset]);
        assert_same(&nested.magnitudes, &expected.magnitudes);
        assert!(nested.codes == expected.codes, "{:?}: codes of magnitudes differ", self.problem);
        nested
    }
}

/// The same numbers; any NaN will do for a NaN.
#[track_caller]
fn assert_same(got: &[f32], expected: &[f32]) {
    let same = |(got, expected): (&f32, &f32)| got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
    assert!(got.len() == expected.len() && got.iter().zip(expected).all(same), "{got:?}, expected {expected:?}");
}

#[test]
fn every_type_and_block_is_exact() {
    for x in [F32, F16, BF16] {
        for block in [32, 64, 128, 384] {
            Numbers::blocks([40, 384, block], true).with_types(x, F32).assert_blocks_are_exact();
            Numbers::blocks([5, 384, block], false).with_types(x, F32).assert_exact();
        }
    }
}

/// Blocks of threads hold 16 blocks of weights, or 256 magnitudes; the mean takes a second round from 256 times 256 of those on.
#[test]
fn any_number_of_blocks_is_exact() {
    for blocks in [1, 15, 16, 17, 255, 256, 257, 512, 700, 257 * 256] {
        Numbers::blocks([blocks, 32, 32], true).assert_blocks_are_exact();
    }
}

#[test]
fn zeros_huge_numbers_and_such_that_are_none_are_as_defined() {
    for value in [0.0, 1e-40, 1e30, f32::MAX, f32::INFINITY, f32::NAN] {
        let mut numbers = Numbers::blocks([10, 128, 32], true);
        numbers.x[64..128].fill(0.0);
        numbers.x[70] = value.into();
        numbers.assert_blocks_are_exact();
    }
    let mut zeros = Numbers::blocks([300, 64, 64], true);
    zeros.x.fill(0.0);
    let nested = zeros.assert_blocks_are_exact();
    assert_eq!((nested.offset, &nested.magnitudes[..], nested.codes[0]), (0.0, &[0.0, 0.0][..], 127));
}

#[test]
fn nothing_becomes_an_offset_of_zero() {
    let nested = Numbers::blocks([0, 64, 64], true).assert_blocks_are_exact();
    assert_eq!((nested.offset, nested.codes.len()), (0.0, 0));
}

#[test]
fn rows_may_lie_apart_here_too() {
    let numbers = Numbers::blocks([5, 64, 32], true);
    let apart = Layout::strided(&[5, 64], &[1 << 16, 1]).unwrap();
    let together = Layout::contiguous(&[5, 64]).unwrap();
    assert_eq!(numbers.run_all(apart).unwrap(), numbers.run_all(together).unwrap());
}

/// bitsandbytes' `create_dynamic_map`, some of its numbers by hand.
#[test]
fn the_dynamic_table_has_the_values_that_it_should() {
    let table = dynamic_table();
    assert!(table.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!([table[0], table[127], table[255]], [-0.992_968_75, 0.0, 1.0]);
    assert_eq!([table[126], table[128]], [-5.5e-7, 5.5e-7]);
    // Of the power 1e-5 two: a quarter and three quarters of the way from 1e-6 to 1e-5.
    assert_eq!([table[129], table[130]], [3.25e-6, 7.75e-6]);
}

/// What repack reads from the tensors, by its definition, is close to what they were made from.
#[test]
fn a_checkpoint_made_here_gives_the_weights_back() {
    let (n, k, group) = (30, 512, 64);
    let numbers = Numbers::blocks([n, k, group], true);
    let (packed, nested) = numbers.run_all(Layout::contiguous(&[n, k]).unwrap()).unwrap();
    let nested = nested.unwrap();
    let format = GroupedFormat { codes: Nf4, n, k, group };
    let problem = Repacked {
        source: Source::Nf4,
        format,
        has_zeros: false,
        permuted: false,
        nested: true,
        scales_dtype: DType::U8,
        dtype: F16,
        offset: nested.offset,
    };
    let codes: Vec<f32> = nested.codes.iter().map(|&code| code.into()).collect();
    let inputs = Inputs {
        qweight: &packed.codes,
        qzeros: None,
        scales: &codes,
        nested: Some((&dynamic_table(), &nested.magnitudes)),
    };
    let matrix = reference(&problem, &inputs);
    let magnitudes = singles(&packed.scales);
    // The widest gap of the table is 0.0142 of the largest difference from the mean.
    for (at, (got, exact)) in matrix.scales.iter().zip(&magnitudes).enumerate() {
        let most = 0.0072 * nested.magnitudes[at / 256];
        assert!((got - exact).abs() <= most, "magnitude {exact} became {got}, at most {most} off");
    }
    // Half the widest gap between values of NF4 is 0.152.
    for (at, (w, x)) in matrix.dequantised().iter().zip(&numbers.x).enumerate() {
        let most = 0.153 * f64::from(magnitudes[at / 64]) + 0.0072 * f64::from(nested.magnitudes[at / 64 / 256]);
        assert!((w - x).abs() <= most, "{x} became {w}, at most {most} off");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_matrix_becomes_exact_blocks(
        n in 1_usize..40,
        (block, blocks) in prop::sample::select(vec![(32, 5), (64, 3), (128, 2), (96, 1)]),
        x in prop::sample::select(vec![F16, BF16, F32]),
    ) {
        Numbers::blocks([n, block * blocks, block], true).with_types(x, F32).assert_blocks_are_exact();
    }
}
