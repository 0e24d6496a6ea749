//! Stream capture. Its rules reach across threads, so that each test has a process of its own.

use super::{
    alone,
    calls::{Arguments, Bench, zeroed},
};
use cudarc::driver::{CudaContext, sys};
use softcuda::chip::Architecture;
use std::{ffi::c_void, ptr, sync::Arc};
use sys::{CUresult, CUstreamCaptureMode as Mode, CUstreamCaptureStatus as Status};

const GLOBAL: Mode = Mode::CU_STREAM_CAPTURE_MODE_GLOBAL;
const THREAD_LOCAL: Mode = Mode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
const RELAXED: Mode = Mode::CU_STREAM_CAPTURE_MODE_RELAXED;
const SUCCESS: CUresult = CUresult::CUDA_SUCCESS;
const UNSUPPORTED: CUresult = CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
const INVALIDATED: CUresult = CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;

fn context() -> Arc<CudaContext> {
    softcuda::install(&Architecture::ALL).unwrap();
    CudaContext::new(0).unwrap()
}

/// A bench whose stream does not synchronize with the legacy one, as that of `CudaContext::new_stream`.
fn bench() -> Bench {
    Bench::new(context())
}

/// A stream that synchronizes with the legacy one.
fn blocking_stream() -> sys::CUstream {
    let mut stream = ptr::null_mut();
    ok!(cuStreamCreate(&mut stream, 0));
    stream
}

fn begin(stream: sys::CUstream, mode: Mode) {
    ok!(cuStreamBeginCapture_v2(stream, mode));
}

fn end(stream: sys::CUstream) -> Result<sys::CUgraph, CUresult> {
    let mut graph = ptr::null_mut();
    match code!(cuStreamEndCapture(stream, &mut graph)) {
        SUCCESS => Ok(graph),
        error => {
            assert!(graph.is_null());
            Err(error)
        }
    }
}

fn launch(graph: sys::CUgraph, stream: sys::CUstream) {
    let mut instance = ptr::null_mut();
    ok!(cuGraphInstantiateWithFlags(&mut instance, graph, 0));
    ok!(cuGraphLaunch(instance, stream));
}

fn status(stream: sys::CUstream) -> Status {
    let mut status = Status::CU_STREAM_CAPTURE_STATUS_NONE;
    ok!(cuStreamIsCapturing(stream, &mut status));
    status
}

#[test]
fn captured_operations_run_when_the_graph_is_launched() {
    extern "C" fn add_one(data: *mut c_void) {
        // SAFETY: the test passes a pointer to a u32 that nothing else uses meanwhile.
        unsafe { *data.cast::<u32>() += 1 };
    }
    alone("capture::captured_operations_run_when_the_graph_is_launched", &[], || {
        let bench = bench();
        let stream = bench.on();
        let mut host = 0u32;
        begin(stream, GLOBAL);
        assert_eq!(status(stream), Status::CU_STREAM_CAPTURE_STATUS_ACTIVE);
        ok!(cuMemsetD32Async(bench.address(), 4, 1, stream));
        assert_eq!(bench.append_on(stream, 2), SUCCESS);
        ok!(cuMemcpyDtoHAsync_v2((&raw mut host).cast(), bench.address(), 4, stream));
        ok!(cuLaunchHostFunc(stream, Some(add_one), (&raw mut host).cast()));
        ok!(cuStreamWriteValue32_v2(stream, bench.address(), host, 0));
        let graph = end(stream).unwrap();
        assert_eq!(status(stream), Status::CU_STREAM_CAPTURE_STATUS_NONE);
        assert_eq!((bench.read(bench.address()), host), (0, 0), "nothing has run yet");
        let mut count = 0;
        ok!(cuGraphGetNodes(graph, ptr::null_mut(), &mut count));
        assert_eq!(count, 5);
        launch(graph, stream);
        ok!(cuStreamSynchronize(stream));
        assert_eq!((host, bench.take()), (43, 0));
    });
}

