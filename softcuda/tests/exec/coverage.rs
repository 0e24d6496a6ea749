//! Every row of the instruction table, with every type and every modifier, loads and executes.

use softcuda::chip::Architecture;
use softcuda::config::Config;
use softcuda::exec::{self, Launch, Machine};
use softcuda::fault::FaultKind;
use softcuda::memory::GlobalMemory;
use softcuda::program::Program;
use softcuda::ptx::ast::Type;
use softcuda::ptx::isa::rules::{Count, Group, Kind, OperandRule, Presence, Rule, Typing};
use softcuda::ptx::isa::{Modifier, Opcode, Row, rows};
use std::collections::BTreeMap;

/// A form of a row: which modifiers, which types, with the optional operands or without.
pub(super) struct Form {
    pub(super) modifiers: Vec<Modifier>,
    pub(super) types: Vec<Type>,
    pub(super) optional: bool,
}

/// What a group may contribute.
fn choices(group: &Group) -> Vec<Vec<Modifier>> {
    let single = || group.members.iter().map(|&member| vec![member]);
    match group.rule {
        Rule::One => single().collect(),
        Rule::Optional => std::iter::once(vec![]).chain(single()).collect(),
        Rule::All => vec![group.members.to_vec()],
        Rule::AllOrNone => vec![vec![], group.members.to_vec()],
    }
}

/// Every combination of one item of each list.
fn product<T: Clone>(lists: &[Vec<T>]) -> Vec<Vec<T>> {
    lists.iter().fold(vec![vec![]], |done, list| {
        done.iter()
            .flat_map(|start| list.iter().map(|item| [start.as_slice(), std::slice::from_ref(item)].concat()))
            .collect()
    })
}

/// The choices of all groups: all combinations where they are few, else each choice beside the first of the others.
fn combinations(groups: &[Group]) -> Vec<Vec<Vec<Modifier>>> {
    let lists: Vec<Vec<Vec<Modifier>>> = groups.iter().map(choices).collect();
    if lists.iter().map(Vec::len).product::<usize>() <= 96 {
        return product(&lists);
    }
    let first: Vec<Vec<Modifier>> = lists.iter().map(|list| list[0].clone()).collect();
    let mut all = vec![first.clone()];
    for (place, list) in lists.iter().enumerate() {
        for choice in &list[1..] {
            let mut one = first.clone();
            one[place] = choice.clone();
            all.push(one);
        }
    }
    all
}

fn forms(row: &Row) -> Vec<Form> {
    let types: Vec<Vec<Type>> = row.types.iter().map(|list| list.to_vec()).collect();
    let has_optional = row.operands.iter().any(|rule| rule.presence == Presence::Optional);
    let mut forms = Vec::new();
    for choice in combinations(row.modifiers) {
        for types in product(&types) {
            for optional in if has_optional { &[true, false][..] } else { &[true] } {
                let form = Form { modifiers: choice.concat(), types: types.clone(), optional: *optional };
                // PTX has no vectors of more than 128 bits.
                let vector = row.operands.iter().any(|rule| rule.count == Count::ByModifier);
                let wide = vector && types[0].bits() as usize * elements(&form).unwrap_or(1) > 128;
                if !wide {
                    forms.push(form);
                }
            }
        }
    }
    forms
}

/// The opcode as PTX spells it.
fn spelling(row: &Row, form: &Form) -> String {
    let mut text = row.mnemonic.to_owned();
    let push = |text: &mut String, after: bool| {
        for group in row.modifiers.iter().filter(|group| group.after_types == after) {
            for member in group.members.iter().filter(|member| form.modifiers.contains(member)) {
                *text += &format!(".{}", member.name());
            }
        }
    };
    push(&mut text, false);
    for ty in &form.types {
        text += &format!(".{}", ty.name());
    }
    push(&mut text, true);
    text
}

/// The type of a register for an operand, and its bits.
pub(super) fn type_of(rule: &OperandRule, form: &Form) -> (Type, u32) {
    let (ty, bits) = match rule.typing {
        Typing::Of(n) | Typing::AtLeast(n) => (form.types[n], form.types[n].bits()),
        Typing::Twice => (Type::U64, 2 * form.types[0].bits()),
        Typing::Is(ty) => (ty, ty.bits()),
    };
    (if rule.typing == Typing::Twice && bits == 32 { Type::U32 } else { ty }, bits)
}

/// A kernel of one instruction: declarations, values, the instruction.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) before: String,
    pub(super) registers: usize,
}

/// How many elements the form's vectors have.
fn elements(form: &Form) -> Option<usize> {
    let counts = [(Modifier::V2, 2), (Modifier::V4, 4), (Modifier::V8, 8)];
    counts.into_iter().find(|(modifier, _)| form.modifiers.contains(modifier)).map(|(_, count)| count)
}

