//! Does an instruction match a row?

use super::{
    Modifier, Modifiers, Row,
    rules::{Count, Kind, OperandRule, Presence, Rule, Typing},
};
use crate::ptx::{
    ast::{Base, Operand, RegisterId, Space, Symbol, Type},
    types::Class,
};

/// What the names in operands stand for.
pub trait Names {
    /// Type of a register.
    fn register(&self, id: RegisterId) -> Type;
    /// State space of a variable; none for a function.
    fn space(&self, symbol: Symbol) -> Option<Space>;
}

/// Why operands do not match a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// How many operands did match.
    pub matched: usize,
    /// What is wrong, without the opcode.
    pub message: String,
}

impl Row {
    /// Whether the row takes these modifiers and types.
    pub fn accepts(&self, modifiers: &Modifiers, types: &[Type]) -> bool {
        if self.types.len() != types.len() {
            return false;
        }
        let mut covered = 0;
        for group in self.modifiers {
            let count = modifiers.count_common(&group.mask);
            let all = group.members.len() as u32;
            let fits = match group.rule {
                Rule::One => count == 1,
                Rule::Optional => count <= 1,
                Rule::All => count == all,
                Rule::AllOrNone => count == 0 || count == all,
            };
            if !fits {
                return false;
            }
            covered += count;
        }
        covered == modifiers.count() && self.types.iter().zip(types).all(|(list, ty)| list.contains(ty))
    }

    /// Matches operands against the row. On success constants have the width of their type, and `{a}` where one register is
    /// meant has become `a`.
    pub fn bind(
        &self,
        modifiers: &Modifiers,
        types: &[Type],
        operands: &mut [Operand],
        names: &dyn Names,
    ) -> Result<(), Mismatch> {
        let is_there = |rule: &&OperandRule| match rule.presence {
            Presence::Always | Presence::Optional => true,
            Presence::With(modifier) => modifiers.has(modifier),
        };
        let most: Vec<&OperandRule> = self.operands.iter().filter(is_there).collect();
        let is_needed = |rule: &&&OperandRule| rule.presence != Presence::Optional;
        let least = most.iter().filter(is_needed).count();
        let rules: Vec<&OperandRule> = match operands.len() {
            n if n == most.len() => most,
            n if n == least => most.into_iter().filter(|rule| is_needed(&rule)).collect(),
            n => {
                let most = most.len();
                let expected = match least == most {
                    true => format!("{most}"),
                    false => format!("{least} or {most}"),
                };
                let message = format!("has {n} operands, expected {expected}");
                return Err(Mismatch { matched: 0, message });
            }
        };
        let context = Context { modifiers, types, names };
        for (index, (operand, rule)) in operands.iter_mut().zip(rules).enumerate() {
            context.operand(rule, operand).map_err(|expected| Mismatch {
                matched: index + 1,
                message: format!("operand {} is {}, expected {expected}", index + 1, context.describe(operand)),
            })?;
        }
        Ok(())
    }
}

/// What an operand's rule is read against.
struct Context<'a> {
    modifiers: &'a Modifiers,
    types: &'a [Type],
    names: &'a dyn Names,
}

