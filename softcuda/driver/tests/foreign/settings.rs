//! What the environment sets, as a program of others sees it.

use crate::{SOURCES, folder, run, text, with_library};
use std::{
    path::Path,
    process::{Command, Output},
};

/// The program in Python with these settings.
fn python(settings: &[(&str, &str)]) -> Command {
    let mut command = with_library("python3");
    command.arg(Path::new(SOURCES).join("python/program.py")).arg(Path::new(SOURCES).join("kernels.ptx"));
    command.envs(settings.iter().copied());
    command
}

fn failure(settings: &[(&str, &str)]) -> String {
    let output: Output = python(settings).output().unwrap();
    assert!(!output.status.success(), "{}", text(&output));
    text(&output)
}

#[test]
fn the_architecture_decides_which_device_there_is() {
    for (architecture, name) in [
        ("sm_80", "NVIDIA A100-SXM4-80GB (softcuda)"),
        ("sm_89", "NVIDIA GeForce RTX 4090 (softcuda)"),
        ("sm_90,sm_80", "NVIDIA H100 80GB HBM3 (softcuda)"),
    ] {
        let text = run(&mut python(&[("SOFTCUDA_ARCH", architecture)]));
        assert!(text.contains(&format!("device: {name}\n")), "{text}");
    }
}

#[test]
fn a_setting_that_cannot_be_read_is_an_error_that_says_what_it_may_be() {
    for (name, value, expected) in [
        ("SOFTCUDA_ARCH", "sm_75", "expected sm_80, sm_89 or sm_90, or several of them separated by commas"),
        ("SOFTCUDA_THREADS", "none", "expected a positive whole number"),
        ("SOFTCUDA_TENSOR", "exakt", "expected exact or fast"),
        (
            "SOFTCUDA_CHECK",
            "mem,races",
            "expected mem, sync, async, init, race, all or none, or several of them separated by commas",
        ),
    ] {
        let text = failure(&[(name, value)]);
        assert!(text.contains(&format!("softcuda: {name}=\"{value}\": {expected}\n")), "{text}");
        assert!(text.contains("\n1: invalid argument\n") || text.starts_with("1: invalid argument\n"), "{text}");
    }
}

#[test]
fn the_number_of_host_threads_changes_nothing() {
    let report = |threads: &str| {
        let path = folder("foreign-reports").join(format!("threads-{threads}.json"));
        run(&mut python(&[("SOFTCUDA_THREADS", threads), ("SOFTCUDA_REPORT", path.to_str().unwrap())]));
        std::fs::read_to_string(path).unwrap()
    };
    let one = report("1");
    // The second launch faults, and is not in the report.
    assert_eq!(one.matches("\"kernel\"").count(), 1, "{one}");
    assert!(one.contains("\"scale\"") && one.contains("\"thread_inst_executed\""), "{one}");
    assert_eq!(report("3"), one);
}
