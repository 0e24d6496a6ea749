//! Reading and changing the parameters of nodes.

use super::{
    find_node, kind,
    parameters::{
        self, AllocateParameters, BatchParameters, HostParameters, KernelParameters, KernelParametersWithContext,
        NodeParameters,
    },
};
use crate::driver::{
    abi::{CuResult, DevicePointer, Handle, In, Out, call},
    copy::Copy3d,
    error::{Code, Error},
    event,
    fill::Fill,
    launch::{AttributeValue, COOPERATIVE, KernelCall, Shape},
    operation::Operation,
};
use std::sync::Arc;

/// Replaces the operation of a node by one of the same type.
fn set(node: Handle, operation: Operation) -> Result<(), Error> {
    let (graph, found) = find_node(node)?;
    if found.kind() != kind(&operation) {
        return Err(Code::INVALID_VALUE.into());
    }
    graph.state().nodes.entry(node).and_modify(|node| node.operation = operation);
    Ok(())
}

macro_rules! getter {
    ($node:expr, $pattern:pat => $value:expr) => {
        match &find_node($node)?.1.operation {
            $pattern => $value,
            _ => return Err(Code::INVALID_VALUE.into()),
        }
    };
}

/// The launch of a kernel node.
fn kernel(node: Handle) -> Result<Arc<KernelCall>, Error> {
    Ok(getter!(node, Operation::Kernel(call) => call.clone()))
}

pub extern "C" fn cuGraphKernelNodeGetParams(node: Handle, out: Out<KernelParameters>) -> CuResult {
    call(|| out.set(KernelParameters::from(&*kernel(node)?)))
}

pub extern "C" fn cuGraphKernelNodeGetParams_v2(node: Handle, out: Out<KernelParametersWithContext>) -> CuResult {
    call(|| {
        let call = kernel(node)?;
        out.set(KernelParametersWithContext {
            kernel: KernelParameters::from(&*call),
            library_kernel: 0,
            context: call.function.context.handle,
        })
    })
}

pub extern "C" fn cuGraphKernelNodeSetParams(node: Handle, parameters: In<KernelParameters>) -> CuResult {
    call(|| {
        let old = kernel(node)?;
        let new = parameters.get()?.operation(old.shape.cooperative)?;
        set(node, Operation::Kernel(Arc::new(new.with_attributes(old.attributes.clone()))))
    })
}

pub extern "C" fn cuGraphKernelNodeSetParams_v2(node: Handle, parameters: In<KernelParametersWithContext>) -> CuResult {
    call(|| {
        let old = kernel(node)?;
        let new = parameters.get()?.operation(old.shape.cooperative)?;
        set(node, Operation::Kernel(Arc::new(new.with_attributes(old.attributes.clone()))))
    })
}

pub extern "C" fn cuGraphKernelNodeGetAttribute(node: Handle, attribute: u32, out: Out<AttributeValue>) -> CuResult {
    call(|| {
        let call = kernel(node)?;
        let mut value = call.attributes.get(&attribute).copied().unwrap_or_default();
        if attribute == COOPERATIVE {
            value[0] = u32::from(call.shape.cooperative);
        }
        out.set(value)
    })
}

pub extern "C" fn cuGraphKernelNodeSetAttribute(node: Handle, attribute: u32, value: In<AttributeValue>) -> CuResult {
    call(|| {
        let old = kernel(node)?;
        let value = value.get()?;
        let shape = match attribute {
            COOPERATIVE => Shape { cooperative: value[0] != 0, ..old.shape },
            // Access policy window, cluster of one block, priority, memory synchronization domains, carveout.
            1 | 8 | 9 | 10 | 14 => old.shape,
            4 if value[..3] == [1; 3] => old.shape,
            _ => return Err(Code::NOT_SUPPORTED.into()),
        };
        let mut new = old.reshaped(shape)?;
        new.attributes.insert(attribute, value);
        set(node, Operation::Kernel(Arc::new(new)))
    })
}

pub extern "C" fn cuGraphKernelNodeCopyAttributes(to: Handle, from: Handle) -> CuResult {
    call(|| {
        let (to_call, from_call) = (kernel(to)?, kernel(from)?);
        if to_call.function.context.handle != from_call.function.context.handle {
            return Err(Code::INVALID_CONTEXT.into());
        }
        let shape = Shape { cooperative: from_call.shape.cooperative, ..to_call.shape };
        let new = to_call.reshaped(shape)?.with_attributes(from_call.attributes.clone());
        set(to, Operation::Kernel(Arc::new(new)))
    })
}

