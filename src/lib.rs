//! Hand-written CUDA kernels for resource-efficient language models, behind safe Rust.
