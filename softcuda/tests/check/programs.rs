//! The programs, and what their comments say must come of them.

use super::support::Bench;
use softcuda::check::BenignRace;
use softcuda::config::Config;
use std::fmt::{Display, Formatter};
use std::sync::{Mutex, OnceLock};

/// What a comment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Clean,
    Fault(String),
    Benign(String),
}

/// What came of a program.
pub(crate) enum Outcome {
    Silent,
    Fault(String),
    Benign(String),
}

impl Display for Outcome {
    fn fmt(&self, to: &mut Formatter<'_>) -> std::fmt::Result {
        let (what, text) = match self {
            Outcome::Silent => ("clean", ""),
            Outcome::Fault(text) => ("fault", text.as_str()),
            Outcome::Benign(text) => ("benign", text.as_str()),
        };
        write!(to, "{what}")?;
        text.lines().try_for_each(|line| write!(to, "\n// | {line}"))
    }
}

/// One kernel.
pub(crate) struct Program {
    pub(crate) file: &'static str,
    pub(crate) name: String,
    pub(crate) expected: Expected,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    ptx: &'static str,
}

macro_rules! files {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("programs/", $name, ".cu")), include_str!(concat!("programs/", $name, ".ptx")))),*]
    };
}

const FILES: [(&str, &str, &str); 7] =
    files!["memory", "initialisation", "asynchronous", "synchronisation", "shared_races", "global_races", "exchanges"];

/// All programs.
pub(crate) fn all() -> &'static [Program] {
    static PROGRAMS: OnceLock<Vec<Program>> = OnceLock::new();
    PROGRAMS.get_or_init(|| FILES.into_iter().flat_map(|(file, source, ptx)| read(file, source, ptx)).collect())
}

/// The programs of a file.
fn read(file: &'static str, source: &str, ptx: &'static str) -> Vec<Program> {
    let mut programs = Vec::new();
    let mut announced: Option<(&str, [u32; 5])> = None;
    let mut report = Vec::new();
    for line in source.lines() {
        let comment = line.strip_prefix("// ").unwrap_or_default();
        if let Some((kind, shape)) =
            comment.split_once(" <<<").filter(|(kind, _)| ["fault", "benign", "clean"].contains(kind))
        {
            assert!(announced.is_none(), "{file}: no program behind {announced:?}");
            announced = Some((kind, numbers(shape)));
        } else if let Some(text) = comment.strip_prefix("| ") {
            report.push(text);
        } else if let Some(name) = line.strip_prefix("PROGRAM(") {
            let name = name.split(')').next().unwrap_or_default().to_owned();
            let (kind, [blocks, x, y, shared_bytes, _]) =
                announced.take().unwrap_or_else(|| panic!("{file}: {name} has no comment"));
            let text = std::mem::take(&mut report).join("\n");
            let expected = match kind {
                "fault" => Expected::Fault(text),
                "benign" => Expected::Benign(text),
                _ => Expected::Clean,
            };
            programs.push(Program { file, name, expected, grid: [blocks, 1, 1], block: [x, y, 1], shared_bytes, ptx });
        }
    }
    programs
}

/// Blocks, threads in x and y, bytes of shared memory: `1, 64, 256>>>` or `1, dim3(16, 16)>>>`.
fn numbers(shape: &str) -> [u32; 5] {
    let number = |text: &str| text.trim().parse().unwrap_or_else(|_| panic!("<<<{shape}"));
    let inner = shape.trim_end().trim_end_matches(">>>");
    if let Some((blocks, threads)) = inner.split_once(", dim3(") {
        let (x, y) = threads.trim_end_matches(')').split_once(',').expect("two numbers");
        return [number(blocks), number(x), number(y), 0, 0];
    }
    let parts: Vec<u32> = inner.split(',').map(number).collect();
    [parts[0], parts[1], 1, parts.get(2).copied().unwrap_or(0), 0]
}

/// Words of `in` and of `out`.
const WORDS: usize = 4096;

impl Program {
    /// Runs it on a device of its own.
    pub(crate) fn run(&self, config: &Config) -> Outcome {
        self.run_with_output(config).0
    }

    /// The same, and what it has left in `in` and `out`.
    pub(crate) fn run_with_output(&self, config: &Config) -> (Outcome, Vec<u32>) {
        let mut bench = Bench::recording(self.ptx);
        bench.config = config.clone();
        let words: Vec<u32> = (0..WORDS as u32).collect();
        let input = bench.upload(&words);
        let output = bench.memory.allocate(4 * WORDS as u64).expect("device memory");
        let benign = Mutex::new(Vec::new());
        let keep = |races: &[BenignRace]| benign.lock().expect("no panic before").extend_from_slice(races);
        let params = [bytemuck::bytes_of(&input), bytemuck::bytes_of(&output)];
        let done = bench.launch_cooperative(&self.name, (self.grid, self.block), self.shared_bytes, &params, &keep);
        let benign = benign.into_inner().expect("no panic before");
        let outcome = match (done, benign.as_slice()) {
            (Err(fault), _) => Outcome::Fault(fault.text),
            (Ok(_), []) => Outcome::Silent,
            (Ok(_), races) => {
                Outcome::Benign(races.iter().map(|race| race.text.as_str()).collect::<Vec<_>>().join("\n"))
            }
        };
        let mut left: Vec<u32> = bench.download(input, WORDS);
        left.extend(bench.download::<u32>(output, WORDS));
        (outcome, left)
    }
}
