//! Faults of kernels: they show in the calls that follow, with a report, and end the context.

use super::alone;
use cudarc::{
    driver::{CudaContext, CudaStream, DevicePtr, DriverError, LaunchConfig, PushKernelArg, sys},
    nvrtc::Ptx,
};
use softcuda::{chip::Architecture, fault::FaultKind};
use std::sync::Arc;
use sys::CUresult;

const KERNELS: &str = include_str!("../driver/kernels.ptx");

const ENDLESS: &str = "
.version 8.0
.target sm_80
.address_size 64
.visible .entry endless()
{
AGAIN:
    bra AGAIN;
}
";

const ONE: LaunchConfig = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (1, 1, 1), shared_mem_bytes: 0 };

fn device(ordinal: usize) -> (Arc<CudaContext>, Arc<CudaStream>) {
    softcuda::install(&Architecture::ALL).unwrap();
    let context = CudaContext::new(ordinal).unwrap();
    let stream = context.default_stream();
    (context, stream)
}

/// Runs the kernel that writes four bytes to `address`.
fn store(context: &Arc<CudaContext>, address: u64) -> Result<(), DriverError> {
    let module = context.load_module(Ptx::from_src(KERNELS))?;
    let function = module.load_function("store")?;
    let stream = context.default_stream();
    // SAFETY: an address outside of every allocation is what these tests are about; the device finds it out.
    unsafe { stream.launch_builder(&function).arg(&address).launch(ONE) }.map(drop)
}

#[test]
fn a_store_out_of_bounds_ends_the_context_and_is_reported() {
    alone("faults::a_store_out_of_bounds_ends_the_context_and_is_reported", &[], || {
        let (context, stream) = device(0);
        let kept = stream.clone_htod(&[1u32; 100]).unwrap();
        let base = kept.device_ptr(&stream).0;
        // The launch only starts the kernel.
        store(&context, base + 400).unwrap();
        let error = context.synchronize().unwrap_err();
        assert_eq!(error.0, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);

        let text = error.error_string().unwrap().to_str().unwrap().to_owned();
        let usual = "an illegal memory access was encountered: ";
        let report = text.strip_prefix(usual).expect(&text);
        assert!(report.contains("store"), "{report}");
        assert!(report.contains(&format!("{:#x}", base + 400)), "{report}");
        // The same text reaches whoever prints the error.
        assert!(format!("{error:?}").contains("store"), "{error:?}");
        let fault = softcuda::last_fault().unwrap();
        assert_eq!(fault.kind, FaultKind::IllegalAddress);
        assert_eq!(report, fault.text);

        // Every later call fails alike ...
        let code = |result: Result<(), DriverError>| result.unwrap_err().0;
        assert_eq!(code(stream.synchronize()), error.0);
        assert_eq!(code(stream.clone_dtoh(&kept).map(drop)), error.0);
        assert_eq!(code(stream.alloc_zeros::<u8>(1).map(drop)), error.0);
        assert_eq!(code(context.new_stream().map(drop)), error.0);
        assert_eq!(code(store(&context, base)), error.0);
        // ... except those that free.
        // SAFETY: the allocation is not used again.
        unsafe { sys::cuMemFree_v2(kept.leak()) }.result().unwrap();

        // Another device is not concerned.
        let (_other, stream) = device(1);
        let there = stream.clone_htod(&[1u8, 2]).unwrap();
        assert_eq!(stream.clone_dtoh(&there).unwrap(), [1, 2]);
    });
}

#[test]
fn a_new_context_after_a_fault_works_again() {
    alone("faults::a_new_context_after_a_fault_works_again", &[], || {
        let (context, _) = device(0);
        store(&context, 0).unwrap();
        assert!(context.synchronize().is_err());
        drop(context);
        // cudarc's stream keeps the context alive; this ends it for certain.
        // SAFETY: nothing of the old context is used again.
        unsafe { sys::cuDevicePrimaryCtxReset_v2(0) }.result().unwrap();
        let (context, stream) = device(0);
        let memory = stream.alloc_zeros::<u32>(1).unwrap();
        store(&context, memory.device_ptr(&stream).0).unwrap();
        assert_eq!(stream.clone_dtoh(&memory).unwrap(), [1]);
    });
}

