//! Whether warps run in lock-step or one after the other changes neither memory nor counters.

use crate::workloads::{self, Workload};
use softcuda::exec::mma::HostLevel;
use softcuda::profile::Counters;

fn outcome(workload: &mut Workload, lock_step: bool) -> (Vec<u32>, Counters) {
    workload.config().lock_step = lock_step;
    let counters = workload.verify();
    (workload.output(), counters)
}

#[test]
fn lock_step_gives_the_results_and_counters_of_warps_one_by_one() {
    for mut workload in workloads::all() {
        workload.config().threads = 1;
        let alone = outcome(&mut workload, false);
        let together = outcome(&mut workload, true);
        assert!(alone.0 == together.0, "{}: memory", workload.name);
        assert_eq!(alone.1, together.1, "{}: counters", workload.name);
        workload.config().host_level = Some(HostLevel::Plain);
        let plain = outcome(&mut workload, true);
        assert!(alone.0 == plain.0, "{}: memory on plain code", workload.name);
        assert_eq!(alone.1, plain.1, "{}: counters on plain code", workload.name);
    }
}
