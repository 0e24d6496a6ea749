//! Instantiated graphs: what runs.

use super::{Graph, find, kind, user_object};
use crate::driver::{
    abi::{CuResult, Handle, In, Out, call},
    error::{Code, Error},
    operation::Operation,
    stream,
    table::{Table, new_handle},
};
use std::{
    collections::BTreeMap,
    ffi::c_char,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH, UPLOAD, DEVICE_LAUNCH, USE_NODE_PRIORITY.
const AUTO_FREE: u64 = 1;
const DEVICE_LAUNCH: u64 = 4;
const ALL_FLAGS: u64 = 0b1111;

/// `CUgraphInstantiateResult`.
const RESULT_SUCCESS: i32 = 0;
const RESULT_ERROR: i32 = 1;
const RESULT_INVALID_STRUCTURE: i32 = 2;

/// A node as it runs.
#[derive(Clone)]
pub(in crate::driver) struct Step {
    /// The node of the graph that this was made from.
    pub(super) node: Handle,
    pub(super) operation: Operation,
    /// The steps of a child graph.
    pub(super) children: Arc<[Step]>,
    pub(super) enabled: bool,
    /// Positions of the steps that come before.
    pub(super) after: Vec<usize>,
}

impl Step {
    /// Whether running it may take until the program does something.
    pub(in crate::driver) fn blocks(&self) -> bool {
        self.enabled && (self.operation.blocks() || self.children.iter().any(Step::blocks))
    }

    /// Runs it; `false`: a kernel is at fault, and what follows must not run.
    fn run(&self) -> Result<bool, Error> {
        if !self.enabled {
            return Ok(true);
        }
        self.operation.run()?;
        match &self.operation {
            Operation::Kernel(call) => Ok(call.function.context.check().is_ok()),
            Operation::Child(_) => run_all(&self.children),
            _ => Ok(true),
        }
    }

    /// `CUgraphNodeType`.
    pub(super) fn kind(&self) -> i32 {
        kind(&self.operation)
    }

    /// Frees what it allocated in an earlier run; an error unless that is wanted.
    fn prepare(&self, auto_free: bool) -> Result<(), Error> {
        if let Operation::Allocate(allocation) = &self.operation
            && allocation.is_live()
        {
            if !auto_free {
                return Err(Error::new(
                    Code::INVALID_VALUE,
                    "the graph's last run has left an allocation that was not freed since",
                ));
            }
            Operation::Free(allocation.address).run()?;
        }
        self.children.iter().try_for_each(|child| child.prepare(auto_free))
    }
}

fn run_all(steps: &[Step]) -> Result<bool, Error> {
    for step in steps {
        if !step.run()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One launch of an instance: its steps as they were when it was launched.
pub(in crate::driver) struct Plan {
    pub(in crate::driver) steps: Arc<[Step]>,
    auto_free: bool,
    /// Runs of one instance come one after the other, whatever their streams.
    turn: Arc<Mutex<()>>,
}

impl Plan {
    pub(in crate::driver) fn run(&self) -> Result<(), Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.steps.iter().try_for_each(|step| step.prepare(self.auto_free))?;
        run_all(&self.steps).map(drop)
    }
}

/// An instantiated graph.
struct Instance {
    id: u32,
    flags: u64,
    steps: Mutex<Arc<[Step]>>,
    objects: BTreeMap<Handle, u32>,
    turn: Arc<Mutex<()>>,
}

static INSTANCES: Table<Instance> = Table::new();

fn find_instance(handle: Handle) -> Result<Arc<Instance>, Error> {
    INSTANCES.get(handle).map_err(|_| Code::INVALID_VALUE.into())
}

impl Instance {
    fn steps(&self) -> MutexGuard<'_, Arc<[Step]>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The steps of a graph, in the order in which they run.
pub(super) fn steps_of(graph: &Graph) -> Result<Arc<[Step]>, Error> {
    let order = graph.order()?;
    let positions: BTreeMap<Handle, usize> = order.iter().enumerate().map(|(at, (node, _))| (*node, at)).collect();
    let steps = order.into_iter().map(|(handle, node)| {
        let children = match &node.operation {
            Operation::Child(child) => steps_of(child)?,
            _ => Arc::new([]),
        };
        let after = node.dependencies.keys().filter_map(|before| positions.get(before).copied()).collect();
        Ok(Step { node: handle, operation: node.operation, children, enabled: true, after })
    });
    steps.collect()
}

/// A graph of these steps: for a launch that is captured.
pub(in crate::driver) fn of_steps(steps: &[Step]) -> Result<Arc<Graph>, Error> {
    let graph = Graph::create();
    let mut nodes: Vec<Handle> = Vec::with_capacity(steps.len());
    for step in steps {
        let operation = match &step.operation {
            _ if !step.enabled => Operation::Empty,
            Operation::Child(_) => Operation::Child(of_steps(&step.children)?),
            Operation::Allocate(_) | Operation::Free(_) => {
                return Err(Error::new(
                    Code::NOT_SUPPORTED,
                    "a graph that allocates or frees memory cannot be part of another one",
                ));
            }
            other => other.clone(),
        };
        let dependencies = step.after.iter().filter_map(|at| Some((*nodes.get(*at)?, Default::default())));
        nodes.push(graph.add(operation, dependencies.collect())?);
    }
    Ok(graph)
}

fn instantiate(out: Out<Handle>, graph: Handle, flags: u64) -> Result<(), Error> {
    static NEXT_ID: AtomicU32 = AtomicU32::new(1);
    let graph = find(graph)?;
    if out.is_null() || flags & !ALL_FLAGS != 0 || flags & (AUTO_FREE | DEVICE_LAUNCH) == AUTO_FREE | DEVICE_LAUNCH {
        return Err(Code::INVALID_VALUE.into());
    }
    if flags & DEVICE_LAUNCH != 0 {
        return Err(Error::report(Code::NOT_SUPPORTED, "graphs cannot be launched from kernels"));
    }
    let steps = steps_of(&graph)?;
    let objects = graph.state().objects.clone();
    objects.iter().for_each(|(object, count)| user_object::retain(*object, *count));
    let instance = Instance {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        flags,
        steps: Mutex::new(steps),
        objects,
        turn: Arc::default(),
    };
    let handle = new_handle();
    INSTANCES.insert(handle, Arc::new(instance));
    out.set(handle)
}

pub extern "C" fn cuGraphInstantiateWithFlags(out: Out<Handle>, graph: Handle, flags: u64) -> CuResult {
    call(|| instantiate(out, graph, flags))
}

/// The error's words go to `log`.
pub extern "C" fn cuGraphInstantiate_v2(
    out: Out<Handle>,
    graph: Handle,
    error_node: Out<Handle>,
    log: Out<c_char>,
    log_bytes: usize,
) -> CuResult {
    call(|| {
        error_node.set_if_wanted(0);
        let result = instantiate(out, graph, 0);
        if !log.is_null() && log_bytes > 0 {
            let text = result.as_ref().err().and_then(Error::text).unwrap_or_default();
            log.set_text(text, log_bytes)?;
        }
        result
    })
}

/// `CUDA_GRAPH_INSTANTIATE_PARAMS`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct InstantiateParameters {
    flags: u64,
    upload_stream: Handle,
    error_node: Handle,
    result: i32,
}

pub extern "C" fn cuGraphInstantiateWithParams(
    out: Out<Handle>,
    graph: Handle,
    parameters: Out<InstantiateParameters>,
) -> CuResult {
    call(|| {
        let asked = In::<InstantiateParameters>::from_address(parameters.address()).get()?;
        let result = match find(graph)?.order() {
            Ok(_) => instantiate(out, graph, asked.flags),
            Err(error) => {
                parameters.set(InstantiateParameters { error_node: 0, result: RESULT_INVALID_STRUCTURE, ..asked })?;
                return Err(error);
            }
        };
        let told = if result.is_ok() { RESULT_SUCCESS } else { RESULT_ERROR };
        parameters.set(InstantiateParameters { error_node: 0, result: told, ..asked })?;
        result
    })
}

pub extern "C" fn cuGraphExecDestroy(instance: Handle) -> CuResult {
    call(|| {
        let instance = INSTANCES.remove(instance).map_err(|_| Code::INVALID_VALUE)?;
        user_object::release_all(instance.objects.clone());
        Ok(())
    })
}

pub extern "C" fn cuGraphExecGetFlags(instance: Handle, flags: Out<u64>) -> CuResult {
    call(|| flags.set(find_instance(instance)?.flags))
}

pub extern "C" fn cuGraphExecGetId(instance: Handle, id: Out<u32>) -> CuResult {
    call(|| id.set(find_instance(instance)?.id))
}

/// There is nothing to upload.
pub extern "C" fn cuGraphUpload(instance: Handle, on_stream: Handle) -> CuResult {
    call(|| {
        find_instance(instance)?;
        stream::context_of(on_stream).map(drop)
    })
}

pub extern "C" fn cuGraphLaunch(instance: Handle, on_stream: Handle) -> CuResult {
    call(|| {
        let instance = find_instance(instance)?;
        let steps = instance.steps().clone();
        let plan = Plan { steps, auto_free: instance.flags & AUTO_FREE != 0, turn: instance.turn.clone() };
        stream::enqueue(on_stream, Operation::Launch(Arc::new(plan))).map(drop)
    })
}

/// Looks a step up by its node, in child graphs, too.
fn find_step(steps: &[Step], node: Handle) -> Option<&Step> {
    steps.iter().find_map(|step| if step.node == node { Some(step) } else { find_step(&step.children, node) })
}

/// The steps with one of them changed.
fn with_change(steps: &[Step], node: Handle, change: &impl Fn(&mut Step)) -> Arc<[Step]> {
    let changed = steps.iter().map(|step| {
        let mut step = step.clone();
        if step.node == node {
            change(&mut step);
        } else if find_step(&step.children, node).is_some() {
            step.children = with_change(&step.children, node, change);
        }
        step
    });
    changed.collect()
}

/// The step of an instance that was made from `node`.
pub(super) fn step(instance: Handle, node: Handle) -> Result<Step, Error> {
    let steps = find_instance(instance)?.steps().clone();
    find_step(&steps, node).cloned().ok_or(Code::INVALID_VALUE.into())
}

/// Changes the step of an instance that was made from `node`.
pub(super) fn change(instance: Handle, node: Handle, change: impl Fn(&mut Step)) -> Result<(), Error> {
    let instance = find_instance(instance)?;
    let mut steps = instance.steps();
    *steps = with_change(&steps, node, &change);
    Ok(())
}

/// Replaces the steps of an instance by what `update` makes of them.
pub(super) fn replace<T>(
    instance: Handle,
    update: impl FnOnce(&[Step]) -> Result<Arc<[Step]>, T>,
) -> Result<Result<(), T>, Error> {
    let instance = find_instance(instance)?;
    let mut steps = instance.steps();
    Ok(update(&steps).map(|new| *steps = new))
}

/// Kernels, copies and fills can be skipped.
fn can_be_disabled(step: &Step) -> Result<(), Error> {
    match step.operation {
        Operation::Kernel(_) | Operation::Copy(_) | Operation::Fill(_) => Ok(()),
        _ => Err(Code::INVALID_VALUE.into()),
    }
}

pub extern "C" fn cuGraphNodeSetEnabled(instance: Handle, node: Handle, enabled: u32) -> CuResult {
    call(|| {
        can_be_disabled(&step(instance, node)?)?;
        change(instance, node, |step| step.enabled = enabled != 0)
    })
}

pub extern "C" fn cuGraphNodeGetEnabled(instance: Handle, node: Handle, enabled: Out<u32>) -> CuResult {
    call(|| {
        let step = step(instance, node)?;
        can_be_disabled(&step)?;
        enabled.set(u32::from(step.enabled))
    })
}
