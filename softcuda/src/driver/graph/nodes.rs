//! Making nodes.

use super::{
    EdgeData, Graph, allocation, find,
    parameters::{
        self, AllocateParameters, BatchParameters, HostParameters, KernelParameters, KernelParametersWithContext,
        NodeParameters,
    },
    read_dependencies,
};
use crate::driver::{
    abi::{CuResult, DevicePointer, Handle, In, Out, call},
    context,
    copy::Copy3d,
    error::{Code, Error},
    event,
    fill::Fill,
    operation::Operation,
};
use std::{mem::offset_of, sync::Arc};

/// Where a new node goes.
struct Place {
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    edges: In<EdgeData>,
    count: usize,
}

impl Place {
    fn new(out: Out<Handle>, graph: Handle, dependencies: In<Handle>, count: usize) -> Place {
        Place { out, graph, dependencies, edges: In::from_address(0), count }
    }

    /// Adds what `make` gives.
    fn add(&self, make: impl FnOnce(&Arc<Graph>) -> Result<Operation, Error>) -> Result<(), Error> {
        let graph = find(self.graph)?;
        let dependencies = read_dependencies(self.dependencies, self.edges, self.count)?;
        graph.check_nodes(dependencies.keys())?;
        if self.out.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        self.out.set(graph.add(make(&graph)?, dependencies)?)
    }
}

pub extern "C" fn cuGraphAddEmptyNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
) -> CuResult {
    call(|| Place::new(out, graph, dependencies, count).add(|_| Ok(Operation::Empty)))
}

pub extern "C" fn cuGraphAddKernelNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    parameters: In<KernelParameters>,
) -> CuResult {
    let make = |_: &_| Ok(Operation::Kernel(Arc::new(parameters.get()?.operation(false)?)));
    call(|| Place::new(out, graph, dependencies, count).add(make))
}

pub extern "C" fn cuGraphAddKernelNode_v2(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    parameters: In<KernelParametersWithContext>,
) -> CuResult {
    let make = |_: &_| Ok(Operation::Kernel(Arc::new(parameters.get()?.operation(false)?)));
    call(|| Place::new(out, graph, dependencies, count).add(make))
}

pub extern "C" fn cuGraphAddMemcpyNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    copy: In<Copy3d>,
    context: Handle,
) -> CuResult {
    let make = |_: &_| {
        context::of_or_current(context)?;
        parameters::copy(copy.get()?)
    };
    call(|| Place::new(out, graph, dependencies, count).add(make))
}

pub extern "C" fn cuGraphAddMemsetNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    fill: In<Fill>,
    context: Handle,
) -> CuResult {
    let make = |_: &_| {
        context::of_or_current(context)?;
        parameters::fill(fill.get()?)
    };
    call(|| Place::new(out, graph, dependencies, count).add(make))
}

pub extern "C" fn cuGraphAddHostNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    parameters: In<HostParameters>,
) -> CuResult {
    call(|| Place::new(out, graph, dependencies, count).add(|_| parameters.get()?.operation()))
}

/// The node has a copy of the graph as it is now.
pub extern "C" fn cuGraphAddChildGraphNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    child: Handle,
) -> CuResult {
    call(|| Place::new(out, graph, dependencies, count).add(|_| Ok(Operation::Child(find(child)?.copy()?))))
}

pub extern "C" fn cuGraphAddEventRecordNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    event: Handle,
) -> CuResult {
    call(|| Place::new(out, graph, dependencies, count).add(|_| Ok(Operation::Record(event::find(event)?))))
}

pub extern "C" fn cuGraphAddEventWaitNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    event: Handle,
) -> CuResult {
    call(|| Place::new(out, graph, dependencies, count).add(|_| Ok(Operation::Wait(event::find(event)?))))
}

pub extern "C" fn cuGraphAddBatchMemOpNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    parameters: In<BatchParameters>,
) -> CuResult {
    call(|| Place::new(out, graph, dependencies, count).add(|_| parameters.get()?.operation()))
}

/// The address is fixed from now on; memory is there only while the graph runs, between this node and one that frees.
pub extern "C" fn cuGraphAddMemAllocNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    parameters: Out<AllocateParameters>,
) -> CuResult {
    call(|| Place::new(out, graph, dependencies, count).add(|_| allocate(parameters.address())))
}

/// An allocation with parameters at `address`, where its own address is written.
fn allocate(parameters: usize) -> Result<Operation, Error> {
    let asked = In::<AllocateParameters>::from_address(parameters).get()?;
    let allocation = allocation::allocate_node(&asked)?;
    let place = parameters + offset_of!(AllocateParameters, address);
    Out::<DevicePointer>::from_address(place).set(allocation.address)?;
    Ok(Operation::Allocate(allocation))
}

pub extern "C" fn cuGraphAddMemFreeNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    address: DevicePointer,
) -> CuResult {
    call(|| Place::new(out, graph, dependencies, count).add(|_| allocation::free_node(address)))
}

pub extern "C" fn cuGraphAddNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    parameters: In<NodeParameters>,
) -> CuResult {
    cuGraphAddNode_v2(out, graph, dependencies, In::from_address(0), count, parameters)
}

pub extern "C" fn cuGraphAddNode_v2(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    edges: In<EdgeData>,
    count: usize,
    parameters: In<NodeParameters>,
) -> CuResult {
    const CHILD: i32 = 4;
    let make = |_: &_| {
        let payload = parameters.address() + parameters::PAYLOAD;
        match parameters::operation(parameters, false)? {
            Some(operation) => Ok(operation),
            None if parameters.get()?.kind == CHILD => {
                Ok(Operation::Child(find(In::from_address(payload).get()?)?.copy()?))
            }
            None => allocate(payload),
        }
    };
    call(|| Place { out, graph, dependencies, edges, count }.add(make))
}

/// The later versions differ in what the parameters of nodes that are not supported hold.
pub extern "C" fn cuGraphAddNode_v3(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    edges: In<EdgeData>,
    count: usize,
    parameters: In<NodeParameters>,
) -> CuResult {
    cuGraphAddNode_v2(out, graph, dependencies, edges, count, parameters)
}
