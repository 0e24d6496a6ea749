//! What holds for any input.

use super::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_rows_of_any_bytes_are_exact(
        format in prop::sample::select(Format::ALL.to_vec()),
        n in 1_usize..12,
        blocks in 1_usize..6,
        ids in prop::collection::vec(-2_i32..14, 0..9),
        dtype in prop::sample::select(vec![F16, BF16, F32]),
        scale in prop::sample::select(vec![1.0, -0.3, 640_f32.sqrt(), 0.0]),
    ) {
        let rows = Rows::all(format, n, blocks * format.block_weights()).gathered(&ids).with_type(dtype);
        Rows { problem: rows.problem.scaled(scale).unwrap(), ..rows }.assert_exact();
    }
}

#[test]
fn all_rows_are_those_of_all_ids() {
    let all = Rows::all(Format::Q2K, 7, 512);
    assert_eq!(all.run().bytes, all.clone().gathered(&[0, 1, 2, 3, 4, 5, 6]).run().bytes);
}
