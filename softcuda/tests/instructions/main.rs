//! One test per row of the instruction table: PTX files whose comments say what must come out.

mod coverage;
mod run_line;
#[path = "../support/mod.rs"]
mod support;
mod targets;
mod value;

use run_line::{Argument, Run};
use softcuda::config::Config;
use softcuda::exec::{self, Launch, Machine};
use softcuda::memory::GlobalMemory;
use softcuda::program::Program;
use softcuda::ptx::ast;
use std::path::PathBuf;
use value::Element;

/// A file of tests.
struct File {
    name: String,
    module: ast::Module,
    runs: Vec<Run>,
}

/// All files, in the order of their names.
fn files() -> Vec<File> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/instructions");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of this test")
        .map(|entry| entry.expect("a folder that can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "ptx"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a file that can be read");
        let module = softcuda::ptx::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let runs = run_line::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        File { name, module, runs }
    };
    paths.into_iter().map(read).collect()
}

fn bytes_of(element: Element, values: impl IntoIterator<Item = u128>) -> Vec<u8> {
    let size = element.bits() as usize / 8;
    values.into_iter().flat_map(|value| value.to_le_bytes().into_iter().take(size)).collect()
}

/// Runs one run-line; what was wrong.
fn check(module: &ast::Module, run: &Run) -> Result<(), String> {
    let memory = GlobalMemory::new(0x7000_0000_0000, 1 << 30).expect("address space for device memory");
    let addresses = support::place_variables(module, &memory);
    let program = Program::load(module, &addresses).map_err(|error| error.to_string())?;
    let kernel = program.kernels.iter().find(|kernel| kernel.name == run.kernel).ok_or("no such kernel")?;
    if kernel.params.len() != run.arguments.len() {
        return Err(format!("the kernel has {} parameters", kernel.params.len()));
    }
    let mut params = vec![0; kernel.param_bytes as usize];
    let mut outputs = Vec::new();
    for (argument, &(offset, size)) in run.arguments.iter().zip(&kernel.params) {
        let bytes = match argument {
            Argument::Value(element, value) => bytes_of(*element, [*value]),
            Argument::Input(element, values) => {
                let data = bytes_of(*element, values.iter().copied());
                let address = memory.allocate(data.len() as u64).ok_or("device memory")?;
                memory.write(address, &data).map_err(|error| format!("{error:?}"))?;
                address.to_le_bytes().to_vec()
            }
            Argument::Output(element, values, steps) => {
                let data = vec![0xcd; values.len() * element.bits() as usize / 8];
                let address = memory.allocate(data.len() as u64).ok_or("device memory")?;
                memory.write(address, &data).map_err(|error| format!("{error:?}"))?;
                outputs.push((address, data, *element, values, *steps));
                address.to_le_bytes().to_vec()
            }
        };
        if bytes.len() != size as usize {
            return Err(format!("a parameter of {size} bytes, given {}", bytes.len()));
        }
        params[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    let config = Config { threads: 1, ..Config::default() };
    let machine = Machine { architecture: run.architecture, memory: &memory, config: &config };
    let launch = Launch {
        stack_bytes: 1024,
        grid: [run.grid, 1, 1],
        block: [run.block, 1, 1],
        dynamic_shared_bytes: 0,
        params: &params,
        resident_blocks: 108,
        ..Launch::default()
    };
    match (exec::launch(&machine, kernel, &launch), &run.fault) {
        (Err(fault), Some(expected)) if fault.text.starts_with(expected.as_str()) => return Ok(()),
        (Err(fault), _) => return Err(fault.text.clone()),
        (Ok(_), Some(expected)) => return Err(format!("ran, though it should fault with: {expected}")),
        (Ok(_), None) => {}
    }
    for (number, (address, mut data, element, expected, steps)) in outputs.into_iter().enumerate() {
        memory.read(address, &mut data).map_err(|error| format!("{error:?}"))?;
        for (place, (bytes, &expected)) in data.chunks(element.bits() as usize / 8).zip(expected).enumerate() {
            let bits = bytes.iter().rev().fold(0, |bits, &byte| bits << 8 | u128::from(byte));
            if !expected.admits(element, bits, steps) {
                return Err(format!(
                    "output {number} [{place}] is {}, expected {}",
                    element.show(bits),
                    match expected {
                        value::Expected::Bits(bits) => element.show(bits),
                        other => format!("{other:?}"),
                    }
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn every_run_line_gives_what_it_says() {
    let mut failures = Vec::new();
    let mut count = 0;
    for file in files() {
        assert!(!file.runs.is_empty(), "{} has no run-line", file.name);
        let kernels = file.module.functions.iter().filter(|function| function.entry && function.body.is_some());
        for kernel in kernels {
            if !file.runs.iter().any(|run| run.kernel == kernel.name) {
                failures.push(format!("{}: kernel {} has no run-line", file.name, kernel.name));
            }
        }
        for run in &file.runs {
            count += 1;
            if let Err(what) = check(&file.module, run) {
                failures.push(format!("{}:{}: {}: {what}", file.name, run.line, run.kernel));
            }
        }
    }
    println!("{count} run-lines");
    assert!(failures.is_empty(), "{} of {count} failed\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_run_line_that_is_wrong_fails() {
    let text = "// run k\n//   out u32: 4 5\n.version 8.0\n.target sm_80\n.address_size 64\n\
        .visible .entry k(.param .u64 p) {\n.reg .b64 %a;\nld.param.u64 %a, [p];\nst.global.u32 [%a], 4;\n\
        st.global.u32 [%a+4], 6;\nret;\n}\n";
    let module = softcuda::ptx::parse(text).expect("a module");
    let runs = run_line::parse(text).expect("run-lines");
    assert_eq!(check(&module, &runs[0]), Err("output 0 [1] is 6, expected 5".to_owned()));
}
