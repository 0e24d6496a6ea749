//! Cases, and the rows that checking and measuring them gives.

use std::time::Duration;

use super::{Agreement, Counters, Hot, Modelled};
use crate::{DType, Error, Queue, Resources, Result};

/// A problem to check or measure, as data.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is: a model's layer, or what is special about it.
    pub name: &'static str,
    /// Element type.
    pub dtype: DType,
    /// Sizes by the description's dimension names.
    pub sizes: &'static [(&'static str, usize)],
    /// Options, by name and text.
    pub options: &'static [(&'static str, &'static str)],
    /// Inputs that may be left out and are made up for this case: name, and what it holds, as the operator has it.
    pub extras: &'static [(&'static str, &'static str)],
    /// Whether it is too much for the software device.
    pub gpu_only: bool,
}

impl Case {
    /// The size of a dimension; an error if the case has none.
    pub(crate) fn size(&self, op: &'static str, dimension: &str) -> Result<usize> {
        let found = self.sizes.iter().find(|(name, _)| *name == dimension);
        let missing = || Error::Binding { op, problem: format!("case {:?} has no {dimension}", self.name) };
        found.map(|&(_, size)| size).ok_or_else(missing)
    }

    /// Tokens that the case computes: sequences times queries of each. `None`: it has no such sizes.
    pub fn tokens(&self) -> Option<f64> {
        let size = |name: &str| self.sizes.iter().find(|(known, _)| *known == name).map(|&(_, size)| size as f64);
        size("tokens").or_else(|| Some(size("b")? * size("s_q")?))
    }

    /// Sizes, options and extra inputs in words: `b=1 s_q=128 ... causal=true sinks=normal`.
    pub fn shape(&self) -> String {
        let sizes = self.sizes.iter().map(|(name, size)| format!("{name}={size}"));
        let options = self.options.iter().chain(self.extras).map(|(name, value)| format!("{name}={value}"));
        sizes.chain(options).collect::<Vec<_>>().join(" ")
    }
}

/// The result of checking a case.
#[derive(Clone, Debug)]
pub struct CheckRow {
    /// The operator.
    pub op: &'static str,
    /// The case.
    pub case: Case,
    /// How the outputs agree with the reference.
    pub agreement: Agreement,
    /// Counters of the software device.
    pub counters: Option<Counters>,
}

/// The result of measuring a case. A row may be shown only if it agrees.
#[derive(Clone, Debug)]
pub struct BenchRow {
    /// The operator.
    pub op: &'static str,
    /// The case.
    pub case: Case,
    /// How the outputs agree with the reference.
    pub agreement: Agreement,
    /// Costs; the time is measured on a GPU, and modelled on the software device.
    pub resources: Resources,
    /// Counters of the software device.
    pub counters: Option<Counters>,
    /// What the software device's time model says; the time of `resources` is from it, then.
    pub modelled: Option<Modelled>,
    /// The hottest lines of the software device, if they were asked for.
    pub hot: Hot,
}

/// Seconds of one launch on a GPU: the median of several timings between events, after warming up. `None` on the
/// software device, whose wall time says nothing about a GPU.
pub fn seconds(queue: &Queue, mut launch: impl FnMut() -> Result<()>) -> Result<Option<f64>> {
    if queue.device().is_software() {
        return Ok(None);
    }
    let error = |error| Error::driver("timing", error);
    let flags = cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
    let mut timed = |launches: usize| {
        let start = queue.stream().record_event(Some(flags)).map_err(error)?;
        for _ in 0..launches {
            launch()?;
        }
        let end = queue.stream().record_event(Some(flags)).map_err(error)?;
        // Waits for the end.
        let milliseconds = start.elapsed_ms(&end).map_err(error)?;
        Ok(f64::from(milliseconds) * 1e-3 / launches as f64)
    };
    timed(3)?;
    // Long enough for the events' resolution, short enough for many samples.
    let once = timed(1)?.max(1e-7);
    let launches = (Duration::from_millis(5).as_secs_f64() / once).clamp(1.0, 1000.0) as usize;
    let mut samples = (0..15).map(|_| timed(launches)).collect::<Result<Vec<f64>>>()?;
    samples.sort_by(f64::total_cmp);
    Ok(Some(samples[samples.len() / 2]))
}
