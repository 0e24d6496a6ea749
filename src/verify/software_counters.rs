//! What softcuda reports of its launches, added up.

use super::{Counters, Hot, HotLine, Modelled, Sample};
use softcuda::chip::{Architecture, Chip};
use softcuda::profile::{LaunchTime, LineCounters, Profile, by_source, hottest, set_profile};
use softcuda::program::Unit;
use std::collections::BTreeMap;

pub(super) fn forget() {
    softcuda::clear_launches();
}

/// Runs work, or a part of it, with everything measured.
pub(super) fn with_everything<T>(sample: Sample, work: impl FnOnce() -> T) -> T {
    with(Profile { sample: sample.blocks, copies: sample.copies, ..Profile::ALL }, work)
}

/// Runs work with nothing measured that costs time, unless the environment asks for it.
pub(super) fn unmeasured<T>(work: impl FnOnce() -> T) -> T {
    let asked = ["SOFTCUDA_PROFILE", "SOFTCUDA_REPORT"].iter().any(|name| std::env::var_os(name).is_some());
    if asked { work() } else { with(Profile::NONE, work) }
}

fn with<T>(profile: Profile, work: impl FnOnce() -> T) -> T {
    /// Puts back what was set, whatever happens.
    struct Restore(Option<Profile>);
    impl Drop for Restore {
        fn drop(&mut self) {
            set_profile(self.0);
        }
    }
    let _restore = Restore(set_profile(Some(profile)));
    work()
}

pub(super) fn counters() -> Counters {
    let launches = softcuda::launches();
    let counts = || launches.iter().map(|launch| &launch.counters);
    let pipe = |name| counts().filter_map(move |count| count.pipes.get(name));
    let sum = |values: &mut dyn Iterator<Item = u64>| values.sum::<u64>() as f64;
    let threads = |counted: &dyn Fn(&str) -> bool| {
        let all = counts().flat_map(|count| &count.instructions);
        all.filter(|(name, _)| counted(name)).map(|(_, count)| count.thread).collect::<Vec<_>>().into_iter()
    };
    let mut entries = vec![
        ("launches", launches.len() as f64),
        ("inst_executed", sum(&mut counts().map(|count| count.warp_instructions()))),
        ("thread_inst_executed", sum(&mut counts().map(|count| count.thread_instructions()))),
        ("thread_inst_predicated_off", sum(&mut counts().map(|count| count.predicated_off))),
        // What a thread computes, loads, stores and decides: compilers remove most moves and changes of address space.
        ("thread_inst_executed_but_moves", sum(&mut threads(&|name| !["mov", "cvta"].contains(&name)))),
        ("inst_executed_pipe_tensor", sum(&mut pipe("tensor").map(|count| count.warp))),
        ("tensor_multiply_adds", sum(&mut counts().map(|count| count.tensor_multiply_adds))),
        ("global_bytes", sum(&mut counts().map(|count| count.global_bytes()))),
        ("global_requested_bytes", sum(&mut counts().map(|count| count.global_requested_bytes()))),
        ("shared_wavefronts", sum(&mut counts().map(|count| count.shared_wavefronts()))),
        ("shared_ideal_wavefronts", sum(&mut counts().map(|count| count.shared_ideal_wavefronts()))),
        ("divergent_branches", sum(&mut counts().map(|count| count.divergent_branches))),
        ("barriers", sum(&mut counts().map(|count| count.barriers))),
    ];
    // Known if it is known of every launch.
    let memory: Option<Vec<_>> = counts().map(|count| count.memory).collect();
    if let Some(memory) = memory {
        let bytes = |sectors: u64| (softcuda::profile::memory::SECTOR_BYTES * sectors) as f64;
        entries.extend([
            ("dram_bytes", memory.iter().map(|traffic| traffic.bytes() as f64).sum()),
            ("dram_read_bytes", memory.iter().map(|traffic| bytes(traffic.read_sectors)).sum()),
            ("dram_write_bytes", memory.iter().map(|traffic| bytes(traffic.write_sectors)).sum()),
            ("dram_compulsory_bytes", memory.iter().map(|traffic| traffic.compulsory_bytes() as f64).sum()),
        ]);
    }
    Counters { entries }
}

