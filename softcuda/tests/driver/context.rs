//! Devices, contexts, streams and events.

use super::context;
use cudarc::driver::{CudaContext, result, sys};
use softcuda::chip::Architecture;
use sys::{CUdevice_attribute as Attribute, CUresult};

#[test]
fn devices_report_what_the_chips_are() {
    context(0);
    assert_eq!(CudaContext::device_count().unwrap(), 3);
    for (ordinal, architecture) in Architecture::ALL.into_iter().enumerate() {
        let context = context(ordinal);
        let chip = architecture.chip();
        assert_eq!(context.ordinal(), ordinal);
        assert_eq!(context.name().unwrap(), chip.name);
        let (major, minor) = context.compute_capability().unwrap();
        assert_eq!((major * 10 + minor) as u32, architecture.number());
        assert_eq!(context.total_mem().unwrap() as u64, chip.memory_bytes);
        let attribute = |attribute| context.attribute(attribute).unwrap() as u32;
        assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), chip.multiprocessors);
        assert_eq!(
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
            chip.shared_per_block_optin
        );
        assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE), 32);
        assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE), chip.l2_bytes);
        assert!(context.has_async_alloc());
    }
    let uuids = [0, 1, 2].map(|ordinal| context(ordinal).uuid().unwrap().bytes);
    assert_ne!(uuids[0], uuids[1]);
    assert_ne!(uuids[1], uuids[2]);
    assert_eq!(CudaContext::new(3).unwrap_err().0, CUresult::CUDA_ERROR_INVALID_DEVICE);
    let mut version = 0;
    // SAFETY: a valid pointer.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().unwrap();
    assert_eq!(version, 13_000);
}

#[test]
fn each_thread_has_its_own_stack_of_contexts() {
    let first = context(0);
    let second = context(1);
    second.bind_to_thread().unwrap();
    let current = || result::ctx::get_current().unwrap();
    assert_eq!(current(), Some(second.cu_ctx()));
    std::thread::spawn(move || {
        let current = || result::ctx::get_current().unwrap();
        assert_eq!(current(), None);
        // Without a context nothing works.
        assert_eq!(result::ctx::synchronize().unwrap_err().0, CUresult::CUDA_ERROR_INVALID_CONTEXT);
        first.bind_to_thread().unwrap();
        assert_eq!(current(), Some(first.cu_ctx()));
        let mut popped = std::ptr::null_mut();
        // SAFETY: a live context; a valid pointer.
        unsafe {
            sys::cuCtxPushCurrent_v2(first.cu_ctx()).result().unwrap();
            sys::cuCtxPopCurrent_v2(&mut popped).result().unwrap();
        }
        assert_eq!(popped, first.cu_ctx());
        assert_eq!(current(), Some(first.cu_ctx()));
    })
    .join()
    .unwrap();
    assert_eq!(current(), Some(second.cu_ctx()));
}

#[test]
fn a_destroyed_context_takes_its_objects_along() {
    let _primary = context(0);
    std::thread::spawn(|| {
        let mut created = std::ptr::null_mut();
        let mut stream = std::ptr::null_mut();
        let mut address = 0;
        // SAFETY: valid pointers; handles are used after their end on purpose, which is checked.
        unsafe {
            sys::cuCtxCreate_v4(&mut created, std::ptr::null_mut(), 0, 0).result().unwrap();
            sys::cuStreamCreate(&mut stream, 0).result().unwrap();
            sys::cuMemAlloc_v2(&mut address, 100).result().unwrap();
            sys::cuCtxDestroy_v2(created).result().unwrap();
            assert_eq!(result::ctx::get_current().unwrap(), None);
            assert_eq!(sys::cuStreamSynchronize(stream), CUresult::CUDA_ERROR_INVALID_HANDLE);
            assert_eq!(sys::cuMemFree_v2(address), CUresult::CUDA_ERROR_INVALID_VALUE);
            assert_eq!(sys::cuCtxSetCurrent(created), CUresult::CUDA_ERROR_INVALID_CONTEXT);
        }
    })
    .join()
    .unwrap();
}

