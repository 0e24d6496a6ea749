//! What the software device's time model says of work: modelled, never measured.

/// Modelled time of one or more launches, and what limits it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modelled {
    /// Time of all launches.
    pub seconds: f64,
    /// Energy.
    pub joules: f64,
    /// Rent of the chip, in US dollars.
    pub dollars: f64,
    /// What each part of the chip (`tensor`, `issue`, `dram`, ...) needs at least, over the time: the largest first.
    pub bounds: Vec<(&'static str, f64)>,
    /// Parts of the warps' time spent waiting, by Nsight Compute's names of the reasons: the largest first.
    pub stalls: Vec<(&'static str, f64)>,
    /// Machine instructions of warps by unit, estimated from the PTX that ran.
    pub machine_instructions: Vec<(&'static str, f64)>,
    /// The chip's peak in floating-point operations a second: of tensor cores if the work used them, else of f32.
    pub peak_flops: f64,
    /// The chip's peak bandwidth of device memory, in bytes a second.
    pub peak_bytes: f64,
}

/// A line of a kernel, PTX or source, and what it has done.
#[derive(Clone, Debug, PartialEq)]
pub struct HotLine {
    /// The kernel.
    pub kernel: String,
    /// Line of the PTX text.
    pub ptx_line: u32,
    /// `file.cu:12`.
    pub source: Option<String>,
    /// PTX mnemonic; of a source line the one executed most.
    pub mnemonic: &'static str,
    /// Its part of the issue slots, or of the memory pipe, whichever is larger, among all lines.
    pub share: f64,
    /// Warp instructions.
    pub warp_instructions: u64,
    /// Sectors of device memory.
    pub sectors: u64,
    /// Wavefronts of shared memory, and those of them that are bank conflicts.
    pub wavefronts: u64,
    /// See above.
    pub conflicts: u64,
}

/// The hottest lines of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hot {
    /// Of the PTX text.
    pub ptx: Vec<HotLine>,
    /// Of the CUDA source.
    pub source: Vec<HotLine>,
}
