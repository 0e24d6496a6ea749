//! Libraries and their kernels: the same handle in every context.

use super::{KERNELS, context};
use cudarc::driver::{CudaContext, DevicePtr, sys};
use std::{
    ffi::{CStr, CString, c_void},
    ptr,
    sync::Arc,
};
use sys::{CUfunction_attribute_enum as Attribute, CUresult};

/// A library with the test kernels, unloaded when it goes.
struct Library(sys::CUlibrary);

impl Library {
    fn load(image: &CStr) -> Result<Library, CUresult> {
        let mut library = ptr::null_mut();
        // SAFETY: an image that ends with a zero, and no options.
        let result = unsafe {
            sys::cuLibraryLoadData(
                &mut library,
                image.as_ptr().cast(),
                ptr::null_mut(),
                ptr::null_mut(),
                0,
                ptr::null_mut(),
                ptr::null_mut(),
                0,
            )
        };
        if result == CUresult::CUDA_SUCCESS { Ok(Library(library)) } else { Err(result) }
    }

    fn kernel(&self, name: &CStr) -> Result<sys::CUkernel, CUresult> {
        let mut kernel = ptr::null_mut();
        // SAFETY: valid pointers and a live handle.
        let result = unsafe { sys::cuLibraryGetKernel(&mut kernel, self.0, name.as_ptr()) };
        if result == CUresult::CUDA_SUCCESS { Ok(kernel) } else { Err(result) }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: a live handle, not used again.
        unsafe { sys::cuLibraryUnload(self.0) }.result().unwrap();
    }
}

fn library() -> Library {
    Library::load(&CString::new(KERNELS).unwrap()).unwrap()
}

