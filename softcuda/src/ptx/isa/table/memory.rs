//! Loads, stores, atomics, asynchronous copies and cache control.

use super::{
    super::{Modifier::*, Opcode, Pipe::Lsu, Row, rules::*},
    B32_64, row,
};
use crate::ptx::ast::Type::{self, *};

const SPACE: Group = optional(&[Global, Shared, Local, Param, Const]);
const WRITABLE: Group = optional(&[Global, Shared, Local, Param]);
const STRONG_SPACE: Group = optional(&[Global, Shared]);
const WEAK: Group = optional(&[Weak]);
const SCOPE: Group = one(&[Cta, Cluster, Gpu, Sys]);
const ANY_SCOPE: Group = optional(&[Cta, Cluster, Gpu, Sys]);
const LOAD_CACHE: Group = optional(&[Ca, Cg, Cs, Lu, Cv]);
const STORE_CACHE: Group = optional(&[Wb, Cg, Cs, Wt]);
const L1_EVICTION: Group = optional(&[L1EvictFirst, L1EvictLast, L1EvictNormal, L1EvictUnchanged, L1NoAllocate]);
const HINT: Group = optional(&[L2CacheHint]);
const L2_PREFETCH: Group = optional(&[L2Prefetch64, L2Prefetch128, L2Prefetch256]);
const VECTOR: Group = optional(&[V2, V4]);
const TYPES: &[&[Type]] = &[&[B8, B16, B32, B64, B128, U8, U16, U32, U64, S8, S16, S32, S64, F32, F64]];

/// Loads may write registers wider than the type.
const LOADED: OperandRule = D_WIDE.by_modifier();
/// Stores may read registers wider than the type.
const STORED: OperandRule = OperandRule::new(Kind::Read, Typing::AtLeast(0)).by_modifier();
const LOAD: &[OperandRule] = &[LOADED, ADDRESS, POLICY];
const STORE: &[OperandRule] = &[ADDRESS, STORED, POLICY];

const SEMANTICS: Group = optional(&[Relaxed, Acquire, Release, AcqRel]);
const RED_SEMANTICS: Group = optional(&[Relaxed, Release]);
/// The old value, or `_`.
const OLD: OperandRule = OperandRule::new(Kind::WriteOrSink, Typing::Of(0));
const ATOMIC: &[OperandRule] = &[OLD, ADDRESS, S, POLICY];
const REDUCTION: &[OperandRule] = &[ADDRESS, S, POLICY];
const BITWISE: Group = one(&[And, Or, Xor]);
const MIN_MAX: Group = one(&[Min, Max]);
const ADD: Group = all(&[Add]);
const WRAPPING: Group = one(&[Inc, Dec]);
const ADDABLE: &[&[Type]] = &[&[U32, S32, U64, F32, F64]];
const SMALL_FLOATS: &[&[Type]] = &[&[F16, F16x2, Bf16, Bf16x2]];
const ORDERED: &[&[Type]] = &[&[U32, S32, U64, S64]];
const BITS: &[&[Type]] = &[B32_64];

/// Vectors are for device memory.
const IN_MEMORY: Group = optional(&[Global]);
const ADD_MIN_MAX: Group = one(&[Add, Min, Max]);
const ATOMIC_VECTOR: &[OperandRule] = &[D.by_modifier(), ADDRESS, S.by_modifier(), POLICY];
const REDUCTION_VECTOR: &[OperandRule] = &[ADDRESS, S.by_modifier(), POLICY];

/// Eviction priorities that may come with a second one for the other accesses, and that second one.
const PRIMARY: Group = one(&[L2EvictLast, L2EvictNormal]);
const SECONDARY: Group = optional(&[L2EvictFirst, L2EvictUnchanged]);
/// The length of a line.
const LINE: OperandRule = fixed(Kind::OneOf(&[128]), U32);

