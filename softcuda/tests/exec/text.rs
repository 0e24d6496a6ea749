//! Small kernels from a few lines of PTX.

use crate::support::Bench;
use softcuda::fault::Fault;
use softcuda::profile::Counters;

/// A kernel `k(out)` around `body`. `%r0` is %tid.x, `%d0` the output, `%d1` the thread's own word of it; `tile` is shared
/// memory of 8,192 bytes; `%r`, `%d`, `%h`, `%f` and `%p` are registers of 32, 64 and 16 bits, f32 and predicates.
pub(crate) fn text(body: &str) -> String {
    text_with("", body)
}

/// The same with `functions` in front of the kernel.
pub(crate) fn text_with(functions: &str, body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n{functions}.visible .entry k(.param .u64 out)\n{{\n\
         .reg .b32 %r<64>; .reg .b64 %d<32>; .reg .pred %p<16>; .reg .f32 %f<32>; .reg .b16 %h<32>;\n\
         .shared .align 128 .b8 tile[8192];\n\
         ld.param.u64 %d0, [out];\nmov.u32 %r0, %tid.x;\nmad.wide.u32 %d1, %r0, 4, %d0;\n{body}\nret;\n}}\n"
    )
}

/// Runs a body over `words` words of output that start as 0xdddddddd.
pub(crate) fn run(body: &str, words: usize, grid: u32, block: [u32; 3]) -> Result<(Vec<u32>, Counters), Box<Fault>> {
    run_with(body, words, grid, block, |_| {})
}

/// The same, on changed settings.
pub(crate) fn run_with(
    body: &str,
    words: usize,
    grid: u32,
    block: [u32; 3],
    change: impl FnOnce(&mut Bench),
) -> Result<(Vec<u32>, Counters), Box<Fault>> {
    let mut bench = Bench::new(&text(body));
    // A faulty kernel must not hold up the tests.
    bench.config.instruction_limit = 50_000_000;
    change(&mut bench);
    let out = bench.upload(&vec![0xdddd_ddddu32; words]);
    let counters = bench.launch("k", [grid, 1, 1], block, 0, &[&out.to_le_bytes()])?;
    Ok((bench.download(out, words), counters))
}

/// What the launch of a body that has no fault leaves in its output.
pub(crate) fn output(body: &str, words: usize, grid: u32, block: [u32; 3]) -> Vec<u32> {
    run(body, words, grid, block).unwrap_or_else(|fault| panic!("{}\n{body}", fault.text)).0
}

/// The counters of a body that has no fault, run by one warp.
pub(crate) fn counters(body: &str) -> Counters {
    run(body, 4096, 1, [32, 1, 1]).unwrap_or_else(|fault| panic!("{}\n{body}", fault.text)).1
}

/// The fault of a body.
pub(crate) fn fault(body: &str, block: [u32; 3]) -> Fault {
    match run(body, 1024, 1, block) {
        Ok(_) => panic!("no fault:\n{body}"),
        Err(fault) => *fault,
    }
}
