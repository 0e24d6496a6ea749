//! Graphs made node by node.

use super::{
    calls::{Arguments, Bench, zeroed},
    context,
};
use cudarc::driver::sys;
use std::{
    ffi::{CString, c_void},
    ptr,
};
use sys::CUresult;

const NULL: sys::CUgraphNode = ptr::null_mut();

/// A graph, and what its nodes work on.
pub(super) struct Graph {
    pub(super) bench: Bench,
    pub(super) handle: sys::CUgraph,
}

impl Graph {
    pub(super) fn new() -> Graph {
        let bench = Bench::new(context(0));
        let mut handle = ptr::null_mut();
        ok!(cuGraphCreate(&mut handle, 0));
        Graph { bench, handle }
    }

    fn parameters(&self, arguments: &mut Arguments) -> sys::CUDA_KERNEL_NODE_PARAMS {
        let mut parameters: sys::CUDA_KERNEL_NODE_PARAMS = zeroed();
        parameters.func = self.bench.append.cu_function();
        (parameters.gridDimX, parameters.gridDimY, parameters.gridDimZ) = (1, 1, 1);
        (parameters.blockDimX, parameters.blockDimY, parameters.blockDimZ) = (1, 1, 1);
        parameters.kernelParams = arguments.list();
        parameters
    }

    /// A node that appends a digit.
    fn append(&self, digit: u64, after: &[sys::CUgraphNode]) -> sys::CUgraphNode {
        let mut arguments = Arguments::new(&[self.bench.address(), digit]);
        let parameters = self.parameters(&mut arguments);
        let mut node = NULL;
        ok!(cuGraphAddKernelNode_v2(&mut node, self.handle, after.as_ptr(), after.len(), &parameters));
        // What the node has is a copy.
        arguments.set(1, 9);
        node
    }

    pub(super) fn instantiate(&self) -> sys::CUgraphExec {
        let mut instance = ptr::null_mut();
        ok!(cuGraphInstantiateWithFlags(&mut instance, self.handle, 0));
        instance
    }

    /// Launches an instance; the number that it makes.
    fn run(&self, instance: sys::CUgraphExec) -> u32 {
        ok!(cuGraphLaunch(instance, self.bench.on()));
        self.bench.take()
    }
}

