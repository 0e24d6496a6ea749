//! Which rows, types and modifiers of the instruction table the run-lines execute.

use super::files;
use softcuda::ptx::isa::rules::Rule;
use softcuda::ptx::isa::{Row, rows};
use std::collections::BTreeSet;

/// What a row offers: itself, each type at each place, each modifier that may also be absent or another.
fn offers(row: &Row) -> Vec<String> {
    let mut offers = vec![String::new()];
    for (place, types) in row.types.iter().enumerate() {
        offers.extend(types.iter().map(|ty| format!(" type {place} .{}", ty.name())));
    }
    for group in row.modifiers.iter().filter(|group| group.rule != Rule::All) {
        offers.extend(group.members.iter().map(|member| format!(" .{}", member.name())));
    }
    offers
}

/// A row as a line names it.
fn name(row: &Row) -> String {
    let fixed = row.modifiers.iter().filter(|group| group.rule == Rule::All).flat_map(|group| group.members);
    let fixed: String = fixed.map(|member| format!(".{}", member.name())).collect();
    format!("{}{fixed} ({})", row.mnemonic, row.meaning)
}

/// Rows, types and modifiers that no run-line executes are listed, each with its reason, in `not_run.txt`.
///
/// `SOFTCUDA_BLESS=1` writes the list anew.
#[test]
fn every_row_type_and_modifier_is_run() {
    let mut missing: BTreeSet<String> =
        rows().flat_map(|row| offers(row).into_iter().map(move |offer| name(row) + &offer)).collect();
    for file in files() {
        for function in &file.module.functions {
            // A function that is no kernel counts as executed by the kernels that call it.
            let runs = !function.entry || file.runs.iter().any(|run| run.kernel == function.name);
            for instruction in function.body.iter().filter(|_| runs).flat_map(|body| &body.instructions) {
                let name = name(instruction.row);
                missing.remove(&name);
                for (place, ty) in instruction.types.iter().enumerate() {
                    missing.remove(&format!("{name} type {place} .{}", ty.name()));
                }
                for member in instruction.row.modifiers.iter().flat_map(|group| group.members) {
                    if instruction.modifiers.has(*member) {
                        missing.remove(&format!("{name} .{}", member.name()));
                    }
                }
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/instructions/not_run.txt");
    let text: String = missing.iter().map(|line| format!("{line}\n")).collect();
    if std::env::var_os("SOFTCUDA_BLESS").is_some() {
        std::fs::write(path, &text).expect("the list can be written");
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    println!("{} of the table's rows, types and modifiers are not run", missing.len());
    let new: Vec<&str> = text.lines().filter(|line| !known.lines().any(|known| known == *line)).collect();
    let gone: Vec<&str> = known.lines().filter(|line| !text.lines().any(|now| now == *line)).collect();
    assert!(new.is_empty() && gone.is_empty(), "no run-line executes:\n{new:#?}\nnow executed:\n{gone:#?}");
}
