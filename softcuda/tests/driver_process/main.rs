//! What changes a process for good: faults, and libraries that are there before or beside the software device. Each
//! test runs in a process of its own.

#[macro_use]
#[path = "../driver_calls/mod.rs"]
mod calls;
mod capture;
mod checks;
mod faults;
mod install;
mod library;
mod report;
mod settings;

use std::{
    collections::BTreeMap,
    process::{Command, Output},
};

const CHILD: &str = "SOFTCUDA_TEST_CHILD";

/// Runs `body` in a process of its own, in which `variables` are set.
///
/// `test` is the path of the calling test; the child is this very program, told to run that test alone.
fn alone(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        body();
        // Says that the body was run to its end: a child that ran no test would succeed, too.
        println!("{}", finished(test));
        return;
    }
    let variables: BTreeMap<_, _> = variables.iter().copied().collect();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .envs(variables)
        .output()
        .unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&finished(test)), "{text}");
}

fn finished(test: &str) -> String {
    format!("{test}: body finished")
}

fn text(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr];
    streams.map(|stream| String::from_utf8_lossy(stream).into_owned()).concat()
}
