//! Linking syntax trees: names, files, targets and what stands in the way.

use softcuda::ptx::{
    ast::{Linkage, Module},
    link::{link, undefined},
    parse, print,
};

fn module(body: &str) -> Module {
    parse(&format!(".version 8.0\n.target sm_80\n.address_size 64\n{body}")).unwrap_or_else(|error| panic!("{error}"))
}

fn linked(bodies: &[&str]) -> Result<Module, Vec<String>> {
    let inputs: Vec<_> =
        bodies.iter().zip("abcd".chars()).map(|(body, name)| (name.to_string(), module(body))).collect();
    link(&inputs)
}

/// The result as text, which parses to a module that prints the same.
fn text(bodies: &[&str]) -> String {
    let module = linked(bodies).unwrap_or_else(|errors| panic!("{errors:?}"));
    let text = print(&module);
    let again = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(print(&again), text);
    text
}

#[test]
fn linkage_is_kept_in_the_text() {
    let body = ".visible .global .align 4 .u32 a;\n.weak .const .align 4 .u32 b = 1;\n.common .global .align 8 .u64 c;\n.extern .global .align 4 .b8 d[];\n.global .align 4 .u32 e;\n.extern .shared .align 16 .b8 f[];\n.weak .func g()\n{\n\tret;\n}\n.func h()\n{\n\tret;\n}";
    let module = module(body);
    let linkages: Vec<Linkage> = module.variables.iter().map(|variable| variable.linkage).collect();
    use Linkage::{Common, Extern, Internal, Visible, Weak};
    assert_eq!(linkages, [Visible, Weak, Common, Extern, Internal, Extern]);
    assert_eq!(module.functions.iter().map(|function| function.linkage).collect::<Vec<_>>(), [Weak, Internal]);
    let again = parse(&print(&module)).unwrap();
    assert_eq!(print(&again), print(&module));
    assert_eq!(again.variables.iter().map(|variable| variable.linkage).collect::<Vec<_>>(), linkages);
}

#[test]
fn a_name_that_only_its_module_knows_stays_apart_from_every_other() {
    let own = ".global .align 4 .u32 x = 1;\n.func f()\n{\n\tret;\n}\n.visible .entry NAME()\n{\n\t.reg .b32 x__2;\n\t.reg .b64 y;\n\tmov.b64 y, x;\n\tcall f;\n\tret;\n}";
    let first = own.replace("NAME", "first");
    let text = text(&[&first, &own.replace("NAME", "second").replace("= 1", "= 2")]);
    // `x__2` means a register inside the kernels.
    assert!(text.contains(".u32 x = 1;") && text.contains(".u32 x__3 = 2;"), "{text}");
    assert!(text.contains("mov.b64 y, x;") && text.contains("mov.b64 y, x__3;"), "{text}");
    assert!(text.contains("call f__2;"), "{text}");
}

#[test]
fn the_largest_common_variable_and_the_strictest_alignment_count() {
    let text = text(&[
        ".common .global .align 4 .b8 x[16];",
        ".common .global .align 16 .b8 x[64];",
        ".common .global .align 8 .b8 x[32];",
    ]);
    assert!(text.contains(".common .global .align 16 .b8 x[64];"), "{text}");
    // A definition with a value takes its place.
    let text = self::text(&[".common .global .align 4 .u32 x;", ".visible .global .align 4 .u32 x = 7;"]);
    assert!(text.contains(".visible .global .align 4 .u32 x = 7;") && !text.contains("common"), "{text}");
}

#[test]
fn source_files_and_lists_of_callees_are_renumbered() {
    let first = ".file 1 \"a.cu\"\n.visible .entry first()\n{\n.loc 1 5 0\nret;\n}";
    let second = ".file 1 \"b.cu\"\n.file 2 \"a.cu\"\n.func f()\n{\nret;\n}\n.func g()\n{\nret;\n}\n.visible .entry second()\n{\n.reg .b64 p;\n.loc 1 7 0\nmov.b64 p, g;\n.loc 2 8 0\nTARGETS: .calltargets f, g;\ncall p, TARGETS;\nret;\n}";
    let text = text(&[first, second]);
    let files: Vec<&str> = text.lines().filter(|line| line.starts_with(".file")).collect();
    assert_eq!(files, [".file 1 \"a.cu\"", ".file 2 \"b.cu\""]);
    let places: Vec<&str> = text.lines().map(str::trim).filter(|line| line.starts_with(".loc")).collect();
    assert_eq!(places, [".loc 1 5 0", ".loc 2 7 0", ".loc 1 8 0"]);
    assert!(text.contains(".calltargets f, g;"), "{text}");
}

