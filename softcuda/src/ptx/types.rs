//! Spelling, size and class of PTX types and state spaces.

use super::ast::{Space, Type};

/// Every type with its spelling and size in bits.
const TYPES: &[(Type, &str, u32)] = &[
    (Type::Pred, "pred", 1),
    (Type::B8, "b8", 8),
    (Type::B16, "b16", 16),
    (Type::B32, "b32", 32),
    (Type::B64, "b64", 64),
    (Type::B128, "b128", 128),
    (Type::U8, "u8", 8),
    (Type::U16, "u16", 16),
    (Type::U32, "u32", 32),
    (Type::U64, "u64", 64),
    (Type::S8, "s8", 8),
    (Type::S16, "s16", 16),
    (Type::S32, "s32", 32),
    (Type::S64, "s64", 64),
    (Type::F16, "f16", 16),
    (Type::F16x2, "f16x2", 32),
    (Type::Bf16, "bf16", 16),
    (Type::Bf16x2, "bf16x2", 32),
    (Type::F32, "f32", 32),
    (Type::F64, "f64", 64),
    (Type::Tf32, "tf32", 32),
    (Type::E4m3, "e4m3", 8),
    (Type::E5m2, "e5m2", 8),
    (Type::E4m3x2, "e4m3x2", 16),
    (Type::E5m2x2, "e5m2x2", 16),
    (Type::U4, "u4", 4),
    (Type::S4, "s4", 4),
    (Type::B1, "b1", 1),
    (Type::U2, "u2", 2),
    (Type::S2, "s2", 2),
    (Type::U16x2, "u16x2", 32),
    (Type::S16x2, "s16x2", 32),
];

/// What a type's bits mean, as far as the agreement of registers with instructions goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `.pred`.
    Predicate,
    /// `.bN`: agrees with every type of its size.
    Bits,
    /// Signed or unsigned.
    Integer,
    /// Any floating-point format.
    Float,
}

impl Type {
    /// Type spelt `name` (without the dot).
    pub fn from_name(name: &str) -> Option<Type> {
        TYPES.iter().find(|(_, text, _)| *text == name).map(|(ty, _, _)| *ty)
    }

    /// Its spelling without the dot.
    pub fn name(self) -> &'static str {
        // The list is in the order of the enumeration, as a test shows.
        TYPES[self as usize].1
    }

    /// Its size in bits.
    pub fn bits(self) -> u32 {
        TYPES[self as usize].2
    }

    /// Its size in memory in bytes; a predicate and the types below a byte count as one.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }

    /// Its class.
    pub fn class(self) -> Class {
        match self {
            Type::Pred => Class::Predicate,
            Type::B1 | Type::B8 | Type::B16 | Type::B32 | Type::B64 | Type::B128 => Class::Bits,
            Type::U2 | Type::U4 | Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::U16x2 => Class::Integer,
            Type::S2 | Type::S4 | Type::S8 | Type::S16 | Type::S32 | Type::S64 | Type::S16x2 => Class::Integer,
            _ => Class::Float,
        }
    }

    /// Whether a variable or register may have this type.
    pub fn is_storable(self) -> bool {
        !matches!(
            self,
            Type::Tf32
                | Type::E4m3
                | Type::E5m2
                | Type::E4m3x2
                | Type::E5m2x2
                | Type::U4
                | Type::S4
                | Type::B1
                | Type::U2
                | Type::S2
                | Type::U16x2
                | Type::S16x2
        )
    }
}

impl Space {
    /// Space of a declaration, spelt `name` (without the dot).
    pub fn from_name(name: &str) -> Option<Space> {
        Some(match name {
            "global" => Space::Global,
            "shared" => Space::Shared,
            "local" => Space::Local,
            "param" => Space::Param,
            "const" => Space::Const,
            _ => return None,
        })
    }

    /// Its spelling without the dot; empty for the generic space.
    pub fn name(self) -> &'static str {
        match self {
            Space::Generic => "",
            Space::Global => "global",
            Space::Shared => "shared",
            Space::Local => "local",
            Space::Param => "param",
            Space::Const => "const",
        }
    }

    /// Whether 32 bits hold an address of this space.
    pub fn has_short_addresses(self) -> bool {
        matches!(self, Space::Shared | Space::Local | Space::Param | Space::Const)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_types_is_in_the_order_of_the_enumeration() {
        for (index, (ty, name, _)) in TYPES.iter().enumerate() {
            assert_eq!(*ty as usize, index, "{name}");
            assert_eq!(Type::from_name(name), Some(*ty));
        }
    }
}
