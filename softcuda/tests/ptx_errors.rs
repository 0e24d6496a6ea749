//! What the parser says, and where, on texts that are wrong.

use softcuda::ptx::parse;

const HEADER: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

/// The parser's message on a kernel with these lines; the first of them is line 6.
fn in_kernel(lines: &str) -> String {
    let text = format!(
        "{HEADER}.entry k(.param .u64 a)\n{{ .reg .pred p<4>; .reg .b32 r<9>; .reg .u32 u; .reg .f32 f<9>; .reg .b64 d<9>; .reg .b16 h<9>;\n{lines}\n}}"
    );
    message(&text)
}

fn message(text: &str) -> String {
    match parse(text) {
        Ok(_) => "parsed".into(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_not_in_the_table_is_named_with_its_kernel() {
    for (line, expected) in [
        ("wgmma.fence.sync.aligned;", "ptx:6:1: kernel `k`: not in the instruction table: `wgmma.fence.sync.aligned`"),
        ("  add.ftz.s32 r1, r2, r3;", "ptx:6:3: kernel `k`: not in the instruction table: `add.ftz.s32`"),
        ("fma.f32 f1, f2, f3, f4;", "ptx:6:1: kernel `k`: not in the instruction table: `fma.f32`"),
        ("add.ftz.ftz.f32 f1, f2, f3;", "ptx:6:1: kernel `k`: not in the instruction table: `add.ftz.ftz.f32`"),
        ("setp.lo.s32 p1, r1, r2;", "ptx:6:1: kernel `k`: not in the instruction table: `setp.lo.s32`"),
        (
            "cp.async.bulk.commit_group;",
            "ptx:6:1: kernel `k`: not in the instruction table: `cp.async.bulk.commit_group`",
        ),
        ("frobnicate r1;", "ptx:6:1: kernel `k`: not in the instruction table: `frobnicate`"),
        ("@p1 fence.acq_rel;", "ptx:6:5: kernel `k`: not in the instruction table: `fence.acq_rel`"),
    ] {
        assert_eq!(in_kernel(line), expected);
    }
}

#[test]
fn operands_must_be_what_the_table_says() {
    for (line, expected) in [
        ("add.s32 r1, r2;", "has 2 operands, expected 3"),
        ("add.s32 r1, r2, p1;", "operand 3 is a predicate, expected a register or constant of type .s32"),
        ("add.s32 r1, r2, f1;", "operand 3 is a register of type .f32, expected a register or constant of type .s32"),
        ("add.s32 5, r2, r3;", "operand 1 is the integer 5, expected a register of type .s32"),
        (
            "add.u32 r1, %tid.x, 5;",
            "operand 2 is the special register %tid.x, expected a register or constant of type .u32",
        ),
        ("add.f32 f1, f2, 1;", "operand 3 is the integer 1, expected a register or constant of type .f32"),
        ("add.f32 u, f2, f3;", "operand 1 is a register of type .u32, expected a register of type .f32"),
        ("ld.global.u64 r1, [d1];", "operand 1 is a register of type .b32, expected a register of type .u64 or wider"),
        ("ld.global.u32 r1, [r2];", "operand 2 is an address in a register of type .b32, expected a 64-bit address"),
        ("ld.global.v4.u64 {d1, d2, d3, d4}, [d5];", "operand 1 is {..} of 4, expected a vector of at most 128 bits"),
        (
            "ld.global.v2.u32 {r1, r2, r3}, [d1];",
            "operand 1 is {..} of 3, expected {..} of 2 times a register of type .u32 or wider",
        ),
        ("mul.wide.s32 r1, r2, r3;", "operand 1 is a register of type .b32, expected a register of type .s64"),
        ("lop3.b32 r1, r2, r3, r4, 256;", "operand 5 is the integer 256, expected a constant from 0 to 255"),
        ("mov.b64 d1, {r1, h1};", "operand 2 is {..} of 2, expected a value of type .b64 or {..} of its parts"),
        ("shl.b32 r1, r2, h1;", "operand 3 is a register of type .b16, expected a register or constant of type .u32"),
        (
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {f1,f2,f3,f4}, {r1,r2,r3,r4}, {r1,r2,r3}, {f1,f2,f3,f4};",
            "operand 3 is {..} of 3, expected {..} of 2 times a register of type .b32",
        ),
    ] {
        let opcode = line.split(' ').next().unwrap();
        assert_eq!(in_kernel(line), format!("ptx:6:1: kernel `k`: `{opcode}`: {expected}"));
    }
    // The form that comes furthest explains itself: here 16 bytes is the only size.
    assert_eq!(
        in_kernel("cp.async.cg.shared.global [r1], [d1], 8;"),
        "ptx:6:1: kernel `k`: `cp.async.cg.shared.global`: operand 3 is the integer 8, expected the constant 16"
    );
}

#[test]
fn names_must_be_declared_once_and_in_sight() {
    for (lines, expected) in [
        ("add.s32 r1, r2, r9;", "ptx:6:17: kernel `k`: `add.s32`: `r9` is not declared"),
        ("add.s32 r1, r2, r01;", "ptx:6:17: kernel `k`: `add.s32`: `r01` is not declared"),
        (".reg .f32 r3;", "ptx:6:11: kernel `k`: `r3` is declared twice"),
        ("{ .reg .b32 x; }\nadd.s32 r1, r2, x;", "ptx:7:17: kernel `k`: `add.s32`: `x` is not declared"),
        ("bra AWAY;", "ptx:6:5: kernel `k`: there is no label `AWAY`"),
        ("bra IN;\n{ IN: }", "ptx:6:5: kernel `k`: there is no label `IN`"),
        ("L:\nL: ret;", "ptx:7:1: kernel `k`: `L` is declared twice"),
        ("@f1 ret;", "ptx:6:2: kernel `k`: `f1` is not a predicate"),
        ("mov.u32 r1, %tid;", "ptx:6:13: kernel `k`: `mov.u32`: `%tid` needs a component .x, .y or .z"),
        ("mov.u32 r1, %envreg32;", "ptx:6:13: kernel `k`: `mov.u32`: `%envreg32` is not declared"),
        ("mov.f32 f1, f2.x;", "ptx:6:15: kernel `k`: `mov.f32`: components of vector registers are not supported"),
        (".reg .v4 .f32 v;", "ptx:6:6: kernel `k`: vector registers are not supported"),
        ("call missing;", "ptx:6:6: kernel `k`: `call`: `missing` is not declared"),
        ("call k, (d1);", "ptx:6:1: kernel `k`: `call`: `k` is a kernel and cannot be called"),
        (".loc 3 1 1", "ptx:6:6: there is no `.file 3`"),
    ] {
        assert_eq!(in_kernel(lines), expected, "{lines}");
    }
}

#[test]
fn syntax_errors_say_what_was_expected() {
    for (lines, expected) in [
        ("add.s32 r1, r2, r3", "ptx:7:1: kernel `k`: `add.s32`: expected `;`, found `}`"),
        ("add.s32 r1 r2, r3;", "ptx:6:12: kernel `k`: `add.s32`: expected `;`, found `r2`"),
        ("add.s32 r1, r2, ;", "ptx:6:17: kernel `k`: `add.s32`: expected a constant, found `;`"),
        ("mov.u32 r1, 0x;", "ptx:6:13: kernel `k`: `mov.u32`: `0x` is not a number"),
        ("mov.u32 r1, 12z;", "ptx:6:13: kernel `k`: `mov.u32`: `12z` is not a number"),
        ("mov.f32 f1, 0f12;", "ptx:6:13: kernel `k`: `mov.f32`: `0f12` is not a number"),
        ("mov.u32 r1, 5 / 0;", "ptx:6:15: kernel `k`: `mov.u32`: division by zero"),
        ("ld.u32 r1, [d1;", "ptx:6:15: kernel `k`: `ld.u32`: expected `]`, found `;`"),
        ("mov.u32 r1, #;", "ptx:6:13: kernel `k`: `mov.u32`: unexpected character '#'"),
        ("/* never", "ptx:6:1: kernel `k`: a comment without its end"),
        ("{", "ptx:5:1: kernel `k`: the body has no end"),
    ] {
        assert_eq!(in_kernel(lines), expected, "{lines}");
    }
    let deep = format!("mov.u32 r1, {}1;", "(".repeat(100_000));
    assert_eq!(in_kernel(&deep), "ptx:6:78: kernel `k`: `mov.u32`: the expression nests too deeply");
}

#[test]
fn module_errors_have_their_place() {
    for (text, expected) in [
        ("", "ptx:1:1: expected `.version`, found the end of the text"),
        (".version 8", "ptx:1:10: expected a version such as 8.0, found the number 8"),
        (".version 8.0\n.target gpu", "ptx:2:9: `gpu` is not an architecture"),
        (".version 8.0\n.target sm_80\n.address_size 32", "ptx:3:15: only `.address_size 64` is supported"),
    ] {
        assert_eq!(message(text), expected);
    }
    for (line, expected) in [
        (".global .u32 x[2] = {1, 2, 3};", "ptx:4:28: more initial values than `x` holds"),
        (".global .u32 x = {1};", "ptx:4:18: the braces nest deeper than the array"),
        (".global .u32 x[];", "ptx:4:14: `x` has no size"),
        (".global .u32 x[4611686018427387904];", "ptx:4:14: `x` is too large"),
        (".global .align 3 .u32 x;", "ptx:4:16: an alignment must be a power of two"),
        (".shared .u32 x = 1;", "ptx:4:16: only `.global` and `.const` variables have initial values"),
        (".global .u32 x;\n.global .u32 x;", "ptx:5:14: `x` is declared twice"),
        (".global .u64 x = y;", "ptx:4:18: `y` is not declared"),
        (".global .u32 y;\n.global .u32 x = y;", "ptx:5:18: an address needs an element of 64 bits"),
        (
            ".global .u32 y;\n.global .b8 x[8] = {0xFF00(y)};",
            "ptx:5:21: the bytes of an address must be given one by one from 0xFF upwards",
        ),
        (".global .pred x;", "ptx:4:15: a variable cannot be a predicate"),
        (".alias f, g;", "ptx:4:1: `.alias` at module scope is not supported"),
        (".global .attribute(.managed) .u32 x;", "ptx:4:9: `.attribute` is not supported"),
        (".func f(.reg .u32 x);", "ptx:4:9: function `f`: `.reg` parameters are not supported, only `.param`"),
        (
            ".func f(.param .u32 x);\n.func f(.param .u64 x);",
            "ptx:5:7: function `f`: `f` was declared with other parameters",
        ),
        (".func f() {}\n.func f() {}", "ptx:5:7: function `f`: `f` is defined twice"),
        (
            ".func f(.param .u32 x);\n.func g() { call f; }",
            "ptx:5:13: function `g`: `call`: `f` has 1 arguments, not 0",
        ),
        (
            ".func f(.param .u64 x);\n.func g() { .reg .b32 r; call f, (r); }",
            "ptx:5:26: function `g`: `call`: what is given for `x` does not have its size",
        ),
        (".entry k() .reqnctapercluster 2 {}", "ptx:4:12: kernel `k`: directive `.reqnctapercluster` is not supported"),
        (".section .debug_str { {", "ptx:4:1: a section without its end"),
        ("}", "ptx:4:1: expected a declaration, found `}`"),
    ] {
        assert_eq!(message(&format!("{HEADER}{line}")), expected, "{line}");
    }
}

#[test]
fn an_instruction_needs_its_target_and_version() {
    let with = |version: &str, target: &str, line: &str| {
        message(&format!(
            ".version {version}\n.target {target}\n.address_size 64\n.entry k()\n{{ .reg .b32 r<9>; .reg .b16 h<9>; .reg .f32 f<9>;\n{line}\nret; }}"
        ))
    };
    for (version, target, line, expected) in [
        ("8.0", "sm_90", "add.bf16 h1, h2, h3;", "parsed"),
        (
            "8.0",
            "sm_80",
            " add.bf16 h1, h2, h3;",
            "ptx:6:2: kernel `k`: `add.bf16`: needs .target sm_90 or higher, the module has sm_80",
        ),
        ("7.0", "sm_80", "fma.rn.relu.f16 h1, h2, h3, h4;", "parsed"),
        (
            "7.0",
            "sm_75",
            "fma.rn.relu.f16 h1, h2, h3, h4;",
            "ptx:6:1: kernel `k`: `fma.rn.relu.f16`: needs .target sm_80 or higher, the module has sm_75",
        ),
        ("7.0", "sm_80", "cvt.rna.tf32.f32 r1, f1;", "parsed"),
        (
            "8.0",
            "sm_80",
            "cvt.rn.tf32.f32 r1, f1;",
            "ptx:6:1: kernel `k`: `cvt.rn.tf32.f32`: needs .target sm_90 or higher, the module has sm_80",
        ),
        (
            "8.0",
            "sm_80",
            "cvt.rna.satfinite.tf32.f32 r1, f1;",
            "ptx:6:1: kernel `k`: `cvt.rna.satfinite.tf32.f32`: needs .version 8.1 or later, the module has 8.0",
        ),
        (
            "8.8",
            "sm_80",
            "cvt.rn.f16x2.e4m3x2 r1, h1;",
            "ptx:6:1: kernel `k`: `cvt.rn.f16x2.e4m3x2`: needs .target sm_89 or higher, the module has sm_80",
        ),
        ("8.8", "sm_89", "cvt.rn.f16x2.e4m3x2 r1, h1;", "parsed"),
        (
            "8.8",
            "sm_80",
            "min.xorsign.abs.f32 f1, f2, f3;",
            "ptx:6:1: kernel `k`: `min.xorsign.abs.f32`: needs .target sm_86 or higher, the module has sm_80",
        ),
        (
            "7.0",
            "sm_80",
            "szext.wrap.s32 r1, r2, r3;",
            "ptx:6:1: kernel `k`: `szext.wrap.s32`: needs .version 7.6 or later, the module has 7.0",
        ),
        ("8.0", "sm_90a", "add.u16x2 r1, r2, r3;", "parsed"),
    ] {
        assert_eq!(with(version, target, line), expected);
    }
}
