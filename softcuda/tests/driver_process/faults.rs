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
