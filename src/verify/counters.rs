//! Counters of the software device: deterministic, so that tests can assert them.

use crate::{Queue, Result};

/// Counters by name, of one or more launches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Names, as Nsight Compute has them where it has, and values.
    pub entries: Vec<(&'static str, f64)>,
}

impl Counters {
    /// A counter by name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.entries
            .iter()
            .find(|(entry, _)| *entry == name)
            .map(|&(_, value)| value)
    }
}

/// Runs work and reports what the software device counted in it; `None` on a GPU.
///
/// Launches by other threads in the meantime are counted too.
pub fn counted<T>(
    queue: &Queue,
    work: impl FnOnce() -> Result<T>,
) -> Result<(T, Option<Counters>)> {
    let result = work()?;
    queue.synchronize()?;
    Ok((result, None))
}
