//! Memory: allocating, copying, filling.

use super::context;
use cudarc::driver::{DevicePtr, result, sys};
use sys::CUresult;

fn address<T>(slice: &cudarc::driver::CudaSlice<T>) -> u64 {
    slice.device_ptr(slice.stream()).0
}

#[test]
fn data_survive_the_way_to_the_device_and_back() {
    let context = context(0);
    let stream = context.default_stream();
    let host: Vec<f32> = (0..10_000).map(|value| value as f32).collect();
    let device = stream.clone_htod(&host).unwrap();
    assert_eq!(stream.clone_dtoh(&device).unwrap(), host);
    let copy = stream.clone_dtod(&device).unwrap();
    assert_ne!(address(&copy), address(&device));
    assert_eq!(stream.clone_dtoh(&copy).unwrap(), host);

    let part = device.slice(100..200);
    assert_eq!(stream.clone_dtoh(&part).unwrap(), host[100..200]);
}

#[test]
fn zeros_are_zeros_even_where_other_data_were() {
    let context = context(0);
    let stream = context.new_stream().unwrap();
    // Both a small one and one whose pages are given back to the system.
    for count in [1000, 3_000_001] {
        let mut device = stream.clone_htod(&vec![7u8; count]).unwrap();
        let mut middle = device.slice_mut(1..count - 1);
        stream.memset_zeros(&mut middle).unwrap();
        let host = stream.clone_dtoh(&device).unwrap();
        assert_eq!((host[0], host[count - 1]), (7, 7));
        assert!(host[1..count - 1].iter().all(|byte| *byte == 0));
        let fresh = stream.alloc_zeros::<u8>(count).unwrap();
        assert!(stream.clone_dtoh(&fresh).unwrap().iter().all(|byte| *byte == 0));
    }
}

#[test]
fn five_gigabytes_can_be_had_and_used_at_both_ends() {
    const BYTES: usize = 5 << 30;
    let context = context(0);
    let stream = context.default_stream();
    let (free_before, total) = context.mem_get_info().unwrap();
    assert!(free_before <= total && total == context.total_mem().unwrap());
    let mut device = stream.alloc_zeros::<u8>(BYTES).unwrap();
    let (free, _) = context.mem_get_info().unwrap();
    assert!(free + BYTES <= total);
    stream.memcpy_htod(&[1u8, 2, 3], &mut device.slice_mut(BYTES - 3..)).unwrap();
    let end = stream.clone_dtoh(&device.slice(BYTES - 4..)).unwrap();
    assert_eq!(end, [0, 1, 2, 3]);
}

#[test]
fn more_than_there_is_and_nothing_are_refused() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let mut address = 0;
    // SAFETY: a valid pointer.
    unsafe {
        assert_eq!(sys::cuMemAlloc_v2(&mut address, usize::MAX / 2), CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        assert_eq!(sys::cuMemAlloc_v2(&mut address, 0), CUresult::CUDA_ERROR_INVALID_VALUE);
        assert_eq!(sys::cuMemFree_v2(0), CUresult::CUDA_SUCCESS);
        assert_eq!(sys::cuMemFree_v2(0x1000), CUresult::CUDA_ERROR_INVALID_VALUE);
    }
}

#[test]
fn copies_and_fills_stay_inside_one_allocation() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let (mut base, mut host) = (0, [0u8; 200]);
    // SAFETY: valid host pointers; bad device addresses are refused before they are used.
    unsafe {
        sys::cuMemAlloc_v2(&mut base, 100).result().unwrap();
        let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
        assert_eq!(sys::cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), base, 101), invalid);
        assert_eq!(sys::cuMemcpyHtoD_v2(base + 50, host.as_ptr().cast(), 51), invalid);
        assert_eq!(sys::cuMemsetD8_v2(base, 1, 101), invalid);
        assert_eq!(sys::cuMemsetD8_v2(base - 1, 1, 1), invalid);
        assert_eq!(sys::cuMemsetD32_v2(base + 2, 1, 1), invalid, "misaligned");
        assert_eq!(sys::cuMemcpyDtoD_v2(base, base + 60, 50), invalid);
        // A host address is no device address.
        assert_eq!(sys::cuMemcpyDtoD_v2(base, host.as_ptr() as u64, 10), invalid);
        assert_eq!(sys::cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), base, 100), CUresult::CUDA_SUCCESS);
        let text = {
            sys::cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), base, 101).result().unwrap_err();
            softcuda::last_error_text().unwrap()
        };
        assert!(text.contains(&format!("{base:#x}, 100 bytes")), "{text}");
        sys::cuMemFree_v2(base).result().unwrap();
        assert_eq!(sys::cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), base, 1), invalid, "freed");
        assert_eq!(sys::cuMemFree_v2(base), invalid, "freed twice");
    }
}

