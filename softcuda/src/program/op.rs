//! The decoded program: flat 16-byte records whose operands are register slots.
//!
//! A slot is 32 lanes of 32 bits (128 bytes) of a warp's register file; a 64-bit register takes two slots. Constants,
//! parameters and special registers are slots too, filled before the first instruction, so that every operand is a slot.
//! Predicates are 32-bit masks in a file of their own.

mod order;
mod warp;

pub use super::calls::BuiltinCall;
pub use order::Order;
pub use warp::*;

use crate::exec::mma::Form;

/// Operation codes. `32` and `64` are operand widths in bits; predicate operands are indices into the predicate file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[rustfmt::skip]
#[allow(missing_docs, reason = "the names say what they do; semantics stand in exec/")]
pub enum Code {
    // Control: `imm` is a target or a block index.
    // A conditional branch holds its reconvergence point in `b` and `c`, `CheckFrame` the callee's frame size.
    Enter, Guard, Branch, BranchIf, Call, Ret, RetIf, CheckFrame, Alloca, Exit, ExitIf, Barrier, WarpSync, Trap, Nop, Sleep,
    // A function of the device library: `aux` indexes the table of builtin calls.
    Builtin,
    // Moves and selections.
    Mov32, Mov64, Selp32, Selp64, Pack64, UnpackLow, UnpackHigh, Pack16, ReadSpecial,
    // 32-bit integers.
    Add32, Sub32, Mul32, MulHiU32, MulHiS32, MulWideU32, MulWideS32, Mad32, MadWideU32, MadWideS32,
    MinS32, MinU32, MaxS32, MaxU32, And32, Or32, Xor32, Not32, Shl32, ShrU32, ShrS32, Lop3,
    ShfL, ShfR, ShfLClamp, ShfRClamp, BfeU32, BfeS32, Bfi32, BfindU32, BfindS32, BfindShiftU32, BfindShiftS32, Brev32, Popc32, Clz32, Prmt, PrmtMode,
    DivU32, DivS32, RemU32, RemS32, SadU32, SadS32, Dp4aUU, Dp4aSS, Dp4aUS, Dp4aSU, Dp2aLoUU, Dp2aLoSS, Dp2aHiUU, Dp2aHiSS, Dp2aLoUS, Dp2aLoSU, Dp2aHiUS, Dp2aHiSU,
    AddU16x2, MinU16x2, MinS16x2, MaxU16x2, MaxS16x2, BmskClamp, BmskWrap, SzextU, SzextS, CvtPack,
    AddSat32, SubSat32, Sext8, Sext16, Zext8, Zext16, Fns,
    // Carry: one bit a lane.
    AddCarry, SubCarry, AddCarry64, SubCarry64, MadCarryLo, MadCarryHiU, MadCarryHiS, MadCarryLo64, MadCarryHiU64, MadCarryHiS64,
    // 64-bit integers.
    Add64, Sub64, Mul64, MulHiU64, MulHiS64, MinS64, MinU64, MaxS64, MaxU64, And64, Or64, Xor64, Not64,
    Shl64, ShrU64, ShrS64, DivU64, DivS64, RemU64, RemS64, Popc64, Clz64, Brev64, BfeU64, BfeS64, Bfi64, BfindU64, BfindS64, BfindShiftU64, BfindShiftS64,
    Sext32To64, Zext32To64,
    // Predicates: d = a op b; aux inverts a comparison.
    PredMov, PredNot, PredAnd, PredOr, PredXor, PredConst,
    SetpEq32, SetpLtS32, SetpLeS32, SetpLtU32, SetpLeU32, SetpEq64, SetpLtS64, SetpLeS64, SetpLtU64, SetpLeU64,
    SetpEqF32, SetpNeF32, SetpLtF32, SetpLeF32, SetpNumF32, SetpEqF64, SetpNeF64, SetpLtF64, SetpLeF64, SetpNumF64,
    // f32: aux holds rounding, ftz and sat where a code does not fix them.
    AddF32, SubF32, MulF32, FmaF32, AddF32Any, SubF32Any, MulF32Any, FmaF32Any, AddF32Ftz, SubF32Ftz, MulF32Ftz, FmaF32Ftz,
    DivF32, SqrtF32, RcpF32, DivF32Rounded, SqrtF32Rounded, RcpF32Rounded, RcpApproxF32, SqrtApproxF32, RsqrtF32, MinF32, MaxF32, MinNanF32, MaxNanF32, AbsF32, NegF32, CopysignF32,
    Ex2F32, Ex2F32Ftz, Lg2F32, SinF32, CosF32, TanhF32, FtzF32, SatF32, XorsignF32, DivApproxF32, DivFullF32, RoundF32,
    // f64.
    AddF64, SubF64, MulF64, FmaF64, DivF64, SqrtF64, RcpF64, MinF64, MaxF64, AbsF64, NegF64, CopysignF64, RoundF64, RcpApproxF64, RsqrtApproxF64, RsqrtF64, SatF64,
    // Packed halves: two f16 or two bf16 in 32 bits.
    AddF16x2, SubF16x2, MulF16x2, FmaF16x2, FmaReluF16x2, MinF16x2, MaxF16x2, MinNanF16x2, MaxNanF16x2, NegF16x2, AbsF16x2, Ex2F16x2, TanhF16x2,
    AddBf16x2, SubBf16x2, MulBf16x2, FmaBf16x2, FmaReluBf16x2, MinBf16x2, MaxBf16x2, MinNanBf16x2, MaxNanBf16x2, Ex2Bf16x2, TanhBf16x2, FtzF16x2, SatF16x2,
    XorsignF16x2, XorsignBf16x2, SatfiniteF16x2, SatfiniteBf16x2,
    // Conversions: aux holds the rounding.
    F32ToF16, F16ToF32, F32ToBf16, Bf16ToF32, F32ToF16x2, F32ToBf16x2, F32ToF64, F64ToF32, F64ToF16, F64ToBf16, S64ToOddF32, U64ToOddF32,
    F32ToTf32, F32ToFp8x2, F16x2ToFp8x2, Fp8x2ToF16x2,
    F32ToS32, F32ToU32, F32ToS64, F32ToU64, F64ToS32, F64ToU32, F64ToS64, F64ToU64,
    S32ToF32, U32ToF32, S64ToF32, U64ToF32, S32ToF64, U32ToF64, S64ToF64, U64ToF64, ClampS, ClampU, ClampS64, ClampU64,
    // Memory: `aux` indexes the table of accesses, `imm` is the order; `32`: one 32-bit word a lane, the most frequent access.
    LdGlobal, StGlobal, LdShared, StShared, LdGlobal32, StGlobal32, LdShared32, StShared32, LdGeneric, StGeneric, LdParam, LdLocal, StLocal, Atom,
    CpAsync, CpAsyncCommit, CpAsyncWait, CpAsyncWaitAll, Ldmatrix, Movmatrix,
    ToShared, FromShared, ToLocal, FromLocal, ToParam, FromParam, IsShared, IsLocal, IsGlobal, IsConst, IsParam, Fence,
    // Warp-level: `aux` indexes the table of warp operations.
    Shfl, Vote, Match, Redux, Activemask, Mma,
}