impl Context<'_> {
    /// Checks one operand; the error says what was expected.
    fn operand(&self, rule: &OperandRule, operand: &mut Operand) -> Result<(), String> {
        let count = match rule.count {
            Count::One => None,
            Count::Vector(n) => Some(n),
            Count::ByModifier if self.modifiers.has(Modifier::V2) => Some(2),
            Count::ByModifier if self.modifiers.has(Modifier::V4) => Some(4),
            Count::ByModifier if self.modifiers.has(Modifier::V8) => Some(8),
            Count::ByModifier => None,
        };
        if let Some(n) = count {
            let expected = || format!("{{..}} of {n} times {}", self.expected(rule));
            if rule.count == Count::ByModifier && self.wanted(rule).0.bits() as usize * n > 128 {
                return Err("a vector of at most 128 bits".into());
            }
            return match operand {
                Operand::Vector(items) if items.len() == n => items
                    .iter_mut()
                    .all(|item| {
                        let sink = *item == Operand::Sink && rule.kind == Kind::Write;
                        sink || self.single(rule, item)
                    })
                    .then_some(())
                    .ok_or_else(expected),
                _ => Err(expected()),
            };
        }
        // `ld.global.b32 {%r1}, [a]` is written by some compilers.
        if let Operand::Vector(items) = operand
            && let [item] = items.as_slice()
            && !matches!(rule.kind, Kind::List | Kind::Targets)
        {
            *operand = item.clone();
        }
        match self.single(rule, operand) {
            true => Ok(()),
            false => Err(self.expected(rule)),
        }
    }

    /// Whether a single operand fits; a fitting constant takes on the width of its type.
    fn single(&self, rule: &OperandRule, operand: &mut Operand) -> bool {
        let (wanted, wider) = self.wanted(rule);
        let register = |id: RegisterId| agrees(self.names.register(id), wanted, wider);
        match (rule.kind, &mut *operand) {
            (
                Kind::Write
                | Kind::WriteOrSink
                | Kind::WritePair
                | Kind::WriteOrUnpack
                | Kind::Read
                | Kind::ReadRegister
                | Kind::ReadOrSpecial
                | Kind::ReadOrSymbol
                | Kind::ReadOrPack
                | Kind::Predicate,
                Operand::Register(id),
            ) => register(*id),
            (Kind::WriteOrSink, Operand::Sink) => true,
            (Kind::WritePair | Kind::WriteBoth, Operand::Pair(first, second)) => {
                let is_predicate = |operand: &Operand| match operand {
                    Operand::Register(id) => self.names.register(*id) == Type::Pred,
                    other => *other == Operand::Sink,
                };
                let first_fits = match **first {
                    Operand::Register(id) => register(id),
                    ref other => *other == Operand::Sink,
                };
                first_fits && is_predicate(second)
            }
            (
                Kind::Read | Kind::ReadOrSpecial | Kind::ReadOrSymbol | Kind::ReadOrPack,
                Operand::Integer(_) | Operand::Float32(_) | Operand::Float64(_),
            ) => fit_constant(operand, wanted),
            (Kind::ReadOrSpecial | Kind::ReadOrPack, Operand::Special(special)) => {
                let integral = matches!(wanted.class(), Class::Integer | Class::Bits);
                integral && special.bits() >= wanted.bits() && special.bits() > 1
            }
            (Kind::ReadOrSymbol | Kind::ReadOrPack, Operand::Symbol(symbol, _)) => {
                let short = self.names.space(*symbol).is_some_and(Space::has_short_addresses);
                let integral = matches!(wanted.class(), Class::Integer | Class::Bits);
                integral && (wanted.bits() == 64 || wanted.bits() == 32 && short)
            }
            (Kind::WriteOrUnpack, Operand::Vector(items)) => self.parts(items, wanted, true),
            (Kind::ReadOrPack, Operand::Vector(items)) => self.parts(items, wanted, false),
            (Kind::Predicate, Operand::NotPredicate(_) | Operand::Integer(_)) => true,
            (Kind::Predicate, Operand::Special(special)) => special.bits() == 1,
            (Kind::Immediate(low, high), Operand::Integer(value)) => (low..=high).contains(value),
            (Kind::OneOf(values), Operand::Integer(value)) => values.contains(value),
            (Kind::Address, Operand::Address(base, _)) => self.address(base, self.is_short()),
            (Kind::GlobalAddress, Operand::Address(base, _)) => self.address(base, false),
            (Kind::Label, Operand::Label(_)) => true,
            (Kind::Targets, Operand::Vector(items)) => items.iter().all(|item| matches!(item, Operand::Label(_))),
            (Kind::Callee, Operand::Symbol(Symbol::Function(_), 0)) => true,
            (Kind::List, Operand::Vector(_)) => true,
            (Kind::Prototype, Operand::Prototype(_)) => true,
            _ => false,
        }
    }

    /// The parts of a `mov` that packs or unpacks: equally wide, together as wide as the whole.
    fn parts(&self, items: &[Operand], whole: Type, written: bool) -> bool {
        let count = items.len() as u32;
        if whole.class() != Class::Bits || !matches!(count, 2 | 4) {
            return false;
        }
        let bits = whole.bits() / count;
        items.iter().all(|item| match item {
            Operand::Register(id) => {
                let ty = self.names.register(*id);
                ty.bits() == bits && ty != Type::Pred
            }
            Operand::Sink => written,
            Operand::Integer(_) => !written,
            Operand::Float32(_) => !written && bits == 32,
            _ => false,
        })
    }

    fn address(&self, base: &Base, short: bool) -> bool {
        match base {
            Base::Register(id) => {
                let ty = self.names.register(*id);
                let integral = matches!(ty.class(), Class::Integer | Class::Bits);
                integral && (ty.bits() == 64 || short && ty.bits() == 32)
            }
            Base::Symbol(symbol) => self.names.space(*symbol).is_some(),
            Base::Absolute => true,
        }
    }

    /// Whether the instruction names a state space with 32-bit addresses.
    fn is_short(&self) -> bool {
        let spaces = [Modifier::Shared, Modifier::Local, Modifier::Param, Modifier::Const];
        spaces.iter().any(|space| self.modifiers.has(*space))
    }

    /// Type that a rule asks for, and whether a wider register will do.
    fn wanted(&self, rule: &OperandRule) -> (Type, bool) {
        let of = |index: usize| self.types.get(index).copied().unwrap_or(Type::B32);
        match rule.typing {
            Typing::Of(index) => (storage(of(index)), false),
            Typing::AtLeast(index) => (storage(of(index)), true),
            Typing::Is(ty) => (ty, false),
            Typing::Twice => match of(0) {
                Type::U16 => (Type::U32, false),
                Type::S16 => (Type::S32, false),
                Type::U32 => (Type::U64, false),
                _ => (Type::S64, false),
            },
        }
    }

    /// What a rule asks for, in words.
    fn expected(&self, rule: &OperandRule) -> String {
        let (wanted, wider) = self.wanted(rule);
        let of_type = match wider {
            true => format!("of type .{} or wider", wanted.name()),
            false => format!("of type .{}", wanted.name()),
        };
        match rule.kind {
            Kind::Write | Kind::ReadRegister => format!("a register {of_type}"),
            Kind::WriteOrSink => format!("a register {of_type} or _"),
            Kind::WritePair => format!("a register {of_type}, or d|p"),
            Kind::WriteBoth => "p|q".into(),
            Kind::WriteOrUnpack => format!("a register {of_type} or {{..}} of its parts"),
            Kind::Read => format!("a register or constant {of_type}"),
            Kind::ReadOrSpecial => format!("a register, constant or special register {of_type}"),
            Kind::ReadOrSymbol => format!("a register, constant or address {of_type}"),
            Kind::ReadOrPack => format!("a value {of_type} or {{..}} of its parts"),
            Kind::Predicate => "a predicate".into(),
            Kind::Immediate(low, high) => format!("a constant from {low} to {high}"),
            Kind::OneOf(values) => {
                let values: Vec<String> = values.iter().map(u64::to_string).collect();
                format!("the constant {}", values.join(" or "))
            }
            Kind::Address if self.is_short() => "an address".into(),
            Kind::Address | Kind::GlobalAddress => "a 64-bit address".into(),
            Kind::Label => "a label".into(),
            Kind::Targets => "a .branchtargets list".into(),
            Kind::Callee => "a function".into(),
            Kind::List => "a list of arguments".into(),
            Kind::Prototype => "a .callprototype or .calltargets list".into(),
        }
    }

    /// An operand in words.
    fn describe(&self, operand: &Operand) -> String {
        match operand {
            Operand::Register(id) => match self.names.register(*id) {
                Type::Pred => "a predicate".into(),
                ty => format!("a register of type .{}", ty.name()),
            },
            Operand::NotPredicate(_) => "a negated predicate".into(),
            Operand::Special(special) => format!("the special register {}", special.name()),
            Operand::Integer(value) => format!("the integer {}", *value as i64),
            Operand::Float32(_) | Operand::Float64(_) => "a floating-point constant".into(),
            Operand::Symbol(Symbol::Function(_), _) => "a function".into(),
            Operand::Symbol(..) => "the address of a variable".into(),
            Operand::Address(Base::Register(id), _) => {
                format!("an address in a register of type .{}", self.names.register(*id).name())
            }
            Operand::Address(..) => "an address".into(),
            Operand::Vector(items) => format!("{{..}} of {}", items.len()),
            Operand::Pair(..) => "a pair".into(),
            Operand::Sink => "_".into(),
            Operand::Label(_) => "a label".into(),
            Operand::Prototype(_) => "a call prototype".into(),
        }
    }
}

