//! Branches, calls, barriers and fences.

use super::{
    super::{Modifier::*, Opcode, Pipe::Control, Row, rules::*},
    row,
};
use crate::ptx::ast::Type::*;

const UNI: Group = optional(&[Uni]);
const CTA: Group = optional(&[Cta]);
const ALIGNED: Group = optional(&[Aligned]);
/// Number of threads that take part; all of the block if absent.
const THREADS: OperandRule = S_U32.optional();
const LABEL: OperandRule = fixed(Kind::Label, B64);
const TARGETS: OperandRule = fixed(Kind::Targets, B64);
const CALLEE: OperandRule = fixed(Kind::Callee, B64);
const LIST: OperandRule = fixed(Kind::List, B64);
const POINTER: OperandRule = fixed(Kind::ReadRegister, B64);
const PROTOTYPE: OperandRule = fixed(Kind::Prototype, B64);

const ALIGNMENTS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128];

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row(Opcode::Bra, "bra", &[UNI], &[], &[LABEL], Control, "goes on at a label"),
    row(Opcode::BrxIdx, "brx.idx", &[UNI], &[], &[S_U32, TARGETS], Control, "goes on at the a-th label of a .branchtargets list"),
    row(Opcode::Call, "call", &[UNI], &[], &[LIST, CALLEE, LIST], Control, "calls a function: results, function, arguments"),
    row(Opcode::Call, "call", &[UNI], &[], &[LIST, POINTER, LIST, PROTOTYPE], Control, "calls the function with this address, one of those that the prototype fits"),
    row(Opcode::Ret, "ret", &[UNI], &[], &[], Control, "returns to the caller; ends the thread in a kernel"),
    row(Opcode::Exit, "exit", &[], &[], &[], Control, "ends the thread"),
    row(Opcode::Trap, "trap", &[], &[], &[], Control, "ends the kernel with a fault"),
    row(Opcode::Brkpt, "brkpt", &[], &[], &[], Control, "stops for a debugger: without one the kernel ends with a fault"),
    row(Opcode::Pmevent, "pmevent", &[], &[], &[fixed(Kind::Immediate(0, 15), U32)], Control, "counts an event of a performance monitor: no effect"),
    row(Opcode::Pmevent, "pmevent", &[all(&[Mask])], &[], &[fixed(Kind::Immediate(0, 0xffff), U32)], Control, "counts events of a performance monitor: no effect"),
    row(Opcode::Alloca, "alloca", &[], &[&[U32, U64]], &[D, S, fixed(Kind::OneOf(ALIGNMENTS), U32).optional()], Control, "d = local address of a bytes more in the function's frame, aligned to b (8)"),
    row(Opcode::Stacksave, "stacksave", &[], &[&[U32, U64]], &[D], Control, "d = the end of the function's frame"),
    row(Opcode::Stackrestore, "stackrestore", &[], &[&[U32, U64]], &[OperandRule::new(Kind::ReadRegister, Typing::Of(0))], Control, "frees what alloca has given since stacksave gave a"),
    row(Opcode::Nanosleep, "nanosleep", &[], &[&[U32]], &[S], Control, "waits about this many nanoseconds"),
    row(Opcode::Bar, "bar", &[CTA, all(&[Sync])], &[], &[S_U32, THREADS], Control, "waits at a barrier of the block"),
    row(Opcode::Bar, "bar", &[CTA, all(&[Arrive])], &[], &[S_U32, S_U32], Control, "arrives at a barrier without waiting"),
    row(Opcode::Bar, "bar", &[CTA, all(&[Red]), all(&[Popc])], &[&[U32]], &[D, S_U32, THREADS, P], Control, "waits at a barrier; d = number of threads where c holds"),
    row(Opcode::Bar, "bar", &[CTA, all(&[Red]), one(&[And, Or])], &[&[Pred]], &[D, S_U32, THREADS, P], Control, "waits at a barrier; d = whether c holds in all or any threads"),
    row(Opcode::Barrier, "barrier", &[CTA, all(&[Sync]), ALIGNED], &[], &[S_U32, THREADS], Control, "waits at a barrier of the block, not necessarily by whole warps"),
    row(Opcode::Barrier, "barrier", &[CTA, all(&[Arrive]), ALIGNED], &[], &[S_U32, S_U32], Control, "arrives at a barrier without waiting"),
    row(Opcode::Barrier, "barrier", &[CTA, all(&[Red]), all(&[Popc]), ALIGNED], &[&[U32]], &[D, S_U32, THREADS, P], Control, "waits at a barrier; d = number of threads where c holds"),
    row(Opcode::Barrier, "barrier", &[CTA, all(&[Red]), one(&[And, Or]), ALIGNED], &[&[Pred]], &[D, S_U32, THREADS, P], Control, "waits at a barrier; d = whether c holds in all or any threads"),
    row(Opcode::BarWarpSync, "bar.warp.sync", &[], &[], &[S_B32], Control, "waits for the lanes of the mask"),
    row(Opcode::Membar, "membar", &[one(&[Cta, Gl, Sys])], &[], &[], Control, "orders the thread's memory accesses for the observers of this level"),
    row(Opcode::Membar, "membar.proxy.alias", &[], &[], &[], Control, "orders accesses to one memory under several addresses"),
    row(Opcode::Fence, "fence.proxy.alias", &[], &[], &[], Control, "orders accesses to one memory under several addresses"),
    row(Opcode::Fence, "fence", &[optional(&[Sc, AcqRel, Acquire, Release]), one(&[Cta, Cluster, Gpu, Sys])], &[], &[], Control, "orders the thread's memory accesses for this scope"),
];
