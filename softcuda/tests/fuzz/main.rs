//! The corpus of the fuzz targets, replayed, and changed in ways that keep its structure. `fuzz/` looks for more with libFuzzer.

mod mutation;
mod properties;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// An input whose check takes longer would be found as a hang. Most take a millisecond; the machine may be busy.
const LONGEST: Duration = Duration::from_secs(10);

/// Changed inputs of each kind: `SOFTCUDA_FUZZ_RUNS` or a few seconds' worth.
fn runs() -> u64 {
    std::env::var("SOFTCUDA_FUZZ_RUNS").map_or(3000, |runs| runs.parse().expect("SOFTCUDA_FUZZ_RUNS is a number"))
}

/// Files of a folder, in order.
fn files(folder: &str, fits: impl Fn(&Path) -> bool) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.retain(|path| path.is_file() && fits(path));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).expect("a readable file"))).collect()
}

fn corpus_of_ptx() -> Vec<(PathBuf, Vec<u8>)> {
    let is_ptx = |path: &Path| path.extension().is_some_and(|extension| extension == "ptx");
    let mut all = files("fuzz/corpus/ptx", |_| true);
    for folder in ["tests/ptx", "tests/driver", "tests/instructions", "benches/ptx"] {
        all.extend(files(folder, is_ptx));
    }
    all
}

fn corpus_of_containers() -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = files("fuzz/corpus/container", |_| true);
    all.extend(files("tests/container", |path| path.extension().is_some_and(|extension| extension == "fatbin")));
    all
}

/// Runs `check` on an input, within the time that an input may take; `describe` tells which it was.
fn within_time(check: fn(&[u8]), input: &[u8], describe: impl Fn() -> String) {
    let start = Instant::now();
    let result = std::panic::catch_unwind(|| check(input));
    assert!(result.is_ok(), "{}", describe());
    assert!(start.elapsed() < LONGEST, "{} took {:?}", describe(), start.elapsed());
}

fn replay(corpus: &[(PathBuf, Vec<u8>)], check: fn(&[u8])) {
    assert!(!corpus.is_empty());
    for (path, input) in corpus {
        within_time(check, input, || path.display().to_string());
    }
}

#[test]
fn the_corpus_of_ptx_is_handled() {
    replay(&corpus_of_ptx(), properties::ptx);
}

#[test]
fn the_corpus_of_containers_is_handled() {
    replay(&corpus_of_containers(), properties::container);
}

#[test]
fn changed_ptx_is_handled() {
    let corpus = corpus_of_ptx();
    for run in 0..runs() {
        let (path, input) = &corpus[run as usize % corpus.len()];
        let text = mutation::text(&String::from_utf8_lossy(input), &mut mutation::Random::new(run));
        within_time(properties::ptx, text.as_bytes(), || format!("change {run} of {}:\n{text}", path.display()));
    }
}

#[test]
fn changed_containers_are_handled() {
    let corpus = corpus_of_containers();
    for run in 0..runs() {
        let (path, input) = &corpus[run as usize % corpus.len()];
        let image = mutation::image(input, &mut mutation::Random::new(run));
        within_time(properties::container, &image, || format!("change {run} of {}", path.display()));
    }
}

#[test]
fn a_thousand_seeds_give_a_thousand_texts() {
    let text = include_str!("../ptx/scopes.ptx");
    let changed = |seed| mutation::text(text, &mut mutation::Random::new(seed));
    let all: std::collections::BTreeSet<String> = (0..1000).map(changed).collect();
    assert!(all.len() > 900, "{}", all.len());
    assert_eq!(changed(7), changed(7));
}
