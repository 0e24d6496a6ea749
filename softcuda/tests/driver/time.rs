//! Events measure modelled time: by default what the operations between them would take on the chip.

use super::{context, kernels};
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, LaunchConfig, PushKernelArg, sys};
use std::sync::Arc;

fn event(context: &Arc<CudaContext>) -> CudaEvent {
    context.new_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT)).unwrap()
}

fn recorded(stream: &Arc<CudaStream>) -> CudaEvent {
    let event = event(stream.context());
    event.record(stream).unwrap();
    event
}

/// Multiplies so many numbers.
fn multiply(stream: &Arc<CudaStream>, count: usize) {
    let function = kernels(stream.context()).load_function("multiply").unwrap();
    let input = stream.alloc_zeros::<f32>(count).unwrap();
    let mut output = stream.alloc_zeros::<f32>(count).unwrap();
    let config = LaunchConfig::for_num_elems(count as u32);
    // SAFETY: the parameters are those of the kernel.
    unsafe { stream.launch_builder(&function).arg(&mut output).arg(&input).arg(&(count as u32)).launch(config) }
        .unwrap();
}

#[test]
fn times_add_up_along_a_stream_and_are_the_same_each_time() {
    for ordinal in 0..3 {
        let context = context(ordinal);
        let stream = context.new_stream().unwrap();
        let launch_ms = 1e3 * context_launch_seconds(ordinal);
        let events: Vec<CudaEvent> = (0..4)
            .map(|_| {
                let event = recorded(&stream);
                multiply(&stream, 1000);
                event
            })
            .collect();
        let elapsed = |from: usize, to: usize| f64::from(events[from].elapsed_ms(&events[to]).unwrap());
        assert!((elapsed(0, 3) - (elapsed(0, 1) + elapsed(1, 2) + elapsed(2, 3))).abs() < 1e-6);
        assert!((elapsed(1, 2) - elapsed(2, 3)).abs() < 2e-6, "one launch takes what another does");
        assert!(elapsed(0, 1) > launch_ms, "a launch takes at least {launch_ms} ms");
        assert_eq!(elapsed(1, 1), 0.0);
        let (first, last) = (&events[0], &events[3]);
        assert!(last.elapsed_ms(first).unwrap() < 0.0, "what came before lies before");
    }
}

fn context_launch_seconds(ordinal: usize) -> f64 {
    softcuda::chip::Architecture::ALL[ordinal].chip().time.launch_seconds
}

#[test]
fn nothing_takes_no_time() {
    let context = context(0);
    let stream = context.new_stream().unwrap();
    let (start, end) = (recorded(&stream), recorded(&stream));
    assert_eq!(start.elapsed_ms(&end).unwrap(), 0.0);
}

#[test]
fn a_copy_takes_its_bytes_over_the_bandwidth() {
    let context = context(0);
    let stream = context.new_stream().unwrap();
    let data = vec![0u8; 25_000_000];
    let start = recorded(&stream);
    let _copy = stream.clone_htod(&data).unwrap();
    let end = recorded(&stream);
    // 25 GB/s, and the time of any operation.
    let milliseconds = f64::from(start.elapsed_ms(&end).unwrap());
    assert!((milliseconds - 1.0).abs() < 0.01, "{milliseconds}");
}

#[test]
fn a_stream_that_waits_for_another_is_behind_it() {
    let context = context(0);
    let (first, second) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let start = recorded(&first);
    multiply(&first, 100_000);
    let done = recorded(&first);
    second.wait(&done).unwrap();
    let behind = recorded(&second);
    assert!(start.elapsed_ms(&behind).unwrap() >= start.elapsed_ms(&done).unwrap());
    // So is what the program asks for once it has waited itself.
    multiply(&first, 100_000);
    let done = recorded(&first);
    first.synchronize().unwrap();
    let later = recorded(&context.new_stream().unwrap());
    assert!(done.elapsed_ms(&later).unwrap() >= 0.0);
}
