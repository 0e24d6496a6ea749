//! What forms need of a module: the least `.target` and `.version` that have them, where those are above sm_70 and PTX 6.0.
//!
//! From the PTX manual's "target ISA notes" and "PTX ISA notes".

use std::{collections::HashMap, sync::LazyLock};

use super::{Modifier, Modifiers, Row, rules::Rule};
use crate::ptx::ast::Type;

/// The least target and version of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Needs {
    /// 80 for sm_80.
    pub target: u32,
    /// (7, 8) for PTX 7.8.
    pub version: (u32, u32),
}

/// Forms of one mnemonic and what they need. A form that several rules describe needs the most of them.
struct Need {
    mnemonic: &'static str,
    /// The form carries all of these.
    modifiers: &'static [Modifier],
    /// Its types are among these, one list for each of the first types.
    types: &'static [&'static [Type]],
    needs: Needs,
}

const fn need(
    mnemonic: &'static str,
    modifiers: &'static [Modifier],
    types: &'static [&'static [Type]],
    target: u32,
    version: (u32, u32),
) -> Need {
    Need { mnemonic, modifiers, types, needs: Needs { target, version } }
}

use Modifier::*;
use Type::*;

const BRAIN: &[Type] = &[Bf16, Bf16x2];
const HALF: &[Type] = &[F16, F16x2];
const HALF_OR_BRAIN: &[Type] = &[F16, F16x2, Bf16, Bf16x2];
const PACKED: &[Type] = &[U16x2, S16x2];
/// Elements of matrices.
const SMALL_FLOATS: &[Type] = &[E4m3, E5m2];
const FP8: &[Type] = &[E4m3x2, E5m2x2];
const INTEGERS: &[Type] = &[U8, U16, U32, U64, S8, S16, S32, S64];
const ALL: &[Type] = &[B16, B32, B64, U8, U16, U32, U64, S8, S16, S32, S64, F16, F16x2, Bf16, Bf16x2, F32, F64];

