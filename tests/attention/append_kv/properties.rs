//! Properties that hold for any input.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::Config;

fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 50, ..Config::default() }
}

/// Sequences of various lengths with heads of any size, each with room for its tokens.
fn any_call() -> impl Strategy<Value = Append> {
    let heads = (0..4_usize, 1..4_usize, 1..40_usize, 0..30_usize);
    let sequences = proptest::collection::vec((0..12_usize, 0..20_i32), 1..4);
    let flags = (0..3_usize, 0..4_usize, 0..3_usize, any::<[bool; 4]>());
    (heads, sequences, flags).prop_map(|((h_q, h_kv, n, rest), sequences, (k, cache, q_out, flags))| {
        let [interleaved, first, packed, in_place] = flags;
        let (lengths, firsts): (Vec<_>, Vec<_>) = sequences.into_iter().unzip();
        let types = Types { k: FLOATS[k], cache: CACHES[cache], q_out: Some(FLOATS[if in_place { k } else { q_out }]) };
        let append = Append::new(types, Heads { h_q, h_kv, d: 2 * n + rest, n }, &firsts, &lengths, 32);
        Append {
            options: Options { interleaved, magnitude: 1.0 },
            first: first.then_some(firsts),
            packed,
            in_place: in_place && h_q > 0,
            ..append
        }
    })
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn any_call_agrees(append in any_call(), page_shift in 0..6) {
        append.assert_agrees();
        append.in_scattered_pages(1_usize << page_shift).assert_agrees();
    }

    #[test]
    fn pages_and_their_order_make_no_difference(append in any_call(), page_shift in 0..6) {
        let page_size = 1_usize << page_shift;
        let contiguous = append.of_tokens(&append.run());
        let scattered = append.in_scattered_pages(page_size);
        prop_assert_eq!(scattered.of_tokens(&scattered.run()), contiguous.clone());
        let each = 32_usize.div_ceil(page_size);
        let in_order = append.paged(page_size, 4 * each, |sequence, index| sequence * each + index);
        prop_assert_eq!(in_order.of_tokens(&in_order.run()), contiguous);
    }

    #[test]
    fn two_halves_appended_equal_the_whole(heads in 1..5_usize, cache in 0..4_usize, at in 0..18_usize, paged: bool) {
        let whole = Append::new(types(BF16, CACHES[cache]), Heads { h_kv: heads, ..SMALL }, &[4, 0], &[17, 17], 32);
        let whole = if paged { whole.in_scattered_pages(8) } else { whole };
        let part = |tokens: std::ops::Range<usize>| {
            let pick = |x: &[f64], h: usize| -> Vec<f64> {
                let row = h * whole.heads.d;
                [0, 17].iter().flat_map(|start| &x[(start + tokens.start) * row..(start + tokens.end) * row]).copied().collect()
            };
            Append {
                lengths: vec![tokens.len(); 2],
                positions: [0, 17].iter().flat_map(|start| &whole.positions[start + tokens.start..start + tokens.end]).copied().collect(),
                k: pick(&whole.k, heads),
                v: pick(&whole.v, heads),
                q: pick(&whole.q, whole.heads.h_q),
                ..whole.clone()
            }
        };
        let mut cache = whole.cache().unwrap();
        part(0..at).run_on(&mut cache).unwrap();
        let halves = part(at..17).run_on(&mut cache).unwrap();
        prop_assert_eq!(Results { q: None, ..halves }, Results { q: None, ..whole.run() });
    }

    #[test]
    fn the_order_of_tokens_makes_no_difference(append in any_call()) {
        // Tokens of each sequence reversed, with their positions.
        prop_assume!(append.first.is_none());
        let starts = append.lengths.iter().scan(0, |start, length| { *start += length; Some(*start - length) });
        let order: Vec<usize> = starts.zip(&append.lengths).flat_map(|(start, length)| (start..start + length).rev()).collect();
        let pick = |x: &[f64], h: usize| -> Vec<f64> {
            let row = h * append.heads.d;
            order.iter().flat_map(|token| &x[token * row..(token + 1) * row]).copied().collect()
        };
        let reversed = Append {
            positions: order.iter().map(|&token| append.positions[token]).collect(),
            k: pick(&append.k, append.heads.h_kv),
            v: pick(&append.v, append.heads.h_kv),
            q: pick(&append.q, append.heads.h_q),
            ..append.clone()
        };
        prop_assert_eq!(Results { q: None, ..reversed.run() }, Results { q: None, ..append.run() });
    }

    #[test]
    fn rotated_keys_keep_the_norms_of_their_pairs(append in any_call()) {
        let types = Types { cache: BF16, ..append.types };
        let append = Append { types, ..append };
        let Heads { h_kv, d, n, .. } = append.heads;
        let (results, sequences) = (append.run().k.to_f64(), append.sequences());
        for token in 0..append.positions.len() {
            let slot = slot(&append.problem(), &append.inputs(&sequences), token).unwrap();
            for row in 0..h_kv {
                let before = &append.k[(token * h_kv + row) * d..][..d];
                let after = &results[(slot * h_kv + row) * d..][..d];
                for i in 0..n {
                    let (i, j) = if append.options.interleaved { (2 * i, 2 * i + 1) } else { (i, i + n) };
                    let norm = |x: &[f64]| x[i].hypot(x[j]);
                    // Half a unit of bf16, of each of the two.
                    prop_assert!((norm(before) - norm(after)).abs() <= norm(before) / 200.0);
                }
                prop_assert_eq!(&after[2 * n..], &rounded(BF16, &before[2 * n..])[..]);
            }
        }
    }

    #[test]
    fn products_of_queries_and_keys_depend_on_distances_alone(far in 0..100_000_i32, distance in 0..1000_i32, interleaved: bool) {
        let product = |at: i32| {
            // A query behind a key, in pages so that the position may be far.
            let heads = Heads { h_q: 1, h_kv: 1, ..SMALL };
            let types = Types { k: F32, cache: F16, q_out: Some(F32) };
            let mut append = Append::new(types, heads, &[0], &[2], 1 << 17);
            append.positions = vec![at, at + distance + 1];
            append.options.interleaved = interleaved;
            // Pages of 2^16 that are all the same one: the keys are 2^16 apart at most.
            let append = append.paged(1 << 10, 4, |_, index| index % 4);
            let results = append.run();
            let row = append.of_token(&results, 0).unwrap()[0].clone();
            let key = HostTensor { name: String::new(), dtype: F16, shape: vec![64], bytes: row }.to_f64();
            results.q.unwrap().to_f64()[64..].iter().zip(&key).map(|(q, k)| q * k).sum::<f64>()
        };
        let (near, far) = (product(0), product(far));
        // Keys are rounded to f16.
        prop_assert!((near - far).abs() < 0.03, "{near} {far}");
    }
}