#[test]
fn other_streams_take_part_through_events() {
    alone("capture::other_streams_take_part_through_events", &[], || {
        let bench = bench();
        let (origin, other) = (bench.on(), bench.context.new_stream().unwrap());
        let (fork, join) = (bench.context.new_event(None).unwrap(), bench.context.new_event(None).unwrap());
        let forked = || {
            begin(origin, GLOBAL);
            assert_eq!(bench.append_on(origin, 1), SUCCESS);
            ok!(cuEventRecord(fork.cu_event(), origin));
            ok!(cuStreamWaitEvent(other.cu_stream(), fork.cu_event(), 0));
            assert_eq!(status(other.cu_stream()), Status::CU_STREAM_CAPTURE_STATUS_ACTIVE);
            assert_eq!(bench.append_on(other.cu_stream(), 2), SUCCESS);
        };
        forked();
        ok!(cuEventRecord(join.cu_event(), other.cu_stream()));
        assert_eq!(bench.append_on(origin, 3), SUCCESS);
        ok!(cuStreamWaitEvent(origin, join.cu_event(), 0));
        assert_eq!(bench.append_on(origin, 4), SUCCESS);
        let graph = end(origin).unwrap();
        assert_eq!(status(other.cu_stream()), Status::CU_STREAM_CAPTURE_STATUS_NONE);
        let mut edges = 0;
        let nothing = ptr::null_mut();
        ok!(cuGraphGetEdges_v2(graph, nothing, ptr::null_mut(), ptr::null_mut(), &mut edges));
        assert_eq!(edges, 4, "a diamond");
        launch(graph, origin);
        assert_eq!(bench.take(), 1234);

        forked();
        assert_eq!(end(other.cu_stream()), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED));
        assert_eq!(end(origin), Err(INVALIDATED));
        forked();
        assert_eq!(end(origin), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED));
        assert_eq!(status(other.cu_stream()), Status::CU_STREAM_CAPTURE_STATUS_NONE);
        assert_eq!(end(origin), Err(CUresult::CUDA_ERROR_ILLEGAL_STATE));
    });
}

