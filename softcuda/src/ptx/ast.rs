//! Syntax tree of a PTX module after name resolution: registers, labels and symbols are numbers, lexical scopes are gone.

use super::isa::{Modifiers, Row};

/// A place in the PTX text, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Position {
    /// Line of the PTX text.
    pub line: u32,
    /// Column in bytes.
    pub column: u32,
}

/// `.loc`: the place in the CUDA source that an instruction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// Index into [`Module::files`].
    pub file: u32,
    /// Line in that file.
    pub line: u32,
}

/// Fundamental types of PTX, packed forms included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum Type {
    Pred,
    B8,
    B16,
    B32,
    B64,
    B128,
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
    F16,
    F16x2,
    Bf16,
    Bf16x2,
    F32,
    F64,
    Tf32,
    E4m3,
    E5m2,
    E4m3x2,
    E5m2x2,
    U4,
    S4,
    B1,
    U2,
    S2,
    U16x2,
    S16x2,
}

/// State spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum Space {
    Generic,
    Global,
    Shared,
    Local,
    Param,
    Const,
}

/// Who knows a name of the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Linkage {
    /// The module alone.
    #[default]
    Internal,
    /// `.visible`: others, too.
    Visible,
    /// `.extern`: it is defined elsewhere.
    Extern,
    /// `.weak`: others, too; a `.visible` definition takes its place.
    Weak,
    /// `.common`: others, too; the largest of several definitions counts.
    Common,
}

impl Linkage {
    /// The directive, without its dot.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Internal => None,
            Self::Visible => Some("visible"),
            Self::Extern => Some("extern"),
            Self::Weak => Some("weak"),
            Self::Common => Some("common"),
        }
    }
}

/// A parsed module.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// `.version major.minor`.
    pub version: (u32, u32),
    /// `.target sm_80` as 80; a suffix (`a`, `f`) in `target_suffix`.
    pub target: u32,
    /// `a` of `sm_90a`.
    pub target_suffix: Option<char>,
    /// Module-scope variables (`.global`, `.const`, `.shared`).
    pub variables: Vec<Variable>,
    /// Kernels and device functions.
    pub functions: Vec<Function>,
    /// `.file`: index and path.
    pub files: Vec<(u32, String)>,
}

/// A variable: module scope, function scope, or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name in the text.
    pub name: String,
    /// Where it lives.
    pub space: Space,
    /// Type of an element.
    pub ty: Type,
    /// Alignment in bytes: as written, or the element's own.
    pub align: u32,
    /// Size in bytes; 0 for an unsized `.extern .shared x[]`.
    pub bytes: u64,
    /// `.extern` and unsized: dynamic shared memory.
    pub dynamic: bool,
    /// Initial bytes: at most `bytes`, the rest is zero.
    pub init: Vec<u8>,
    /// Addresses to be written into `init` at load: (byte offset, symbol, addend).
    pub relocations: Vec<(u64, Symbol, i64)>,
    /// `.visible`, `.extern` and the like.
    pub linkage: Linkage,
    /// Where it is declared.
    pub position: Position,
}

/// `.entry` or `.func`.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Its name in the text.
    pub name: String,
    /// `.entry`: a kernel.
    pub entry: bool,
    /// `.visible`, `.extern` and the like.
    pub linkage: Linkage,
    /// Parameters in order.
    pub params: Vec<Variable>,
    /// Return values of a `.func`.
    pub returns: Vec<Variable>,
    /// `.reqntid`.
    pub required_block: Option<[u32; 3]>,
    /// `.maxntid`.
    pub max_block: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_blocks_per_sm: Option<u32>,
    /// Absent for a declaration.
    pub body: Option<Body>,
    /// Where it is declared.
    pub position: Position,
}

impl Function {
    /// Bytes of each return value and of each parameter.
    pub fn signature(&self) -> (Vec<u64>, Vec<u64>) {
        let bytes = |list: &[Variable]| list.iter().map(|variable| variable.bytes).collect();
        (bytes(&self.returns), bytes(&self.params))
    }
}

