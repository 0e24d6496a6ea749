//! Linking PTX texts with each other.

use super::context;
use cudarc::driver::{CudaContext, DevicePtr, sys};
use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr,
    sync::Arc,
};
use sys::{CUjit_option as Option_, CUresult};

const HEADER: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

/// Stores what `twice` makes of `.extern .global base`, and of a variable that only this text knows.
const MAIN: &str = "
.extern .global .align 4 .u32 base;
.global .align 4 .u32 own = 3;
.extern .func (.param .b32 result) twice(.param .b32 value);
.visible .entry run(.param .u64 out)
{
    .reg .b32 %r<5>;
    .reg .b64 %rd<3>;
    ld.param.u64 %rd1, [out];
    ld.global.u32 %r1, [base];
    ld.global.u32 %r2, [own];
    add.u32 %r3, %r1, %r2;
    {
    .param .b32 argument;
    .param .b32 returned;
    st.param.b32 [argument], %r3;
    call.uni (returned), twice, (argument);
    ld.param.b32 %r4, [returned];
    }
    st.global.u32 [%rd1], %r4;
    ret;
}
";

/// Defines what the first text lacks, and has an `own` of its own.
const PARTS: &str = "
.visible .global .align 4 .u32 base = 20;
.global .align 4 .u32 own = 100;
.visible .func (.param .b32 result) twice(.param .b32 value)
{
    .reg .b32 %r<5>;
    ld.param.b32 %r1, [value];
    add.u32 %r2, %r1, %r1;
    ld.global.u32 %r3, [own];
    add.u32 %r4, %r2, %r3;
    st.param.b32 [result], %r4;
    ret;
}
";

/// A link with an error log.
struct Link {
    state: sys::CUlinkState,
    log: Box<[c_char; 1000]>,
}

impl Link {
    fn new() -> Link {
        let mut log = Box::new([0; 1000]);
        let mut options = [Option_::CU_JIT_ERROR_LOG_BUFFER, Option_::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        // The slots must live as long as the link: the used size is written there.
        let values: &'static mut [*mut c_void; 2] =
            Box::leak(Box::new([log.as_mut_ptr().cast(), ptr::without_provenance_mut(log.len())]));
        let mut state = ptr::null_mut();
        // SAFETY: options with their values.
        unsafe { sys::cuLinkCreate_v2(2, options.as_mut_ptr(), values.as_mut_ptr(), &mut state) }.result().unwrap();
        Link { state, log }
    }

    fn add(&self, name: &str, body: &str) -> CUresult {
        self.add_as(sys::CUjitInputType::CU_JIT_INPUT_PTX, name, &format!("{HEADER}{body}"))
    }

    fn add_as(&self, kind: sys::CUjitInputType, name: &str, text: &str) -> CUresult {
        let (name, text) = (CString::new(name).unwrap(), CString::new(text).unwrap());
        let bytes = text.as_bytes_with_nul();
        // SAFETY: as many bytes as are said.
        unsafe {
            sys::cuLinkAddData_v2(
                self.state,
                kind,
                bytes.as_ptr().cast_mut().cast(),
                bytes.len(),
                name.as_ptr(),
                0,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        }
    }

    /// The image, copied.
    fn complete(&self) -> Result<Vec<u8>, CUresult> {
        let (mut image, mut bytes) = (ptr::null_mut(), 0);
        // SAFETY: valid pointers; on success the image has as many bytes as are said.
        unsafe {
            match sys::cuLinkComplete(self.state, &mut image, &mut bytes) {
                CUresult::CUDA_SUCCESS => Ok(std::slice::from_raw_parts(image.cast::<u8>(), bytes).to_vec()),
                error => Err(error),
            }
        }
    }

    fn log(&self) -> String {
        // SAFETY: the driver ends the text with a zero.
        unsafe { CStr::from_ptr(self.log.as_ptr()) }.to_string_lossy().into_owned()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // SAFETY: a live handle, not used again.
        unsafe { sys::cuLinkDestroy(self.state) }.result().unwrap();
    }
}

/// What `run` of an image stores.
fn run(context: &Arc<CudaContext>, image: &[u8]) -> u32 {
    let stream = context.default_stream();
    let out = stream.alloc_zeros::<u32>(1).unwrap();
    let mut address = out.device_ptr(&stream).0;
    let (mut module, mut function) = (ptr::null_mut(), ptr::null_mut());
    let mut parameters: [*mut c_void; 1] = [(&raw mut address).cast()];
    // SAFETY: an image from the linker; the parameter is the kernel's.
    unsafe {
        sys::cuModuleLoadData(&mut module, image.as_ptr().cast()).result().unwrap();
        sys::cuModuleGetFunction(&mut function, module, c"run".as_ptr()).result().unwrap();
        let stream = ptr::null_mut();
        sys::cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, parameters.as_mut_ptr(), ptr::null_mut())
            .result()
            .unwrap();
        sys::cuCtxSynchronize().result().unwrap();
        let value = stream_value(&out, context);
        sys::cuModuleUnload(module).result().unwrap();
        value
    }
}

fn stream_value(out: &cudarc::driver::CudaSlice<u32>, context: &Arc<CudaContext>) -> u32 {
    context.default_stream().clone_dtoh(out).unwrap()[0]
}

#[test]
fn what_is_extern_in_one_text_is_found_in_another_in_either_order() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    for texts in [[MAIN, PARTS], [PARTS, MAIN]] {
        let link = Link::new();
        for (number, text) in texts.iter().enumerate() {
            link.add(&format!("text {number}"), text).result().unwrap();
        }
        let image = link.complete().unwrap();
        assert_eq!(link.complete().unwrap(), image, "completing again gives the same");
        assert_eq!(image.last(), Some(&0));
        // (20 + 3) * 2 + 100: each text has its own `own`.
        assert_eq!(run(&context, &image), 146);
        drop(link);
        // The image is one for linking, too.
        let again = Link::new();
        let text = String::from_utf8(image[..image.len() - 1].to_vec()).unwrap();
        again.add_as(sys::CUjitInputType::CU_JIT_INPUT_CUBIN, "image", &text).result().unwrap();
        assert_eq!(run(&context, &again.complete().unwrap()), 146);
    }
}