impl Writer {
    /// A register of a type, with a value in it.
    pub(super) fn register(&mut self, ty: Type, bits: u32) -> String {
        let name = format!("%o{}", self.registers);
        self.named(name, ty, bits)
    }

    /// The same under a name.
    pub(super) fn named(&mut self, name: String, ty: Type, bits: u32) -> String {
        self.registers += 1;
        let (kind, value) = match (ty, bits) {
            (Type::Pred, _) => ("pred", ""),
            (Type::F32, _) => ("f32", "0f3F800000"),
            (Type::F64, _) => ("f64", "0d3FF0000000000000"),
            (Type::F16, _) => ("b16", "0x3c00"),
            (Type::Bf16, _) => ("b16", "0x3f80"),
            (Type::F16x2, _) => ("b32", "0x3c003c00"),
            (Type::Bf16x2, _) => ("b32", "0x3f803f80"),
            (Type::B32, _) => ("b32", "-1"),
            (Type::B128, _) => {
                self.before += &format!(".reg .b128 {name};\n.reg .b64 {name}half;\nmov.b64 {name}half, 3;\n");
                self.before += &format!("mov.b128 {name}, {{{name}half, {name}half}};\n");
                return name;
            }
            (_, 64) => ("b64", "3"),
            (_, 32) => ("b32", "3"),
            _ => ("b16", "3"),
        };
        self.before += &format!(".reg .{kind} {name};\n");
        self.before += &match kind {
            "pred" => format!("setp.eq.u32 {name}, 0, 0;\n"),
            kind => format!("mov.{kind} {name}, {value};\n"),
        };
        name
    }

    pub(super) fn typed(&mut self, rule: &OperandRule, form: &Form) -> String {
        let (ty, bits) = type_of(rule, form);
        self.register(ty, bits)
    }

    /// A register with this value.
    fn word(&mut self, value: u32) -> String {
        let name = self.register(Type::U32, 32);
        self.before += &format!("mov.b32 {name}, {value};\n");
        name
    }

    fn operand(&mut self, rule: &OperandRule, row: &Row, form: &Form) -> String {
        let count = match rule.count {
            Count::One => None,
            Count::Vector(n) => Some(n),
            Count::ByModifier => elements(form),
        };
        if let Some(count) = count {
            let names: Vec<String> = (0..count).map(|_| self.typed(rule, form)).collect();
            return format!("{{{}}}", names.join(", "));
        }
        let space = |modifier| form.modifiers.contains(&modifier);
        match (row.opcode, rule.kind) {
            // Metadata: the first two elements of every chunk. A stride of 32 elements keeps every row aligned.
            (Opcode::MmaSp | Opcode::MmaSpOrdered, Kind::ReadRegister) => return self.word(0x4444_4444),
            (_, Kind::Read) if row.mnemonic.starts_with("wmma.") => return self.word(32),
            _ => {}
        }
        match rule.kind {
            Kind::WritePair | Kind::WriteBoth => {
                format!("{}|{}", self.typed(rule, form), self.register(Type::Pred, 1))
            }
            Kind::Immediate(low, _) => low.to_string(),
            Kind::OneOf(list) => list[list.len() - 1].to_string(),
            Kind::GlobalAddress => "[%global]".to_owned(),
            Kind::Address if space(Modifier::Shared) || row.opcode == Opcode::Ldmatrix => {
                let generic = !space(Modifier::Shared);
                if generic { "[%generic]".to_owned() } else { "[%shared]".to_owned() }
            }
            Kind::Address if space(Modifier::Local) => "[%local]".to_owned(),
            Kind::Address if space(Modifier::Param) && row.opcode == Opcode::St => "[argument]".to_owned(),
            Kind::Address if space(Modifier::Param) => "[p]".to_owned(),
            Kind::Address => "[%global]".to_owned(),
            Kind::Label => "LAST".to_owned(),
            Kind::Targets => "TARGETS".to_owned(),
            Kind::Callee => "f".to_owned(),
            Kind::List => format!("({})", self.register(Type::B32, 32)),
            Kind::Prototype => "PROTOTYPE".to_owned(),
            Kind::ReadRegister if row.opcode == Opcode::Call => "%function".to_owned(),
            _ => self.typed(rule, form),
        }
    }
}

