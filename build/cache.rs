//! The cache of compiled kernels: outside `target`, shared by every checkout, keyed by content.
//!
//! An entry is a folder `objects/<key>` with the fatbin and ptxas' report. It appears complete or not at all
//! (written beside and renamed) and may be deleted at any time.

use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A compiled file and what ptxas said while compiling it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiled {
    /// The fatbin.
    pub(crate) image: Vec<u8>,
    /// Standard error of the compilers.
    pub(crate) report: String,
}

/// `$XDG_CACHE_HOME/llm-kernels` or `~/.cache/llm-kernels`.
pub(crate) fn directory() -> Result<PathBuf, String> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .or_else(|| set("LOCALAPPDATA"))
        .ok_or("no cache folder: set HOME or XDG_CACHE_HOME")?;
    Ok(base.join("llm-kernels"))
}

/// SHA-256 over parts, each with its length before it, in hexadecimal.
pub(crate) fn key<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The entry of that key, unless it is missing or damaged.
pub(crate) fn load(cache: &Path, key: &str) -> Option<Compiled> {
    let entry = cache.join("objects").join(key);
    let image = std::fs::read(entry.join("image.fatbin")).ok()?;
    let report = std::fs::read_to_string(entry.join("ptxas.txt")).ok()?;
    let sum = std::fs::read_to_string(entry.join("sha256")).ok()?;
    (sum == self::key([image.as_slice(), report.as_bytes()])).then_some(Compiled { image, report })
}

/// Stores an entry; if another build stored it first, that one stays.
pub(crate) fn store(cache: &Path, key: &str, compiled: &Compiled) -> Result<(), String> {
    let objects = cache.join("objects");
    let entry = objects.join(key);
    if entry.is_dir() && load(cache, key).is_none() {
        // Damaged: make room.
        std::fs::remove_dir_all(&entry).map_err(|error| format!("{}: {error}", entry.display()))?;
    }
    let temporary = objects.join(format!(".{key}.{}", std::process::id()));
    let sum = self::key([compiled.image.as_slice(), compiled.report.as_bytes()]);
    let write = || {
        std::fs::create_dir_all(&temporary)?;
        std::fs::write(temporary.join("image.fatbin"), &compiled.image)?;
        std::fs::write(temporary.join("ptxas.txt"), &compiled.report)?;
        std::fs::write(temporary.join("sha256"), sum)
    };
    write().map_err(|error| format!("{}: {error}", temporary.display()))?;
    match std::fs::rename(&temporary, &entry) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = std::fs::remove_dir_all(&temporary);
            match error.kind() {
                _ if entry.is_dir() => Ok(()),
                ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty => Ok(()),
                _ => Err(format!("{}: {error}", entry.display())),
            }
        }
    }
}