const GLOBAL_SOURCE: OperandRule = fixed(Kind::GlobalAddress, U64);
/// How many bytes of the source exist (the rest is zero), or a predicate that skips the source.
const SOURCE_BYTES: OperandRule = S_U32.optional();
const IGNORE_SOURCE: OperandRule = P;
const SHARED: Group = all(&[Shared]);
const GLOBAL: Group = all(&[Global]);

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row(Opcode::Ld, "ld", &[WEAK, SPACE, LOAD_CACHE, L1_EVICTION, HINT, L2_PREFETCH, VECTOR], TYPES, LOAD, Lsu, "d = memory at a"),
    row(Opcode::Ld, "ld", &[all(&[Volatile]), STRONG_SPACE, L2_PREFETCH, VECTOR], TYPES, &[LOADED, ADDRESS], Lsu, "d = memory at a, never merged or dropped"),
    row(Opcode::Ld, "ld", &[one(&[Relaxed, Acquire]), SCOPE, STRONG_SPACE, L1_EVICTION, HINT, L2_PREFETCH, VECTOR], TYPES, LOAD, Lsu, "d = memory at a, with this memory order"),
    row(Opcode::Ld, "ld", &[all(&[Mmio, Relaxed, Sys]), optional(&[Global])], TYPES, &[D_WIDE, ADDRESS], Lsu, "d = memory at a, each access performed as written"),
    row(Opcode::Ld, "ld", &[GLOBAL, optional(&[Ca, Cg, Cs]), all(&[Nc]), L1_EVICTION, HINT, L2_PREFETCH, VECTOR], TYPES, LOAD, Lsu, "d = memory at a that no thread writes while the kernel runs"),
    row(Opcode::Ldu, "ldu", &[optional(&[Global]), VECTOR], TYPES, &[LOADED, ADDRESS], Lsu, "d = memory at a, the same for the whole warp"),
    row(Opcode::St, "st", &[WEAK, WRITABLE, STORE_CACHE, L1_EVICTION, HINT, VECTOR], TYPES, STORE, Lsu, "memory at a = b"),
    row(Opcode::St, "st", &[all(&[Volatile]), STRONG_SPACE, VECTOR], TYPES, &[ADDRESS, STORED], Lsu, "memory at a = b, never merged or dropped"),
    row(Opcode::St, "st", &[one(&[Relaxed, Release]), SCOPE, STRONG_SPACE, L1_EVICTION, HINT, VECTOR], TYPES, STORE, Lsu, "memory at a = b, with this memory order"),
    row(Opcode::St, "st", &[all(&[Mmio, Relaxed, Sys]), optional(&[Global])], TYPES, &[ADDRESS, OperandRule::new(Kind::Read, Typing::AtLeast(0))], Lsu, "memory at a = b, each access performed as written"),
    row(Opcode::Atom, "atom", &[SEMANTICS, ANY_SCOPE, STRONG_SPACE, BITWISE, HINT], BITS, ATOMIC, Lsu, "d = memory at a; memory at a = d combined with b"),
    row(Opcode::Atom, "atom", &[SEMANTICS, ANY_SCOPE, STRONG_SPACE, all(&[Exch]), HINT], &[&[B32, B64, B128]], ATOMIC, Lsu, "d = memory at a; memory at a = b"),
    row(Opcode::Atom, "atom", &[SEMANTICS, ANY_SCOPE, STRONG_SPACE, all(&[Cas])], &[&[B16, B32, B64, B128]], &[OLD, ADDRESS, S, S], Lsu, "d = memory at a; memory at a = c where d equals b"),
    row(Opcode::Atom, "atom", &[SEMANTICS, ANY_SCOPE, STRONG_SPACE, ADD, HINT], ADDABLE, ATOMIC, Lsu, "d = memory at a; memory at a = d + b"),
    row(Opcode::Atom, "atom", &[SEMANTICS, ANY_SCOPE, STRONG_SPACE, ADD, all(&[Noftz]), HINT], SMALL_FLOATS, ATOMIC, Lsu, "d = memory at a; memory at a = d + b"),
    row(Opcode::Atom, "atom", &[SEMANTICS, ANY_SCOPE, STRONG_SPACE, WRAPPING, HINT], &[&[U32]], ATOMIC, Lsu, "d = memory at a; memory at a = d stepped up or down, wrapping at b"),
    row(Opcode::Atom, "atom", &[SEMANTICS, ANY_SCOPE, STRONG_SPACE, MIN_MAX, HINT], ORDERED, ATOMIC, Lsu, "d = memory at a; memory at a = the smaller or larger of d and b"),
    row(Opcode::Atom, "atom", &[SEMANTICS, ANY_SCOPE, IN_MEMORY, ADD, one(&[V2, V4]), HINT], &[&[F32]], ATOMIC_VECTOR, Lsu, "d = memory at a; memory at a = d + b, each element by itself"),
    row(Opcode::Atom, "atom", &[SEMANTICS, ANY_SCOPE, IN_MEMORY, ADD_MIN_MAX, all(&[Noftz]), one(&[V2, V4, V8]), HINT], &[&[F16, Bf16]], ATOMIC_VECTOR, Lsu, "d = memory at a; memory at a = d combined with b, each element by itself"),
    row(Opcode::Atom, "atom", &[SEMANTICS, ANY_SCOPE, IN_MEMORY, ADD_MIN_MAX, all(&[Noftz]), one(&[V2, V4]), HINT], &[&[F16x2, Bf16x2]], ATOMIC_VECTOR, Lsu, "d = memory at a; memory at a = d combined with b, each half of each element by itself"),
    row(Opcode::Red, "red", &[RED_SEMANTICS, ANY_SCOPE, STRONG_SPACE, BITWISE, HINT], BITS, REDUCTION, Lsu, "memory at a is combined with b"),
    row(Opcode::Red, "red", &[RED_SEMANTICS, ANY_SCOPE, STRONG_SPACE, ADD, HINT], ADDABLE, REDUCTION, Lsu, "b is added to memory at a"),
    row(Opcode::Red, "red", &[RED_SEMANTICS, ANY_SCOPE, STRONG_SPACE, ADD, all(&[Noftz]), HINT], SMALL_FLOATS, REDUCTION, Lsu, "b is added to memory at a"),
    row(Opcode::Red, "red", &[RED_SEMANTICS, ANY_SCOPE, STRONG_SPACE, WRAPPING, HINT], &[&[U32]], REDUCTION, Lsu, "memory at a is stepped up or down, wrapping at b"),
    row(Opcode::Red, "red", &[RED_SEMANTICS, ANY_SCOPE, STRONG_SPACE, MIN_MAX, HINT], ORDERED, REDUCTION, Lsu, "memory at a = the smaller or larger of it and b"),
    row(Opcode::Red, "red", &[RED_SEMANTICS, ANY_SCOPE, IN_MEMORY, ADD, one(&[V2, V4]), HINT], &[&[F32]], REDUCTION_VECTOR, Lsu, "b is added to memory at a, each element by itself"),
    row(Opcode::Red, "red", &[RED_SEMANTICS, ANY_SCOPE, IN_MEMORY, ADD_MIN_MAX, all(&[Noftz]), one(&[V2, V4, V8]), HINT], &[&[F16, Bf16]], REDUCTION_VECTOR, Lsu, "memory at a is combined with b, each element by itself"),
    row(Opcode::Red, "red", &[RED_SEMANTICS, ANY_SCOPE, IN_MEMORY, ADD_MIN_MAX, all(&[Noftz]), one(&[V2, V4]), HINT], &[&[F16x2, Bf16x2]], REDUCTION_VECTOR, Lsu, "memory at a is combined with b, each half of each element by itself"),
    row(Opcode::CpAsync, "cp.async", &[all(&[Cg]), SHARED, GLOBAL, HINT, L2_PREFETCH], &[], &[ADDRESS, GLOBAL_SOURCE, fixed(Kind::OneOf(&[16]), U32), SOURCE_BYTES, POLICY], Lsu, "copies 16 bytes past L1; the bytes past the source size are zero"),
    row(Opcode::CpAsync, "cp.async", &[all(&[Ca]), SHARED, GLOBAL, HINT, L2_PREFETCH], &[], &[ADDRESS, GLOBAL_SOURCE, fixed(Kind::OneOf(&[4, 8, 16]), U32), SOURCE_BYTES, POLICY], Lsu, "copies 4, 8 or 16 bytes; the bytes past the source size are zero"),
    row(Opcode::CpAsync, "cp.async", &[all(&[Cg]), SHARED, GLOBAL, HINT, L2_PREFETCH], &[], &[ADDRESS, GLOBAL_SOURCE, fixed(Kind::OneOf(&[16]), U32), IGNORE_SOURCE, POLICY], Lsu, "copies 16 bytes past L1, or zeros where the predicate holds"),
    row(Opcode::CpAsync, "cp.async", &[all(&[Ca]), SHARED, GLOBAL, HINT, L2_PREFETCH], &[], &[ADDRESS, GLOBAL_SOURCE, fixed(Kind::OneOf(&[4, 8, 16]), U32), IGNORE_SOURCE, POLICY], Lsu, "copies 4, 8 or 16 bytes, or zeros where the predicate holds"),
    row(Opcode::CpAsyncCommitGroup, "cp.async.commit_group", &[], &[], &[], Lsu, "the thread's copies since the last commit become a group"),
    row(Opcode::CpAsyncWaitGroup, "cp.async.wait_group", &[], &[], &[fixed(Kind::Immediate(0, u32::MAX as u64), U32)], Lsu, "waits until at most this many of the thread's latest groups are pending"),
    row(Opcode::CpAsyncWaitAll, "cp.async.wait_all", &[], &[], &[], Lsu, "waits for all of the thread's copies"),
    row(Opcode::Prefetch, "prefetch", &[optional(&[Global, Local]), one(&[L1, L2])], &[], &[ADDRESS], Lsu, "brings a line into a cache"),
    row(Opcode::Prefetch, "prefetch", &[GLOBAL, one(&[L2EvictLast, L2EvictNormal])], &[], &[ADDRESS], Lsu, "brings a line into L2 with this eviction priority"),
    row(Opcode::Prefetch, "prefetchu", &[all(&[L1])], &[], &[ADDRESS], Lsu, "brings a line into the uniform cache"),
    row(Opcode::Discard, "discard", &[optional(&[Global]), all(&[L2])], &[], &[ADDRESS, LINE], Lsu, "the line in L2 need not be written back; here it keeps its contents"),
    row(Opcode::Applypriority, "applypriority", &[optional(&[Global]), all(&[L2EvictNormal])], &[], &[ADDRESS, LINE], Lsu, "gives the line in L2 this eviction priority"),
    row(Opcode::Createpolicy, "createpolicy.range", &[optional(&[Global]), PRIMARY, SECONDARY], &[&[B64]], &[D, ADDRESS, S_U32, S_U32], Lsu, "d = a cache policy for a range of addresses, a hint that changes no result"),
    row(Opcode::Createpolicy, "createpolicy.range", &[optional(&[Global]), all(&[L2EvictFirst, L2EvictUnchanged])], &[&[B64]], &[D, ADDRESS, S_U32, S_U32], Lsu, "d = a cache policy for a range of addresses, a hint that changes no result"),
    row(Opcode::Createpolicy, "createpolicy.range", &[optional(&[Global]), one(&[L2EvictFirst, L2EvictUnchanged])], &[&[B64]], &[D, ADDRESS, S_U32, S_U32], Lsu, "d = a cache policy for a range of addresses, a hint that changes no result"),
    row(Opcode::Createpolicy, "createpolicy.cvt", &[all(&[L2])], &[&[B64]], &[D, fixed(Kind::ReadRegister, B64)], Lsu, "d = the cache policy of an access property, a hint that changes no result"),
    row(Opcode::Createpolicy, "createpolicy", &[all(&[Fractional]), PRIMARY, SECONDARY], &[&[B64]], &[D, fixed(Kind::Read, F32).optional()], Lsu, "d = a cache policy for that fraction of the accesses, a hint that changes no result"),
    row(Opcode::Createpolicy, "createpolicy", &[all(&[Fractional, L2EvictFirst, L2EvictUnchanged])], &[&[B64]], &[D, fixed(Kind::Read, F32).optional()], Lsu, "d = a cache policy for that fraction of the accesses, a hint that changes no result"),
    row(Opcode::Createpolicy, "createpolicy", &[all(&[Fractional]), one(&[L2EvictFirst, L2EvictUnchanged])], &[&[B64]], &[D, fixed(Kind::Read, F32).optional()], Lsu, "d = a cache policy for that fraction of the accesses, a hint that changes no result"),
];
