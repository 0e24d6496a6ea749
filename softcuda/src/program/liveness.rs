//! Register slots by liveness: PTX is in SSA form with thousands of virtual registers of which few live at once.

use super::flow::Flow;
use crate::ptx::ast::{Base, Body, Instruction, Operand, RegisterId, Type};
use crate::ptx::isa::Opcode;

/// Which file a register belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A mask in the predicate file.
    Predicate,
    /// One slot.
    Word,
    /// Two slots.
    Double,
    /// Four slots.
    Quad,
}

/// The file that a declared type belongs to; `None` for types that no slot can hold.
pub(crate) fn kind(ty: Type) -> Option<Kind> {
    match ty {
        Type::Pred => Some(Kind::Predicate),
        Type::B64 | Type::U64 | Type::S64 | Type::F64 => Some(Kind::Double),
        Type::B128 => Some(Kind::Quad),
        _ => Some(Kind::Word),
    }
}

/// Slots of the virtual registers, counted from 0 in each file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allocation {
    /// By [`RegisterId`]: index into the predicate file, or first slot.
    pub(crate) slots: Vec<u32>,
    /// Slots used.
    pub(crate) slot_count: u32,
    /// Predicates used.
    pub(crate) predicate_count: u32,
    /// For each basic block that ends with a call: registers that are read after it, its results left out.
    pub(crate) live_after_call: Vec<Vec<RegisterId>>,
}

impl Allocation {
    /// Moves everything behind `slots` slots and `predicates` predicates of other functions.
    pub(crate) fn shift(&mut self, body: &Body, slots: u32, predicates: u32) {
        for (slot, register) in self.slots.iter_mut().zip(&body.registers) {
            *slot += if kind(register.ty) == Some(Kind::Predicate) { predicates } else { slots };
        }
    }
}

/// Number of leading operands that an instruction writes.
pub(crate) fn destinations(instruction: &Instruction) -> usize {
    use Opcode::*;
    match instruction.row.opcode {
        Applypriority | Bra | Brkpt | Discard | Exit | Pmevent | Ret | Stackrestore | Trap | St | Red | CpAsync
        | CpAsyncCommitGroup | CpAsyncWaitAll | CpAsyncWaitGroup | Fence | Membar | Prefetch | Nanosleep | BrxIdx
        | BarWarpSync | WmmaStoreD => 0,
        // `bar.red` alone writes; it has a type.
        Bar | Barrier => usize::from(!instruction.types.is_empty()),
        _ => usize::from(!instruction.operands.is_empty()),
    }
}

/// Calls `visit(register, written)` for every register of an instruction.
pub(crate) fn registers(instruction: &Instruction, visit: &mut dyn FnMut(RegisterId, bool)) {
    if let Some(guard) = instruction.guard {
        visit(guard.register, false);
    }
    let written = destinations(instruction);
    for (i, operand) in instruction.operands.iter().enumerate() {
        walk(operand, i < written, visit);
    }
}

fn walk(operand: &Operand, written: bool, visit: &mut dyn FnMut(RegisterId, bool)) {
    match operand {
        Operand::Register(register) | Operand::NotPredicate(register) => visit(*register, written),
        // The address of a destination-less access is always read.
        Operand::Address(Base::Register(register), _) => visit(*register, false),
        Operand::Vector(list) => list.iter().for_each(|item| walk(item, written, visit)),
        Operand::Pair(first, second) => {
            walk(first, written, visit);
            walk(second, written, visit);
        }
        _ => {}
    }
}

/// A set of registers.
#[derive(Clone, PartialEq)]
struct Set(Vec<u64>);

impl Set {
    fn new(count: usize) -> Set {
        Set(vec![0; count.div_ceil(64)])
    }
    fn insert(&mut self, register: usize) {
        self.0[register / 64] |= 1 << (register % 64);
    }
    fn has(&self, register: usize) -> bool {
        self.0[register / 64] >> (register % 64) & 1 == 1
    }
    fn members(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(word, &bits)| {
            let mut rest = bits;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    word * 64 + bit
                })
            })
        })
    }
}

/// Registers alive at the start and at the end of every block.
fn live_sets(body: &Body, flow: &Flow) -> Vec<(Set, Set)> {
    let count = body.registers.len();
    let mut local = Vec::with_capacity(flow.blocks.len());
    for block in &flow.blocks {
        let (mut used, mut defined) = (Set::new(count), Set::new(count));
        for instruction in &body.instructions[block.start..block.end] {
            let guarded = instruction.guard.is_some();
            registers(instruction, &mut |register, written| {
                let register = register.0 as usize;
                // A guarded write keeps the lanes it skips: it reads the old value.
                if (!written || guarded) && !defined.has(register) {
                    used.insert(register);
                }
            });
            registers(instruction, &mut |register, written| {
                if written && !guarded {
                    defined.insert(register.0 as usize);
                }
            });
        }
        local.push((used, defined));
    }
    let mut live: Vec<(Set, Set)> = vec![(Set::new(count), Set::new(count)); flow.blocks.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for number in (0..flow.blocks.len()).rev() {
            let mut out = Set::new(count);
            for &next in &flow.blocks[number].successors {
                if next < flow.blocks.len() {
                    for (word, bits) in out.0.iter_mut().zip(&live[next].0.0) {
                        *word |= bits;
                    }
                }
            }
            let (used, defined) = &local[number];
            let input = Set(out
                .0
                .iter()
                .zip(&used.0)
                .zip(&defined.0)
                .map(|((&out, &used), &defined)| used | out & !defined)
                .collect());
            if input != live[number].0 || out != live[number].1 {
                live[number] = (input, out);
                changed = true;
            }
        }
    }
    live
}

