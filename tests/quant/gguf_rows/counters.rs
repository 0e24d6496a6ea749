//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::{count, get};
use llm_kernels::quant::gguf_rows::plan;
use llm_kernels::verify::Counters;

fn counters(rows: &Rows) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let mut tensors = rows.tensors(rows.layout()).unwrap();
    count(|| tensors.launch(&rows.problem))
}

#[test]
fn every_byte_is_moved_about_once() {
    for format in Format::ALL {
        let rows = Rows::all(format, 64, 4096).with_type(F16);
        let Some(counters) = counters(&rows) else {
            return;
        };
        let needed = plan(&rows.problem).unwrap().resources.bytes_needed.unwrap();
        let moved = get(&counters, "global_bytes");
        assert!(moved <= 1.02 * needed, "{format}: {moved} bytes for {needed}");
        let requested = get(&counters, "global_requested_bytes");
        assert!(requested >= 0.95 * moved, "{format}: {requested} of {moved} bytes asked for");
    }
}

#[test]
fn instructions_for_each_weight_stay_below_their_ceiling() {
    for format in Format::ALL {
        let rows = Rows::all(format, 64, 4096).with_type(F16);
        let Some(counters) = counters(&rows) else {
            return;
        };
        let ratio = get(&counters, "thread_inst_executed_but_moves") / (64.0 * 4096.0);
        assert!(ratio <= 39.0, "{format}: {ratio} instructions for a weight");
    }
}
