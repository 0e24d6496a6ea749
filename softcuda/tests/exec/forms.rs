//! Every form that well-known kernels use loads and executes, but for those of hardware that is not modelled yet.

use crate::coverage::{Form, Writer, module, type_of};
use softcuda::chip::Architecture;
use softcuda::config::Config;
use softcuda::exec::{self, Launch, Machine};
use softcuda::memory::GlobalMemory;
use softcuda::program::Program;
use softcuda::ptx::ast::Type;
use softcuda::ptx::isa::rules::{Count, Kind, OperandRule, Presence};
use softcuda::ptx::isa::{Modifier, Modifiers, Opcode, Row, rows_of};
use std::collections::BTreeMap;

/// The forms of compiled kernels of FlashAttention 2 and 3, Marlin, Mamba, causal-conv1d, FlashInfer, candle, SageAttention,
/// ThunderKittens and Triton: family, opcode, operands, count, where.
const FORMS: &str = include_str!("../data/ptx-forms.tsv");

/// Classes of instructions that are not modelled: how their opcodes begin.
const EXCLUDED: &[(&str, &[&str])] = &[
    ("asynchronous tensor cores", &["wgmma."]),
    (
        "bulk copies and tensor maps",
        &["cp.async.bulk.", "cp.reduce.async.bulk.", "fence.proxy.async", "prefetch.tensormap"],
    ),
    ("barriers in shared memory", &["mbarrier.", "fence.mbarrier_init", "cp.async.mbarrier"]),
    ("clusters", &["barrier.cluster.", "mapa."]),
    ("registers moved between warps", &["setmaxnreg."]),
    ("dependent launches", &["griddepcontrol."]),
    ("election of a thread", &["elect."]),
    ("matrix stores", &["stmatrix."]),
];

/// The instruction's operands by a row's rules, in the shapes of the listing; none if they do not fit.
fn operands(writer: &mut Writer, row: &Row, form: &Form, shapes: &[&str]) -> Option<String> {
    let is_there = |rule: &&OperandRule| match rule.presence {
        Presence::Always | Presence::Optional => true,
        Presence::With(modifier) => form.modifiers.contains(&modifier),
    };
    let mut rules: Vec<&OperandRule> = row.operands.iter().filter(is_there).collect();
    while rules.len() > shapes.len() {
        let last = rules.iter().rposition(|rule| rule.presence == Presence::Optional)?;
        rules.remove(last);
    }
    if rules.len() != shapes.len() {
        return None;
    }
    let mut texts = Vec::new();
    for (index, (rule, shape)) in rules.iter().zip(shapes).enumerate() {
        texts.push(operand(writer, row, form, rule, shape, index)?);
    }
    Some(texts.join(", "))
}

fn operand(
    writer: &mut Writer,
    row: &Row,
    form: &Form,
    rule: &OperandRule,
    shape: &str,
    index: usize,
) -> Option<String> {
    let has = |modifier| form.modifiers.contains(&modifier);
    let (ty, bits) = match rule.kind {
        Kind::Label | Kind::Targets | Kind::Callee | Kind::List => (Type::B32, 32),
        _ => type_of(rule, form),
    };
    let is_address = matches!(rule.kind, Kind::Address | Kind::GlobalAddress);
    let vector = match rule.count {
        Count::Vector(n) => Some(n),
        Count::ByModifier if has(Modifier::V4) => Some(4),
        Count::ByModifier if has(Modifier::V2) => Some(2),
        _ => None,
    };
    let is_barrier = matches!(row.opcode, Opcode::Bar | Opcode::Barrier);
    if let Some(inside) = shape.strip_prefix('[') {
        let inside = inside.strip_suffix(']')?;
        // The parameters are 16 bytes.
        let distance = if has(Modifier::Param) { "+0" } else { "+16" };
        let (base, offset) = inside.split_once('+').map_or((inside, ""), |(base, _)| (base, distance));
        let global = rule.kind == Kind::GlobalAddress;
        let name = match base {
            _ if !is_address => return None,
            "sym" if has(Modifier::Param) && row.opcode == Opcode::St => "argument",
            "sym" if has(Modifier::Param) => "p",
            "sym" => "memory",
            _ if has(Modifier::Shared) && !global => "%shared",
            _ if has(Modifier::Local) => "%local",
            _ if has(Modifier::Param) => "%parameter",
            _ if row.opcode == Opcode::Ldmatrix => "%generic",
            _ => "%global",
        };
        return Some(format!("[{name}{offset}]"));
    }
    if is_address {
        return None;
    }
    if let Some(count) = shape.strip_prefix('{') {
        let count: usize = count.strip_suffix('}')?.parse().ok()?;
        if matches!(rule.kind, Kind::WriteOrUnpack | Kind::ReadOrPack) {
            let part = if bits / count as u32 == 16 { Type::B16 } else { Type::B32 };
            let names: Vec<String> = (0..count).map(|_| writer.register(part, part.bits())).collect();
            return Some(format!("{{{}}}", names.join(", ")));
        }
        let fits = vector.map_or(count == 1, |n| n == count);
        let names: Vec<String> = (0..count).map(|_| writer.register(ty, bits)).collect();
        return fits.then(|| format!("{{{}}}", names.join(", ")));
    }
    if vector.is_some() {
        return None;
    }
    Some(match shape {
        "lab" | "sym" if rule.kind == Kind::Label => "LAST".to_owned(),
        "_" => "_".to_owned(),
        "sreg" => "%laneid".to_owned(),
        "r|p" => format!("{}|{}", writer.register(ty, bits), writer.register(Type::Pred, 1)),
        // Barrier 3 of the block's 32 threads.
        "i" | "r" if is_barrier => ["3", "32"].get(index)?.to_string(),
        "i" => match (rule.kind, ty) {
            (Kind::Write | Kind::ReadRegister | Kind::WriteOrUnpack, _) => return None,
            (Kind::Immediate(low, _), _) => low.to_string(),
            (Kind::OneOf(values), _) => values.last()?.to_string(),
            (_, Type::F32) => "0f3F800000".to_owned(),
            (_, Type::F64) => "0d3FF0000000000000".to_owned(),
            (_, Type::Pred) => "1".to_owned(),
            // Masks of lanes.
            (_, Type::B32) => "-1".to_owned(),
            _ => "3".to_owned(),
        },
        "sym" => {
            let name = format!("name{}", writer.registers);
            writer.named(name, ty, bits)
        }
        // The stride of a matrix: 16 bytes.
        "r" if row.mnemonic.starts_with("wmma.") => (128 / form.types[0].bits()).to_string(),
        "r" | "p" => writer.register(ty, bits),
        _ => return None,
    })
}