#[test]
fn addresses_in_initial_values_lead_to_the_definition() {
    let text = text(&[
        ".extern .global .align 4 .u32 target;\n.visible .global .align 8 .u64 pointer = target;",
        ".global .align 4 .u32 other;\n.visible .global .align 4 .u32 target = 3;",
    ]);
    assert!(text.contains("pointer = target+0;"), "{text}");
    assert!(text.contains(".visible .global .align 4 .u32 target = 3;"), "{text}");
}

#[test]
fn dynamic_shared_memory_is_one_and_needs_no_definition() {
    let kernel = |name: &str| {
        format!(
            ".extern .shared .align 4 .b8 memory[];\n.visible .entry {name}()\n{{\n.reg .b32 r;\nmov.u32 r, memory;\nret;\n}}"
        )
    };
    let text = text(&[&kernel("first"), &kernel("second").replace(".align 4", ".align 16")]);
    assert_eq!(text.matches(".extern .shared .align 16 .b8 memory[];").count(), 1, "{text}");
}

#[test]
fn all_that_stands_in_the_way_is_said() {
    let user = ".extern .func f();\n.extern .func vprintf();\n.extern .func unused();\n.visible .entry k()\n{\ncall f;\ncall vprintf;\nret;\n}";
    assert_eq!(linked(&[user]).unwrap_err(), ["Undefined reference to `f` in `a`"]);
    assert_eq!(undefined(&module(user)), [("f", true)]);
    let kernel = ".visible .entry k()\n{\nret;\n}";
    assert_eq!(linked(&[kernel, kernel]).unwrap_err(), ["Multiple definition of `k` in `b`, first defined in `a`"]);
    let errors = linked(&[".visible .global .align 4 .u32 k;", kernel]).unwrap_err();
    assert_eq!(errors, ["`k` is a function in `b` and a variable elsewhere"]);
    let errors =
        linked(&[".extern .func f(.param .b32 x);", ".visible .func f(.param .b64 x)\n{\nret;\n}"]).unwrap_err();
    assert_eq!(errors, ["`f` is declared in `b` with another size or type than in `a`"]);
    let specific = |target: &str| {
        let text = format!(".version 8.7\n.target {target}\n.address_size 64\n");
        (target.to_owned(), parse(&text).unwrap())
    };
    let errors = link(&[specific("sm_90a"), specific("sm_100a")]).unwrap_err();
    assert_eq!(errors, ["sm_90a and sm_100a cannot be linked with each other"]);
    let module = link(&[specific("sm_80"), specific("sm_90a"), specific("sm_89")]).unwrap();
    assert_eq!((module.target, module.target_suffix, module.version), (90, Some('a'), (8, 7)));
}

#[test]
fn two_definitions_in_one_text_and_two_linkages_are_errors() {
    let message = |body: &str| {
        parse(&format!(".version 8.0\n.target sm_80\n.address_size 64\n{body}")).map(drop).unwrap_err().to_string()
    };
    let twice = message(".visible .global .align 4 .u32 x;\n.visible .global .align 4 .u32 x;");
    assert_eq!(twice, "ptx:5:32: `x` is declared twice");
    assert!(message(".visible .extern .global .u32 x;").starts_with("ptx:4:10: expected a declaration"));
    assert_eq!(message(".common .func f();"), "ptx:4:9: a function cannot be `.common`");
    module(".extern .global .align 4 .u32 x;\n.visible .global .align 4 .u32 x = 1;\n.extern .global .align 4 .u32 x;");
}