#[rustfmt::skip]
const NEEDS: &[Need] = &[
    need("add", &[], &[BRAIN], 90, (7, 8)),
    need("sub", &[], &[BRAIN], 90, (7, 8)),
    need("mul", &[], &[BRAIN], 90, (7, 8)),
    need("add", &[], &[PACKED], 90, (8, 0)),
    need("fma", &[], &[BRAIN], 80, (7, 0)),
    need("fma", &[Relu], &[], 80, (7, 0)),
    need("abs", &[], &[HALF], 0, (6, 5)),
    need("abs", &[], &[BRAIN], 80, (7, 0)),
    need("neg", &[], &[BRAIN], 80, (7, 0)),
    need("min", &[], &[HALF_OR_BRAIN], 80, (7, 0)),
    need("max", &[], &[HALF_OR_BRAIN], 80, (7, 0)),
    need("min", &[Nan], &[], 80, (7, 0)),
    need("max", &[Nan], &[], 80, (7, 0)),
    need("min", &[Xorsign], &[], 86, (7, 2)),
    need("max", &[Xorsign], &[], 86, (7, 2)),
    need("min", &[], &[PACKED], 90, (8, 0)),
    need("max", &[], &[PACKED], 90, (8, 0)),
    need("min", &[Relu], &[], 90, (8, 0)),
    need("max", &[Relu], &[], 90, (8, 0)),
    need("ex2", &[], &[HALF], 75, (7, 0)),
    need("ex2", &[], &[BRAIN], 90, (7, 8)),
    need("tanh", &[], &[], 75, (7, 0)),
    need("tanh", &[], &[BRAIN], 90, (7, 8)),
    need("szext", &[], &[], 70, (7, 6)),
    need("bmsk", &[], &[], 70, (7, 6)),
    need("lop3", &[And], &[], 70, (8, 2)),
    need("lop3", &[Or], &[], 70, (8, 2)),
    need("setp", &[], &[BRAIN], 90, (7, 8)),
    need("set", &[], &[&[U16, S16, U32, S32], HALF], 0, (6, 5)),
    need("set", &[], &[BRAIN], 90, (7, 8)),
    need("set", &[], &[ALL, BRAIN], 90, (7, 8)),
    need("cvt", &[Relu], &[&[F16], &[F32]], 80, (7, 0)),
    need("cvt", &[Satfinite], &[], 0, (8, 1)),
    need("cvt", &[], &[&[Bf16, F16x2, Bf16x2, Tf32], &[F32]], 80, (7, 0)),
    need("cvt", &[Rn], &[&[Tf32]], 90, (7, 8)),
    need("cvt", &[Rz], &[&[Tf32]], 90, (7, 8)),
    need("cvt", &[], &[&[F32], &[Bf16]], 80, (7, 1)),
    need("cvt", &[Ftz], &[&[F32], &[Bf16]], 90, (7, 8)),
    need("cvt", &[], &[&[F16, F64], &[Bf16]], 90, (7, 8)),
    need("cvt", &[], &[&[Bf16], &[F16, Bf16, F64]], 90, (7, 8)),
    need("cvt", &[], &[&[Bf16], INTEGERS], 90, (7, 8)),
    need("cvt", &[], &[INTEGERS, &[Bf16]], 90, (7, 8)),
    need("cvt", &[], &[FP8], 89, (8, 1)),
    need("cvt", &[], &[&[F16x2], FP8], 89, (8, 1)),
    need("cvt", &[Pack], &[], 72, (6, 5)),
    need("mov", &[], &[&[B128]], 70, (8, 3)),
    need("ld", &[], &[&[B128]], 70, (8, 3)),
    need("ldu", &[], &[&[B128]], 70, (8, 3)),
    need("st", &[], &[&[B128]], 70, (8, 3)),
    need("ld", &[Mmio], &[], 70, (8, 2)),
    need("st", &[Mmio], &[], 70, (8, 2)),
    need("ld", &[L2CacheHint], &[], 80, (7, 4)),
    need("st", &[L2CacheHint], &[], 80, (7, 4)),
    need("ld", &[Cluster], &[], 90, (7, 8)),
    need("st", &[Cluster], &[], 90, (7, 8)),
    need("atom", &[Cluster], &[], 90, (7, 8)),
    need("red", &[Cluster], &[], 90, (7, 8)),
    need("fence", &[Cluster], &[], 90, (7, 8)),
    need("atom", &[L2CacheHint], &[], 80, (7, 4)),
    need("red", &[L2CacheHint], &[], 80, (7, 4)),
    need("atom", &[], &[&[B128]], 90, (8, 3)),
    need("atom", &[Cas], &[&[B16]], 70, (6, 3)),
    need("atom", &[Add], &[&[F16]], 70, (6, 3)),
    need("red", &[Add], &[&[F16]], 70, (6, 3)),
    need("atom", &[], &[BRAIN], 90, (7, 8)),
    need("red", &[], &[BRAIN], 90, (7, 8)),
    need("atom", &[V2], &[], 90, (8, 1)),
    need("atom", &[V4], &[], 90, (8, 1)),
    need("atom", &[V8], &[], 90, (8, 1)),
    need("red", &[V2], &[], 90, (8, 1)),
    need("red", &[V4], &[], 90, (8, 1)),
    need("red", &[V8], &[], 90, (8, 1)),
    need("cp.async", &[], &[], 80, (7, 0)),
    need("cp.async", &[L2CacheHint], &[], 80, (7, 4)),
    need("cp.async.commit_group", &[], &[], 80, (7, 0)),
    need("cp.async.wait_group", &[], &[], 80, (7, 0)),
    need("cp.async.wait_all", &[], &[], 80, (7, 0)),
    need("createpolicy", &[], &[], 80, (7, 4)),
    need("createpolicy.range", &[], &[], 80, (7, 4)),
    need("createpolicy.cvt", &[], &[], 80, (7, 4)),
    need("discard", &[], &[], 80, (7, 4)),
    need("applypriority", &[], &[], 80, (7, 4)),
    need("prefetch", &[L2EvictLast], &[], 80, (7, 4)),
    need("prefetch", &[L2EvictNormal], &[], 80, (7, 4)),
    need("redux", &[], &[], 80, (7, 0)),
    need("match", &[], &[], 70, (6, 0)),
    need("nanosleep", &[], &[], 70, (6, 3)),
    need("alloca", &[], &[], 52, (7, 3)),
    need("stacksave", &[], &[], 52, (7, 3)),
    need("stackrestore", &[], &[], 52, (7, 3)),
    need("fence", &[], &[], 70, (6, 0)),
    need("fence.proxy.alias", &[], &[], 70, (7, 5)),
    need("membar.proxy.alias", &[], &[], 70, (7, 5)),
    need("cvt", &[Pack], &[&[U4, S4, U2, S2]], 75, (6, 5)),
    // Memory.
    need("ld", &[Cluster], &[], 90, (7, 8)),
    need("st", &[Cluster], &[], 90, (7, 8)),
    need("atom", &[Cluster], &[], 90, (7, 8)),
    need("red", &[Cluster], &[], 90, (7, 8)),
    need("fence", &[Cluster], &[], 90, (7, 8)),
    need("ld", &[L2CacheHint], &[], 80, (7, 4)),
    need("st", &[L2CacheHint], &[], 80, (7, 4)),
    need("atom", &[L2CacheHint], &[], 80, (7, 4)),
    need("red", &[L2CacheHint], &[], 80, (7, 4)),
    need("cp.async", &[L2CacheHint], &[], 80, (7, 4)),
    need("ld", &[L1EvictFirst], &[], 70, (7, 4)),
    need("ld", &[L1EvictLast], &[], 70, (7, 4)),
    need("ld", &[L1EvictNormal], &[], 70, (7, 4)),
    need("ld", &[L1EvictUnchanged], &[], 70, (7, 4)),
    need("ld", &[L1NoAllocate], &[], 70, (7, 4)),
    need("st", &[L1EvictFirst], &[], 70, (7, 4)),
    need("st", &[L1EvictLast], &[], 70, (7, 4)),
    need("st", &[L1EvictNormal], &[], 70, (7, 4)),
    need("st", &[L1EvictUnchanged], &[], 70, (7, 4)),
    need("st", &[L1NoAllocate], &[], 70, (7, 4)),
    need("ld", &[L2Prefetch64], &[], 75, (7, 4)),
    need("ld", &[L2Prefetch128], &[], 75, (7, 4)),
    need("ld", &[L2Prefetch256], &[], 80, (7, 4)),
    need("atom", &[Add], &[BRAIN], 90, (7, 8)),
    need("red", &[Add], &[BRAIN], 90, (7, 8)),
    need("cp.async", &[], &[], 80, (7, 0)),
    need("cp.async", &[L2Prefetch64], &[], 80, (7, 4)),
    need("cp.async", &[L2Prefetch128], &[], 80, (7, 4)),
    need("cp.async", &[L2Prefetch256], &[], 80, (7, 4)),
    need("cp.async.commit_group", &[], &[], 80, (7, 0)),
    need("cp.async.wait_group", &[], &[], 80, (7, 0)),
    need("cp.async.wait_all", &[], &[], 80, (7, 0)),
    need("prefetch", &[L2EvictLast], &[], 80, (7, 4)),
    need("prefetch", &[L2EvictNormal], &[], 80, (7, 4)),
    need("createpolicy", &[], &[], 80, (7, 4)),
    need("cvta", &[Param], &[], 70, (7, 7)),
    need("isspacep", &[Param], &[], 70, (7, 7)),
    // Warps.
    need("redux", &[], &[], 80, (7, 0)),
    need("ldmatrix", &[], &[], 75, (6, 5)),
    need("movmatrix", &[], &[], 75, (7, 8)),
    need("bar", &[Cta], &[], 70, (7, 8)),
    need("barrier", &[Cta], &[], 70, (7, 8)),
    need("mma", &[], &[], 70, (6, 4)),
    need("mma", &[M16n8k8], &[], 75, (6, 5)),
    need("mma", &[], &[&[S32]], 75, (6, 5)),
    need("mma", &[M16n8k4], &[], 80, (7, 0)),
    need("mma", &[M16n8k16], &[], 80, (7, 0)),
    need("mma", &[M16n8k32], &[], 80, (7, 0)),
    need("mma", &[M16n8k64], &[], 80, (7, 0)),
    need("mma", &[M16n8k128], &[], 80, (7, 0)),
    need("mma", &[M16n8k256], &[], 80, (7, 0)),
    need("mma", &[], &[&[F32], &[Bf16, Tf32]], 80, (7, 0)),
    need("mma", &[], &[&[F64]], 80, (7, 0)),
    need("mma", &[M16n8k4], &[&[F64]], 90, (7, 8)),
    need("mma", &[M16n8k8], &[&[F64]], 90, (7, 8)),
    need("mma", &[M16n8k16], &[&[F64]], 90, (7, 8)),
    need("mma", &[], &[&[F32], SMALL_FLOATS], 89, (8, 4)),
    need("mma", &[M16n8k16], &[&[F32], SMALL_FLOATS], 89, (8, 7)),
    need("mma", &[], &[&[F16], SMALL_FLOATS], 89, (8, 7)),
    need("mma", &[Popc], &[], 75, (7, 0)),
    need("mma", &[Popc, And], &[], 80, (7, 1)),
    need("mma.sp", &[], &[], 80, (7, 1)),
    need("mma.sp", &[], &[&[F32], SMALL_FLOATS], 89, (8, 4)),
    need("mma.sp::ordered_metadata", &[], &[], 80, (8, 5)),
    need("mma.sp::ordered_metadata", &[], &[&[F32], SMALL_FLOATS], 89, (8, 5)),
    need("wmma.load.a", &[], &[], 70, (6, 0)),
    need("wmma.load.a", &[M32n8k16], &[], 70, (6, 1)),
    need("wmma.load.a", &[M8n32k16], &[], 70, (6, 1)),
    need("wmma.load.a", &[], &[&[S8, U8]], 72, (6, 3)),
    need("wmma.load.a", &[], &[&[S4, U4, B1]], 75, (6, 3)),
    need("wmma.load.a", &[], &[&[Bf16, Tf32, F64]], 80, (7, 0)),
    need("wmma.load.b", &[], &[], 70, (6, 0)),
    need("wmma.load.b", &[M32n8k16], &[], 70, (6, 1)),
    need("wmma.load.b", &[M8n32k16], &[], 70, (6, 1)),
    need("wmma.load.b", &[], &[&[S8, U8]], 72, (6, 3)),
    need("wmma.load.b", &[], &[&[S4, U4, B1]], 75, (6, 3)),
    need("wmma.load.b", &[], &[&[Bf16, Tf32, F64]], 80, (7, 0)),
    need("wmma.load.c", &[], &[], 70, (6, 0)),
    need("wmma.load.c", &[M32n8k16], &[], 70, (6, 1)),
    need("wmma.load.c", &[M8n32k16], &[], 70, (6, 1)),
    need("wmma.load.c", &[], &[&[S32]], 72, (6, 3)),
    need("wmma.load.c", &[M16n16k8], &[], 80, (7, 0)),
    need("wmma.load.c", &[], &[&[F64]], 80, (7, 0)),
    need("wmma.store.d", &[], &[], 70, (6, 0)),
    need("wmma.store.d", &[M32n8k16], &[], 70, (6, 1)),
    need("wmma.store.d", &[M8n32k16], &[], 70, (6, 1)),
    need("wmma.store.d", &[], &[&[S32]], 72, (6, 3)),
    need("wmma.store.d", &[M16n16k8], &[], 80, (7, 0)),
    need("wmma.store.d", &[], &[&[F64]], 80, (7, 0)),
    need("wmma.mma", &[], &[], 70, (6, 0)),
    need("wmma.mma", &[M32n8k16], &[], 70, (6, 1)),
    need("wmma.mma", &[M8n32k16], &[], 70, (6, 1)),
    need("wmma.mma", &[], &[&[S32]], 72, (6, 3)),
    need("wmma.mma", &[], &[&[S32], &[S4, U4, B1]], 75, (6, 3)),
    need("wmma.mma", &[And], &[], 80, (7, 1)),
    need("wmma.mma", &[], &[&[F32], &[Bf16, Tf32]], 80, (7, 0)),
    need("wmma.mma", &[], &[&[F64]], 80, (7, 0)),
];