#[test]
fn flags_and_limits_are_kept() {
    let context = context(0);
    context.set_blocking_synchronize().unwrap();
    let limit = sys::CUlimit::CU_LIMIT_PRINTF_FIFO_SIZE;
    context.set_limit(limit, 12_345).unwrap();
    assert_eq!(context.get_limit(limit).unwrap(), 12_345);
    context.synchronize().unwrap();
}

#[test]
fn streams_and_events_work_with_the_special_handles_too() {
    let context = context(0);
    let streams = [
        context.default_stream(),
        context.per_thread_stream(),
        context.new_stream().unwrap(),
        context.default_stream().fork().unwrap(),
    ];
    let start = context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).unwrap();
    let end = context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).unwrap();
    for stream in &streams {
        start.record(stream).unwrap();
        end.record(stream).unwrap();
        stream.wait(&end).unwrap();
        stream.join(&streams[0]).unwrap();
        stream.synchronize().unwrap();
        end.synchronize().unwrap();
        assert!(end.is_complete());
        let milliseconds = start.elapsed_ms(&end).unwrap();
        assert!((0.0..1000.0).contains(&milliseconds), "{milliseconds}");
    }
    let legacy = 1usize as sys::CUstream;
    // SAFETY: 1 is CU_STREAM_LEGACY; the other is no stream and must be refused without being followed.
    unsafe {
        assert_eq!(sys::cuStreamSynchronize(legacy), CUresult::CUDA_SUCCESS);
        let garbage = 0x1234_5678usize as sys::CUstream;
        assert_eq!(sys::cuStreamSynchronize(garbage), CUresult::CUDA_ERROR_INVALID_HANDLE);
        assert_eq!(sys::cuEventDestroy_v2(garbage.cast()), CUresult::CUDA_ERROR_INVALID_HANDLE);
    }
}

#[test]
fn events_without_times_give_no_elapsed_time() {
    let context = context(0);
    let timed = context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).unwrap();
    let untimed = context.new_event(None).unwrap();
    let stream = context.default_stream();
    // Never recorded.
    assert!(timed.elapsed_ms(&timed).is_err());
    timed.record(&stream).unwrap();
    untimed.record(&stream).unwrap();
    assert_eq!(timed.elapsed_ms(&timed).unwrap(), 0.0);
    assert!(timed.elapsed_ms(&untimed).is_err());
}

#[test]
fn stream_priorities_are_clamped_to_the_range_of_the_context() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let (mut least, mut greatest) = (0, 0);
    let mut stream = std::ptr::null_mut();
    let mut priority = 0;
    // SAFETY: valid pointers and a live stream.
    unsafe {
        sys::cuCtxGetStreamPriorityRange(&mut least, &mut greatest).result().unwrap();
        assert!(greatest < least);
        sys::cuStreamCreateWithPriority(&mut stream, 1, greatest - 7).result().unwrap();
        sys::cuStreamGetPriority(stream, &mut priority).result().unwrap();
        assert_eq!(priority, greatest);
        let mut flags = 0;
        sys::cuStreamGetFlags(stream, &mut flags).result().unwrap();
        assert_eq!(flags, 1);
        let mut capturing = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE;
        sys::cuStreamIsCapturing(stream, &mut capturing).result().unwrap();
        assert_eq!(capturing, sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE);
        sys::cuStreamDestroy_v2(stream).result().unwrap();
    }
}

#[test]
fn host_functions_run_in_the_order_of_the_stream() {
    unsafe extern "C" fn add_one(value: *mut std::ffi::c_void) {
        // SAFETY: the test passes a pointer to an i32.
        unsafe { *value.cast::<i32>() += 1 };
    }
    let context = context(0);
    let stream = context.new_stream().unwrap();
    let mut value = 41;
    // SAFETY: `value` outlives the call, which is synchronized before it is read.
    unsafe {
        sys::cuLaunchHostFunc(stream.cu_stream(), Some(add_one), (&raw mut value).cast()).result().unwrap();
    }
    stream.synchronize().unwrap();
    assert_eq!(value, 42);
}

#[test]
fn error_codes_have_names_and_texts() {
    context(0);
    let error = cudarc::driver::DriverError(CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(error.error_name().unwrap().to_str(), Ok("CUDA_ERROR_INVALID_VALUE"));
    assert_eq!(error.error_string().unwrap().to_str(), Ok("invalid argument"));
}
