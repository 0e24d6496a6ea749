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
pub mod random;
mod rows;
pub mod tolerance;

pub use bindings::{Bindings, Value};
pub use compare::{Agreement, Mismatch, OutputAgreement, compare};
pub use counters::{Counters, counted};
pub use describe::{Description, OptionSpec, OptionType, TensorSpec};
pub use device::{DEVICE_VARIABLE, open_device, queue};
pub use host::{DeviceTensor, HostTensor};
pub use rows::{BenchRow, Case, CheckRow, seconds};

use crate::{LaunchPlan, Limits, Queue, Result};

/// An operator, as the command line, tests and benches see it.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// Family and name: `attention/flash_forward`.
    pub path: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Tensors and options.
    pub description: Description,
    /// What `check` goes through: small, wide in variety.
    pub check_cases: &'static [Case],
    /// What `bench` goes through: shapes of named models.
    pub bench_cases: &'static [Case],
    /// Runs a case on made-up input and compares with the reference.
    pub check: fn(&Queue, &Case) -> Result<CheckRow>,
    /// Runs a case, compares with the reference, and measures.
    pub bench: fn(&Queue, &Case) -> Result<BenchRow>,
    /// Runs on given input; the outputs in the order of the description.
    pub run: fn(&Queue, &Bindings) -> Result<Vec<HostTensor>>,
    /// Runs on given input, and compares every row of the outputs with the reference, computed on the host.
    pub run_and_compare: fn(&Queue, &Bindings) -> Result<Compared>,
    /// How each instance that fits the chip is launched, one block of it: for reports on occupancy.
    pub launches: fn(&Limits) -> Vec<LaunchPlan>,
}

/// Outputs, and how they agree with the reference.
#[derive(Clone, Debug)]
pub struct Compared {
    /// In the order of the description.
    pub outputs: Vec<HostTensor>,
    /// One entry for each.
    pub agreement: Agreement,
}

/// Every operator of every family.
pub fn ops() -> impl Iterator<Item = &'static Op> {
    [crate::attention::OPS].into_iter().flatten()
}

/// The operators that a name selects: all for none, a family's for `attention`, one for `attention/flash_forward`.
/// Empty if the name is unknown.
pub fn select(name: Option<&str>) -> Vec<&'static Op> {
    let selected = |op: &&Op| match name {
        None => true,
        Some(name) => {
            op.path == name
                || op
                    .path
                    .split_once('/')
                    .is_some_and(|(family, _)| family == name)
        }
    };
    ops().filter(selected).collect()
}