/// The rules of a mnemonic.
fn rules(mnemonic: &str) -> &'static [&'static Need] {
    static BY_MNEMONIC: LazyLock<HashMap<&str, Vec<&'static Need>>> = LazyLock::new(|| {
        let mut map: HashMap<&str, Vec<&'static Need>> = HashMap::new();
        for need in NEEDS {
            map.entry(need.mnemonic).or_default().push(need);
        }
        map
    });
    BY_MNEMONIC.get(mnemonic).map_or(&[], Vec::as_slice)
}

impl Needs {
    /// What an instruction needs of its module.
    pub fn of(row: &Row, modifiers: &Modifiers, types: &[Type]) -> Needs {
        let describes = |need: &&&Need| {
            need.modifiers.iter().all(|modifier| modifiers.has(*modifier))
                && need.types.len() <= types.len()
                && need.types.iter().zip(types).all(|(list, ty)| list.contains(ty))
        };
        rules(row.mnemonic).iter().filter(describes).fold(Needs::default(), |most, need| most.and(need.needs))
    }

    /// Both.
    fn and(self, other: Needs) -> Needs {
        Needs { target: self.target.max(other.target), version: self.version.max(other.version) }
    }

    /// `sm_80, PTX 7.0`, without what every module has.
    fn text(self) -> String {
        let version = format!("PTX {}.{}", self.version.0, self.version.1);
        match self.target {
            ..=70 => version,
            target => format!("sm_{target}, {version}"),
        }
    }
}

