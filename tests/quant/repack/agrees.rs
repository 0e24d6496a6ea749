//! Every source agrees with its definition, bit for bit.

use super::*;

#[test]
fn every_source_group_and_type_is_packed_exactly() {
    for dtype in [F16, BF16] {
        for group in [32, 64, 128, 384] {
            for (source, codes) in
                [(Gptq, Int4), (Gptq, Int8), (GptqV2, Int4), (GptqV2, Int8), (Awq, Int4), (Source::Nf4, Nf4)]
            {
                Checkpoint::new(source, codes, [40, 384, group]).to(dtype).assert_exact();
            }
        }
    }
}

#[test]
fn matrices_without_zero_points_are_packed_exactly() {
    Checkpoint::new(Gptq, Int4, [40, 128, 64]).without_zeros().assert_exact();
    Checkpoint::new(Awq, Int4, [40, 128, 64]).without_zeros().to(BF16).assert_exact();
}

#[test]
fn columns_in_another_order_are_packed_exactly() {
    for codes in [Int4, Int8] {
        Checkpoint::new(Gptq, codes, [24, 384, 64]).with_act_order().assert_exact();
    }
    Checkpoint::new(Awq, Int4, [24, 160, 32]).with_act_order().assert_exact();
}

#[test]
fn magnitudes_that_were_quantised_are_dequantised_exactly() {
    for n in [1, 37, 130] {
        Checkpoint::new(Source::Nf4, Nf4, [n, 320, 64]).nested().assert_exact();
        Checkpoint::new(Source::Nf4, Nf4, [n, 320, 64]).nested().to(BF16).assert_exact();
    }
}

/// Words written down by hand, so that not only kernel and reference agree.
#[test]
fn the_first_codes_of_each_source_are_where_its_files_have_them() {
    let mut gptq = Checkpoint::new(Gptq, Int4, [8, 32, 32]);
    // Word [0][0]: columns 0 to 7 of row 0. Zero-points: 1 to 8, less one each.
    gptq.qweight[..4].copy_from_slice(&0x7654_3210_u32.to_le_bytes());
    gptq.qzeros = Some(0x7654_3210_u32.to_le_bytes().to_vec());
    let matrix = GroupedMatrix::unpack(gptq.problem.format, &gptq.run().unwrap(), F16);
    assert_eq!(matrix.codes[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(matrix.zeros.unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);

    let mut awq = Checkpoint::new(Awq, Int4, [8, 32, 32]);
    // Word [0][0]: column 0 of rows 0 2 4 6 1 3 5 7.
    awq.qweight[..4].copy_from_slice(&0x7531_6420_u32.to_le_bytes());
    awq.qzeros = Some(0x7531_6420_u32.to_le_bytes().to_vec());
    let matrix = GroupedMatrix::unpack(awq.problem.format, &awq.run().unwrap(), F16);
    let column: Vec<u8> = (0..8).map(|row| matrix.codes[row * 32]).collect();
    assert_eq!(column, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(matrix.zeros.unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);

    let mut nf4 = Checkpoint::new(Source::Nf4, Nf4, [1, 32, 32]);
    nf4.qweight[..2].copy_from_slice(&[0x12, 0x34]);
    let matrix = GroupedMatrix::unpack(nf4.problem.format, &nf4.run().unwrap(), F16);
    assert_eq!(matrix.codes[..4], [1, 2, 3, 4]);
}
