//! Matrices: loads, tensor cores.

use super::{
    super::{
        Group,
        Modifier::*,
        Opcode,
        Pipe::{Lsu, Tensor},
        Row,
        rules::*,
    },
    row,
};
use crate::ptx::ast::Type::{self, B1, B16, B32, Bf16, E4m3, E5m2, F16, F32, F64, S4, S8, S32, Tf32, U4, U8};

const LOCKSTEP: Group = all(&[Sync, Aligned]);
const M8N8: Group = all(&[M8n8]);
const MATRIX_SPACE: Group = optional(&[Shared]);
const WORD: OperandRule = fixed(Kind::ReadRegister, B32);

/// `n` matrices of `ldmatrix`.
const fn matrices(n: usize) -> [OperandRule; 2] {
    [fixed(Kind::Write, B32).vector(n), ADDRESS]
}

/// The type of a register that holds accumulators.
const fn held(ty: Type) -> Type {
    match ty {
        F16 => B32,
        other => other,
    }
}

/// d, a, b, c with so many registers; `multiplicand` is the type of a register of A and B.
const fn product(d: (Type, usize), a: usize, b: usize, c: (Type, usize), multiplicand: Type) -> [OperandRule; 4] {
    [
        fixed(Kind::Write, held(d.0)).vector(d.1),
        fixed(Kind::ReadRegister, multiplicand).vector(a),
        fixed(Kind::ReadRegister, multiplicand).vector(b),
        fixed(Kind::ReadRegister, held(c.0)).vector(c.1),
    ]
}

/// d, a, b, c with 4 registers of 32 bits or 2 of f16 in d and c.
const fn words(accumulator: Type, a: usize, b: usize) -> [OperandRule; 4] {
    let registers = if matches!(accumulator, F16) { 2 } else { 4 };
    product((accumulator, registers), a, b, (accumulator, registers), B32)
}

/// The same with metadata and a sparsity selector, one of the first `selectors`.
const fn sparse(accumulator: Type, a: usize, b: usize, selectors: u64) -> [OperandRule; 6] {
    let [d, a, b, c] = words(accumulator, a, b);
    [d, a, b, c, WORD, fixed(Kind::Immediate(0, selectors - 1), B32)]
}

/// m8n8: two registers of 32 bits in d and c.
const SMALL: &[OperandRule] = &product((S32, 2), 1, 1, (S32, 2), B32);

const ROW_COL: Group = all(&[Row, ColB]);
const ROUNDING: Group = optional(&[Rn, Rz, Rm, Rp]);
const SATURATION: Group = optional(&[Satfinite]);
const BITWISE: Group = one(&[Xor, And]);
const COUNTED: Group = all(&[Popc]);

/// `.sync.aligned`, a shape, `.row.col`.
macro_rules! shaped {
    ($shape:ident $(, $more:expr)*) => { &[LOCKSTEP, all(&[$shape]), ROW_COL $(, $more)*] };
}
/// `.sync.aligned`, both layouts, a shape.
macro_rules! any_layout {
    ([$($shape:ident),*] $(, $more:expr)*) => {
        &[LOCKSTEP, one(&[Row, Col]), one(&[RowB, ColB]), one(&[$($shape),*]) $(, $more)*]
    };
}

const QUADS: &[Group] = &[LOCKSTEP, all(&[M8n8k4]), one(&[Row, Col]), one(&[RowB, ColB])];
const FP8: &[Type] = &[E4m3, E5m2];
const INT8: &[Type] = &[S8, U8];
const INT4: &[Type] = &[S4, U4];
const DENSE: &str = "d = a * b + c";
const SPARSE: &str = "d = a * b + c; a holds half the elements of its rows, e says which";

/// Rows of `mma.sp` under one of its names.
#[rustfmt::skip]
macro_rules! sparse_rows {
    ($opcode:expr, $name:literal) => {
        [
            row($opcode, $name, shaped!(M16n8k16), &[&[F16], &[F16], &[F16], &[F16]], &sparse(F16, 2, 2, 4), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k16), &[&[F32], &[F16], &[F16], &[F32]], &sparse(F32, 2, 2, 4), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k32), &[&[F16], &[F16], &[F16], &[F16]], &sparse(F16, 4, 4, 2), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k32), &[&[F32], &[F16], &[F16], &[F32]], &sparse(F32, 4, 4, 2), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k16), &[&[F32], &[Bf16], &[Bf16], &[F32]], &sparse(F32, 2, 2, 4), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k32), &[&[F32], &[Bf16], &[Bf16], &[F32]], &sparse(F32, 4, 4, 2), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k8), &[&[F32], &[Tf32], &[Tf32], &[F32]], &sparse(F32, 2, 2, 4), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k16), &[&[F32], &[Tf32], &[Tf32], &[F32]], &sparse(F32, 4, 4, 2), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k64), &[&[F32], FP8, FP8, &[F32]], &sparse(F32, 4, 4, 1), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k32, SATURATION), &[&[S32], INT8, INT8, &[S32]], &sparse(S32, 2, 2, 2), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k64, SATURATION), &[&[S32], INT8, INT8, &[S32]], &sparse(S32, 4, 4, 1), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k64, SATURATION), &[&[S32], INT4, INT4, &[S32]], &sparse(S32, 2, 2, 2), Tensor, SPARSE),
            row($opcode, $name, shaped!(M16n8k128, SATURATION), &[&[S32], INT4, INT4, &[S32]], &sparse(S32, 4, 4, 1), Tensor, SPARSE),
        ]
    };
}

