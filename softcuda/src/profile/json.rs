//! Reports as JSON. The names are those of the fields.

use super::{Counters, GlobalAccess, InstructionCount, LaunchReport, SharedAccess};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A launch.
pub(super) fn launch(report: &LaunchReport) -> Value {
    json!({
        "kernel": report.kernel,
        "device": report.device,
        "grid": report.grid,
        "block": report.block,
        "dynamic_shared_bytes": report.dynamic_shared_bytes,
        "registers": report.registers,
        "counters": counters(&report.counters),
    })
}

fn counters(counters: &Counters) -> Value {
    json!({
        "blocks": counters.blocks,
        "warps": counters.warps,
        "inst_executed": counters.warp_instructions(),
        "thread_inst_executed": counters.thread_instructions(),
        "instructions": instructions(&counters.instructions),
        "pipes": instructions(&counters.pipes),
        "global_loads": global(&counters.global_loads),
        "global_stores": global(&counters.global_stores),
        "async_copies": global(&counters.async_copies),
        "global_atomics": global(&counters.global_atomics),
        "global_bytes": counters.global_bytes(),
        "shared_loads": shared(&counters.shared_loads),
        "shared_stores": shared(&counters.shared_stores),
        "matrix_loads": shared(&counters.matrix_loads),
        "async_stores": shared(&counters.async_stores),
        "shared_atomics": shared(&counters.shared_atomics),
        "tensor_multiply_adds": counters.tensor_multiply_adds,
        "divergent_branches": counters.divergent_branches,
        "barriers": counters.barriers,
    })
}

fn instructions(counts: &BTreeMap<&'static str, InstructionCount>) -> Value {
    let entry = |(&name, count): (&&'static str, &InstructionCount)| {
        (name.to_owned(), json!({ "warp": count.warp, "thread": count.thread }))
    };
    Value::Object(counts.iter().map(entry).collect::<Map<_, _>>())
}

fn global(access: &GlobalAccess) -> Value {
    json!({ "requests": access.requests, "sectors": access.sectors, "bytes": access.bytes })
}

fn shared(access: &SharedAccess) -> Value {
    json!({ "requests": access.requests, "wavefronts": access.wavefronts, "ideal_wavefronts": access.ideal_wavefronts })
}