/// What the forms of a row need, for readers: empty where every module may hold all of them.
pub(super) fn description(row: &Row) -> String {
    let mut parts: Vec<(String, Needs)> = Vec::new();
    for need in rules(row.mnemonic) {
        let Some(condition) = condition(row, need) else { continue };
        match parts.iter_mut().find(|(known, _)| *known == condition) {
            Some((_, needs)) => *needs = needs.and(need.needs),
            None => parts.push((condition, need.needs)),
        }
    }
    let always = parts.iter().find(|(condition, _)| condition.is_empty()).map_or(Needs::default(), |part| part.1);
    // What a condition adds to what the row needs anyway.
    parts.retain(|(condition, needs)| condition.is_empty() || always.and(*needs) != always);
    let text = |(condition, needs): &(String, Needs)| match condition.as_str() {
        "" => needs.text(),
        condition => format!("{condition}: {}", needs.text()),
    };
    parts.iter().map(text).collect::<Vec<_>>().join("; ")
}

/// Which forms of the row a rule describes: nothing said where all, none where no form.
fn condition(row: &Row, need: &Need) -> Option<String> {
    let mut words = Vec::new();
    for modifier in need.modifiers {
        let group = row.modifiers.iter().find(|group| group.mask.has(*modifier))?;
        if group.rule != Rule::All && group.members.len() + usize::from(group.rule == Rule::Optional) > 1 {
            words.push(format!(".{}", modifier.name()));
        }
    }
    if need.types.len() > row.types.len() {
        return None;
    }
    for (list, types) in need.types.iter().zip(row.types) {
        let shared: Vec<String> =
            types.iter().filter(|ty| list.contains(ty)).map(|ty| format!(".{}", ty.name())).collect();
        match shared.len() {
            0 => return None,
            all if all == types.len() => {}
            _ => words.push(shared.join("|")),
        }
    }
    Some(words.join(" with "))
}