/// Whether `broken` fails with `expected` while a stream is capturing, and ends the capture without a graph.
fn breaks(bench: &Bench, mode: Mode, expected: CUresult, broken: impl Fn(sys::CUstream) -> CUresult) {
    let stream = bench.on();
    begin(stream, mode);
    assert_eq!(bench.append_on(stream, 1), SUCCESS);
    assert_eq!(broken(stream), expected);
    assert_eq!(status(stream), Status::CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    assert_eq!(bench.append_on(stream, 1), INVALIDATED);
    assert_eq!(end(stream), Err(INVALIDATED));
    assert_eq!(bench.append_on(stream, 1), SUCCESS, "the stream works again");
    assert_eq!(bench.take(), 1);
}

#[test]
fn a_capturing_stream_and_its_events_must_not_be_waited_for() {
    alone("capture::a_capturing_stream_and_its_events_must_not_be_waited_for", &[], || {
        let bench = bench();
        let event = bench.context.new_event(None).unwrap();
        let captured = |stream| {
            ok!(cuEventRecord(event.cu_event(), stream));
            event.cu_event()
        };
        breaks(&bench, RELAXED, UNSUPPORTED, |stream| code!(cuStreamSynchronize(stream)));
        breaks(&bench, RELAXED, UNSUPPORTED, |stream| code!(cuStreamQuery(stream)));
        breaks(&bench, RELAXED, UNSUPPORTED, |_| code!(cuCtxSynchronize()));
        let captured_event = CUresult::CUDA_ERROR_CAPTURED_EVENT;
        breaks(&bench, RELAXED, captured_event, |stream| code!(cuEventQuery(captured(stream))));
        breaks(&bench, RELAXED, captured_event, |stream| code!(cuEventSynchronize(captured(stream))));
        // Its capture has ended; the event is still one of a capture.
        assert_eq!(code!(cuEventQuery(event.cu_event())), captured_event);
        ok!(cuEventRecord(event.cu_event(), bench.on()));
        ok!(cuEventQuery(event.cu_event()));
        // What happened before the capture must not be waited for.
        let isolation = CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
        breaks(&bench, RELAXED, isolation, |stream| code!(cuStreamWaitEvent(stream, event.cu_event(), 0)));
        let address = bench.address();
        breaks(&bench, RELAXED, UNSUPPORTED, |stream| {
            code!(cuStreamAddCallback(stream, callback(), ptr::null_mut(), 0))
        });
        breaks(&bench, RELAXED, CUresult::CUDA_ERROR_INVALID_VALUE, |stream| {
            code!(cuMemsetD32Async(address, 0, 2, stream))
        });
    });
}

/// A callback that nobody calls.
fn callback() -> sys::CUstreamCallback {
    unsafe extern "C" fn never(_: sys::CUstream, _: CUresult, _: *mut c_void) {}
    Some(never)
}

#[test]
fn calls_that_may_wait_are_forbidden_as_the_modes_say() {
    alone("capture::calls_that_may_wait_are_forbidden_as_the_modes_say", &[], || {
        let bench = bench();
        let allocate = || {
            let mut address = 0;
            code!(cuMemAlloc_v2(&mut address, 4))
        };
        let elsewhere = |mode: Option<Mode>| {
            let context = bench.context.clone();
            let work = move || {
                context.bind_to_thread().unwrap();
                if let Some(mut mode) = mode {
                    ok!(cuThreadExchangeStreamCaptureMode(&mut mode));
                    assert_eq!(mode, GLOBAL, "what it was before");
                }
                let mut address = 0;
                code!(cuMemAlloc_v2(&mut address, 4))
            };
            std::thread::spawn(work).join().unwrap()
        };
        breaks(&bench, GLOBAL, UNSUPPORTED, |_| allocate());
        breaks(&bench, THREAD_LOCAL, UNSUPPORTED, |_| allocate());
        breaks(&bench, GLOBAL, UNSUPPORTED, |_| elsewhere(None));
        let mut host = 0u32;
        let to = (&raw mut host).cast::<c_void>() as usize;
        let address = bench.address();
        breaks(&bench, GLOBAL, UNSUPPORTED, |_| code!(cuMemcpyDtoH_v2(to as *mut c_void, address, 4)));
        // Allowed: another thread during a capture that is local, or a thread that asks for it; and all when relaxed.
        begin(bench.on(), THREAD_LOCAL);
        assert_eq!(elsewhere(None), SUCCESS);
        end(bench.on()).unwrap();
        begin(bench.on(), GLOBAL);
        assert_eq!(elsewhere(Some(THREAD_LOCAL)), SUCCESS);
        assert_eq!(elsewhere(Some(RELAXED)), SUCCESS);
        let mut mode = RELAXED;
        ok!(cuThreadExchangeStreamCaptureMode(&mut mode));
        assert_eq!(allocate(), SUCCESS);
        ok!(cuThreadExchangeStreamCaptureMode(&mut mode));
        end(bench.on()).unwrap();
        begin(bench.on(), RELAXED);
        assert_eq!(allocate(), SUCCESS);
        end(bench.on()).unwrap();
    });
}

#[test]
fn the_legacy_stream_must_not_meet_a_capturing_blocking_stream() {
    alone("capture::the_legacy_stream_must_not_meet_a_capturing_blocking_stream", &[], || {
        let bench = bench();
        let implicit = CUresult::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
        let legacy = ptr::null_mut();
        assert_eq!(code!(cuStreamBeginCapture_v2(legacy, RELAXED)), UNSUPPORTED);
        let stream = blocking_stream();
        begin(stream, RELAXED);
        let mut told = Status::CU_STREAM_CAPTURE_STATUS_NONE;
        assert_eq!(code!(cuStreamIsCapturing(legacy, &mut told)), implicit);
        assert_eq!(status(stream), Status::CU_STREAM_CAPTURE_STATUS_ACTIVE, "asking does no harm");
        assert_eq!(bench.append_on(legacy, 1), implicit);
        assert_eq!(end(stream), Err(INVALIDATED));
        // A stream that does not synchronize with it may capture beside it.
        begin(bench.on(), RELAXED);
        assert_eq!(bench.append_on(legacy, 1), SUCCESS);
        end(bench.on()).unwrap();
    });
}

#[test]
fn captures_do_not_merge_and_end_on_their_thread() {
    alone("capture::captures_do_not_merge_and_end_on_their_thread", &[], || {
        let bench = bench();
        let other = bench.context.new_stream().unwrap();
        let event = bench.context.new_event(None).unwrap();
        begin(bench.on(), RELAXED);
        assert_eq!(code!(cuStreamBeginCapture_v2(bench.on(), RELAXED)), CUresult::CUDA_ERROR_ILLEGAL_STATE);
        begin(other.cu_stream(), RELAXED);
        ok!(cuEventRecord(event.cu_event(), other.cu_stream()));
        let merged = code!(cuStreamWaitEvent(bench.on(), event.cu_event(), 0));
        assert_eq!(merged, CUresult::CUDA_ERROR_STREAM_CAPTURE_MERGE);
        assert_eq!(end(bench.on()), Err(INVALIDATED));
        assert_eq!(end(other.cu_stream()), Err(INVALIDATED));

        begin(bench.on(), THREAD_LOCAL);
        let (context, stream) = (bench.context.clone(), bench.on() as usize);
        let elsewhere = std::thread::spawn(move || {
            context.bind_to_thread().unwrap();
            end(stream as sys::CUstream).map(drop)
        });
        let wrong = elsewhere.join().unwrap();
        assert_eq!(wrong, Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD));
        end(bench.on()).unwrap();
    });
}

