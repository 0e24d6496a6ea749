//! The table of arithmetic instructions has the forms that NVIDIA's assembler takes, for the same targets and PTX versions.

use softcuda::ptx::ast::Type;
use softcuda::ptx::isa::rules::{Group, Rule};
use softcuda::ptx::isa::{Modifier, Modifiers, Needs, Row, rows, rows_of};
use std::collections::{BTreeMap, BTreeSet};

const FORMS: &str = include_str!("../data/assembler-forms.txt");

/// A form without the order in which it is spelt: mnemonic, modifiers, types.
type Form = (String, BTreeSet<&'static str>, Vec<&'static str>);

/// Why the table lacks a form that the assembler takes.
fn left_out((mnemonic, modifiers, types): &Form) -> Option<&'static str> {
    let has = |modifier: &str| modifiers.contains(modifier);
    match mnemonic.as_str() {
        "addc" | "subc" | "madc" if types[0].ends_with("16") || has("sat") => Some("not in the manual"),
        "fma" if has("oob") => Some("the NaN that stands for out of bounds is not documented"),
        "fma" if types[0].starts_with("bf16") && !has("rn") => Some("the manual has .rn only"),
        "rcp" if types[0] == "f64" && has("ftz") && !has("approx") => Some("not in the manual"),
        _ => None,
    }
}

/// The assembler's forms with the least target and version of each.
fn assembler() -> BTreeMap<Form, (u32, (u32, u32))> {
    let mut forms = BTreeMap::new();
    for line in FORMS.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let [target, version, mnemonic, comparisons, suffixes @ ..] = words.as_slice() else { panic!("{line}") };
        let target: u32 = target.trim_start_matches("sm_").parse().expect("a target");
        let (major, minor) = version.split_once('.').expect("a version");
        let version = (major.parse().expect("a number"), minor.parse().expect("a number"));
        for suffix in suffixes {
            for comparison in comparisons.split('|') {
                let comparison = if comparison == "-" { String::new() } else { format!(".{comparison}") };
                let form = split(&format!("{mnemonic}{comparison}{suffix}"));
                forms.insert(form, (target, version));
            }
        }
    }
    forms
}

fn split(text: &str) -> Form {
    let mut parts = text.split('.');
    let mnemonic = parts.next().expect("a mnemonic").to_owned();
    let (mut modifiers, mut types) = (BTreeSet::new(), Vec::new());
    for part in parts {
        match Type::from_name(part) {
            Some(ty) => types.push(ty.name()),
            // A modifier that the table does not know stays as it is.
            None => {
                let known = Modifier::ALL.iter().find(|modifier| modifier.name() == part);
                modifiers.insert(known.map_or_else(|| &*part.to_owned().leak(), |modifier| modifier.name()));
            }
        }
    }
    (mnemonic, modifiers, types)
}

/// The rows that take a form.
fn rows_that_take((mnemonic, modifiers, types): &Form) -> Option<(&'static Row, Modifiers, Vec<Type>)> {
    let (candidates, _) = rows_of(mnemonic)?;
    let opcode = candidates[0].opcode;
    let mut set = Modifiers::default();
    for modifier in modifiers {
        set.insert(Modifier::from_name(opcode, modifier)?);
    }
    let types: Vec<Type> = types.iter().map(|name| Type::from_name(name)).collect::<Option<_>>()?;
    let row = candidates.iter().find(|row| row.accepts(&set, &types))?;
    Some((row, set, types))
}

/// The least version of PTX that has a target.
fn version_of(target: u32) -> (u32, u32) {
    match target {
        0..=75 => (6, 3),
        76..=80 => (7, 0),
        81..=86 => (7, 1),
        _ => (7, 8),
    }
}

