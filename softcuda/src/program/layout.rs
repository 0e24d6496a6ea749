//! Where variables lie: in a block's shared memory, in a thread's local memory, and in the parameter block.

use crate::ptx::ast::{self, Base, Operand, Space, Symbol};
use std::collections::HashSet;

/// Frames start at multiples of this many bytes, or of the largest alignment that a variable asks for.
const FRAME_ALIGN: u64 = 16;

/// Where a variable lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At an address of a state space.
    Fixed(Space, u64),
    /// In the calling thread's frame, so many bytes behind the frame pointer.
    Frame(u64),
}

/// The frame of a function in a thread's local memory: parameters, return values, variables, saved registers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    /// Offsets of the parameters.
    pub(crate) params: Vec<u64>,
    /// Offsets of the return values.
    pub(crate) returns: Vec<u64>,
    /// Offset of every variable of the body: in the frame, or in shared memory.
    body: Vec<u64>,
    /// Where registers are saved around calls that may lead back to the function.
    pub(crate) save: u64,
    /// Its length.
    pub(crate) bytes: u64,
}

/// Where everything lies that a kernel and the functions it reaches name.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// (offset, bytes) of the kernel's parameters.
    pub(crate) params: Vec<(u32, u32)>,
    /// Size of the parameter block.
    pub(crate) param_bytes: u32,
    /// Frames of the functions, the kernel's first.
    pub(crate) frames: Vec<Frame>,
    /// Offset of every shared variable of the module.
    module: Vec<u64>,
    /// Frames begin at multiples of this many bytes.
    pub(crate) frame_align: u64,
    /// Static shared memory.
    pub(crate) shared_bytes: u64,
    /// Where dynamic shared memory starts.
    pub(crate) dynamic_offset: u64,
}

impl Layout {
    /// Lays out the variables of the functions with these numbers, the kernel first; `saved[i]` bytes of the frame of
    /// function `i` are for saved registers.
    pub(crate) fn new(module: &ast::Module, functions: &[usize], saved: &[u64]) -> Layout {
        let mut layout = Layout::default();
        let kernel = &module.functions[functions[0]];
        let mut params = 0u64;
        for param in &kernel.params {
            let offset = params.next_multiple_of(u64::from(param.align.max(1)));
            layout.params.push((offset as u32, param.bytes as u32));
            params = offset + param.bytes;
        }
        layout.param_bytes = params as u32;

        let bodies = || functions.iter().filter_map(|&number| module.functions[number].body.as_ref());
        // Module variables that nothing here names take no shared memory of this kernel.
        let named = named(bodies());
        let mut shared = 0u64;
        let mut dynamic_align = FRAME_ALIGN;
        let mut place_shared = |variable: &ast::Variable| {
            if variable.dynamic {
                dynamic_align = dynamic_align.max(u64::from(variable.align));
                return u64::MAX;
            }
            place(&mut shared, variable.align, variable.bytes)
        };
        layout.module = (0u32..)
            .zip(&module.variables)
            .map(|(index, variable)| match variable.space {
                Space::Shared if named.contains(&index) => place_shared(variable),
                _ => 0,
            })
            .collect();
        let in_frames = |variable: &&ast::Variable| matches!(variable.space, Space::Local | Space::Param);
        let align =
            bodies().flat_map(|body| &body.variables).filter(in_frames).map(|variable| u64::from(variable.align));
        let align = align.max().unwrap_or(0).max(FRAME_ALIGN);
        layout.frame_align = align;
        for (&number, &saved) in functions.iter().zip(saved) {
            let function = &module.functions[number];
            let mut frame = Frame::default();
            let mut bytes = 0;
            // Calls copy parameters and results word by word.
            let mut place_parameter =
                |variable: &ast::Variable| place(&mut bytes, variable.align.max(4), variable.bytes.next_multiple_of(4));
            if !function.entry {
                frame.params = function.params.iter().map(&mut place_parameter).collect();
                frame.returns = function.returns.iter().map(&mut place_parameter).collect();
            }
            for variable in function.body.iter().flat_map(|body| &body.variables) {
                frame.body.push(match variable.space {
                    Space::Shared => place_shared(variable),
                    Space::Param => place(&mut bytes, variable.align.max(4), variable.bytes.next_multiple_of(4)),
                    Space::Local => place(&mut bytes, variable.align, variable.bytes),
                    _ => 0,
                });
            }
            frame.save = bytes.next_multiple_of(8);
            let bytes = if saved == 0 { bytes } else { frame.save + saved };
            // Even an empty frame takes room, so that endless recursion ends.
            let least = if function.entry { 0 } else { align };
            frame.bytes = bytes.next_multiple_of(align).max(least);
            layout.frames.push(frame);
        }
        layout.shared_bytes = shared;
        layout.dynamic_offset = shared.next_multiple_of(dynamic_align);
        let dynamic = layout.dynamic_offset;
        for offset in layout.module.iter_mut().chain(layout.frames.iter_mut().flat_map(|frame| &mut frame.body)) {
            if *offset == u64::MAX {
                *offset = dynamic;
            }
        }
        layout
    }

    /// Where a variable lies that function `number` of the layout names; `None`: it has no address.
    pub(crate) fn place(
        &self,
        module: &ast::Module,
        function: &ast::Function,
        number: usize,
        addresses: &[u64],
        symbol: Symbol,
    ) -> Option<Place> {
        let frame = &self.frames[number];
        match symbol {
            Symbol::Param(index) if function.entry => {
                Some(Place::Fixed(Space::Param, u64::from(self.params.get(index as usize)?.0)))
            }
            Symbol::Param(index) => Some(Place::Frame(*frame.params.get(index as usize)?)),
            Symbol::Return(index) => Some(Place::Frame(*frame.returns.get(index as usize)?)),
            Symbol::Body(index) => {
                let variable = function.body.as_ref()?.variables.get(index as usize)?;
                let offset = *frame.body.get(index as usize)?;
                match variable.space {
                    Space::Shared => Some(Place::Fixed(Space::Shared, offset)),
                    Space::Local | Space::Param => Some(Place::Frame(offset)),
                    _ => None,
                }
            }
            Symbol::Module(index) => {
                let variable = module.variables.get(index as usize)?;
                match variable.space {
                    Space::Shared => Some(Place::Fixed(Space::Shared, self.module[index as usize])),
                    space => Some(Place::Fixed(space, *addresses.get(index as usize)?)),
                }
            }
            Symbol::Function(index) => Some(Place::Fixed(Space::Generic, super::calls::function_address(index))),
        }
    }
}

/// The next place for a variable, which moves the end.
fn place(end: &mut u64, align: u32, bytes: u64) -> u64 {
    let offset = end.next_multiple_of(u64::from(align.max(1)));
    *end = offset + bytes;
    offset
}

/// Numbers of the module variables that these bodies name.
fn named<'a>(bodies: impl Iterator<Item = &'a ast::Body>) -> HashSet<u32> {
    let mut found = HashSet::new();
    for operand in bodies.flat_map(|body| &body.instructions).flat_map(|instruction| &instruction.operands) {
        each_symbol(operand, &mut |symbol| {
            if let Symbol::Module(index) = symbol {
                found.insert(index);
            }
        });
    }
    found
}

/// Calls `visit` for every symbol of an operand.
pub(crate) fn each_symbol(operand: &Operand, visit: &mut dyn FnMut(Symbol)) {
    match operand {
        Operand::Symbol(symbol, _) | Operand::Address(Base::Symbol(symbol), _) => visit(*symbol),
        Operand::Vector(items) => items.iter().for_each(|item| each_symbol(item, visit)),
        _ => {}
    }
}
