//! Results do not depend on the order in which warps and blocks run, nor on when an asynchronous copy moves its data.

use llm_kernels::verify;

/// Operators whose sums are made by atomics on floats, and so depend on the order.
const IN_ANY_ORDER: [&str; 0] = [];

/// A process of its own: the schedule is that of all launches.
#[test]
fn every_operator_gives_the_same_bits_under_every_seed() {
    let queue = verify::queue().unwrap_or_else(|error| panic!("{error}"));
    if !queue.device().is_software() {
        eprintln!("not run: {} is a GPU, which has its own order", queue.device().name());
        return;
    }
    let mut cases = 0;
    for op in verify::ops().filter(|op| !IN_ANY_ORDER.contains(&op.path)) {
        for case in op.check_cases.iter().filter(|case| !case.gpu_only) {
            let what = format!("{}: {} {}", op.path, case.dtype, case.shape());
            let bindings = op.bindings(case).unwrap_or_else(|error| panic!("{what}: {error}"));
            let run = |seed| {
                verify::shuffle_schedule(seed);
                op.run(queue, &bindings).unwrap_or_else(|error| panic!("{what}, seed {seed:?}: {error}"))
            };
            let expected = run(None);
            // A few seeds each, and different ones for every case.
            for seed in 3 * cases..3 * cases + 3 {
                for (tensor, found) in expected.iter().zip(run(Some(seed))) {
                    assert!(tensor.bytes == found.bytes, "{what}: {} is another one under seed {seed}", tensor.name);
                }
            }
            cases += 1;
        }
    }
    verify::shuffle_schedule(None);
    assert!(cases > 0, "no case was run");
}
