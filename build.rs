//! Compiles `kernels/<family>/<op>.cu` with nvcc and writes the table `$OUT_DIR/kernels.rs`.
//!
//! It knows no kernel by name: a new file under `kernels/` is compiled and embedded without a change here.
//! ARCHITECTURE.md ("The build") explains the steps.

#[path = "build/cache.rs"]
mod cache;
#[path = "build/compile.rs"]
mod compile;
#[path = "build/nvcc.rs"]
mod nvcc;
#[path = "build/policy.rs"]
mod policy;
#[path = "build/ptxas.rs"]
mod ptxas;
#[path = "build/recipe.rs"]
mod recipe;
#[path = "build/sources.rs"]
mod sources;
#[path = "build/table.rs"]
mod table;
#[path = "build/wheels.rs"]
mod wheels;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Variables that change what is built.
const VARIABLES: [&str; 13] = [
    "LLM_KERNELS_NVCC",
    "LLM_KERNELS_NVCC_FALLBACK",
    "LLM_KERNELS_STRICT",
    "LLM_KERNELS_ARCHS",
    "CUDA_HOME",
    "CUDA_PATH",
    "NVCC_CCBIN",
    "NVCC_PREPEND_FLAGS",
    "NVCC_APPEND_FLAGS",
    "XDG_CACHE_HOME",
    "HOME",
    "DOCS_RS",
    "CARGO_FEATURE_BUNDLED_NVCC",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    for name in VARIABLES {
        println!("cargo::rerun-if-env-changed={name}");
    }
    for path in ["build.rs", "build", "kernels"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let kernels = root.join("kernels");
    let sources = sources::discover(&kernels)?;
    if std::env::var_os("DOCS_RS").is_some() || sources.is_empty() {
        return write(&out.join("kernels.rs"), &table::render(&[]));
    }

    let compiler = nvcc::find()?;
    println!("cargo::rerun-if-changed={}", compiler.path.display());
    let known = nvcc::output(Command::new(&compiler.path).arg("--list-gpu-code"))?;
    let architectures = recipe::architectures(std::env::var("LLM_KERNELS_ARCHS").ok().as_deref(), &known)?;
    let objects = compile::all(&kernels, &sources, &compiler, &architectures, &cache::directory()?)?;

    let exceptions = policy::read(&kernels.join("spill_exceptions.txt"))?;
    let strict = std::env::var("LLM_KERNELS_STRICT").is_ok_and(|value| value == "1");
    for warning in policy::judge(&objects, &exceptions, strict)? {
        println!("cargo::warning={warning}");
    }
    let mut entries = Vec::new();
    for object in &objects {
        let image = out.join(object.source.file_name()).with_extension("fatbin");
        std::fs::write(&image, &object.image).map_err(|error| format!("{}: {error}", image.display()))?;
        entries.push(table::Entry { object, image });
    }
    write(&out.join("kernels.rs"), &table::render(&entries))
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set: build.rs is run by cargo"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