/// `Op::aux` of a `ReadSpecial` of all 64 bits; 0 and 1 read the lower and the upper half.
pub const WHOLE_CLOCK: u16 = 2;

/// One record.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Op {
    /// What to do.
    pub code: Code,
    /// Destination slot or predicate.
    pub d: u16,
    /// First source.
    pub a: u16,
    /// Second source.
    pub b: u16,
    /// Third source.
    pub c: u16,
    /// Modifier bits, or an index into a side table.
    pub aux: u16,
    /// Immediate: branch target, offset, block index.
    pub imm: i32,
}

impl Op {
    /// A record with every field but the code zero.
    pub fn new(code: Code) -> Op {
        Op { code, d: 0, a: 0, b: 0, c: 0, aux: 0, imm: 0 }
    }

    /// A second immediate in `b` and `c`: a reconvergence point, a frame size.
    pub fn second(&self) -> u32 {
        u32::from(self.b) | u32::from(self.c) << 16
    }

    /// Sets [`second`](Self::second).
    pub fn set_second(&mut self, value: u32) {
        (self.b, self.c) = (value as u16, (value >> 16) as u16);
    }
}

const _: () = assert!(size_of::<Op>() == 16);

/// Width of an address operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressWidth {
    /// A 32-bit register (shared memory).
    Narrow,
    /// A 64-bit register.
    Wide,
    /// None: the offset is the address.
    Absolute,
}

/// How a loaded element fills its register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Zero-extended.
    Zero,
    /// Sign-extended.
    Sign,
}

/// A load, store, atomic or matrix access. Side table of [`Op::aux`].
#[derive(Clone, Debug)]
pub struct Access {
    /// Register slots of the data (sources of a store), one an element.
    pub data: Vec<u16>,
    /// Whether each data register is 64 bits wide.
    pub wide: bool,
    /// Bytes of an element in memory: 1, 2, 4 or 8.
    pub element_bytes: u32,
    /// Loads narrower than the register.
    pub extension: Extension,
    /// Width of the address register in `Op::a`.
    pub address: AddressWidth,
    /// Byte offset.
    pub offset: i64,
}

/// Atomic operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum AtomicKind {
    And,
    Or,
    Xor,
    Cas,
    Exch,
    Add,
    Inc,
    Dec,
    Min,
    Max,
}

/// Element types of atomics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum AtomicType {
    U32,
    S32,
    U64,
    S64,
    F32,
    F64,
    F16x2,
    Bf16x2,
    F16,
    Bf16,
    B16,
    B128,
}

