//! Streams that wait: for host functions, for values in memory, for one another.

use super::{calls::Bench, calls::zeroed, context};
use cudarc::driver::sys;
use std::{
    ffi::c_void,
    ptr,
    sync::mpsc::{Receiver, Sender, channel},
    time::Duration,
};
use sys::CUresult;

/// A host function that waits until it is released.
extern "C" fn wait_for_release(data: *mut c_void) {
    // SAFETY: the pointer comes from `block`, which gives it to one call only.
    let receiver = unsafe { Box::from_raw(data.cast::<Receiver<()>>()) };
    let _ = receiver.recv_timeout(Duration::from_secs(30));
}

/// Blocks a stream until something is sent.
fn block(stream: sys::CUstream) -> Sender<()> {
    let (release, receiver) = channel();
    let receiver = Box::into_raw(Box::new(receiver));
    ok!(cuLaunchHostFunc(stream, Some(wait_for_release), receiver.cast()));
    release
}

#[test]
fn what_comes_after_a_host_function_waits_for_it() {
    let bench = Bench::new(context(0));
    let event = bench.context.new_event(None).unwrap();
    ok!(cuEventRecord(event.cu_event(), bench.on()));
    ok!(cuEventQuery(event.cu_event()));
    let release = block(bench.on());
    assert_eq!(bench.append_on(bench.on(), 1), CUresult::CUDA_SUCCESS);
    ok!(cuEventRecord(event.cu_event(), bench.on()));
    assert_eq!(code!(cuStreamQuery(bench.on())), CUresult::CUDA_ERROR_NOT_READY);
    assert_eq!(code!(cuEventQuery(event.cu_event())), CUresult::CUDA_ERROR_NOT_READY);
    // Another stream that waits for the event waits, too; one that does not does not.
    let (waiting, free) = (bench.context.new_stream().unwrap(), bench.context.new_stream().unwrap());
    ok!(cuStreamWaitEvent(waiting.cu_stream(), event.cu_event(), 0));
    assert_eq!(bench.append_on(waiting.cu_stream(), 2), CUresult::CUDA_SUCCESS);
    let mut number = 7u32;
    ok!(cuMemcpyDtoHAsync_v2((&raw mut number).cast(), bench.address(), 4, free.cu_stream()));
    ok!(cuStreamSynchronize(free.cu_stream()));
    assert_eq!(number, 0);
    release.send(()).unwrap();
    ok!(cuStreamSynchronize(waiting.cu_stream()));
    ok!(cuEventQuery(event.cu_event()));
    assert_eq!(bench.take(), 12);
}

#[test]
fn pageable_memory_is_copied_before_the_call_returns() {
    let bench = Bench::new(context(0));
    let release = block(bench.on());
    let mut source = 5u32;
    ok!(cuMemcpyHtoDAsync_v2(bench.address(), (&raw const source).cast(), 4, bench.on()));
    source = 6;
    release.send(()).unwrap();
    assert_eq!((bench.take(), source), (5, 6));
}

#[test]
fn the_legacy_stream_waits_for_blocking_streams_and_they_for_it() {
    // In a context of its own: other tests use the default stream of theirs.
    let (mut context, mut blocking, mut other, mut number) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), 0);
    let _driver = super::context(0);
    ok!(cuCtxCreate_v4(&mut context, ptr::null_mut(), 0, 0));
    ok!(cuStreamCreate(&mut blocking, 0));
    ok!(cuStreamCreate(&mut other, 1));
    ok!(cuMemAlloc_v2(&mut number, 4));
    let release = block(blocking);
    ok!(cuMemsetD32Async(number, 1, 1, ptr::null_mut()));
    assert_eq!(code!(cuStreamQuery(ptr::null_mut())), CUresult::CUDA_ERROR_NOT_READY);
    assert_eq!(code!(cuStreamQuery(other)), CUresult::CUDA_SUCCESS, "a non-blocking stream");
    release.send(()).unwrap();
    ok!(cuStreamSynchronize(ptr::null_mut()));
    let release = block(ptr::null_mut());
    ok!(cuMemsetD32Async(number, 2, 1, blocking));
    assert_eq!(code!(cuStreamQuery(blocking)), CUresult::CUDA_ERROR_NOT_READY);
    release.send(()).unwrap();
    ok!(cuCtxSynchronize());
    let mut read = 0u32;
    ok!(cuMemcpyDtoH_v2((&raw mut read).cast(), number, 4));
    assert_eq!(read, 2);
    ok!(cuCtxDestroy_v2(context));
}

#[test]
fn a_host_function_must_not_wait_for_the_device() {
    extern "C" fn synchronize(data: *mut c_void) {
        // SAFETY: the test passes a pointer to two handles and a code that live until it has synchronized.
        let (stream, context, told) = unsafe { &mut *data.cast::<(sys::CUstream, sys::CUcontext, CUresult)>() };
        ok!(cuCtxSetCurrent(*context));
        *told = code!(cuStreamSynchronize(*stream));
    }
    let bench = Bench::new(context(0));
    let mut data = (bench.on(), bench.context.cu_ctx(), CUresult::CUDA_SUCCESS);
    ok!(cuLaunchHostFunc(bench.on(), Some(synchronize), (&raw mut data).cast()));
    ok!(cuStreamSynchronize(bench.on()));
    assert_eq!(data.2, CUresult::CUDA_ERROR_NOT_PERMITTED);
}

