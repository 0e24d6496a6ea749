//! Modules: loading PTX, finding kernels and variables, and what is refused.

use super::{KERNELS, context, kernels};
use cudarc::{
    driver::{CudaContext, DriverError, sys},
    nvrtc::Ptx,
};
use std::{
    ffi::{CString, c_void},
    ptr,
    sync::Arc,
};
use sys::{CUfunction_attribute_enum as Attribute, CUresult};

fn refusal(context: &Arc<CudaContext>, ptx: &str) -> CUresult {
    let result = context.load_module(Ptx::from_src(ptx));
    result.map(drop).unwrap_err().0
}

#[test]
fn modules_load_from_memory_and_from_files() {
    let context = context(0);
    kernels(&context).load_function("count").unwrap();
    let path = std::env::temp_dir().join(format!("softcuda-test-{}.ptx", std::process::id()));
    std::fs::write(&path, KERNELS).unwrap();
    let module = context.load_module(Ptx::from_file(&path));
    std::fs::remove_file(&path).unwrap();
    module.unwrap().load_function("count").unwrap();
    assert_eq!(context.load_module(Ptx::from_file(&path)).unwrap_err().0, CUresult::CUDA_ERROR_FILE_NOT_FOUND);
}

#[test]
fn names_that_a_module_does_not_have_are_not_found() {
    let context = context(0);
    let module = kernels(&context);
    let missing = |result: Result<(), DriverError>| result.unwrap_err().0;
    let not_found = CUresult::CUDA_ERROR_NOT_FOUND;
    assert_eq!(missing(module.load_function("counter").map(drop)), not_found);
    let stream = context.default_stream();
    assert_eq!(missing(module.get_global("count", &stream).map(drop)), not_found);
}

#[test]
fn variables_have_their_first_values_and_keep_what_is_written() {
    let context = context(0);
    let stream = context.default_stream();
    let module = kernels(&context);
    let read = |name: &str| -> Vec<u8> { stream.clone_dtoh(&module.get_global(name, &stream).unwrap()).unwrap() };
    assert_eq!(read("counter"), 5u32.to_le_bytes());
    assert_eq!(read("scale"), [0, 0, 0, 64, 0, 0, 0, 0]);

    let mut pointer = stream.alloc_zeros::<u64>(1).unwrap();
    let count = module.load_function("count").unwrap();
    for _ in 0..2 {
        use cudarc::driver::{LaunchConfig, PushKernelArg};
        let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (1, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the kernel writes 8 bytes to its only parameter.
        unsafe { stream.launch_builder(&count).arg(&mut pointer).launch(config) }.unwrap();
    }
    assert_eq!(read("counter"), 7u32.to_le_bytes());
    // A variable that was initialized with the address of another one.
    let scale = module.get_global("scale", &stream).unwrap();
    let address = cudarc::driver::DevicePtr::device_ptr(&scale, &stream).0;
    assert_eq!(stream.clone_dtoh(&pointer).unwrap(), [address]);
    // Another module of the same text has variables of its own.
    let other = kernels(&context);
    let counter = other.get_global("counter", &stream).unwrap();
    assert_eq!(stream.clone_dtoh(&counter).unwrap(), 5u32.to_le_bytes());
}

#[test]
fn functions_can_be_counted_listed_and_named() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let text = CString::new(KERNELS).unwrap();
    let mut module = ptr::null_mut();
    let mut functions = [ptr::null_mut(); 10];
    let mut count = 0;
    // SAFETY: valid pointers and live handles.
    let names: Vec<String> = unsafe {
        sys::cuModuleLoadData(&mut module, text.as_ptr().cast()).result().unwrap();
        sys::cuModuleGetFunctionCount(&mut count, module).result().unwrap();
        sys::cuModuleEnumerateFunctions(functions.as_mut_ptr(), 10, module).result().unwrap();
        functions[..count as usize]
            .iter()
            .map(|function| {
                let mut name = ptr::null();
                sys::cuFuncGetName(&mut name, *function).result().unwrap();
                std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned()
            })
            .collect()
    };
    assert_eq!(names, ["multiply", "count", "bounded", "required", "store", "shared_size"]);
    let (mut offset, mut bytes) = (0, 0);
    // SAFETY: valid pointers and live handles.
    unsafe {
        sys::cuFuncGetParamInfo(functions[0], 2, &mut offset, &mut bytes).result().unwrap();
        assert_eq!((offset, bytes), (16, 4));
        assert_eq!(
            sys::cuFuncGetParamInfo(functions[0], 3, &mut offset, &mut bytes),
            CUresult::CUDA_ERROR_INVALID_VALUE
        );
        sys::cuModuleUnload(module).result().unwrap();
        assert_eq!(sys::cuModuleUnload(module), CUresult::CUDA_ERROR_INVALID_HANDLE);
    }
}

