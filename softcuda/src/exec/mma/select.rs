//! One compiled function for each form of product.

#[cfg(target_arch = "x86_64")]
use super::level::{OnAvx2, OnAvx512};
use super::{
    double::{self, DoubleOperands},
    element::Result as Rounded,
    exact::Sums,
    form::{Accumulator, Element, Form, Variant},
    level::{HostLevel, Level, OnPlain, Tile},
    memo::Memo,
    operand::{self, Bytes, Halved, Nibbles, Operand},
    quads,
    tile::{Bits, Context, DecodeA, DecodeB, Exact, Fast, Integers, Operands, products_fit},
};
use crate::{
    chip::Architecture,
    exec::value::{Lanes, rounding::Rounding},
};

/// Whose tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorModel {
    /// A100 and relatives.
    Sm80,
    /// RTX 4090, L40S: as [`Self::Sm80`], and 8-bit floats.
    Sm89,
    /// H100; 8-bit floats by way of f16, as ptxas compiles them for it.
    Sm90,
}

impl From<Architecture> for TensorModel {
    fn from(architecture: Architecture) -> Self {
        match architecture {
            Architecture::Sm80 => Self::Sm80,
            Architecture::Sm89 => Self::Sm89,
            Architecture::Sm90 => Self::Sm90,
        }
    }
}

/// How floating-point sums are formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// As these tensor cores do, bit for bit.
    Exact(TensorModel),
    /// Plain f32 fused multiply-adds in order of k.
    Fast,
}

/// f64's.
///
/// Unsafe to call for the same reason.
type DoubleTile = unsafe fn(&DoubleOperands<'_>, Rounding, &mut [[u64; 32]; 4]);

#[derive(Clone, Copy)]
enum Kind {
    Tile(Context, Tile),
    Double(Rounding, DoubleTile),
    Quads([bool; 2]),
}

/// How many registers fragments have.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// A's.
    pub a: usize,
    /// B's.
    pub b: usize,
    /// Of the accumulator that is read.
    pub c: usize,
    /// Of the accumulator that is written.
    pub d: usize,
}

/// Multiplies tiles of one form.
#[derive(Clone, Copy)]
pub struct Multiplier {
    form: Form,
    registers: Registers,
    kind: Kind,
}

/// Sums of `GROUPS` groups of four places in steps of `BLOCK`, with `FRACTION` bits; `RESULT`: 0 f32, 1 short, 2 f16.
struct Steps<
    const GROUPS: usize,
    const BLOCK: usize,
    const FRACTION: u32,
    const RESULT: u8,
    const PAIRED: bool,
    const ADD_LAST: bool,
>;

impl<
    const GROUPS: usize,
    const BLOCK: usize,
    const FRACTION: u32,
    const RESULT: u8,
    const PAIRED: bool,
    const ADD_LAST: bool,
> Sums for Steps<GROUPS, BLOCK, FRACTION, RESULT, PAIRED, ADD_LAST>
{
    const GROUPS: usize = GROUPS;
    const BLOCK: usize = BLOCK;
    const FRACTION_BITS: u32 = FRACTION;
    const RESULT: Rounded = match RESULT {
        0 => Rounded::F32,
        1 => Rounded::Short,
        _ => Rounded::F16,
    };
    const PAIRED: bool = PAIRED;
    const ADD_LAST: bool = ADD_LAST;
}

impl Multiplier {
    /// The function of a form, compiled for `level` or for the best that this machine has if that is less; `None` for a form
    /// that no instruction has, or not on these tensor cores (8-bit floats on sm_80).
    pub fn new(form: Form, level: HostLevel, arithmetic: Arithmetic) -> Option<Multiplier> {
        let level = level.min(HostLevel::detect());
        let kind = match (form.a, form.variant) {
            (_, Variant::Quads { a_columns, b_columns }) => Kind::Quads([a_columns, b_columns]),
            (Element::F64, Variant::Plain) => Kind::Double(Rounding::Nearest, double_tile(level)),
            (Element::F64, Variant::Rounded(rounding)) => Kind::Double(rounding, double_tile(level)),
            _ => {
                let (context, tile) = match level {
                    // Rare: compiled once.
                    _ if form.is_sparse() => on_level::<OnPlain, true>(form, arithmetic)?,
                    #[cfg(target_arch = "x86_64")]
                    HostLevel::Avx512 => on_level::<OnAvx512, false>(form, arithmetic)?,
                    #[cfg(target_arch = "x86_64")]
                    HostLevel::Avx2 => on_level::<OnAvx2, false>(form, arithmetic)?,
                    _ => on_level::<OnPlain, false>(form, arithmetic)?,
                };
                Kind::Tile(context, tile)
            }
        };
        let registers = Registers {
            a: form.a_registers(),
            b: form.b_registers(),
            c: form.registers_of(form.c),
            d: form.registers_of(form.d),
        };
        Some(Multiplier { form, registers, kind })
    }

