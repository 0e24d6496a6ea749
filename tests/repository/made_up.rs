//! A made-up repository that keeps every rule, and the ways to break each.

use crate::tree::Tree;
use crate::{manifests, rules};

const SECTIONS: &str = "\
mod agrees {
    #[test]
    fn a() {}
}
mod properties {
    mod inner {
        #[test]
        fn a() {}
    }
}
mod edges;
mod rejects {
    #[test]
    fn a() {}
}
mod plan {
    #[test]
    fn a() {}
}
mod counters {
    #[test]
    fn a() {}
}
";

const MANIFEST: &str = r#"[workspace]
members = [".", "cli", "softcuda", "softcuda/driver"]
default-members = [".", "cli", "softcuda", "softcuda/driver"]

[package]
name = "x"

[lib]
bench = false

[[bench]]
name = "attention"
harness = false
"#;

const CHECK: &str = "\
set -euo pipefail
cargo test --release
cargo fmt --all --check
cargo clippy --release --workspace --all-targets -- -D warnings
RUSTDOCFLAGS=-Dwarnings cargo doc --release --workspace --no-deps
";

fn sound() -> Tree {
    let mut tree = Tree::default();
    for (path, text) in [
        ("kernels/common/ptx/memory.cuh", "asm volatile(\"\");"),
        ("kernels/attention/flash.cu", "// asm in a comment\n__device__ int plasma_asm_x;"),
        ("kernels/attention/flash_sm90a.cu", ""),
        ("src/lib.rs", "pub mod attention;\npub(crate) mod error;"),
        ("src/error.rs", ""),
        ("src/attention/mod.rs", "pub mod flash;"),
        ("src/attention/flash/mod.rs", "mod plan;\npub mod reference;"),
        ("src/attention/flash/plan.rs", ""),
        ("src/attention/flash/reference.rs", ""),
        ("src/attention/flash/README.md", "x"),
        ("tests/attention/main.rs", "mod flash;"),
        ("tests/attention/flash.rs", SECTIONS),
        ("tests/attention/flash/edges.rs", "#[test]\nfn a() {}"),
        ("tests/parts.rs", "#[path = \"../build/parts.rs\"]\nmod parts;"),
        ("build/parts.rs", ""),
        ("benches/attention/main.rs", "mod flash;"),
        ("benches/attention/flash.rs", ""),
        ("cli/src/main.rs", "mod show;"),
        ("cli/src/show.rs", ""),
        ("cli/Cargo.toml", "[package]\nname = \"c\"\n[[bin]]\ndoc = false\nbench = false\n"),
        // A program that is built by itself has rules of its own.
        ("softcuda/fuzz/Cargo.toml", "[package]\n[[bin]]\nname = \"ptx\"\n[workspace]\n"),
        ("softcuda/fuzz/fuzz_targets/ptx.rs", "fn main() {}"),
        ("softcuda/fuzz/src/main.rs", ""),
        ("Cargo.toml", MANIFEST),
        ("README.md", "cargo test --release   # all of it\n| `attention/flash` | x |\n```rust\nfn main() {}\n```"),
        ("examples/attention.rs", "//! Documented.\n\nfn main() {}\n"),
        (".ci/run", CHECK),
    ] {
        tree.put(path, text);
    }
    tree
}

type Rule = fn(&Tree) -> Vec<String>;

fn one_name(tree: &Tree) -> Vec<String> {
    rules::one_name(tree, &["attention/flash".to_owned()])
}

const RULES: [Rule; 9] = [
    one_name,
    rules::test_sections,
    rules::reachable,
    rules::budgets,
    rules::asm_in_one_folder,
    rules::no_open_ends,
    manifests::workspace,
    manifests::continuous_check,
    manifests::readme_example,
];

#[test]
fn a_sound_repository_passes_every_rule() {
    for rule in RULES {
        assert_eq!(rule(&sound()), Vec::<String>::new());
    }
}