#[test]
fn what_the_assembler_takes_the_table_takes_for_the_same_targets() {
    let mut wrong = Vec::new();
    let forms = assembler();
    for (form, &(target, version)) in &forms {
        match (rows_that_take(form), left_out(form)) {
            (None, Some(_)) => {}
            (None, None) => wrong.push(format!("{form:?} is not in the table")),
            (Some(_), Some(reason)) => wrong.push(format!("{form:?} is in the table: {reason}")),
            (Some((row, modifiers, types)), None) => {
                let needs = Needs::of(row, &modifiers, &types);
                let least = needs.target.max(75);
                // A module for that target has at least its version.
                let (least_version, version) = (needs.version.max(version_of(least)), version.max(version_of(target)));
                if (least, least_version) != (target, version) {
                    wrong.push(format!("{form:?} needs {least} {least_version:?}, the assembler {target} {version:?}"));
                }
            }
        }
    }
    println!("{} forms", forms.len());
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), forms.len(), wrong.join("\n"));
}

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

#[test]
fn what_the_table_takes_the_assembler_takes() {
    let forms = assembler();
    let mnemonics: BTreeSet<&str> = forms.keys().map(|form| form.0.as_str()).collect();
    let (mut count, mut wrong) = (0, Vec::new());
    for row in rows().filter(|row| mnemonics.contains(row.mnemonic)) {
        let types: Vec<Vec<Type>> = row.types.iter().map(|list| list.to_vec()).collect();
        let groups: Vec<Vec<Vec<Modifier>>> = row.modifiers.iter().map(choices).collect();
        for modifiers in product(&groups) {
            for types in product(&types) {
                let names = modifiers.iter().flatten().map(|modifier| modifier.name()).collect();
                let form = (row.mnemonic.to_owned(), names, types.iter().map(|ty| ty.name()).collect());
                count += 1;
                if !forms.contains_key(&form) {
                    wrong.push(form);
                }
            }
        }
    }
    println!("{count} forms");
    assert!(wrong.is_empty(), "the assembler refuses {} of {count}: {wrong:#?}", wrong.len());
}

const LINES: &str = include_str!("../data/assembler-lines.txt");

/// What the parser says of an instruction in a module of this target and version; nothing if it takes it.
fn complaint(target: u32, (major, minor): (u32, u32), instruction: &str) -> Option<String> {
    let text = format!(
        ".version {major}.{minor}\n.target sm_{target}\n.address_size 64\n.visible .entry k(.param .u64 p)\n{{\n\
         .reg .pred %p<16>; .reg .b16 %h<16>; .reg .b32 %r<32>; .reg .b64 %d<16>;\n{instruction}\nret;\n}}\n"
    );
    softcuda::ptx::parse(&text).err().map(|error| error.message)
}

#[test]
fn instructions_of_other_families_need_what_the_assembler_says() {
    const TARGETS: [u32; 5] = [75, 80, 86, 89, 90];
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in LINES.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.splitn(3, ' ');
        let [Some(target), Some(version), Some(instruction)] = [words.next(), words.next(), words.next()] else {
            panic!("{line}")
        };
        let target: u32 = target.trim_start_matches("sm_").parse().expect("a target");
        let (major, minor) = version.split_once('.').expect("a version");
        let version: (u32, u32) = (major.parse().expect("a number"), minor.parse().expect("a number"));
        count += 1;
        if let Some(message) = complaint(target, version, instruction) {
            wrong.push(format!("{line}: {message}"));
            continue;
        }
        if let Some(&below) = TARGETS.iter().rev().find(|&&known| known < target) {
            let wanted = format!("needs .target sm_{target} or higher");
            let message = complaint(below, (9, 0), instruction).unwrap_or_default();
            if !message.contains(&wanted) {
                wrong.push(format!("{line}: for sm_{below}: `{message}`"));
            }
        }
        if version > version_of(target) {
            let before = if version.1 > 0 { (version.0, version.1 - 1) } else { (version.0 - 1, 9) };
            let message = complaint(target, before, instruction).unwrap_or_default();
            if !message.contains(&format!("needs .version {major}.{minor} or later")) {
                wrong.push(format!("{line}: for PTX {before:?}: `{message}`"));
            }
        }
    }
    println!("{count} instructions");
    assert!(wrong.is_empty(), "{} of {count}\n{}", wrong.len(), wrong.join("\n"));
}
