//! Managed memory.

use super::{calls::Bench, context};
use cudarc::driver::sys;
use sys::{CUmem_range_attribute as Attribute, CUresult};

fn allocate(bytes: usize) -> u64 {
    let mut address = 0;
    let global = sys::CUmemAttach_flags::CU_MEM_ATTACH_GLOBAL as u32;
    ok!(cuMemAllocManaged(&mut address, bytes, global));
    address
}

fn location(kind: sys::CUmemLocationType, id: i32) -> sys::CUmemLocation {
    let mut location: sys::CUmemLocation = super::calls::zeroed();
    location.type_ = kind;
    // SAFETY: the ordinal is the second of the two numbers that a location is.
    unsafe { (&raw mut location).cast::<i32>().add(1).write(id) };
    location
}

#[test]
fn host_and_device_see_each_others_stores() {
    let bench = Bench::new(context(0));
    let address = allocate(100);
    // SAFETY: the allocation has 25 numbers, which nothing else uses.
    let host = unsafe { std::slice::from_raw_parts_mut(address as *mut u32, 25) };
    assert_eq!(host, [0; 25]);
    host[3] = 77;
    bench.launch(&bench.kernel("move_word"), &[bench.address(), address + 12]);
    assert_eq!(bench.take(), 77);
    bench.launch(&bench.kernel("store"), &[address + 96]);
    ok!(cuStreamSynchronize(bench.on()));
    // SAFETY: as above; the kernel has ended.
    assert_eq!(unsafe { (address as *const u32).add(24).read() }, 1);
    ok!(cuMemFree_v2(address));
    assert_eq!(code!(cuMemsetD8_v2(address, 0, 1)), CUresult::CUDA_ERROR_INVALID_VALUE, "freed");
}

#[test]
fn advice_is_kept_part_by_part() {
    let bench = Bench::new(context(0));
    let address = allocate(4096);
    let get = |attribute: Attribute, offset: u64, bytes: usize| {
        let mut value = 99i32;
        ok!(cuMemRangeGetAttribute((&raw mut value).cast(), 4, attribute, address + offset, bytes));
        value
    };
    let device = location(sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, 1);
    let host = location(sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_HOST, 0);
    use sys::CUmem_advise as Advice;
    ok!(cuMemAdvise_v2(address, 1024, Advice::CU_MEM_ADVISE_SET_READ_MOSTLY, device));
    let read_mostly = Attribute::CU_MEM_RANGE_ATTRIBUTE_READ_MOSTLY;
    assert_eq!((get(read_mostly, 0, 1024), get(read_mostly, 0, 1025)), (1, 0));
    ok!(cuMemAdvise_v2(address, 4096, Advice::CU_MEM_ADVISE_SET_PREFERRED_LOCATION, device));
    ok!(cuMemAdvise_v2(address, 512, Advice::CU_MEM_ADVISE_SET_PREFERRED_LOCATION, host));
    let preferred = Attribute::CU_MEM_RANGE_ATTRIBUTE_PREFERRED_LOCATION;
    assert_eq!((get(preferred, 512, 3584), get(preferred, 0, 512), get(preferred, 0, 4096)), (1, -1, -2));
    ok!(cuMemAdvise_v2(address, 4096, Advice::CU_MEM_ADVISE_SET_ACCESSED_BY, device));
    let mut devices = [7i32; 3];
    let accessed = Attribute::CU_MEM_RANGE_ATTRIBUTE_ACCESSED_BY;
    ok!(cuMemRangeGetAttribute(devices.as_mut_ptr().cast(), 12, accessed, address, 4096));
    assert_eq!(devices, [1, -2, -2]);
    ok!(cuMemPrefetchAsync_v2(address, 4096, device, 0, bench.on()));
    let prefetched = Attribute::CU_MEM_RANGE_ATTRIBUTE_LAST_PREFETCH_LOCATION;
    assert_eq!(get(prefetched, 100, 4), 1);

    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    let read_mostly = Advice::CU_MEM_ADVISE_SET_READ_MOSTLY;
    assert_eq!(code!(cuMemAdvise_v2(address, 4097, read_mostly, device)), invalid);
    assert_eq!(code!(cuMemPrefetchAsync_v2(bench.address(), 4, device, 0, bench.on())), invalid, "not managed");
    let nowhere = location(sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE, 9);
    let result = code!(cuMemPrefetchAsync_v2(address, 4096, nowhere, 0, bench.on()));
    assert_eq!(result, CUresult::CUDA_ERROR_INVALID_DEVICE);
    ok!(cuMemFree_v2(address));
}
