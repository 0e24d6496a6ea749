//! The scans on the device that LLM_KERNELS_DEVICE names.

mod causal_conv1d;
mod causal_conv1d_backward;
mod linear_recurrence;
mod linear_recurrence_backward;
mod recurrent_step;
mod selective_scan;
mod selective_scan_backward;
mod selective_step;
mod support;

use support::{alone, shared};

use llm_kernels::verify::{self, Counters, DeviceTensor, HostTensor, counted};
use llm_kernels::{DType, Layout, Limits, Queue, Result, embedded};

fn queue() -> &'static Queue {
    verify::queue().unwrap_or_else(|error| panic!("{error}"))
}

/// Numbers as the element type holds them.
fn rounded(dtype: DType, values: &[f64]) -> Vec<f64> {
    HostTensor::from_f64("", dtype, &[values.len()], values).to_f64()
}

/// Values laid out as given, in memory that is NaN wherever nothing was put.
fn upload_in(dtype: DType, values: &[f64], layout: Layout) -> DeviceTensor {
    let mut tensor = DeviceTensor::poisoned(queue(), dtype, layout).unwrap();
    tensor.write(queue(), &HostTensor::from_f64("", dtype, layout.shape(), values).bytes).unwrap();
    tensor
}

fn upload(dtype: DType, values: &[f64], shape: &[usize]) -> DeviceTensor {
    upload_in(dtype, values, Layout::contiguous(shape).unwrap())
}

fn poisoned(dtype: DType, shape: &[usize]) -> DeviceTensor {
    DeviceTensor::poisoned(queue(), dtype, Layout::contiguous(shape).unwrap()).unwrap()
}

/// Runs an operator's cases of `check`.
fn assert_checks(path: &str) {
    let _shared = shared();
    let op = verify::select(Some(path))[0];
    for case in op.check_cases.iter().filter(|case| !case.gpu_only || !queue().device().is_software()) {
        let row = op.check(queue(), case).unwrap_or_else(|error| panic!("{} {}: {error}", case.dtype, case.shape()));
        eprintln!("{} {} {}: {:.2}", case.name, case.dtype, case.shape(), row.agreement.largest_fraction());
        assert!(row.agreement.passed(), "{} {}: {}", case.dtype, case.shape(), row.agreement.report());
    }
}

/// Each instance that a plan may name is embedded.
fn assert_embedded(path: &str, instances: usize) {
    let op = verify::select(Some(path))[0];
    let launches = (op.launches)(&Limits::of_capability(8, 6));
    assert_eq!(launches.len(), instances);
    for launch in launches {
        let kernels = embedded::KERNELS.iter().filter(|kernel| kernel.op == path);
        let found = kernels.flat_map(|kernel| kernel.instances).filter(|instance| instance.name == launch.instance);
        assert_eq!(found.count(), 1, "{}", launch.instance);
    }
}

/// Counters of `work`; `None` on a GPU, which has no such figures.
fn count(work: impl FnOnce() -> Result<()>) -> Option<Counters> {
    let _alone = alone();
    let ((), counters) = counted(queue(), work).unwrap_or_else(|error| panic!("{error}"));
    if counters.is_none() {
        assert!(!queue().device().is_software(), "the software device counted nothing");
        eprintln!("not run: {} is a GPU, it has no counters", queue().device().name());
    }
    counters
}

fn get(counters: &Counters, name: &str) -> f64 {
    counters.get(name).unwrap_or_else(|| panic!("no counter {name}"))
}