#[test]
fn attributes_of_functions_are_those_of_the_text() {
    let context = context(0);
    let module = kernels(&context);
    let bounded = module.load_function("bounded").unwrap();
    let attribute = |attribute| bounded.get_attribute(attribute).unwrap();
    assert_eq!(bounded.max_threads_per_block().unwrap(), 128);
    assert_eq!(bounded.shared_size_bytes().unwrap(), 1024);
    assert_eq!(bounded.local_size_bytes().unwrap(), 0);
    assert_eq!(bounded.const_size_bytes().unwrap(), 8);
    assert_eq!(bounded.ptx_version().unwrap(), 80);
    assert_eq!(bounded.binary_version().unwrap(), 80);
    assert!(bounded.num_regs().unwrap() > 0);
    assert_eq!(attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES), 47 * 1024);
    let required = module.load_function("required").unwrap();
    assert_eq!(required.max_threads_per_block().unwrap(), 128);
    let store = module.load_function("store").unwrap();
    assert_eq!(store.max_threads_per_block().unwrap(), 1024);
}

#[test]
fn malformed_ptx_is_refused_with_its_place_in_the_log() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry bad()\n{\n  frobnicate.u32 %r1;\n}\n";
    assert_eq!(refusal(&context, text), CUresult::CUDA_ERROR_INVALID_PTX);

    let text = CString::new(text).unwrap();
    let mut log = [1i8; 500];
    let mut module = ptr::null_mut();
    let mut options =
        [sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), log.len() as *mut c_void];
    // SAFETY: valid pointers; the values are those of the options.
    let result = unsafe {
        sys::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
    };
    assert_eq!(result, CUresult::CUDA_ERROR_INVALID_PTX);
    let used = values[1] as usize;
    let written: Vec<u8> = log[..used].iter().map(|byte| *byte as u8).collect();
    let written = String::from_utf8(written).unwrap();
    assert_eq!(log[used], 0);
    assert!(written.contains(":6:") && written.contains("frobnicate"), "{written}");
    // A buffer that is too small takes what fits.
    values[1] = 8usize as *mut c_void;
    // SAFETY: as before.
    unsafe {
        sys::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
            .result()
            .unwrap_err();
    }
    assert_eq!((values[1] as usize, log[7]), (7, 0));
}

