//! The command line as its users meet it: what it prints, where, and with which exit code.

mod errors;
mod pattern;
mod reports;
mod run;

use std::path::PathBuf;
use std::process::{Command, Output};

/// The binary under test.
fn llm_kernels(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llm-kernels"));
    command.args(arguments);
    command
}

/// Runs it to its end.
fn output(arguments: &[&str]) -> Output {
    llm_kernels(arguments).output().unwrap()
}

/// Standard output of a run that must succeed.
#[track_caller]
fn succeeds(arguments: &[&str]) -> String {
    let output = output(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// JSON of a run that must succeed.
#[track_caller]
fn json(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&succeeds(arguments)).unwrap()
}

/// The error line of a run that must fail: exit code 1, nothing on standard output, nothing else on standard error
/// but the notice of which device is used.
#[track_caller]
fn fails(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{command:?}: {errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{command:?}");
    let lines: Vec<_> = errors.lines().filter(|line| !line.starts_with("no GPU found")).collect();
    match lines[..] {
        [line] => line.strip_prefix("error: ").unwrap_or_else(|| panic!("{command:?}: {line}")).to_owned(),
        _ => panic!("{command:?}: expected one line, found {errors}"),
    }
}

/// A file of this test process, removed when dropped.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("llm-kernels-cli-{}-{name}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
