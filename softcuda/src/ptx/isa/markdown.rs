//! The instruction table for readers.

use std::fmt::Write;

use super::{
    Row, rows,
    rules::{Count, Group, Kind, OperandRule, Presence, Rule},
    target,
};

/// The instruction table as Markdown: one line for each row. `{..}` is optional, `|` separates alternatives.
pub fn markdown() -> String {
    let mut text = String::from("| instruction | operands | meaning | needs |\n|---|---|---|---|\n");
    for row in rows() {
        let needs = target::description(row).replace('|', "\\|");
        let spelling = spelling(row).replace('|', "\\|");
        let operands = operands(row).replace('|', "\\|");
        let meaning = row.meaning.replace('|', "\\|");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{spelling}` | {operands} | {meaning} | {needs} |");
    }
    text
}

/// Mnemonic, modifiers and types of a row.
fn spelling(row: &Row) -> String {
    let mut text = row.mnemonic.to_string();
    let groups = |after: bool| row.modifiers.iter().filter(move |g| g.after_types == after);
    groups(false).for_each(|group| push_group(&mut text, group));
    for types in row.types {
        let names: Vec<String> = types.iter().map(|ty| format!(".{}", ty.name())).collect();
        text.push_str(&alternatives(&names));
    }
    groups(true).for_each(|group| push_group(&mut text, group));
    text
}

fn push_group(text: &mut String, group: &Group) {
    let names: Vec<String> = group.members.iter().map(|m| format!(".{}", m.name())).collect();
    match group.rule {
        Rule::One => text.push_str(&alternatives(&names)),
        Rule::Optional => text.push_str(&format!("{{{}}}", names.join("|"))),
        Rule::All => text.push_str(&names.concat()),
        Rule::AllOrNone => text.push_str(&format!("{{{}}}", names.concat())),
    }
}

fn alternatives(names: &[String]) -> String {
    match names {
        [single] => single.clone(),
        many => format!("({})", many.join("|")),
    }
}

fn operands(row: &Row) -> String {
    let mut sources = "abcefgh".chars();
    let names: Vec<String> = row
        .operands
        .iter()
        .map(|rule| {
            let mut next = || sources.next().unwrap_or('x').to_string();
            let name = match rule.kind {
                Kind::Write | Kind::WriteOrSink | Kind::WriteOrUnpack => "d".into(),
                Kind::WritePair => "d{|p}".into(),
                Kind::WriteBoth => "d|p".into(),
                Kind::Address | Kind::GlobalAddress => format!("[{}]", next()),
                Kind::Immediate(..) | Kind::OneOf(_) => "constant".into(),
                Kind::Label => "label".into(),
                Kind::Targets => "labels".into(),
                Kind::Callee => "function".into(),
                Kind::List => "(list)".into(),
                _ => next(),
            };
            with_count(rule, name)
        })
        .collect();
    names.join(", ")
}

fn with_count(rule: &OperandRule, name: String) -> String {
    let name = match rule.count {
        Count::Vector(n) => format!("{{{name} x {n}}}"),
        Count::One | Count::ByModifier => name,
    };
    match rule.presence {
        Presence::Always => name,
        Presence::Optional => format!("{{{name}}}"),
        Presence::With(modifier) => format!("{{{name} with .{}}}", modifier.name()),
    }
}