const UNORDERED: &[Row] = &sparse_rows!(Opcode::MmaSp, "mma.sp");
const ORDERED: &[Row] = &sparse_rows!(Opcode::MmaSpOrdered, "mma.sp::ordered_metadata");

const WMMA_SPACE: Group = optional(&[Global, Shared]);
const LARGE: [super::super::Modifier; 3] = [M16n16k16, M32n8k16, M8n32k16];
/// Elements between the starts of two rows, or columns.
const STRIDE: OperandRule = S_U32.optional();

/// `n` registers loaded.
const fn loaded(ty: Type, n: usize) -> [OperandRule; 3] {
    [fixed(Kind::Write, held(ty)).vector(n), ADDRESS, STRIDE]
}
/// `n` registers stored.
const fn stored(ty: Type, n: usize) -> [OperandRule; 3] {
    [ADDRESS, fixed(Kind::ReadRegister, held(ty)).vector(n), STRIDE]
}
/// A layout and a shape of a load or store.
macro_rules! move_of {
    ([$($layout:ident),*], $shapes:expr) => { &[LOCKSTEP, one(&[$($layout),*]), one($shapes), WMMA_SPACE] };
}

const LOAD: &str = "d = the fragment of a matrix at a; b elements between rows or columns";
const STORE: &str = "the matrix at a = the fragment b; c elements between rows or columns";

/// Rows of `wmma.load.a` or `.b`: registers of 16- and 8-bit elements of m32n8k16 and m8n32k16, and the layout of small ones.
#[rustfmt::skip]
macro_rules! multiplicand_rows {
    ($opcode:expr, $name:literal, $tall:literal, $wide:literal, $layout:ident) => {
        [
            row($opcode, $name, move_of!([Row, Col], &LARGE), &[&[F16]], &loaded(B32, 8), Lsu, LOAD),
            row($opcode, $name, move_of!([Row, Col], &[M16n16k16]), &[&[Bf16]], &loaded(B32, 4), Lsu, LOAD),
            row($opcode, $name, move_of!([Row, Col], &[M32n8k16]), &[&[Bf16]], &loaded(B32, 2 * $tall), Lsu, LOAD),
            row($opcode, $name, move_of!([Row, Col], &[M8n32k16]), &[&[Bf16]], &loaded(B32, 2 * $wide), Lsu, LOAD),
            row($opcode, $name, move_of!([Row, Col], &[M16n16k16]), &[INT8], &loaded(B32, 2), Lsu, LOAD),
            row($opcode, $name, move_of!([Row, Col], &[M32n8k16]), &[INT8], &loaded(B32, $tall), Lsu, LOAD),
            row($opcode, $name, move_of!([Row, Col], &[M8n32k16]), &[INT8], &loaded(B32, $wide), Lsu, LOAD),
            row($opcode, $name, move_of!([Row, Col], &[M16n16k8]), &[&[Tf32]], &loaded(B32, 4), Lsu, LOAD),
            row($opcode, $name, move_of!([Row, Col], &[M8n8k4]), &[&[F64]], &loaded(F64, 1), Lsu, LOAD),
            row($opcode, $name, move_of!([$layout], &[M8n8k32]), &[INT4], &loaded(B32, 1), Lsu, LOAD),
            row($opcode, $name, move_of!([$layout], &[M8n8k128]), &[&[B1]], &loaded(B32, 1), Lsu, LOAD),
        ]
    };
}

const LOADS_A: &[Row] = &multiplicand_rows!(Opcode::WmmaLoadA, "wmma.load.a", 4, 1, Row);
const LOADS_B: &[Row] = &multiplicand_rows!(Opcode::WmmaLoadB, "wmma.load.b", 1, 4, Col);

