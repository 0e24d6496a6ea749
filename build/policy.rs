//! What the build says about registers that spill, local memory, and the compilers' remarks.

use crate::recipe::Object;
use std::path::Path;

/// A kernel that may spill: one line `instance sm_80 reason` of `kernels/spill_exceptions.txt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    /// Name of the kernel.
    pub(crate) instance: String,
    /// Compute capability.
    pub(crate) sm: u32,
    /// Why it may.
    pub(crate) reason: String,
}

/// The list; a missing file is an empty list.
pub(crate) fn read(path: &Path) -> Result<Vec<Exception>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).map_err(|error| format!("{}:{error}", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Parses the list: `#` starts a comment line.
pub(crate) fn parse(text: &str) -> Result<Vec<Exception>, String> {
    let mut exceptions = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
    {
        let mut words = line.split_whitespace();
        let instance = words.next().unwrap_or_default().to_owned();
        let sm = words.next().and_then(|word| word.strip_prefix("sm_")).and_then(|number| number.parse().ok());
        let reason = words.collect::<Vec<_>>().join(" ");
        match sm {
            Some(sm) if !reason.is_empty() => exceptions.push(Exception { instance, sm, reason }),
            _ => {
                return Err(format!("{}: expected `instance sm_80 reason`, found `{line}`", index + 1));
            }
        }
    }
    Ok(exceptions)
}

/// Warnings; under `strict`, spills and local memory without an exception are an error.
pub(crate) fn judge(objects: &[Object], exceptions: &[Exception], strict: bool) -> Result<Vec<String>, String> {
    let mut warnings = Vec::new();
    let mut spills = Vec::new();
    let mut used = vec![false; exceptions.len()];
    for object in objects {
        let path = &object.source.path;
        warnings.extend(object.remarks.iter().map(|remark| format!("kernels/{path}: {remark}")));
        for (name, list) in &object.instances {
            for resources in list.iter().filter(|resources| resources.spill_bytes > 0 || resources.local_bytes > 0) {
                let excepted = |exception: &Exception| exception.instance == *name && exception.sm == resources.sm;
                match exceptions.iter().position(excepted) {
                    Some(index) => used[index] = true,
                    None => spills.push(format!(
                        "kernels/{path}: {name} on sm_{}: {} registers, spills {} bytes, local memory {} bytes a thread",
                        resources.sm, resources.registers, resources.spill_bytes, resources.local_bytes
                    )),
                }
            }
        }
    }
    for (exception, _) in exceptions.iter().zip(&used).filter(|(_, used)| !**used) {
        let Exception { instance, sm, .. } = exception;
        warnings.push(format!("kernels/spill_exceptions.txt: {instance} sm_{sm} does not spill, or is not built"));
    }
    if strict && !spills.is_empty() {
        spills
            .push("LLM_KERNELS_STRICT=1: a spill needs a line with its reason in kernels/spill_exceptions.txt".into());
        return Err(spills.join("\n"));
    }
    warnings.extend(spills);
    Ok(warnings)
}
