//! What nodes wait for.

use super::{EdgeData, find, find_node, write_list};
use crate::driver::{
    abi::{CuResult, Handle, In, Out, call},
    error::{Code, Error},
};
use std::collections::BTreeMap;

/// The pairs of an edge list, every node in the graph.
fn pairs(
    graph: Handle,
    from: In<Handle>,
    to: In<Handle>,
    edges: In<EdgeData>,
    count: usize,
) -> Result<Vec<(Handle, Handle, EdgeData)>, Error> {
    let graph = find(graph)?;
    let (from, to) = (from.get_all(count)?, to.get_all(count)?);
    graph.check_nodes(from.iter().chain(&to))?;
    let edges = if edges.is_null() { vec![EdgeData::default(); count] } else { edges.get_all(count)? };
    let pairs: Vec<_> = from.into_iter().zip(to).zip(edges).map(|((from, to), edge)| (from, to, edge)).collect();
    if pairs.iter().any(|(from, to, _)| from == to) {
        return Err(Error::new(Code::INVALID_VALUE, "a node cannot wait for itself"));
    }
    Ok(pairs)
}

pub extern "C" fn cuGraphAddDependencies(graph: Handle, from: In<Handle>, to: In<Handle>, count: usize) -> CuResult {
    cuGraphAddDependencies_v2(graph, from, to, In::from_address(0), count)
}

/// Nothing is added if any of the edges is there already.
pub extern "C" fn cuGraphAddDependencies_v2(
    graph: Handle,
    from: In<Handle>,
    to: In<Handle>,
    edges: In<EdgeData>,
    count: usize,
) -> CuResult {
    call(|| {
        let pairs = pairs(graph, from, to, edges, count)?;
        let graph = find(graph)?;
        let mut state = graph.state();
        let mut changed: BTreeMap<Handle, BTreeMap<Handle, EdgeData>> = BTreeMap::new();
        for (from, to, edge) in pairs {
            let known = state.nodes.get(&to).ok_or(Code::INVALID_VALUE)?;
            let dependencies = changed.entry(to).or_insert_with(|| known.dependencies.clone());
            if dependencies.insert(from, edge).is_some() {
                return Err(Error::new(Code::INVALID_VALUE, "the dependency exists already"));
            }
        }
        for (to, dependencies) in changed {
            state.nodes.entry(to).and_modify(|node| node.dependencies = dependencies);
        }
        Ok(())
    })
}

pub extern "C" fn cuGraphRemoveDependencies(graph: Handle, from: In<Handle>, to: In<Handle>, count: usize) -> CuResult {
    cuGraphRemoveDependencies_v2(graph, from, to, In::from_address(0), count)
}

/// Nothing is removed if any of the edges is not there.
pub extern "C" fn cuGraphRemoveDependencies_v2(
    graph: Handle,
    from: In<Handle>,
    to: In<Handle>,
    edges: In<EdgeData>,
    count: usize,
) -> CuResult {
    call(|| {
        let pairs = pairs(graph, from, to, edges, count)?;
        let graph = find(graph)?;
        if graph.owns_memory() {
            return Err(Error::new(Code::INVALID_VALUE, "edges of a graph that allocates or frees memory must stay"));
        }
        let mut state = graph.state();
        let there = |(from, to, edge): &(Handle, Handle, EdgeData)| {
            state.nodes.get(to).is_some_and(|node| node.dependencies.get(from) == Some(edge))
        };
        if !pairs.iter().all(there) {
            return Err(Error::new(Code::INVALID_VALUE, "there is no such dependency"));
        }
        for (from, to, _) in pairs {
            if let Some(node) = state.nodes.get_mut(&to) {
                node.dependencies.remove(&from);
            }
        }
        Ok(())
    })
}

/// Writes nodes and the data of the edges to them; an error if there are data and no place for them.
fn write_edges(
    found: &[(Handle, EdgeData)],
    nodes: Out<Handle>,
    edges: Option<Out<EdgeData>>,
    count: Out<usize>,
) -> Result<(), Error> {
    let (handles, data): (Vec<Handle>, Vec<EdgeData>) = found.iter().copied().unzip();
    write_data(&data, edges, nodes.is_null(), count)?;
    write_list(&handles, 0, nodes, count)
}

