//! Programs of others run on softcuda as their `libcuda.so.1`: one in C++ linked with it, one in Python, one in Rust with cudarc.
//! None of them knows softcuda. Each loads PTX, launches, reads back and sees a fault.

mod own_tests;
mod settings;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// The folder of the programs' sources.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign");

/// A folder of this test run for what is built.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A folder that holds the library under the name by which programs know the driver, as the README says to make it.
fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // Cargo has built the library beside this test, since both belong to one package.
        let test = std::env::current_exe().unwrap();
        let built = test.parent().unwrap().join("libsoftcuda_driver.so");
        // Not in the target folder: cargo puts that on the path where libraries are looked for.
        let folder = std::env::temp_dir().join(format!("softcuda-driver-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(&built, folder.join("libcuda.so.1"))
            .unwrap_or_else(|error| panic!("{}: {error}", built.display()));
        folder
    })
}

/// A command that finds the library, in an environment without settings of softcuda's.
fn with_library(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    let settings = std::env::vars_os().map(|(name, _)| name);
    for name in settings.filter(|name| name.to_string_lossy().starts_with("SOFTCUDA_")) {
        command.env_remove(name);
    }
    command.env("LD_LIBRARY_PATH", library());
    command
}

fn text(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr];
    streams.map(|stream| String::from_utf8_lossy(stream).into_owned()).concat()
}

/// Runs a command that must succeed.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = text(&output);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// Runs a program on the kernel of these tests and checks what it says.
fn check(command: &mut Command) {
    let text = run(command.arg(Path::new(SOURCES).join("kernels.ptx")));
    assert!(text.contains("device: NVIDIA A100-SXM4-80GB (softcuda)\n"), "{text}");
    assert!(text.contains("result: right\n"), "{text}");
    let fault =
        text.find("fault: 700 an illegal memory access was encountered: global store of 4 bytes at device address 0x");
    assert!(fault.is_some(), "{text}");
    // The thread, the kernel and the place in the text.
    assert!(text.contains("by thread (103, 0, 0) of block (7, 0, 0)"), "{text}");
    assert!(text.contains("at kernel scale, PTX line 32"), "{text}");
}

/// The program in C++, built once.
fn c_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = folder("foreign-c").join("program");
        let source = Path::new(SOURCES).join("c/program.cpp");
        // As a makefile would, but for the library's name: `-lcuda` wants a file without the version.
        run(Command::new("g++")
            .args(["-std=c++17", "-Wall", "-Werror", "-O1", "-o"])
            .args([&program, &source])
            .arg(library().join("libcuda.so.1")));
        program
    })
}

#[test]
fn a_program_in_cpp_that_is_linked_with_the_library() {
    check(&mut with_library(c_program()));
}

#[test]
fn the_program_in_cpp_needs_the_driver_by_its_usual_name() {
    // Without the folder on the path the loader says which library it misses.
    let output = with_library(c_program()).env_remove("LD_LIBRARY_PATH").output().unwrap();
    let text = text(&output);
    assert!(text.contains("libcuda.so.1: cannot open shared object file") || text.contains("device:"), "{text}");
}

/// The README's lines for somebody else's CI run as they stand there; only `cargo` is not asked to build once more.
#[test]
fn the_lines_of_the_readme_run_in_a_checkout() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let lines = readme.split("<!-- ci: run by a test -->\n```sh\n").nth(1).expect("the lines are marked");
    let lines = lines.split("```").next().unwrap();
    let checkout = folder("checkout");
    let target = checkout.join("target/release");
    std::fs::create_dir_all(&target).unwrap();
    std::fs::copy(library().join("libcuda.so.1"), target.join("libsoftcuda_driver.so")).unwrap();
    for (from, to) in [("python/program.py", "program.py"), ("kernels.ptx", "kernels.ptx")] {
        std::fs::copy(Path::new(SOURCES).join(from), checkout.join(to)).unwrap();
    }
    let built = "cargo() { test \"$*\" = 'build --release -p softcuda-driver'; }\n";
    let script = format!("set -eu\n{built}{lines}");
    let text = run(Command::new("sh").args(["-c", &script]).current_dir(&checkout));
    assert!(text.contains("device: NVIDIA H100 80GB HBM3 (softcuda)\nresult: right\nfault: 700 "), "{text}");
    let report = std::fs::read_to_string(checkout.join("launches.json")).unwrap();
    assert!(report.contains("\"scale\""), "{report}");
}

#[test]
fn a_program_in_python_with_ctypes() {
    check(with_library("python3").arg(Path::new(SOURCES).join("python/program.py")));
}

#[test]
fn a_program_in_rust_with_cudarc() {
    let target = folder("foreign-rust");
    let manifest = Path::new(SOURCES).join("rust/Cargo.toml");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // Its own settings, not those of the build that runs this test.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        build.env_remove(name);
    }
    run(build.args(["build", "--locked", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target));
    check(&mut with_library(target.join("debug/foreign")));
}
