//! What the time model knows of each PTX instruction: its records, its registers, and what machine code takes for it.

use super::Line;
use super::liveness;
use crate::ptx::ast::{Instruction, Type};
use crate::ptx::isa::{Modifier, Opcode, Pipe};
use std::ops::Range;

/// Units of a multiprocessor that instructions are issued to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unit {
    /// f32 add, multiply, fused multiply-add.
    Fma,
    /// Integer multiplication.
    Imad,
    /// Two f16 or bf16 at a time.
    Half,
    /// Integers, logic, comparison, selection, packing.
    Alu,
    /// ex2, lg2, rcp, rsqrt, sqrt, sin, cos, tanh; conversions between numbers and integers; popc and the like.
    Xu,
    /// f64.
    Fp64,
    /// Loads, stores, atomics, shuffles, ldmatrix, cp.async.
    Lsu,
    /// mma.
    Tensor,
    /// Branches, barriers, exit: they take an issue slot, and nothing else that is modelled.
    Control,
}

impl Unit {
    /// Every unit.
    pub const ALL: [Unit; 9] =
        [Unit::Fma, Unit::Imad, Unit::Half, Unit::Alu, Unit::Xu, Unit::Fp64, Unit::Lsu, Unit::Tensor, Unit::Control];

    /// Its name.
    pub fn name(self) -> &'static str {
        ["fma", "imad", "half", "alu", "xu", "fp64", "lsu", "tensor", "control"][self as usize]
    }
}

/// Machine instructions by unit, in the order of [`Unit::ALL`].
pub type Work = [u8; 9];

/// A PTX instruction of a kernel.
#[derive(Clone, Debug)]
pub struct Site {
    /// Where it stands.
    pub line: Line,
    /// Index into [`Kernel::mnemonics`](super::Kernel::mnemonics).
    pub mnemonic: u16,
    /// Its records.
    pub ops: Range<u32>,
    /// Registers that it reads, as numbers that no other register of the kernel has.
    pub reads: Box<[u32]>,
    /// Registers that it writes.
    pub writes: Box<[u32]>,
    /// Machine instructions that it becomes, as ptxas usually does it: an estimate.
    pub work: Work,
}

impl Site {
    /// An instruction at some records; the function's registers are counted from `first_register`.
    pub(super) fn new(
        instruction: &Instruction,
        ops: Range<u32>,
        mnemonic: u16,
        first_register: u32,
        in_kernel: bool,
    ) -> Site {
        let (mut reads, mut writes) = (Vec::new(), Vec::new());
        liveness::registers(instruction, &mut |register, written| {
            if written { &mut writes } else { &mut reads }.push(first_register + register.0);
        });
        // What a guard skips keeps its value.
        if instruction.guard.is_some() {
            reads.extend(&writes);
        }
        Site {
            line: Line { ptx: instruction.position.line, source: instruction.source },
            mnemonic,
            ops,
            reads: reads.into(),
            writes: writes.into(),
            work: work(instruction, in_kernel),
        }
    }
}

/// Counts by unit.
fn units(counts: &[(Unit, u8)]) -> Work {
    let mut work = [0; 9];
    counts.iter().for_each(|&(unit, count)| work[unit as usize] += count);
    work
}

