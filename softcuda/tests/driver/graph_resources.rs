//! What graphs hold: memory and objects of the program's.

use super::{calls::zeroed, graph::Graph};
use cudarc::driver::sys;
use std::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicU32, Ordering},
};
use sys::CUresult;

const NULL: sys::CUgraphNode = ptr::null_mut();

#[test]
fn memory_of_a_graph_is_there_between_its_nodes_only() {
    let graph = Graph::new();
    let mut parameters: sys::CUDA_MEM_ALLOC_NODE_PARAMS = zeroed();
    parameters.poolProps.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    parameters.poolProps.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    parameters.bytesize = 4096;
    let mut allocated = NULL;
    ok!(cuGraphAddMemAllocNode(&mut allocated, graph.handle, ptr::null(), 0, &mut parameters));
    let address = parameters.dptr;
    assert_ne!(address, 0);
    let mut range = (0, 0);
    let look = |range: &mut (u64, usize)| code!(cuMemGetAddressRange_v2(&mut range.0, &mut range.1, address));
    assert_eq!(look(&mut range), CUresult::CUDA_ERROR_NOT_FOUND, "no memory yet");
    let instance = graph.instantiate();
    let on = graph.bench.on();
    ok!(cuGraphLaunch(instance, on));
    ok!(cuMemsetD8Async(address, 1, 4096, on));
    assert_eq!(look(&mut range), CUresult::CUDA_SUCCESS);
    assert_eq!(range, (address, 4096));
    assert_eq!(code!(cuGraphLaunch(instance, on)), CUresult::CUDA_ERROR_INVALID_VALUE, "not freed");
    ok!(cuMemFreeAsync(address, on));
    ok!(cuGraphLaunch(instance, on));
    let mut automatic = ptr::null_mut();
    ok!(cuGraphInstantiateWithFlags(&mut automatic, graph.handle, 1));
    ok!(cuGraphLaunch(automatic, on));
    ok!(cuGraphLaunch(automatic, on));
    ok!(cuMemFree_v2(address));

    let mut freed = NULL;
    ok!(cuGraphAddMemFreeNode(&mut freed, graph.handle, &allocated, 1, address));
    let foreign = code!(cuGraphAddMemFreeNode(&mut freed, graph.handle, &allocated, 1, graph.bench.address()));
    assert_eq!(foreign, CUresult::CUDA_ERROR_INVALID_VALUE);
    let instance = graph.instantiate();
    for _ in 0..3 {
        ok!(cuGraphLaunch(instance, on));
        assert_eq!(look(&mut range), CUresult::CUDA_ERROR_NOT_FOUND, "freed by the graph");
    }
    let mut clone = ptr::null_mut();
    assert_eq!(code!(cuGraphClone(&mut clone, graph.handle)), CUresult::CUDA_ERROR_NOT_SUPPORTED);
    assert_eq!(code!(cuGraphDestroyNode(freed)), CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn user_objects_live_as_long_as_anything_refers_to_them() {
    static DESTROYED: AtomicU32 = AtomicU32::new(0);
    extern "C" fn destroy(data: *mut c_void) {
        DESTROYED.fetch_add(data as u32, Ordering::SeqCst);
    }
    let graph = Graph::new();
    let mut object = ptr::null_mut();
    let data = ptr::without_provenance_mut(5);
    assert_eq!(code!(cuUserObjectCreate(&mut object, data, Some(destroy), 1, 0)), CUresult::CUDA_ERROR_INVALID_VALUE);
    ok!(cuUserObjectCreate(&mut object, data, Some(destroy), 1, 1));
    ok!(cuUserObjectRetain(object, 2));
    ok!(cuGraphRetainUserObject(graph.handle, object, 1, 1));
    ok!(cuUserObjectRelease(object, 2));
    let instance = graph.instantiate();
    ok!(cuGraphDestroy(graph.handle));
    assert_eq!(DESTROYED.load(Ordering::SeqCst), 0, "the instance holds it");
    ok!(cuGraphExecDestroy(instance));
    assert_eq!(DESTROYED.load(Ordering::SeqCst), 5);
    assert_eq!(code!(cuUserObjectRelease(object, 1)), CUresult::CUDA_ERROR_INVALID_VALUE);
}