#[test]
fn modules_for_newer_chips_or_newer_drivers_are_refused() {
    let first = context(0);
    let newer = KERNELS.replace(".target sm_80", ".target sm_90");
    assert_eq!(refusal(&first, &newer), CUresult::CUDA_ERROR_INVALID_PTX);
    context(2).load_module(Ptx::from_src(newer)).unwrap();
    let only = KERNELS.replace(".target sm_80", ".target sm_80a");
    assert_eq!(refusal(&context(2), &only), CUresult::CUDA_ERROR_INVALID_PTX);
    let version = KERNELS.replace(".version 8.0", ".version 9.9");
    assert_eq!(refusal(&first, &version), CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
}

#[test]
fn what_is_no_module_is_refused() {
    let context = context(0);
    for text in ["", "P", "\u{7f}EL", "hello, this is no PTX at all"] {
        assert_eq!(refusal(&context, text), CUresult::CUDA_ERROR_INVALID_IMAGE, "{text:?}");
    }
    // A cubin alone: machine code cannot be run.
    let cubin = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let result = context.load_module(Ptx::from_binary(cubin));
    assert_eq!(result.map(drop).unwrap_err().0, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
}

#[test]
fn fatbins_load_and_tell_the_registers_of_the_code_for_the_chip() {
    // PTX for compute_80, code for sm_80 and sm_90a.
    for fatbin in [
        include_bytes!("../container/default.fatbin").as_slice(),
        include_bytes!("../container/size.fatbin"),
        include_bytes!("../container/speed.fatbin"),
        include_bytes!("../container/none.fatbin"),
    ] {
        for (ordinal, architecture) in [(0, 80), (1, 80), (2, 90)] {
            let context = context(ordinal);
            let module = context.load_module(Ptx::from_binary(fatbin.to_vec())).unwrap();
            let heavy = module.load_function("heavy").unwrap();
            assert_eq!(heavy.num_regs().unwrap(), 32);
            assert_eq!(heavy.local_size_bytes().unwrap(), 40);
            assert_eq!(heavy.binary_version().unwrap(), architecture);
            assert_eq!(heavy.max_threads_per_block().unwrap(), 128);
            assert_eq!(heavy.shared_size_bytes().unwrap(), 16 * 17 * 4);
            assert_eq!(heavy.const_size_bytes().unwrap(), 64);

            let plain = module.load_function("plain").unwrap();
            assert_eq!(plain.num_regs().unwrap(), 8);
            let stream = context.default_stream();
            let mut values = stream.clone_htod(&[1.0f32, 2.0, 3.0]).unwrap();
            use cudarc::driver::{LaunchConfig, PushKernelArg};
            // SAFETY: the parameters are those of the kernel.
            unsafe { stream.launch_builder(&plain).arg(&mut values).arg(&3i32).launch(LaunchConfig::for_num_elems(3)) }
                .unwrap();
            assert_eq!(stream.clone_dtoh(&values).unwrap(), [3.0, 5.0, 7.0]);
        }
    }
}

#[test]
fn a_fatbin_is_found_behind_the_wrapper_of_host_code() {
    #[repr(C)]
    struct Wrapper {
        magic: u32,
        version: u32,
        fatbin: *const u8,
        unused: *const u8,
    }
    let context = context(0);
    context.bind_to_thread().unwrap();
    let fatbin = include_bytes!("../container/default.fatbin");
    let mut wrapper = Wrapper { magic: 0x4662_43b1, version: 1, fatbin: fatbin.as_ptr(), unused: ptr::null() };
    let mut module = ptr::null_mut();
    let mut function = ptr::null_mut();
    // SAFETY: valid pointers; null is refused.
    unsafe {
        sys::cuModuleLoadFatBinary(&mut module, (&raw const wrapper).cast()).result().unwrap();
        sys::cuModuleGetFunction(&mut function, module, c"heavy".as_ptr()).result().unwrap();
        sys::cuModuleUnload(module).result().unwrap();
        wrapper.fatbin = ptr::null();
        assert_eq!(
            sys::cuModuleLoadFatBinary(&mut module, (&raw const wrapper).cast()),
            CUresult::CUDA_ERROR_INVALID_VALUE
        );
    }
    assert!(wrapper.magic != 0 && wrapper.version == 1 && wrapper.unused.is_null());
}

#[test]
fn a_fatbin_without_ptx_for_the_chip_says_what_it_holds() {
    let context = context(0);
    let mut fatbin = include_bytes!("../container/none.fatbin").to_vec();
    // The entries start behind the header of 16 bytes; the kind of the PTX (1) becomes one that nobody knows.
    let entries = softcuda::container::fatbin::read(&fatbin).unwrap();
    let text = entries.iter().find(|entry| !entry.payload.starts_with(b"\x7fELF")).unwrap();
    let start = fatbin.windows(text.payload.len()).position(|window| window == text.payload.as_slice()).unwrap();
    let header = (0..start).rev().find(|at| fatbin[*at..*at + 4] == [1, 0, 1, 1]).unwrap();
    fatbin[header] = 77;
    let result = context.load_module(Ptx::from_binary(fatbin));
    assert_eq!(result.map(drop).unwrap_err().0, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
}

#[test]
fn a_module_that_goes_gives_its_memory_back() {
    let context = context(1);
    let big = ".version 8.0\n.target sm_80\n.address_size 64\n.global .align 16 .b8 big[8388608];\n";
    let free = || {
        context.bind_to_thread().unwrap();
        context.mem_get_info().unwrap().0
    };
    for _ in 0..4 {
        let before = free();
        let module = context.load_module(Ptx::from_src(big)).unwrap();
        let between = free();
        drop(module);
        let after = free();
        // Other tests use the same device; 8 MB is more than any of them.
        assert!(before.abs_diff(between) >= 8_000_000);
        assert!(after.abs_diff(between) >= 8_000_000);
    }
}
