//! Compiles sources to fatbins: from the cache where possible, the rest in parallel.

use crate::cache::{self, Compiled};
use crate::nvcc::Compiler;
use crate::ptxas;
use crate::recipe::{self, Object, TO_FATBIN, TO_PTX};
use crate::sources::Source;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// An instance that takes longer is a defect: users compile these kernels on their laptops.
const SECONDS_PER_INSTANCE: f64 = 3.0;
/// Every source's object, in the order of `sources`.
pub(crate) fn all(
    kernels: &Path,
    sources: &[Source],
    compiler: &Compiler,
    architectures: &[String],
    cache: &Path,
) -> Result<Vec<Object>, String> {
    // SAFETY: nothing in this process has touched the inherited descriptors yet; they are cargo's jobserver.
    let jobserver = unsafe { jobserver::Client::from_env() };
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
    let jobs = std::env::var("NUM_JOBS").ok().and_then(|jobs| jobs.parse().ok()).unwrap_or(cores);
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<Object, String>>>> = sources.iter().map(|_| Mutex::default()).collect();
    let worker = |first: bool| {
        // Cargo gave this process one token; every further worker asks for its own, and returns it at the end.
        let _token = match (&jobserver, first) {
            (Some(client), false) => client.acquire().ok(),
            _ => None,
        };
        while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
            let result = one(kernels, source, compiler, architectures, cache);
            let index = sources.iter().position(|other| other == source).unwrap_or(0);
            if let Ok(mut slot) = results[index].lock() {
                *slot = Some(result);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs.min(sources.len()) {
            scope.spawn(|| worker(false));
        }
        worker(true);
    });
    let results = results.into_iter().map(|slot| slot.into_inner().ok().flatten());
    results.map(|result| result.unwrap_or_else(|| Err("a compile thread ended early".to_owned()))).collect()
}

/// One source, from the cache or compiled.
fn one(
    kernels: &Path,
    source: &Source,
    compiler: &Compiler,
    architectures: &[String],
    cache: &Path,
) -> Result<Object, String> {
    let key = recipe::key(kernels, source, &compiler.version, architectures)?;
    let stored = cache::load(cache, &key);
    let fresh = stored.is_none();
    let start = Instant::now();
    let compiled = match stored {
        Some(compiled) => compiled,
        None => compile(kernels, source, compiler, architectures, cache, &key)?,
    };
    let (instances, mut remarks) = ptxas::parse(&compiled.report)?;
    if instances.is_empty() {
        return Err(format!("kernels/{}: holds no __global__ function", source.path));
    }
    if fresh {
        cache::store(cache, &key, &compiled)?;
        let seconds = start.elapsed().as_secs_f64();
        let each = seconds / instances.len() as f64;
        println!("compiled kernels/{}: {seconds:.1} s, {} instances", source.path, instances.len());
        if each > SECONDS_PER_INSTANCE {
            remarks.push(format!("{each:.1} s an instance to compile; more than {SECONDS_PER_INSTANCE} s is a defect"));
        }
    }
    Ok(Object { source: source.clone(), image: compiled.image, instances, remarks })
}

/// Runs nvcc twice, CUDA to PTX to fatbin, with no path of this machine left in the result.
fn compile(
    kernels: &Path,
    source: &Source,
    compiler: &Compiler,
    architectures: &[String],
    cache: &Path,
    key: &str,
) -> Result<Compiled, String> {
    let folder = cache.join("work").join(format!("{key}.{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let result = (|| {
        let (to_ptx, to_fatbin) = recipe::gencode(source, architectures);
        let name = source.file_name();
        let (ptx, fatbin) = (name.replace(".cu", ".ptx"), name.replace(".cu", ".fatbin"));
        let ptx_path = folder.join(&ptx);
        let mut report = run(Command::new(&compiler.path)
            .current_dir(kernels)
            .args(TO_PTX)
            .arg("-gencode")
            .arg(format!("{to_ptx},code={}", to_ptx.trim_start_matches("arch=")))
            .arg("-o")
            .arg(&ptx_path)
            .arg(&source.path))?;
        let text = std::fs::read_to_string(&ptx_path).map_err(|error| format!("{}: {error}", ptx_path.display()))?;
        let text = recipe::relative_files(&text, &kernels.to_string_lossy());
        std::fs::write(&ptx_path, text).map_err(|error| format!("{}: {error}", ptx_path.display()))?;
        let command = &mut Command::new(&compiler.path);
        report += &run(command.current_dir(&folder).args(TO_FATBIN).arg("-gencode").arg(to_fatbin).args([
            "-o",
            fatbin.as_str(),
            ptx.as_str(),
        ]))?;
        let path = folder.join(&fatbin);
        let image = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Compiled { image, report })
    })();
    let _ = std::fs::remove_dir_all(&folder);
    result.map_err(|error: String| format!("kernels/{}:\n{error}", source.path))
}

/// Standard error of a compiler that must succeed.
fn run(command: &mut Command) -> Result<String, String> {
    let result = command.output().map_err(|error| format!("nvcc: {error}"))?;
    let errors = String::from_utf8_lossy(&result.stderr).into_owned();
    if result.status.success() { Ok(errors) } else { Err(format!("nvcc: {}\n{}", result.status, errors.trim_end())) }
}