    /// Its form.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// How many registers its fragments have.
    pub fn registers(&self) -> Registers {
        self.registers
    }

    /// `d = a b + c` of elements of at most 32 bits; `d` has as many registers as the form's result, the others are of no meaning.
    /// Operands must have as many registers as the form says.
    #[inline(always)]
    pub fn multiply(&self, memo: &mut Memo, operands: &Operands<'_>, d: &mut [Lanes; 8]) {
        match &self.kind {
            // SAFETY: `new` has chosen a function for instructions that this machine has.
            Kind::Tile(context, tile) => unsafe { tile(context, memo, operands, d) },
            Kind::Quads(layouts) => {
                quads::multiply(*layouts, [self.form.c, self.form.d], operands.a, operands.b, operands.c, d);
            }
            Kind::Double(..) => debug_assert!(false, "f64 is multiplied by `multiply_double`"),
        }
    }

    /// The same of f64.
    pub fn multiply_double(&self, operands: &DoubleOperands<'_>, d: &mut [[u64; 32]; 4]) {
        if let Kind::Double(rounding, tile) = self.kind {
            // SAFETY: as above.
            unsafe { tile(operands, rounding, d) }
        }
    }
}

fn double_tile(level: HostLevel) -> DoubleTile {
    match level {
        #[cfg(target_arch = "x86_64")]
        HostLevel::Avx2 | HostLevel::Avx512 => double::fused,
        _ => double::plain,
    }
}

fn on_level<L: Level, const SPARSE: bool>(form: Form, arithmetic: Arithmetic) -> Option<(Context, Tile)> {
    let exact = matches!(arithmetic, Arithmetic::Exact(_));
    let halved = arithmetic == Arithmetic::Exact(TensorModel::Sm90);
    let (decode_a, least_a) = decoder_a::<L>(form.a, exact, halved)?;
    let (decode_b, least_b) = decoder_b::<L>(form.b, exact, halved)?;
    let least_exponents = [least_a, least_b];
    let context = Context { form, least_exponents, halves_first: halved, decode_a, decode_b };
    let tile = function::<L, SPARSE>(&form, arithmetic)?;
    Some((context, tile))
}

/// The value of `$of::<T>()` for the operand format `T` of an element; `$halved`: Hopper's 8-bit floats.
macro_rules! by_element {
    ($element:expr, $halved:expr, $of:ident, $exact:expr) => {
        match ($element, $halved) {
            (Element::F16, _) => $of::<L, operand::F16>($exact),
            (Element::Bf16, _) => $of::<L, operand::Bf16>($exact),
            (Element::Tf32, _) => $of::<L, operand::Tf32>($exact),
            (Element::E4m3, false) => $of::<L, operand::E4m3>($exact),
            (Element::E5m2, false) => $of::<L, operand::E5m2>($exact),
            (Element::E4m3, true) => $of::<L, Halved<operand::E4m3>>($exact),
            (Element::E5m2, true) => $of::<L, Halved<operand::E5m2>>($exact),
            (Element::S8, _) => $of::<L, Bytes<true>>(false),
            (Element::U8, _) => $of::<L, Bytes<false>>(false),
            (Element::S4, _) => $of::<L, Nibbles<true>>(false),
            (Element::U4, _) => $of::<L, Nibbles<false>>(false),
            (Element::B1, _) => $of::<L, operand::Bits>(false),
            (Element::F64, _) => return None,
        }
    };
}

/// The decoder of A and the least exponent.
fn decoder_a<L: Level>(element: Element, exact: bool, halved: bool) -> Option<(DecodeA, i32)> {
    fn of<L: Level, T: Operand>(exact: bool) -> (DecodeA, i32) {
        (if exact { L::decode_a::<T, true>() } else { L::decode_a::<T, false>() }, T::LEAST_EXPONENT)
    }
    Some(by_element!(element, halved, of, exact))
}

/// The decoder of B and the least exponent.
fn decoder_b<L: Level>(element: Element, exact: bool, halved: bool) -> Option<(DecodeB, i32)> {
    fn of<L: Level, T: Operand>(exact: bool) -> (DecodeB, i32) {
        (if exact { L::decode_b::<T, true>() } else { L::decode_b::<T, false>() }, T::LEAST_EXPONENT)
    }
    Some(by_element!(element, halved, of, exact))
}

