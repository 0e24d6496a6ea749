//! What the families' tests share: the device, tensors in memory that is NaN wherever nothing was put, counters.

#![allow(dead_code, reason = "each family uses a part")]

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use llm_kernels::verify::tolerance::Tolerance;
use llm_kernels::verify::{self, Counters, DeviceTensor, HostTensor, OutputAgreement, compare, counted, random};
use llm_kernels::{DType, Layout, Limits, Operand, Queue, Result, embedded};
use proptest::test_runner::Config;

pub(crate) const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// Launches share it; what counts launches has it alone.
pub(crate) static LAUNCHES: RwLock<()> = RwLock::new(());

pub(crate) fn shared() -> RwLockReadGuard<'static, ()> {
    LAUNCHES.read().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn alone() -> RwLockWriteGuard<'static, ()> {
    LAUNCHES.write().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn queue() -> &'static Queue {
    verify::queue().unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn cases(count: u32) -> Config {
    // No file of failed seeds: what fails once is to become a test with a name.
    Config { cases: count, failure_persistence: None, max_shrink_iters: 50, ..Config::default() }
}

/// A tensor of a test: element type, values and where they lie.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) dtype: DType,
    pub(crate) layout: Layout,
    pub(crate) values: Vec<f64>,
}

impl Tensor {
    pub(crate) fn new(dtype: DType, shape: &[usize], values: &[f64]) -> Self {
        let layout = Layout::contiguous(shape).unwrap();
        Self { dtype, layout, values: HostTensor::from_f64("", dtype, shape, values).to_f64() }
    }

    pub(crate) fn normal(seed: u64, dtype: DType, shape: &[usize]) -> Self {
        Self::new(dtype, shape, &random::normal(seed, shape.iter().product()))
    }

    pub(crate) fn strided(self, strides: &[usize]) -> Self {
        Self { layout: Layout::strided(self.layout.shape(), strides).unwrap(), ..self }
    }

    /// In memory that is NaN wherever nothing was put.
    pub(crate) fn upload(&self) -> DeviceTensor {
        let mut tensor = poisoned(self.dtype, self.layout);
        let host = HostTensor::from_f64("", self.dtype, self.layout.shape(), &self.values);
        tensor.write(queue(), &host.bytes).unwrap();
        tensor
    }

    pub(crate) fn operand(&self, slot: u64) -> Operand {
        operand(self.dtype, self.layout, slot)
    }
}

pub(crate) fn operand(dtype: DType, layout: Layout, slot: u64) -> Operand {
    Operand { address: (1 << 40) + (slot << 36), dtype, layout }
}

pub(crate) fn poisoned(dtype: DType, layout: Layout) -> DeviceTensor {
    DeviceTensor::poisoned(queue(), dtype, layout).unwrap()
}

/// The elements, after making sure that bytes between them are as `poisoned` left them.
pub(crate) fn download(tensor: &DeviceTensor, name: &str) -> HostTensor {
    let host = tensor.download(queue(), name).unwrap();
    let mut untouched = poisoned(tensor.dtype(), *tensor.layout());
    untouched.write(queue(), &host.bytes).unwrap();
    let same = untouched.image(queue()).unwrap() == tensor.image(queue()).unwrap();
    assert!(same, "bytes between the elements of {name} were written");
    host
}

/// Numbers as the element type holds them.
pub(crate) fn rounded(dtype: DType, values: &[f64]) -> Vec<f64> {
    HostTensor::from_f64("", dtype, &[values.len()], values).to_f64()
}

/// Values laid out as given, in memory that is NaN wherever nothing was put.
pub(crate) fn upload(dtype: DType, values: &[f64], layout: Layout) -> Result<DeviceTensor> {
    let mut tensor = DeviceTensor::poisoned(queue(), dtype, layout)?;
    tensor.write(queue(), &HostTensor::from_f64("", dtype, layout.shape(), values).bytes)?;
    Ok(tensor)
}

/// Counters of `work`; `None` on a GPU, which has no such figures. Nothing else must be launched meanwhile: see [`alone`].
pub(crate) fn count(work: impl FnOnce() -> Result<()>) -> Option<Counters> {
    let ((), counters) = counted(queue(), work).unwrap_or_else(|error| panic!("{error}"));
    if counters.is_none() {
        assert!(!queue().device().is_software(), "the software device counted nothing");
        eprintln!("not run: {} is a GPU, it has no counters", queue().device().name());
    }
    counters
}

/// Whether the device is the software one that stands for an A100, whose figures some ceilings are.
pub(crate) fn is_modelled_a100() -> bool {
    let device = queue().device();
    let is = device.is_software() && device.limits().compute_capability == (8, 0);
    if !is {
        eprintln!("not run: these figures are those of an A100 in software, not of {}", device.name());
    }
    is
}

#[track_caller]
pub(crate) fn assert_within(
    got: &HostTensor,
    exact: &[f64],
    plain: &[f64],
    tolerance: Tolerance,
    what: &dyn std::fmt::Debug,
) {
    let agreement: OutputAgreement = compare(got, exact, plain, tolerance);
    assert!(agreement.passed(), "{what:?}: {agreement}");
}

/// Runs an operator's cases of `check`.
pub(crate) fn assert_checks(path: &str) {
    let _shared = shared();
    let op = verify::select(Some(path))[0];
    for case in op.check_cases.iter().filter(|case| !case.gpu_only || !queue().device().is_software()) {
        let row = op.check(queue(), case).unwrap_or_else(|error| panic!("{} {}: {error}", case.dtype, case.shape()));
        assert!(row.agreement.passed(), "{} {}: {}", case.dtype, case.shape(), row.agreement.report());
    }
}

/// Each instance that a plan may name is embedded, with its machine code free of spills.
pub(crate) fn assert_embedded(path: &str, instances: usize) {
    let op = verify::select(Some(path))[0];
    let launches = (op.launches)(&Limits::of_capability(8, 6));
    assert_eq!(launches.len(), instances);
    for launch in launches {
        let kernels = embedded::KERNELS.iter().filter(|kernel| kernel.op == path);
        let found: Vec<_> =
            kernels.flat_map(|kernel| kernel.instances).filter(|instance| instance.name == launch.instance).collect();
        assert_eq!(found.len(), 1, "{}", launch.instance);
        for code in found[0].architectures {
            assert_eq!([code.spill_bytes, code.local_bytes], [0; 2], "{} spills on sm_{}", launch.instance, code.sm);
        }
    }
}

pub(crate) fn get(counters: &Counters, name: &str) -> f64 {
    counters.get(name).unwrap_or_else(|| panic!("no counter {name}"))
}

/// `value` is at most `ceiling`; prints it.
#[track_caller]
pub(crate) fn assert_at_most(what: &str, value: f64, ceiling: f64) {
    eprintln!("{what}: {value:.3}");
    assert!(value <= ceiling, "{what}: {value:.3}, ceiling {ceiling}");
}
