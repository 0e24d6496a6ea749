//! One tile of 16 rows and 8 columns: fragments in, a fragment out.

use super::{
    exact::{self, Sums},
    fast,
    form::{Accumulator, Element, Form, Sparse},
    isa::Isa,
    memo::Memo,
    second::Second,
    sparse,
    table::{ATable, BTable, put, take},
};
use crate::exec::value::Lanes;

/// The fragments of a product: as many registers as the form has.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a> {
    /// A's registers.
    pub a: &'a [&'a Lanes],
    /// B's registers.
    pub b: &'a [&'a Lanes],
    /// The accumulator's registers.
    pub c: &'a [&'a Lanes],
    /// Metadata of a sparse A.
    pub metadata: Option<&'a Lanes>,
    /// Numbers by which decoded fragments of A and B are looked up; any will do.
    pub places: [u32; 2],
}

/// Decodes registers of A.
///
/// Unsafe to call: the host must have the instructions that the function was compiled for.
pub(super) type DecodeA = unsafe fn(&[&Lanes], &mut ATable);
/// Decodes registers of B.
///
/// Unsafe to call for the same reason.
pub(super) type DecodeB = unsafe fn(&[&Lanes], &mut BTable);

/// What a tile's function has to know at run time.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) form: Form,
    pub(super) least_exponents: [i32; 2],
    /// 8-bit floats in the order of [`super::operand::Halved`].
    pub(super) halves_first: bool,
    pub(super) decode_a: DecodeA,
    pub(super) decode_b: DecodeB,
}

/// Computes four columns of a tile at a time.
pub(super) trait Kernel {
    /// `columns` of the product, added to `c`; accumulators in 32 bits, rows as in [`super::table`].
    fn columns<S: Isa, B: Second>(
        isa: S,
        context: &Context,
        a: &ATable,
        b: &B,
        columns: [usize; 4],
        c: [S::Vector; 4],
    ) -> [S::Vector; 4];
}

/// As the tensor cores `R` sum.
pub(super) struct Exact<R>(std::marker::PhantomData<R>);

impl<R: Sums> Kernel for Exact<R> {
    #[inline(always)]
    fn columns<S: Isa, B: Second>(
        isa: S,
        context: &Context,
        a: &ATable,
        b: &B,
        columns: [usize; 4],
        c: [S::Vector; 4],
    ) -> [S::Vector; 4] {
        exact::columns::<S, R, B>(isa, context.least_exponents, a, b, columns, c)
    }
}

/// Plain f32 sums.
pub(super) struct Fast<const GROUPS: usize, const STEP: usize, const EXACT: bool>;

impl<const GROUPS: usize, const STEP: usize, const EXACT: bool> Kernel for Fast<GROUPS, STEP, EXACT> {
    #[inline(always)]
    fn columns<S: Isa, B: Second>(
        isa: S,
        _context: &Context,
        a: &ATable,
        b: &B,
        columns: [usize; 4],
        c: [S::Vector; 4],
    ) -> [S::Vector; 4] {
        fast::columns::<S, GROUPS, STEP, EXACT, B>(isa, a, b, columns, c)
    }
}

/// Integers: exact sums, which wrap or are clamped in the end.
pub(super) struct Integers<const GROUPS: usize, const SATURATE: bool>;

impl<const GROUPS: usize, const SATURATE: bool> Kernel for Integers<GROUPS, SATURATE> {
    #[inline(always)]
    fn columns<S: Isa, B: Second>(
        isa: S,
        _context: &Context,
        a: &ATable,
        b: &B,
        columns: [usize; 4],
        c: [S::Vector; 4],
    ) -> [S::Vector; 4] {
        let mut total = [isa.splat(0); 4];
        for group in 0..GROUPS {
            for t in 0..4 {
                let of_a = isa.load(&a.values[group][t]);
                for i in 0..4 {
                    total[i] = isa.dot16(of_a, b.values(isa, group, t, columns[i]), total[i]);
                }
            }
        }
        let mut d = c;
        for i in 0..4 {
            d[i] = isa.add(total[i], c[i]);
            if SATURATE {
                // The products alone are far from overflow: where the sum overflows, both had the accumulator's sign.
                let overflowed = isa.mask_overflow(total[i], c[i], d[i]);
                if overflowed != 0 {
                    let (mut of_c, mut of_d) = ([0; 16], [0; 16]);
                    isa.store(c[i], &mut of_c);
                    isa.store(d[i], &mut of_d);
                    for (row, (d, c)) in of_d.iter_mut().zip(of_c).enumerate() {
                        if overflowed >> row & 1 == 1 {
                            *d = if c >> 31 == 1 { i32::MIN as u32 } else { i32::MAX as u32 };
                        }
                    }
                    d[i] = isa.load(&of_d);
                }
            }
        }
        d
    }
}

/// Bits: counts the ones of `a and b` or of `a xor b`.
pub(super) struct Bits<const GROUPS: usize, const XOR: bool>;

