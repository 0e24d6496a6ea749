//! The checks that a program switches on: what the host writes counts as written, races of equal values are listed.

use super::alone;
use cudarc::{
    driver::{CudaContext, CudaStream, DevicePtr, DevicePtrMut, DriverError, LaunchConfig, PushKernelArg, sys},
    nvrtc::Ptx,
};
use softcuda::chip::Architecture;
use std::sync::Arc;

/// Every thread copies a word of its own, or all of them the first.
const KERNELS: &str = "
.version 8.0
.target sm_80
.address_size 64
.visible .entry copy(.param .u64 from, .param .u64 to)
{
    .reg .b32 %r<3>;
    .reg .b64 %d<6>;
    ld.param.u64 %d0, [from];
    ld.param.u64 %d1, [to];
    mov.u32 %r0, %tid.x;
    mul.wide.u32 %d2, %r0, 4;
    add.u64 %d3, %d0, %d2;
    add.u64 %d4, %d1, %d2;
    ld.global.u32 %r1, [%d3];
    st.global.u32 [%d4], %r1;
    ret;
}
.visible .entry same(.param .u64 from, .param .u64 to)
{
    .reg .b32 %r<3>;
    .reg .b64 %d<6>;
    ld.param.u64 %d0, [from];
    ld.param.u64 %d1, [to];
    ld.global.u32 %r1, [%d0];
    st.global.u32 [%d1], %r1;
    ret;
}
";

fn device() -> (Arc<CudaContext>, Arc<CudaStream>) {
    softcuda::install(&[Architecture::Sm80]).unwrap();
    let context = CudaContext::new(0).unwrap();
    let stream = context.default_stream();
    (context, stream)
}

fn launch(context: &Arc<CudaContext>, kernel: &str, from: u64, to: u64, threads: u32) -> Result<(), DriverError> {
    let module = context.load_module(Ptx::from_src(KERNELS))?;
    let function = module.load_function(kernel)?;
    let stream = context.default_stream();
    let shape = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: both arguments are addresses of allocations as long as the threads are many.
    unsafe { stream.launch_builder(&function).arg(&from).arg(&to).launch(shape) }?;
    stream.synchronize()
}

#[test]
fn what_the_host_has_written_may_be_read_and_nothing_else() {
    let test = "checks::what_the_host_has_written_may_be_read_and_nothing_else";
    alone(test, &[("SOFTCUDA_CHECK", "init")], || {
        let (context, stream) = device();
        // SAFETY: a kernel reads bytes of these that are not set: the device finds it out.
        let (mut first, mut second) = unsafe { (stream.alloc::<u32>(64).unwrap(), stream.alloc::<u32>(64).unwrap()) };
        stream.memcpy_htod(&[7u32; 16], &mut first.slice_mut(0..16)).unwrap();
        stream.memset_zeros(&mut first.slice_mut(16..32)).unwrap();
        let (from, to) = (first.device_ptr(&stream).0, second.device_ptr_mut(&stream).0);
        launch(&context, "copy", from, to, 32).unwrap();
        // A copy between devices' memories carries what is known: 32 words are set, the others are not.
        // SAFETY: both allocations have 256 bytes.
        unsafe { sys::cuMemcpyDtoD_v2(to, from, 256) }.result().unwrap();
        launch(&context, "copy", to, from, 32).unwrap();
        assert!(launch(&context, "copy", to, from, 33).is_err());
        let text = softcuda::last_fault().unwrap().text;
        let expected = format!(
            "load of 4 bytes at device address {:#x}, 128 bytes into the allocation at {to:#x} (256 bytes): byte 0 of them has never been written\n  by thread (32, 0, 0) of block (0, 0, 0)\n",
            to + 128
        );
        assert!(text.starts_with(&expected), "{text}");
    });
}

#[test]
fn freed_memory_is_unwritten_when_it_comes_back() {
    let test = "checks::freed_memory_is_unwritten_when_it_comes_back";
    alone(test, &[("SOFTCUDA_CHECK", "all")], || {
        let (context, stream) = device();
        let to = stream.alloc_zeros::<u32>(64).unwrap();
        drop(stream.clone_htod(&[1u32; 64]).unwrap());
        // SAFETY: as above.
        let again = unsafe { stream.alloc::<u32>(64).unwrap() };
        let (from, to) = (again.device_ptr(&stream).0, to.device_ptr(&stream).0);
        assert!(launch(&context, "copy", from, to, 1).is_err());
        let text = softcuda::last_fault().unwrap().text;
        assert!(text.contains("byte 0 of them has never been written"), "{text}");
    });
}

#[test]
fn races_of_equal_values_are_listed_and_end_nothing() {
    let test = "checks::races_of_equal_values_are_listed_and_end_nothing";
    alone(test, &[("SOFTCUDA_CHECK", "race")], || {
        let (context, stream) = device();
        let (from, to) = (stream.clone_htod(&[5u32]).unwrap(), stream.alloc_zeros::<u32>(1).unwrap());
        for _ in 0..2 {
            launch(&context, "same", from.device_ptr(&stream).0, to.device_ptr(&stream).0, 64).unwrap();
        }
        assert_eq!(stream.clone_dtoh(&to).unwrap(), [5]);
        let races = softcuda::benign_races();
        assert_eq!(races.len(), 1, "{races:?}");
        assert_eq!((races[0].kernel.as_str(), races[0].count), ("same", 2 * 63));
        assert!(races[0].text.starts_with("benign race, the same value by both, on 4 bytes at device address"));
        softcuda::clear_benign_races();
        assert_eq!(softcuda::benign_races(), []);
    });
}

#[test]
fn without_being_asked_nothing_is_followed() {
    alone("checks::without_being_asked_nothing_is_followed", &[], || {
        let (context, stream) = device();
        // SAFETY: as above.
        let unset = unsafe { stream.alloc::<u32>(64).unwrap() };
        let to = stream.alloc_zeros::<u32>(64).unwrap();
        launch(&context, "same", unset.device_ptr(&stream).0, to.device_ptr(&stream).0, 64).unwrap();
        assert_eq!(softcuda::benign_races(), []);
    });
}
