//! Options of loading, attributes of launches, limits, and functions by name and version.

use super::{KERNELS, context, kernels};
use cudarc::driver::sys;
use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr,
};
use sys::{CUjit_option as Option_, CUresult};

/// Loads the test kernels with options.
fn load(options: &mut [(Option_, usize)]) -> (CUresult, Vec<usize>, sys::CUmodule) {
    let text = CString::new(KERNELS).unwrap();
    let mut module = ptr::null_mut();
    let mut keys: Vec<Option_> = options.iter().map(|(key, _)| *key).collect();
    let mut values: Vec<usize> = options.iter().map(|(_, value)| *value).collect();
    // SAFETY: a text that ends with a zero, and options with their values.
    let result = unsafe {
        sys::cuModuleLoadDataEx(
            &mut module,
            text.as_ptr().cast(),
            keys.len() as u32,
            keys.as_mut_ptr(),
            values.as_mut_ptr().cast(),
        )
    };
    (result, values, module)
}

#[test]
fn options_are_done_or_listed_in_the_information_log() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let mut log: [c_char; 2000] = [1; 2000];
    let (result, values, module) = load(&mut [
        (Option_::CU_JIT_INFO_LOG_BUFFER, log.as_mut_ptr() as usize),
        (Option_::CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, log.len()),
        (Option_::CU_JIT_MAX_REGISTERS, 24),
        (Option_::CU_JIT_WALL_TIME, usize::MAX),
        (Option_::CU_JIT_TARGET, 80),
        (Option_::CU_JIT_OPTIMIZATION_LEVEL, 3),
        (Option_::CU_JIT_GENERATE_LINE_INFO, 1),
    ]);
    result.result().unwrap();
    // SAFETY: the driver ends the text with a zero.
    let text = unsafe { CStr::from_ptr(log.as_ptr()) }.to_str().unwrap();
    assert_eq!(values[1], text.len());
    assert!(text.contains("kernel `multiply` for sm_80: registers unknown, 24 assumed, 0 bytes of shared"), "{text}");
    assert!(text.ends_with("accepted, without effect: OPTIMIZATION_LEVEL, GENERATE_LINE_INFO\n"), "{text}");
    let milliseconds = f32::from_bits(values[3] as u32);
    assert!((0.0..60_000.0).contains(&milliseconds), "{milliseconds}");
    let (mut function, mut registers) = (ptr::null_mut(), 0);
    // SAFETY: valid pointers and live handles.
    unsafe {
        sys::cuModuleGetFunction(&mut function, module, c"multiply".as_ptr()).result().unwrap();
        let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_NUM_REGS;
        sys::cuFuncGetAttribute(&mut registers, attribute, function).result().unwrap();
        sys::cuModuleUnload(module).result().unwrap();
    }
    assert_eq!(registers, 24);
}

#[test]
fn options_that_cannot_be_met_are_refused() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    for (key, value, expected) in [
        (Option_::CU_JIT_TARGET, 90, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU),
        (Option_::CU_JIT_TARGET, 89, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU),
        (Option_::CU_JIT_OPTIMIZATION_LEVEL, 5, CUresult::CUDA_ERROR_INVALID_VALUE),
        (Option_::CU_JIT_GLOBAL_SYMBOL_COUNT, 1, CUresult::CUDA_ERROR_NOT_SUPPORTED),
    ] {
        assert_eq!(load(&mut [(key, value)]).0, expected, "{key:?} {value}");
    }
}

/// `CUlaunchConfig` and `CUlaunchAttribute` as C has them.
#[repr(C)]
struct Attribute {
    id: u32,
    padding: u32,
    value: [u32; 16],
}

fn launch_with(attributes: &mut [Attribute], grid: u32) -> CUresult {
    #[repr(C)]
    struct Config {
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        stream: *mut c_void,
        attributes: *mut Attribute,
        count: u32,
    }
    let context = context(0);
    context.bind_to_thread().unwrap();
    let function = kernels(&context).load_function("shared_size").unwrap();
    let config = Config {
        grid: [grid, 1, 1],
        block: [32, 1, 1],
        shared: 16,
        stream: ptr::null_mut(),
        attributes: attributes.as_mut_ptr(),
        count: attributes.len() as u32,
    };
    let out = context.default_stream().alloc_zeros::<u32>(8).unwrap();
    let mut address = cudarc::driver::DevicePtr::device_ptr(&out, &context.default_stream()).0;
    let mut parameters: [*mut c_void; 1] = [(&raw mut address).cast()];
    // SAFETY: the kernel's parameter is the address of a few words; the structures are those of the API.
    unsafe {
        let config: *const Config = &config;
        sys::cuLaunchKernelEx(config.cast(), function.cu_function(), parameters.as_mut_ptr(), ptr::null_mut())
    }
}

fn attribute(id: u32, value: &[u32]) -> Attribute {
    let mut all = [0; 16];
    all[..value.len()].copy_from_slice(value);
    Attribute { id, padding: 0, value: all }
}

