//! Memory pools.

use super::{calls::zeroed, context};
use cudarc::driver::sys;
use std::ptr;
use sys::{CUmemPool_attribute as Attribute, CUresult};

fn properties(device: i32) -> sys::CUmemPoolProps {
    let mut properties: sys::CUmemPoolProps = zeroed();
    properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = location(device);
    properties
}

fn location(device: i32) -> sys::CUmemLocation {
    let mut location: sys::CUmemLocation = zeroed();
    location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    // SAFETY: the ordinal is the second of the two numbers that a location is.
    unsafe { (&raw mut location).cast::<i32>().add(1).write(device) };
    location
}

/// A pool on device 1 and a stream there.
fn pool(properties: &sys::CUmemPoolProps) -> (sys::CUmemoryPool, std::sync::Arc<cudarc::driver::CudaStream>) {
    let context = context(1);
    let stream = context.new_stream().unwrap();
    context.bind_to_thread().unwrap();
    let mut pool = ptr::null_mut();
    ok!(cuMemPoolCreate(&mut pool, properties));
    (pool, stream)
}

fn get(pool: sys::CUmemoryPool, attribute: Attribute) -> u64 {
    let mut value = 0u64;
    ok!(cuMemPoolGetAttribute(pool, attribute, (&raw mut value).cast()));
    value
}

fn set(pool: sys::CUmemoryPool, attribute: Attribute, mut value: u64) -> CUresult {
    code!(cuMemPoolSetAttribute(pool, attribute, (&raw mut value).cast()))
}

#[test]
fn freed_memory_stays_reserved_until_the_program_synchronizes() {
    let (pool, stream) = pool(&properties(1));
    let stream = stream.cu_stream();
    let usage = || {
        use Attribute::{
            CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT as RESERVED, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH as RESERVED_HIGH,
            CU_MEMPOOL_ATTR_USED_MEM_CURRENT as USED, CU_MEMPOOL_ATTR_USED_MEM_HIGH as USED_HIGH,
        };
        [USED, USED_HIGH, RESERVED, RESERVED_HIGH].map(|attribute| get(pool, attribute))
    };
    let threshold = Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    assert_eq!(set(pool, threshold, 4096), CUresult::CUDA_SUCCESS);
    let mut addresses = [0; 2];
    for address in &mut addresses {
        ok!(cuMemAllocFromPoolAsync(address, 8192, pool, stream));
    }
    assert_eq!(usage(), [16_384; 4]);
    ok!(cuMemFreeAsync(addresses[0], stream));
    assert_eq!(usage(), [8192, 16_384, 16_384, 16_384]);
    // What is reserved serves the next allocation.
    ok!(cuMemAllocFromPoolAsync(&mut addresses[0], 4096, pool, stream));
    assert_eq!(usage(), [12_288, 16_384, 16_384, 16_384]);
    for address in addresses {
        ok!(cuMemFreeAsync(address, stream));
    }
    ok!(cuStreamSynchronize(stream));
    assert_eq!(usage(), [0, 16_384, 4096, 16_384], "down to the threshold");
    ok!(cuMemPoolTrimTo(pool, 1024));
    assert_eq!(usage(), [0, 16_384, 1024, 16_384]);
    assert_eq!(set(pool, Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0), CUresult::CUDA_SUCCESS);
    assert_eq!(set(pool, Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, 1), CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(usage(), [0, 0, 1024, 16_384]);
    ok!(cuMemPoolDestroy(pool));
}

#[test]
fn a_pool_gives_no_more_than_its_size() {
    let (pool, stream) = pool(&{
        let mut limited = properties(1);
        limited.maxSize = 10_000;
        limited
    });
    let mut address = 0;
    let mut allocate = |bytes| code!(cuMemAllocFromPoolAsync(&mut address, bytes, pool, stream.cu_stream()));
    assert_eq!(allocate(8000), CUresult::CUDA_SUCCESS);
    assert_eq!(allocate(8000), CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    assert_eq!(allocate(0), CUresult::CUDA_ERROR_INVALID_VALUE);
    let elsewhere = context(0).new_stream().unwrap();
    let result = code!(cuMemAllocFromPoolAsync(&mut address, 100, pool, elsewhere.cu_stream()));
    assert_eq!(result, CUresult::CUDA_ERROR_INVALID_VALUE, "a stream of another device");
}

#[test]
fn the_pool_of_a_device_is_its_default_one_until_another_is_set() {
    // Nothing else in these tests allocates asynchronously on this device while the other pool is set.
    let (own, _) = pool(&properties(1));
    let current = || {
        let mut pool = ptr::null_mut();
        ok!(cuDeviceGetMemPool(&mut pool, 1));
        pool
    };
    let mut default = ptr::null_mut();
    ok!(cuDeviceGetDefaultMemPool(&mut default, 1));
    assert_eq!(current(), default);
    ok!(cuDeviceSetMemPool(1, own));
    assert_eq!(current(), own);
    assert_eq!(code!(cuDeviceSetMemPool(0, own)), CUresult::CUDA_ERROR_INVALID_VALUE);
    ok!(cuMemPoolDestroy(own));
    assert_eq!(current(), default);
    assert_eq!(code!(cuMemPoolDestroy(default)), CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn pools_that_share_memory_with_other_processes_are_not_supported() {
    let _context = context(1);
    let mut pool = ptr::null_mut();
    let mut shared = properties(1);
    shared.handleTypes = sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    assert_eq!(code!(cuMemPoolCreate(&mut pool, &shared)), CUresult::CUDA_ERROR_NOT_SUPPORTED);
    let nowhere = properties(7);
    assert_eq!(code!(cuMemPoolCreate(&mut pool, &nowhere)), CUresult::CUDA_ERROR_INVALID_DEVICE);
}

#[test]
fn access_of_other_devices_to_a_pool_is_kept() {
    let (pool, _) = pool(&properties(1));
    let access = |device| {
        let mut flags = sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_NONE;
        ok!(cuMemPoolGetAccess(&mut flags, pool, &mut location(device)));
        flags
    };
    use sys::CUmemAccess_flags as Flags;
    assert_eq!(access(1), Flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
    assert_eq!(access(0), Flags::CU_MEM_ACCESS_FLAGS_PROT_NONE);
    let set = |device, flags| {
        let description = sys::CUmemAccessDesc { location: location(device), flags };
        code!(cuMemPoolSetAccess(pool, &description, 1))
    };
    assert_eq!(set(0, Flags::CU_MEM_ACCESS_FLAGS_PROT_READ), CUresult::CUDA_SUCCESS);
    assert_eq!(access(0), Flags::CU_MEM_ACCESS_FLAGS_PROT_READ);
    assert_eq!(set(1, Flags::CU_MEM_ACCESS_FLAGS_PROT_NONE), CUresult::CUDA_ERROR_INVALID_VALUE, "its own device");
}