/// Modelled time of all launches, no less than what `bytes_needed` bytes of device memory take.
pub(super) fn modelled(limits: &crate::Limits, bytes_needed: u64) -> Modelled {
    let launches = softcuda::launches();
    let chip = chip(limits);
    let (figures, cost) = (&chip.time, &chip.time.cost);
    let sum = |part: &dyn Fn(&LaunchTime) -> f64| launches.iter().map(|launch| part(&launch.time)).sum::<f64>();
    let launched = sum(&|time| time.seconds);
    let of_bytes = bytes_needed as f64 / figures.dram_bytes_per_second();
    let seconds = launched.max(of_bytes);
    let (mut bounds, mut stalls) = (BTreeMap::new(), BTreeMap::new());
    for launch in &launches {
        for bound in &launch.time.bounds {
            *bounds.entry(bound.part).or_insert(0.0) += bound.seconds / seconds;
        }
        for &(reason, part) in launch.time.replay.iter().flat_map(|replay| &replay.stalls) {
            *stalls.entry(reason).or_insert(0.0) += part * launch.time.seconds / launched;
        }
    }
    if of_bytes > 0.0 {
        let share = bounds.entry("dram").or_insert(0.0);
        *share = share.max(of_bytes / seconds);
    }
    let of_unit = |unit: Unit| (unit.name(), sum(&|time| time.machine_instructions[unit as usize]));
    let tensor = launches.iter().any(|launch| launch.counters.tensor_multiply_adds > 0);
    let per_clock = if tensor { figures.tensor_flops.f16 } else { 2.0 * figures.throughput.fma };
    Modelled {
        seconds,
        // Bound by device memory alone, the chip draws what it may.
        joules: if of_bytes > launched { seconds * cost.tdp_watts } else { sum(&LaunchTime::joules) },
        dollars: seconds * cost.dollars_per_hour / 3600.0,
        bounds: largest_first(bounds),
        stalls: largest_first(stalls),
        machine_instructions: Unit::ALL.into_iter().map(of_unit).collect(),
        peak_flops: per_clock * f64::from(chip.multiprocessors) * figures.clock_hz,
        peak_bytes: figures.memory.dram_bytes_per_second,
    }
}

/// The chip that is emulated.
fn chip(limits: &crate::Limits) -> &'static Chip {
    let (major, minor) = limits.compute_capability;
    let found = Architecture::ALL.into_iter().find(|architecture| architecture.number() == 10 * major + minor);
    found.unwrap_or(Architecture::Sm80).chip()
}

fn largest_first(parts: BTreeMap<&'static str, f64>) -> Vec<(&'static str, f64)> {
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by(|one, other| other.1.total_cmp(&one.1));
    parts
}

/// The hottest lines of all launches; launches of one kernel count together.
pub(super) fn hot(count: usize) -> Hot {
    let mut kernels: BTreeMap<String, BTreeMap<(u32, &'static str), LineCounters>> = BTreeMap::new();
    for launch in softcuda::launches() {
        let lines = kernels.entry(launch.kernel.clone()).or_default();
        for line in launch.lines.iter().flat_map(|lines| lines.iter()) {
            let sum = lines.entry((line.ptx_line, line.mnemonic));
            sum.and_modify(|sum| sum.add(line)).or_insert_with(|| line.clone());
        }
    }
    let mut hot = Hot::default();
    for (kernel, lines) in &kernels {
        let lines: Vec<LineCounters> = lines.values().cloned().collect();
        hot.ptx.extend(hottest(&lines, count).into_iter().map(|line| hot_line(kernel, line)));
        hot.source.extend(hottest(&by_source(&lines), count).into_iter().map(|line| hot_line(kernel, line)));
    }
    let all: u64 = kernels.values().flat_map(BTreeMap::values).map(LineCounters::cycles).sum();
    for lines in [&mut hot.ptx, &mut hot.source] {
        lines.sort_by(|one, other| other.share.total_cmp(&one.share));
        lines.truncate(count);
        lines.iter_mut().for_each(|line| line.share /= all.max(1) as f64);
    }
    hot
}

fn hot_line(kernel: &str, line: &LineCounters) -> HotLine {
    HotLine {
        kernel: kernel.to_owned(),
        ptx_line: line.ptx_line,
        source: line.source.clone(),
        mnemonic: line.mnemonic,
        share: line.cycles() as f64,
        warp_instructions: line.instructions.warp,
        sectors: line.global.sectors,
        wavefronts: line.shared.wavefronts,
        conflicts: line.conflicts(),
    }
}
