//! Fatbins and cubins through their readers.
#![no_main]

#[path = "../../tests/fuzz/mutation.rs"]
mod mutation;
#[path = "../../tests/fuzz/properties.rs"]
mod properties;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|input: &[u8]| properties::container(input));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    // Half of the changes are libFuzzer's own; the others are of fields of headers.
    if seed % 2 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let changed = mutation::image(&data[..size], &mut mutation::Random::new(u64::from(seed)));
    let kept = changed.len().min(max_size);
    data[..kept].copy_from_slice(&changed[..kept]);
    kept
});
