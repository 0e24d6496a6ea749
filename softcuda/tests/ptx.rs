//! The PTX front end on texts from nvcc and on texts written by hand.

use softcuda::ptx::{
    ast::{Module, Operand, Position, Special, Symbol, Type},
    isa::{self, Modifier, Opcode},
    parse, print,
};

const FIXTURES: &[(&str, &str)] = &[
    ("arithmetic", include_str!("ptx/arithmetic.ptx")),
    ("memory", include_str!("ptx/memory.ptx")),
    ("memory_lineinfo", include_str!("ptx/memory_lineinfo.ptx")),
    ("half", include_str!("ptx/half.ptx")),
    ("scopes", include_str!("ptx/scopes.ptx")),
];

/// The module with every position set to zero.
fn without_positions(mut module: Module) -> Module {
    let zero = Position::default();
    module.variables.iter_mut().for_each(|v| v.position = zero);
    for function in &mut module.functions {
        function.position = zero;
        let variables = function.params.iter_mut().chain(&mut function.returns);
        variables.for_each(|v| v.position = zero);
        if let Some(body) = &mut function.body {
            body.variables.iter_mut().for_each(|v| v.position = zero);
            body.instructions.iter_mut().for_each(|i| i.position = zero);
        }
    }
    module
}

fn scopes() -> Module {
    parse(FIXTURES[4].1).unwrap()
}

#[test]
fn every_fixture_parses_and_no_instruction_is_lost() {
    for (name, text) in FIXTURES {
        let module = parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let bodies = module.functions.iter().filter_map(|f| f.body.as_ref());
        let parsed: usize = bodies.map(|body| body.instructions.len()).sum();
        // Counted independently: statements that begin with neither a directive nor a brace.
        let code = text.split("\t.section").next().unwrap_or("");
        let is_instruction = |line: &&str| {
            let line = line.trim_start();
            line.contains(';') && line.starts_with(|c: char| c.is_ascii_lowercase() || c == '@')
        };
        let written = code.lines().filter(is_instruction).count();
        if *name != "scopes" {
            assert!(parsed >= written && written > 100, "{name}: {parsed} of {written}");
        }
    }
}

#[test]
fn printing_and_parsing_again_gives_the_same_tree() {
    for (name, text) in FIXTURES {
        let module = parse(text).unwrap();
        let printed = print(&module);
        let again = parse(&printed).unwrap_or_else(|error| panic!("{name}: {error}\n{printed}"));
        assert_eq!(without_positions(module), without_positions(again), "{name}");
    }
}