/// State space of an atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are PTX's own")]
pub enum AtomicSpace {
    Global,
    Shared,
    Generic,
}

/// An `atom` or `red`. Side table.
#[derive(Clone, Debug)]
pub struct Atomic {
    /// The operation.
    pub kind: AtomicKind,
    /// The element type.
    pub ty: AtomicType,
    /// Where.
    pub space: AtomicSpace,
    /// `atom` writes the old values; `red` does not.
    pub returns: bool,
    /// Slots of the old value and of the operand: one pair, or one an element of a vector.
    pub elements: Vec<(u16, u16)>,
    /// Width of the address register in `Op::a`.
    pub address: AddressWidth,
    /// Byte offset.
    pub offset: i64,
}

/// `cp.async`. Side table.
#[derive(Clone, Debug)]
pub struct AsyncCopy {
    /// Bytes written: 4, 8 or 16.
    pub bytes: u32,
    /// Destination (shared) address: slot, width, offset.
    pub destination: (u16, AddressWidth, i64),
    /// Source (global) address: slot, offset.
    pub source: (u16, i64),
    /// Slot of the src-size operand; the rest of the destination is zero-filled.
    pub source_bytes: Option<u16>,
    /// Predicate of the ignore-src operand: where true the destination is zero-filled.
    pub ignore_source: Option<(u16, bool)>,
}

/// `ldmatrix` and `movmatrix`. Side table.
#[derive(Clone, Debug)]
pub struct MatrixLoad {
    /// One register a matrix: 1, 2 or 4.
    pub data: Vec<u16>,
    /// `.trans`.
    pub transposed: bool,
    /// Width of the address register in `Op::a`.
    pub address: AddressWidth,
    /// Byte offset.
    pub offset: i64,
    /// The address is generic, not in the shared window.
    pub generic: bool,
}

/// One product of 16 rows and 8 columns: slots of its fragments' registers; unused ones are 0.
#[derive(Clone, Debug, Default)]
pub struct Tile {
    /// Result.
    pub d: [u16; 8],
    /// A fragment.
    pub a: [u16; 8],
    /// B fragment.
    pub b: [u16; 4],
    /// Accumulator.
    pub c: [u16; 8],
}

/// `mma`, `mma.sp`, `wmma.mma`. Side table.
#[derive(Clone, Debug)]
pub struct MatrixMultiply {
    /// Index into [`Tables::forms`].
    pub form: u16,
    /// Multiply-adds of the instruction, zeros of a sparse A included.
    pub multiply_adds: u32,
    /// Its products.
    pub tiles: Vec<Tile>,
    /// Slot of a sparse A's metadata.
    pub metadata: u16,
}

/// Values that fill slots before a thread's first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the fields are described at their variants")]
pub enum Preset {
    /// The same 32 bits in every lane.
    Word(u32),
    /// The same 64 bits in every lane (two slots).
    Double(u64),
    /// Bytes of the parameter block: offset and length 1, 2 or 4, and whether sign-extended.
    Param32 { offset: u32, bytes: u8, signed: bool },
    /// Eight bytes of the parameter block.
    Param64 { offset: u32 },
    /// Offset of the running function's frame in local memory: 0 in the kernel, changed by calls.
    FramePointer,
    /// A special register with 32 bits.
    Special(crate::ptx::ast::Special),
}

/// A slot with its preset value.
#[derive(Clone, Copy, Debug)]
pub struct PresetSlot {
    /// The slot.
    pub slot: u16,
    /// Its value.
    pub value: Preset,
}

/// All side tables of a kernel.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    /// Loads and stores.
    pub accesses: Vec<Access>,
    /// Atomics.
    pub atomics: Vec<Atomic>,
    /// `cp.async`.
    pub async_copies: Vec<AsyncCopy>,
    /// `ldmatrix`, `movmatrix`.
    pub matrix_loads: Vec<MatrixLoad>,
    /// `.sync` warp operations.
    pub warp_operations: Vec<WarpOperation>,
    /// Barriers.
    pub barriers: Vec<BlockBarrier>,
    /// `mma` and its relatives.
    pub multiplies: Vec<MatrixMultiply>,
    /// Forms of those, each once.
    pub forms: Vec<Form>,
    /// Calls of the device library.
    pub builtin_calls: Vec<BuiltinCall>,
}

impl Tables {
    /// Length of the longest table: an index must fit `Op::aux`.
    pub fn longest(&self) -> usize {
        [
            self.accesses.len(),
            self.atomics.len(),
            self.async_copies.len(),
            self.matrix_loads.len(),
            self.warp_operations.len(),
            self.barriers.len(),
            self.multiplies.len(),
            self.builtin_calls.len(),
        ]
        .into_iter()
        .fold(0, usize::max)
    }
}
