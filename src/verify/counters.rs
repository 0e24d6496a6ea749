//! Counters of the software device: deterministic, so that tests can assert them.

#[cfg(feature = "software")]
use super::software_counters as device;
use super::{Hot, Modelled};
use crate::{Queue, Result};
use std::num::NonZero;

/// Counters by name, of one or more launches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Names, as Nsight Compute has them where it has, and values.
    pub entries: Vec<(&'static str, f64)>,
}

impl Counters {
    /// A counter by name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.entries.iter().find(|(entry, _)| *entry == name).map(|&(_, value)| value)
    }
}

/// What the software device says of work.
#[derive(Clone, Debug, Default)]
pub struct Profiled {
    /// Counters.
    pub counters: Counters,
    /// Modelled time.
    pub modelled: Modelled,
    /// The hottest lines.
    pub hot: Hot,
}

/// Runs work and reports what the software device counted in it; `None` on a GPU.
///
/// Launches by other threads in the meantime are counted too, and reports of earlier launches are forgotten.
pub fn counted<T>(queue: &Queue, work: impl FnOnce() -> Result<T>) -> Result<(T, Option<Counters>)> {
    if queue.device().is_software() {
        device::forget();
    }
    let result = work()?;
    queue.synchronize()?;
    let counters = queue.device().is_software().then(device::counters);
    Ok((result, counters))
}

/// The same with modelled time and the hottest `lines` lines, which takes longer.
pub fn profiled<T>(queue: &Queue, lines: usize, work: impl FnOnce() -> Result<T>) -> Result<(T, Option<Profiled>)> {
    if !queue.device().is_software() {
        return Ok((work()?, None));
    }
    device::forget();
    let result =
        device::with_everything(Sample::ALL, || work().and_then(|result| queue.synchronize().map(|()| result)))?;
    let modelled = device::modelled(queue.device().limits(), 0);
    Ok((result, Some(Profiled { counters: device::counters(), modelled, hot: device::hot(lines) })))
}

/// Runs work that is not to be measured: of the software device's counters those alone that cost nothing, unless
/// `SOFTCUDA_PROFILE` or `SOFTCUDA_REPORT` asks for more.
pub fn unmeasured<T>(work: impl FnOnce() -> T) -> T {
    device::unmeasured(work)
}

/// What of work runs, where only its modelled time is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// So many blocks of each launch, and results are **incomplete**; `None`: all.
    pub blocks: Option<NonZero<u32>>,
    /// The time is that of so many times the work, side by side in the same launches: more batches, or more heads.
    pub copies: NonZero<u32>,
    /// Bytes of device memory that the work needs at least, over all copies; 0: unknown. Blocks of a sample do not show what
    /// they share, so that their traffic is not followed: these bytes then stand for it.
    pub bytes_needed: u64,
}

impl Sample {
    /// Everything, once.
    pub const ALL: Sample = Sample { blocks: None, copies: NonZero::<u32>::MIN, bytes_needed: 0 };
}

/// Modelled time of work of which only a part runs. `None` on a GPU.
pub fn modelled_sample(queue: &Queue, sample: Sample, work: impl FnOnce() -> Result<()>) -> Result<Option<Modelled>> {
    if !queue.device().is_software() {
        return Ok(None);
    }
    device::forget();
    device::with_everything(sample, || work().and_then(|()| queue.synchronize()))?;
    Ok(Some(device::modelled(queue.device().limits(), sample.bytes_needed)))
}

#[cfg(not(feature = "software"))]
mod device {
    use super::{Counters, Hot, Modelled};

    pub(super) fn forget() {}
    pub(super) fn counters() -> Counters {
        Counters::default()
    }
    pub(super) fn modelled(_limits: &crate::Limits, _bytes_needed: u64) -> Modelled {
        Modelled::default()
    }
    pub(super) fn hot(_lines: usize) -> Hot {
        Hot::default()
    }
    pub(super) fn unmeasured<T>(work: impl FnOnce() -> T) -> T {
        work()
    }
    pub(super) fn with_everything<T>(_sample: super::Sample, work: impl FnOnce() -> T) -> T {
        work()
    }
}