/// Rows of `wmma.load.c` or `wmma.store.d`.
#[rustfmt::skip]
macro_rules! accumulator_rows {
    ($opcode:expr, $name:literal, $operands:ident, $meaning:expr) => {
        [
            row($opcode, $name, move_of!([Row, Col], &LARGE), &[&[F16]], &$operands(F16, 4), Lsu, $meaning),
            row($opcode, $name, move_of!([Row, Col], &[M16n16k16, M32n8k16, M8n32k16, M16n16k8]), &[&[F32]], &$operands(F32, 8), Lsu, $meaning),
            row($opcode, $name, move_of!([Row, Col], &LARGE), &[&[S32]], &$operands(S32, 8), Lsu, $meaning),
            row($opcode, $name, move_of!([Row, Col], &[M8n8k32, M8n8k128]), &[&[S32]], &$operands(S32, 2), Lsu, $meaning),
            row($opcode, $name, move_of!([Row, Col], &[M8n8k4]), &[&[F64]], &$operands(F64, 2), Lsu, $meaning),
        ]
    };
}

const LOADS_C: &[Row] = &accumulator_rows!(Opcode::WmmaLoadC, "wmma.load.c", loaded, LOAD);
const STORES_D: &[Row] = &accumulator_rows!(Opcode::WmmaStoreD, "wmma.store.d", stored, STORE);

const fn wide(ty: Type) -> (Type, usize) {
    (ty, if matches!(ty, F16) { 4 } else { 8 })
}

#[rustfmt::skip]
const PRODUCTS: &[Row] = &[
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M16n16k16, M32n8k16, M8n32k16]), &[&[F16], &[F16]], &product(wide(F16), 8, 8, wide(F16), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M16n16k16, M32n8k16, M8n32k16]), &[&[F16], &[F32]], &product(wide(F16), 8, 8, wide(F32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M16n16k16, M32n8k16, M8n32k16]), &[&[F32], &[F16]], &product(wide(F32), 8, 8, wide(F16), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M16n16k16, M32n8k16, M8n32k16]), &[&[F32], &[F32]], &product(wide(F32), 8, 8, wide(F32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M16n16k16]), &[&[F32], &[Bf16], &[Bf16], &[F32]], &product(wide(F32), 4, 4, wide(F32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M32n8k16]), &[&[F32], &[Bf16], &[Bf16], &[F32]], &product(wide(F32), 8, 2, wide(F32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M8n32k16]), &[&[F32], &[Bf16], &[Bf16], &[F32]], &product(wide(F32), 2, 8, wide(F32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M16n16k8]), &[&[F32], &[Tf32], &[Tf32], &[F32]], &product(wide(F32), 4, 4, wide(F32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M16n16k16], SATURATION.after_types()), &[&[S32], &[S8], &[S8], &[S32]], &product(wide(S32), 2, 2, wide(S32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M16n16k16], SATURATION.after_types()), &[&[S32], &[U8], &[U8], &[S32]], &product(wide(S32), 2, 2, wide(S32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M32n8k16], SATURATION.after_types()), &[&[S32], &[S8], &[S8], &[S32]], &product(wide(S32), 4, 1, wide(S32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M32n8k16], SATURATION.after_types()), &[&[S32], &[U8], &[U8], &[S32]], &product(wide(S32), 4, 1, wide(S32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M8n32k16], SATURATION.after_types()), &[&[S32], &[S8], &[S8], &[S32]], &product(wide(S32), 1, 4, wide(S32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M8n32k16], SATURATION.after_types()), &[&[S32], &[U8], &[U8], &[S32]], &product(wide(S32), 1, 4, wide(S32), B32), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", any_layout!([M8n8k4], ROUNDING), &[&[F64], &[F64], &[F64], &[F64]], &product((F64, 2), 1, 1, (F64, 2), F64), Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", &[LOCKSTEP, ROW_COL, all(&[M8n8k32]), SATURATION.after_types()], &[&[S32], &[S4], &[S4], &[S32]], SMALL, Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", &[LOCKSTEP, ROW_COL, all(&[M8n8k32]), SATURATION.after_types()], &[&[S32], &[U4], &[U4], &[S32]], SMALL, Tensor, DENSE),
    row(Opcode::WmmaMma, "wmma.mma", &[BITWISE, COUNTED, LOCKSTEP, ROW_COL, all(&[M8n8k128])], &[&[S32], &[B1], &[B1], &[S32]], SMALL, Tensor, "d = ones of (a combined with b) + c"),
];

