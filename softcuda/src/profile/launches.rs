//! The log of launches, and the file of `SOFTCUDA_REPORT`.

use super::{Counters, LaunchTime, LineCounters, json};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// What a launch was and what it did.
#[derive(Clone, Debug)]
pub struct LaunchReport {
    /// The kernel's name.
    pub kernel: String,
    /// Ordinal of the device.
    pub device: usize,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Dynamic shared memory of a block.
    pub dynamic_shared_bytes: u32,
    /// Registers of a thread; `None`: no machine code for the chip says.
    pub registers: Option<u32>,
    /// What was counted.
    pub counters: Counters,
    /// What it would take on the chip, by the time model.
    pub time: LaunchTime,
    /// Counts of each PTX instruction that ran; `None`: not kept (`SOFTCUDA_PROFILE`).
    pub lines: Option<Arc<[LineCounters]>>,
}

/// Reports that are kept; the oldest go first.
const REPORTS: usize = 1 << 16;

static LAUNCHES: Mutex<VecDeque<LaunchReport>> = Mutex::new(VecDeque::new());

/// Reports of the launches that ended without a fault, the oldest first; of more than 65,536 the last ones.
pub fn launches() -> Vec<LaunchReport> {
    let launches = LAUNCHES.lock().unwrap_or_else(PoisonError::into_inner);
    launches.iter().cloned().collect()
}

/// Forgets the reports of all launches.
pub fn clear_launches() {
    LAUNCHES.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// Keeps a report, and adds it to the file of `SOFTCUDA_REPORT` if there is one.
pub(crate) fn record(report: LaunchReport, path: Option<&Path>) {
    if let Some(path) = path {
        write(path, &report);
    }
    let mut launches = LAUNCHES.lock().unwrap_or_else(PoisonError::into_inner);
    if launches.len() == REPORTS {
        launches.pop_front();
    }
    launches.push_back(report);
}

/// The report file of this process. It is a JSON array at any time: a launch overwrites the closing bracket.
struct ReportFile {
    path: PathBuf,
    /// `None`: it could not be written, which has been said.
    file: Option<File>,
    /// Whether a launch is in it.
    started: bool,
}

static REPORT: Mutex<Option<ReportFile>> = Mutex::new(None);

/// Ends the array.
const END: &[u8] = b"\n]\n";

fn write(path: &Path, report: &LaunchReport) {
    let mut current = REPORT.lock().unwrap_or_else(PoisonError::into_inner);
    if current.as_ref().is_none_or(|open| open.path != path) {
        let file = File::create(path).map_err(|error| complain(path, &error)).ok();
        *current = Some(ReportFile { path: path.to_owned(), file, started: false });
    }
    let Some(open) = current.as_mut() else { return };
    let Some(file) = open.file.as_mut() else { return };
    match append(file, open.started, report) {
        Ok(()) => open.started = true,
        Err(error) => {
            complain(path, &error);
            open.file = None;
        }
    }
}

fn append(file: &mut File, started: bool, report: &LaunchReport) -> io::Result<()> {
    let mut text = Vec::new();
    if started {
        file.seek(SeekFrom::End(-(END.len() as i64)))?;
        text.extend_from_slice(b",\n");
    } else {
        text.extend_from_slice(b"[\n");
    }
    text.extend_from_slice(json::launch(report).to_string().as_bytes());
    text.extend_from_slice(END);
    file.write_all(&text)
}

/// A report that cannot be written must not end the program that is measured.
fn complain(path: &Path, error: &io::Error) {
    eprintln!("softcuda: SOFTCUDA_REPORT={}: {error}", path.display());
}