/// The function of a form's sums.
fn function<L: Level, const SPARSE: bool>(form: &Form, arithmetic: Arithmetic) -> Option<Tile> {
    use Element::*;
    use TensorModel::*;
    let saturating = match form.variant {
        Variant::Saturating => true,
        Variant::Sparse(sparse) => sparse.saturating,
        _ => false,
    };
    let half = form.c == Accumulator::F16 && form.d == Accumulator::F16;
    let k = form.stored_k();
    let model = match arithmetic {
        Arithmetic::Exact(model) => Some(model),
        Arithmetic::Fast => None,
    };
    // Groups, groups of a step, fraction bits.
    macro_rules! exact {
        ($groups:literal, $block:literal, $fraction:literal) => {
            match half {
                false => L::tile::<Exact<Steps<$groups, $block, $fraction, 0, true, false>>, SPARSE>(),
                true => L::tile::<Exact<Steps<$groups, $block, $fraction, 2, true, false>>, SPARSE>(),
            }
        };
    }
    macro_rules! exact_tf32 {
        ($groups:literal, $block:literal, $fraction:literal) => {
            L::tile::<Exact<Steps<$groups, $block, $fraction, 0, false, false>>, SPARSE>()
        };
    }
    macro_rules! halved {
        ($groups:literal, $block:literal) => {
            match half {
                false => L::tile::<Exact<Steps<$groups, $block, 25, 0, true, true>>, SPARSE>(),
                true => L::tile::<Exact<Steps<$groups, $block, 25, 2, true, true>>, SPARSE>(),
            }
        };
    }
    macro_rules! short {
        ($groups:literal) => {
            match half {
                false => L::tile::<Exact<Steps<$groups, 4, 13, 1, true, false>>, SPARSE>(),
                true => L::tile::<Exact<Steps<$groups, 4, 13, 2, true, false>>, SPARSE>(),
            }
        };
    }
    macro_rules! fast {
        ($groups:literal, $step:literal) => {
            // Where a product is exact, a fused multiply-add is as good as two operations.
            if L::FUSED {
                L::tile::<Fast<$groups, $step, false>, SPARSE>()
            } else if products_fit(form.a, form.b) {
                L::tile::<Fast<$groups, $step, true>, SPARSE>()
            } else {
                L::tile::<Fast<$groups, $step, false>, SPARSE>()
            }
        };
    }
    macro_rules! integers {
        ($groups:literal) => {
            match saturating {
                false => L::tile::<Integers<$groups, false>, SPARSE>(),
                true => L::tile::<Integers<$groups, true>, SPARSE>(),
            }
        };
    }
    Some(match (form.a, k, model) {
        (F16 | Bf16, 8, Some(Sm80 | Sm89)) => exact!(2, 2, 24),
        (F16 | Bf16, 16, Some(Sm80 | Sm89)) => exact!(4, 2, 24),
        (F16 | Bf16, 8, Some(Sm90)) => exact!(2, 2, 25),
        (F16 | Bf16, 16, Some(Sm90)) => exact!(4, 4, 25),
        (Tf32, 4, Some(Sm80 | Sm89)) => exact_tf32!(1, 1, 24),
        (Tf32, 8, Some(Sm80 | Sm89)) => exact_tf32!(2, 1, 24),
        (Tf32, 4, Some(Sm90)) => exact_tf32!(1, 1, 25),
        (Tf32, 8, Some(Sm90)) => exact_tf32!(2, 2, 25),
        (E4m3 | E5m2, 16, Some(Sm89)) => short!(4),
        (E4m3 | E5m2, 32, Some(Sm89)) => short!(8),
        (E4m3 | E5m2, 16, Some(Sm90)) => halved!(4, 2),
        (E4m3 | E5m2, 32, Some(Sm90)) => halved!(8, 4),
        (F16 | Bf16, 8, None) => fast!(2, 2),
        (F16 | Bf16, 16, None) => fast!(4, 2),
        (Tf32, 4, None) => fast!(1, 1),
        (Tf32, 8, None) => fast!(2, 1),
        (E4m3 | E5m2, 16, None) => fast!(4, 4),
        (E4m3 | E5m2, 32, None) => fast!(8, 4),
        (S8 | U8, 16, _) => integers!(2),
        (S8 | U8, 32, _) => integers!(4),
        (S4 | U4, 32, _) => integers!(4),
        (S4 | U4, 64, _) => integers!(8),
        (B1, 128, _) if !SPARSE && form.variant == Variant::Xor => L::tile::<Bits<1, true>, SPARSE>(),
        (B1, 128, _) if !SPARSE && form.variant == Variant::And => L::tile::<Bits<1, false>, SPARSE>(),
        (B1, 256, _) if !SPARSE && form.variant == Variant::Xor => L::tile::<Bits<2, true>, SPARSE>(),
        (B1, 256, _) if !SPARSE && form.variant == Variant::And => L::tile::<Bits<2, false>, SPARSE>(),
        _ => return None,
    })
}
