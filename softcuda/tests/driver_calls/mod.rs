//! What tests of the driver share: calls of the C interface, and small kernels.

use cudarc::{
    driver::{CudaContext, CudaFunction, CudaStream, DevicePtr, sys},
    nvrtc::Ptx,
};
use std::{ffi::c_void, ptr, sync::Arc};

/// Small kernels for the tests.
#[allow(dead_code, reason = "each test binary uses its part")]
pub(crate) const KERNELS: &str = include_str!("../driver/kernels.ptx");

/// Kernels of one thread that store numbers.
const NUMBERS: &str = include_str!("numbers.ptx");

/// Calls a function of the driver; its code.
macro_rules! code {
    ($function:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: tests pass pointers to live values, and handles that the driver looks up before it uses them.
        unsafe { cudarc::driver::sys::$function($($argument),*) }
    }};
}

/// Calls a function of the driver, which must succeed.
macro_rules! ok {
    ($function:ident($($argument:expr),* $(,)?)) => {{
        let code = code!($function($($argument),*));
        assert_eq!(code, cudarc::driver::sys::CUresult::CUDA_SUCCESS, "{}", stringify!($function));
    }};
}

/// A structure of the C interface with these fields, and zeros in all others, for which zeros must be valid.
#[allow(unused_macros, reason = "each test binary uses its part")]
macro_rules! filled {
    ($type:path { $($field:ident: $value:expr),* $(,)? }) => {{
        let mut all = std::mem::MaybeUninit::<$type>::zeroed();
        let place = all.as_mut_ptr();
        // SAFETY: the fields are inside of `all`; tests name those that must not be zero.
        unsafe {
            $((&raw mut (*place).$field).write($value);)*
            all.assume_init()
        }
    }};
}

/// A structure of numbers and pointers, all of them zero.
pub(crate) fn zeroed<T>() -> T {
    // SAFETY: tests ask for structures of the C interface, for which zeros are valid.
    unsafe { std::mem::zeroed() }
}

/// Arguments of a launch, and pointers to them.
#[allow(dead_code, reason = "each test binary uses its part")]
pub(crate) struct Arguments {
    values: Box<[u64]>,
    pointers: Vec<*mut c_void>,
}

#[allow(dead_code, reason = "each test binary uses its part")]
impl Arguments {
    /// Values of up to eight bytes.
    pub(crate) fn new(values: &[u64]) -> Arguments {
        let mut values: Box<[u64]> = values.into();
        let pointers = values.iter_mut().map(|value| ptr::from_mut(value).cast()).collect();
        Arguments { values, pointers }
    }

    /// The list that a launch wants.
    pub(crate) fn list(&mut self) -> *mut *mut c_void {
        self.pointers.as_mut_ptr()
    }

    /// Changes a value.
    pub(crate) fn set(&mut self, position: usize, value: u64) {
        self.values[position] = value;
    }
}

/// A context with the kernels, a stream and a number in device memory.
pub(crate) struct Bench {
    pub(crate) context: Arc<CudaContext>,
    pub(crate) stream: Arc<CudaStream>,
    pub(crate) append: CudaFunction,
    number: u64,
}

#[allow(dead_code, reason = "each test binary uses its part")]
impl Bench {
    /// On the device `ordinal`, with a stream of its own.
    pub(crate) fn new(context: Arc<CudaContext>) -> Bench {
        let stream = context.new_stream().unwrap();
        let append = Bench::kernel_of(&context, "append");
        let mut number = 0;
        context.bind_to_thread().unwrap();
        ok!(cuMemAlloc_v2(&mut number, 4));
        ok!(cuMemsetD32_v2(number, 0, 1));
        Bench { context, stream, append, number }
    }

    fn kernel_of(context: &Arc<CudaContext>, name: &str) -> CudaFunction {
        let module = context.load_module(Ptx::from_src(NUMBERS)).unwrap();
        module.load_function(name).unwrap()
    }

    /// Another kernel.
    pub(crate) fn kernel(&self, name: &str) -> CudaFunction {
        Bench::kernel_of(&self.context, name)
    }

    /// The stream's handle.
    pub(crate) fn on(&self) -> sys::CUstream {
        self.stream.cu_stream()
    }

    /// Where the number is.
    pub(crate) fn address(&self) -> u64 {
        self.number
    }

    /// The number, which becomes 0.
    pub(crate) fn take(&self) -> u32 {
        let number = self.read(self.number);
        ok!(cuMemsetD32Async(self.number, 0, 1, self.on()));
        ok!(cuStreamSynchronize(self.on()));
        number
    }

    /// Four bytes at an address, read on the stream.
    pub(crate) fn read(&self, address: u64) -> u32 {
        let mut number = 0u32;
        ok!(cuMemcpyDtoHAsync_v2((&raw mut number).cast(), address, 4, self.on()));
        ok!(cuStreamSynchronize(self.on()));
        number
    }

    /// Appends a digit, on a stream.
    pub(crate) fn append_on(&self, stream: sys::CUstream, digit: u32) -> sys::CUresult {
        let mut arguments = Arguments::new(&[self.number, digit.into()]);
        let (function, list) = (self.append.cu_function(), arguments.list());
        code!(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, list, ptr::null_mut()))
    }

    /// Launches a kernel of one thread on the stream.
    pub(crate) fn launch(&self, kernel: &CudaFunction, values: &[u64]) {
        let mut arguments = Arguments::new(values);
        let (function, list) = (kernel.cu_function(), arguments.list());
        ok!(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, self.on(), list, ptr::null_mut()));
    }
}

/// The address of a slice.
#[allow(dead_code, reason = "each test binary uses its part")]
pub(crate) fn address_of<T>(slice: &cudarc::driver::CudaSlice<T>) -> u64 {
    slice.device_ptr(slice.stream()).0
}
