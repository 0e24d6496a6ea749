//! Which functions a kernel reaches, which of them can be active twice in a thread, and how deep the frames get.

use super::layout::{Layout, each_symbol};
use crate::ptx::ast::{Function, Instruction, Module, Operand, Prototype, Symbol};
use crate::ptx::isa::Opcode;

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
    /// For each: positions in `functions` of those that calls lead to, however many.
    reached: Vec<Vec<bool>>,
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
            reached: Vec::new(),
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
                    let position = graph.functions.iter().position(|&known| known == callee).unwrap_or_else(|| {
                        graph.functions.push(callee);
                        graph.functions.len() - 1
                    });
                    if !callees.contains(&position) {
                        callees.push(position);
                    }
                }
            }
            graph.callees.push(callees);
        }
        graph.reached = (0..graph.functions.len()).map(|start| graph.reach(start)).collect();
        graph.recursive = graph.reached.iter().enumerate().map(|(number, reached)| reached[number]).collect();
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
        self.functions.iter().position(|&known| known == index)
    }

    /// Whether a call from the function at one position to that at another may lead back to the first.
    pub(crate) fn returns_to(&self, caller: usize, callee: usize) -> bool {
        callee == caller || self.reached[callee][caller]
    }

    fn reach(&self, start: usize) -> Vec<bool> {
        let mut reached = vec![false; self.functions.len()];
        let mut open = self.callees[start].clone();
        while let Some(next) = open.pop() {
            if !std::mem::replace(&mut reached[next], true) {
                open.extend(&self.callees[next]);
            }
        }
        reached
    }

    /// Bytes that the frames of the deepest chain of calls take, each recursive function counted once.
    pub(crate) fn local_bytes(&self, layout: &Layout) -> u64 {
        // Callees of callees and so on: as many rounds as there are functions give every chain without a cycle its due.
        let mut deepest = vec![0; self.functions.len()];
        for _ in 0..self.functions.len() {
            for number in 0..self.functions.len() {
                let below = self.callees[number]
                    .iter()
                    .filter(|&&callee| !self.returns_to(number, callee))
                    .map(|&callee| deepest[callee]);
                let own = layout.frames[number].bytes;
                deepest[number] = own + below.max().unwrap_or(0);
            }
        }
        // The members of a cycle one below the other, once each.
        let cycles: u64 = (0..self.functions.len())
            .filter(|&number| self.recursive[number])
            .map(|number| layout.frames[number].bytes)
            .sum();
        deepest[0] + cycles
    }
}

/// Functions whose address some instruction or initial value takes.
fn pointed_to(module: &Module) -> Vec<usize> {
    let mut found = Vec::new();
    let mut note = |symbol: Symbol| {
        if let Symbol::Function(index) = symbol
            && !found.contains(&(index as usize))
        {
            found.push(index as usize);
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
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ptx::link::SYSTEM_FUNCTIONS;

    #[test]
    fn the_functions_that_linking_leaves_to_the_device_are_those_that_it_has() {
        assert!(SYSTEM_FUNCTIONS.iter().all(|name| Builtin::from_name(name).is_some()));
        assert_eq!(SYSTEM_FUNCTIONS.len(), 4);
    }
}
