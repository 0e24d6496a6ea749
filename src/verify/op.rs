//! What every operator is to the command line, tests and benches.

use super::{
    Agreement, BenchRow, Bindings, Case, CheckRow, Description, HostTensor, Hot, Profiled, counted, profiled, random,
    seconds,
};
use crate::{LaunchPlan, Limits, Queue, Resources, Result};

/// An operator.
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
    /// Makes up the input of a case: [`Op::normal_inputs`], or what else the operator needs.
    pub make_inputs: fn(&Op, &Case) -> Result<Vec<HostTensor>>,
    /// Puts input on the device.
    pub prepare: fn(&Queue, &Bindings) -> Result<Box<dyn Prepared>>,
    /// How each instance that fits the chip is launched, one block of it: for reports on occupancy.
    pub launches: fn(&Limits) -> Vec<LaunchPlan>,
}

/// An operator with its input on the device.
pub trait Prepared {
    /// Launches it, once.
    fn launch(&mut self, queue: &Queue) -> Result<()>;

    /// Copies the outputs back, in the order of the description.
    fn outputs(&self, queue: &Queue) -> Result<Vec<HostTensor>>;

    /// Compares the outputs with the references: whole, or, where the references would take longer than about
    /// `budget` multiply-adds, rows spread evenly.
    fn agreement(&self, queue: &Queue, budget: usize) -> Result<Agreement>;

    /// What a launch costs, as far as it can be told from the problem.
    fn resources(&self, limits: &Limits) -> Result<Resources>;
}

/// Outputs, and how they agree with the reference.
#[derive(Clone, Debug)]
pub struct Compared {
    /// In the order of the description.
    pub outputs: Vec<HostTensor>,
    /// One entry for each.
    pub agreement: Agreement,
}

/// Multiply-adds that the references may compute for a row of a bench: a second or so.
const BENCH_BUDGET: usize = 1 << 28;

/// Lines that a row of a bench names as the hottest.
const HOT_LINES: usize = 10;

impl Op {
    /// Made-up input for a case.
    pub fn bindings(&self, case: &Case) -> Result<Bindings> {
        Bindings::new(self, (self.make_inputs)(self, case)?, case.options)
    }

    /// Numbers of the standard normal distribution for each input that must be there, of the sizes of a case. Optional
    /// inputs are left out.
    pub fn normal_inputs(&self, case: &Case) -> Result<Vec<HostTensor>> {
        let required = self.description.inputs.iter().zip(1..).filter(|(spec, _)| !spec.optional);
        let inputs = required.map(|(spec, seed)| {
            let sizes = spec.shape.iter().map(|dimension| case.size(self.path, dimension));
            let shape = sizes.collect::<Result<Vec<_>>>()?;
            let values = random::normal(seed, shape.iter().product());
            let dtype = if spec.dtypes.contains(&case.dtype) { case.dtype } else { spec.dtypes[0] };
            Ok(HostTensor::from_f64(spec.name, dtype, &shape, &values))
        });
        inputs.collect()
    }

    /// Runs a case on made-up input and compares with the reference.
    pub fn check(&self, queue: &Queue, case: &Case) -> Result<CheckRow> {
        let mut prepared = (self.prepare)(queue, &self.bindings(case)?)?;
        let ((), counters) = counted(queue, || prepared.launch(queue))?;
        let agreement = prepared.agreement(queue, usize::MAX)?;
        Ok(CheckRow { op: self.path, case: *case, agreement, counters })
    }

    /// Runs a case, compares with the reference, and measures if it agrees.
    ///
    /// On the software device the time is modelled, and the hottest lines are found.
    pub fn bench(&self, queue: &Queue, case: &Case) -> Result<BenchRow> {
        let mut prepared = (self.prepare)(queue, &self.bindings(case)?)?;
        let ((), profiled) = profiled(queue, HOT_LINES, || prepared.launch(queue))?;
        let agreement = prepared.agreement(queue, BENCH_BUDGET)?;
        let mut resources = prepared.resources(queue.device().limits())?;
        let (mut counters, mut modelled, mut hot) = (None, None, Hot::default());
        if let Some(profiled) = profiled {
            let Profiled { counters: found, modelled: time, hot: lines } = profiled;
            resources.seconds = Some(time.seconds);
            resources.joules = Some(time.joules);
            resources.dollars = Some(time.dollars);
            let least = |work: Option<f64>, rate: f64| work.map_or(0.0, |work| work / rate);
            let compute = least(resources.flops, time.peak_flops);
            resources.roofline_seconds = Some(compute.max(least(resources.bytes_needed, time.peak_bytes)));
            (counters, modelled, hot) = (Some(found), Some(time), lines);
        } else if agreement.passed() {
            resources.seconds = seconds(queue, || prepared.launch(queue))?;
        }
        Ok(BenchRow { op: self.path, case: *case, agreement, resources, counters, modelled, hot })
    }

    /// Runs on given input; the outputs in the order of the description.
    pub fn run(&self, queue: &Queue, bindings: &Bindings) -> Result<Vec<HostTensor>> {
        let mut prepared = (self.prepare)(queue, bindings)?;
        prepared.launch(queue)?;
        prepared.outputs(queue)
    }

    /// Runs on given input, and compares every row of the outputs with the reference, computed on the host.
    pub fn run_and_compare(&self, queue: &Queue, bindings: &Bindings) -> Result<Compared> {
        let mut prepared = (self.prepare)(queue, bindings)?;
        prepared.launch(queue)?;
        let outputs = prepared.outputs(queue)?;
        Ok(Compared { outputs, agreement: prepared.agreement(queue, usize::MAX)? })
    }
}
