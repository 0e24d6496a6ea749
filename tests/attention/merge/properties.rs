//! What must hold for any input, tried on made-up ones.

use super::*;
use llm_kernels::attention::flash_forward::{self, flash_forward};
use proptest::prelude::*;
use proptest::test_runner::Config;

fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 50, ..Config::default() }
}

/// Any problem of moderate size; some parts of some rows are empty, with poison in their place.
fn problems() -> impl Strategy<Value = Parts> {
    let types =
        prop_oneof![Just((F16, F16)), Just((BF16, BF16)), Just((F32, F32)), Just((F32, F16)), Just((F32, BF16))];
    let sizes = (0..9_usize, 1..3_usize, 1..50_usize, 1..4_usize, 1..33_usize);
    (any::<u64>(), types, sizes).prop_map(|(seed, (part, out), (n, b, s_q, h_q, chunks))| {
        let mut parts = Parts::seeded(seed >> 4, part, out, [n, b, s_q, h_q, chunks * 8]);
        for (index, lse) in parts.lse.clone().into_iter().enumerate().filter(|(_, lse)| *lse < -0.8) {
            assert!(lse < 0.0);
            let (i, rest) = (index % s_q, index / s_q);
            let row = parts.row(rest / h_q / b, rest / h_q % b, i, rest % h_q);
            parts.lse[index] = f64::NEG_INFINITY;
            parts.out[row].fill(f64::NAN);
        }
        parts
    })
}