/// What ptxas makes of an instruction in the usual case. Parameters of a kernel are operands in constant memory, moves and
/// address conversions are renamed away, and signs are part of an operand. Divisions and the like are the lengths of their
/// sequences, rounded.
fn work(instruction: &Instruction, in_kernel: bool) -> Work {
    use Opcode::*;
    let has = |modifier| instruction.modifiers.has(modifier);
    let ty = instruction.types.first().copied();
    let from = instruction.types.get(1).copied();
    let wide = matches!(ty, Some(Type::B64 | Type::U64 | Type::S64));
    let words = 1 + u8::from(wide);
    let float = matches!(ty, Some(Type::F32));
    let double = matches!(ty, Some(Type::F64));
    let half = matches!(ty, Some(Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2));
    // The result of a comparison has the second type.
    match instruction.row.opcode {
        Mov | Cvta | Stacksave | Stackrestore | Pmevent | Createpolicy | Applypriority | Discard => [0; 9],
        Abs | Neg if float || half => [0; 9],
        Ld if in_kernel && has(Modifier::Param) => [0; 9],
        Cvt => convert(ty, from),
        Add | Sub | Fma | Mad | Mul if float => units(&[(Unit::Fma, 1)]),
        Add | Sub | Fma | Mad | Mul | Min | Max | Abs | Neg if double => units(&[(Unit::Fp64, 1)]),
        Add | Sub | Fma | Mad | Mul if half => units(&[(Unit::Half, 1)]),
        Mul | Mad | Mul24 | Mad24 | Madc => {
            let long = wide && !has(Modifier::Wide);
            let high = has(Modifier::Hi);
            units(&[(Unit::Imad, if long { 4 } else { 1 + u8::from(high) })])
        }
        Div | Rem if wide => units(&[(Unit::Alu, 50), (Unit::Imad, 30), (Unit::Xu, 3)]),
        Div | Rem if double => units(&[(Unit::Fp64, 10), (Unit::Alu, 6), (Unit::Xu, 1)]),
        Div if float && has(Modifier::Approx) => units(&[(Unit::Xu, 1), (Unit::Fma, 3)]),
        Div if float && has(Modifier::Full) => units(&[(Unit::Xu, 1), (Unit::Fma, 3), (Unit::Alu, 2)]),
        Div if float => units(&[(Unit::Xu, 1), (Unit::Fma, 8), (Unit::Alu, 3)]),
        Div | Rem => units(&[(Unit::Alu, 12), (Unit::Imad, 6), (Unit::Xu, 2)]),
        Ex2 | Lg2 if half => units(&[(Unit::Xu, 2), (Unit::Half, 1), (Unit::Alu, 1)]),
        Ex2 | Lg2 if !has(Modifier::Ftz) => units(&[(Unit::Xu, 1), (Unit::Fma, 2), (Unit::Alu, 1)]),
        Sin | Cos => units(&[(Unit::Xu, 1), (Unit::Fma, 1)]),
        Rcp | Sqrt | Rsqrt if double => units(&[(Unit::Xu, 1), (Unit::Fp64, 8), (Unit::Alu, 4)]),
        Rcp | Sqrt | Rsqrt if !has(Modifier::Approx) => units(&[(Unit::Xu, 1), (Unit::Fma, 5), (Unit::Alu, 3)]),
        Sqrt => units(&[(Unit::Xu, 1), (Unit::Fma, 1)]),
        Ex2 | Lg2 | Rcp | Rsqrt | Tanh => units(&[(Unit::Xu, 1)]),
        Popc | Bfind | Brev | Clz => units(&[(Unit::Xu, words), (Unit::Alu, words - 1)]),
        Bfe | Bfi | Fns => units(&[(Unit::Alu, 2 * words)]),
        Min | Max if wide => units(&[(Unit::Alu, 4)]),
        Redux | Match => units(&[(Unit::Xu, 1)]),
        Vote | Activemask => units(&[(Unit::Alu, 1)]),
        Call => units(&[(Unit::Control, 2)]),
        CpAsyncCommitGroup | CpAsyncWaitGroup | CpAsyncWaitAll => units(&[(Unit::Control, 1)]),
        _ => match instruction.row.pipe {
            Pipe::Fma => units(&[(Unit::Fma, 1)]),
            Pipe::Alu => units(&[(Unit::Alu, words)]),
            Pipe::Fp64 => units(&[(Unit::Fp64, 1)]),
            Pipe::Mufu => units(&[(Unit::Xu, 1)]),
            Pipe::Lsu => units(&[(Unit::Lsu, 1)]),
            Pipe::Tensor => units(&[(Unit::Tensor, 1)]),
            Pipe::Control => units(&[(Unit::Control, 1)]),
            Pipe::Move => [0; 9],
        },
    }
}

/// A conversion to `to`.
fn convert(to: Option<Type>, from: Option<Type>) -> Work {
    use Type::*;
    let number = |ty| matches!(ty, Some(F32 | F16 | Bf16 | F64 | F16x2 | Bf16x2 | Tf32));
    let bits = |ty: Option<Type>| ty.map_or(32, super::lower::bits);
    match (to, from) {
        (Some(F64), _) | (_, Some(F64)) => units(&[(Unit::Xu, 1)]),
        (Some(F32), Some(F16)) => units(&[(Unit::Half, 1)]),
        (Some(F32), Some(Bf16)) => units(&[(Unit::Alu, 1)]),
        // Rounding and packing.
        (Some(F16 | Bf16 | F16x2 | Bf16x2 | Tf32), Some(F32)) => units(&[(Unit::Alu, 1)]),
        (to, from) if number(to) != number(from) => units(&[(Unit::Xu, 1)]),
        (to, from) if number(to) || number(from) => units(&[(Unit::Xu, 1)]),
        // The upper word of a wider integer is a zero register, or a shift; cutting off costs nothing.
        (Some(S64), Some(S32)) => units(&[(Unit::Alu, 1)]),
        (to, from) if bits(to) <= bits(from) || bits(from) == 32 => [0; 9],
        _ => units(&[(Unit::Alu, 1)]),
    }
}