fn write_data(
    data: &[EdgeData],
    edges: Option<Out<EdgeData>>,
    only_count: bool,
    count: Out<usize>,
) -> Result<(), Error> {
    let edges = edges.filter(|edges| !edges.is_null());
    if !only_count && edges.is_none() && data.iter().any(|edge| *edge != EdgeData::default()) {
        return Err(Code::LOSSY_QUERY.into());
    }
    if let Some(edges) = edges {
        let room = In::<usize>::from_address(count.address()).get()?;
        write_list(data, EdgeData::default(), edges, count)?;
        count.set(room)?;
    }
    Ok(())
}

fn get_edges(
    graph: Handle,
    from: Out<Handle>,
    to: Out<Handle>,
    edges: Option<Out<EdgeData>>,
    count: Out<usize>,
) -> Result<(), Error> {
    if from.is_null() != to.is_null() {
        return Err(Code::INVALID_VALUE.into());
    }
    let graph = find(graph)?;
    let state = graph.state();
    let all =
        state.nodes.iter().flat_map(|(to, node)| node.dependencies.iter().map(|(from, edge)| (*from, *to, *edge)));
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(from, to, _)| (*from, *to));
    let data: Vec<_> = all.iter().map(|(_, _, edge)| *edge).collect();
    write_data(&data, edges, from.is_null(), count)?;
    if !from.is_null() {
        let room = In::<usize>::from_address(count.address()).get()?;
        let starts: Vec<_> = all.iter().map(|(from, _, _)| *from).collect();
        write_list(&starts, 0, from, count)?;
        count.set(room)?;
    }
    let ends: Vec<_> = all.iter().map(|(_, to, _)| *to).collect();
    write_list(&ends, 0, to, count)
}

pub extern "C" fn cuGraphGetEdges(graph: Handle, from: Out<Handle>, to: Out<Handle>, count: Out<usize>) -> CuResult {
    call(|| get_edges(graph, from, to, None, count))
}

pub extern "C" fn cuGraphGetEdges_v2(
    graph: Handle,
    from: Out<Handle>,
    to: Out<Handle>,
    edges: Out<EdgeData>,
    count: Out<usize>,
) -> CuResult {
    call(|| get_edges(graph, from, to, Some(edges), count))
}

fn dependencies(node: Handle) -> Result<Vec<(Handle, EdgeData)>, Error> {
    Ok(find_node(node)?.1.dependencies.into_iter().collect())
}

fn dependents(node: Handle) -> Result<Vec<(Handle, EdgeData)>, Error> {
    let (graph, _) = find_node(node)?;
    let state = graph.state();
    let found = state.nodes.iter().filter_map(|(handle, other)| Some((*handle, *other.dependencies.get(&node)?)));
    Ok(found.collect())
}

pub extern "C" fn cuGraphNodeGetDependencies(node: Handle, nodes: Out<Handle>, count: Out<usize>) -> CuResult {
    call(|| write_edges(&dependencies(node)?, nodes, None, count))
}

pub extern "C" fn cuGraphNodeGetDependencies_v2(
    node: Handle,
    nodes: Out<Handle>,
    edges: Out<EdgeData>,
    count: Out<usize>,
) -> CuResult {
    call(|| write_edges(&dependencies(node)?, nodes, Some(edges), count))
}

pub extern "C" fn cuGraphNodeGetDependentNodes(node: Handle, nodes: Out<Handle>, count: Out<usize>) -> CuResult {
    call(|| write_edges(&dependents(node)?, nodes, None, count))
}

pub extern "C" fn cuGraphNodeGetDependentNodes_v2(
    node: Handle,
    nodes: Out<Handle>,
    edges: Out<EdgeData>,
    count: Out<usize>,
) -> CuResult {
    call(|| write_edges(&dependents(node)?, nodes, Some(edges), count))
}
