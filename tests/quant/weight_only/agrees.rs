//! Every kind of codes, group, type and number of rows agrees with the reference.

use super::*;

#[test]
fn one_row_agrees_for_every_kind_of_codes_and_group() {
    for codes in Codes::ALL {
        for group in [32, 64, 128, 768] {
            for x in [F16, BF16] {
                Product::new(codes, group, [1, 67, 768]).with_types(x, F32).assert_agrees();
                Product::new(codes, group, [1, 67, 768]).with_types(x, x).with_zeros().assert_agrees();
            }
        }
    }
}

#[test]
fn up_to_eight_rows_agree() {
    for m in 2..=8 {
        Product::new(Int4, 128, [m, 40, 1280]).assert_agrees();
        Product::new(Int8, 64, [m, 40, 640]).with_types(BF16, F32).with_zeros().assert_agrees();
    }
}

#[test]
fn many_rows_agree_for_every_kind_of_codes_and_group() {
    for codes in Codes::ALL {
        for (m, group) in [(9, 32), (16, 64), (20, 128), (40, 768), (64, 32), (70, 64), (130, 128), (260, 768)] {
            Product::new(codes, group, [m, 150, 768]).assert_agrees();
            Product::new(codes, group, [m, 150, 768]).with_types(BF16, F32).with_zeros().assert_agrees();
        }
    }
}

#[test]
fn every_type_of_activations_bias_and_result_agrees() {
    for m in [2, 17] {
        for x in [F16, BF16] {
            for y in [F16, BF16, F32] {
                Product::new(Int4, 64, [m, 40, 512]).with_types(x, y).with_bias(y).assert_agrees();
            }
        }
    }
}

#[test]
fn columns_in_another_order_agree() {
    for codes in Codes::ALL {
        for m in [1, 5, 20, 130] {
            Product::new(codes, 64, [m, 40, 640]).with_act_order().assert_agrees();
            Product::new(codes, 32, [m, 40, 352]).with_types(BF16, F32).with_act_order().with_zeros().assert_agrees();
        }
    }
}

#[test]
fn splits_of_k_and_shared_tiles_agree() {
    for m in [1, 8, 16, 100] {
        let product = Product::new(Int4, 128, [m, 130, 4096]).with_bias(F32);
        assert!(plan(&product.problem, queue().device().limits()).unwrap().finish.is_some());
        product.assert_agrees();
    }
}
