//! Finds nvcc.

use crate::{cache, recipe, wheels};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A CUDA compiler that was found and runs.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    /// The nvcc program.
    pub(crate) path: PathBuf,
    /// What identifies it and its host compiler in the cache key.
    pub(crate) version: String,
}

/// The oldest release whose output the library is written for.
const OLDEST: (u32, u32) = (12, 0);

const WAYS_OUT: &str = "\
llm-kernels compiles CUDA kernels and found no nvcc (12.0 or newer). Any one of these helps:
  - install the CUDA toolkit (nvcc on PATH or in /usr/local/cuda)
  - point LLM_KERNELS_NVCC at an nvcc, or CUDA_HOME or CUDA_PATH at a toolkit
  - enable the feature `bundled-nvcc`, or set LLM_KERNELS_NVCC_FALLBACK=bundled: the build then installs NVIDIA's
    compiler from PyPI into the user cache (Linux x86-64 or aarch64, python3 with pip, 100 MB to download)";

/// `LLM_KERNELS_NVCC`, `CUDA_HOME`, `CUDA_PATH`, `PATH`, `/usr/local/cuda`; else the compiler wheels, where allowed.
pub(crate) fn find() -> Result<Compiler, String> {
    host_compiler()?;
    if let Some(path) = std::env::var_os("LLM_KERNELS_NVCC").filter(|path| !path.is_empty()) {
        // Asked for by name: no second guess.
        return inspect(Path::new(&path)).map_err(|error| format!("LLM_KERNELS_NVCC: {error}"));
    }
    let mut notes = String::new();
    for candidate in candidates() {
        match inspect(&candidate) {
            Ok(compiler) => return Ok(compiler),
            Err(error) => notes += &format!("\n  (passed over: {error})"),
        }
    }
    if bundled_allowed()? {
        let path = wheels::install(&cache::directory()?)?;
        return inspect(&path);
    }
    Err(format!("{WAYS_OUT}{notes}"))
}

fn bundled_allowed() -> Result<bool, String> {
    if std::env::var_os("CARGO_FEATURE_BUNDLED_NVCC").is_some() {
        return Ok(true);
    }
    match std::env::var("LLM_KERNELS_NVCC_FALLBACK").as_deref() {
        Ok("bundled") => Ok(true),
        Ok("" | "none") | Err(_) => Ok(false),
        Ok(other) => Err(format!("LLM_KERNELS_NVCC_FALLBACK={other}: expected `bundled` or `none`")),
    }
}

/// The files called nvcc in the usual places, in order of preference.
fn candidates() -> Vec<PathBuf> {
    let name = format!("nvcc{}", std::env::consts::EXE_SUFFIX);
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os);
    let mut folders: Vec<PathBuf> = toolkits.map(|toolkit| Path::new(&toolkit).join("bin")).collect();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    folders.push("/usr/local/cuda/bin".into());
    folders.iter().map(|folder| folder.join(&name)).filter(|path| path.is_file()).collect()
}

/// Runs `nvcc --version`.
fn inspect(path: &Path) -> Result<Compiler, String> {
    let version = output(Command::new(path).arg("--version"))?;
    let release = recipe::release(&version).ok_or_else(|| format!("{}: not an nvcc", path.display()))?;
    if release < OLDEST {
        let (major, minor) = release;
        return Err(format!("{}: CUDA {major}.{minor}; 12.0 or newer is needed", path.display()));
    }
    Ok(Compiler { path: path.to_owned(), version: version + &host_compiler()? })
}

/// Version of the compiler that nvcc calls to preprocess.
fn host_compiler() -> Result<String, String> {
    if cfg!(windows) {
        return Ok(String::new());
    }
    let set = std::env::var_os("NVCC_CCBIN").map(PathBuf::from);
    let program = match set {
        Some(folder) if folder.is_dir() => folder.join("g++"),
        Some(program) => program,
        None => "g++".into(),
    };
    output(Command::new(&program).arg("--version"))
        .map_err(|error| format!("nvcc needs a C++ compiler (g++, or what NVCC_CCBIN names): {error}"))
}

/// Standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let result = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !result.status.success() {
        let errors = String::from_utf8_lossy(&result.stderr);
        return Err(format!("{program}: {}\n{}", result.status, errors.trim_end()));
    }
    Ok(String::from_utf8_lossy(&result.stdout).into_owned())
}
