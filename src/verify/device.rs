//! The device of a process.

use std::sync::OnceLock;

use crate::{Device, Queue, Result};

/// The environment variable that names the device: `auto`, `cuda:N` or `software[:sm_80|sm_89|sm_90]`.
pub const DEVICE_VARIABLE: &str = "LLM_KERNELS_DEVICE";

/// Opens the device that [`DEVICE_VARIABLE`] names; `auto` if it is unset or empty.
pub fn open_device() -> Result<Device> {
    let name = std::env::var(DEVICE_VARIABLE).unwrap_or_default();
    Device::open(if name.is_empty() { "auto" } else { &name })
}

static QUEUE: OnceLock<Result<Queue>> = OnceLock::new();

/// For tests: the default queue of the device that [`DEVICE_VARIABLE`] names, opened once in a process, with
/// [all checks](check_everything).
pub fn queue() -> Result<&'static Queue> {
    check_everything();
    bench_queue()
}

/// For benches: the same without the checks that cost time, unless they are on already.
pub fn bench_queue() -> Result<&'static Queue> {
    QUEUE.get_or_init(|| Ok(open_device()?.default_queue())).as_ref().map_err(Clone::clone)
}

/// Makes the software device check all that it can, unless `SOFTCUDA_CHECK` says otherwise: reads of bytes never written and
/// races, too. Comes before the device is opened; a GPU takes no notice.
pub fn check_everything() {
    #[cfg(feature = "software")]
    crate::software::check_everything();
}

/// Leaves to chance, the same for the same seed, in which order the software device runs the warps and blocks of the launches
/// to come; `None`: in one fixed order. Results must not depend on it. A GPU takes no notice.
pub fn shuffle_schedule(seed: Option<u64>) {
    #[cfg(feature = "software")]
    crate::software::shuffle(seed);
    #[cfg(not(feature = "software"))]
    let _ = seed;
}
