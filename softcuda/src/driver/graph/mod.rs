//! Graphs: operations and what each of them waits for.
//!
//! Nodes are numbered by their handles, which only grow: a graph's nodes in the order in which they were made. A graph
//! runs in one order that its dependencies allow, always the same: of the nodes that are ready the oldest.

mod access;
mod allocation;
mod dot;
mod edges;
mod instance;
mod nodes;
mod parameters;
mod update;
mod user_object;

pub use self::{access::*, allocation::*, dot::*, edges::*, instance::*, nodes::*, update::*, user_object::*};

use super::{
    abi::{CuResult, Handle, In, Out, call},
    error::{Code, Error},
    operation::Operation,
    table::{Table, new_handle},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// `CUgraphEdgeData`: ports and type; all zero for an ordinary dependency.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EdgeData([u8; 8]);

/// A graph.
pub(super) struct Graph {
    pub(super) handle: Handle,
    id: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<Handle, Node>,
    /// For a clone: which node of the original became which.
    clones: BTreeMap<Handle, Handle>,
    /// References to user objects.
    objects: BTreeMap<Handle, u32>,
    /// Whether it is a node of another graph, whose end is its own.
    child: bool,
    next_id: u32,
}

/// A node.
#[derive(Clone)]
struct Node {
    operation: Operation,
    dependencies: BTreeMap<Handle, EdgeData>,
    /// Its number in its graph.
    id: u32,
}

static GRAPHS: Table<Graph> = Table::new();
/// The graph of every node.
static NODES: Table<Graph> = Table::new();

fn invalid<T>(_: T) -> Error {
    Code::INVALID_VALUE.into()
}

/// The graph of a handle.
pub(super) fn find(graph: Handle) -> Result<Arc<Graph>, Error> {
    GRAPHS.get(graph).map_err(invalid)
}

/// A node and its graph.
fn find_node(node: Handle) -> Result<(Arc<Graph>, Node), Error> {
    let graph = NODES.get(node).map_err(invalid)?;
    let found = graph.state().nodes.get(&node).cloned().ok_or(Code::INVALID_VALUE)?;
    Ok((graph, found))
}

/// Reads a list of dependencies, with or without data about the edges.
pub(super) fn read_dependencies(
    nodes: In<Handle>,
    edges: In<EdgeData>,
    count: usize,
) -> Result<BTreeMap<Handle, EdgeData>, Error> {
    let nodes = nodes.get_all(count)?;
    let edges = if edges.is_null() { vec![EdgeData::default(); count] } else { edges.get_all(count)? };
    let dependencies: BTreeMap<_, _> = nodes.into_iter().zip(edges).collect();
    if dependencies.len() < count {
        return Err(Error::new(Code::INVALID_VALUE, "a node is named twice in a list of dependencies"));
    }
    Ok(dependencies)
}

/// Writes a list the way that all questions about graphs are answered: the number if there is no place for the list,
/// else as many as there is room for, and zeros for the rest.
fn write_list<T: Copy>(values: &[T], nothing: T, out: Out<T>, count: Out<usize>) -> Result<(), Error> {
    if out.is_null() {
        return count.set(values.len());
    }
    let room = In::<usize>::from_address(count.address()).get()?;
    let written = values.len().min(room);
    let mut all = values[..written].to_vec();
    all.resize(room, nothing);
    out.set_all(&all)?;
    count.set(written)
}

impl Node {
    /// `CUgraphNodeType`.
    fn kind(&self) -> i32 {
        kind(&self.operation)
    }
}

/// `CUgraphNodeType` of an operation.
fn kind(operation: &Operation) -> i32 {
    match operation {
        Operation::Kernel(_) => 0,
        Operation::Copy(_) => 1,
        Operation::Fill(_) => 2,
        Operation::Host(_) | Operation::Callback(_) => 3,
        Operation::Child(_) | Operation::Launch(_) => 4,
        Operation::Empty => 5,
        Operation::Wait(_) => 6,
        Operation::Record(_) | Operation::Mark(_) => 7,
        Operation::Allocate(_) => 10,
        Operation::Free(_) => 11,
        Operation::Values(_) => 12,
    }
}

impl Graph {
    /// An empty graph.
    pub(super) fn create() -> Arc<Graph> {
        static NEXT_ID: AtomicU32 = AtomicU32::new(1);
        let graph = Arc::new(Graph {
            handle: new_handle(),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            state: Mutex::default(),
        });
        GRAPHS.insert(graph.handle, graph.clone());
        graph
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a node that waits for others; its handle.
    pub(super) fn add(
        self: &Arc<Self>,
        operation: Operation,
        dependencies: BTreeMap<Handle, EdgeData>,
    ) -> Result<Handle, Error> {
        self.check_nodes(dependencies.keys())?;
        if let Operation::Child(child) = &operation {
            child.state().child = true;
        }
        let node = new_handle();
        NODES.insert(node, self.clone());
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.nodes.insert(node, Node { operation, dependencies, id });
        Ok(node)
    }

    /// An error unless all are nodes of this graph.
    pub(super) fn check_nodes<'a>(&self, mut nodes: impl Iterator<Item = &'a Handle>) -> Result<(), Error> {
        let state = self.state();
        if nodes.all(|node| state.nodes.contains_key(node)) { Ok(()) } else { Err(Code::INVALID_VALUE.into()) }
    }

    /// These nodes and all that they wait for.
    pub(super) fn ancestors(&self, nodes: Vec<Handle>) -> BTreeSet<Handle> {
        let state = self.state();
        let mut found = BTreeSet::new();
        let mut open = nodes;
        while let Some(node) = open.pop() {
            if found.insert(node)
                && let Some(node) = state.nodes.get(&node)
            {
                open.extend(node.dependencies.keys());
            }
        }
        found
    }

    /// Whether it allocates or frees memory, which keeps it from being changed or copied.
    fn owns_memory(&self) -> bool {
        let state = self.state();
        state.nodes.values().any(|node| matches!(node.operation, Operation::Allocate(_) | Operation::Free(_)))
    }

    /// The nodes in the order in which they run.
    fn order(&self) -> Result<Vec<(Handle, Node)>, Error> {
        let nodes = self.state().nodes.clone();
        let mut waits: BTreeMap<Handle, usize> =
            nodes.iter().map(|(handle, node)| (*handle, node.dependencies.len())).collect();
        let mut followers: BTreeMap<Handle, Vec<Handle>> = BTreeMap::new();
        for (handle, node) in &nodes {
            node.dependencies.keys().for_each(|before| followers.entry(*before).or_default().push(*handle));
        }
        let mut ready: BTreeSet<Handle> =
            waits.iter().filter(|(_, count)| **count == 0).map(|(node, _)| *node).collect();
        let mut order = Vec::with_capacity(nodes.len());
        while let Some(handle) = ready.pop_first() {
            order.push((handle, nodes[&handle].clone()));
            for follower in followers.get(&handle).into_iter().flatten() {
                if let Some(count) = waits.get_mut(follower) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert(*follower);
                    }
                }
            }
        }
        if order.len() < nodes.len() {
            return Err(Error::new(Code::INVALID_VALUE, "the nodes of the graph wait for one another in a circle"));
        }
        Ok(order)
    }

    /// A copy, child graphs included.
    fn copy(&self) -> Result<Arc<Graph>, Error> {
        if self.owns_memory() {
            return Err(Error::new(Code::NOT_SUPPORTED, "a graph that allocates or frees memory cannot be copied"));
        }
        let copy = Graph::create();
        let mut clones = BTreeMap::new();
        for (handle, node) in self.order()? {
            let operation = match &node.operation {
                Operation::Child(child) => Operation::Child(child.copy()?),
                other => other.clone(),
            };
            let dependencies =
                node.dependencies.iter().filter_map(|(before, edge)| Some((*clones.get(before)?, *edge)));
            clones.insert(handle, copy.add(operation, dependencies.collect())?);
        }
        let objects = self.state().objects.clone();
        objects.iter().for_each(|(object, count)| user_object::retain(*object, *count));
        let mut state = copy.state();
        state.clones = clones;
        state.objects = objects;
        drop(state);
        Ok(copy)
    }

    /// Forgets it, its nodes and its child graphs.
    pub(super) fn destroy(&self) {
        let _ = GRAPHS.remove(self.handle);
        let mut state = self.state();
        let (nodes, objects) = (std::mem::take(&mut state.nodes), std::mem::take(&mut state.objects));
        drop(state);
        for (handle, node) in nodes {
            let _ = NODES.remove(handle);
            if let Operation::Child(child) = node.operation {
                child.destroy();
            }
        }
        user_object::release_all(objects);
    }
}