pub extern "C" fn cuGraphMemcpyNodeGetParams(node: Handle, out: Out<Copy3d>) -> CuResult {
    call(|| out.set(getter!(node, Operation::Copy(transfer) => transfer.all)))
}

pub extern "C" fn cuGraphMemcpyNodeSetParams(node: Handle, copy: In<Copy3d>) -> CuResult {
    call(|| set(node, parameters::copy(copy.get()?)?))
}

pub extern "C" fn cuGraphMemsetNodeGetParams(node: Handle, out: Out<Fill>) -> CuResult {
    call(|| out.set(getter!(node, Operation::Fill(fill) => *fill)))
}

pub extern "C" fn cuGraphMemsetNodeSetParams(node: Handle, fill: In<Fill>) -> CuResult {
    call(|| set(node, parameters::fill(fill.get()?)?))
}

pub extern "C" fn cuGraphHostNodeGetParams(node: Handle, out: Out<HostParameters>) -> CuResult {
    call(|| {
        let call = getter!(node, Operation::Host(call) => *call);
        out.set(HostParameters { function: Some(call.function), data: call.data })
    })
}

pub extern "C" fn cuGraphHostNodeSetParams(node: Handle, parameters: In<HostParameters>) -> CuResult {
    call(|| set(node, parameters.get()?.operation()?))
}

pub extern "C" fn cuGraphChildGraphNodeGetGraph(node: Handle, out: Out<Handle>) -> CuResult {
    call(|| out.set(getter!(node, Operation::Child(child) => child.handle)))
}

pub extern "C" fn cuGraphEventRecordNodeGetEvent(node: Handle, out: Out<Handle>) -> CuResult {
    call(|| out.set(getter!(node, Operation::Record(event) => event.handle)))
}

pub extern "C" fn cuGraphEventRecordNodeSetEvent(node: Handle, event: Handle) -> CuResult {
    call(|| set(node, Operation::Record(event::find(event)?)))
}

pub extern "C" fn cuGraphEventWaitNodeGetEvent(node: Handle, out: Out<Handle>) -> CuResult {
    call(|| out.set(getter!(node, Operation::Wait(event) => event.handle)))
}

pub extern "C" fn cuGraphEventWaitNodeSetEvent(node: Handle, event: Handle) -> CuResult {
    call(|| set(node, Operation::Wait(event::find(event)?)))
}

pub extern "C" fn cuGraphMemAllocNodeGetParams(node: Handle, out: Out<AllocateParameters>) -> CuResult {
    call(|| out.set(getter!(node, Operation::Allocate(allocation) => allocation.parameters())))
}

pub extern "C" fn cuGraphMemFreeNodeGetParams(node: Handle, out: Out<DevicePointer>) -> CuResult {
    call(|| out.set(getter!(node, Operation::Free(address) => *address)))
}

pub extern "C" fn cuGraphBatchMemOpNodeGetParams(node: Handle, out: Out<BatchParameters>) -> CuResult {
    call(|| {
        let values = getter!(node, Operation::Values(values) => values.clone());
        out.set(BatchParameters {
            context: values.context.handle,
            count: values.given.len() as u32,
            operations: In::from_address(values.given.as_ptr() as usize),
            flags: 0,
        })
    })
}

pub extern "C" fn cuGraphBatchMemOpNodeSetParams(node: Handle, parameters: In<BatchParameters>) -> CuResult {
    call(|| set(node, parameters.get()?.operation()?))
}

pub extern "C" fn cuGraphNodeSetParams(node: Handle, parameters: In<NodeParameters>) -> CuResult {
    call(|| {
        let (_, old) = find_node(node)?;
        let new = general(&old.operation, parameters)?;
        set(node, new)
    })
}

pub extern "C" fn cuGraphNodeSetParams_v2(node: Handle, parameters: In<NodeParameters>) -> CuResult {
    cuGraphNodeSetParams(node, parameters)
}

/// The operation that general parameters give a node which has had `old` so far.
pub(super) fn general(old: &Operation, parameters: In<NodeParameters>) -> Result<Operation, Error> {
    let (cooperative, attributes) = match old {
        Operation::Kernel(call) => (call.shape.cooperative, call.attributes.clone()),
        _ => (false, Default::default()),
    };
    match parameters::operation(parameters, cooperative)? {
        Some(Operation::Kernel(call)) => {
            // Nobody else has it yet.
            let call = Arc::into_inner(call).ok_or(Code::UNKNOWN)?;
            Ok(Operation::Kernel(Arc::new(call.with_attributes(attributes))))
        }
        Some(operation) => Ok(operation),
        None => Err(Error::new(Code::INVALID_VALUE, "allocations and child graphs cannot be changed this way")),
    }
}
