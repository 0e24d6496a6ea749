//! Modifiers: their spelling, and sets of them.

use std::{collections::HashMap, sync::LazyLock};

use super::Opcode;

/// Declares [`Modifier`] with the spelling of each.
macro_rules! modifiers {
    ($($name:ident $text:literal)*) => {
        /// Modifiers other than types. State spaces, vector widths, roundings, comparisons ... each is a bit of [`Modifiers`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[allow(missing_docs, reason = "the names are PTX's own")]
        pub enum Modifier { $($name,)* }

        impl Modifier {
            /// Every modifier, in the order of the enumeration.
            pub const ALL: &[Modifier] = &[$(Modifier::$name,)*];

            /// Its spelling without the dot.
            pub fn name(self) -> &'static str {
                match self { $(Modifier::$name => $text,)* }
            }
        }
    };
}

modifiers! {
    // State spaces and address conversions.
    Global "global"
    Shared "shared"
    Local "local"
    Param "param"
    Const "const"
    To "to"
    // Vectors.
    V2 "v2"
    V4 "v4"
    V8 "v8"
    // Rounding.
    Rn "rn"
    Rz "rz"
    Rm "rm"
    Rp "rp"
    Rna "rna"
    Rni "rni"
    Rzi "rzi"
    Rmi "rmi"
    Rpi "rpi"
    // Floating point behaviour.
    Ftz "ftz"
    Sat "sat"
    Approx "approx"
    Full "full"
    Nan "NaN"
    Xorsign "xorsign"
    Abs "abs"
    Relu "relu"
    Satfinite "satfinite"
    Noftz "noftz"
    // Integer results.
    Lo "lo"
    Hi "hi"
    Wide "wide"
    Cc "cc"
    L "l"
    R "r"
    Clamp "clamp"
    Wrap "wrap"
    ModeF4e "f4e"
    ModeB4e "b4e"
    ModeRc8 "rc8"
    ModeEcl "ecl"
    ModeEcr "ecr"
    ModeRc16 "rc16"
    Shiftamt "shiftamt"
    Pack "pack"
    // Comparison.
    Eq "eq"
    Ne "ne"
    Lt "lt"
    Le "le"
    Gt "gt"
    Ge "ge"
    Lo_ "lo"
    Ls "ls"
    Hi_ "hi"
    Hs "hs"
    Equ "equ"
    Neu "neu"
    Ltu "ltu"
    Leu "leu"
    Gtu "gtu"
    Geu "geu"
    Num "num"
    IsNan "nan"
    // Classes of testp.
    Finite "finite"
    Infinite "infinite"
    Number "number"
    NotANumber "notanumber"
    Normal "normal"
    Subnormal "subnormal"
    // Boolean combination of setp and set; atomics.
    And "and"
    Or "or"
    Xor "xor"
    Popc "popc"
    Add "add"
    Sub "sub"
    Min "min"
    Max "max"
    Inc "inc"
    Dec "dec"
    Exch "exch"
    Cas "cas"
    // Memory order, scope, caching.
    Weak "weak"
    Relaxed "relaxed"
    Acquire "acquire"
    Release "release"
    AcqRel "acq_rel"
    Sc "sc"
    Volatile "volatile"
    Mmio "mmio"
    Cta "cta"
    Cluster "cluster"
    Gpu "gpu"
    Sys "sys"
    Gl "gl"
    Ca "ca"
    Cg "cg"
    Cs "cs"
    Lu "lu"
    Cv "cv"
    Wb "wb"
    Wt "wt"
    Nc "nc"
    L1EvictFirst "L1::evict_first"
    L1EvictLast "L1::evict_last"
    L1EvictNormal "L1::evict_normal"
    L1EvictUnchanged "L1::evict_unchanged"
    L1NoAllocate "L1::no_allocate"
    L2CacheHint "L2::cache_hint"
    L2Prefetch64 "L2::64B"
    L2Prefetch128 "L2::128B"
    L2Prefetch256 "L2::256B"
    L2EvictFirst "L2::evict_first"
    L2EvictLast "L2::evict_last"
    L2EvictNormal "L2::evict_normal"
    L2EvictUnchanged "L2::evict_unchanged"
    Fractional "fractional"
    L1 "L1"
    L2 "L2"
    // Warp-level.
    Sync "sync"
    Aligned "aligned"
    Arrive "arrive"
    Red "red"
    Up "up"
    Down "down"
    Bfly "bfly"
    Idx "idx"
    All "all"
    Any "any"
    Uni "uni"
    Mask "mask"
    Ballot "ballot"
    // Matrix.
    M8n8 "m8n8"
    M8n8k4 "m8n8k4"
    M8n8k16 "m8n8k16"
    M8n8k32 "m8n8k32"
    M8n8k128 "m8n8k128"
    M8n32k16 "m8n32k16"
    M16n8k4 "m16n8k4"
    M16n8k8 "m16n8k8"
    M16n8k16 "m16n8k16"
    M16n8k32 "m16n8k32"
    M16n8k64 "m16n8k64"
    M16n8k128 "m16n8k128"
    M16n8k256 "m16n8k256"
    M16n16k8 "m16n16k8"
    M16n16k16 "m16n16k16"
    M32n8k16 "m32n8k16"
    X1 "x1"
    X2 "x2"
    X4 "x4"
    Trans "trans"
    Row "row"
    Col "col"
    // The second layout of an instruction: B's.
    RowB "row"
    ColB "col"
}