#[test]
fn callbacks_get_the_stream_and_its_status() {
    unsafe extern "C" fn called(stream: sys::CUstream, status: CUresult, data: *mut c_void) {
        // SAFETY: the test passes a pointer to such a pair.
        unsafe { *data.cast::<(sys::CUstream, CUresult)>() = (stream, status) };
    }
    let bench = Bench::new(context(0));
    let mut seen = (ptr::null_mut(), CUresult::CUDA_ERROR_UNKNOWN);
    ok!(cuStreamAddCallback(bench.on(), Some(called), (&raw mut seen).cast(), 0));
    ok!(cuStreamSynchronize(bench.on()));
    assert_eq!(seen, (bench.on(), CUresult::CUDA_SUCCESS));
}

#[test]
fn a_stream_waits_for_a_value_that_another_one_writes() {
    let bench = Bench::new(context(0));
    let mut flag = 0;
    ok!(cuMemAlloc_v2(&mut flag, 8));
    ok!(cuMemsetD32_v2(flag, 0, 2));
    let other = bench.context.new_stream().unwrap();
    // Each condition with a value that does not meet it and one that does: >=, ==, &, nor.
    for (flags, wanted, before, after) in [
        (0u32, 5u32, 4u32, 6u32),
        (0, 1, u32::MAX, 1),
        (1, 7, 8, 7),
        (2, 0b100, 0b011, 0b110),
        (3, 0x0f, 0xffff_fff0, 0),
    ] {
        ok!(cuStreamWriteValue32_v2(other.cu_stream(), flag, before, 0));
        ok!(cuStreamWaitValue32_v2(bench.on(), flag, wanted, flags));
        assert_eq!(bench.append_on(bench.on(), 1), CUresult::CUDA_SUCCESS);
        assert_eq!(code!(cuStreamQuery(bench.on())), CUresult::CUDA_ERROR_NOT_READY, "{flags}");
        ok!(cuStreamWriteValue32_v2(other.cu_stream(), flag, after, 0));
        ok!(cuStreamSynchronize(bench.on()));
        assert_eq!(bench.take(), 1, "{flags}");
    }
    ok!(cuStreamWriteValue64_v2(other.cu_stream(), flag, 1 << 40, 0));
    ok!(cuStreamWaitValue64_v2(bench.on(), flag, 1 << 40, 1));
    ok!(cuStreamSynchronize(bench.on()));
    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    assert_eq!(code!(cuStreamWaitValue32_v2(bench.on(), flag + 2, 0, 0)), invalid, "misaligned");
    assert_eq!(code!(cuStreamWaitValue32_v2(bench.on(), flag + 8, 0, 0)), invalid, "out of bounds");
    assert_eq!(code!(cuStreamWaitValue32_v2(bench.on(), flag, 0, 8)), invalid, "no such condition");
}

#[test]
fn batches_of_memory_operations_run_in_order() {
    let bench = Bench::new(context(0));
    let mut operations: [sys::CUstreamBatchMemOpParams; 3] = zeroed();
    let write = sys::CUstreamBatchMemOpType::CU_STREAM_MEM_OP_WRITE_VALUE_32;
    let wait = sys::CUstreamBatchMemOpType::CU_STREAM_MEM_OP_WAIT_VALUE_32;
    for (operation, (kind, value)) in operations.iter_mut().zip([(write, 3), (wait, 3), (write, 4)]) {
        operation.writeValue.operation = kind;
        operation.writeValue.address = bench.address();
        operation.writeValue.__bindgen_anon_1.value = value;
    }
    ok!(cuStreamBatchMemOp_v2(bench.on(), 3, operations.as_mut_ptr(), 0));
    assert_eq!(bench.take(), 4);
    operations[2].operation = sys::CUstreamBatchMemOpType::CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES;
    let result = code!(cuStreamBatchMemOp_v2(bench.on(), 3, operations.as_mut_ptr(), 0));
    assert_eq!(result, CUresult::CUDA_ERROR_NOT_SUPPORTED);
    assert_eq!(bench.take(), 0, "nothing of a refused batch runs");
}

#[test]
fn streams_keep_attributes_and_have_different_numbers() {
    let bench = Bench::new(context(0));
    let other = bench.context.new_stream().unwrap();
    let (mut first, mut second) = (0, 0);
    ok!(cuStreamGetId(bench.on(), &mut first));
    ok!(cuStreamGetId(other.cu_stream(), &mut second));
    assert_ne!(first, second);
    let priority = sys::CUstreamAttrID::CU_LAUNCH_ATTRIBUTE_PRIORITY;
    let mut value: sys::CUstreamAttrValue = zeroed();
    value.priority = -3;
    ok!(cuStreamSetAttribute(bench.on(), priority, &value));
    ok!(cuStreamCopyAttributes(other.cu_stream(), bench.on()));
    let mut told = 0;
    ok!(cuStreamGetPriority(other.cu_stream(), &mut told));
    assert_eq!(told, -3);
    let cluster = sys::CUstreamAttrID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    assert_eq!(code!(cuStreamSetAttribute(bench.on(), cluster, &value)), CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn memory_that_a_stream_is_to_free_may_go_with_its_context_before() {
    let bench = Bench::new(context(0));
    let (mut other, mut address) = (ptr::null_mut(), 0);
    ok!(cuCtxCreate_v4(&mut other, ptr::null_mut(), 0, 0));
    ok!(cuMemAlloc_v2(&mut address, 64));
    ok!(cuCtxSetCurrent(bench.context.cu_ctx()));
    let release = block(bench.on());
    ok!(cuMemFreeAsync(address, bench.on()));
    assert_eq!(code!(cuMemFreeAsync(address, bench.on())), CUresult::CUDA_ERROR_INVALID_VALUE, "freed once");
    ok!(cuCtxDestroy_v2(other));
    release.send(()).unwrap();
    ok!(cuStreamSynchronize(bench.on()));
    assert_eq!(bench.append_on(bench.on(), 1), CUresult::CUDA_SUCCESS, "the stream's context is well");
}
