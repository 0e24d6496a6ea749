//! Which functions a kernel reaches, which of them can be active twice in a thread, and how deep the frames get.

use super::layout::{Layout, each_symbol};
use crate::ptx::ast::{Function, Instruction, Module, Operand, Prototype, Symbol};
use crate::ptx::isa::Opcode;
use std::collections::{BTreeSet, HashMap};

/// Where function addresses begin: no memory lies there.
const FUNCTIONS: u64 = 0x7e40_0000_0000;

/// Address of the module's function `index`, the same for every launch.
pub fn function_address(index: u32) -> u64 {
    FUNCTIONS + 16 * (u64::from(index) + 1)
}

/// Functions that a device library provides: they have no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// `int vprintf(const char *format, void *arguments)`.
    Vprintf,
    /// `void __assertfail(message, file, line, function, char_bytes)`.
    AssertFail,
    /// `void *malloc(size_t bytes)`.
    Malloc,
    /// `void free(void *pointer)`.
    Free,
}

impl Builtin {
    /// The builtin of this name.
    pub(crate) fn from_name(name: &str) -> Option<Builtin> {
        Some(match name {
            "vprintf" => Builtin::Vprintf,
            "__assertfail" => Builtin::AssertFail,
            "malloc" => Builtin::Malloc,
            "free" => Builtin::Free,
            _ => return None,
        })
    }

    /// Bytes of each return value and of each parameter.
    pub(crate) fn signature(self) -> (Vec<u64>, Vec<u64>) {
        let (returns, params): (&[u64], &[u64]) = match self {
            Builtin::Vprintf => (&[4], &[8, 8]),
            Builtin::AssertFail => (&[], &[8, 8, 4, 8, 8]),
            Builtin::Malloc => (&[8], &[8]),
            Builtin::Free => (&[], &[8]),
        };
        (returns.to_vec(), params.to_vec())
    }
}

/// A call of the device library. Side table.
#[derive(Clone, Debug)]
pub struct BuiltinCall {
    /// The function.
    pub function: Builtin,
    /// Slots of the arguments, 32 or 64 bits wide as the function's parameters are.
    pub arguments: Vec<u16>,
    /// Slot of the result, if it has one.
    pub result: Option<u16>,
}

/// The functions that a kernel reaches, itself first.
#[derive(Debug)]
pub(crate) struct CallGraph {
    /// Their indices in the module.
    pub(crate) functions: Vec<usize>,
    /// For each: whether a call of it may lead back to it.
    pub(crate) recursive: Vec<bool>,
    /// For each: positions in `functions` of those that it calls.
    callees: Vec<Vec<usize>>,
    /// For each: the number of its cycle of calls; callees come before their callers.
    cycles: Vec<usize>,
    /// Positions in `functions` by index in the module.
    positions: HashMap<usize, usize>,
    /// Indices of functions whose address is taken.
    pointed_to: Vec<usize>,
}

impl CallGraph {
    /// Follows every call from the kernel with index `kernel` on.
    pub(crate) fn new(module: &Module, kernel: usize) -> CallGraph {
        let mut graph = CallGraph {
            functions: vec![kernel],
            recursive: Vec::new(),
            callees: Vec::new(),
            cycles: Vec::new(),
            positions: HashMap::from([(kernel, 0)]),
            pointed_to: pointed_to(module),
        };
        while let Some(&index) = graph.functions.get(graph.callees.len()) {
            let mut callees = Vec::new();
            let instructions = module.functions[index].body.iter().flat_map(|body| &body.instructions);
            for instruction in instructions.filter(|instruction| instruction.row.opcode == Opcode::Call) {
                for callee in graph.targets(module, &module.functions[index], instruction) {
                    if module.functions[callee].body.is_none() {
                        continue;
                    }
                    let next = graph.functions.len();
                    let position = *graph.positions.entry(callee).or_insert(next);
                    if position == next {
                        graph.functions.push(callee);
                    }
                    callees.push(position);
                }
            }
            callees.sort_unstable();
            callees.dedup();
            graph.callees.push(callees);
        }
        graph.cycles = cycles(&graph.callees);
        let mut members = vec![0; graph.functions.len()];
        graph.cycles.iter().for_each(|&cycle| members[cycle] += 1);
        graph.recursive = (0..graph.functions.len())
            .map(|number| members[graph.cycles[number]] > 1 || graph.callees[number].contains(&number))
            .collect();
        graph
    }