#[test]
fn a_graph_can_be_continued_and_dependencies_changed() {
    alone("capture::a_graph_can_be_continued_and_dependencies_changed", &[], || {
        let bench = bench();
        let stream = bench.on();
        let mut graph = ptr::null_mut();
        ok!(cuGraphCreate(&mut graph, 0));
        let mut first = ptr::null_mut();
        let mut arguments = Arguments::new(&[bench.address(), 1]);
        let mut parameters: sys::CUDA_KERNEL_NODE_PARAMS = zeroed();
        parameters.func = bench.append.cu_function();
        (parameters.gridDimX, parameters.gridDimY, parameters.gridDimZ) = (1, 1, 1);
        (parameters.blockDimX, parameters.blockDimY, parameters.blockDimZ) = (1, 1, 1);
        parameters.kernelParams = arguments.list();
        ok!(cuGraphAddKernelNode_v2(&mut first, graph, ptr::null(), 0, &parameters));
        ok!(cuStreamBeginCaptureToGraph(stream, graph, &first, ptr::null(), 1, GLOBAL));
        assert_eq!(bench.append_on(stream, 2), SUCCESS);

        let mut told = Status::CU_STREAM_CAPTURE_STATUS_NONE;
        let (mut id, mut found, mut count) = (0, ptr::null_mut(), 0);
        let mut dependencies = ptr::null();
        let mut edges = ptr::null();
        ok!(cuStreamGetCaptureInfo_v3(
            stream,
            &mut told,
            &mut id,
            &mut found,
            &mut dependencies,
            &mut edges,
            &mut count
        ));
        assert_eq!((told, found, count), (Status::CU_STREAM_CAPTURE_STATUS_ACTIVE, graph, 1));
        // SAFETY: the driver's list of one node, which the stream's next call may change.
        let mut second = unsafe { *dependencies };
        assert_ne!(second, first);
        // 3 waits for 1 only, 4 for all.
        ok!(cuStreamUpdateCaptureDependencies_v2(stream, &mut first, ptr::null(), 1, 1));
        assert_eq!(bench.append_on(stream, 3), SUCCESS);
        ok!(cuStreamUpdateCaptureDependencies_v2(stream, &mut second, ptr::null(), 1, 0));
        assert_eq!(bench.append_on(stream, 4), SUCCESS);
        assert_eq!(end(stream), Ok(graph));
        let mut count = 0;
        ok!(cuGraphGetEdges_v2(graph, ptr::null_mut(), ptr::null_mut(), ptr::null_mut(), &mut count));
        assert_eq!(count, 4);
        launch(graph, stream);
        assert_eq!(bench.take(), 1234);
    });
}

#[test]
fn memory_and_graphs_can_be_part_of_a_capture() {
    alone("capture::memory_and_graphs_can_be_part_of_a_capture", &[], || {
        let bench = bench();
        let stream = bench.on();
        let mut memory = 0;
        begin(stream, GLOBAL);
        ok!(cuMemAllocAsync(&mut memory, 64, stream));
        ok!(cuMemsetD32Async(bench.address(), 9, 1, stream));
        ok!(cuMemFreeAsync(memory, stream));
        let graph = end(stream).unwrap();
        launch(graph, stream);
        assert_eq!(bench.take(), 9);

        begin(stream, GLOBAL);
        assert_eq!(bench.append_on(stream, 5), SUCCESS);
        let inner = end(stream).unwrap();
        let mut instance = ptr::null_mut();
        ok!(cuGraphInstantiateWithFlags(&mut instance, inner, 0));
        begin(stream, GLOBAL);
        ok!(cuGraphLaunch(instance, stream));
        assert_eq!(bench.append_on(stream, 6), SUCCESS);
        ok!(cuGraphLaunch(instance, stream));
        let outer = end(stream).unwrap();
        let mut count = 0;
        ok!(cuGraphGetNodes(outer, ptr::null_mut(), &mut count));
        assert_eq!(count, 3);
        launch(outer, stream);
        assert_eq!(bench.take(), 565);
    });
}

#[test]
fn external_events_become_nodes() {
    alone("capture::external_events_become_nodes", &[], || {
        const EXTERNAL: u32 = 1;
        let bench = bench();
        let event = bench.context.new_event(None).unwrap();
        let outside = code!(cuEventRecordWithFlags(event.cu_event(), bench.on(), EXTERNAL));
        assert_eq!(outside, CUresult::CUDA_ERROR_INVALID_VALUE);
        begin(bench.on(), GLOBAL);
        ok!(cuEventRecordWithFlags(event.cu_event(), bench.on(), EXTERNAL));
        ok!(cuStreamWaitEvent(bench.on(), event.cu_event(), EXTERNAL));
        let graph = end(bench.on()).unwrap();
        let mut count = 0;
        ok!(cuGraphGetNodes(graph, ptr::null_mut(), &mut count));
        assert_eq!(count, 2);
        launch(graph, bench.on());
        ok!(cuEventSynchronize(event.cu_event()));
    });
}