/// Runs `multiply` on four numbers through a handle that is a kernel or a function.
fn multiply(context: &Arc<CudaContext>, handle: *mut c_void) -> Vec<f32> {
    let stream = context.default_stream();
    let input = stream.clone_htod(&[1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let output = stream.alloc_zeros::<f32>(4).unwrap();
    let mut values = (output.device_ptr(&stream).0, input.device_ptr(&stream).0, 4u32);
    let mut parameters: [*mut c_void; 3] =
        [(&raw mut values.0).cast(), (&raw mut values.1).cast(), (&raw mut values.2).cast()];
    // SAFETY: the parameters are those of the kernel.
    unsafe {
        sys::cuLaunchKernel(
            handle.cast(),
            1,
            1,
            1,
            4,
            1,
            1,
            0,
            ptr::null_mut(),
            parameters.as_mut_ptr(),
            ptr::null_mut(),
        )
    }
    .result()
    .unwrap();
    stream.clone_dtoh(&output).unwrap()
}

#[test]
fn a_kernel_runs_in_every_context_by_one_handle() {
    let contexts = [0, 1, 2].map(context);
    let library = library();
    let kernel = library.kernel(c"multiply").unwrap();
    for context in &contexts {
        context.bind_to_thread().unwrap();
        assert_eq!(multiply(context, kernel.cast()), [2.0, 4.0, 6.0, 8.0]);
        let mut function = ptr::null_mut();
        // SAFETY: valid pointers and live handles.
        unsafe { sys::cuKernelGetFunction(&mut function, kernel) }.result().unwrap();
        assert_ne!(function.cast::<c_void>(), kernel.cast());
        assert_eq!(multiply(context, function.cast()), [2.0, 4.0, 6.0, 8.0]);
    }
    assert_eq!(library.kernel(c"counter"), Err(CUresult::CUDA_ERROR_NOT_FOUND));
}

#[test]
fn kernels_can_be_counted_listed_named_and_asked_for_their_parameters() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let library = library();
    let mut count = 0;
    let mut kernels = [ptr::null_mut(); 10];
    // SAFETY: valid pointers and live handles.
    let names: Vec<String> = unsafe {
        sys::cuLibraryGetKernelCount(&mut count, library.0).result().unwrap();
        sys::cuLibraryEnumerateKernels(kernels.as_mut_ptr(), 10, library.0).result().unwrap();
        let name = |kernel: &sys::CUkernel| {
            let (mut name, mut of) = (ptr::null(), ptr::null_mut());
            sys::cuKernelGetName(&mut name, *kernel).result().unwrap();
            sys::cuKernelGetLibrary(&mut of, *kernel).result().unwrap();
            assert_eq!(of, library.0);
            CStr::from_ptr(name).to_string_lossy().into_owned()
        };
        kernels[..count as usize].iter().map(name).collect()
    };
    assert_eq!(names, ["multiply", "count", "bounded", "required", "store", "shared_size"]);
    let (mut offset, mut bytes) = (0, 0);
    // SAFETY: valid pointers and live handles.
    unsafe {
        sys::cuKernelGetParamInfo(kernels[0], 2, &mut offset, &mut bytes).result().unwrap();
        assert_eq!((offset, bytes), (16, 4));
        let beyond = sys::cuKernelGetParamInfo(kernels[0], 3, &mut offset, &mut bytes);
        assert_eq!(beyond, CUresult::CUDA_ERROR_INVALID_VALUE);
    }
}

#[test]
fn what_is_set_for_a_kernel_counts_on_that_device_until_a_function_has_its_own() {
    let attribute = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    let contexts = [0, 1].map(context);
    let library = library();
    let kernel = library.kernel(c"shared_size").unwrap();
    let of_kernel = |device: i32| {
        let mut value = 0;
        // SAFETY: valid pointers and live handles.
        unsafe { sys::cuKernelGetAttribute(&mut value, attribute, kernel, device) }.result().unwrap();
        value
    };
    // SAFETY: a live handle.
    let set = |value: i32, device: i32| unsafe { sys::cuKernelSetAttribute(attribute, value, kernel, device) };
    set(90_000, 1).result().unwrap();
    assert_eq!((of_kernel(0), of_kernel(1)), (48 * 1024, 90_000));
    // The A100 has 163 KB, the RTX 4090 has 99.
    set(120_000, 0).result().unwrap();
    assert_eq!(set(120_000, 1), CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(set(1, 77), CUresult::CUDA_ERROR_INVALID_DEVICE);

    contexts[1].bind_to_thread().unwrap();
    let mut function = ptr::null_mut();
    let mut value = 0;
    // SAFETY: valid pointers and live handles.
    unsafe {
        sys::cuKernelGetFunction(&mut function, kernel).result().unwrap();
        sys::cuFuncGetAttribute(&mut value, attribute, function).result().unwrap();
        assert_eq!(value, 90_000);
        sys::cuFuncSetAttribute(function, attribute, 70_000).result().unwrap();
        set(80_000, 1).result().unwrap();
        sys::cuFuncGetAttribute(&mut value, attribute, function).result().unwrap();
        assert_eq!(value, 70_000);
        let config = sys::CUfunc_cache_enum::CU_FUNC_CACHE_PREFER_SHARED;
        sys::cuKernelSetCacheConfig(kernel, config, 0).result().unwrap();
    }
}

#[test]
fn variables_belong_to_the_library_s_module_in_the_current_context() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let library = library();
    let (mut address, mut bytes, mut module, mut same) = (0, 0, ptr::null_mut(), 0);
    // SAFETY: valid pointers and live handles.
    unsafe {
        sys::cuLibraryGetGlobal(&mut address, &mut bytes, library.0, c"counter".as_ptr()).result().unwrap();
        assert_eq!(bytes, 4);
        sys::cuLibraryGetModule(&mut module, library.0).result().unwrap();
        sys::cuModuleGetGlobal_v2(&mut same, &mut bytes, module, c"counter".as_ptr()).result().unwrap();
        assert_eq!(address, same);
        assert_eq!(sys::cuModuleUnload(module), CUresult::CUDA_ERROR_NOT_PERMITTED);
        let missing = sys::cuLibraryGetGlobal(&mut address, &mut bytes, library.0, c"multiply".as_ptr());
        assert_eq!(missing, CUresult::CUDA_ERROR_NOT_FOUND);
        let missing = sys::cuLibraryGetManaged(&mut address, &mut bytes, library.0, c"counter".as_ptr());
        assert_eq!(missing, CUresult::CUDA_ERROR_NOT_FOUND);
        let mut pointer = ptr::null_mut();
        let missing = sys::cuLibraryGetUnifiedFunction(&mut pointer, library.0, c"multiply".as_ptr());
        assert_eq!(missing, CUresult::CUDA_ERROR_NOT_FOUND);
    }
}

#[test]
fn an_unloaded_library_takes_its_kernels_with_it() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let library = library();
    let kernel = library.kernel(c"multiply").unwrap();
    let mut function = ptr::null_mut();
    // SAFETY: valid pointers and a live handle.
    unsafe { sys::cuKernelGetFunction(&mut function, kernel) }.result().unwrap();
    drop(library);
    let mut value = 0;
    // SAFETY: handles that are refused, never followed.
    unsafe {
        assert_eq!(sys::cuKernelGetFunction(&mut function, kernel), CUresult::CUDA_ERROR_INVALID_HANDLE);
        let attribute = Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS;
        assert_eq!(sys::cuFuncGetAttribute(&mut value, attribute, function), CUresult::CUDA_ERROR_INVALID_HANDLE);
    }
}

#[test]
fn a_malformed_library_is_refused_and_a_file_is_read_to_its_end_only() {
    context(0);
    assert_eq!(Library::load(c"hello").map(drop), Err(CUresult::CUDA_ERROR_INVALID_IMAGE));
    let text = c".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry bad() { frobnicate; }\n";
    assert_eq!(Library::load(text).map(drop), Err(CUresult::CUDA_ERROR_INVALID_PTX));
    assert!(softcuda::last_error_text().is_some());

    // A fatbin that has lost its second half.
    let fatbin = include_bytes!("../container/default.fatbin");
    let path = std::env::temp_dir().join(format!("softcuda-test-{}.fatbin", std::process::id()));
    let name = CString::new(path.to_str().unwrap()).unwrap();
    let load = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let mut library = ptr::null_mut();
        // SAFETY: a path and no options.
        let result = unsafe {
            sys::cuLibraryLoadFromFile(
                &mut library,
                name.as_ptr(),
                ptr::null_mut(),
                ptr::null_mut(),
                0,
                ptr::null_mut(),
                ptr::null_mut(),
                0,
            )
        };
        std::fs::remove_file(&path).unwrap();
        if result == CUresult::CUDA_SUCCESS { Ok(Library(library)) } else { Err(result) }
    };
    assert_eq!(load(&fatbin[..fatbin.len() / 2]).map(drop), Err(CUresult::CUDA_ERROR_INVALID_IMAGE));
    let library = load(fatbin).unwrap();
    library.kernel(c"heavy").unwrap();
}