    /// Module indices of the functions that a call may go to.
    pub(crate) fn targets(&self, module: &Module, caller: &Function, call: &Instruction) -> Vec<usize> {
        match (call.operands.get(1), call.operands.get(3)) {
            (Some(Operand::Symbol(Symbol::Function(index), _)), _) => vec![*index as usize],
            (Some(_), Some(Operand::Prototype(number))) => {
                let prototype = caller.body.as_ref().and_then(|body| body.prototypes.get(*number as usize));
                match prototype {
                    Some(Prototype { targets, .. }) if !targets.is_empty() => {
                        targets.iter().map(|&index| index as usize).collect()
                    }
                    Some(prototype) => {
                        let wanted = (prototype.returns.clone(), prototype.params.clone());
                        let fits = |index: &&usize| module.functions[**index].signature() == wanted;
                        self.pointed_to.iter().filter(fits).copied().collect()
                    }
                    None => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    /// Position of a function among those reached.
    pub(crate) fn position(&self, index: usize) -> Option<usize> {
        self.positions.get(&index).copied()
    }

    /// Whether the call of one function by another may lead back to the caller.
    pub(crate) fn returns_to(&self, caller: usize, callee: usize) -> bool {
        self.cycles[callee] == self.cycles[caller]
    }

    /// Bytes that the frames of the deepest chain of calls take, each recursive function counted once.
    pub(crate) fn local_bytes(&self, layout: &Layout) -> u64 {
        let mut order: Vec<usize> = (0..self.functions.len()).collect();
        order.sort_by_key(|&number| self.cycles[number]);
        let mut deepest = vec![0; self.functions.len()];
        for number in order {
            let others = self.callees[number].iter().filter(|&&callee| !self.returns_to(number, callee));
            let below = others.map(|&callee| deepest[callee]).max().unwrap_or(0);
            deepest[number] = layout.frames[number].bytes + below;
        }
        let recursive = (0..self.functions.len()).filter(|&number| self.recursive[number]);
        deepest[0] + recursive.map(|number| layout.frames[number].bytes).sum::<u64>()
    }
}

/// Numbers the cycles of calls, a function that is in none being one by itself: callees have lower numbers than their
/// callers. Tarjan's algorithm ("Depth-first search and linear graph algorithms", 1972), without recursion of our own.
fn cycles(callees: &[Vec<usize>]) -> Vec<usize> {
    const NONE: usize = usize::MAX;
    let count = callees.len();
    let (mut number, mut low, mut cycle) = (vec![NONE; count], vec![NONE; count], vec![NONE; count]);
    let (mut numbers, mut cycles) = (0, 0);
    let mut open = Vec::new();
    for start in 0..count {
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.pop() {
            if next == 0 {
                if number[node] != NONE {
                    continue;
                }
                (number[node], low[node]) = (numbers, numbers);
                numbers += 1;
                open.push(node);
            } else {
                // Back from a callee.
                low[node] = low[node].min(low[callees[node][next - 1]]);
            }
            let mut step = next;
            while let Some(&callee) = callees[node].get(step) {
                step += 1;
                if number[callee] == NONE {
                    path.push((node, step));
                    path.push((callee, 0));
                    break;
                }
                if cycle[callee] == NONE {
                    low[node] = low[node].min(number[callee]);
                }
            }
            let waits = path.last().is_some_and(|&(top, next)| next == 0 && number[top] == NONE);
            if !waits && low[node] == number[node] {
                while let Some(member) = open.pop() {
                    cycle[member] = cycles;
                    if member == node {
                        break;
                    }
                }
                cycles += 1;
            }
        }
    }
    cycle
}

/// Functions whose address some instruction or initial value takes.
fn pointed_to(module: &Module) -> Vec<usize> {
    let mut found = BTreeSet::new();
    let mut note = |symbol: Symbol| {
        if let Symbol::Function(index) = symbol {
            found.insert(index as usize);
        }
    };
    let locals = module.functions.iter().filter_map(|function| function.body.as_ref()).flat_map(|body| &body.variables);
    for variable in module.variables.iter().chain(locals) {
        variable.relocations.iter().for_each(|&(_, symbol, _)| note(symbol));
    }
    for instruction in
        module.functions.iter().filter_map(|function| function.body.as_ref()).flat_map(|body| &body.instructions)
    {
        for (position, operand) in instruction.operands.iter().enumerate() {
            if instruction.row.opcode != Opcode::Call || position != 1 {
                each_symbol(operand, &mut note);
            }
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::{Builtin, cycles};
    use crate::ptx::link::SYSTEM_FUNCTIONS;

    #[test]
    fn functions_that_reach_each_other_share_a_number_and_callees_come_first() {
        // 0 calls 1 and 4; 1, 2 and 3 are a cycle with an inner one; 4 calls itself and 5.
        let numbers = cycles(&[vec![1, 4], vec![2], vec![3, 1], vec![1, 5], vec![4, 5], vec![]]);
        assert_eq!(numbers[1], numbers[2]);
        assert_eq!(numbers[1], numbers[3]);
        let distinct = [numbers[0], numbers[1], numbers[4], numbers[5]];
        assert!(distinct.iter().enumerate().all(|(i, a)| distinct[..i].iter().all(|b| a != b)), "{numbers:?}");
        assert!(
            numbers[0] > numbers[1] && numbers[0] > numbers[4] && numbers[1] > numbers[5] && numbers[4] > numbers[5]
        );
    }

    #[test]
    fn long_chains_of_calls_take_no_recursion() {
        let count = if cfg!(miri) { 2_000 } else { 200_000 };
        let chain: Vec<Vec<usize>> = (0..count).map(|n| if n + 1 < count { vec![n + 1] } else { vec![] }).collect();
        assert_eq!(cycles(&chain)[0], count - 1);
        let ring: Vec<Vec<usize>> = (0..count).map(|n| vec![(n + 1) % count]).collect();
        assert!(cycles(&ring).iter().all(|&number| number == 0));
    }

    #[test]
    fn the_functions_that_linking_leaves_to_the_device_are_those_that_it_has() {
        assert!(SYSTEM_FUNCTIONS.iter().all(|name| Builtin::from_name(name).is_some()));
        assert_eq!(SYSTEM_FUNCTIONS.len(), 4);
    }
}
