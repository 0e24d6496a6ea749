//! Which files are kernels, and which project headers each one includes.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// One `kernels/<family>/<op>.cu` or `kernels/<family>/<op>_sm90a.cu`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    /// `<family>/<op>`, without the suffix.
    pub(crate) op: String,
    /// Empty for the baseline, else the architecture that the file is for: `sm90a`.
    pub(crate) variant: String,
    /// Path relative to `kernels/`, with `/`.
    pub(crate) path: String,
}

impl Source {
    /// A name unique among the sources: `attention.flash_forward` or `attention.flash_forward_sm90a`.
    pub(crate) fn file_name(&self) -> String {
        self.path.trim_end_matches(".cu").replace('/', ".") + ".cu"
    }

    /// Parses a path relative to `kernels/`.
    pub(crate) fn parse(path: &str) -> Result<Self, String> {
        let stem = path.strip_suffix(".cu").ok_or_else(|| format!("kernels/{path}: not a .cu file"))?;
        let (op, variant) = match stem.rsplit_once("_sm") {
            Some((op, number)) if is_architecture(number) => (op, format!("sm{number}")),
            _ => (stem, String::new()),
        };
        if op.split('/').count() != 2 {
            return Err(format!("kernels/{path}: a kernel lies at kernels/<family>/<op>.cu"));
        }
        Ok(Self { op: op.to_owned(), variant, path: path.to_owned() })
    }
}

/// `90a`, `100a`, `80`: a compute capability with an optional suffix for architecture-specific instructions.
pub(crate) fn is_architecture(text: &str) -> bool {
    let digits = text.trim_end_matches(['a', 'f']);
    text.len() - digits.len() <= 1
        && (2..=3).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Every kernel under `kernels`, sorted; `kernels/common` holds headers only. No such folder: no kernels.
pub(crate) fn discover(kernels: &Path) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    if !kernels.is_dir() {
        return Ok(sources);
    }
    let mut folders = vec![kernels.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let path = entry.map_err(|error| format!("{}: {error}", folder.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "cu") {
                sources.push(Source::parse(&relative(kernels, &path)?)?);
            }
        }
    }
    sources.sort();
    Ok(sources)
}

/// The file itself and every project header that it includes, directly or not, relative to `kernels`, sorted.
///
/// Follows each `#include "..."`, also under an `#if` that is false: a header too many only costs a recompilation.
/// A quoted name that is neither beside the file nor under `kernels` belongs to the toolkit, whose version is part
/// of the cache key by itself.
pub(crate) fn closure(kernels: &Path, source: &str) -> Result<Vec<String>, String> {
    let mut seen = BTreeSet::from([source.to_owned()]);
    let mut open = vec![source.to_owned()];
    while let Some(file) = open.pop() {
        let path = kernels.join(&file);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        for name in includes(&text).map_err(|line| format!("kernels/{file}:{line}: #include needs a literal name"))? {
            let beside = path.parent().unwrap_or(kernels).join(&name);
            let found = [beside, kernels.join(&name)].into_iter().find(|candidate| candidate.is_file());
            if let Some(found) = found {
                let header = relative(kernels, &found)?;
                if seen.insert(header.clone()) {
                    open.push(header);
                }
            }
        }
    }
    Ok(seen.into_iter().collect())
}

/// The quoted names that a text includes, in order; `Err(line)` for an include whose name is a macro.
pub(crate) fn includes(text: &str) -> Result<Vec<String>, usize> {
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(directive) = line.trim_start().strip_prefix('#') else {
            continue;
        };
        let Some(operand) = directive.trim_start().strip_prefix("include") else {
            continue;
        };
        let operand = operand.trim_start();
        if let Some(quoted) = operand.strip_prefix('"') {
            names.push(quoted.split('"').next().unwrap_or_default().to_owned());
        } else if !operand.starts_with('<') {
            return Err(index + 1);
        }
    }
    Ok(names)
}

/// `path` relative to `kernels`, `..` resolved by name, with `/` on every system.
fn relative(kernels: &Path, path: &Path) -> Result<String, String> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    let inside = clean.strip_prefix(kernels).map_err(|_| format!("{}: outside kernels/", path.display()))?;
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    Ok(parts.join("/"))
}
