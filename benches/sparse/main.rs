//! Wall time of sparse attention on the device that LLM_KERNELS_DEVICE names. On the software device it is
//! the time that this machine takes to execute the kernel, and says nothing about a GPU: see `llm-kernels bench` for
//! counters.

mod block_sparse;
mod block_sparse_backward;

#[path = "../support/mod.rs"]
mod support;

use support::bench;

criterion::criterion_group!(benches, block_sparse::bench, block_sparse_backward::bench);
criterion::criterion_main!(benches);
