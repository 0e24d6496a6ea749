//! The kernels in this build: images that the build script compiled, with what the compiler reported. None when it
//! was built for documentation only.

/// One compiled kernel file.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedKernel {
    /// The operator: `attention/flash_forward`.
    pub op: &'static str,
    /// `""` for the baseline file, `"sm90a"` for `<op>_sm90a.cu`.
    pub variant: &'static str,
    /// A fatbin: PTX and code for some chips.
    pub image: &'static [u8],
    /// Its kernels.
    pub instances: &'static [EmbeddedInstance],
}

/// One kernel of a file.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddedInstance {
    /// Its name in the image.
    pub name: &'static str,
    /// What it needs on each chip that it was compiled for.
    pub architectures: &'static [InstanceResources],
}

/// What the compiler reported about a kernel on a chip.
#[derive(Clone, Copy, Debug)]
pub struct InstanceResources {
    /// The chip: 80 for sm_80.
    pub sm: u32,
    /// Registers a thread.
    pub registers: u32,
    /// Static shared memory a block, in bytes.
    pub static_shared_bytes: u32,
    /// Bytes of spilled registers a thread, stores and loads.
    pub spill_bytes: u32,
    /// Bytes of local memory a thread (the stack frame).
    pub local_bytes: u32,
}

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The file that holds a kernel instance of an operator.
pub(crate) fn find(op: &str, instance: &str) -> Option<(usize, &'static EmbeddedKernel)> {
    let holds = |kernel: &EmbeddedKernel| {
        kernel.op == op && kernel.instances.iter().any(|candidate| candidate.name == instance)
    };
    KERNELS.iter().enumerate().find(|(_, kernel)| holds(kernel))
}
