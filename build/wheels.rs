//! Installs NVIDIA's compiler from its Python wheels, for machines without a CUDA toolkit.

use crate::{cache, nvcc};
use fs4::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Versions and hashes; pip refuses anything else.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// The nvcc of the pinned wheels below `cache`; installs them on first use.
pub(crate) fn install(cache: &Path) -> Result<PathBuf, String> {
    if !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        return Err("NVIDIA's compiler wheels are pinned for Linux on x86-64 and aarch64 only: \
                    install the CUDA toolkit and set CUDA_HOME"
            .to_owned());
    }
    let name = format!("nvcc-{}", &cache::key([REQUIREMENTS.as_bytes()])[..16]);
    let folder = cache.join(&name);
    let nvcc = folder.join("nvidia/cu13/bin/nvcc");
    if nvcc.is_file() {
        return Ok(nvcc);
    }
    let at = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    std::fs::create_dir_all(cache).map_err(at(cache))?;
    // Two builds at once: the second waits here, then finds the folder.
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = std::fs::File::create(&lock_path).map_err(at(&lock_path))?;
    FileExt::lock(&lock).map_err(at(&lock_path))?;
    if nvcc.is_file() {
        return Ok(nvcc);
    }

    println!("cargo::warning=no nvcc found: installing NVIDIA's CUDA 13.0 compiler into {}", folder.display());
    let temporary = cache.join(format!(".{name}.partial"));
    if temporary.exists() {
        // Left by an interrupted build; the lock says that no one else is writing it.
        std::fs::remove_dir_all(&temporary).map_err(at(&temporary))?;
    }
    std::fs::create_dir_all(&temporary).map_err(at(&temporary))?;
    let requirements = temporary.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS).map_err(at(&requirements))?;
    let python = if Command::new("python3").arg("--version").output().is_ok() { "python3" } else { "python" };
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "install", "--no-input", "--no-cache-dir", "--no-deps"]);
    pip.args(["--only-binary=:all:", "--require-hashes", "-r"]).arg(&requirements).arg("--target").arg(&temporary);
    nvcc::output(&mut pip).map_err(|error| {
        format!("could not install NVIDIA's compiler wheels (needs python3 with pip and a package index): {error}")
    })?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(at(&folder))?;
    }
    std::fs::rename(&temporary, &folder).map_err(at(&folder))?;
    Ok(nvcc)
}
