//! Memory of other kinds: pinned, registered, managed, from pools; and what can be asked about a pointer.

use super::context;
use cudarc::driver::{CudaContext, DevicePtr, sys};
use std::sync::Arc;
use sys::CUresult;

#[test]
fn pinned_memory_is_host_memory_with_the_same_address_on_the_device() {
    let context = context(0);
    let stream = context.default_stream();
    // SAFETY: filled before it is read.
    let mut pinned = unsafe { context.alloc_pinned::<u32>(1000) }.unwrap();
    pinned.as_mut_slice().unwrap().fill(3);
    let device = stream.clone_htod(&pinned).unwrap();
    assert_eq!(stream.clone_dtoh(&device).unwrap(), [3; 1000]);
    let pointer = pinned.as_ptr().unwrap();
    let mut seen = 0;
    // SAFETY: valid pointers.
    unsafe {
        sys::cuMemHostGetDevicePointer_v2(&mut seen, pointer as *mut _, 0).result().unwrap();
        assert_eq!(seen, pointer as u64);
        let mut elsewhere = 0u32;
        assert_eq!(
            sys::cuMemHostGetDevicePointer_v2(&mut seen, (&raw mut elsewhere).cast(), 0),
            CUresult::CUDA_ERROR_INVALID_VALUE
        );
    }
}

#[test]
fn registered_memory_is_known_until_it_is_unregistered() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let mut memory = vec![0u8; 4096];
    let pointer: *mut std::ffi::c_void = memory.as_mut_ptr().cast();
    // SAFETY: the vector outlives its registration.
    unsafe {
        sys::cuMemHostRegister_v2(pointer, 4096, 0).result().unwrap();
        assert_eq!(
            sys::cuMemHostRegister_v2(pointer.byte_add(4095), 10, 0),
            CUresult::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED
        );
        // A device address now: what it was not before.
        sys::cuMemsetD8_v2(pointer as u64 + 1, 5, 4095).result().unwrap();
        sys::cuMemHostUnregister(pointer).result().unwrap();
        assert_eq!(sys::cuMemsetD8_v2(pointer as u64, 5, 1), CUresult::CUDA_ERROR_INVALID_VALUE);
        assert_eq!(sys::cuMemHostUnregister(pointer), CUresult::CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    }
    assert_eq!((memory[0], memory[1], memory[4095]), (0, 5, 5));
}

#[test]
fn managed_memory_is_seen_by_host_and_device() {
    let context = context(0);
    let stream = context.default_stream();
    // SAFETY: zeroed by the device below before it is read.
    let mut unified = unsafe { context.alloc_unified::<u32>(100, true) }.unwrap();
    stream.memset_zeros(&mut unified).unwrap();
    stream.synchronize().unwrap();
    unified.as_mut_slice().unwrap()[7] = 9;
    let host = stream.clone_dtoh(&unified).unwrap();
    assert_eq!((host[6], host[7]), (0, 9));
}

fn used(pool: sys::CUmemoryPool) -> u64 {
    let mut used = 0u64;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT;
    // SAFETY: a live pool; the attribute is 64 bits wide.
    unsafe { sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut used).cast()) }.result().unwrap();
    used
}

#[test]
fn pools_count_what_they_own() {
    let context = context(2);
    context.bind_to_thread().unwrap();
    let mut properties: sys::CUmemPoolProps = {
        // SAFETY: zeros are valid for every field but two, which are set next.
        unsafe { std::mem::zeroed() }
    };
    properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    properties.location.__bindgen_anon_1.id = 2;
    let mut pool = std::ptr::null_mut();
    let mut address = 0;
    // SAFETY: valid pointers and live handles.
    unsafe {
        sys::cuMemPoolCreate(&mut pool, &properties).result().unwrap();
        assert_eq!(used(pool), 0);
        sys::cuMemAllocFromPoolAsync(&mut address, 1000, pool, std::ptr::null_mut()).result().unwrap();
        assert_eq!(used(pool), 1000);
        sys::cuMemFreeAsync(address, std::ptr::null_mut()).result().unwrap();
        assert_eq!(used(pool), 0);
        let mut threshold = u64::MAX;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast()).result().unwrap();
        threshold = 0;
        sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut threshold).cast()).result().unwrap();
        assert_eq!(threshold, u64::MAX);
        sys::cuMemPoolDestroy(pool).result().unwrap();
        assert_eq!(sys::cuMemPoolDestroy(pool), CUresult::CUDA_ERROR_INVALID_HANDLE);
        let mut default = std::ptr::null_mut();
        let mut current = std::ptr::null_mut();
        sys::cuDeviceGetDefaultMemPool(&mut default, 2).result().unwrap();
        sys::cuDeviceGetMemPool(&mut current, 2).result().unwrap();
        assert_eq!(default, current);
    }
}

#[test]
fn pointers_tell_what_they_point_to() {
    use sys::CUpointer_attribute as Attribute;
    let context: Arc<CudaContext> = context(1);
    let device = context.default_stream().alloc_zeros::<u8>(100).unwrap();
    let base = device.device_ptr(device.stream()).0;
    fn ask<T: Default>(attribute: Attribute, address: u64) -> Result<T, CUresult> {
        let mut value = T::default();
        // SAFETY: each caller below asks for the type that the attribute has.
        let result = unsafe { sys::cuPointerGetAttribute((&raw mut value).cast(), attribute, address) };
        match result {
            CUresult::CUDA_SUCCESS => Ok(value),
            error => Err(error),
        }
    }
    let memory_type = Attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE;
    assert_eq!(ask::<u32>(memory_type, base + 50), Ok(2));
    assert_eq!(ask::<i32>(Attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, base), Ok(1));
    assert_eq!(ask::<u64>(Attribute::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, base + 99), Ok(base));
    assert_eq!(ask::<usize>(Attribute::CU_POINTER_ATTRIBUTE_RANGE_SIZE, base), Ok(100));
    assert_eq!(ask::<usize>(Attribute::CU_POINTER_ATTRIBUTE_CONTEXT, base), Ok(context.cu_ctx() as usize));
    let invalid = Err(CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(ask::<u32>(memory_type, base + 100), invalid);
    assert_eq!(ask::<u32>(memory_type, (&raw const base) as u64), invalid);
    let mut found = 0;
    let mut bytes = 0;
    // SAFETY: valid pointers.
    unsafe { sys::cuMemGetAddressRange_v2(&mut found, &mut bytes, base + 20) }.result().unwrap();
    assert_eq!((found, bytes), (base, 100));
}
