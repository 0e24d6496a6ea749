//! Sizes around a tile's.

use super::*;

#[test]
fn sizes_around_a_tile_s_are_packed_exactly() {
    for n in [8, 16, 24, 136] {
        for k in [32, 64, 96, 128, 160] {
            Checkpoint::new(Gptq, Int4, [n, k, 32]).assert_exact();
            Checkpoint::new(Gptq, Int8, [n, k, k]).assert_exact();
            Checkpoint::new(Awq, Int4, [n, k, 32]).assert_exact();
        }
    }
    for n in [1, 15, 16, 17, 33] {
        Checkpoint::new(Source::Nf4, Nf4, [n, 96, 32]).assert_exact();
    }
}

#[test]
fn empty_matrices_are_packed_to_nothing() {
    assert!(Checkpoint::new(Awq, Int4, [0, 64, 32]).run().unwrap().codes.is_empty());
    assert!(Checkpoint::new(Gptq, Int4, [8, 0, 0]).run().unwrap().codes.is_empty());
}

#[test]
fn what_fills_tiles_up_is_zero() {
    let packed = Checkpoint::new(Source::Nf4, Nf4, [1, 32, 32]).run().unwrap();
    // Row 0 of 16 and columns 0 to 31 of 128: 16 bytes of 4 lanes' 32 of 64 each, of which half belong to row 8.
    assert_eq!(packed.codes.len(), 1024);
    assert!(packed.codes[64..].iter().all(|&byte| byte == 0));
    // A scale, and 63 that are 0.
    assert_eq!(packed.scales.len(), 128);
    assert!(packed.scales[2..].iter().all(|&byte| byte == 0) && packed.scales[..2] != [0, 0]);
}
