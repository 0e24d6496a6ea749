//! Graphs as pictures: the DOT language.

use super::{Graph, find};
use crate::driver::{
    abi::{CuResult, Handle, In, call},
    error::{Code, Error},
    operation::Operation,
};
use std::{
    ffi::c_char,
    fmt::{self, Write},
};

/// CU_GRAPH_DEBUG_DOT_FLAGS_VERBOSE and HANDLES; the others ask for parts of what VERBOSE gives.
const HANDLES: u32 = 1 << 10;
const DETAILS: u32 = !(HANDLES | 1 << 1);

/// What a node does, in a word or two.
fn title(operation: &Operation) -> String {
    match operation {
        Operation::Kernel(call) => call.function.kernel.name.clone(),
        Operation::Copy(_) => "MEMCPY".to_owned(),
        Operation::Fill(_) => "MEMSET".to_owned(),
        Operation::Host(_) | Operation::Callback(_) => "HOST".to_owned(),
        Operation::Child(_) | Operation::Launch(_) => "GRAPH".to_owned(),
        Operation::Empty => "EMPTY".to_owned(),
        Operation::Wait(_) => "EVENT_WAIT".to_owned(),
        Operation::Record(_) | Operation::Mark(_) => "EVENT_RECORD".to_owned(),
        Operation::Allocate(_) => "MEM_ALLOC".to_owned(),
        Operation::Free(_) => "MEM_FREE".to_owned(),
        Operation::Values(_) => "BATCH_MEM_OP".to_owned(),
    }
}

/// What there is to say about a node beyond its title.
fn details(operation: &Operation) -> String {
    match operation {
        Operation::Kernel(call) => {
            let shape = &call.shape;
            format!("grid {:?} block {:?} shared {}", shape.grid, shape.block, shape.dynamic_shared_bytes)
        }
        Operation::Copy(transfer) => {
            format!("{} x {} x {} bytes", transfer.all.width, transfer.all.height, transfer.all.depth)
        }
        Operation::Fill(fill) => {
            format!("{:#x}: {} x {} of {} bytes", fill.address, fill.width, fill.height, fill.element_bytes)
        }
        Operation::Free(address) => format!("{address:#x}"),
        Operation::Allocate(allocation) => format!("{:#x}", allocation.address),
        _ => String::new(),
    }
}

fn draw(text: &mut String, graph: &Graph, flags: u32) -> fmt::Result {
    writeln!(text, "subgraph cluster_{} {{", graph.id)?;
    writeln!(text, "label=\"graph_{}\";", graph.id)?;
    let state = graph.state();
    for (handle, node) in &state.nodes {
        let mut label = format!("{} {}", node.id, title(&node.operation));
        if flags & DETAILS != 0 {
            write!(label, "\\n{}", details(&node.operation))?;
        }
        if flags & HANDLES != 0 {
            write!(label, "\\n{handle:#x}")?;
        }
        writeln!(text, "graph_{}_node_{} [label=\"{label}\"];", graph.id, node.id)?;
        for before in node.dependencies.keys().filter_map(|before| state.nodes.get(before)) {
            writeln!(text, "graph_{0}_node_{1} -> graph_{0}_node_{2};", graph.id, before.id, node.id)?;
        }
        if let Operation::Child(child) = &node.operation {
            draw(text, child, flags)?;
        }
    }
    writeln!(text, "}}")
}

pub extern "C" fn cuGraphDebugDotPrint(graph: Handle, path: In<c_char>, flags: u32) -> CuResult {
    call(|| {
        let graph = find(graph)?;
        let path = path.text()?;
        let mut text = "digraph dot {\n".to_owned();
        draw(&mut text, &graph, flags).map_err(|_| Code::UNKNOWN)?;
        text.push_str("}\n");
        std::fs::write(&path, text).map_err(|error| Error::new(Code::OPERATING_SYSTEM, format!("{path}: {error}")))
    })
}
