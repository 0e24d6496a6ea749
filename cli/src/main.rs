//! `llm-kernels`: the command line.
fn main() {}