impl<const GROUPS: usize, const XOR: bool> Kernel for Bits<GROUPS, XOR> {
    #[inline(always)]
    fn columns<S: Isa, B: Second>(
        isa: S,
        _context: &Context,
        a: &ATable,
        b: &B,
        columns: [usize; 4],
        mut c: [S::Vector; 4],
    ) -> [S::Vector; 4] {
        for group in 0..GROUPS {
            for t in 0..4 {
                let of_a = isa.load(&a.values[group][t]);
                for i in 0..4 {
                    let of_b = b.values(isa, group, t, columns[i]);
                    let bits = if XOR { isa.xor(of_a, of_b) } else { isa.and(of_a, of_b) };
                    c[i] = isa.add(c[i], ones(isa, bits));
                }
            }
        }
        c
    }
}

/// Number of ones in each lane: sums of neighbours in ever larger fields.
#[inline(always)]
fn ones<S: Isa>(isa: S, bits: S::Vector) -> S::Vector {
    let fields = |mask: u32| isa.splat(mask);
    let of_2 = isa.sub(bits, isa.and(isa.shift_right::<1>(bits), fields(0x5555_5555)));
    let (low, high) = (isa.and(of_2, fields(0x3333_3333)), isa.and(isa.shift_right::<2>(of_2), fields(0x3333_3333)));
    let of_4 = isa.add(low, high);
    let of_8 = isa.and(isa.add(of_4, isa.shift_right::<4>(of_4)), fields(0x0f0f_0f0f));
    let of_16 = isa.add(of_8, isa.shift_right::<8>(of_8));
    isa.and(isa.add(of_16, isa.shift_right::<16>(of_16)), fields(0x3f))
}

/// `d = a b + c` of a dense tile.
#[inline(always)]
pub(super) fn dense<S: Isa, K: Kernel>(
    isa: S,
    context: &Context,
    memo: &mut Memo,
    operands: &Operands<'_>,
    d: &mut [Lanes; 8],
) {
    let [a_place, b_place] = operands.places;
    let (decode_a, decode_b) = (context.decode_a, context.decode_b);
    // SAFETY: whoever called this for `S` has its instructions, for which the decoders were compiled.
    let a = memo.a.table(isa, a_place, operands.a, decode_a as usize, |from, to| unsafe { decode_a(from, to) });
    // SAFETY: as above.
    let b = memo.b.table(isa, b_place, operands.b, decode_b as usize, |from, to| unsafe { decode_b(from, to) });
    all_columns::<S, K, _>(isa, context, a, b, operands.c, d);
}

/// `d = a b + c` of a tile whose A is sparse.
#[inline(always)]
pub(super) fn sparse<S: Isa, K: Kernel>(
    isa: S,
    context: &Context,
    memo: &mut Memo,
    operands: &Operands<'_>,
    d: &mut [Lanes; 8],
    sparse: Sparse,
) {
    let decode_a = context.decode_a;
    // SAFETY: as in `dense`.
    let a =
        memo.a.table(isa, operands.places[0], operands.a, decode_a as usize, |from, to| unsafe { decode_a(from, to) });
    let metadata = operands.metadata.copied().unwrap_or_default();
    let selected = memo.selected.get_or_insert_default();
    sparse::select(context, sparse, operands.b, &metadata, selected);
    all_columns::<S, K, _>(isa, context, a, &**selected, operands.c, d);
}

#[inline(always)]
fn all_columns<S: Isa, K: Kernel, B: Second>(
    isa: S,
    context: &Context,
    a: &ATable,
    b: &B,
    c: &[&Lanes],
    d: &mut [Lanes; 8],
) {
    // f16 accumulators of both columns of a register, by parity of the column.
    let mut halves = [[isa.splat(0); 4]; 2];
    for parity in 0..2 {
        let of_c = if context.form.c == Accumulator::F16 {
            [
                isa.widen_f16(take(isa, c[0], 0))[parity],
                isa.widen_f16(take(isa, c[0], 1))[parity],
                isa.widen_f16(take(isa, c[1], 0))[parity],
                isa.widen_f16(take(isa, c[1], 1))[parity],
            ]
        } else {
            let (low, high) = (c[parity], c[2 + parity]);
            [take(isa, low, 0), take(isa, low, 1), take(isa, high, 0), take(isa, high, 1)]
        };
        let columns = [parity, 2 + parity, 4 + parity, 6 + parity];
        let sums = K::columns(isa, context, a, b, columns, isa.transpose_quads(of_c));
        halves[parity] = isa.transpose_quads(sums);
        if context.form.d != Accumulator::F16 {
            for (quarter, sum) in halves[parity].into_iter().enumerate() {
                put(isa, sum, &mut d[quarter / 2 * 2 + parity].0, quarter % 2);
            }
        }
    }
    if context.form.d == Accumulator::F16 {
        for quarter in 0..4 {
            let pairs = isa.narrow_f16([halves[0][quarter], halves[1][quarter]]);
            put(isa, pairs, &mut d[quarter / 2].0, quarter % 2);
        }
    }
}

/// Elements whose products are exact in f32.
pub(super) const fn products_fit(a: Element, b: Element) -> bool {
    const fn small(element: Element) -> bool {
        matches!(element, Element::F16 | Element::E4m3 | Element::E5m2)
    }
    small(a) && small(b)
}