/// Register type that holds a value of type `ty`.
fn storage(ty: Type) -> Type {
    match ty {
        Type::Tf32 => Type::B32,
        Type::E4m3x2 | Type::E5m2x2 => Type::B16,
        other => other,
    }
}

/// Whether a register of type `register` may stand where `wanted` is asked for.
fn agrees(register: Type, wanted: Type, wider: bool) -> bool {
    if register == Type::Pred || wanted == Type::Pred {
        return register == wanted;
    }
    let size = match wider {
        true => register.bits() >= wanted.bits(),
        false => register.bits() == wanted.bits(),
    };
    let (a, b) = (register.class(), wanted.class());
    size && (a == b || a == Class::Bits || b == Class::Bits)
}

/// Whether a constant may stand where `wanted` is asked for; a fitting one takes on that width.
fn fit_constant(operand: &mut Operand, wanted: Type) -> bool {
    let converted = match (&*operand, wanted) {
        (Operand::Integer(value), ty) if matches!(ty.class(), Class::Integer | Class::Bits) => Operand::Integer(*value),
        (Operand::Float32(bits), Type::F32 | Type::B32) => Operand::Float32(*bits),
        (Operand::Float64(bits), Type::F64 | Type::B64) => Operand::Float64(*bits),
        (Operand::Float32(bits), Type::F64) => Operand::Float64(f64::from(f32::from_bits(*bits)).to_bits()),
        (Operand::Float64(bits), Type::F32) => Operand::Float32((f64::from_bits(*bits) as f32).to_bits()),
        _ => return false,
    };
    *operand = converted;
    true
}