#[test]
fn a_symbol_that_nothing_defines_is_in_the_error_log() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let link = Link::new();
    link.add("main.ptx", MAIN).result().unwrap();
    assert_eq!(link.complete().unwrap_err(), CUresult::CUDA_ERROR_UNKNOWN);
    assert_eq!(
        link.log(),
        "Undefined reference to `base` in `main.ptx`\nUndefined reference to `twice` in `main.ptx`\n"
    );
    // It can be made good.
    link.add("parts.ptx", PARTS).result().unwrap();
    link.complete().unwrap();
    assert_eq!(link.add("late.ptx", PARTS), CUresult::CUDA_ERROR_INVALID_VALUE);
    // A module alone is not linked.
    let (mut module, text) = (ptr::null_mut(), CString::new(format!("{HEADER}{MAIN}")).unwrap());
    // SAFETY: a text that ends with a zero.
    let result = unsafe { sys::cuModuleLoadData(&mut module, text.as_ptr().cast()) };
    assert_eq!(result, CUresult::CUDA_ERROR_INVALID_PTX);
}

#[test]
fn two_definitions_are_in_the_error_log_unless_one_is_weak() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let link = Link::new();
    link.add("first", PARTS).result().unwrap();
    link.add("second", PARTS).result().unwrap();
    assert_eq!(link.complete().unwrap_err(), CUresult::CUDA_ERROR_UNKNOWN);
    let expected = "Multiple definition of `base` in `second`, first defined in `first`\nMultiple definition of `twice` in `second`, first defined in `first`\n";
    assert_eq!(link.log(), expected);

    // base = 1 and no doubling in the weak text: the other one's count, wherever it stands.
    let weak = PARTS.replace(".visible", ".weak").replace("20", "1").replace("100", "1");
    for texts in [[weak.as_str(), PARTS], [PARTS, weak.as_str()]] {
        let link = Link::new();
        link.add("main", MAIN).result().unwrap();
        texts.iter().for_each(|text| link.add("part", text).result().unwrap());
        assert_eq!(run(&context, &link.complete().unwrap()), 146);
    }
    let link = Link::new();
    link.add("main", MAIN).result().unwrap();
    link.add("weak", &weak).result().unwrap();
    assert_eq!(run(&context, &link.complete().unwrap()), (1 + 3) * 2 + 1);
}

#[test]
fn declarations_must_agree() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let link = Link::new();
    link.add("main", &MAIN.replace(".align 4 .u32 base", ".align 8 .u64 base")).result().unwrap();
    link.add("parts", PARTS).result().unwrap();
    assert_eq!(link.complete().unwrap_err(), CUresult::CUDA_ERROR_UNKNOWN);
    assert_eq!(link.log(), "`base` is declared in `parts` with another size or type than in `main`\n");
}

#[test]
fn what_cannot_be_linked_is_refused_with_its_place() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let link = Link::new();
    assert_eq!(link.add("bad.ptx", ".visible .entry bad()\n{\n  frobnicate;\n}"), CUresult::CUDA_ERROR_INVALID_PTX);
    assert!(link.log().starts_with("bad.ptx: ptx:6:3: kernel `bad`: "), "{}", link.log());
    let kinds = [
        (sys::CUjitInputType::CU_JIT_INPUT_LIBRARY, CUresult::CUDA_ERROR_NOT_SUPPORTED),
        (sys::CUjitInputType::CU_JIT_INPUT_OBJECT, CUresult::CUDA_ERROR_NOT_SUPPORTED),
        (sys::CUjitInputType::CU_JIT_INPUT_FATBINARY, CUresult::CUDA_ERROR_INVALID_IMAGE),
    ];
    for (kind, expected) in kinds {
        assert_eq!(link.add_as(kind, "other", &format!("{HEADER}{PARTS}")), expected);
    }
    assert_eq!(
        link.add_as(sys::CUjitInputType::CU_JIT_INPUT_CUBIN, "cubin", "\u{7f}ELF"),
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
    );
}

#[test]
fn files_are_linked() {
    let context = context(0);
    context.bind_to_thread().unwrap();
    let link = Link::new();
    link.add("main", MAIN).result().unwrap();
    let path = std::env::temp_dir().join(format!("softcuda-link-{}.ptx", std::process::id()));
    std::fs::write(&path, format!("{HEADER}{PARTS}")).unwrap();
    let name = CString::new(path.to_str().unwrap()).unwrap();
    let add = || {
        let kind = sys::CUjitInputType::CU_JIT_INPUT_PTX;
        // SAFETY: a path and no options.
        unsafe { sys::cuLinkAddFile_v2(link.state, kind, name.as_ptr(), 0, ptr::null_mut(), ptr::null_mut()) }
    };
    let result = add();
    std::fs::remove_file(&path).unwrap();
    result.result().unwrap();
    assert_eq!(add(), CUresult::CUDA_ERROR_FILE_NOT_FOUND);
    assert_eq!(run(&context, &link.complete().unwrap()), 146);
}
