//! Syntax tree to a flat decoded program: registers in slots, branches and reconvergence points resolved.

pub(crate) mod flow;
pub(crate) mod liveness;
pub(crate) mod lower;
pub mod op;

use crate::ptx::ast::{self, SourceLine, Space, Symbol};
use crate::ptx::isa::Pipe;
use op::{Op, PresetSlot, Tables};
use std::sync::Arc;

/// A loaded module.
#[derive(Debug)]
pub struct Program {
    /// Its kernels.
    pub kernels: Vec<Arc<Kernel>>,
}

/// Where an op comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// PTX line, counted from 1.
    pub ptx: u32,
    /// `.loc`.
    pub source: Option<SourceLine>,
}

/// A basic block: what one pass through it costs, known before it runs.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its first op, an `Enter`.
    pub first: u32,
    /// Op where threads that diverge at its end meet again; `u32::MAX`: only at their end.
    pub reconvergence: u32,
    /// PTX instructions in it.
    pub instructions: u32,
    /// The same by mnemonic index of [`Kernel::mnemonics`].
    pub mix: Vec<(u16, u32)>,
}

/// A kernel ready to run.
#[derive(Debug)]
pub struct Kernel {
    /// Its name in the text.
    pub name: String,
    /// (offset, bytes) of each parameter in the parameter block.
    pub params: Vec<(u32, u32)>,
    /// Size of the parameter block.
    pub param_bytes: u32,
    /// Static shared memory of a block.
    pub static_shared_bytes: u32,
    /// Offset of dynamic shared memory.
    pub dynamic_shared_offset: u32,
    /// Local memory of a thread.
    pub local_bytes: u32,
    /// `.maxntid`, multiplied out.
    pub max_threads: Option<u32>,
    /// `.reqntid`.
    pub required_block: Option<[u32; 3]>,
    /// The code.
    pub ops: Vec<Op>,
    /// Where each op comes from.
    pub lines: Vec<Line>,
    /// Basic blocks.
    pub blocks: Vec<Block>,
    /// Side tables.
    pub tables: Tables,
    /// Constants, parameters and special registers.
    pub presets: Vec<PresetSlot>,
    /// Slots of a warp.
    pub slot_count: u32,
    /// Predicates of a warp.
    pub predicate_count: u32,
    /// Mnemonics in use, with their pipes.
    pub mnemonics: Vec<(&'static str, Pipe)>,
    /// Blocks talk to one another through global memory (atomics, volatile or ordered accesses, fences): they run on one
    /// host thread, in one order, so that results do not depend on the host.
    pub communicates: bool,
    /// `.file` table of the module.
    pub files: Arc<Vec<(u32, String)>>,
}

impl Kernel {
    /// The CUDA source place of a line, `file.cu:12`.
    pub fn source_text(&self, line: Line) -> Option<String> {
        let source = line.source?;
        // The parser has replaced the number of `.file` by an index.
        let (_, file) = self.files.get(source.file as usize)?;
        Some(format!("{file}:{}", source.line))
    }
}

/// Why a module cannot be loaded.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kernel}: PTX line {line}: {message}")]
pub struct LoadError {
    /// The kernel or function.
    pub kernel: String,
    /// PTX line.
    pub line: u32,
    /// What is wrong; opcode included.
    pub message: String,
}

impl Program {
    /// Decodes a module whose variable `i` lies at device address `addresses[i]` (0 for shared variables).
    pub fn load(module: &ast::Module, addresses: &[u64]) -> Result<Program, LoadError> {
        let files = Arc::new(module.files.clone());
        let mut kernels = Vec::new();
        for function in &module.functions {
            let Some(body) = &function.body else { continue };
            if !function.entry {
                continue;
            }
            let kernel = lower::kernel(module, function, body, addresses, files.clone())?;
            kernels.push(Arc::new(kernel));
        }
        Ok(Program { kernels })
    }
}

/// Where variables lie in a block's shared memory, a thread's local memory and the parameter block.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// Offsets of the parameters.
    pub(crate) params: Vec<(u32, u32)>,
    /// Size of the parameter block.
    pub(crate) param_bytes: u32,
    /// Offset of every shared or local variable of the body.
    body: Vec<u64>,
    /// Offset of every shared variable of the module.
    module: Vec<u64>,
    /// Static shared memory.
    pub(crate) shared_bytes: u64,
    /// Where dynamic shared memory starts.
    pub(crate) dynamic_offset: u64,
    /// Local memory of a thread.
    pub(crate) local_bytes: u64,
}

impl Layout {
    /// Lays a kernel's variables out in the order of their declarations.
    pub(crate) fn new(module: &ast::Module, function: &ast::Function, body: &ast::Body) -> Layout {
        let mut layout = Layout::default();
        let mut params = 0u64;
        for param in &function.params {
            let offset = params.next_multiple_of(u64::from(param.align.max(1)));
            layout.params.push((offset as u32, param.bytes as u32));
            params = offset + param.bytes;
        }
        layout.param_bytes = params as u32;
        let (mut shared, mut local) = (0u64, 0u64);
        let mut dynamic_align = 16;
        let mut place = |variable: &ast::Variable| {
            let cursor = match variable.space {
                Space::Shared => &mut shared,
                Space::Local => &mut local,
                _ => return 0,
            };
            if variable.dynamic {
                dynamic_align = dynamic_align.max(u64::from(variable.align));
                return u64::MAX;
            }
            let offset = cursor.next_multiple_of(u64::from(variable.align.max(1)));
            *cursor = offset + variable.bytes;
            offset
        };
        layout.module = module.variables.iter().map(&mut place).collect();
        layout.body = body.variables.iter().map(&mut place).collect();
        // A module variable that this kernel never names takes no shared memory of it: offsets are per kernel, sizes too.
        layout.shared_bytes = shared;
        layout.local_bytes = local.next_multiple_of(16);
        layout.dynamic_offset = shared.next_multiple_of(dynamic_align);
        let dynamic = layout.dynamic_offset;
        for offset in layout.module.iter_mut().chain(&mut layout.body) {
            if *offset == u64::MAX {
                *offset = dynamic;
            }
        }
        layout
    }

    /// Address of a variable within its state space, and that space.
    pub(crate) fn address(
        &self,
        module: &ast::Module,
        body: &ast::Body,
        addresses: &[u64],
        symbol: Symbol,
    ) -> Option<(Space, u64)> {
        match symbol {
            Symbol::Param(index) => Some((Space::Param, u64::from(self.params.get(index as usize)?.0))),
            Symbol::Body(index) => {
                let variable = body.variables.get(index as usize)?;
                matches!(variable.space, Space::Shared | Space::Local)
                    .then(|| (variable.space, self.body[index as usize]))
            }
            Symbol::Module(index) => {
                let variable = module.variables.get(index as usize)?;
                match variable.space {
                    Space::Shared => Some((Space::Shared, self.module[index as usize])),
                    space => Some((space, *addresses.get(index as usize)?)),
                }
            }
            Symbol::Return(_) | Symbol::Function(_) => None,
        }
    }
}
