//! Settings, read once from the environment.

/// `SOFTCUDA_TENSOR`: arithmetic of mma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorMode {
    /// As the emulated tensor core computes, bit for bit.
    Exact,
    /// Plain f32 sums.
    Fast,
}

/// Settings of the software device.
#[derive(Clone, Debug)]
pub struct Config {
    /// `SOFTCUDA_THREADS`: host threads; default: all cores.
    pub threads: usize,
    /// `SOFTCUDA_INSTRUCTION_LIMIT`: warp instructions that a launch may execute.
    pub instruction_limit: u64,
    /// `SOFTCUDA_TENSOR`.
    pub tensor: TensorMode,
    /// `SOFTCUDA_REPORT`: a JSON file of counters, written as launches end.
    pub report: Option<std::path::PathBuf>,
}
