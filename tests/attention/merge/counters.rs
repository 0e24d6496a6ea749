//! Figures of the software device: deterministic, with fixed ceilings.

use super::*;
use crate::get;
use llm_kernels::attention::merge::plan;
use llm_kernels::verify::Counters;

fn count(parts: &Parts) -> Option<Counters> {
    let _alone = LAUNCHES.write().unwrap_or_else(PoisonError::into_inner);
    let Shape { n, b, s_q, h_q, .. } = parts.problem.shape;
    let [all, one] = parts.layouts();
    let parts_out = upload(parts.problem.part_dtype, &parts.out, all).unwrap();
    let parts_lse = upload(F32, &parts.lse, Layout::contiguous(&[n, b, h_q, s_q]).unwrap()).unwrap();
    let mut out = DeviceTensor::poisoned(queue(), parts.problem.dtype, one).unwrap();
    let mut lse = DeviceTensor::poisoned(queue(), F32, Layout::contiguous(&[b, h_q, s_q]).unwrap()).unwrap();
    let (parts_out, parts_lse) = (parts_out.view().unwrap(), parts_lse.view().unwrap());
    let (out, lse) = (out.view_mut().unwrap(), Some(lse.view_mut().unwrap()));
    crate::count(|| merge(queue(), Args { parts_out, parts_lse, out, lse }))
}

/// Types, and rows of whole sectors.
fn aligned() -> [Parts; 3] {
    [(F16, F16, 64), (F32, BF16, 128), (F32, F32, 256)].map(|(part, out, d)| Parts::new(part, out, [5, 2, 64, 3, d]))
}

#[test]
fn every_byte_is_moved_once() {
    for parts in aligned() {
        let Some(counters) = count(&parts) else {
            return;
        };
        let needed = plan(&parts.problem, queue().device().limits()).unwrap().resources.bytes_needed.unwrap();
        for name in ["global_bytes", "global_requested_bytes"] {
            assert_eq!(get(&counters, name), needed, "{name} of {:?}", parts.problem);
        }
    }
}

#[test]
fn empty_parts_are_not_read() {
    let mut parts = Parts::new(F16, F16, [2, 1, 64, 2, 128]);
    let Some(before) = count(&parts) else {
        return;
    };
    parts.lse[..128].fill(f64::NEG_INFINITY);
    let after = count(&parts).unwrap();
    assert_eq!(get(&before, "global_bytes") - get(&after, "global_bytes"), 128.0 * 256.0);
}

#[test]
fn shared_memory_has_no_bank_conflicts() {
    for parts in aligned() {
        let Some(counters) = count(&parts) else {
            return;
        };
        let (taken, ideal) = (get(&counters, "shared_wavefronts"), get(&counters, "shared_ideal_wavefronts"));
        assert!(ideal > 0.0 && taken <= 1.01 * ideal, "{:?}: {taken} for {ideal}", parts.problem);
    }
}

#[test]
fn instructions_for_each_loaded_line_stay_below_their_ceiling() {
    for (parts, ceiling) in aligned().iter().zip([65.0, 48.0, 43.0]) {
        let Some(counters) = count(parts) else {
            return;
        };
        // A warp loads 512 bytes at a time.
        let ratio = get(&counters, "inst_executed") / (get(&counters, "global_bytes") / 512.0);
        assert!(ratio <= ceiling, "{:?}: {ratio} warp instructions for 512 bytes", parts.problem);
    }
}
