//! What determines an object: flags, architectures, key. No process is started here.

use crate::cache;
use crate::ptxas::Instances;
use crate::sources::{self, Source};
use std::path::Path;

/// From CUDA to PTX. One PTX text, for the oldest architecture, serves all: what a newer chip runs is what an older
/// chip and the software device run. `-lineinfo` puts `.loc` into it, so that a fault can name its source line.
pub(crate) const TO_PTX: [&str; 7] = ["-std=c++17", "-O3", "-lineinfo", "--expt-relaxed-constexpr", "-I", ".", "-ptx"];
/// From PTX to machine code for each architecture, with ptxas' report. nvcc compresses PTX by itself, machine code only when
/// told: a quarter of the bytes in every program that links the library. The driver unpacks what it loads.
pub(crate) const TO_FATBIN: [&str; 7] = ["-O3", "-lineinfo", "-Xptxas", "-v", "-Xfatbin", "-compress-all", "-fatbin"];
/// Architectures that a baseline kernel gets machine code for.
const DEFAULT_ARCHITECTURES: [&str; 2] = ["80", "90"];
/// Part of the key: raise it when this file changes what an entry holds.
const FORMAT: &str = "1";

/// A compiled source file.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// What was compiled.
    pub(crate) source: Source,
    /// The fatbin.
    pub(crate) image: Vec<u8>,
    /// Its kernels.
    pub(crate) instances: Instances,
    /// Warnings of the compilers.
    pub(crate) remarks: Vec<String>,
}

/// `(13, 0)` from `Cuda compilation tools, release 13.0, V13.0.88`.
pub(crate) fn release(version: &str) -> Option<(u32, u32)> {
    let number = version.split("release ").nth(1)?.split([',', ' ', '\n']).next()?;
    let (major, minor) = number.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The architectures of baseline kernels: the value of `LLM_KERNELS_ARCHS` (`80,89,90`), or the default list.
///
/// `known` is what `nvcc --list-gpu-code` prints.
pub(crate) fn architectures(variable: Option<&str>, known: &str) -> Result<Vec<String>, String> {
    let Some(list) = variable.filter(|list| !list.trim().is_empty()) else {
        return Ok(DEFAULT_ARCHITECTURES.map(str::to_owned).into());
    };
    let usable = |number: &&str| number.parse::<u32>().is_ok_and(|number| number >= 80);
    let known: Vec<&str> =
        known.split_whitespace().filter_map(|name| name.strip_prefix("sm_")).filter(usable).collect();
    let mut chosen: Vec<String> = Vec::new();
    for item in list.split([',', ';', ' ']).filter(|item| !item.is_empty()) {
        let number = item.trim_start_matches("sm_");
        if !known.contains(&number) {
            return Err(format!("LLM_KERNELS_ARCHS: {item} is not among what this nvcc knows: {}", known.join(", ")));
        }
        chosen.push(number.to_owned());
    }
    chosen.sort_by_key(|number| number.parse::<u32>().unwrap_or(0));
    chosen.dedup();
    Ok(chosen)
}

/// `-gencode` for a source: PTX for the oldest architecture it runs on, and machine code.
pub(crate) fn gencode(source: &Source, architectures: &[String]) -> (String, String) {
    match source.variant.strip_prefix("sm") {
        Some(number) => {
            (format!("arch=compute_{number}"), format!("arch=compute_{number},code=[compute_{number},sm_{number}]"))
        }
        None => {
            let code: String = architectures.iter().map(|number| format!(",sm_{number}")).collect();
            ("arch=compute_80".to_owned(), format!("arch=compute_80,code=[compute_80{code}]"))
        }
    }
}

/// The cache key: everything that the fatbin is made from.
pub(crate) fn key(kernels: &Path, source: &Source, compiler: &str, architectures: &[String]) -> Result<String, String> {
    let (to_ptx, to_fatbin) = gencode(source, architectures);
    let mut parts = vec![FORMAT.into(), compiler.into(), to_ptx, to_fatbin];
    parts.push(TO_PTX.join(" "));
    parts.push(TO_FATBIN.join(" "));
    for name in ["NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"] {
        parts.push(std::env::var(name).unwrap_or_default());
    }
    for file in sources::closure(kernels, &source.path)? {
        let path = kernels.join(&file);
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        parts.push(file);
        parts.push(text);
    }
    Ok(cache::key(parts.iter().map(|part| part.as_bytes())))
}

/// PTX whose `.file` lines say `kernels/attention/x.cu` and `cuda/cuda_fp16.hpp` instead of where these lie here:
/// the result is the same on every machine and gives no path away.
pub(crate) fn relative_files(ptx: &str, kernels: &str) -> String {
    let mut text = String::with_capacity(ptx.len());
    for line in ptx.split_inclusive('\n') {
        let quoted = line.trim_start().starts_with(".file").then(|| line.split_once('"')).flatten();
        match quoted.and_then(|(before, rest)| Some((before, rest.split_once('"')?))) {
            Some((before, (path, after))) => {
                let path = path.replace('\\', "/");
                let clean = match path.strip_prefix(kernels) {
                    Some(inside) => format!("kernels/{}", inside.trim_start_matches(['/', '.'])),
                    None => {
                        let tail = path.rsplit_once("/include/").or_else(|| path.rsplit_once('/'));
                        format!("cuda/{}", tail.map_or(path.as_str(), |(_, tail)| tail))
                    }
                };
                text += &format!("{before}\"{clean}\"{after}");
            }
            None => text += line,
        }
    }
    text
}
