//! What each instruction of a kernel costs a chip: units, cycles, latency.

use crate::chip::{SUB_CORES, TimeFigures, WARP_SIZE};
use crate::exec::mma::{Element, Form};
use crate::program::op::{BarrierKind, Code};
use crate::program::{Kernel, Site, Unit};

/// What an instruction is to the replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Registers to registers.
    Arithmetic,
    /// A load: what it is from, its cost says.
    Load,
    /// A store, or an atomic without a result.
    Store,
    /// `cp.async`.
    Copy,
    Commit,
    /// Waits until so many groups of copies are left; `u32::MAX`: none at all, committed or not.
    Wait(u32),
    Barrier,
    /// A jump, call or return.
    Branch,
}

/// An instruction's cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) kind: Kind,
    /// Machine instructions: issue slots.
    pub(super) issues: u32,
    /// Cycles of each unit of a sub-core, in the order of [`Unit::ALL`]; the memory pipe's are found out by each access.
    pub(super) busy: [f32; 9],
    /// The unit that decides when it can be issued.
    pub(super) unit: Unit,
    /// Cycles from issue to use.
    pub(super) latency: f32,
}

/// Dense FLOP of a form a clock and multiprocessor.
pub(super) fn tensor_rate(figures: &TimeFigures, form: &Form) -> f64 {
    let flops = &figures.tensor_flops;
    let rate = match form.a {
        Element::F16 | Element::Bf16 => flops.f16,
        Element::Tf32 => flops.tf32,
        Element::E4m3 | Element::E5m2 => flops.f8,
        Element::S8 | Element::U8 => flops.i8,
        Element::S4 | Element::U4 => flops.i4,
        Element::B1 => flops.b1,
        Element::F64 => flops.f64,
    };
    let rate = if rate > 0.0 { rate } else { flops.f16 };
    // Zeros of a sparse operand cost nothing.
    if form.is_sparse() { 2.0 * rate } else { rate }
}

/// Tensor-core cycles of a multiprocessor for one execution of an instruction by a warp.
pub(super) fn tensor_cycles(figures: &TimeFigures, kernel: &Kernel, site: &Site) -> f64 {
    let ops = &kernel.ops[site.ops.start as usize..site.ops.end as usize];
    let multiplies = ops.iter().filter(|op| op.code == Code::Mma).map(|op| &kernel.tables.multiplies[op.aux as usize]);
    let cycles = multiplies.map(|multiply| {
        let rate = tensor_rate(figures, &kernel.tables.forms[multiply.form as usize]);
        2.0 * f64::from(multiply.multiply_adds) / rate
    });
    cycles.sum()
}

/// Cycles of a multiprocessor for one instruction of a warp on a unit; 0 for units that others account for.
pub(super) fn unit_cycles(figures: &TimeFigures, unit: Unit) -> f64 {
    let rate = &figures.throughput;
    let results = match unit {
        Unit::Fma => rate.fma,
        Unit::Imad => rate.imad,
        Unit::Half => rate.half,
        Unit::Alu => rate.alu,
        Unit::Xu => rate.xu,
        Unit::Fp64 => rate.fp64,
        Unit::Lsu | Unit::Tensor | Unit::Control => return 0.0,
    };
    f64::from(WARP_SIZE) / results
}

/// The costs of all instructions of a kernel.
pub(super) fn costs(figures: &TimeFigures, kernel: &Kernel) -> Vec<Cost> {
    kernel.sites.iter().map(|site| cost(figures, kernel, site)).collect()
}

fn cost(figures: &TimeFigures, kernel: &Kernel, site: &Site) -> Cost {
    let sub_cores = f64::from(SUB_CORES);
    let mut busy = [0.0; 9];
    let mut latency: f64 = 0.0;
    let mut issues = 0;
    for unit in Unit::ALL {
        let count = site.work[unit as usize];
        if count == 0 {
            continue;
        }
        issues += u32::from(count);
        // A unit is split evenly among the sub-cores.
        let cycles = match unit {
            Unit::Tensor => sub_cores * tensor_cycles(figures, kernel, site),
            _ => sub_cores * unit_cycles(figures, unit) * f64::from(count),
        };
        busy[unit as usize] = cycles as f32;
        let own = match unit {
            Unit::Fma | Unit::Imad | Unit::Alu => figures.latency.alu,
            Unit::Half => figures.latency.half,
            Unit::Xu => figures.latency.xu,
            Unit::Fp64 => figures.latency.fp64,
            Unit::Lsu => figures.latency.shuffle,
            Unit::Tensor => figures.latency.tensor + cycles,
            Unit::Control => 0.0,
        };
        // A sequence is mostly a chain.
        latency += own + figures.latency.alu * f64::from(count - 1);
    }
    let unit = Unit::ALL.into_iter().max_by(|one, other| busy[*one as usize].total_cmp(&busy[*other as usize]));
    let memory = site.work[Unit::Lsu as usize] > 0;
    let unit = if memory { Unit::Lsu } else { unit.filter(|_| issues > 0).unwrap_or(Unit::Control) };
    Cost { kind: kind(kernel, site), issues, busy, unit, latency: latency as f32 }
}

fn kind(kernel: &Kernel, site: &Site) -> Kind {
    let ops = &kernel.ops[site.ops.start as usize..site.ops.end as usize];
    let mut kind = Kind::Arithmetic;
    for op in ops {
        let of = match op.code {
            Code::LdGlobal | Code::LdGlobal32 | Code::LdShared | Code::LdShared32 | Code::LdGeneric | Code::LdLocal => {
                Kind::Load
            }
            Code::Ldmatrix => Kind::Load,
            Code::Atom if kernel.tables.atomics[op.aux as usize].returns => Kind::Load,
            Code::StGlobal | Code::StGlobal32 | Code::StShared | Code::StShared32 | Code::StGeneric | Code::StLocal => {
                Kind::Store
            }
            Code::Atom => Kind::Store,
            Code::CpAsync => Kind::Copy,
            Code::CpAsyncCommit => Kind::Commit,
            Code::CpAsyncWait => Kind::Wait(op.imm as u32),
            Code::CpAsyncWaitAll => Kind::Wait(u32::MAX),
            Code::Barrier if kernel.tables.barriers[op.aux as usize].kind != BarrierKind::Arrive => Kind::Barrier,
            Code::Branch | Code::BranchIf | Code::Call | Code::Ret | Code::RetIf if kind == Kind::Arithmetic => {
                Kind::Branch
            }
            _ => continue,
        };
        kind = of;
    }
    kind
}