#[test]
fn freed_misaligned_and_constant_addresses_are_faults() {
    fn fault_of(address: impl Fn(&Arc<CudaContext>, &Arc<CudaStream>) -> u64) -> (CUresult, String) {
        let (context, stream) = device(0);
        store(&context, address(&context, &stream)).unwrap();
        let error = context.synchronize().unwrap_err();
        let text = softcuda::last_fault().unwrap().text;
        // SAFETY: nothing of the old context is used again.
        unsafe { sys::cuDevicePrimaryCtxReset_v2(0) }.result().unwrap();
        (error.0, text)
    }
    alone("faults::freed_misaligned_and_constant_addresses_are_faults", &[], || {
        let (code, text) = fault_of(|_, stream| {
            let freed = stream.alloc_zeros::<u32>(4).unwrap();
            freed.device_ptr(stream).0
        });
        assert_eq!(code, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert!(text.contains("freed"), "{text}");

        let (code, _) = fault_of(|_, stream| {
            let kept = stream.alloc_zeros::<u32>(4).unwrap();
            kept.leak() + 2
        });
        assert_eq!(code, CUresult::CUDA_ERROR_MISALIGNED_ADDRESS);

        let (code, text) = fault_of(|context, stream| {
            let module = context.load_module(Ptx::from_src(KERNELS)).unwrap();
            let scale = module.get_global("scale", stream).unwrap();
            let address = scale.device_ptr(stream).0;
            // The module stays.
            std::mem::forget(module.clone());
            address
        });
        assert_eq!(code, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, "{text}");
    });
}

/// The text of the fault of a kernel on device 0 that stores to `address` after `prepare`, and the code.
fn fault_at(prepare: impl FnOnce(&Arc<CudaContext>) -> u64) -> (CUresult, String) {
    let (context, _) = device(0);
    let address = prepare(&context);
    context.bind_to_thread().unwrap();
    store(&context, address).unwrap();
    let error = context.synchronize().unwrap_err();
    (error.0, softcuda::last_fault().unwrap().text)
}

#[test]
fn memory_of_another_device_without_peer_access_is_a_fault_that_says_so() {
    alone("faults::memory_of_another_device_without_peer_access_is_a_fault_that_says_so", &[], || {
        let (code, text) = fault_at(|_| {
            let (other, _) = device(1);
            let mut address = 0;
            // SAFETY: a valid pointer.
            unsafe { sys::cuMemAlloc_v2(&mut address, 4) }.result().unwrap();
            // The end of the context would be the end of the memory.
            std::mem::forget(other);
            address
        });
        assert_eq!(code, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        let words = "memory of device 1; this kernel runs on device 0, and peer access is not enabled";
        assert!(text.contains(words), "{text}");
    });
}

#[test]
fn virtual_memory_without_access_is_a_fault_that_says_so() {
    const PAGE: usize = 2 << 20;
    alone("faults::virtual_memory_without_access_is_a_fault_that_says_so", &[], || {
        let (code, text) = fault_at(|_| {
            let (mut handle, mut address) = (0, 0);
            let mut properties: sys::CUmemAllocationProp = {
                // SAFETY: zeros are valid for every field but two, which are set next.
                unsafe { std::mem::zeroed() }
            };
            properties.type_ = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
            properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
            // SAFETY: valid pointers and handles.
            unsafe {
                sys::cuMemCreate(&mut handle, PAGE, &properties, 0).result().unwrap();
                sys::cuMemAddressReserve(&mut address, PAGE, 0, 0, 0).result().unwrap();
                sys::cuMemMap(address, PAGE, 0, handle, 0).result().unwrap();
            }
            address
        });
        assert_eq!(code, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert!(text.contains("device 0 has not been given access"), "{text}");
    });
}

#[test]
fn a_fault_in_a_graph_stops_it() {
    alone("faults::a_fault_in_a_graph_stops_it", &[], || {
        let (context, _) = device(0);
        let stream = context.new_stream().unwrap();
        let kept = stream.alloc_zeros::<u32>(1).unwrap();
        let base = kept.device_ptr(&stream).0;
        let module = context.load_module(Ptx::from_src(KERNELS)).unwrap();
        let function = module.load_function("store").unwrap();
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED).unwrap();
        for address in [base + 400, base] {
            // SAFETY: an address outside of every allocation is what this test is about.
            unsafe { stream.launch_builder(&function).arg(&address).launch(ONE) }.unwrap();
        }
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
        let before = softcuda::launches().len();
        graph.launch().unwrap();
        assert_eq!(context.synchronize().unwrap_err().0, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert_eq!(softcuda::launches().len(), before, "neither launch ended without a fault");
        std::mem::forget(graph);
    });
}

#[test]
fn an_endless_loop_ends_at_the_instruction_limit() {
    alone("faults::an_endless_loop_ends_at_the_instruction_limit", &[("SOFTCUDA_INSTRUCTION_LIMIT", "100000")], || {
        let (context, stream) = device(0);
        let module = context.load_module(Ptx::from_src(ENDLESS)).unwrap();
        let function = module.load_function("endless").unwrap();
        // SAFETY: the kernel takes no parameters and touches no memory.
        unsafe { stream.launch_builder(&function).launch(ONE) }.unwrap();
        assert_eq!(context.synchronize().unwrap_err().0, CUresult::CUDA_ERROR_LAUNCH_TIMEOUT);
    });
}