#[test]
fn nodes_run_in_the_order_of_their_dependencies_and_else_of_their_age() {
    let graph = Graph::new();
    let first = graph.append(1, &[]);
    let _second = graph.append(2, &[]);
    let third = graph.append(3, &[]);
    let fourth = graph.append(4, &[third]);
    let last = graph.append(5, &[fourth]);
    // 1 comes after all: the oldest node waits for the youngest.
    ok!(cuGraphAddDependencies_v2(graph.handle, &last, &first, ptr::null(), 1));
    let instance = graph.instantiate();
    assert_eq!(graph.run(instance), 23_451);
    assert_eq!(graph.run(instance), 23_451, "again");
    ok!(cuGraphDestroy(graph.handle));
    assert_eq!(graph.run(instance), 23_451, "without the graph");
    ok!(cuGraphExecDestroy(instance));
    assert_eq!(code!(cuGraphLaunch(instance, graph.bench.on())), CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn copies_fills_and_host_functions_are_nodes() {
    extern "C" fn double(data: *mut c_void) {
        // SAFETY: the test passes a pointer to a u32 that nothing else uses meanwhile.
        unsafe { *data.cast::<u32>() *= 2 };
    }
    let graph = Graph::new();
    let current = graph.bench.context.cu_ctx();
    let mut host = 0u32;
    let mut fill: sys::CUDA_MEMSET_NODE_PARAMS = zeroed();
    (fill.dst, fill.elementSize, fill.width, fill.height, fill.value) = (graph.bench.address(), 1, 4, 1, 7);
    let mut filled = NULL;
    ok!(cuGraphAddMemsetNode(&mut filled, graph.handle, ptr::null(), 0, &fill, current));
    let mut copy = filled!(sys::CUDA_MEMCPY3D {
        srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
        srcDevice: graph.bench.address(),
        dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
        dstHost: (&raw mut host).cast(),
        WidthInBytes: 4,
        Height: 1,
        Depth: 1,
    });
    let mut copied = NULL;
    ok!(cuGraphAddMemcpyNode(&mut copied, graph.handle, &filled, 1, &copy, current));
    let call = sys::CUDA_HOST_NODE_PARAMS { fn_: Some(double), userData: (&raw mut host).cast() };
    let mut called = NULL;
    ok!(cuGraphAddHostNode(&mut called, graph.handle, &copied, 1, &call));
    let mut empty = NULL;
    ok!(cuGraphAddEmptyNode(&mut empty, graph.handle, &called, 1));

    let instance = graph.instantiate();
    ok!(cuGraphUpload(instance, graph.bench.on()));
    ok!(cuGraphLaunch(instance, graph.bench.on()));
    ok!(cuStreamSynchronize(graph.bench.on()));
    assert_eq!(host, 0x0707_0707 * 2);

    let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL;
    ok!(cuGraphNodeGetType(called, &mut kind));
    assert_eq!(kind, sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_HOST);
    let mut found = sys::CUDA_MEMCPY3D { WidthInBytes: 0, ..copy };
    ok!(cuGraphMemcpyNodeGetParams(copied, &mut found));
    assert_eq!((found.srcDevice, found.WidthInBytes), (copy.srcDevice, 4));
    assert_eq!(code!(cuGraphMemcpyNodeGetParams(filled, &mut found)), CUresult::CUDA_ERROR_INVALID_VALUE);

    // Beyond the end of the allocation.
    copy.WidthInBytes = 8;
    assert_eq!(code!(cuGraphMemcpyNodeSetParams(copied, &copy)), CUresult::CUDA_ERROR_INVALID_VALUE);
    fill.value = 8;
    ok!(cuGraphExecMemsetNodeSetParams(instance, filled, &fill, current));
    ok!(cuGraphLaunch(instance, graph.bench.on()));
    ok!(cuStreamSynchronize(graph.bench.on()));
    assert_eq!(host, 0x0808_0808 * 2);
}

#[test]
fn a_graph_tells_its_nodes_and_edges() {
    let graph = Graph::new();
    let nodes = [graph.append(1, &[]), graph.append(2, &[])];
    let third = graph.append(3, &nodes);
    let mut count = 0;
    ok!(cuGraphGetNodes(graph.handle, ptr::null_mut(), &mut count));
    assert_eq!(count, 3);
    let mut found = [NULL; 4];
    count = 4;
    ok!(cuGraphGetNodes(graph.handle, found.as_mut_ptr(), &mut count));
    assert_eq!((count, found), (3, [nodes[0], nodes[1], third, NULL]));
    count = 4;
    ok!(cuGraphGetRootNodes(graph.handle, found.as_mut_ptr(), &mut count));
    assert_eq!((count, &found[..2]), (2, &nodes[..]));
    let (mut from, mut to) = ([NULL; 2], [NULL; 2]);
    count = 2;
    let mut data: [sys::CUgraphEdgeData; 2] = zeroed();
    ok!(cuGraphGetEdges_v2(graph.handle, from.as_mut_ptr(), to.as_mut_ptr(), data.as_mut_ptr(), &mut count));
    assert_eq!((count, from, to), (2, nodes, [third; 2]));
    count = 1;
    ok!(cuGraphNodeGetDependentNodes_v2(nodes[1], found.as_mut_ptr(), data.as_mut_ptr(), &mut count));
    assert_eq!((count, found[0]), (1, third));

    let remove = || code!(cuGraphRemoveDependencies_v2(graph.handle, &nodes[0], &third, ptr::null(), 1));
    assert_eq!(remove(), CUresult::CUDA_SUCCESS);
    assert_eq!(remove(), CUresult::CUDA_ERROR_INVALID_VALUE, "there is no such edge any more");
    let again = code!(cuGraphAddDependencies_v2(graph.handle, &nodes[1], &third, ptr::null(), 1));
    assert_eq!(again, CUresult::CUDA_ERROR_INVALID_VALUE, "there is one already");
    ok!(cuGraphDestroyNode(nodes[1]));
    ok!(cuGraphNodeGetDependencies_v2(third, ptr::null_mut(), ptr::null_mut(), &mut count));
    assert_eq!(count, 0);
    assert_eq!(graph.run(graph.instantiate()), 13);
}

#[test]
fn a_circle_is_found_when_the_graph_is_instantiated() {
    let graph = Graph::new();
    let first = graph.append(1, &[]);
    let second = graph.append(2, &[first]);
    ok!(cuGraphAddDependencies_v2(graph.handle, &second, &first, ptr::null(), 1));
    let mut instance = ptr::null_mut();
    let mut parameters: sys::CUDA_GRAPH_INSTANTIATE_PARAMS = zeroed();
    let result = code!(cuGraphInstantiateWithParams(&mut instance, graph.handle, &mut parameters));
    assert_eq!(result, CUresult::CUDA_ERROR_INVALID_VALUE);
    let told = sys::CUgraphInstantiateResult::CUDA_GRAPH_INSTANTIATE_INVALID_STRUCTURE;
    assert_eq!(parameters.result_out, told);
}

#[test]
fn clones_and_child_graphs_are_copies() {
    let graph = Graph::new();
    let first = graph.append(1, &[]);
    let mut clone = ptr::null_mut();
    ok!(cuGraphClone(&mut clone, graph.handle));
    let mut twin = NULL;
    ok!(cuGraphNodeFindInClone(&mut twin, first, clone));
    assert_ne!(twin, first);
    graph.append(2, &[first]);
    let clone = Graph { bench: Bench::new(context(0)), handle: clone };
    let later = code!(cuGraphNodeFindInClone(&mut twin, graph.append(3, &[]), clone.handle));
    assert_eq!(later, CUresult::CUDA_ERROR_INVALID_VALUE);

    let parent = Graph::new();
    let before = parent.append(7, &[]);
    let mut node = NULL;
    ok!(cuGraphAddChildGraphNode(&mut node, parent.handle, &before, 1, clone.handle));
    let after = parent.append(8, &[node]);
    ok!(cuGraphDestroy(clone.handle));
    let mut child = ptr::null_mut();
    ok!(cuGraphChildGraphNodeGetGraph(node, &mut child));
    assert_eq!(code!(cuGraphDestroy(child)), CUresult::CUDA_ERROR_INVALID_VALUE, "it belongs to its node");
    let instance = parent.instantiate();
    ok!(cuGraphLaunch(instance, parent.bench.on()));
    assert_eq!(parent.bench.take(), 78, "the child appends to the other number");
    assert_eq!(graph.bench.take(), 1);
    let _ = after;
}

#[test]
fn nodes_of_an_instance_can_be_changed_and_skipped() {
    let graph = Graph::new();
    let first = graph.append(1, &[]);
    let second = graph.append(2, &[first]);
    let instance = graph.instantiate();
    let mut arguments = Arguments::new(&[graph.bench.address(), 5]);
    let parameters = graph.parameters(&mut arguments);
    ok!(cuGraphExecKernelNodeSetParams_v2(instance, second, &parameters));
    assert_eq!(graph.run(instance), 15);
    ok!(cuGraphNodeSetEnabled(instance, first, 0));
    assert_eq!(graph.run(instance), 5);
    let mut enabled = 1;
    ok!(cuGraphNodeGetEnabled(instance, first, &mut enabled));
    assert_eq!(enabled, 0);
    // The graph itself has not changed.
    assert_eq!(graph.run(graph.instantiate()), 12);
    ok!(cuGraphKernelNodeSetParams_v2(first, &parameters));
    assert_eq!(graph.run(graph.instantiate()), 52);
    let mut found: sys::CUDA_KERNEL_NODE_PARAMS = zeroed();
    ok!(cuGraphKernelNodeGetParams_v2(first, &mut found));
    // SAFETY: the driver's copies of two parameters, of which the second is a u32.
    let digit = unsafe { (*found.kernelParams.add(1)).cast::<u32>().read() };
    assert_eq!((digit, found.func), (5, graph.bench.append.cu_function()));
    assert_eq!(code!(cuGraphNodeSetEnabled(instance, NULL, 0)), CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn an_instance_takes_over_a_graph_of_the_same_shape_only() {
    use sys::CUgraphExecUpdateResult as Told;
    let graph = Graph::new();
    let first = graph.append(1, &[]);
    graph.append(2, &[first]);
    let instance = graph.instantiate();
    let update = |other: &Graph| {
        let mut info: sys::CUgraphExecUpdateResultInfo = zeroed();
        (code!(cuGraphExecUpdate_v2(instance, other.handle, &mut info)), info.result, info.errorNode)
    };
    let other = |digits: &[u64], chained: bool| {
        let other = Graph::new();
        let mut before = NULL;
        for digit in digits {
            let after = if chained && !before.is_null() { &[before][..] } else { &[] };
            before = other.append(*digit, after);
        }
        (other, before)
    };
    let (fits, _) = other(&[3, 4], true);
    assert_eq!(update(&fits), (CUresult::CUDA_SUCCESS, Told::CU_GRAPH_EXEC_UPDATE_SUCCESS, NULL));
    ok!(cuGraphLaunch(instance, graph.bench.on()));
    ok!(cuStreamSynchronize(graph.bench.on()));
    assert_eq!((graph.bench.take(), fits.bench.take()), (0, 34));

    let failure = CUresult::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    let topology = Told::CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED;
    assert_eq!(update(&other(&[1], true).0), (failure, topology, NULL));
    let (unchained, last) = other(&[1, 2], false);
    assert_eq!(update(&unchained), (failure, topology, last));
    let (typed, last) = other(&[1], true);
    let mut empty = NULL;
    ok!(cuGraphAddEmptyNode(&mut empty, typed.handle, &last, 1));
    assert_eq!(update(&typed), (failure, Told::CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED, empty));
    let (cooperative, last) = other(&[1, 2], true);
    let mut value: sys::CUkernelNodeAttrValue = zeroed();
    value.cooperative = 1;
    let attribute = sys::CUkernelNodeAttrID::CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    ok!(cuGraphKernelNodeSetAttribute(last, attribute, &value));
    assert_eq!(update(&cooperative), (failure, Told::CU_GRAPH_EXEC_UPDATE_ERROR_ATTRIBUTES_CHANGED, last));
    // After all failures it still runs what it ran.
    ok!(cuGraphLaunch(instance, graph.bench.on()));
    ok!(cuStreamSynchronize(graph.bench.on()));
    assert_eq!(fits.bench.take(), 34);
}

#[test]
fn event_nodes_record_and_wait() {
    let graph = Graph::new();
    let event = graph.bench.context.new_event(None).unwrap();
    let mut recorded = NULL;
    ok!(cuGraphAddEventRecordNode(&mut recorded, graph.handle, ptr::null(), 0, event.cu_event()));
    let mut waited = NULL;
    ok!(cuGraphAddEventWaitNode(&mut waited, graph.handle, &recorded, 1, event.cu_event()));
    let mut found = ptr::null_mut();
    ok!(cuGraphEventWaitNodeGetEvent(waited, &mut found));
    assert_eq!(found, event.cu_event());
    ok!(cuGraphLaunch(graph.instantiate(), graph.bench.on()));
    ok!(cuStreamSynchronize(graph.bench.on()));
    ok!(cuEventSynchronize(event.cu_event()));
}

#[test]
fn nodes_can_be_made_from_general_parameters() {
    let graph = Graph::new();
    let mut arguments = Arguments::new(&[graph.bench.address(), 6]);
    let mut parameters: sys::CUgraphNodeParams = zeroed();
    parameters.type_ = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_KERNEL;
    let kernel = graph.parameters(&mut arguments);
    // SAFETY: the parameters of kernel nodes, which come first in the room for parameters.
    unsafe { (&raw mut parameters.__bindgen_anon_1).cast::<sys::CUDA_KERNEL_NODE_PARAMS>().write(kernel) };
    let mut node = NULL;
    ok!(cuGraphAddNode_v2(&mut node, graph.handle, ptr::null(), ptr::null(), 0, &mut parameters));
    let instance = graph.instantiate();
    assert_eq!(graph.run(instance), 6);
    arguments.set(1, 7);
    ok!(cuGraphExecNodeSetParams(instance, node, &mut parameters));
    assert_eq!(graph.run(instance), 7);
    ok!(cuGraphNodeSetParams(node, &mut parameters));
    assert_eq!(graph.run(graph.instantiate()), 7);
    parameters.type_ = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_CONDITIONAL;
    let result = code!(cuGraphAddNode_v2(&mut node, graph.handle, ptr::null(), ptr::null(), 0, &mut parameters));
    assert_eq!(result, CUresult::CUDA_ERROR_NOT_SUPPORTED);
}

#[test]
fn a_graph_can_be_drawn() {
    let graph = Graph::new();
    let first = graph.append(1, &[]);
    let mut empty = NULL;
    ok!(cuGraphAddEmptyNode(&mut empty, graph.handle, &first, 1));
    let path = std::env::temp_dir().join(format!("softcuda-graph-{}.dot", std::process::id()));
    let name = CString::new(path.to_str().unwrap()).unwrap();
    ok!(cuGraphDebugDotPrint(graph.handle, name.as_ptr(), 1));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(text.starts_with("digraph dot {") && text.contains("0 append") && text.contains("1 EMPTY"), "{text}");
    assert!(text.contains("node_0 -> "), "{text}");
}

#[test]
fn launches_of_graphs_are_reported_kernel_by_kernel() {
    let graph = Graph::new();
    let node = graph.append(1, &[]);
    let mut parameters: sys::CUDA_KERNEL_NODE_PARAMS = zeroed();
    ok!(cuGraphKernelNodeGetParams_v2(node, &mut parameters));
    // A shape that no other test launches.
    parameters.gridDimX = 77;
    let store = graph.bench.kernel("store");
    parameters.func = store.cu_function();
    ok!(cuGraphKernelNodeSetParams_v2(node, &parameters));
    let launches = || {
        let all = softcuda::launches();
        all.iter().filter(|launch| launch.kernel == "store" && launch.grid == [77, 1, 1]).count()
    };
    let before = launches();
    let instance = graph.instantiate();
    assert_eq!(launches(), before);
    assert_eq!(graph.run(instance), 1);
    assert_eq!(launches(), before + 1);
}
