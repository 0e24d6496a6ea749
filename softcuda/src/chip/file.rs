//! Chips as files: TOML with every figure of a chip and its source, to be copied and changed.

use super::{Architecture, Chip, TimeFigures};
use serde::Deserialize;
use std::path::Path;
use std::sync::OnceLock;

/// The files of the chips that stand for the architectures.
const BUILT_IN: [(&str, &str); 3] = [
    ("a100-sxm-80gb", include_str!("../../chips/a100-sxm-80gb.toml")),
    ("rtx-4090", include_str!("../../chips/rtx-4090.toml")),
    ("h100-sxm", include_str!("../../chips/h100-sxm.toml")),
];

/// The same once read, each at most once: what has no fixed length in a chip lives as long as the process.
static PARSED: [OnceLock<Result<Chip, ChipError>>; BUILT_IN.len()] = [const { OnceLock::new() }; BUILT_IN.len()];

/// A file that describes no chip.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chip {origin}: {problem}")]
pub struct ChipError {
    /// Its name or path.
    pub origin: String,
    /// What is wrong.
    pub problem: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    architecture: String,
    name: String,
    limits: Limits,
    time: TimeFigures,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    multiprocessors: u32,
    clock_khz: u32,
    memory_clock_khz: u32,
    memory_bus_bits: u32,
    memory_bytes: u64,
    ecc: bool,
    l2_bytes: u32,
    l2_persisting_bytes: u32,
    shared_carveouts_kb: Vec<u32>,
    shared_per_block_optin: u32,
    threads_per_multiprocessor: u32,
    blocks_per_multiprocessor: u32,
    barriers_per_multiprocessor: u32,
    single_to_double_ratio: u32,
    copy_engines: u32,
}

/// Names of the chips that are built in.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILT_IN.iter().map(|(name, _)| *name)
}

/// The text of a chip that is built in.
pub fn text(name: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// The chip that is built in under a name.
fn built_in(name: &str) -> Option<&'static Result<Chip, ChipError>> {
    let index = names().position(|known| known == name)?;
    Some(PARSED[index].get_or_init(|| parse(name, BUILT_IN[index].1)))
}

/// The chip of a name, or of a file.
///
/// # Errors
/// A file that cannot be read, or describes no chip.
pub fn load(origin: &str) -> Result<Chip, ChipError> {
    if let Some(chip) = built_in(origin) {
        return chip.clone();
    }
    let error = |problem| ChipError { origin: origin.to_owned(), problem };
    if !origin.contains(['/', '.']) {
        let known = names().collect::<Vec<_>>().join(", ");
        return Err(error(format!("neither one of {known} nor the path of a file")));
    }
    let text = std::fs::read_to_string(Path::new(origin)).map_err(|found| error(found.to_string()))?;
    parse(origin, &text)
}

/// Reads a chip's file. What has no fixed length lives as long as the process: each is loaded once.
fn parse(origin: &str, text: &str) -> Result<Chip, ChipError> {
    let error = |problem: String| ChipError { origin: origin.to_owned(), problem };
    let File { architecture, name, limits, time } =
        toml::from_str(text).map_err(|found| error(found.to_string().trim_end().replace('\n', "\n  ")))?;
    let architecture: Architecture = architecture.parse().map_err(|found| error(format!("{found}")))?;
    for (field, value) in [
        ("multiprocessors", limits.multiprocessors),
        ("clock_khz", limits.clock_khz),
        ("l2_bytes", limits.l2_bytes),
        ("threads_per_multiprocessor", limits.threads_per_multiprocessor),
        ("blocks_per_multiprocessor", limits.blocks_per_multiprocessor),
    ] {
        if value == 0 {
            return Err(error(format!("{field} is 0")));
        }
    }
    if !limits.shared_carveouts_kb.is_sorted() || limits.shared_carveouts_kb.is_empty() {
        return Err(error("shared_carveouts_kb must ascend".to_owned()));
    }
    if limits.shared_carveouts_kb.last().is_some_and(|kb| kb * 1024 < limits.shared_per_block_optin) {
        return Err(error("shared_per_block_optin exceeds the largest of shared_carveouts_kb".to_owned()));
    }
    time.check().map_err(error)?;
    Ok(Chip {
        architecture,
        name: Box::leak(name.into_boxed_str()),
        multiprocessors: limits.multiprocessors,
        clock_khz: limits.clock_khz,
        memory_clock_khz: limits.memory_clock_khz,
        memory_bus_bits: limits.memory_bus_bits,
        memory_bytes: limits.memory_bytes,
        ecc: limits.ecc,
        l2_bytes: limits.l2_bytes,
        l2_persisting_bytes: limits.l2_persisting_bytes,
        shared_carveouts_kb: Box::leak(limits.shared_carveouts_kb.into_boxed_slice()),
        shared_per_block_optin: limits.shared_per_block_optin,
        threads_per_multiprocessor: limits.threads_per_multiprocessor,
        blocks_per_multiprocessor: limits.blocks_per_multiprocessor,
        barriers_per_multiprocessor: limits.barriers_per_multiprocessor,
        single_to_double_ratio: limits.single_to_double_ratio,
        copy_engines: limits.copy_engines,
        time,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(from: &str, to: &str) -> Result<Chip, ChipError> {
        let text = text("a100-sxm-80gb").expect("built in");
        assert!(text.contains(from), "{from}");
        parse("copy.toml", &text.replace(from, to))
    }

    #[test]
    fn a_copy_with_another_figure_is_another_chip() {
        let chip = changed("multiprocessors = 108", "multiprocessors = 7").expect("a chip");
        assert_eq!((chip.multiprocessors, chip.l2_bytes), (7, 40 << 20));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let text = |from: &str, to: &str| changed(from, to).unwrap_err().to_string();
        assert_eq!(text("multiprocessors = 108", "multiprocessors = 0"), "chip copy.toml: multiprocessors is 0");
        assert!(text("clock_hz = 1.41e9", "clock_hz = nan").contains("clock_hz is NaN"), "figures are numbers");
        assert!(text("alu = 4.0", "aluminium = 4.0").contains("unknown field `aluminium`"));
        assert!(text("\"sm_80\"", "\"sm_75\"").contains("expected sm_80, sm_89 or sm_90"));
        let unknown = load("a100").unwrap_err().to_string();
        assert_eq!(unknown, "chip a100: neither one of a100-sxm-80gb, rtx-4090, h100-sxm nor the path of a file");
    }
}
