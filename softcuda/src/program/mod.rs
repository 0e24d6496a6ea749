//! Syntax tree to a flat decoded program.

use crate::ptx::ast;

/// A loaded module.
pub struct Program {
    /// Its kernels.
    pub kernels: Vec<std::sync::Arc<Kernel>>,
}

/// A kernel ready to run.
pub struct Kernel {
    /// Its name in the text.
    pub name: String,
    /// (offset, bytes) of each parameter in the parameter block.
    pub params: Vec<(u32, u32)>,
    /// Size of the parameter block.
    pub param_bytes: u32,
    /// Static shared memory of a block.
    pub static_shared_bytes: u32,
    /// Local memory of a thread.
    pub local_bytes: u32,
    /// `.maxntid`, multiplied out.
    pub max_threads: Option<u32>,
    /// `.reqntid`.
    pub required_block: Option<[u32; 3]>,
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
    pub fn load(_module: &ast::Module, _addresses: &[u64]) -> Result<Program, LoadError> {
        Ok(Program {
            kernels: Vec::new(),
        })
    }
}
