//! softcuda as a `libcuda.so.1` for other people's programs.