#[test]
fn attributes_of_a_launch_are_obeyed_accepted_or_refused() {
    use sys::CUlaunchAttributeID_enum as Id;
    launch_with(&mut [], 1).result().unwrap();
    for (id, value) in [
        (Id::CU_LAUNCH_ATTRIBUTE_IGNORE, &[7][..]),
        (Id::CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW, &[0]),
        (Id::CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &[1]),
        (Id::CU_LAUNCH_ATTRIBUTE_SYNCHRONIZATION_POLICY, &[1]),
        (Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, &[1, 1, 1]),
        (Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE, &[1]),
        (Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, &[1]),
        (Id::CU_LAUNCH_ATTRIBUTE_PRIORITY, &[0]),
        (Id::CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP, &[0]),
        (Id::CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN, &[0]),
        (Id::CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT, &[50]),
    ] {
        assert_eq!(launch_with(&mut [attribute(id as u32, value)], 1), CUresult::CUDA_SUCCESS, "{id:?}");
    }
    let cluster = Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION as u32;
    assert_eq!(launch_with(&mut [attribute(cluster, &[2, 1, 1])], 2), CUresult::CUDA_ERROR_NOT_SUPPORTED);
    assert_eq!(launch_with(&mut [attribute(77, &[])], 1), CUresult::CUDA_ERROR_NOT_SUPPORTED);
    // 108 multiprocessors hold 32 blocks each.
    let cooperative = || attribute(Id::CU_LAUNCH_ATTRIBUTE_COOPERATIVE as u32, &[1]);
    assert_eq!(launch_with(&mut [cooperative()], 108 * 32), CUresult::CUDA_SUCCESS);
    let too_large = launch_with(&mut [cooperative()], 108 * 32 + 1);
    assert_eq!(too_large, CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
}

#[test]
fn limits_of_a_context_are_those_of_its_chip() {
    let limit = |ordinal: usize, limit: sys::CUlimit, value: usize| {
        let context = context(ordinal);
        context.bind_to_thread().unwrap();
        let mut now = 0;
        // SAFETY: a valid pointer.
        unsafe {
            match sys::cuCtxSetLimit(limit, value) {
                CUresult::CUDA_SUCCESS => sys::cuCtxGetLimit(&mut now, limit).result().map(|()| now).unwrap(),
                error => panic!("{error:?}"),
            }
        }
    };
    use sys::CUlimit_enum as Limit;
    assert_eq!(limit(1, Limit::CU_LIMIT_MALLOC_HEAP_SIZE, 16 << 20), 16 << 20);
    assert_eq!(limit(1, Limit::CU_LIMIT_MAX_L2_FETCH_GRANULARITY, 512), 128);
    assert_eq!(limit(0, Limit::CU_LIMIT_PERSISTING_L2_CACHE_SIZE, 1 << 40), 30 << 20);
    let hopper = context(2);
    hopper.bind_to_thread().unwrap();
    let mut depth = 0;
    // SAFETY: a valid pointer.
    let result = unsafe { sys::cuCtxGetLimit(&mut depth, Limit::CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH) };
    assert_eq!(result, CUresult::CUDA_ERROR_UNSUPPORTED_LIMIT);
}

#[test]
fn functions_are_found_by_name_version_and_flags() {
    use sys::CUdriverProcAddressQueryResult as Status;
    context(0);
    let get = |name: &CStr, version: i32, flags: u64| {
        let (mut address, mut status) = (ptr::null_mut(), Status::CU_GET_PROC_ADDRESS_SUCCESS);
        // SAFETY: valid pointers.
        let result = unsafe { sys::cuGetProcAddress_v2(name.as_ptr(), &mut address, version, flags, &mut status) };
        (result, !address.is_null(), status)
    };
    let ok = CUresult::CUDA_SUCCESS;
    for flags in 0..=2 {
        assert_eq!(get(c"cuLibraryLoadData", 12_000, flags), (ok, true, Status::CU_GET_PROC_ADDRESS_SUCCESS));
    }
    let old = get(c"cuLibraryLoadData", 11_080, 0);
    assert_eq!(old, (ok, false, Status::CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT));
    assert_eq!(get(c"cuInit", 13_000, 3).0, CUresult::CUDA_ERROR_INVALID_VALUE);
    let missing = get(c"cuNoSuchFunction", 13_000, 0);
    assert_eq!(missing, (ok, false, Status::CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND));
    // Without a place for the status, what is missing is an error.
    let mut address = ptr::null_mut();
    // SAFETY: the status may be null.
    let result =
        unsafe { sys::cuGetProcAddress_v2(c"cuNoSuchFunction".as_ptr(), &mut address, 13_000, 0, ptr::null_mut()) };
    assert_eq!(result, CUresult::CUDA_ERROR_NOT_FOUND);
}

#[test]
fn there_are_no_export_tables() {
    context(0);
    let mut table = ptr::null();
    let id = sys::CUuuid { bytes: [0; 16] };
    // SAFETY: valid pointers.
    let result = unsafe { sys::cuGetExportTable(&mut table, &id) };
    assert_eq!(result, CUresult::CUDA_ERROR_NOT_SUPPORTED);
    assert!(table.is_null());
}
