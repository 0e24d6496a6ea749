//! What ends a launch: the kind, as CUDA names it, and the report.

/// Kinds of fault; each is one error code of the driver API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Out of bounds, freed or never allocated memory: CUDA_ERROR_ILLEGAL_ADDRESS (700).
    IllegalAddress,
    /// CUDA_ERROR_MISALIGNED_ADDRESS (716).
    MisalignedAddress,
    /// CUDA_ERROR_ILLEGAL_INSTRUCTION (715).
    IllegalInstruction,
    /// A barrier met by the wrong threads, no progress possible, a race on an asynchronous copy, a trap: CUDA_ERROR_LAUNCH_FAILED (719).
    LaunchFailed,
    /// The instruction limit: CUDA_ERROR_LAUNCH_TIMEOUT (702).
    LaunchTimeout,
    /// A failed `assert`: CUDA_ERROR_ASSERT (710).
    Assert,
}

/// A fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// The report: what, kernel, PTX line and CUDA source line, block, thread, address, nearest allocation.
    pub text: String,
}
