//! Run-lines: the comments before a kernel that say how to run it and what must come out.
//!
//! ```text
//! // run add_sat
//! //   in  s32: 2147483647 -2147483648 5
//! //   in  s32: 1 -1 6
//! //   out s32: 2147483647 -2147483648 11
//! ```

use super::value::{Element, Expected, inputs, values};
use softcuda::chip::Architecture;

/// A parameter of the kernel.
#[derive(Debug)]
pub(crate) enum Argument {
    /// `in`: the address of these values.
    Input(Element, Vec<u128>),
    /// `out`: the address of room for these values, and by how many steps of the format they may differ.
    Output(Element, Vec<Expected>, u128),
    /// `value`: this value itself.
    Value(Element, u128),
}

/// One run of one kernel.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) kernel: String,
    pub(crate) block: u32,
    pub(crate) grid: u32,
    pub(crate) architecture: Architecture,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) fault: Option<String>,
    /// Where it stands.
    pub(crate) line: usize,
}

/// All runs of a file.
///
/// # Errors
/// The first line that is not understood, with its number.
pub(crate) fn parse(text: &str) -> Result<Vec<Run>, String> {
    let mut runs: Vec<Run> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let comment = line.strip_prefix("//").map(str::trim);
        let Some(comment) = comment else {
            open = false;
            continue;
        };
        if let Some(rest) = comment.strip_prefix("run ") {
            runs.push(start(rest, line_number).map_err(|error| format!("line {line_number}: {error}"))?);
            open = true;
        } else if open && let Some(run) = runs.last_mut() {
            extend(run, comment).map_err(|error| format!("line {line_number}: {error}"))?;
        }
    }
    for run in &mut runs {
        if run.block == 0 {
            let first = run.arguments.iter().find_map(|argument| match argument {
                Argument::Input(_, values) => Some(values.len()),
                Argument::Output(_, values, _) => Some(values.len()),
                Argument::Value(..) => None,
            });
            run.block = first.unwrap_or(1) as u32;
        }
    }
    Ok(runs)
}

fn start(text: &str, line: usize) -> Result<Run, String> {
    let mut words = text.split_whitespace();
    let kernel = words.next().ok_or("a kernel's name is missing")?.to_owned();
    let mut run =
        Run { kernel, block: 0, grid: 1, architecture: Architecture::Sm90, arguments: Vec::new(), fault: None, line };
    for word in words {
        match word.split_once('=') {
            Some(("block", count)) => run.block = count.parse().map_err(|_| format!("`{word}`"))?,
            Some(("grid", count)) => run.grid = count.parse().map_err(|_| format!("`{word}`"))?,
            Some(("arch", "sm_80")) => run.architecture = Architecture::Sm80,
            Some(("arch", "sm_89")) => run.architecture = Architecture::Sm89,
            Some(("arch", "sm_90")) => run.architecture = Architecture::Sm90,
            _ => return Err(format!("`{word}` is neither block=, grid= nor arch=sm_80|sm_89|sm_90")),
        }
    }
    Ok(run)
}

fn extend(run: &mut Run, text: &str) -> Result<(), String> {
    let (head, values_text) = text.split_once(':').ok_or_else(|| format!("`{text}` has no colon"))?;
    let mut words = head.split_whitespace();
    let keyword = words.next().unwrap_or("");
    if keyword == "fault" {
        run.fault = Some(values_text.trim().to_owned());
        return Ok(());
    }
    let name = words.next().unwrap_or("");
    let element = Element::from_name(name).ok_or_else(|| format!("`{name}` is no type"))?;
    let steps = match words.next() {
        None => 0,
        Some(word) => word.strip_prefix('~').and_then(|n| n.parse().ok()).ok_or_else(|| format!("`{word}`"))?,
    };
    let argument = match keyword {
        "in" => Argument::Input(element, inputs(element, values_text)?),
        "out" => Argument::Output(element, values(element, values_text)?, steps),
        "value" => match inputs(element, values_text)?[..] {
            [value] => Argument::Value(element, value),
            _ => return Err("one value".to_owned()),
        },
        _ => return Err(format!("`{keyword}` is none of in, out, value, fault")),
    };
    run.arguments.push(argument);
    Ok(())
}
