//! Installing, and finding functions by name.

use super::context;
use softcuda::{InstallError, chip::Architecture};
use std::{
    ffi::{CString, c_void},
    ptr,
};

/// Every function that cudarc 0.19.10 binds for any CUDA version, one a line.
const NAMES: &str = include_str!("names.txt");

fn open(soname: &str) -> *mut c_void {
    let soname = CString::new(soname).unwrap();
    // SAFETY: only looks for a library that is loaded.
    unsafe { libc::dlopen(soname.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD) }
}

#[test]
fn every_function_that_cudarc_can_load_resolves_in_both_libraries() {
    context(0);
    for soname in ["libcuda.so", "libcuda.so.1"] {
        let library = open(soname);
        assert_ne!(library, ptr::null_mut(), "{soname}");
        assert!(NAMES.lines().count() > 500);
        for name in NAMES.lines() {
            let name = CString::new(name).unwrap();
            // SAFETY: a lookup.
            let address = unsafe { libc::dlsym(library, name.as_ptr()) };
            assert_ne!(address, ptr::null_mut(), "{name:?} in {soname}");
        }
        // SAFETY: a lookup.
        let address = unsafe { libc::dlsym(library, c"cuNoSuchFunction".as_ptr()) };
        assert_eq!(address, ptr::null_mut());
    }
}

#[test]
fn installing_the_same_devices_again_does_nothing_and_others_are_refused() {
    context(0);
    softcuda::install(&Architecture::ALL).unwrap();
    let error = softcuda::install(&[Architecture::Sm80]).unwrap_err();
    assert!(matches!(error, InstallError::Different { .. }), "{error}");
    let error = softcuda::install(&[]).unwrap_err();
    assert!(matches!(error, InstallError::NoDevice), "{error}");
}

#[test]
fn get_proc_address_returns_the_form_that_the_version_expects() {
    use cudarc::driver::sys;
    context(0);
    let get = |name: &str, version: i32| {
        let name = CString::new(name).unwrap();
        let mut address = ptr::null_mut();
        let mut status = sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SUCCESS;
        // SAFETY: all pointers are valid for the call.
        let result = unsafe { sys::cuGetProcAddress_v2(name.as_ptr(), &mut address, version, 0, &mut status) };
        (result, address, status)
    };
    // SAFETY: a lookup in a library that stays loaded.
    let alloc = unsafe { libc::dlsym(open("libcuda.so.1"), c"cuMemAlloc_v2".as_ptr()) };
    let (result, address, _) = get("cuMemAlloc", 13_000);
    assert_eq!((result, address), (sys::CUresult::CUDA_SUCCESS, alloc));
    let (result, address, status) = get("cuNoSuchFunction", 13_000);
    assert_eq!((result, address), (sys::CUresult::CUDA_SUCCESS, ptr::null_mut()));
    assert_eq!(status, sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}

#[test]
fn functions_that_are_not_implemented_say_so() {
    use cudarc::driver::sys;
    context(0);
    let mut green = ptr::null_mut();
    // SAFETY: a valid pointer.
    let result = unsafe { sys::cuGreenCtxCreate(&mut green, ptr::null_mut(), 0, 0) };
    assert_eq!(result, sys::CUresult::CUDA_ERROR_NOT_SUPPORTED);
}
