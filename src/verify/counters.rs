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
        self.entries.iter().find(|(entry, _)| *entry == name).map(|&(_, value)| value)
    }
}

/// Runs work and reports what the software device counted in it; `None` on a GPU.
///
/// Launches by other threads in the meantime are counted too, and reports of earlier launches are forgotten.
pub fn counted<T>(queue: &Queue, work: impl FnOnce() -> Result<T>) -> Result<(T, Option<Counters>)> {
    if queue.device().is_software() {
        forget();
    }
    let result = work()?;
    queue.synchronize()?;
    let counters = queue.device().is_software().then(collect);
    Ok((result, counters))
}

#[cfg(not(feature = "software"))]
fn forget() {}

#[cfg(not(feature = "software"))]
fn collect() -> Counters {
    Counters::default()
}

#[cfg(feature = "software")]
fn forget() {
    softcuda::clear_launches();
}

#[cfg(feature = "software")]
fn collect() -> Counters {
    let launches = softcuda::launches();
    let counts = || launches.iter().map(|launch| &launch.counters);
    let pipe = |name| counts().filter_map(move |count| count.pipes.get(name));
    let sum = |values: &mut dyn Iterator<Item = u64>| values.sum::<u64>() as f64;
    let threads = |counted: &dyn Fn(&str) -> bool| {
        let all = counts().flat_map(|count| &count.instructions);
        all.filter(|(name, _)| counted(name)).map(|(_, count)| count.thread).collect::<Vec<_>>().into_iter()
    };
    let entries = vec![
        ("launches", launches.len() as f64),
        ("inst_executed", sum(&mut counts().map(|count| count.warp_instructions()))),
        ("thread_inst_executed", sum(&mut counts().map(|count| count.thread_instructions()))),
        // What a thread computes, loads, stores and decides: compilers remove most moves and changes of address space.
        ("thread_inst_executed_but_moves", sum(&mut threads(&|name| !["mov", "cvta"].contains(&name)))),
        ("inst_executed_pipe_tensor", sum(&mut pipe("tensor").map(|count| count.warp))),
        ("tensor_multiply_adds", sum(&mut counts().map(|count| count.tensor_multiply_adds))),
        ("global_bytes", sum(&mut counts().map(|count| count.global_bytes()))),
        ("global_requested_bytes", sum(&mut counts().map(|count| count.global_requested_bytes()))),
        ("shared_wavefronts", sum(&mut counts().map(|count| count.shared_wavefronts()))),
        ("shared_ideal_wavefronts", sum(&mut counts().map(|count| count.shared_ideal_wavefronts()))),
        ("divergent_branches", sum(&mut counts().map(|count| count.divergent_branches))),
    ];
    Counters { entries }
}
