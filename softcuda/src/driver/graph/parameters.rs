//! Parameters of nodes as C has them.

use crate::driver::{
    abi::{DevicePointer, Handle, In},
    context,
    copy::{Copy3d, Transfer},
    error::{Code, Error},
    event,
    fill::Fill,
    launch::{KernelCall, Shape},
    location::AccessDescription,
    operation::{HostCall, Operation},
    pool::PoolProperties,
    value::{self, ValueParameters},
};
use std::{ffi::c_void, sync::Arc};

/// `CUDA_KERNEL_NODE_PARAMS`, first version.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KernelParameters {
    pub(super) function: Handle,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) dynamic_shared_bytes: u32,
    pub(super) parameters: usize,
    pub(super) extra: usize,
}

/// `CUDA_KERNEL_NODE_PARAMS`, second and third version.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct KernelParametersWithContext {
    pub(super) kernel: KernelParameters,
    /// A `CUkernel`, in place of the function.
    pub(super) library_kernel: Handle,
    pub(super) context: Handle,
}

impl KernelParameters {
    /// The checked launch.
    pub(super) fn operation(&self, cooperative: bool) -> Result<KernelCall, Error> {
        self.in_context(0, cooperative)
    }

    fn in_context(&self, context: Handle, cooperative: bool) -> Result<KernelCall, Error> {
        let shape =
            Shape { grid: self.grid, block: self.block, dynamic_shared_bytes: self.dynamic_shared_bytes, cooperative };
        let (parameters, extra) = (In::from_address(self.parameters), In::from_address(self.extra));
        KernelCall::new(self.function, || context::of_or_current(context), shape, parameters, extra)
    }
}

impl KernelParametersWithContext {
    pub(super) fn operation(&self, cooperative: bool) -> Result<KernelCall, Error> {
        let function = if self.kernel.function == 0 { self.library_kernel } else { self.kernel.function };
        KernelParameters { function, ..self.kernel }.in_context(self.context, cooperative)
    }
}

impl From<&KernelCall> for KernelParameters {
    /// The addresses stay readable as long as the node keeps these parameters.
    fn from(call: &KernelCall) -> KernelParameters {
        KernelParameters {
            function: call.handle,
            grid: call.shape.grid,
            block: call.shape.block,
            dynamic_shared_bytes: call.shape.dynamic_shared_bytes,
            parameters: if call.pointers.is_empty() { 0 } else { call.pointers.as_ptr() as usize },
            extra: 0,
        }
    }
}

/// `CUDA_HOST_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct HostParameters {
    pub(super) function: Option<extern "C" fn(*mut c_void)>,
    pub(super) data: usize,
}

impl HostParameters {
    pub(super) fn operation(&self) -> Result<Operation, Error> {
        Ok(Operation::Host(HostCall { function: self.function.ok_or(Code::INVALID_VALUE)?, data: self.data }))
    }
}

/// `CUDA_MEM_ALLOC_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AllocateParameters {
    pub(super) pool: PoolProperties,
    pub(super) accesses: In<AccessDescription>,
    pub(super) num_accesses: usize,
    pub(super) bytes: usize,
    /// Written by the call that makes the node.
    pub(super) address: DevicePointer,
}

/// `CUDA_BATCH_MEM_OP_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BatchParameters {
    pub(super) context: Handle,
    pub(super) count: u32,
    pub(super) operations: In<ValueParameters>,
    pub(super) flags: u32,
}

impl BatchParameters {
    pub(super) fn operation(&self) -> Result<Operation, Error> {
        let context = context::of_or_current(self.context)?;
        let values = value::read(context, self.operations, self.count, self.flags)?;
        Ok(Operation::Values(Arc::new(values)))
    }
}

/// A copy that a node makes.
pub(super) fn copy(copy: Copy3d) -> Result<Operation, Error> {
    let transfer = Transfer::new(copy);
    transfer.check()?;
    Ok(Operation::Copy(transfer))
}

/// A fill that a node makes.
pub(super) fn fill(fill: Fill) -> Result<Operation, Error> {
    fill.check()?;
    Ok(Operation::Fill(fill))
}

/// `CUgraphNodeParams`: the type, and room for the parameters of any.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NodeParameters {
    pub(super) kind: i32,
    reserved: [i32; 3],
    payload: [u64; 29],
    reserved_end: i64,
}

/// Where the parameters start in [`NodeParameters`].
pub(super) const PAYLOAD: usize = std::mem::offset_of!(NodeParameters, payload);

/// `CUDA_MEMCPY_NODE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CopyParameters {
    flags: i32,
    reserved: i32,
    context: Handle,
    copy: Copy3d,
}

/// The operation that general parameters describe; `None` for those that the graph itself has to make: child graphs
/// and allocations.
pub(super) fn operation(parameters: In<NodeParameters>, cooperative: bool) -> Result<Option<Operation>, Error> {
    let kind = parameters.get()?.kind;
    let payload = parameters.address() + PAYLOAD;
    fn read<T: Copy>(address: usize) -> Result<T, Error> {
        In::<T>::from_address(address).get()
    }
    Ok(Some(match kind {
        0 => Operation::Kernel(Arc::new(read::<KernelParametersWithContext>(payload)?.operation(cooperative)?)),
        1 => copy(read::<CopyParameters>(payload)?.copy)?,
        2 => fill(read(payload)?)?,
        3 => read::<HostParameters>(payload)?.operation()?,
        4 | 10 => return Ok(None),
        5 => Operation::Empty,
        6 => Operation::Wait(event::find(read(payload)?)?),
        7 => Operation::Record(event::find(read(payload)?)?),
        11 => super::allocation::free_node(read(payload)?)?,
        12 => read::<BatchParameters>(payload)?.operation()?,
        // External semaphores and conditions.
        8 | 9 | 13 => {
            return Err(Error::report(Code::NOT_SUPPORTED, format!("graph nodes of type {kind} are not supported")));
        }
        _ => return Err(Code::INVALID_VALUE.into()),
    }))
}
