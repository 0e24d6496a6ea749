//! THE instruction table: what this machine executes. Parser checks, printer, documentation and the coverage test derive from it.

use std::{collections::HashMap, sync::LazyLock};

use super::ast::Type;

mod check;
mod markdown;
mod modifier;
pub mod rules;
mod table;
mod target;

pub use check::{Mismatch, Names};
pub use markdown::markdown;
pub use modifier::{Modifier, Modifiers};
use rules::{Group, OperandRule};
pub use table::rows;
pub use target::Needs;

/// One mnemonic; the executor's lowering matches on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum Opcode {
    Abs,
    Activemask,
    Add,
    Addc,
    Alloca,
    And,
    Applypriority,
    Atom,
    Bar,
    BarWarpSync,
    Barrier,
    Bfe,
    Bfi,
    Bfind,
    Bmsk,
    Bra,
    Brev,
    Brkpt,
    BrxIdx,
    Call,
    Clz,
    Cnot,
    Copysign,
    Cos,
    CpAsync,
    CpAsyncCommitGroup,
    CpAsyncWaitAll,
    CpAsyncWaitGroup,
    Createpolicy,
    Cvt,
    Cvta,
    Discard,
    Div,
    Dp2a,
    Dp4a,
    Ex2,
    Exit,
    Fence,
    Fma,
    Fns,
    Isspacep,
    Ld,
    Ldmatrix,
    Ldu,
    Lg2,
    Lop3,
    Mad,
    Mad24,
    Madc,
    Match,
    Max,
    Membar,
    Min,
    Mma,
    MmaSp,
    MmaSpOrdered,
    Mov,
    Movmatrix,
    Mul,
    Mul24,
    Nanosleep,
    Neg,
    Not,
    Or,
    Pmevent,
    Popc,
    Prefetch,
    Prmt,
    Rcp,
    Red,
    Redux,
    Rem,
    Ret,
    Rsqrt,
    Sad,
    Selp,
    Set,
    Setp,
    Shf,
    Shfl,
    Shl,
    Shr,
    Sin,
    Slct,
    Sqrt,
    St,
    Stackrestore,
    Stacksave,
    Sub,
    Subc,
    Szext,
    Tanh,
    Testp,
    Trap,
    Vote,
    WmmaLoadA,
    WmmaLoadB,
    WmmaLoadC,
    WmmaMma,
    WmmaStoreD,
    Xor,
}

/// The execution pipe that an instruction occupies (HARDWARE: issue, FP32, ALU ...); counters are kept by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pipe {
    /// f32 and f16 add, multiply, fused multiply-add.
    Fma,
    /// Integer, logic, comparison, selection.
    Alu,
    /// f64 arithmetic.
    Fp64,
    /// ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh, and conversions.
    Mufu,
    /// Loads, stores, atomics, shuffles, ldmatrix, cp.async.
    Lsu,
    /// mma.
    Tensor,
    /// Branches, barriers, exit.
    Control,
    /// `mov` and `cvta`: usually no machine instruction.
    Move,
}

/// One form of an instruction.
#[derive(Debug)]
pub struct Row {
    /// What it does.
    pub opcode: Opcode,
    /// The mnemonic in the text, `cp.async` and the like whole.
    pub mnemonic: &'static str,
    /// Modifiers it takes, in the order of the PTX manual.
    pub modifiers: &'static [Group],
    /// Types it accepts, one list for each type modifier; empty when it carries none.
    pub types: &'static [&'static [Type]],
    /// Its operands.
    pub operands: &'static [OperandRule],
    /// The pipe it occupies.
    pub pipe: Pipe,
    /// What it computes, in a line.
    pub meaning: &'static str,
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        std::ptr::eq(self, other)
    }
}

/// Rows of the longest mnemonic that `opcode` (`cp.async.ca.shared.global`) begins with, and that mnemonic's length.
pub fn rows_of(opcode: &str) -> Option<(&'static [&'static Row], usize)> {
    static BY_MNEMONIC: LazyLock<HashMap<&str, Vec<&'static Row>>> = LazyLock::new(|| {
        let mut map: HashMap<&str, Vec<&'static Row>> = HashMap::new();
        for row in rows() {
            map.entry(row.mnemonic).or_default().push(row);
        }
        map
    });
    let mut end = opcode.len();
    loop {
        if let Some(found) = BY_MNEMONIC.get(&opcode[..end]) {
            return Some((found, end));
        }
        end = opcode[..end].rfind('.')?;
    }
}