#[rustfmt::skip]
const OTHERS: &[Row] = &[
    row(Opcode::Ldmatrix, "ldmatrix", &[LOCKSTEP, M8N8, all(&[X1]), optional(&[Trans]), MATRIX_SPACE], &[&[B16]], &matrices(1), Lsu, "d = an 8x8 matrix of 16-bit elements whose rows lie at the addresses of lanes 0..7"),
    row(Opcode::Ldmatrix, "ldmatrix", &[LOCKSTEP, M8N8, all(&[X2]), optional(&[Trans]), MATRIX_SPACE], &[&[B16]], &matrices(2), Lsu, "d = two such matrices, addressed by lanes 0..15"),
    row(Opcode::Ldmatrix, "ldmatrix", &[LOCKSTEP, M8N8, all(&[X4]), optional(&[Trans]), MATRIX_SPACE], &[&[B16]], &matrices(4), Lsu, "d = four such matrices, addressed by lanes 0..31"),
    row(Opcode::Movmatrix, "movmatrix", &[LOCKSTEP, M8N8, all(&[Trans])], &[&[B16]], &[D_B32, WORD], Lsu, "d = the 8x8 matrix a transposed"),
    row(Opcode::Mma, "mma", QUADS, &[&[F16], &[F16], &[F16], &[F16]], &product((F16, 4), 2, 2, (F16, 4), B32), Tensor, "four products, each of a quad of lanes and the one 16 above"),
    row(Opcode::Mma, "mma", QUADS, &[&[F32], &[F16], &[F16], &[F16]], &product((F32, 8), 2, 2, (F16, 4), B32), Tensor, "four products, each of a quad of lanes and the one 16 above"),
    row(Opcode::Mma, "mma", QUADS, &[&[F32], &[F16], &[F16], &[F32]], &product((F32, 8), 2, 2, (F32, 8), B32), Tensor, "four products, each of a quad of lanes and the one 16 above"),
    row(Opcode::Mma, "mma", shaped!(M16n8k8), &[&[F16], &[F16], &[F16], &[F16]], &words(F16, 2, 1), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k8), &[&[F32], &[F16], &[F16], &[F32]], &words(F32, 2, 1), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k8), &[&[F32], &[Bf16], &[Bf16], &[F32]], &words(F32, 2, 1), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k16), &[&[F32], &[F16], &[F16], &[F32]], &words(F32, 4, 2), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k16), &[&[F32], &[Bf16], &[Bf16], &[F32]], &words(F32, 4, 2), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k16), &[&[F16], &[F16], &[F16], &[F16]], &words(F16, 4, 2), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k4), &[&[F32], &[Tf32], &[Tf32], &[F32]], &words(F32, 2, 1), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k8), &[&[F32], &[Tf32], &[Tf32], &[F32]], &words(F32, 4, 2), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k16), &[&[F16], FP8, FP8, &[F16]], &words(F16, 2, 1), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k16), &[&[F32], FP8, FP8, &[F32]], &words(F32, 2, 1), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k32), &[&[F16], FP8, FP8, &[F16]], &words(F16, 4, 2), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k32), &[&[F32], FP8, FP8, &[F32]], &words(F32, 4, 2), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M8n8k4, ROUNDING), &[&[F64], &[F64], &[F64], &[F64]], &product((F64, 2), 1, 1, (F64, 2), F64), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k4, ROUNDING), &[&[F64], &[F64], &[F64], &[F64]], &product((F64, 4), 2, 1, (F64, 4), F64), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k8, ROUNDING), &[&[F64], &[F64], &[F64], &[F64]], &product((F64, 4), 4, 2, (F64, 4), F64), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k16, ROUNDING), &[&[F64], &[F64], &[F64], &[F64]], &product((F64, 4), 8, 4, (F64, 4), F64), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M8n8k16, SATURATION), &[&[S32], INT8, INT8, &[S32]], SMALL, Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k16, SATURATION), &[&[S32], INT8, INT8, &[S32]], &words(S32, 2, 1), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k32, SATURATION), &[&[S32], INT8, INT8, &[S32]], &words(S32, 4, 2), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M8n8k32, SATURATION), &[&[S32], INT4, INT4, &[S32]], SMALL, Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k32, SATURATION), &[&[S32], INT4, INT4, &[S32]], &words(S32, 2, 1), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M16n8k64, SATURATION), &[&[S32], INT4, INT4, &[S32]], &words(S32, 4, 2), Tensor, DENSE),
    row(Opcode::Mma, "mma", shaped!(M8n8k128, BITWISE.after_types(), COUNTED.after_types()), &[&[S32], &[B1], &[B1], &[S32]], SMALL, Tensor, "d = ones of (a combined with b) + c"),
    row(Opcode::Mma, "mma", shaped!(M16n8k128, BITWISE.after_types(), COUNTED.after_types()), &[&[S32], &[B1], &[B1], &[S32]], &words(S32, 2, 1), Tensor, "d = ones of (a combined with b) + c"),
    row(Opcode::Mma, "mma", shaped!(M16n8k256, BITWISE.after_types(), COUNTED.after_types()), &[&[S32], &[B1], &[B1], &[S32]], &words(S32, 4, 2), Tensor, "d = ones of (a combined with b) + c"),
];

/// The rows of this family, list after list.
pub(super) const LISTS: [&[Row]; 8] = [OTHERS, UNORDERED, ORDERED, LOADS_A, LOADS_B, LOADS_C, STORES_D, PRODUCTS];