pub extern "C" fn cuGraphCreate(out: Out<Handle>, flags: u32) -> CuResult {
    call(|| {
        if flags != 0 || out.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        out.set(Graph::create().handle)
    })
}

pub extern "C" fn cuGraphDestroy(graph: Handle) -> CuResult {
    call(|| {
        let graph = find(graph)?;
        if graph.state().child {
            return Err(Error::new(Code::INVALID_VALUE, "a child graph ends with the graph that it belongs to"));
        }
        graph.destroy();
        Ok(())
    })
}

pub extern "C" fn cuGraphClone(out: Out<Handle>, original: Handle) -> CuResult {
    call(|| {
        if out.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        out.set(find(original)?.copy()?.handle)
    })
}

pub extern "C" fn cuGraphNodeFindInClone(out: Out<Handle>, original: Handle, clone: Handle) -> CuResult {
    call(|| {
        let clone = find(clone)?;
        let state = clone.state();
        let node = state.clones.get(&original).filter(|node| state.nodes.contains_key(node));
        out.set(*node.ok_or(Code::INVALID_VALUE)?)
    })
}

pub extern "C" fn cuGraphDestroyNode(node: Handle) -> CuResult {
    call(|| {
        let (graph, found) = find_node(node)?;
        if graph.owns_memory() {
            return Err(Error::new(Code::INVALID_VALUE, "nodes of a graph that allocates or frees memory must stay"));
        }
        let _ = NODES.remove(node);
        let mut state = graph.state();
        state.nodes.remove(&node);
        for other in state.nodes.values_mut() {
            other.dependencies.remove(&node);
        }
        drop(state);
        if let Operation::Child(child) = found.operation {
            child.destroy();
        }
        Ok(())
    })
}

