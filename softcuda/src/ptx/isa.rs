//! THE instruction table: what this machine executes. Parser checks, printer, documentation and the coverage test derive from it.

use super::ast::Type;

/// One mnemonic; the executor's lowering matches on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum Opcode {
    Abs,
    Activemask,
    Add,
    Addc,
    And,
    Atom,
    Bar,
    Barrier,
    Bfe,
    Bfi,
    Bfind,
    Bra,
    Brev,
    Call,
    Clz,
    Cnot,
    Copysign,
    Cos,
    CpAsync,
    CpAsyncCommitGroup,
    CpAsyncWaitAll,
    CpAsyncWaitGroup,
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
    Mov,
    Movmatrix,
    Mul,
    Mul24,
    Nanosleep,
    Neg,
    Not,
    Or,
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
    Sub,
    Subc,
    Szext,
    Tanh,
    Testp,
    Trap,
    Vote,
    Xor,
}

/// Modifiers other than types. State spaces, vector widths, roundings, comparisons ... each is a bit of [`Modifiers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum Modifier {
    // State spaces and address conversions.
    Global,
    Shared,
    Local,
    Param,
    Const,
    To,
    // Vectors.
    V2,
    V4,
    V8,
    // Rounding.
    Rn,
    Rz,
    Rm,
    Rp,
    Rna,
    Rni,
    Rzi,
    Rmi,
    Rpi,
    // Floating point behaviour.
    Ftz,
    Sat,
    Approx,
    Full,
    Nan,
    Xorsign,
    Relu,
    Satfinite,
    Noftz,
    // Integer results.
    Lo,
    Hi,
    Wide,
    Cc,
    L,
    R,
    Clamp,
    Wrap,
    Mode4e,
    ModeF4e,
    ModeB4e,
    ModeRc8,
    ModeEcl,
    ModeEcr,
    ModeRc16,
    Shiftamt,
    // Comparison.
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Lo_,
    Ls,
    Hi_,
    Hs,
    Equ,
    Neu,
    Ltu,
    Leu,
    Gtu,
    Geu,
    Num,
    IsNan,
    // Boolean combination of setp and set; atomics.
    And,
    Or,
    Xor,
    Popc,
    Add,
    Sub,
    Min,
    Max,
    Inc,
    Dec,
    Exch,
    Cas,
    // Memory order, scope, caching.
    Weak,
    Relaxed,
    Acquire,
    Release,
    AcqRel,
    Sc,
    Volatile,
    Cta,
    Cluster,
    Gpu,
    Sys,
    Gl,
    Ca,
    Cg,
    Cs,
    Lu,
    Cv,
    Wb,
    Wt,
    Nc,
    L1EvictFirst,
    L1EvictLast,
    L1EvictNormal,
    L1EvictUnchanged,
    L1NoAllocate,
    L2CacheHint,
    L2Prefetch64,
    L2Prefetch128,
    L2Prefetch256,
    L1,
    L2,
    // Warp-level.
    Sync,
    Aligned,
    Arrive,
    Red,
    Up,
    Down,
    Bfly,
    Idx,
    All,
    Any,
    Uni,
    Ballot,
    // Matrix.
    M8n8,
    M8n8k4,
    M8n8k16,
    M8n8k32,
    M16n8k4,
    M16n8k8,
    M16n8k16,
    M16n8k32,
    M16n8k64,
    M16n8k128,
    M16n8k256,
    X1,
    X2,
    X4,
    Trans,
    Row,
    Col,
    // Families written with a dot in their name.
    Async,
    CommitGroup,
    WaitGroup,
    WaitAll,
    Proxy,
}

/// A set of [`Modifier`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Modifiers([u64; 4]);

impl Modifiers {
    /// Whether `modifier` is in the set.
    pub fn has(&self, modifier: Modifier) -> bool {
        self.0[modifier as usize / 64] >> (modifier as usize % 64) & 1 == 1
    }

    /// Adds `modifier`.
    pub fn insert(&mut self, modifier: Modifier) {
        self.0[modifier as usize / 64] |= 1 << (modifier as usize % 64);
    }
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
    /// Types it accepts (the first type modifier); empty when it carries none.
    pub types: &'static [Type],
    /// The pipe it occupies.
    pub pipe: Pipe,
}
