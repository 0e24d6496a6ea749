//! Syntax tree to a flat decoded program: registers in slots, branches and reconvergence points resolved.

pub mod calls;
pub(crate) mod flow;
mod fold;
pub(crate) mod layout;
pub(crate) mod liveness;
pub(crate) mod lower;
pub mod op;
mod site;

use crate::ptx::ast::{self, Position, SourceLine};
use crate::ptx::isa::Pipe;
use op::{Op, PresetSlot, Tables};
pub use site::{Site, Unit, Work};
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
    /// The first of them among [`Kernel::sites`].
    pub first_site: u32,
    /// It does nothing but load until somebody else has stored: how often it is gone through says nothing of a chip.
    pub waits: bool,
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
    /// Local memory of a thread: the frames of its deepest chain of calls, each recursive function counted once.
    pub local_bytes: u32,
    /// How much local memory a thread needs depends on the data (recursion, `alloca`): it also has a stack, of the size that
    /// the context sets.
    pub needs_stack: bool,
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
    /// PTX instructions, block after block.
    pub sites: Vec<Site>,
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
#[error("ptx:{}:{}: kernel `{kernel}`: {message}", position.line, position.column)]
pub struct LoadError {
    /// The kernel or function.
    pub kernel: String,
    /// Where in the PTX text.
    pub position: Position,
    /// What is wrong; opcode included.
    pub message: String,
}

impl Program {
    /// Decodes a module whose variable `i` lies at device address `addresses[i]` (0 for shared variables).
    pub fn load(module: &ast::Module, addresses: &[u64]) -> Result<Program, LoadError> {
        let files = Arc::new(module.files.clone());
        let mut kernels = Vec::new();
        for (index, function) in module.functions.iter().enumerate() {
            if function.entry && function.body.is_some() {
                kernels.push(Arc::new(lower::kernel(module, index, addresses, files.clone())?));
            }
        }
        Ok(Program { kernels })
    }
}
