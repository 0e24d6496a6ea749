//! printf and assert of kernels: they reach the host's stderr.

use super::{CHILD, text};
use cudarc::{
    driver::{CudaContext, LaunchConfig, PushKernelArg, sys::CUresult},
    nvrtc::Ptx,
};
use softcuda::{chip::Architecture, fault::FaultKind};
use std::process::Command;

const FUNCTIONS: &str = include_str!("../exec/cuda/functions.ptx");

/// Runs `body` in a process of its own; what that writes to stderr. The test's name is this function's caller's.
fn stderr_of(test: &str, body: impl FnOnce()) -> Option<String> {
    if std::env::var_os(CHILD).is_some() {
        body();
        return None;
    }
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{}", text(&output));
    Some(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Launches a kernel of one `int`; the code that the context is left with.
fn launch(kernel: &str, blocks: u32, n: i32) -> Result<(), CUresult> {
    softcuda::install(&[Architecture::Sm80]).expect("the software device");
    let context = CudaContext::new(0).expect("a device");
    let module = context.load_module(Ptx::from_src(FUNCTIONS)).expect("a module");
    let function = module.load_function(kernel).expect("a kernel");
    let shape = LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the kernel takes one int and touches no memory.
    unsafe { context.default_stream().launch_builder(&function).arg(&n).launch(shape) }.expect("a launch");
    context.synchronize().map_err(|error| error.0)
}

#[test]
fn a_kernel_prints_to_stderr_block_after_block() {
    let body = || assert_eq!(launch("prints", 3, 42), Ok(()));
    let Some(printed) = stderr_of("library::a_kernel_prints_to_stderr_block_after_block", body) else { return };
    let places: Vec<usize> = (0..3)
        .flat_map(|block| (0..32).step_by(2).map(move |thread| format!("block {block} thread {thread}\n")))
        .map(|line| printed.find(&line).unwrap_or_else(|| panic!("{line} is missing in\n{printed}")))
        .collect();
    assert!(places.is_sorted(), "{printed}");
    assert!(printed.contains("-42|   42|42   |52|ff|0XFF|z|text|%\n"), "{printed}");
}

#[test]
fn a_failed_assertion_is_cuda_error_assert() {
    let body = || {
        assert_eq!(launch("asserts", 1, 31), Err(CUresult::CUDA_ERROR_ASSERT));
        assert_eq!(softcuda::last_fault().map(|fault| fault.kind), Some(FaultKind::Assert));
    };
    let Some(printed) = stderr_of("library::a_failed_assertion_is_cuda_error_assert", body) else { return };
    let expected = "functions.cu:107: void asserts(int): block: [0,0,0], thread: [31,0,0] Assertion `int(threadIdx.x) < n && \"too many\"` failed.\n";
    assert!(printed.contains(expected), "{printed}");
}
