//! Launching: that kernels run with what they are given, and that launches beyond the limits are refused.

use super::{context, kernels};
use cudarc::{
    driver::{CudaContext, CudaFunction, CudaStream, DevicePtr, DriverError, LaunchConfig, PushKernelArg, sys},
    nvrtc::Ptx,
};
use std::{ffi::c_void, ptr, sync::Arc};
use sys::{CUfunction_attribute_enum as Attribute, CUresult};

fn shape(grid: (u32, u32, u32), block: (u32, u32, u32), shared_mem_bytes: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: grid, block_dim: block, shared_mem_bytes }
}

/// Launches a kernel without parameters.
fn launch(stream: &Arc<CudaStream>, function: &CudaFunction, config: LaunchConfig) -> Result<(), DriverError> {
    // SAFETY: the kernel takes no parameters and touches no memory.
    unsafe { stream.launch_builder(function).launch(config) }.map(drop)
}

fn code<T: std::fmt::Debug>(result: Result<T, DriverError>) -> CUresult {
    result.unwrap_err().0
}

#[test]
fn a_kernel_reads_and_writes_what_it_is_given_on_every_device() {
    for ordinal in 0..3 {
        let context = context(ordinal);
        let stream = context.new_stream().unwrap();
        let multiply = kernels(&context).load_function("multiply").unwrap();
        let host: Vec<f32> = (0..1000).map(|value| value as f32).collect();
        let input = stream.clone_htod(&host).unwrap();
        let mut output = stream.alloc_zeros::<f32>(1000).unwrap();
        // SAFETY: the parameters are those of the kernel.
        unsafe {
            stream
                .launch_builder(&multiply)
                .arg(&mut output)
                .arg(&input)
                .arg(&999u32)
                .launch(LaunchConfig::for_num_elems(1000))
        }
        .unwrap();
        let mut expected: Vec<f32> = host.iter().map(|value| value * 2.0).collect();
        expected[999] = 0.0;
        assert_eq!(stream.clone_dtoh(&output).unwrap(), expected);
        context.synchronize().unwrap();
    }
}