fn kernel(row: &Row, form: &Form) -> String {
    let mut writer = Writer::default();
    let mut operands: Vec<String> = Vec::new();
    for rule in row.operands {
        let present = match rule.presence {
            Presence::Always => true,
            Presence::Optional => form.optional,
            Presence::With(modifier) => form.modifiers.contains(&modifier),
        };
        if present {
            operands.push(writer.operand(rule, row, form));
        }
    }
    if matches!(row.opcode, Opcode::Bar | Opcode::Barrier) {
        // Barrier 3, for the 32 threads of the block.
        let first = usize::from(form.modifiers.contains(&Modifier::Red));
        operands[first] = "3".to_owned();
        let count = operands.get_mut(first + 1).filter(|count| !count.is_empty());
        if let Some(count) = count
            && (first == 0 || form.optional)
        {
            *count = "32".to_owned();
        }
    }
    let targets = if row.opcode == Opcode::BrxIdx { "TARGETS: .branchtargets LAST, LAST, LAST, LAST;" } else { "" };
    module(&format!("{}{targets}", writer.before), &format!("{} {}", spelling(row, form), operands.join(", ")))
}

/// A module with a kernel `k(p, q)` around one instruction.
pub(super) fn module(before: &str, instruction: &str) -> String {
    format!(
        ".version 8.8\n.target sm_90\n.address_size 64\n\
         .func (.param .b32 r) f(.param .b32 a) {{ .reg .b32 x; ld.param.b32 x, [a]; st.param.b32 [r], x; ret; }}\n\
         .visible .entry k(.param .u64 p, .param .u64 q)\n{{\n\
         .shared .align 16 .b8 memory[8192];\n.local .align 16 .b8 frame[64];\n.param .align 16 .b8 argument[64];\n\
         PROTOTYPE: .callprototype (.param .b32 _) _ (.param .b32 _);\n.reg .b64 %function;\nmov.u64 %function, f;\n\
         .reg .b64 %global, %local, %generic;\n.reg .b32 %shared;\n\
         ld.param.u64 %global, [p];\nmov.u64 %local, frame;\nmov.u32 %shared, memory;\n\
         mov.u64 %generic, memory;\ncvta.shared.u64 %generic, %generic;\n{before}\n{instruction};\nLAST:\nret;\n}}\n",
    )
}

/// Whether the instruction ends the launch with a fault.
fn ends(row: &Row) -> bool {
    matches!(row.opcode, Opcode::Trap | Opcode::Brkpt)
}

#[test]
fn every_form_of_every_row_loads_and_executes() {
    let memory = GlobalMemory::new(0x7000_0000_0000, 1 << 30).expect("address space");
    let buffer = memory.allocate(4096).expect("device memory");
    let config = Config { threads: 1, ..Config::default() };
    let machine = Machine { architecture: Architecture::Sm90, memory: &memory, config: &config };
    let mut failures: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut executed = 0;
    for row in rows() {
        let mut of_row = 0;
        for form in forms(row) {
            of_row += 1;
            let text = kernel(row, &form);
            let opcode = spelling(row, &form);
            let mut fail = |message: String| {
                let entry = failures.entry(format!("{}: {message}", row.mnemonic)).or_insert((0, opcode.clone()));
                entry.0 += 1;
            };
            let module = match softcuda::ptx::parse(&text) {
                Ok(module) => module,
                Err(error) => {
                    fail(error.message.clone());
                    continue;
                }
            };
            let program = match Program::load(&module, &[]) {
                Ok(program) => program,
                Err(error) => {
                    fail(error.message);
                    continue;
                }
            };
            // 0x3f80_0000_0000_0000-like patterns are fine for whatever reads them.
            memory.write(buffer, &[0x3f; 4096]).expect("inside the allocation");
            let params = [buffer.to_le_bytes(), 0u64.to_le_bytes()].concat();
            let launch = Launch { block: [32, 1, 1], params: &params, ..Launch::default() };
            match exec::launch(&machine, &program.kernels[0], &launch) {
                Err(fault) if ends(row) => {
                    assert_eq!(fault.kind, FaultKind::LaunchFailed);
                    assert!(fault.text.starts_with(row.mnemonic), "{}", fault.text);
                    executed += 1;
                }
                Ok(counters) if !ends(row) => {
                    assert!(counters.executed(row.mnemonic) >= 1, "{opcode} is counted");
                    executed += 1;
                }
                Ok(_) => fail("a trap that does not".to_owned()),
                Err(fault) => fail(fault.text.lines().next().unwrap_or("").to_owned()),
            }
        }
        assert!(of_row > 0, "{} has no form", row.mnemonic);
    }
    println!("{executed} forms executed");
    for (message, (count, example)) in &failures {
        println!("{count} x {message}   ({example})");
    }
    assert!(failures.is_empty(), "{} kinds of failure", failures.len());
    assert!(executed > 5000, "{executed}");
}