/// Gives every register a slot; registers whose lifetimes do not meet share one.
///
/// Lanes of diverged threads never disturb each other: every write touches only the lanes that execute it.
pub(crate) fn allocate(body: &Body, flow: &Flow) -> Allocation {
    let count = body.registers.len();
    let mut interval: Vec<Option<(usize, usize)>> = vec![None; count];
    let mut touch = |register: usize, position: usize| {
        let entry = interval[register].get_or_insert((position, position));
        entry.0 = entry.0.min(position);
        entry.1 = entry.1.max(position);
    };
    // Two positions an instruction: sources are read at the even one, results are written at the odd one.
    for (i, instruction) in body.instructions.iter().enumerate() {
        // Results of one PTX instruction may be written before its last source is read: keep them apart by letting both
        // span the whole instruction, unless the executor reads all sources first (plain arithmetic).
        let together = !is_plain(instruction);
        registers(instruction, &mut |register, written| {
            let register = register.0 as usize;
            if together || !written {
                touch(register, 2 * i);
            }
            if together || written {
                touch(register, 2 * i + 1);
            }
        });
    }
    let mut live_after_call = vec![Vec::new(); flow.blocks.len()];
    for (number, (block, (input, output))) in flow.blocks.iter().zip(live_sets(body, flow)).enumerate() {
        input.members().for_each(|register| touch(register, 2 * block.start));
        output.members().for_each(|register| touch(register, 2 * block.end));
        let last = &body.instructions[block.end - 1];
        if last.row.opcode == Opcode::Call {
            let mut results = Vec::new();
            registers(last, &mut |register, written| {
                if written {
                    results.push(register);
                }
            });
            let live = output.members().map(|register| RegisterId(register as u32));
            live_after_call[number] = live.filter(|register| !results.contains(register)).collect();
        }
    }
    Allocation { live_after_call, ..assign(body, &interval) }
}

/// Arithmetic that becomes one record: its sources are read before its result is written.
fn is_plain(instruction: &Instruction) -> bool {
    use Opcode::*;
    matches!(
        instruction.row.opcode,
        Add | Sub
            | Mul
            | Mad
            | Fma
            | And
            | Or
            | Xor
            | Not
            | Shl
            | Shr
            | Min
            | Max
            | Mov
            | Selp
            | Ex2
            | Neg
            | Abs
            | Cvta
    ) && instruction.types.first().is_some_and(|ty| {
        matches!(ty, Type::B32 | Type::U32 | Type::S32 | Type::F32 | Type::B64 | Type::U64 | Type::S64 | Type::F64)
    }) && !instruction.operands.iter().any(|operand| matches!(operand, Operand::Vector(_) | Operand::Pair(..)))
}

fn assign(body: &Body, interval: &[Option<(usize, usize)>]) -> Allocation {
    let mut order: Vec<usize> = (0..interval.len()).filter(|&register| interval[register].is_some()).collect();
    order.sort_by_key(|&register| interval[register].map(|(start, _)| start));
    let mut allocation = Allocation { slots: vec![0; interval.len()], ..Default::default() };
    let mut active: [std::collections::BinaryHeap<std::cmp::Reverse<(usize, u32)>>; 4] = Default::default();
    let mut free: [std::collections::BTreeSet<u32>; 4] = Default::default();
    for register in order {
        let (Some((start, end)), Some(kind)) = (interval[register], kind(body.registers[register].ty)) else {
            continue;
        };
        let file = kind as usize;
        while let Some(std::cmp::Reverse((ended, slot))) = active[file].peek().copied() {
            if ended >= start {
                break;
            }
            active[file].pop();
            free[file].insert(slot);
        }
        let slot = free[file].pop_first().unwrap_or_else(|| match kind {
            Kind::Predicate => bump(&mut allocation.predicate_count, 1),
            Kind::Word => bump(&mut allocation.slot_count, 1),
            Kind::Double => bump(&mut allocation.slot_count, 2),
            Kind::Quad => bump(&mut allocation.slot_count, 4),
        });
        allocation.slots[register] = slot;
        active[file].push(std::cmp::Reverse((end, slot)));
    }
    allocation
}

fn bump(count: &mut u32, by: u32) -> u32 {
    *count += by;
    *count - by
}
