//! Modelled times of work of which only a part runs.

use llm_kernels::verify::{self, Sample, modelled_sample};

/// Bytes a second that kernels reach of an A100's device memory: 87 % of 2.039e12.
const BYTES_PER_SECOND: f64 = 0.87 * 2.039e12;

#[test]
fn no_time_is_shorter_than_the_needed_bytes_take() {
    let queue = verify::queue().unwrap_or_else(|error| panic!("{error}"));
    let limits = queue.device().limits();
    if !queue.device().is_software() || limits.compute_capability != (8, 0) {
        eprintln!("not run: the device is no A100 in software");
        return;
    }
    // Nothing is launched but by tests beside this one, which is little: what is left are the bytes.
    let time = |bytes_needed| {
        let sample = Sample { bytes_needed, ..Sample::ALL };
        modelled_sample(queue, sample, || Ok(())).unwrap().expect("the device has a time model")
    };
    let expected = (1u64 << 36) as f64 / BYTES_PER_SECOND;
    let found = time(1 << 36);
    assert!((found.seconds / expected - 1.0).abs() < 1e-9, "{found:?}");
    assert_eq!(found.bounds[0], ("dram", 1.0));
    assert!(found.joules > 0.0 && found.dollars > 0.0);
    assert!(time(0).seconds < 0.5 * expected);
}