pub extern "C" fn cuGraphGetNodes(graph: Handle, nodes: Out<Handle>, count: Out<usize>) -> CuResult {
    call(|| {
        let all: Vec<Handle> = find(graph)?.state().nodes.keys().copied().collect();
        write_list(&all, 0, nodes, count)
    })
}

pub extern "C" fn cuGraphGetRootNodes(graph: Handle, nodes: Out<Handle>, count: Out<usize>) -> CuResult {
    call(|| {
        let graph = find(graph)?;
        let state = graph.state();
        let roots = state.nodes.iter().filter(|(_, node)| node.dependencies.is_empty());
        let roots: Vec<Handle> = roots.map(|(handle, _)| *handle).collect();
        write_list(&roots, 0, nodes, count)
    })
}

pub extern "C" fn cuGraphNodeGetType(node: Handle, kind: Out<i32>) -> CuResult {
    call(|| kind.set(find_node(node)?.1.kind()))
}

pub extern "C" fn cuGraphGetId(graph: Handle, id: Out<u32>) -> CuResult {
    call(|| id.set(find(graph)?.id))
}

pub extern "C" fn cuGraphNodeGetContainingGraph(node: Handle, graph: Out<Handle>) -> CuResult {
    call(|| graph.set(find_node(node)?.0.handle))
}

pub extern "C" fn cuGraphNodeGetLocalId(node: Handle, id: Out<u32>) -> CuResult {
    call(|| id.set(find_node(node)?.1.id))
}

/// A number that no other node of the process has.
pub extern "C" fn cuGraphNodeGetToolsId(node: Handle, id: Out<u64>) -> CuResult {
    call(|| {
        let (graph, node) = find_node(node)?;
        id.set(u64::from(graph.id) << 32 | u64::from(node.id))
    })
}
