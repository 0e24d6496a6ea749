//! Several devices: peers, copies between them, events across them.

use super::{
    calls::{Bench, zeroed},
    context,
};
use cudarc::driver::sys;
use sys::{CUdevice_P2PAttribute as Attribute, CUresult};

#[test]
fn every_device_can_see_every_other() {
    let _context = context(0);
    let can = |from, to| {
        let mut can = -1;
        ok!(cuDeviceCanAccessPeer(&mut can, from, to));
        can
    };
    assert_eq!((can(0, 1), can(2, 0), can(1, 1)), (1, 1, 0));
    let mut value = -1;
    let supported = Attribute::CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED;
    ok!(cuDeviceGetP2PAttribute(&mut value, supported, 0, 1));
    assert_eq!(value, 1);
    let same = code!(cuDeviceGetP2PAttribute(&mut value, supported, 1, 1));
    assert_eq!(same, CUresult::CUDA_ERROR_INVALID_DEVICE);
}

#[test]
fn kernels_reach_the_memory_of_a_peer_once_that_is_enabled() {
    let (there, here) = (Bench::new(context(1)), Bench::new(context(0)));
    here.context.bind_to_thread().unwrap();
    let peer = there.context.cu_ctx();
    assert_eq!(code!(cuCtxDisablePeerAccess(peer)), CUresult::CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
    assert_eq!(code!(cuCtxEnablePeerAccess(peer, 1)), CUresult::CUDA_ERROR_INVALID_VALUE);
    let own = here.context.cu_ctx();
    assert_eq!(code!(cuCtxEnablePeerAccess(own, 0)), CUresult::CUDA_ERROR_INVALID_CONTEXT);
    ok!(cuCtxEnablePeerAccess(peer, 0));
    assert_eq!(code!(cuCtxEnablePeerAccess(peer, 0)), CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
    here.launch(&here.kernel("store"), &[there.address()]);
    here.launch(&here.kernel("move_word"), &[here.address(), there.address()]);
    assert_eq!((here.take(), there.take()), (1, 1));
    ok!(cuCtxDisablePeerAccess(peer));
}

#[test]
fn copies_between_devices_need_no_peer_access() {
    let (there, here) = (Bench::new(context(2)), Bench::new(context(0)));
    here.context.bind_to_thread().unwrap();
    ok!(cuMemsetD32Async(there.address(), 123, 1, there.on()));
    ok!(cuMemcpyPeerAsync(
        here.address(),
        here.context.cu_ctx(),
        there.address(),
        there.context.cu_ctx(),
        4,
        here.on()
    ));
    assert_eq!(here.take(), 123);

    let mut copy = filled!(sys::CUDA_MEMCPY3D_PEER {
        srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
        srcDevice: there.address(),
        srcContext: there.context.cu_ctx(),
        dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
        dstDevice: here.address(),
        dstContext: here.context.cu_ctx(),
        WidthInBytes: 2,
        Height: 1,
        Depth: 1,
    });
    ok!(cuMemcpy3DPeerAsync(&copy, here.on()));
    assert_eq!(here.take(), 123);
    copy.WidthInBytes = 5;
    assert_eq!(code!(cuMemcpy3DPeerAsync(&copy, here.on())), CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn a_stream_waits_for_an_event_of_another_device() {
    let (there, here) = (Bench::new(context(1)), Bench::new(context(0)));
    let event = there.context.new_event(None).unwrap();
    ok!(cuEventRecord(event.cu_event(), there.on()));
    ok!(cuStreamWaitEvent(here.on(), event.cu_event(), 0));
    let result = code!(cuEventRecord(event.cu_event(), here.on()));
    assert_eq!(result, CUresult::CUDA_ERROR_INVALID_HANDLE, "an event is recorded on its own device");
}

#[test]
fn memory_of_a_pool_goes_by_the_settings_of_the_pool() {
    let (there, here) = (Bench::new(context(2)), Bench::new(context(1)));
    there.context.bind_to_thread().unwrap();
    let mut properties: sys::CUmemPoolProps = zeroed();
    properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    // SAFETY: the ordinal is the second of the two numbers that a location is.
    unsafe { (&raw mut properties.location).cast::<i32>().add(1).write(2) };
    let (mut pool, mut address) = (std::ptr::null_mut(), 0);
    ok!(cuMemPoolCreate(&mut pool, &properties));
    ok!(cuMemAllocFromPoolAsync(&mut address, 4, pool, there.on()));
    let mut description: sys::CUmemAccessDesc = zeroed();
    description.location = properties.location;
    // SAFETY: as above.
    unsafe { (&raw mut description.location).cast::<i32>().add(1).write(1) };
    description.flags = sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    ok!(cuMemPoolSetAccess(pool, &description, 1));
    here.launch(&here.kernel("store"), &[address]);
    ok!(cuStreamSynchronize(here.on()));
    assert_eq!(there.read(address), 1);
}
