//! What holds for any input.

use super::*;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_matrix_is_packed_exactly(
        (source, codes) in prop::sample::select(vec![
            (Gptq, Int4), (Gptq, Int8), (GptqV2, Int4), (Awq, Int4), (Source::Nf4, Nf4),
        ]),
        n in 1_usize..20,
        (group, groups) in prop::sample::select(vec![(32, 5), (64, 3), (128, 2)]),
        ordered in any::<bool>(),
    ) {
        let checkpoint = Checkpoint::new(source, codes, [n * 8, group * groups, group]);
        let checkpoint = if ordered && source != Source::Nf4 { checkpoint.with_act_order() } else { checkpoint };
        checkpoint.assert_exact();
    }
}

#[test]
fn both_formats_of_gptq_and_awq_hold_the_same_matrix() {
    // The same codes and zero-points, written in each way.
    let [n, k, group] = [16, 64, 32];
    let second = Checkpoint::new(GptqV2, Int4, [n, k, group]);
    let matrix = second.matrix();
    let zeros = matrix.zeros.clone().unwrap();
    let groups = k / group;
    let mut first = Checkpoint::new(Gptq, Int4, [n, k, group]);
    let mut awq = Checkpoint::new(Awq, Int4, [n, k, group]);
    (first.qweight, first.scales, awq.scales) = (second.qweight.clone(), second.scales.clone(), second.scales.clone());
    let words = |count: usize, code: &dyn Fn(usize, usize) -> u8| -> Vec<u8> {
        let word = |word| (0..8).fold(0_u32, |bits, i| bits | u32::from(code(word, i)) << (4 * i));
        (0..count).flat_map(|index| word(index).to_le_bytes()).collect()
    };
    let zero = |group: usize, row: usize| zeros[row * groups + group];
    first.qzeros = Some(words(groups * n / 8, &|w, i| zero(w / (n / 8), w % (n / 8) * 8 + i).wrapping_sub(1) & 15));
    let order = [0, 2, 4, 6, 1, 3, 5, 7];
    awq.qzeros = Some(words(groups * n / 8, &|w, i| zero(w / (n / 8), w % (n / 8) * 8 + order[i])));
    awq.qweight = words(k * n / 8, &|w, i| matrix.codes[(w % (n / 8) * 8 + order[i]) * k + w / (n / 8)]);
    let expected = second.run().unwrap();
    assert_eq!(first.run().unwrap(), expected);
    assert_eq!(awq.run().unwrap(), expected);
}