#[test]
fn each_rule_can_fail() {
    let long = "\n".repeat(401);
    // Rule, file, its new text (`None`: removed), what the finding must say.
    let breaks: [(Rule, &str, Option<&str>, &str); 33] = [
        (one_name, "kernels/attention/flash.cu", None, "kernels/attention/flash.cu is missing"),
        (one_name, "src/attention/flash/mod.rs", None, "src/attention/flash/mod.rs is missing"),
        (one_name, "src/attention/flash/reference.rs", None, "reference.rs is missing"),
        (one_name, "src/attention/flash/README.md", None, "README.md is missing"),
        (one_name, "tests/attention/flash.rs", None, "tests/attention/flash.rs is missing"),
        (one_name, "benches/attention/flash.rs", None, "benches/attention/flash.rs is missing"),
        (one_name, "src/attention/mod.rs", Some("// mod flash;"), "src/attention/mod.rs has no line"),
        (one_name, "tests/attention/main.rs", Some("mod flashy;"), "tests/attention/main.rs has no line"),
        (one_name, "benches/attention/main.rs", Some(""), "benches/attention/main.rs has no line"),
        (one_name, "README.md", Some("`attention/flash`"), "0 rows in README.md"),
        (one_name, "kernels/attention/other.cu", Some(""), "op attention/other: 0 entries in attention::OPS"),
        (one_name, "tests/attention/other.rs", Some(""), "kernels/attention/other.cu is missing"),
        (rules::test_sections, "tests/attention/flash/edges.rs", Some(""), "`mod edges` holds no #[test]"),
        (rules::test_sections, "tests/attention/flash.rs", Some("mod agrees {\n}\n#[test]"), "`mod agrees` holds no"),
        (rules::test_sections, "tests/attention/flash.rs", Some("mod edges;"), "`mod counters` is missing"),
        (rules::reachable, "src/lib.rs", Some("pub mod attention;"), "src/error.rs: no `mod` line"),
        (rules::reachable, "tests/parts.rs", Some(""), "build/parts.rs: no `mod` line"),
        (rules::reachable, "cli/src/lost.rs", Some(""), "cli/src/lost.rs: no `mod` line"),
        (rules::reachable, "tests/attention/main.rs", Some(""), "tests/attention/flash/edges.rs: no `mod` line"),
        (rules::budgets, "src/error.rs", Some(&long), "src/error.rs: 401 lines, budget 400"),
        (rules::budgets, "kernels/common/ptx/memory.cuh", Some(&long), "budget 200"),
        (rules::budgets, "kernels/attention/flash.cu", Some(&long), "budget 400"),
        (rules::asm_in_one_folder, "kernels/attention/flash.cu", Some("\n  asm volatile(\"\");"), "flash.cu:2: asm"),
        (rules::asm_in_one_folder, "kernels/common/mma.cuh", Some("__asm__(\"\");"), "mma.cuh:1: asm"),
        (rules::no_open_ends, "src/error.rs", Some(concat!("// TO", "DO: x")), "src/error.rs:1"),
        (manifests::workspace, "Cargo.toml", Some("[workspace]\nmembers = [\".\"]"), "default-members"),
        (manifests::workspace, "softcuda/src/main.rs", Some(""), "one binary"),
        (manifests::workspace, "softcuda/Cargo.toml", Some("[package]\n"), "needs [lib]"),
        (manifests::workspace, "softcuda/Cargo.toml", Some("[lib]\nbench = false\nname = \"cuda\""), "shadow"),
        (manifests::continuous_check, "README.md", Some("cargo test"), "README.md: the test command"),
        (manifests::readme_example, "examples/attention.rs", None, "is not examples/attention.rs"),
        (manifests::readme_example, "README.md", Some("```rust\n```"), "is not examples/attention.rs"),
        (manifests::continuous_check, ".ci/run", Some("cargo test --release -- --skip x"), "`cargo test --release` is"),
    ];
    for (rule, path, text, expected) in breaks {
        let mut tree = sound();
        match text {
            Some(text) => tree.put(path, text),
            None => tree.remove(path),
        }
        let findings = rule(&tree);
        let found = findings.iter().any(|finding| finding.contains(expected));
        assert!(found, "{path} as {text:?}: expected a finding with `{expected}`, found {findings:?}");
    }
    let twice = ["attention/flash".to_owned(), "attention/flash".to_owned()];
    assert!(rules::one_name(&sound(), &twice)[0].contains("2 entries"));
    let ghost = ["attention/flash".to_owned(), "attention/ghost".to_owned()];
    assert!(rules::one_name(&sound(), &ghost)[0].contains("attention/ghost: listed in OPS, but has no files"));
}
