//! The rules. Each takes a tree and returns what breaks it, one line per finding; an empty list is a pass.

use crate::tree::{Tree, modules};
use std::collections::BTreeSet;

/// Sections of an op's test file.
const SECTIONS: [&str; 6] = ["agrees", "properties", "edges", "rejects", "plan", "counters"];

/// Files over their budget, each with its reason.
const OVER_BUDGET: [(&str, &str); 0] = [];

/// The op paths `<family>/<op>` that any of the five places names.
pub(crate) fn ops(tree: &Tree) -> BTreeSet<String> {
    let families: BTreeSet<&str> = tree
        .files()
        .filter_map(|(path, _)| path.strip_prefix("kernels/")?.split_once('/'))
        .map(|(family, _)| family)
        .filter(|family| *family != "common")
        .collect();
    let mut ops = BTreeSet::new();
    for (path, _) in tree.files() {
        let parts: Vec<&str> = path.split('/').collect();
        let op = match parts[..] {
            ["kernels", family, file] if family != "common" => {
                file.strip_suffix(".cu").map(|stem| (family, stem.split("_sm").next().unwrap_or(stem)))
            }
            ["src", family, op, _] if families.contains(family) => Some((family, op)),
            ["tests" | "benches", family, file] if families.contains(family) && file != "main.rs" => {
                file.strip_suffix(".rs").map(|op| (family, op))
            }
            _ => None,
        };
        ops.extend(op.map(|(family, op)| format!("{family}/{op}")));
    }
    ops
}

/// The rule of one name: an op lies in five places, and is declared in the module files, listed and documented.
pub(crate) fn one_name(tree: &Tree, listed: &[String]) -> Vec<String> {
    let mut findings = Vec::new();
    let ops = ops(tree);
    for path in &ops {
        let (family, op) = path.split_once('/').unwrap();
        let places = [
            format!("kernels/{path}.cu"),
            format!("src/{path}/mod.rs"),
            format!("src/{path}/reference.rs"),
            format!("src/{path}/README.md"),
            format!("tests/{path}.rs"),
            format!("benches/{path}.rs"),
        ];
        for place in places.iter().filter(|place| !tree.has(place)) {
            findings.push(format!("op {path}: {place} is missing"));
        }
        for file in
            [format!("src/{family}/mod.rs"), format!("tests/{family}/main.rs"), format!("benches/{family}/main.rs")]
        {
            if !tree.declares(&file, op) {
                findings.push(format!("op {path}: {file} has no line `mod {op};`"));
            }
        }
        match listed.iter().filter(|name| *name == path).count() {
            1 => {}
            count => findings.push(format!("op {path}: {count} entries in {family}::OPS, expected 1")),
        }
        let row = |line: &&str| line.starts_with('|') && line.contains(&format!("`{path}`"));
        match tree.text("README.md").lines().filter(row).count() {
            1 => {}
            count => findings.push(format!("op {path}: {count} rows in README.md's op table, expected 1")),
        }
    }
    for path in listed.iter().filter(|path| !ops.contains(*path)) {
        findings.push(format!("op {path}: listed in OPS, but has no files"));
    }
    findings
}

/// Every op's tests have each section, with a test in it.
pub(crate) fn test_sections(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for op in ops(tree) {
        let file = format!("tests/{op}.rs");
        for section in SECTIONS {
            match body(tree, &file, section) {
                None => findings.push(format!("{file}: section `mod {section}` is missing")),
                Some(text) if !text.contains("#[test]") => {
                    findings.push(format!("{file}: section `mod {section}` holds no #[test]"));
                }
                Some(_) => {}
            }
        }
    }
    findings
}

/// Text of the module `name` declared in `file`: its block, or its file.
fn body<'a>(tree: &'a Tree, file: &str, name: &str) -> Option<&'a str> {
    let text = tree.text(file);
    let module = modules(text).into_iter().find(|module| module.name == name)?;
    if module.in_file {
        return child(tree, file, &module.name, module.path.as_deref()).map(|path| tree.text(path));
    }
    let start: usize = text.split_inclusive('\n').take(module.line).map(str::len).sum();
    let indent = text[start..].len() - text[start..].trim_start_matches(' ').len();
    let close = format!("\n{}}}", " ".repeat(indent));
    let end = text[start..].find(&close).map_or(text.len(), |end| start + end);
    Some(&text[start..end])
}

