//! The notation of the instruction table: which modifiers and operands a row takes.

use super::{Modifier, Modifiers};
use crate::ptx::ast::Type;

/// How many members of a group an instruction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// Every one.
    All,
    /// Every one or none.
    AllOrNone,
}

/// A group of modifiers.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// How many of them.
    pub rule: Rule,
    /// The modifiers.
    pub members: &'static [Modifier],
    /// The same as a set.
    pub mask: Modifiers,
    /// Written behind the types (`prmt.b32.f4e`).
    pub after_types: bool,
}

impl Group {
    const fn new(rule: Rule, members: &'static [Modifier]) -> Group {
        Group { rule, members, mask: Modifiers::of(members), after_types: false }
    }

    /// The same group, written behind the types.
    pub const fn after_types(mut self) -> Group {
        self.after_types = true;
        self
    }
}

/// Exactly one of `members`.
pub const fn one(members: &'static [Modifier]) -> Group {
    Group::new(Rule::One, members)
}

/// One of `members` or none.
pub const fn optional(members: &'static [Modifier]) -> Group {
    Group::new(Rule::Optional, members)
}

/// All of `members`.
pub const fn all(members: &'static [Modifier]) -> Group {
    Group::new(Rule::All, members)
}

/// All of `members` or none.
pub const fn together(members: &'static [Modifier]) -> Group {
    Group::new(Rule::AllOrNone, members)
}

/// What an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A register that is written.
    Write,
    /// A register that is written, or `_`.
    WriteOrSink,
    /// `d` or `d|p`; in a pair either may be `_`.
    WritePair,
    /// `d|p`; either may be `_`.
    WriteBoth,
    /// A register that is written, or `{a, b}` whose parts take the value apart, `_` among them.
    WriteOrUnpack,
    /// A register or a constant.
    Read,
    /// A register.
    ReadRegister,
    /// A register, a constant or a special register.
    ReadOrSpecial,
    /// A register, a constant or the address of a variable.
    ReadOrSymbol,
    /// All of the above, or `{a, b}` whose parts make up the value.
    ReadOrPack,
    /// `p`, `!p` or an integer.
    Predicate,
    /// A constant from the first number to the second.
    Immediate(u64, u64),
    /// One of these constants.
    OneOf(&'static [u64]),
    /// `[a + offset]`; a 32-bit register suffices where the instruction names a state space with short addresses.
    Address,
    /// `[a + offset]` in global memory, whatever other space the instruction names.
    GlobalAddress,
    /// A label.
    Label,
    /// The labels of a `.branchtargets` list.
    Targets,
    /// A function.
    Callee,
    /// A `.callprototype` or `.calltargets` list.
    Prototype,
    /// `(a, b)`: arguments or return values.
    List,
}

/// The type of a register or constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// The type modifier of this number.
    Of(usize),
    /// A register at least as wide as the type modifier of this number.
    AtLeast(usize),
    /// Twice as wide as the first type modifier.
    Twice,
    /// This type.
    Is(Type),
}

/// How many registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// One, without braces.
    One,
    /// `{a, b, ..}` of this many.
    Vector(usize),
    /// As `.v2` or `.v4` says, else one.
    ByModifier,
}

/// When an operand is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Always.
    Always,
    /// Present or absent.
    Optional,
    /// Present exactly when the instruction carries this modifier.
    With(Modifier),
}

/// An operand.
#[derive(Clone, Copy, Debug)]
pub struct OperandRule {
    /// What it is.
    pub kind: Kind,
    /// Its type; of no meaning for addresses, labels and functions.
    pub typing: Typing,
    /// How many registers.
    pub count: Count,
    /// When it is there.
    pub presence: Presence,
}

impl OperandRule {
    /// A single operand that is always there.
    pub const fn new(kind: Kind, typing: Typing) -> OperandRule {
        OperandRule { kind, typing, count: Count::One, presence: Presence::Always }
    }

    /// The same, as a vector of `n`.
    pub const fn vector(mut self, n: usize) -> OperandRule {
        self.count = Count::Vector(n);
        self
    }

    /// The same, as many as `.v2` or `.v4` says.
    pub const fn by_modifier(mut self) -> OperandRule {
        self.count = Count::ByModifier;
        self
    }

    /// The same, possibly absent.
    pub const fn optional(mut self) -> OperandRule {
        self.presence = Presence::Optional;
        self
    }

    /// The same, present exactly with `modifier`.
    pub const fn with(mut self, modifier: Modifier) -> OperandRule {
        self.presence = Presence::With(modifier);
        self
    }
}

/// An operand of a fixed type.
pub const fn fixed(kind: Kind, ty: Type) -> OperandRule {
    OperandRule::new(kind, Typing::Is(ty))
}

/// Destination of the first type.
pub const D: OperandRule = OperandRule::new(Kind::Write, Typing::Of(0));
/// Destination twice as wide as the first type.
pub const D_TWICE: OperandRule = OperandRule::new(Kind::Write, Typing::Twice);
/// Destination register at least as wide as the first type.
pub const D_WIDE: OperandRule = OperandRule::new(Kind::Write, Typing::AtLeast(0));
/// 32-bit destination.
pub const D_B32: OperandRule = fixed(Kind::Write, Type::B32);
/// Unsigned 32-bit destination.
pub const D_U32: OperandRule = fixed(Kind::Write, Type::U32);
/// Destination predicate.
pub const D_PRED: OperandRule = fixed(Kind::Write, Type::Pred);
/// Source of the first type.
pub const S: OperandRule = OperandRule::new(Kind::Read, Typing::Of(0));
/// Source of the second type.
pub const S1: OperandRule = OperandRule::new(Kind::Read, Typing::Of(1));
/// Source twice as wide as the first type.
pub const S_TWICE: OperandRule = OperandRule::new(Kind::Read, Typing::Twice);
/// Source register at least as wide as the second type.
pub const S1_WIDE: OperandRule = OperandRule::new(Kind::Read, Typing::AtLeast(1));
/// Unsigned 32-bit source: shift amounts, positions, barrier numbers.
pub const S_U32: OperandRule = fixed(Kind::Read, Type::U32);
/// 32-bit source: masks and packed bytes.
pub const S_B32: OperandRule = fixed(Kind::Read, Type::B32);
/// Source predicate.
pub const P: OperandRule = fixed(Kind::Predicate, Type::Pred);
/// Address.
pub const ADDRESS: OperandRule = fixed(Kind::Address, Type::U64);
/// Cache policy of an instruction with `.L2::cache_hint`.
pub const POLICY: OperandRule = fixed(Kind::ReadRegister, Type::B64).with(Modifier::L2CacheHint);