/// A function's body, scopes flattened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Body {
    /// Every register of every scope; [`RegisterId`] indexes it.
    pub registers: Vec<Register>,
    /// `.shared`, `.local`, `.param`, `.const`, `.global` variables declared inside.
    pub variables: Vec<Variable>,
    /// Instructions in order.
    pub instructions: Vec<Instruction>,
    /// Label to index into `instructions` (may equal its length).
    pub labels: Vec<Label>,
    /// `.callprototype` and `.calltargets` declarations.
    pub prototypes: Vec<Prototype>,
}

/// What an indirect call may go to.
#[derive(Clone, Debug, PartialEq)]
pub struct Prototype {
    /// Its name, made unique in the body where several scopes have one of this name.
    pub name: String,
    /// Bytes of each return value.
    pub returns: Vec<u64>,
    /// Bytes of each parameter.
    pub params: Vec<u64>,
    /// `.calltargets`: indices into [`Module::functions`]; empty for a `.callprototype`.
    pub targets: Vec<u32>,
}

/// A label.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Its name, made unique in the body where several scopes have one of this name.
    pub name: String,
    /// Index of the instruction that follows it.
    pub target: usize,
}

/// A virtual register that some instruction uses, or that is declared by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    /// Its name, made unique in the body where several scopes have one of this name.
    pub name: String,
    /// Its declared type.
    pub ty: Type,
}

/// Index into [`Body::registers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegisterId(pub u32);

/// Index into [`Body::labels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LabelId(pub u32);

/// A resolved name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// Index into [`Function::params`].
    Param(u32),
    /// Index into [`Function::returns`].
    Return(u32),
    /// Index into [`Body::variables`].
    Body(u32),
    /// Index into [`Module::variables`].
    Module(u32),
    /// Index into [`Module::functions`].
    Function(u32),
}

/// Special registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are PTX's own; the number is the dimension x, y, z")]
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NwarpId,
    SmId,
    NsmId,
    GridId,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    Clock,
    Clock64,
    GlobalTimer,
    DynamicSmemSize,
    TotalSmemSize,
    AggrSmemSize,
    ClockHi,
    GlobalTimerLo,
    GlobalTimerHi,
    Envreg(u8),
    Pm(u8),
    Pm64(u8),
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    ClusterId(u8),
    NclusterId(u8),
    ClusterCtarank,
    ClusterNctarank,
    IsExplicitCluster,
    CurrentGraphExec,
}

/// What an address is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A register holding an address.
    Register(RegisterId),
    /// A variable.
    Symbol(Symbol),
    /// The offset is the address.
    Absolute,
}

/// An operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register.
    Register(RegisterId),
    /// `!%p`.
    NotPredicate(RegisterId),
    /// A special register.
    Special(Special),
    /// An integer, as its 64-bit pattern (negative numbers sign-extended).
    Integer(u64),
    /// `0f3F800000`: bits of an f32.
    Float32(u32),
    /// `0d...` or a decimal literal: bits of an f64.
    Float64(u64),
    /// Address of a variable or function plus an offset in bytes (operand of `mov`, callee of `call`).
    Symbol(Symbol, i64),
    /// `[base + offset]`.
    Address(Base, i64),
    /// `{a, b, ..}`.
    Vector(Vec<Operand>),
    /// `d|p`.
    Pair(Box<Operand>, Box<Operand>),
    /// `_`.
    Sink,
    /// Branch target.
    Label(LabelId),
    /// Index into [`Body::prototypes`]: what an indirect call may go to.
    Prototype(u32),
}

/// `@p` or `@!p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The predicate.
    pub register: RegisterId,
    /// `@!p`.
    pub negated: bool,
}

/// One instruction that the table accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Instruction {
    /// Its row of the instruction table.
    pub row: &'static Row,
    /// Modifiers as a set: their order in the text carries no meaning.
    pub modifiers: Modifiers,
    /// Type modifiers in their order in the text (`cvt.rn.f16.f32`: F16, F32).
    pub types: Vec<Type>,
    /// `@p`.
    pub guard: Option<Guard>,
    /// Operands in order. `call` has three: list of return values, function, list of arguments; a fourth, the prototype, where the function is a register. `brx.idx` has its labels as a list.
    pub operands: Vec<Operand>,
    /// Where it stands.
    pub position: Position,
    /// The CUDA source line, where `.loc` gives one.
    pub source: Option<SourceLine>,
}