/// The kernel `multiply` on four numbers, launched by `launch` with its function, and pointers to its parameters.
fn multiplied(
    context: &Arc<CudaContext>,
    launch: impl FnOnce(sys::CUfunction, &mut [*mut c_void; 3]) -> CUresult,
) -> Vec<f32> {
    let stream = context.default_stream();
    let multiply = kernels(context).load_function("multiply").unwrap();
    let input = stream.clone_htod(&[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let output = stream.alloc_zeros::<f32>(4).unwrap();
    let mut values = (output.device_ptr(&stream).0, input.device_ptr(&stream).0, 4u32);
    let mut pointers: [*mut c_void; 3] =
        [(&raw mut values.0).cast(), (&raw mut values.1).cast(), (&raw mut values.2).cast()];
    launch(multiply.cu_function(), &mut pointers).result().unwrap();
    stream.clone_dtoh(&output).unwrap()
}

#[test]
fn parameters_may_come_in_one_buffer() {
    let result = multiplied(&context(0), |function, pointers| {
        let mut buffer = [0u8; 20];
        let mut bytes = 0usize;
        let size = &raw mut bytes;
        // SAFETY: the pointers lead to two addresses and a number; the list is as the API wants it.
        unsafe {
            buffer[..8].copy_from_slice(&pointers[0].cast::<u64>().read().to_le_bytes());
            buffer[8..16].copy_from_slice(&pointers[1].cast::<u64>().read().to_le_bytes());
            buffer[16..].copy_from_slice(&pointers[2].cast::<u32>().read().to_le_bytes());
            let mut extra: [*mut c_void; 5] = [
                ptr::without_provenance_mut(1),
                buffer.as_mut_ptr().cast(),
                ptr::without_provenance_mut(2),
                size.cast(),
                ptr::null_mut(),
            ];
            let list = extra.as_mut_ptr();
            let launch = || sys::cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, ptr::null_mut(), ptr::null_mut(), list);
            size.write(16);
            assert_eq!(launch(), CUresult::CUDA_ERROR_INVALID_VALUE, "too short");
            size.write(20);
            launch()
        }
    });
    assert_eq!(result, [2.0, 4.0, 6.0, 8.0]);
}

#[test]
fn extended_and_cooperative_launches_run_and_clusters_are_refused() {
    let context = context(0);
    let result = multiplied(&context, |function, pointers| {
        let mut attribute: sys::CUlaunchAttribute = {
            // SAFETY: the structure is numbers only.
            unsafe { std::mem::zeroed() }
        };
        let config = |attribute: &mut sys::CUlaunchAttribute| sys::CUlaunchConfig {
            gridDimX: 1,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: 4,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 0,
            hStream: ptr::null_mut(),
            attrs: attribute,
            numAttrs: 1,
        };
        let parameters = pointers.as_mut_ptr();
        // SAFETY: valid pointers; the attribute's value fits its kind.
        unsafe {
            attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
            attribute.value.clusterDim.x = 2;
            attribute.value.clusterDim.y = 1;
            attribute.value.clusterDim.z = 1;
            assert_eq!(
                sys::cuLaunchKernelEx(&config(&mut attribute), function, parameters, ptr::null_mut()),
                CUresult::CUDA_ERROR_NOT_SUPPORTED
            );
            attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
            attribute.value.cooperative = 1;
            sys::cuLaunchKernelEx(&config(&mut attribute), function, parameters, ptr::null_mut())
        }
    });
    assert_eq!(result, [2.0, 4.0, 6.0, 8.0]);

    let required = kernels(&context).load_function("required").unwrap();
    let stream = context.default_stream();
    let launch = |blocks| {
        let config = shape((blocks, 1, 1), (64, 2, 1), 0);
        // SAFETY: the kernel takes no parameters.
        unsafe { stream.launch_builder(&required).launch_cooperative(config) }.map(drop)
    };
    launch(108).unwrap();
    assert_eq!(code(launch(1_000_000)), CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
}

#[test]
fn launches_beyond_the_limits_are_refused_with_words() {
    let context = context(1);
    let stream = context.default_stream();
    let module = kernels(&context);
    let bounded = module.load_function("bounded").unwrap();
    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    for (grid, block, words) in [
        ((0, 1, 1), (32, 1, 1), "grid [0, 1, 1]"),
        ((1, 65_536, 1), (32, 1, 1), "grid [1, 65536, 1]"),
        ((1, 1, 65_536), (32, 1, 1), "grid [1, 1, 65536]"),
        ((1, 1, 1), (1, 0, 1), "block [1, 0, 1]"),
        ((1, 1, 1), (1, 1, 65), "block [1, 1, 65]"),
        ((1, 1, 1), (1025, 1, 1), "block [1025, 1, 1]"),
        ((1, 1, 1), (129, 1, 1), "129 threads"),
        ((1, 1, 1), (64, 1, 17), "1088 threads"),
    ] {
        assert_eq!(code(launch(&stream, &bounded, shape(grid, block, 0))), invalid);
        let text = softcuda::last_error_text().unwrap();
        assert!(text.starts_with("kernel bounded: ") && text.contains(words), "{text}");
    }
    let required = module.load_function("required").unwrap();
    let wrong = shape((1, 1, 1), (128, 1, 1), 0);
    assert_eq!(code(launch(&stream, &required, wrong)), invalid);
    launch(&stream, &required, shape((1, 1, 1), (64, 2, 1), 0)).unwrap();
    launch(&stream, &bounded, shape((1, 65_535, 1), (128, 1, 1), 0)).unwrap();
    context.synchronize().unwrap();
}

#[test]
fn dynamic_shared_memory_is_limited_as_the_function_says() {
    for (ordinal, most) in [(0, 163), (1, 99), (2, 227)] {
        let context = context(ordinal);
        let stream = context.default_stream();
        let function = kernels(&context).load_function("shared_size").unwrap();
        let mut size = stream.alloc_zeros::<u32>(1).unwrap();
        let mut launch = |bytes| {
            // SAFETY: the kernel writes one number to its only parameter.
            unsafe { stream.launch_builder(&function).arg(&mut size).launch(shape((1, 1, 1), (1, 1, 1), bytes)) }?;
            stream.clone_dtoh(&size)
        };
        let attribute = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        assert_eq!(function.get_attribute(attribute).unwrap(), 48 * 1024);
        assert_eq!(launch(48 * 1024).unwrap(), [48 * 1024]);
        assert_eq!(code(launch(48 * 1024 + 4)), CUresult::CUDA_ERROR_INVALID_VALUE);
        assert!(function.set_attribute(attribute, most * 1024 + 1).is_err());
        assert!(function.set_attribute(attribute, -1).is_err());
        function.set_attribute(attribute, most * 1024).unwrap();
        assert_eq!(launch(most as u32 * 1024).unwrap(), [most as u32 * 1024]);
    }
}

#[test]
fn kernels_reach_pinned_host_memory() {
    let context = context(0);
    let stream = context.default_stream();
    let store = kernels(&context).load_function("store").unwrap();
    // SAFETY: filled before it is read.
    let mut pinned = unsafe { context.alloc_pinned::<u32>(4) }.unwrap();
    pinned.as_mut_slice().unwrap().fill(0);
    let address = pinned.as_ptr().unwrap() as u64 + 8;
    // SAFETY: the address lies inside the pinned memory.
    unsafe { stream.launch_builder(&store).arg(&address).launch(shape((1, 1, 1), (1, 1, 1), 0)) }.unwrap();
    stream.synchronize().unwrap();
    assert_eq!(pinned.as_slice().unwrap(), [0, 0, 1, 0]);
}

#[test]
fn handles_that_are_none_are_refused() {
    let context = context(0);
    let function = kernels(&context).load_function("required").unwrap();
    let launch = |function: sys::CUfunction, stream: sys::CUstream| {
        // SAFETY: what is no handle is refused without being followed; the kernel takes no parameters.
        unsafe { sys::cuLaunchKernel(function, 1, 1, 1, 64, 2, 1, 0, stream, ptr::null_mut(), ptr::null_mut()) }
    };
    let invalid = CUresult::CUDA_ERROR_INVALID_HANDLE;
    let real = function.cu_function();
    assert_eq!(launch(0xdead_beefusize as _, ptr::null_mut()), invalid);
    assert_eq!(launch(ptr::null_mut(), ptr::null_mut()), invalid);
    assert_eq!(launch(real, 0xdead_beefusize as _), invalid);
    for special in [0usize, 1, 2] {
        assert_eq!(launch(real, special as _), CUresult::CUDA_SUCCESS);
    }
    // A stream of another device.
    let elsewhere = super::context(1).new_stream().unwrap();
    assert_eq!(launch(real, elsewhere.cu_stream()), invalid);
    // A kernel of a module that is unloaded.
    let (module, gone) = {
        let module = kernels(&context);
        let gone = module.load_function("required").unwrap().cu_function();
        (module, gone)
    };
    context.bind_to_thread().unwrap();
    assert_eq!(launch(gone, ptr::null_mut()), CUresult::CUDA_SUCCESS);
    drop(module);
    assert_eq!(launch(gone, ptr::null_mut()), invalid);
}

#[test]
fn every_launch_is_reported() {
    let context = context(2);
    let stream = context.default_stream();
    let required = kernels(&context).load_function("required").unwrap();
    launch(&stream, &required, shape((3, 5, 1), (64, 2, 1), 16)).unwrap();
    // The default stream waits for what other tests have asked of theirs.
    stream.synchronize().unwrap();
    let reports = softcuda::launches();
    let ours = reports.iter().rfind(|report| report.device == 2 && report.grid == [3, 5, 1]).unwrap();
    assert_eq!(ours.kernel, "required");
    assert_eq!(ours.block, [64, 2, 1]);
    assert_eq!(ours.dynamic_shared_bytes, 16);
    assert!(ours.counters.blocks == 15);
}

#[test]
fn occupancy_follows_the_rules_of_the_chip() {
    extern "C" fn none(_block_size: i32) -> usize {
        0
    }
    for (ordinal, blocks) in [(0, 16), (1, 12), (2, 16)] {
        let context = context(ordinal);
        let bounded = kernels(&context).load_function("bounded").unwrap();
        let active =
            |threads, shared| bounded.occupancy_max_active_blocks_per_multiprocessor(threads, shared, None).unwrap();
        assert_eq!(active(128, 0), blocks);
        assert_eq!(active(128, 47 * 1024), [3, 2, 4][ordinal]);
        assert_eq!(active(128, 48 * 1024), 0, "more than the function may use");
        let (grid, block) = bounded.occupancy_max_potential_block_size(none, 0, 0, None).unwrap();
        let multiprocessors = [108, 128, 132][ordinal];
        assert_eq!((grid, block), (blocks * multiprocessors, 128));
        // A share of shared memory, less 1 KB reserved and 1 KB static.
        let available = || bounded.occupancy_available_dynamic_smem_per_block(2, 128).unwrap();
        assert_eq!(available(), 47 * 1024, "as long as the function may not use more");
        let most = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        bounded.set_attribute(most, [162, 98, 226][ordinal] * 1024).unwrap();
        assert_eq!(available(), [80, 48, 112][ordinal] * 1024);
        let config = shape((1, 1, 1), (128, 1, 1), 0);
        let stream = context.default_stream();
        assert_eq!(bounded.occupancy_max_active_clusters(config, &stream).unwrap(), blocks * multiprocessors);
        assert_eq!(bounded.occupancy_max_potential_cluster_size(config, &stream).unwrap(), 1);
    }
}

#[test]
fn blocks_of_a_cooperative_launch_meet_at_the_barrier_of_the_grid() {
    const THREADS: u32 = 40 * 64;
    let context = context(0);
    let stream = context.default_stream();
    let module = context.load_module(Ptx::from_src(include_str!("cooperative.ptx"))).unwrap();
    let phases = module.load_function("phases").unwrap();
    let mut data = stream.alloc_zeros::<u32>(THREADS as usize).unwrap();
    let mut out = stream.alloc_zeros::<u32>(THREADS as usize).unwrap();
    let mut builder = stream.launch_builder(&phases);
    // SAFETY: both arrays have a number for each thread.
    unsafe { builder.arg(&mut data).arg(&mut out).launch_cooperative(shape((40, 1, 1), (64, 1, 1), 0)) }.unwrap();
    let expected: Vec<u32> = (0..THREADS).map(|thread| THREADS - (thread + 7) % THREADS).collect();
    assert_eq!(stream.clone_dtoh(&out).unwrap(), expected);
}
