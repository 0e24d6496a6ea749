//! Rules about the manifests, the continuous check and the README.

use crate::tree::Tree;

/// The packages, in the order of the root manifest.
const MEMBERS: &str = r#"[".", "cli", "softcuda", "softcuda/driver"]"#;

/// The workspace builds, tests and runs as a whole from its root, and has one binary.
pub(crate) fn workspace(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for key in ["members", "default-members"] {
        let line = format!("{key} = {MEMBERS}");
        if !tree.text("Cargo.toml").lines().any(|found| found == line) {
            findings.push(format!("Cargo.toml: expected `{line}`"));
        }
    }
    let others = other_workspaces(tree);
    for (path, text) in tree.files().filter(|(path, _)| !others.iter().any(|folder| path.starts_with(folder))) {
        if path.ends_with("Cargo.toml") {
            findings.extend(targets(path, text));
        } else if path != "cli/src/main.rs" && (path.ends_with("src/main.rs") || path.contains("src/bin/")) {
            findings.push(format!("{path}: the workspace has one binary, cli/src/main.rs"));
        }
    }
    findings
}

/// Folders of programs that are built by themselves: fuzz targets, and what tests build as somebody else would.
fn other_workspaces(tree: &Tree) -> Vec<&str> {
    let manifests = tree.files().filter_map(|(path, text)| Some((path.strip_suffix("Cargo.toml")?, text)));
    let others = manifests.filter(|(folder, text)| {
        let has = |section: &str| sections(text).iter().any(|(name, _)| *name == section);
        !folder.is_empty() && has("[workspace]") && has("[package]")
    });
    others.map(|(folder, _)| folder).collect()
}

/// Settings that every target of a manifest needs.
fn targets(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut need = |section: &str, line: &str| {
        for (_, body) in sections(text).into_iter().filter(|(name, _)| *name == section) {
            if !body.lines().any(|found| found.trim() == line) {
                findings.push(format!("{path}: {section} needs `{line}`"));
            }
        }
    };
    // libtest's own harness would swallow criterion's arguments.
    need("[lib]", "bench = false");
    need("[[bin]]", "bench = false");
    need("[[bin]]", "doc = false");
    need("[[bench]]", "harness = false");
    let has = |section: &str| sections(text).iter().any(|(name, _)| *name == section);
    if has("[package]") && !has("[lib]") && !has("[[bin]]") {
        findings.push(format!("{path}: needs [lib] with `bench = false`"));
    }
    if has("[[bin]]") && path != "cli/Cargo.toml" {
        findings.push(format!("{path}: the workspace has one binary, in cli/"));
    }
    for (_, body) in sections(text).into_iter().filter(|(name, _)| *name == "[lib]") {
        if body.lines().any(|line| line.trim() == "name = \"cuda\"") {
            findings.push(format!("{path}: a library file libcuda.so in target/ would shadow the real driver"));
        }
    }
    findings
}

/// A manifest's sections: heading and body.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let mut starts: Vec<usize> = text.match_indices("\n[").map(|(index, _)| index + 1).collect();
    if text.starts_with('[') {
        starts.insert(0, 0);
    }
    starts.push(text.len());
    starts
        .windows(2)
        .map(|pair| {
            let section = &text[pair[0]..pair[1]];
            let (heading, body) = section.split_once('\n').unwrap_or((section, ""));
            (heading.trim(), body)
        })
        .collect()
}

/// `.ci/run` runs the README's test command as it stands there, then the gates.
pub(crate) fn continuous_check(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    let script: Vec<&str> = tree.text(".ci/run").lines().map(str::trim).collect();
    let command = "cargo test --release";
    if !tree.text("README.md").lines().any(|line| line.split(" #").next().unwrap_or_default().trim() == command) {
        findings.push(format!("README.md: the test command `{command}` is missing"));
    }
    let mut last = 0;
    for expected in [
        "set -euo pipefail",
        command,
        "cargo fmt --all --check",
        "cargo clippy --release --workspace --all-targets -- -D warnings",
        "RUSTDOCFLAGS=-Dwarnings cargo doc --release --workspace --no-deps",
    ] {
        match script.iter().position(|line| *line == expected) {
            Some(position) if position >= last => last = position,
            Some(_) => findings.push(format!(".ci/run: `{expected}` comes too early")),
            None => findings.push(format!(".ci/run: `{expected}` is missing")),
        }
    }
    findings
}

/// The README's program is the one in `examples/`, which is compiled and run.
pub(crate) fn readme_example(tree: &Tree) -> Vec<String> {
    let documented = |line: &&str| line.starts_with("//!") || line.is_empty();
    let program: Vec<_> = tree.text("examples/attention.rs").lines().skip_while(documented).collect();
    let readme = tree.text("README.md").split_once("```rust\n").and_then(|(_, rest)| rest.split_once("```"));
    match readme {
        Some((block, _)) if !program.is_empty() && block.lines().eq(program) => Vec::new(),
        _ => vec!["README.md: its ```rust block is not examples/attention.rs".to_owned()],
    }
}
