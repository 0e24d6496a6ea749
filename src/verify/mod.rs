//! What tests, benches and the command line share: descriptions of operators, cases, tolerances, comparison.
//!
//! [`ops`] lists every operator there is. An [`Op`] describes its tensors and options once; from that description the
//! command line prints help and [`Bindings`] validates input, for every operator alike.

mod bindings;
mod compare;
mod counters;
mod describe;
mod device;
mod host;
mod modelled;
mod op;
pub mod random;
mod rows;
#[cfg(feature = "software")]
mod software_counters;
pub mod tolerance;

pub use bindings::{Bindings, Value};
pub use compare::{Agreement, Mismatch, OutputAgreement, compare, compare_rows};
pub use counters::{Counters, Profiled, Sample, counted, modelled_sample, profiled, unmeasured};
pub use describe::{Description, OptionSpec, OptionType, TensorSpec};
pub use device::{DEVICE_VARIABLE, bench_queue, check_everything, open_device, queue, shuffle_schedule};
pub use host::{DeviceTensor, HostTensor};
pub use modelled::{Hot, HotLine, Modelled};
pub use op::{Compared, Op, Prepared};
pub use rows::{BenchRow, Case, CheckRow, seconds};

/// Every operator of every family.
pub fn ops() -> impl Iterator<Item = &'static Op> {
    [crate::attention::OPS, crate::fused::OPS, crate::quant::OPS, crate::scan::OPS, crate::sparse::OPS]
        .into_iter()
        .flatten()
}

/// The operators that a name selects: all for none, a family's for `attention`, one for `attention/flash_forward`.
/// Empty if the name is unknown.
pub fn select(name: Option<&str>) -> Vec<&'static Op> {
    let selected = |op: &&Op| match name {
        None => true,
        Some(name) => op.path == name || op.path.split_once('/').is_some_and(|(family, _)| family == name),
    };
    ops().filter(selected).collect()
}
