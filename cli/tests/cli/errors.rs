//! Errors are one line on standard error, with exit code 1.

use std::path::Path;

use crate::{fails, llm_kernels, output};

#[test]
fn wrong_usage_is_one_line() {
    for (arguments, expected) in [
        (&[][..], "no command"),
        (&["paint"], "'paint'"),
        (&["bench"], "<FAMILY[/OP]>"),
        (&["run", "attention/flash_forward"], "--input"),
        (&["info", "--color"], "'--color'"),
        (&["check", "nosuch"], "no operator or family is called `nosuch`; there are: attention/flash_forward"),
        (&["bench", "attention/nosuch"], "`attention/nosuch`"),
        (&["run", "attention", "--describe"], "`attention`"),
    ] {
        let line = fails(&mut llm_kernels(arguments));
        assert!(line.contains(expected), "{arguments:?}: {line}");
    }
}

#[test]
fn unknown_devices_are_named() {
    for device in ["cuda", "cuda:x", "software:sm_70", "tpu"] {
        let line = fails(&mut llm_kernels(&["info", "--device", device]));
        assert!(line.contains(device), "{line}");
        let line = fails(llm_kernels(&["info"]).env("LLM_KERNELS_DEVICE", device));
        assert!(line.contains(device), "{line}");
    }
}

#[test]
fn a_gpu_that_is_not_there_is_a_clear_error() {
    let line = fails(llm_kernels(&["info"]).env("LLM_KERNELS_DEVICE", "cuda:99"));
    assert!(line.contains("cuda:99"), "{line}");
    if !Path::new("/dev/nvidiactl").exists() {
        for command in [&["info"][..], &["check"], &["bench", "attention"]] {
            let line = fails(llm_kernels(command).env("LLM_KERNELS_DEVICE", "cuda:0"));
            assert!(line.contains("cuda:0") && line.contains("LLM_KERNELS_DEVICE=software"), "{line}");
        }
    }
}

#[test]
fn help_and_version_are_answers() {
    for arguments in [&["--help"][..], &["-h"], &["run", "--help"], &["--version"]] {
        let output = output(arguments);
        assert_eq!(output.status.code(), Some(0));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn a_reader_that_has_gone_away_is_not_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = llm_kernels(&["run", "attention/flash_forward", "--describe"]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = llm_kernels(&["run", "attention/flash_forward", "--describe"]).stdout(full).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.starts_with("error: writing output: ") && errors.lines().count() == 1, "{errors}");
}
