//! Changing instantiated graphs: the parameters of one node, or all from a graph of the same shape.

use super::{
    access, find,
    instance::{self, Step},
    parameters::{
        self, BatchParameters, HostParameters, KernelParameters, KernelParametersWithContext, NodeParameters,
    },
};
use crate::driver::{
    abi::{CuResult, Handle, In, Out, call},
    copy::{Copy3d, Transfer},
    device,
    error::{Code, Error},
    event,
    fill::Fill,
    launch::KernelCall,
    operation::Operation,
};
use std::sync::Arc;

/// `CUgraphExecUpdateResult`: why a graph does not fit.
#[derive(Clone, Copy)]
struct Misfit(i32);

const SUCCESS: i32 = 0;
const ERROR: Misfit = Misfit(1);
const TOPOLOGY_CHANGED: Misfit = Misfit(2);
const NODE_TYPE_CHANGED: Misfit = Misfit(3);
const FUNCTION_CHANGED: Misfit = Misfit(4);
const PARAMETERS_CHANGED: Misfit = Misfit(5);
const NOT_SUPPORTED: Misfit = Misfit(6);
const ATTRIBUTES_CHANGED: Misfit = Misfit(8);

/// Whether a step may run `new` instead of what it ran so far.
fn fits(old: &Operation, new: &Operation) -> Result<(), Misfit> {
    match (old, new) {
        (Operation::Kernel(old), Operation::Kernel(new)) => {
            if old.function.context.handle != new.function.context.handle {
                return Err(FUNCTION_CHANGED);
            }
            if old.shape.cooperative != new.shape.cooperative {
                return Err(ATTRIBUTES_CHANGED);
            }
            Ok(())
        }
        (Operation::Copy(old), Operation::Copy(new)) => copy_fits(old, new),
        (Operation::Fill(old), Operation::Fill(new)) => {
            let moved = device_of(old.address) != device_of(new.address);
            // Only fills of one row can change their size.
            let reshaped = (old.height > 1 || new.height > 1) && (old.width, old.height) != (new.width, new.height);
            if moved || reshaped { Err(PARAMETERS_CHANGED) } else { Ok(()) }
        }
        // The addresses of its memory are part of a graph.
        (Operation::Allocate(old), Operation::Allocate(new)) if Arc::ptr_eq(old, new) => Ok(()),
        (Operation::Free(old), Operation::Free(new)) if old == new => Ok(()),
        (Operation::Allocate(_) | Operation::Free(_), _) => Err(NOT_SUPPORTED),
        _ => Ok(()),
    }
}

fn device_of(address: u64) -> Option<i32> {
    device::owner(address).map(|device| device.ordinal)
}

/// Copies keep the kinds and devices of their memory, and more than one row keeps its extent.
fn copy_fits(old: &Transfer, new: &Transfer) -> Result<(), Misfit> {
    let extent = |copy: &Copy3d| (copy.width, copy.height, copy.depth);
    let rows = |copy: &Copy3d| copy.height * copy.depth;
    let reshaped = (rows(&old.all) > 1 || rows(&new.all) > 1) && extent(&old.all) != extent(&new.all);
    let kinds = |copy: &Copy3d| [copy.from, copy.to].map(|side| side.address().map(device_of));
    if reshaped || kinds(&old.all) != kinds(&new.all) { Err(PARAMETERS_CHANGED) } else { Ok(()) }
}

/// The first step that does not fit, in the graph that is offered and in the instance.
struct Failure {
    misfit: Misfit,
    node: Handle,
    from: Handle,
}

/// The steps `new` under the names of `old`.
fn updated(old: &[Step], new: &[Step]) -> Result<Arc<[Step]>, Failure> {
    if old.len() != new.len() {
        return Err(Failure { misfit: TOPOLOGY_CHANGED, node: 0, from: 0 });
    }
    let pairs = old.iter().zip(new).map(|(old, new)| {
        let fail = |misfit| Failure { misfit, node: new.node, from: old.node };
        if old.kind() != new.kind() {
            return Err(fail(NODE_TYPE_CHANGED));
        }
        if old.after != new.after {
            return Err(fail(TOPOLOGY_CHANGED));
        }
        fits(&old.operation, &new.operation).map_err(fail)?;
        let children = updated(&old.children, &new.children)?;
        Ok(Step { operation: new.operation.clone(), children, ..old.clone() })
    });
    pairs.collect()
}

/// Makes an instance run what `graph` holds now. The outer error: nothing was compared.
fn update(instance: Handle, graph: Handle) -> Result<Result<(), Failure>, Error> {
    let new = instance::steps_of(&*find(graph)?)?;
    instance::replace(instance, |old| updated(old, &new))
}

/// `CUgraphExecUpdateResultInfo`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct UpdateResult {
    result: i32,
    node: Handle,
    from: Handle,
}