/// The file of `mod name;` declared in `file`.
fn child<'a>(tree: &'a Tree, file: &str, name: &str, path: Option<&str>) -> Option<&'a str> {
    let (folder, stem) = file.rsplit_once('/')?;
    let candidates = match path {
        Some(path) => vec![clean(&format!("{folder}/{path}"))],
        None => {
            // A module file's children lie in a folder of its name; those of a crate root or mod.rs beside it. The
            // root of a test or example crate is such a root whatever its name.
            let crate_root = ["tests", "benches", "examples", "fuzz_targets"].iter().any(|kind| folder.ends_with(kind));
            let beside = crate_root || ["mod.rs", "lib.rs", "main.rs"].contains(&stem);
            let base = if beside { folder.to_owned() } else { file.trim_end_matches(".rs").to_owned() };
            vec![format!("{base}/{name}.rs"), format!("{base}/{name}/mod.rs")]
        }
    };
    tree.files().map(|(path, _)| path).find(|path| candidates.iter().any(|candidate| candidate == path))
}

/// Resolves `..` in a path by name.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Every Rust file is compiled: a crate root, or reached from one by `mod` lines.
pub(crate) fn reachable(tree: &Tree) -> Vec<String> {
    let rust = || tree.files().map(|(path, _)| path).filter(|path| path.ends_with(".rs"));
    let is_root = |path: &str| {
        let parts: Vec<&str> = path.split('/').collect();
        matches!(
            parts[..],
            [.., "build.rs" | "lib.rs"]
                | [.., "src", "main.rs"]
                | [.., "tests" | "benches" | "examples" | "fuzz_targets", _]
                | [.., "tests" | "benches" | "examples", _, "main.rs"]
        )
    };
    let mut reached: BTreeSet<&str> = rust().filter(|path| is_root(path)).collect();
    let mut open: Vec<&str> = reached.iter().copied().collect();
    while let Some(file) = open.pop() {
        for module in modules(tree.text(file)).iter().filter(|module| module.in_file) {
            let folder = if file.contains('/') { file.to_owned() } else { format!("./{file}") };
            let path = child(tree, &folder, &module.name, module.path.as_deref());
            open.extend(path.filter(|path| reached.insert(path)));
        }
    }
    rust().filter(|path| !reached.contains(path)).map(|path| format!("{path}: no `mod` line leads to it")).collect()
}

/// Lines of a kernel, a CUDA header and a Rust file are bounded.
pub(crate) fn budgets(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        let budget = match path.rsplit('.').next() {
            Some("cuh") => 200,
            Some("cu" | "rs") => 400,
            _ => continue,
        };
        let lines = text.lines().count();
        let excepted = OVER_BUDGET.iter().any(|(file, _)| *file == path);
        if lines > budget && !excepted {
            findings.push(format!("{path}: {lines} lines, budget {budget}"));
        }
        if lines <= budget && excepted {
            findings.push(format!("{path}: within its budget, its exception can go"));
        }
    }
    for (path, reason) in OVER_BUDGET {
        if reason.is_empty() || !tree.has(path) {
            findings.push(format!("{path}: its exception has no reason or no file"));
        }
    }
    findings
}

/// Inline PTX is in one folder.
pub(crate) fn asm_in_one_folder(tree: &Tree) -> Vec<String> {
    let mut findings = Vec::new();
    let kernels =
        tree.files().filter(|(path, _)| path.starts_with("kernels/") && !path.starts_with("kernels/common/ptx/"));
    for (path, text) in kernels {
        for (index, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
            if words.any(|word| word == "asm" || word == "__asm__" || word == "__asm") {
                findings.push(format!("{path}:{}: asm belongs into kernels/common/ptx/", index + 1));
            }
        }
    }
    findings
}

/// No note of unfinished work stays in a text.
pub(crate) fn no_open_ends(tree: &Tree) -> Vec<String> {
    // Put together here, so that this file does not break its own rule.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        for (index, line) in text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(**mark)) {
                findings.push(format!("{path}:{}: {mark}", index + 1));
            }
        }
    }
    findings
}
