//! Virtual memory management.

use super::{calls::Bench, calls::zeroed, context};
use cudarc::driver::sys;
use std::ptr;
use sys::{CUmemAccess_flags as Flags, CUresult};

const PAGE: usize = 2 << 20;

fn properties() -> sys::CUmemAllocationProp {
    let mut properties: sys::CUmemAllocationProp = zeroed();
    properties.type_ = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    properties
}

fn create(bytes: usize) -> sys::CUmemGenericAllocationHandle {
    let mut handle = 0;
    ok!(cuMemCreate(&mut handle, bytes, &properties(), 0));
    handle
}

fn reserve(bytes: usize) -> u64 {
    let mut address = 0;
    ok!(cuMemAddressReserve(&mut address, bytes, 0, 0, 0));
    address
}

/// Gives device 0 access.
fn allow(address: u64, bytes: usize, flags: Flags) -> CUresult {
    let mut description: sys::CUmemAccessDesc = zeroed();
    description.location = properties().location;
    description.flags = flags;
    code!(cuMemSetAccess(address, bytes, &description, 1))
}

#[test]
fn two_mappings_of_one_allocation_are_the_same_memory() {
    let bench = Bench::new(context(0));
    let mut granularity = 0;
    let option = sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
    ok!(cuMemGetAllocationGranularity(&mut granularity, &properties(), option));
    assert_eq!(granularity, PAGE);
    let memory = create(PAGE);
    let base = reserve(4 * PAGE);
    let second = base + 2 * PAGE as u64;
    for address in [base, second] {
        ok!(cuMemMap(address, PAGE, 0, memory, 0));
        assert_eq!(allow(address, PAGE, Flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE), CUresult::CUDA_SUCCESS);
    }
    // Released, it lives on as long as it is mapped.
    ok!(cuMemRelease(memory));
    bench.launch(&bench.kernel("store"), &[base + 40]);
    assert_eq!((bench.read(second + 40), bench.read(second + 44)), (1, 0));
    bench.launch(&bench.kernel("move_word"), &[bench.address(), second + 40]);
    assert_eq!(bench.take(), 1);

    let mut flags = 0;
    ok!(cuMemGetAccess(&mut flags, &properties().location, base));
    assert_eq!(flags, 3);
    let mut kept = 0;
    ok!(cuMemRetainAllocationHandle(&mut kept, ptr::without_provenance_mut(second as usize)));
    assert_eq!(kept, memory);
    let mut found = zeroed();
    ok!(cuMemGetAllocationPropertiesFromHandle(&mut found, kept));
    assert_eq!(found.type_, properties().type_);
    ok!(cuMemRelease(kept));

    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    assert_eq!(code!(cuMemAddressFree(base, 4 * PAGE)), invalid, "something is mapped");
    ok!(cuMemUnmap(base, PAGE));
    assert_eq!(code!(cuMemUnmap(base, PAGE)), invalid);
    assert_eq!(code!(cuMemsetD8_v2(base, 0, 1)), invalid, "nothing is mapped there any more");
    ok!(cuMemUnmap(second, PAGE));
    ok!(cuMemAddressFree(base, 4 * PAGE));
    assert_eq!(code!(cuMemRelease(memory)), invalid, "gone with its last mapping");
}

#[test]
fn neighbouring_mappings_are_one_range_for_copies_and_fills() {
    let bench = Bench::new(context(0));
    let base = reserve(2 * PAGE);
    let handles = [create(PAGE), create(PAGE)];
    for (address, handle) in [base, base + PAGE as u64].into_iter().zip(handles) {
        ok!(cuMemMap(address, PAGE, 0, handle, 0));
    }
    assert_eq!(allow(base, 2 * PAGE, Flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE), CUresult::CUDA_SUCCESS);
    ok!(cuMemsetD8Async(base, 3, 2 * PAGE, bench.on()));
    assert_eq!(bench.read(base + PAGE as u64 - 2), 0x0303_0303, "across the border");
    let outside = code!(cuMemsetD8Async(base, 3, 2 * PAGE + 1, bench.on()));
    assert_eq!(outside, CUresult::CUDA_ERROR_INVALID_VALUE);
    let mut ordinal = -1;
    let attribute = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL;
    ok!(cuPointerGetAttribute((&raw mut ordinal).cast(), attribute, base + 5));
    assert_eq!(ordinal, 0);
    ok!(cuMemUnmap(base, 2 * PAGE));
    for handle in handles {
        ok!(cuMemRelease(handle));
    }
    ok!(cuMemAddressFree(base, 2 * PAGE));
}

#[test]
fn memory_is_counted_as_used_while_it_exists() {
    let context = context(2);
    context.bind_to_thread().unwrap();
    let mut properties = properties();
    // SAFETY: the ordinal is the second of the two numbers that a location is.
    unsafe { (&raw mut properties.location).cast::<i32>().add(1).write(2) };
    let (mut total, mut free) = (0, [0; 3]);
    let mut handle = 0;
    ok!(cuMemGetInfo_v2(&mut free[0], &mut total));
    // So much that other tests' allocations do not matter.
    let bytes = 8192 * PAGE;
    ok!(cuMemCreate(&mut handle, bytes, &properties, 0));
    ok!(cuMemGetInfo_v2(&mut free[1], &mut total));
    ok!(cuMemRelease(handle));
    ok!(cuMemGetInfo_v2(&mut free[2], &mut total));
    assert!(free[0].abs_diff(free[1] + bytes) < PAGE, "{free:?}");
    assert!(free[0].abs_diff(free[2]) < PAGE, "{free:?}");
    let too_much = total.next_multiple_of(PAGE) + PAGE;
    assert_eq!(code!(cuMemCreate(&mut handle, too_much, &properties, 0)), CUresult::CUDA_ERROR_OUT_OF_MEMORY);
}

#[test]
fn sizes_and_places_are_checked() {
    let _context = context(0);
    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    let (mut handle, mut address) = (0, 0);
    assert_eq!(code!(cuMemCreate(&mut handle, PAGE + 1, &properties(), 0)), invalid);
    assert_eq!(code!(cuMemAddressReserve(&mut address, PAGE / 2, 0, 0, 0)), invalid);
    assert_eq!(code!(cuMemAddressReserve(&mut address, PAGE, 3, 0, 0)), invalid, "no power of two");
    let mut shared = properties();
    shared.requestedHandleTypes = sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    assert_eq!(code!(cuMemCreate(&mut handle, PAGE, &shared, 0)), CUresult::CUDA_ERROR_NOT_SUPPORTED);
    let memory = create(PAGE);
    let base = reserve(PAGE);
    assert_eq!(code!(cuMemMap(base, 2 * PAGE, 0, memory, 0)), invalid, "larger than the allocation");
    assert_eq!(code!(cuMemMap(base + PAGE as u64, PAGE, 0, memory, 0)), invalid, "not reserved");
    assert_eq!(code!(cuMemMap(base, PAGE, PAGE, memory, 0)), invalid, "no offsets");
    ok!(cuMemMap(base, PAGE, 0, memory, 0));
    assert_eq!(code!(cuMemMap(base, PAGE, 0, memory, 0)), invalid, "mapped already");
    assert_eq!(allow(base, PAGE / 2, Flags::CU_MEM_ACCESS_FLAGS_PROT_READ), invalid, "part of a mapping");
    ok!(cuMemUnmap(base, PAGE));
    ok!(cuMemRelease(memory));
    assert_eq!(code!(cuMemRelease(memory)), invalid);
}
