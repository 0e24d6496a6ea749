//! Wall time of attention on the device that LLM_KERNELS_DEVICE names. On the software device it is the time that
//! this machine takes to execute the kernel, and says nothing about a GPU: see `llm-kernels bench` for counters.

mod flash_forward;

criterion::criterion_group!(benches, flash_forward::bench);
criterion::criterion_main!(benches);
