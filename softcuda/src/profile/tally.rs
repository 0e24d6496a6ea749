//! What a launch has done, record by record of its kernel: counters, lines and modelled time are made from it.

use super::{Counters, GlobalAccess, InstructionCount, SharedAccess};
use crate::program::Kernel;
use crate::program::op::Code;

/// Accesses of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpTraffic {
    /// To device memory.
    pub global: GlobalAccess,
    /// To shared memory.
    pub shared: SharedAccess,
}

/// Counts by record and by basic block of a kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// (warp, thread) passes through every basic block.
    pub passes: Vec<(u64, u64)>,
    /// Accesses of every record.
    pub traffic: Vec<OpTraffic>,
    /// Threads that the guard at a record kept from the instruction behind it.
    pub predicated_off: Vec<u64>,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new(kernel: &Kernel) -> Tally {
        Tally {
            passes: vec![(0, 0); kernel.blocks.len()],
            traffic: vec![OpTraffic::default(); kernel.ops.len()],
            predicated_off: vec![0; kernel.ops.len()],
        }
    }

    /// Adds another part of the same launch.
    pub(crate) fn merge(&mut self, other: &Tally) {
        for (sum, part) in self.passes.iter_mut().zip(&other.passes) {
            *sum = (sum.0 + part.0, sum.1 + part.1);
        }
        for (sum, part) in self.traffic.iter_mut().zip(&other.traffic) {
            sum.global.add(part.global);
            sum.shared.add(part.shared);
        }
        for (sum, part) in self.predicated_off.iter_mut().zip(&other.predicated_off) {
            *sum += part;
        }
    }

    /// Adds what it holds to a launch's counters.
    pub(crate) fn add_to(&self, counters: &mut Counters, kernel: &Kernel) {
        for (block, &(warp, thread)) in kernel.blocks.iter().zip(&self.passes) {
            for &(mnemonic, count) in &block.mix {
                let (name, pipe) = kernel.mnemonics[mnemonic as usize];
                let count = u64::from(count);
                counters.add_instructions(name, pipe, InstructionCount { warp: warp * count, thread: thread * count });
            }
        }
        for (op, traffic) in kernel.ops.iter().zip(&self.traffic) {
            if *traffic == OpTraffic::default() {
                continue;
            }
            let (global, shared) = match op.code {
                Code::StGlobal | Code::StGlobal32 | Code::StShared | Code::StShared32 | Code::StGeneric => {
                    (&mut counters.global_stores, &mut counters.shared_stores)
                }
                Code::CpAsync => (&mut counters.async_copies, &mut counters.async_stores),
                Code::Atom => (&mut counters.global_atomics, &mut counters.shared_atomics),
                Code::Ldmatrix => (&mut counters.global_loads, &mut counters.matrix_loads),
                _ => (&mut counters.global_loads, &mut counters.shared_loads),
            };
            global.add(traffic.global);
            shared.add(traffic.shared);
        }
        counters.predicated_off += self.predicated_off.iter().sum::<u64>();
    }
}