/// Parts `range` alone.
fn some(parts: &Parts, range: std::ops::Range<usize>) -> Parts {
    let n = parts.problem.shape.n.max(1);
    let (rows, lses) = (parts.out.len() / n, parts.lse.len() / n);
    let shape = Shape { n: range.len(), ..parts.problem.shape };
    Parts {
        problem: Problem { shape, ..parts.problem },
        out: parts.out[range.start * rows..range.end * rows].to_vec(),
        lse: parts.lse[range.start * lses..range.end * lses].to_vec(),
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn any_problem_agrees_with_the_reference(parts in problems()) {
        let agreement = parts.compare(&parts.run());
        prop_assert!(agreement.passed(), "{:?}: {}", parts.problem, agreement.report());
    }

    #[test]
    fn the_order_of_parts_does_not_matter(parts in problems()) {
        let n = parts.problem.shape.n;
        let reversed: Vec<Parts> = (0..n).rev().map(|part| some(&parts, part..part + 1)).collect();
        let reversed = Parts {
            problem: parts.problem,
            out: reversed.iter().flat_map(|part| part.out.clone()).collect(),
            lse: reversed.iter().flat_map(|part| part.lse.clone()).collect(),
        };
        let agreement = parts.compare(&reversed.run());
        prop_assert!(agreement.passed(), "{:?}: {}", parts.problem, agreement.report());
    }

    #[test]
    fn merging_in_two_steps_equals_one(parts in problems(), cut in 0.0..1.0_f64) {
        let n = parts.problem.shape.n;
        let cut = (n as f64 * cut) as usize;
        let steps = [some(&parts, 0..cut), some(&parts, cut..n)].map(|half| {
            // In f32 between the steps, where the types allow it.
            let between = parts.problem.part_dtype;
            Parts { problem: Problem { dtype: between, ..half.problem }, ..half }.run()
        });
        let shape = Shape { n: 2, ..parts.problem.shape };
        let second = Parts {
            problem: Problem { shape, ..parts.problem },
            out: steps.iter().flat_map(Merged::out).collect(),
            lse: steps.iter().flat_map(Merged::lse).collect(),
        };
        let mut agreement = parts.compare(&second.run());
        // Rounding to 16 bits between the steps costs up to a unit more, of rows as large as any part's.
        if parts.problem.part_dtype != F32 {
            let largest = parts.out.iter().filter(|x| x.is_finite()).fold(0f64, |a, b| a.max(b.abs()));
            let limit = 2.0 * parts.problem.dtype.epsilon().unwrap() * largest;
            let out = agreement.outputs.remove(0);
            prop_assert!(out.first.as_ref().is_none_or(|first| first.got.is_finite()) && out.largest_error <= limit, "{out}");
        }
        prop_assert!(agreement.passed(), "{:?}: {}", parts.problem, agreement.report());
    }

    #[test]
    fn the_same_input_gives_the_same_bits(parts in problems()) {
        prop_assert_eq!(parts.run(), parts.run());
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn any_split_of_the_keys_merged_equals_one_pass(
        seed in any::<u64>(),
        sizes in (1..3_usize, 1..70_usize, 1..200_usize, 1..3_usize, 1..3_usize),
        cuts in proptest::collection::vec(0.0..1.0_f64, 0..4),
        causal in any::<bool>(),
    ) {
        use flash_forward::reference::{Inputs, plain, reference};
        let (b, s_q, s_k, h_kv, group) = sizes;
        let (h_q, d) = (h_kv * group, 64);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| (s_k as f64 * cut) as usize).collect();
        cuts.extend([0, s_k]);
        cuts.sort_unstable();
        let options = flash_forward::Options { causal, ..Default::default() };
        let shape = flash_forward::Shape { b, s_q, s_k, h_q, h_kv, d, d_v: d };
        let whole = flash_forward::Problem::new(F16, shape, &options).unwrap();
        let values = |tensor, count| rounded(F16, &random::normal((seed >> 4) + tensor, count));
        let (q, k, v) = (values(0, b * s_q * h_q * d), values(1, b * s_k * h_kv * d), values(2, b * s_k * h_kv * d));

        let (mut out, mut lse) = (Vec::new(), Vec::new());
        for (&start, &end) in cuts.iter().zip(&cuts[1..]) {
            let keys = |values: &[f64]| -> Vec<f64> {
                let rows = h_kv * d;
                values.chunks(s_k * rows).flat_map(|batch| &batch[start * rows..end * rows]).copied().collect()
            };
            let (part_out, part_lse) = forward(&q, &keys(&k), &keys(&v), shape, start..end, causal);
            out.extend(part_out);
            lse.extend(part_lse);
        }
        let n = cuts.len() - 1;
        let problem = Problem::new(F16, F16, Shape { n, b, s_q, h_q, d }).unwrap();
        let merged = Parts { problem, out, lse }.run();
        let inputs = Inputs { q: &q, k: &k, v: &v, ..Inputs::default() };
        let (exact, plain) = (reference(&whole, &inputs), plain(&whole, &inputs));
        // The parts are rounded once more than a single pass is.
        let tolerance = Tolerance { ulps: 2.0, ..Tolerance::values(F16) };
        let agreement = Agreement {
            outputs: vec![
                compare(&merged.out, &exact.out, &plain.out, tolerance),
                compare(&merged.lse, &exact.lse, &plain.lse, Tolerance::logarithms(d)),
            ],
        };
        prop_assert!(agreement.passed(), "{:?} cuts {:?}: {}", shape, cuts, agreement.report());
    }
}

/// `flash_forward` over the keys `range` of a longer sequence: out and lse.
fn forward(
    q: &[f64],
    k: &[f64],
    v: &[f64],
    shape: flash_forward::Shape,
    range: std::ops::Range<usize>,
    causal: bool,
) -> (Vec<f64>, Vec<f64>) {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let flash_forward::Shape { b, s_q, s_k, h_q, h_kv, d, .. } = shape;
    let keys = Layout::contiguous(&[b, range.len(), h_kv, d]).unwrap();
    let queries = Layout::contiguous(&[b, s_q, h_q, d]).unwrap();
    let (k, v) = (upload(F16, k, keys).unwrap(), upload(F16, v, keys).unwrap());
    let tensor = upload(F16, q, queries).unwrap();
    let mut out = DeviceTensor::poisoned(queue(), F16, queries).unwrap();
    let mut lse = DeviceTensor::poisoned(queue(), F32, Layout::contiguous(&[b, h_q, s_q]).unwrap()).unwrap();
    // Query i of the whole sees keys up to i + s_k - s_q: so many more than where the part's own alignment ends.
    let window_right = causal.then_some(s_k - range.end);
    let args = flash_forward::Args {
        lse: Some(lse.view_mut().unwrap()),
        options: flash_forward::Options { window_right, ..Default::default() },
        ..flash_forward::Args::new(
            tensor.view().unwrap(),
            k.view().unwrap(),
            v.view().unwrap(),
            out.view_mut().unwrap(),
        )
    };
    flash_forward(queue(), args).unwrap();
    (out.download(queue(), "").unwrap().to_f64(), lse.download(queue(), "").unwrap().to_f64())
}
