//! The five resources that the surveys on efficient language models count: computation, memory, energy, money and
//! communication.

/// What a run of an operator costs; what is not known is `None`, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resources {
    /// Floating-point operations that the result needs.
    pub flops: Option<f64>,
    /// Bytes of distinct inputs and outputs: the least that any implementation moves.
    pub bytes_needed: Option<f64>,
    /// Bytes that the kernel loads from and stores to global memory.
    pub bytes_moved: Option<f64>,
    /// Time, in seconds.
    pub seconds: Option<f64>,
    /// The least time that the chip's peak rates allow, in seconds: the roofline.
    pub roofline_seconds: Option<f64>,
    /// Device memory in use at the peak, in bytes: inputs, outputs and workspace.
    pub peak_bytes: Option<f64>,
    /// Workspace, in bytes.
    pub workspace_bytes: Option<f64>,
    /// Energy, in joules.
    pub joules: Option<f64>,
    /// Money, in US dollars.
    pub dollars: Option<f64>,
    /// Bytes sent to other devices.
    pub communication_bytes: Option<f64>,
}

impl Resources {
    /// Floating-point operations a second, in units of 10^12.
    pub fn tflops(&self) -> Option<f64> {
        Some(self.flops? / self.seconds? * 1e-12)
    }

    /// Needed bytes a second, in units of 10^9.
    pub fn gigabytes_per_second(&self) -> Option<f64> {
        Some(self.bytes_needed? / self.seconds? * 1e-9)
    }

    /// Of the time, the part that the chip's peak rates would need.
    pub fn roofline_fraction(&self) -> Option<f64> {
        Some(self.roofline_seconds? / self.seconds?)
    }

    /// Floating-point operations for each needed byte.
    pub fn intensity(&self) -> Option<f64> {
        Some(self.flops? / self.bytes_needed?)
    }
}
