//! The fused operators on the device that LLM_KERNELS_DEVICE names.

mod embedding;
mod gated;
mod gated_backward;
mod rms_norm;
mod rms_norm_backward;
mod rope;
mod sample;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{self, Counters, DeviceTensor, HostTensor, OutputAgreement, compare, counted, random};
use llm_kernels::{DType, Layout, Limits, Operand, Queue, Resources, Result, embedded};
use proptest::test_runner::Config;

use DType::{BF16, F16, F32};

const FLOATS: [DType; 3] = [F32, F16, BF16];

/// Launches share it; what counts launches has it alone.
static LAUNCHES: RwLock<()> = RwLock::new(());

fn shared() -> RwLockReadGuard<'static, ()> {
    LAUNCHES.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> RwLockWriteGuard<'static, ()> {
    LAUNCHES.write().unwrap_or_else(PoisonError::into_inner)
}

fn queue() -> &'static Queue {
    verify::queue().unwrap_or_else(|error| panic!("{error}"))
}

fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 50, ..Config::default() }
}

/// A tensor of a test: element type, values and where they lie.
#[derive(Clone, Debug)]
struct Tensor {
    dtype: DType,
    layout: Layout,
    values: Vec<f64>,
}

impl Tensor {
    fn new(dtype: DType, shape: &[usize], values: &[f64]) -> Self {
        let layout = Layout::contiguous(shape).unwrap();
        Self { dtype, layout, values: HostTensor::from_f64("", dtype, shape, values).to_f64() }
    }

    fn normal(seed: u64, dtype: DType, shape: &[usize]) -> Self {
        Self::new(dtype, shape, &random::normal(seed, shape.iter().product()))
    }

    fn strided(self, strides: &[usize]) -> Self {
        Self { layout: Layout::strided(self.layout.shape(), strides).unwrap(), ..self }
    }

    /// In memory that is NaN wherever nothing was put.
    fn upload(&self) -> DeviceTensor {
        let mut tensor = poisoned(self.dtype, self.layout);
        let host = HostTensor::from_f64("", self.dtype, self.layout.shape(), &self.values);
        tensor.write(queue(), &host.bytes).unwrap();
        tensor
    }

    fn operand(&self, slot: u64) -> Operand {
        Operand { address: (1 << 40) + (slot << 36), dtype: self.dtype, layout: self.layout }
    }
}

fn poisoned(dtype: DType, layout: Layout) -> DeviceTensor {
    DeviceTensor::poisoned(queue(), dtype, layout).unwrap()
}

/// The elements, after making sure that bytes between them are as `poisoned` left them.
fn download(tensor: &DeviceTensor, name: &str) -> HostTensor {
    let host = tensor.download(queue(), name).unwrap();
    let mut untouched = poisoned(tensor.dtype(), *tensor.layout());
    untouched.write(queue(), &host.bytes).unwrap();
    let same = untouched.image(queue()).unwrap() == tensor.image(queue()).unwrap();
    assert!(same, "bytes between the elements of {name} were written");
    host
}

#[track_caller]
fn assert_close(got: &HostTensor, exact: &[f64], plain: &[f64], what: &dyn std::fmt::Debug) {
    assert_within(got, exact, plain, Tolerance::values(got.dtype), what);
}

#[track_caller]
fn assert_within(got: &HostTensor, exact: &[f64], plain: &[f64], tolerance: Tolerance, what: &dyn std::fmt::Debug) {
    let agreement: OutputAgreement = compare(got, exact, plain, tolerance);
    assert!(agreement.passed(), "{what:?}: {agreement}");
}

/// Runs an operator's cases of `check`.
fn assert_checks(path: &str) {
    let _shared = shared();
    let op = verify::select(Some(path))[0];
    for case in op.check_cases.iter().filter(|case| !case.gpu_only || !queue().device().is_software()) {
        let row = op.check(queue(), case).unwrap_or_else(|error| panic!("{}: {error}", case.shape()));
        assert!(row.agreement.passed(), "{} {}: {}", case.dtype, case.shape(), row.agreement.report());
    }
}

/// Each instance that a plan may name is embedded, and is within the launch bounds that it was compiled for.
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

/// What all operators of this family owe: every sector that is moved is used whole, bytes are those that the plan says,
/// at most 1.02 of those needed, and shared memory has no conflicts.
#[track_caller]
fn assert_thrifty(counters: &Counters, resources: &Resources, what: &dyn std::fmt::Debug) {
    let (moved, requested) = (get(counters, "global_bytes"), get(counters, "global_requested_bytes"));
    // More is requested than moved where lanes of a warp want the same.
    assert!(moved <= requested, "{what:?}: {moved} bytes moved, {requested} requested: sectors are not used whole");
    assert_eq!(Some(moved), resources.bytes_moved, "{what:?}: bytes moved are not those of the plan");
    let needed = resources.bytes_needed.unwrap();
    assert!(moved <= 1.02 * needed, "{what:?}: {moved} bytes moved, {needed} needed");
    let (taken, ideal) = (get(counters, "shared_wavefronts"), get(counters, "shared_ideal_wavefronts"));
    assert!(taken <= 1.01 * ideal, "{what:?}: {taken} wavefronts for {ideal}");
}

/// Thread instructions an element stay below a ceiling.
#[track_caller]
fn assert_instructions(counters: &Counters, elements: usize, ceiling: f64, what: &dyn std::fmt::Debug) {
    let each = get(counters, "thread_inst_executed") / elements as f64;
    eprintln!("{what:?}: {each:.2} thread instructions an element");
    assert!(each <= ceiling, "{what:?}: {each:.2} thread instructions an element, ceiling {ceiling}");
}
