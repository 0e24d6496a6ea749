//! cudarc's own tests of its driver layer, from the sources of the version that this workspace uses.

use super::{SOURCES, folder, run, with_library};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Tests that cannot pass here, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "driver::safe::launch::tests::test_launch_with_half",
        "asks the compiler for compute_53, which CUDA 13 does not know any more",
    ),
    (
        "driver::safe::launch::tests::test_par_launch",
        "measures that two kernels overlap in time; a kernel here runs inside of its launch",
    ),
    (
        "driver::safe::launch::tests::test_multi_stream_concurrent_reads",
        "wants a kernel to start before another one ends; as above",
    ),
    (
        "driver::safe::launch::tests::test_device_side_assert",
        "wants the launch to succeed and the wait to fail; cudarc records an event right after it launches, which fails here \
         since the kernel has ended",
    ),
    (
        "driver::safe::core::tests::test_pinned_copy_is_faster",
        "compares the speed of copies; pinned memory is the host's ordinary memory here",
    ),
    (
        "driver::safe::core::tests::test_default_pinned_host_reads_are_faster_than_write_combined",
        "compares the speed of reads; write-combined memory is the host's ordinary memory here",
    ),
];

/// Tests that cudarc runs only when asked, each by itself or with two devices.
const BY_THEMSELVES: &[&str] = &[
    "driver::result::tests::peer_transfer_contexts",
    "driver::result::tests::re_associate_context_for_memory_op",
    "driver::safe::core::tests::test_post_alloc_memory",
    "driver::safe::launch::tests::test_peer_memcpy_waits_for_src_stream",
];

/// The oldest CUDA whose names cudarc loads here; its tests of what newer ones add are not compiled.
const FEATURES: &str = "std,driver,nvrtc,f16,cuda-13000,dynamic-loading";

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Its own settings, not those of the build that runs this test.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CUDARC_CUDA_VERSION"] {
        cargo.env_remove(name);
    }
    cargo
}

/// Where cargo keeps the sources of cudarc.
fn sources() -> PathBuf {
    let metadata =
        run(cargo().args(["metadata", "--format-version=1", "--locked"]).current_dir(env!("CARGO_MANIFEST_DIR")));
    let manifest = metadata.split('"').find(|text| text.contains("/cudarc-") && text.ends_with("/Cargo.toml"));
    Path::new(manifest.expect("cudarc is a dependency")).parent().unwrap().to_owned()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::write(target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

/// The folder of NVIDIA's run-time compiler, installed at the first use.
fn compiler() -> PathBuf {
    let installed = folder("nvrtc");
    let libraries = installed.join("nvidia/cu13/lib");
    if !libraries.join("libnvrtc.so.13").is_file() {
        let requirements = Path::new(SOURCES).join("cudarc/requirements.txt");
        let options = ["-m", "pip", "install", "--no-input", "--no-deps", "--only-binary=:all:", "--require-hashes"];
        run(Command::new("python3").args(options).arg("-r").arg(requirements).arg("--target").arg(&installed));
    }
    libraries
}

/// Builds the tests; the program that they are.
fn tests() -> PathBuf {
    let copy = folder("cudarc");
    copy_folder(&sources(), &copy);
    // The versions of its dependencies are those of this workspace.
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    fs::write(copy.join("Cargo.lock"), fs::read(lock).unwrap()).unwrap();
    // A workspace of its own, although it lies inside of another one's target folder.
    let manifest = fs::read_to_string(copy.join("Cargo.toml")).unwrap();
    fs::write(copy.join("Cargo.toml"), format!("{manifest}\n[workspace]\n")).unwrap();
    let options = ["test", "--lib", "--no-default-features", "--features", FEATURES, "--no-run"];
    let text = run(cargo().args(options).current_dir(&copy).env("CARGO_TARGET_DIR", copy.join("target")));
    let path = text.rsplit("Executable unittests src/lib.rs (").next().and_then(|rest| rest.split(')').next());
    copy.join(path.expect("cargo tells where the tests are"))
}

#[test]
fn the_tests_of_cudarc_pass_but_for_those_listed() {
    let (program, compiler) = (tests(), compiler());
    let command = || {
        let mut command = with_library(&program);
        let found = command.get_envs().find(|(name, _)| *name == "LD_LIBRARY_PATH").and_then(|(_, value)| value);
        let mut paths = vec![PathBuf::from(found.unwrap()), compiler.clone()];
        let path = std::env::join_paths(paths.drain(..)).unwrap();
        command.env("LD_LIBRARY_PATH", path).env("SOFTCUDA_DEVICES", "2");
        command
    };
    let list = run(command().args(["--list", "--format=terse", "driver::"]));
    let names: Vec<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    assert!(names.len() > 40, "{list}");
    for name in EXCEPTIONS.iter().map(|(name, _)| name).chain(BY_THEMSELVES) {
        assert!(names.contains(name), "cudarc has no test {name}");
    }
    let mut all = command();
    all.args(["driver::", "--test-threads=2", "--exact"]).args(&names);
    for (name, _) in EXCEPTIONS {
        all.args(["--skip", name]);
    }
    let text = run(&mut all);
    let passed = names.len() - EXCEPTIONS.len() - BY_THEMSELVES.len();
    assert!(text.contains(&format!("test result: ok. {passed} passed; 0 failed")), "{text}");
    for name in BY_THEMSELVES {
        let text = run(command().args(["--ignored", "--exact", name]));
        assert!(text.contains("test result: ok. 1 passed"), "{text}");
    }
}
