//! What can go wrong, with enough in the text to put it right.

use crate::DType;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Every error of this crate.
///
/// Errors of an operator name the operator, the argument, the value that it got and what was expected; nothing has
/// been written when one is returned.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// A tensor of the wrong rank.
    #[error("{op}: {argument} has rank {got}, expected {expected} {dimensions}")]
    Rank {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// The rank that it has.
        got: usize,
        /// The rank that it must have.
        expected: usize,
        /// The dimensions, by name: `[b, s_q, h_q, d]`.
        dimensions: &'static str,
    },
    /// A dimension that disagrees with another argument.
    #[error("{op}: {argument} has {dimension} {got}, expected {expected} (= {of})")]
    Dimension {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// The dimension's name.
        dimension: &'static str,
        /// Its size.
        got: usize,
        /// The size that it must have.
        expected: usize,
        /// The argument that says so.
        of: &'static str,
    },
    /// A dimension that is neither 1, to be broadcast, nor agrees with another argument.
    #[error("{op}: {argument} has {dimension} {got}, expected 1 or {expected} (= {of})")]
    Broadcast {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// The dimension's name.
        dimension: &'static str,
        /// Its size.
        got: usize,
        /// The size that it must have, if not 1.
        expected: usize,
        /// The argument that says so.
        of: &'static str,
    },
    /// An argument that needs another.
    #[error("{op}: {argument} is given without {missing}")]
    Alone {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// What must be given with it.
        missing: &'static str,
    },
    /// An option beyond its range.
    #[error("{op}: {option} is {got}, expected {expected}")]
    OutOfRange {
        /// The operator.
        op: &'static str,
        /// The option.
        option: &'static str,
        /// Its value, as text.
        got: String,
        /// Its range, in words.
        expected: &'static str,
    },
    /// Offsets that don't divide a tensor into sequences.
    #[error("cu_seqlens: {problem}")]
    Sequences {
        /// What is wrong.
        problem: String,
    },
    /// A block table that names pages which the cache does not have, or lengths that it has no pages for.
    #[error("block_table: {problem}")]
    Pages {
        /// What is wrong.
        problem: String,
    },
    /// Columns of a matrix that are not shared out among groups evenly.
    #[error("act_order: {problem}")]
    ActOrder {
        /// What is wrong.
        problem: String,
    },
    /// Tiles that are no layout of block-sparse attention.
    #[error("block_layout: {problem}")]
    BlockLayout {
        /// What is wrong.
        problem: String,
    },
    /// A value that no kernel supports.
    #[error("{op}: {argument} has {what} {got}; supported: {supported}")]
    Unsupported {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// What is unsupported: a dimension's name, `dtype` ...
        what: &'static str,
        /// The value.
        got: String,
        /// What is supported.
        supported: &'static str,
    },
    /// A tensor whose shape is not that of another.
    #[error("{op}: {argument} has shape {got:?}, expected {expected:?} (= {of})")]
    Shape {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Its shape.
        got: Vec<usize>,
        /// The shape expected.
        expected: Vec<usize>,
        /// The argument that fixes it.
        of: &'static str,
    },
    /// Heads that can't be shared out evenly.
    #[error("{op}: {argument} has {got} heads, expected a multiple of {divisor} (heads of {of})")]
    NotDivisible {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Its number of heads.
        got: usize,
        /// What must divide it.
        divisor: usize,
        /// The argument that says so.
        of: &'static str,
    },
    /// A tensor of another element type than expected.
    #[error("{op}: {argument} is {got}, expected {expected}{reason}")]
    ElementType {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Its element type.
        got: DType,
        /// The expected one.
        expected: DType,
        /// Why: ` (= q)` or empty.
        reason: &'static str,
    },
    /// A last dimension whose elements are not adjacent.
    #[error("{op}: {argument} has stride {got} in its last dimension, expected 1")]
    LastStride {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Its last stride, in elements.
        got: usize,
    },
    /// A tensor with gaps or in another order than row-major, where the kernel takes none.
    #[error("{op}: {argument} has strides {strides:?} for shape {shape:?}, expected it row-major without gaps")]
    NotContiguous {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// Its strides, in elements.
        strides: Vec<usize>,
    },
    /// An address or a stride that is not aligned to what the kernel's loads need.
    #[error("{op}: {argument} has {what} {got}, expected a multiple of {multiple}")]
    Misaligned {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// `address` or `stride[i]` with the unit.
        what: String,
        /// Its value.
        got: u64,
        /// What must divide it.
        multiple: u64,
    },
    /// An output that shares memory with another argument.
    #[error("{op}: {argument} overlaps {other} in memory")]
    Overlap {
        /// The operator.
        op: &'static str,
        /// The output.
        argument: &'static str,
        /// The other argument.
        other: &'static str,
    },
    /// An output with two elements, or possibly two, at one address.
    #[error("{op}: {argument} has strides {strides:?} for shape {shape:?}, so that elements overlap each other")]
    SelfOverlap {
        /// The operator.
        op: &'static str,
        /// The output.
        argument: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// Its strides, in elements.
        strides: Vec<usize>,
    },
    /// An option that must be a finite number.
    #[error("{op}: {option} is {got}, expected a finite number")]
    NotFinite {
        /// The operator.
        op: &'static str,
        /// The option.
        option: &'static str,
        /// Its value, as text.
        got: String,
    },
    /// A tensor that lives in another context than the queue.
    #[error("{op}: {argument} belongs to another context ({got}) than the queue ({expected})")]
    WrongDevice {
        /// The operator, or the call.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Where it lives.
        got: String,
        /// Where the queue runs.
        expected: String,
    },
    /// A size beyond what the kernel's arithmetic or the grid can hold.
    #[error("{op}: {what} is {got}, the limit is {limit}")]
    TooLarge {
        /// The operator.
        op: &'static str,
        /// What is too large.
        what: &'static str,
        /// Its size.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// No instance of the kernel fits the device.
    #[error("{op}: {instance} needs {needed} bytes of shared memory a block, the device allows {available}")]
    SharedMemory {
        /// The operator.
        op: &'static str,
        /// The kernel instance.
        instance: &'static str,
        /// Bytes that it needs.
        needed: u32,
        /// Bytes that the device allows.
        available: u32,
    },
    /// A workspace smaller than the plan says.
    #[error("{op}: workspace has {got} bytes, the plan needs {needed}")]
    Workspace {
        /// The operator.
        op: &'static str,
        /// Bytes that it has.
        got: u64,
        /// Bytes that the plan needs.
        needed: u64,
    },
    /// Packed data that end too early.
    #[error("{op}: {argument} has {got} bytes, expected {needed}: it ends within {place}")]
    Truncated {
        /// The operator.
        op: &'static str,
        /// The argument.
        argument: &'static str,
        /// Bytes that it has.
        got: usize,
        /// Bytes that it must have.
        needed: usize,
        /// What the first missing byte belongs to.
        place: String,
    },
    /// A layout that can't be: too many dimensions, or sizes that overflow.
    #[error("layout of shape {shape:?} and strides {strides:?}: {problem}")]
    Layout {
        /// The shape.
        shape: Vec<usize>,
        /// The strides, in elements.
        strides: Vec<usize>,
        /// What is wrong.
        problem: String,
    },
    /// A layout that reaches beyond its buffer.
    #[error("view of shape {shape:?} and strides {strides:?} needs {needed} elements, the buffer has {available}")]
    OutOfBounds {
        /// The shape.
        shape: Vec<usize>,
        /// The strides, in elements.
        strides: Vec<usize>,
        /// Elements that it reaches over.
        needed: usize,
        /// Elements that the buffer has.
        available: usize,
    },
    /// No CUDA driver on this machine.
    #[error("{device}: no CUDA driver library found on this machine{hint}")]
    NoDriver {
        /// The device that was asked for.
        device: String,
        /// What else can be done.
        hint: &'static str,
    },
    /// A driver, but no such device.
    #[error("{device}: the CUDA driver has {count} device(s)")]
    NoSuchDevice {
        /// The device that was asked for.
        device: String,
        /// How many there are.
        count: usize,
    },
    /// A GPU older than the kernels.
    #[error("{device}: {name} has compute capability {major}.{minor}, expected at least 8.0")]
    ComputeCapability {
        /// The device.
        device: String,
        /// Its name.
        name: String,
        /// Its major capability.
        major: i32,
        /// Its minor capability.
        minor: i32,
    },
    /// A device name that is not understood.
    #[error("device {got:?} is not understood; expected auto, cuda:N or software[:sm_80|sm_89|sm_90]")]
    DeviceName {
        /// What was given.
        got: String,
    },
    /// The software device can't be had.
    #[error("software device: {reason}")]
    Software {
        /// Why.
        reason: String,
    },
    /// No kernel of that name is in this build.
    #[error("{op}: kernel {instance} is not part of this build (it has {available} kernel files)")]
    KernelMissing {
        /// The operator.
        op: &'static str,
        /// The kernel instance.
        instance: &'static str,
        /// How many kernel files are embedded.
        available: usize,
    },
    /// The driver can't use the embedded kernels.
    #[error(
        "{during}: {code} {text}: the embedded kernels need a driver >= 580, or build them with your own nvcc (LLM_KERNELS_NVCC)"
    )]
    DriverTooOld {
        /// What was being done.
        during: String,
        /// The driver's error code.
        code: u32,
        /// The driver's text.
        text: String,
    },
    /// Any other error of the driver; on the software device the text says where a kernel went wrong.
    #[error("{during}: CUDA error {code}: {text}")]
    Driver {
        /// What was being done.
        during: String,
        /// The driver's error code.
        code: u32,
        /// The driver's text.
        text: String,
    },
    /// Input that doesn't fit an operator's description: of one that is run by name, or what lies on the device.
    #[error("{op}: {problem}")]
    Binding {
        /// The operator.
        op: &'static str,
        /// What is wrong.
        problem: String,
    },
}