#[test]
fn memsets_fill_elements_and_pitched_rows() {
    let context = context(1);
    context.bind_to_thread().unwrap();
    let mut base = 0;
    let mut host = [0u8; 32];
    // SAFETY: all addresses lie inside the allocation and the array.
    unsafe {
        sys::cuMemAlloc_v2(&mut base, 32).result().unwrap();
        sys::cuMemsetD32_v2(base, 0x0403_0201, 8).result().unwrap();
        sys::cuMemsetD16_v2(base + 4, 0x0605, 2).result().unwrap();
        sys::cuMemsetD2D8_v2(base + 16, 8, 9, 2, 2).result().unwrap();
        sys::cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), base, 32).result().unwrap();
        sys::cuMemFree_v2(base).result().unwrap();
    }
    let mut expected = [1, 2, 3, 4].repeat(8);
    expected[4..8].copy_from_slice(&[5, 6, 5, 6]);
    expected[16..18].fill(9);
    expected[24..26].fill(9);
    assert_eq!(host.as_slice(), expected);
}

/// A copy of nothing.
fn nothing() -> sys::CUDA_MEMCPY2D {
    sys::CUDA_MEMCPY2D {
        srcXInBytes: 0,
        srcY: 0,
        srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
        srcHost: std::ptr::null(),
        srcDevice: 0,
        srcArray: std::ptr::null_mut(),
        srcPitch: 0,
        dstXInBytes: 0,
        dstY: 0,
        dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
        dstHost: std::ptr::null_mut(),
        dstDevice: 0,
        dstArray: std::ptr::null_mut(),
        dstPitch: 0,
        WidthInBytes: 0,
        Height: 0,
    }
}

#[test]
fn two_dimensional_copies_move_a_rectangle() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let source: Vec<u8> = (0..48).collect();
    let mut target = vec![0u8; 24];
    let (mut base, mut pitch) = (0, 0);
    // SAFETY: all addresses lie inside the allocation and the vectors.
    unsafe {
        sys::cuMemAllocPitch_v2(&mut base, &mut pitch, 8, 6, 4).result().unwrap();
        assert_eq!(pitch % 512, 0);
        let copy = sys::CUDA_MEMCPY2D {
            srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
            srcHost: source.as_ptr().cast(),
            srcPitch: 8,
            dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            dstDevice: base,
            dstPitch: pitch,
            WidthInBytes: 8,
            Height: 6,
            ..nothing()
        };
        sys::cuMemcpy2D_v2(&copy).result().unwrap();
        let back = sys::CUDA_MEMCPY2D {
            srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            srcDevice: base,
            srcPitch: pitch,
            srcXInBytes: 2,
            srcY: 1,
            dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
            dstHost: target.as_mut_ptr().cast(),
            WidthInBytes: 6,
            Height: 4,
            ..nothing()
        };
        sys::cuMemcpy2D_v2(&back).result().unwrap();
        sys::cuMemFree_v2(base).result().unwrap();
    }
    let expected: Vec<u8> = (1..5).flat_map(|row| row * 8 + 2..row * 8 + 8).collect();
    assert_eq!(target, expected);
}

#[test]
fn copies_between_devices_work_in_both_directions() {
    let first = context(0);
    let second = context(1);
    let there = first.default_stream().clone_htod(&[1.0f64, 2.0, 3.0]).unwrap();
    // Nothing orders streams of two devices but the program.
    first.default_stream().synchronize().unwrap();
    let mut here = second.default_stream().alloc_zeros::<f64>(3).unwrap();
    second.default_stream().memcpy_dtod(&there, &mut here).unwrap();
    assert_eq!(second.default_stream().clone_dtoh(&here).unwrap(), [1.0, 2.0, 3.0]);
    let back = first.default_stream().clone_dtod(&there).unwrap();
    assert_eq!(first.default_stream().clone_dtoh(&back).unwrap(), [1.0, 2.0, 3.0]);
}

#[test]
fn many_threads_allocate_and_copy_at_once() {
    let context = context(0);
    std::thread::scope(|scope| {
        for thread in 0..8u32 {
            let context = &context;
            scope.spawn(move || {
                let stream = context.new_stream().unwrap();
                for round in 0..100 {
                    let host = vec![thread * 1000 + round; 500];
                    let device = stream.clone_htod(&host).unwrap();
                    assert_eq!(stream.clone_dtoh(&device).unwrap(), host);
                }
            });
        }
    });
    result::ctx::synchronize().unwrap();
}