/// A set of [`Modifier`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Modifiers([u64; 4]);

impl Modifiers {
    /// The set of `members`.
    pub const fn of(members: &[Modifier]) -> Modifiers {
        let mut bits = [0; 4];
        let mut i = 0;
        while i < members.len() {
            bits[members[i] as usize / 64] |= 1 << (members[i] as usize % 64);
            i += 1;
        }
        Modifiers(bits)
    }

    /// Whether `modifier` is in the set.
    pub fn has(&self, modifier: Modifier) -> bool {
        self.0[modifier as usize / 64] >> (modifier as usize % 64) & 1 == 1
    }

    /// Adds `modifier`.
    pub fn insert(&mut self, modifier: Modifier) {
        self.0[modifier as usize / 64] |= 1 << (modifier as usize % 64);
    }

    /// How many members both sets share.
    pub fn count_common(&self, other: &Modifiers) -> u32 {
        let pairs = self.0.iter().zip(other.0);
        pairs.map(|(a, b)| (a & b).count_ones()).sum()
    }

    /// How many members it has.
    pub fn count(&self) -> u32 {
        self.count_common(self)
    }
}

impl Modifier {
    /// What the modifier means behind others: the second layout of a product is that of B.
    pub fn after(self, before: &Modifiers) -> Modifier {
        let second = before.has(Modifier::Row) || before.has(Modifier::Col);
        match self {
            Modifier::Row if second => Modifier::RowB,
            Modifier::Col if second => Modifier::ColB,
            other => other,
        }
    }

    /// Modifier spelt `name` (without the dot) in an instruction `opcode`: a comparison's `.lo` and `.hi` are not a product's.
    pub fn from_name(opcode: Opcode, name: &str) -> Option<Modifier> {
        static NAMES: LazyLock<HashMap<&str, Modifier>> = LazyLock::new(|| {
            let mut names = HashMap::new();
            for modifier in Modifier::ALL {
                names.entry(modifier.name()).or_insert(*modifier);
            }
            // Spellings of newer PTX versions with the older meaning.
            names.insert("shared::cta", Modifier::Shared);
            names.insert("param::entry", Modifier::Param);
            names.insert("param::func", Modifier::Param);
            names
        });
        let modifier = *NAMES.get(name)?;
        let compares = matches!(opcode, Opcode::Setp | Opcode::Set);
        Some(match modifier {
            Modifier::Lo if compares => Modifier::Lo_,
            Modifier::Hi if compares => Modifier::Hi_,
            other => other,
        })
    }
}