#[test]
fn inner_scopes_hide_outer_names_and_keep_their_labels() {
    let module = scopes();
    let body = module.functions[2].body.as_ref().unwrap();
    let names: Vec<&str> = body.labels.iter().map(|label| label.name.as_str()).collect();
    assert_eq!(names, ["LOOP", "DONE", "LOOP$1", "DONE$1", "OUTSIDE", "LAST"]);
    let branches = body.instructions.iter().filter(|i| i.row.opcode == Opcode::Bra);
    let targets: Vec<&str> = branches
        .map(|branch| match branch.operands[0] {
            Operand::Label(id) => names[id.0 as usize],
            ref other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(targets, ["LOOP", "DONE", "OUTSIDE", "LOOP$1", "DONE$1"]);
    // The label at the end of the body stands behind the last instruction.
    assert_eq!(body.labels[5].target, body.instructions.len());
    let predicates: Vec<&str> = body
        .registers
        .iter()
        .filter(|register| register.ty == Type::Pred)
        .map(|register| register.name.as_str())
        .collect();
    assert_eq!(predicates, ["q", "p$1", "p$2", "p1"]);
}

#[test]
fn operands_are_resolved() {
    let module = scopes();
    let function = &module.functions[2];
    let instructions = &function.body.as_ref().unwrap().instructions;
    assert_eq!(instructions[2].operands[1], Operand::Special(Special::Tid(0)));
    assert_eq!(instructions[3].operands[1], Operand::Symbol(Symbol::Module(7), 0));
    assert_eq!(instructions[4].operands[1], Operand::Symbol(Symbol::Module(0), 4));
    assert_eq!(instructions[5].operands[2], Operand::Integer(-20i64 as u64));
    let sources: Vec<Option<u32>> = instructions[8..13].iter().map(|i| i.source.map(|s| s.line)).collect();
    assert_eq!(sources, [None, None, Some(7), Some(7), Some(7)]);
    assert_eq!(function.max_block, Some([128, 2, 1]));
    assert_eq!(function.min_blocks_per_sm, Some(3));
    let call = instructions.iter().find(|i| i.row.opcode == Opcode::Call).unwrap();
    assert!(call.modifiers.has(Modifier::Uni));
    assert_eq!(call.operands.len(), 3);
    assert_eq!(call.operands[1], Operand::Symbol(Symbol::Function(1), 0));
}

#[test]
fn initial_values_are_laid_out_as_c_does() {
    let module = scopes();
    let variable = |name: &str| module.variables.iter().find(|v| v.name == name).unwrap();
    assert_eq!(variable("target").init, 28u32.to_le_bytes());
    assert_eq!(variable("bytes").relocations, [(0, Symbol::Module(0), 4)]);
    assert_eq!(variable("bytes").init, [0, 0, 0, 0, 0, 0, 0, 0, 7]);
    let grid: Vec<i16> = variable("grid").init.chunks(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
    assert_eq!(grid, [1, -2, 0, 3, 0, 0]);
    let floats = |name: &str| -> Vec<f32> {
        let chunks = variable(name).init.chunks(4);
        chunks.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    };
    assert_eq!(floats("growing"), [1.5, 2.0, -3.0]);
    assert_eq!(variable("growing").bytes, 12);
    assert_eq!(floats("lanes"), [1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 0.0, 0.0]);
    assert_eq!(variable("lanes").align, 16);
    let relocations = &variable("pointers").relocations;
    assert_eq!(relocations[1], (8, Symbol::Module(0), -8));
    assert_eq!(relocations[2], (16, Symbol::Function(1), 0));
    let expressions: Vec<u32> =
        variable("expressions").init.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let ones = u64::MAX;
    assert_eq!(expressions, [(ones >> 28) as u32, 7, -3i32 as u32, 12, 15, (ones % 10) as u32]);
    assert!(variable("dynamic").dynamic);
}

#[test]
fn modifiers_are_a_set() {
    let kernel = |opcode: &str| {
        let text = format!(
            ".version 8.0\n.target sm_80\n.entry k() {{ .reg .b32 r<9>; .reg .b64 a; {opcode} {{r1, r2}}, [a]; }}"
        );
        without_positions(parse(&text).unwrap())
    };
    let first = kernel("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16");
    assert_eq!(first, kernel("ldmatrix.sync.aligned.x2.trans.m8n8.shared.b16"));
    assert_eq!(first, kernel("ldmatrix.sync.aligned.trans.m8n8.x2.shared::cta.b16"));
}

#[test]
fn the_instruction_table_lists_each_form_once() {
    let markdown = isa::markdown();
    let lines: Vec<&str> = markdown.lines().skip(2).collect();
    assert_eq!(lines.len(), isa::rows().count());
    let mut spellings: Vec<&str> = lines.iter().map(|line| line.rsplit_once(" |").unwrap().0).collect();
    spellings.sort_unstable();
    spellings.dedup();
    assert_eq!(spellings.len(), lines.len());
    let expected =
        "| `mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32` | {d x 4}, {a x 4}, {b x 2}, {c x 4} | d = a * b + c |";
    assert!(lines.iter().any(|line| line.starts_with(expected)), "{markdown}");
}

#[test]
fn a_megabyte_parses_well_within_a_second() {
    let mut text = String::from(".version 9.0\n.target sm_80\n.address_size 64\n");
    let mut number = 0;
    while text.len() < 1 << 20 {
        number += 1;
        text.push_str(&format!(".entry k{number}(.param .u64 p) {{ .reg .b32 %r<300>; .reg .b64 %rd<3>; .reg .pred %p<2>; ld.param.u64 %rd1, [p];\n"));
        for i in 1..200 {
            text.push_str(&format!(
                "setp.lt.s32 %p1, %r{i}, 7;\n@%p1 add.s32 %r{}, %r{i}, {i};\nst.global.u32 [%rd1+{i}], %r{i};\n",
                i + 1
            ));
        }
        text.push_str("ret; }\n");
    }
    let start = std::time::Instant::now();
    let module = parse(&text).unwrap();
    assert_eq!(module.functions.len(), number);
    assert!(start.elapsed().as_secs_f64() < 1.0, "{:?}", start.elapsed());
}
