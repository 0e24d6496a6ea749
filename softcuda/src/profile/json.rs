//! Reports as JSON. The names are those of the fields; `metrics` has those of Nsight Compute.

use super::{Counters, GlobalAccess, InstructionCount, LaunchReport, LaunchTime, LineCounters, SharedAccess};
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
        "modelled": time(&report.time),
        "counters": counters(&report.counters),
        "metrics": metrics(&report.counters),
        "lines": report.lines.as_ref().map(|lines| lines.iter().map(line).collect::<Vec<_>>()),
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
        "thread_inst_predicated_off": counters.predicated_off,
        "divergence_efficiency": counters.divergence_efficiency(),
        "predication_efficiency": counters.predication_efficiency(),
        "device_memory": counters.memory.map(|memory| json!({
            "bytes": memory.bytes(),
            "compulsory_bytes": memory.compulsory_bytes(),
            "read_sectors": memory.read_sectors,
            "write_sectors": memory.write_sectors,
            "compulsory_read_sectors": memory.compulsory_read_sectors,
            "compulsory_write_sectors": memory.compulsory_write_sectors,
        })),
    })
}

fn time(time: &LaunchTime) -> Value {
    let bounds = time.bounds.iter().map(|bound| (bound.part.to_owned(), json!(bound.seconds)));
    json!({
        "seconds": time.seconds,
        "launch_seconds": time.launch_seconds,
        "bounds": Value::Object(bounds.collect()),
        "resident_blocks": time.resident_blocks,
        "waves": time.waves,
        "joules": time.joules(),
        "dollars": time.dollars(),
        "replay": time.replay.as_ref().map(|replay| json!({
            "cycles": replay.cycles,
            "blocks": replay.blocks,
            "resident_blocks": replay.resident,
            "issue_active": replay.issue_active,
            "selected": replay.selected,
            "stalls": Value::Object(replay.stalls.iter().map(|(why, part)| ((*why).to_owned(), json!(part))).collect()),
        })),
    })
}

fn metrics(counters: &Counters) -> Value {
    let number = |value: f64| if value.fract() == 0.0 { json!(value as u64) } else { json!(value) };
    Value::Object(counters.metrics().into_iter().map(|(name, value)| (name.to_owned(), number(value))).collect())
}

fn line(line: &LineCounters) -> Value {
    json!({
        "ptx_line": line.ptx_line,
        "source": line.source,
        "mnemonic": line.mnemonic,
        "warp": line.instructions.warp,
        "thread": line.instructions.thread,
        "predicated_off": line.predicated_off,
        "global": global(&line.global),
        "shared": shared(&line.shared),
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