pub extern "C" fn cuGraphExecUpdate_v2(instance: Handle, graph: Handle, out: Out<UpdateResult>) -> CuResult {
    call(|| {
        let tell = |result: i32, node, from| out.set_if_wanted(UpdateResult { result, node, from });
        match update(instance, graph) {
            Ok(Ok(())) => {
                tell(SUCCESS, 0, 0);
                Ok(())
            }
            Ok(Err(failure)) => {
                tell(failure.misfit.0, failure.node, failure.from);
                Err(Code::GRAPH_EXEC_UPDATE_FAILURE.into())
            }
            Err(error) => {
                tell(ERROR.0, 0, 0);
                Err(error)
            }
        }
    })
}

pub extern "C" fn cuGraphExecUpdate(instance: Handle, graph: Handle, node: Out<Handle>, result: Out<i32>) -> CuResult {
    let mut told = UpdateResult { result: 0, node: 0, from: 0 };
    let code = cuGraphExecUpdate_v2(instance, graph, Out::from_address((&raw mut told) as usize));
    node.set_if_wanted(told.node);
    result.set_if_wanted(told.result);
    code
}

/// Gives one step a new operation of the same type.
fn set(instance: Handle, node: Handle, make: impl FnOnce(&Step) -> Result<Operation, Error>) -> Result<(), Error> {
    let step = instance::step(instance, node)?;
    let new = make(&step)?;
    if step.kind() != super::kind(&new) || fits(&step.operation, &new).is_err() {
        return Err(Code::INVALID_VALUE.into());
    }
    instance::change(instance, node, |step| step.operation = new.clone())
}

/// A launch with the attributes of the step's.
fn kernel(step: &Step, make: impl FnOnce(bool) -> Result<KernelCall, Error>) -> Result<Operation, Error> {
    let Operation::Kernel(old) = &step.operation else {
        return Err(Code::INVALID_VALUE.into());
    };
    let new = make(old.shape.cooperative)?;
    Ok(Operation::Kernel(Arc::new(new.with_attributes(old.attributes.clone()))))
}

pub extern "C" fn cuGraphExecKernelNodeSetParams(
    instance: Handle,
    node: Handle,
    parameters: In<KernelParameters>,
) -> CuResult {
    call(|| set(instance, node, |step| kernel(step, |cooperative| parameters.get()?.operation(cooperative))))
}

pub extern "C" fn cuGraphExecKernelNodeSetParams_v2(
    instance: Handle,
    node: Handle,
    parameters: In<KernelParametersWithContext>,
) -> CuResult {
    call(|| set(instance, node, |step| kernel(step, |cooperative| parameters.get()?.operation(cooperative))))
}

pub extern "C" fn cuGraphExecMemcpyNodeSetParams(
    instance: Handle,
    node: Handle,
    copy: In<Copy3d>,
    _context: Handle,
) -> CuResult {
    call(|| set(instance, node, |_| parameters::copy(copy.get()?)))
}

pub extern "C" fn cuGraphExecMemsetNodeSetParams(
    instance: Handle,
    node: Handle,
    fill: In<Fill>,
    _context: Handle,
) -> CuResult {
    call(|| set(instance, node, |_| parameters::fill(fill.get()?)))
}

pub extern "C" fn cuGraphExecHostNodeSetParams(
    instance: Handle,
    node: Handle,
    parameters: In<HostParameters>,
) -> CuResult {
    call(|| set(instance, node, |_| parameters.get()?.operation()))
}

pub extern "C" fn cuGraphExecEventRecordNodeSetEvent(instance: Handle, node: Handle, event: Handle) -> CuResult {
    call(|| set(instance, node, |_| Ok(Operation::Record(event::find(event)?))))
}

pub extern "C" fn cuGraphExecEventWaitNodeSetEvent(instance: Handle, node: Handle, event: Handle) -> CuResult {
    call(|| set(instance, node, |_| Ok(Operation::Wait(event::find(event)?))))
}

pub extern "C" fn cuGraphExecBatchMemOpNodeSetParams(
    instance: Handle,
    node: Handle,
    parameters: In<BatchParameters>,
) -> CuResult {
    call(|| set(instance, node, |_| parameters.get()?.operation()))
}

/// The child graph must have the shape of the one that there was.
pub extern "C" fn cuGraphExecChildGraphNodeSetParams(instance: Handle, node: Handle, child: Handle) -> CuResult {
    call(|| {
        let step = instance::step(instance, node)?;
        if !matches!(step.operation, Operation::Child(_)) {
            return Err(Code::INVALID_VALUE.into());
        }
        let new = instance::steps_of(&*find(child)?)?;
        let children = updated(&step.children, &new).map_err(|_| Code::INVALID_VALUE)?;
        instance::change(instance, node, |step| step.children = children.clone())
    })
}

pub extern "C" fn cuGraphExecNodeSetParams(instance: Handle, node: Handle, parameters: In<NodeParameters>) -> CuResult {
    call(|| set(instance, node, |step| access::general(&step.operation, parameters)))
}