/// Loads and executes a module; what went wrong.
fn execute(text: &str) -> Result<(), String> {
    let parsed = softcuda::ptx::parse(text).map_err(|error| error.to_string())?;
    let program = Program::load(&parsed, &[]).map_err(|error| error.to_string())?;
    let memory = GlobalMemory::new(0x7000_0000_0000, 1 << 30).map_err(|error| error.to_string())?;
    let buffer = memory.allocate(4096).ok_or("device memory")?;
    memory.write(buffer, &[0x3f; 4096]).map_err(|error| format!("{error:?}"))?;
    let config = Config { threads: 1, ..Config::default() };
    let machine = Machine { architecture: Architecture::Sm90, memory: &memory, config: &config };
    let params = [buffer.to_le_bytes(), 0u64.to_le_bytes()].concat();
    let launch = Launch { block: [32, 1, 1], params: &params, ..Launch::default() };
    match exec::launch(&machine, &program.kernels[0], &launch) {
        Ok(_) => Ok(()),
        // What a trap is for.
        Err(fault) if fault.text.starts_with("trap\n") => Ok(()),
        Err(fault) => Err(fault.text.clone()),
    }
}

/// Loads and executes one line of the listing.
fn check(opcode: &str, shapes: &[&str]) -> Result<(), String> {
    let (rows, length) = rows_of(opcode).ok_or("no such mnemonic")?;
    let mut form = Form { modifiers: Vec::new(), types: Vec::new(), optional: true };
    let mut set = Modifiers::default();
    for part in opcode[length..].split('.').skip(1) {
        match Type::from_name(part) {
            Some(ty) => form.types.push(ty),
            None => {
                let modifier =
                    Modifier::from_name(rows[0].opcode, part).ok_or(format!("no modifier .{part}"))?.after(&set);
                form.modifiers.push(modifier);
                set.insert(modifier);
            }
        }
    }
    let mut problem = "no row takes it".to_owned();
    for row in rows.iter().filter(|row| row.accepts(&set, &form.types)) {
        let mut writer = Writer::default();
        let Some(operands) = operands(&mut writer, row, &form, shapes) else { continue };
        let before = format!(".reg .b64 %parameter;\nmov.u64 %parameter, p;\n{}", writer.before);
        match execute(&module(&before, &format!("{opcode} {operands}"))) {
            Ok(()) => return Ok(()),
            Err(error) => problem = format!("{operands}: {error}"),
        }
    }
    Err(problem)
}

#[test]
fn every_form_of_well_known_kernels_loads_and_executes() {
    let (mut executed, mut excluded, mut failures) = (0, BTreeMap::new(), Vec::new());
    for line in FORMS.lines().skip(1) {
        let mut fields = line.split('\t').skip(1);
        let (Some(opcode), Some(shapes)) = (fields.next(), fields.next()) else { panic!("{line}") };
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| format!("{opcode}.").starts_with(prefix));
        if let Some((class, _)) = EXCLUDED.iter().find(|(_, prefixes)| begins(prefixes)) {
            *excluded.entry(*class).or_insert(0) += 1;
            assert!(check(opcode, &[]).is_err(), "{opcode} is excluded as one of {class}");
            continue;
        }
        let shapes: Vec<&str> = shapes.split(", ").filter(|shape| !shape.is_empty()).collect();
        match check(opcode, &shapes) {
            Ok(()) => executed += 1,
            Err(problem) => failures.push(format!("{opcode} {}: {problem}", shapes.join(", "))),
        }
    }
    println!("{executed} forms executed; excluded: {excluded:?}");
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
    assert_eq!(excluded.len(), EXCLUDED.len(), "every class occurs");
    assert!(executed > 650, "{executed}");
}
