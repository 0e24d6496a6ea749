//! The plan, without a device.

use super::*;
use llm_kernels::{Error, Limits};

/// An A100.
fn limits() -> Limits {
    Limits { multiprocessors: 108, ..Limits::of_capability(8, 0) }
}

fn problem(dtype: DType, cache: DType, [b, s_q, h_q, h_kv, d, s_k]: [usize; 6], options: Options) -> Problem {
    let shape = Shape { b, s_q, h_q, h_kv, d, num_pages: b, page_size: s_k };
    Problem::new(dtype, cache, shape, None, &options).unwrap()
}

#[test]
fn each_head_dimension_and_cache_takes_the_smallest_instance_that_holds_it() {
    for (d, expected) in [(8, "d64"), (64, "d64"), (72, "d128"), (128, "d128"), (136, "d256"), (256, "d256")] {
        let name = |dtype, cache, d| {
            plan(&problem(dtype, cache, [1, 1, 1, 1, d, 99], DEFAULT), &limits()).unwrap().launch.instance
        };
        assert_eq!(name(F16, F16, d), format!("decode_f16_{expected}"));
        assert_eq!(name(BF16, BF16, d), format!("decode_bf16_{expected}"));
        let d = d.next_multiple_of(16);
        assert_eq!(name(F16, I8, d), format!("decode_f16_{expected}_8bit"));
        assert_eq!(name(BF16, E4M3, d), format!("decode_bf16_{expected}_8bit"));
    }
}

#[test]
fn rows_of_a_group_share_a_block_up_to_64() {
    for (s_q, group, tiles, blocks) in
        [(1, 1, 1, 1), (4, 4, 1, 1), (1, 17, 2, 1), (8, 4, 2, 1), (16, 4, 4, 1), (16, 5, 4, 2)]
    {
        let plan = plan(&problem(F16, F16, [1, s_q, group, 1, 64, 99], DEFAULT), &limits()).unwrap();
        assert_eq!((plan.row_tiles, plan.num_row_blocks), (tiles, blocks), "{s_q} queries of {group} heads");
        assert_eq!(plan.launch.grid, [(plan.num_splits * blocks) as u32, 1, 1]);
    }
}

#[test]
fn splits_fill_the_chip_where_sequences_are_long_enough() {
    let splits = |sizes, cache| plan(&problem(BF16, cache, sizes, DEFAULT), &limits()).unwrap().num_splits;
    // 216 blocks for 8 heads of keys.
    assert_eq!(splits([1, 1, 32, 8, 128, 131_072], BF16), 27);
    assert_eq!(splits([27, 1, 32, 8, 128, 8192], BF16), 1);
    // Short sequences are one block's; a long one is not, however many there are.
    assert_eq!(splits([1, 1, 32, 8, 128, 1024], BF16), 1);
    assert_eq!(splits([64, 1, 32, 8, 128, 131_072], BF16), 16);
    // With a window only what it shows counts.
    let local = Options { window_left: Some(511), ..DEFAULT };
    assert_eq!(plan(&problem(F16, F16, [1, 1, 4, 1, 256, 131_072], local), &limits()).unwrap().num_splits, 1);
}

#[test]
fn a_split_s_result_costs_at_most_an_80th_of_its_keys() {
    for cache in [BF16, I8, E4M3] {
        for [s_q, h_q, h_kv, d] in [[1, 32, 8, 128], [4, 32, 8, 128], [1, 4, 1, 256], [1, 64, 8, 64]] {
            let plan = plan(&problem(BF16, cache, [1, s_q, h_q, h_kv, d, 1 << 20], DEFAULT), &limits()).unwrap();
            let keys = plan.least_tiles * plan.block_n;
            let (part, scales) = (s_q * (h_q / h_kv) * (d + 1) * 8, if cache == BF16 { 0 } else { 8 });
            assert!(plan.num_splits > 1 && part * 80 <= keys * (2 * d * cache.size_bytes() + scales), "{plan:?}");
        }
    }
}

#[test]
fn given_splits_are_taken_and_need_room_for_their_results() {
    let plan = plan(&problem(F16, F16, [3, 2, 8, 2, 64, 500], splits(5)), &limits()).unwrap();
    assert_eq!((plan.num_splits, plan.least_tiles), (5, 1));
    assert_eq!(plan.workspace_bytes, 5 * 3 * 2 * 8 * (64 + 1) * 4);
    assert_eq!(plan.launch.grid, [5 * 2 * 3, 1, 1]);
    assert_eq!(plan.merge.unwrap().instance, "merge_f32_f16");
    let one = super::plan(&problem(F16, F16, [3, 2, 8, 2, 64, 500], splits(1)), &limits()).unwrap();
    assert_eq!((one.workspace_bytes, one.merge), (0, None));
}

#[test]
fn every_instance_fits_the_smallest_chips() {
    let limits = Limits { multiprocessors: 16, ..Limits::of_capability(8, 6) };
    for cache in [F16, I8] {
        for d in [64, 128, 256] {
            for s_q in [1, 4, 16] {
                let plan = plan(&problem(F16, cache, [1, s_q, 8, 1, d, 4096], splits(2)), &limits).unwrap();
                assert!(plan.launch.shared_bytes <= 99 * 1024, "{plan:?}");
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let many = plan(&problem(F16, F16, [1, 1, 1, 1, 64, 99], splits(257)), &limits()).unwrap_err();
    assert_eq!(many.to_string(), "attention/decode: num_splits is 257, the limit is 256");
    let blocks = plan(&problem(F16, F16, [1 << 26, 1, 64, 64, 64, 1], DEFAULT), &limits()).unwrap_err();
    assert!(matches!(blocks, Error::TooLarge { what: "number of blocks", got: 4_294_967_296, .. }), "{blocks}");
    let little = Limits { shared_bytes_per_block: 60_000, ..limits() };
    let error = plan(&problem(F16, F16, [1, 1, 1, 1, 64, 99], DEFAULT), &little).unwrap_err();
    assert!(matches!(error, Error::SharedMemory { needed: 71_680, available: 60_000, .. }), "{error}");
}

#[test]
fn what_a_launch_needs_is_counted_by_hand() {
    // 8 + 3 of 16 keys, one page of 4 slots begun; 2 queries of 4 heads, the first of which sees a key less.
    let shape = Shape { b: 2, s_q: 2, h_q: 4, h_kv: 2, d: 16, num_pages: 9, page_size: 4 };
    let problem = Problem::new(F16, I8, shape, Some(4), &DEFAULT).unwrap();
    let plan = plan(&problem, &limits()).unwrap();
    let resources = plan.resources(&problem, &[8, 3]);
    let keys = 11.0 * 2.0 * (2.0 * 16.0 + 8.0);
    let rows = 2.0 * 2.0 * 4.0 * (2.0 * 16.0 * 2.0 + 4.0);
    assert_eq!(resources.bytes_needed, Some(keys + rows + 3.0 * 4.0 + 2.0 * 4.0));
    assert_eq!(resources.flops, Some(4.0 * 16.0 * 4.0 * f64::from(7 + 8 + 2 + 3)));
}
