//! softcuda as a `libcuda.so.1` for other people's programs.
//!
//! The library exports every function of the driver API under its own name and passes each call on to `softcuda`.
//! It emulates the devices that `SOFTCUDA_ARCH` names (`sm_80` by default; several separated by commas). Copied to
//! `<folder>/libcuda.so.1`, it is found by a program that runs with `LD_LIBRARY_PATH=<folder>`.
//!
//! Rust programs use `softcuda::install` instead, which needs no file.

/// Defines `$name` as a jump to the function of that name in `softcuda`, which finds the arguments untouched.
///
/// Naked functions: whatever the signature is, nothing has to be said about it here.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! forward {
    ($name:ident, $target:path) => {
        #[allow(non_snake_case, missing_docs, reason = "a function of the driver API")]
        // SAFETY: the program that loads this library asks for the driver API, whose names these are.
        #[unsafe(no_mangle)]
        // SAFETY: the body is one jump that leaves registers and stack as they are.
        #[unsafe(naked)]
        pub extern "C" fn $name() {
            #[cfg(target_arch = "x86_64")]
            std::arch::naked_asm!("jmp {}", sym $target);
            #[cfg(target_arch = "aarch64")]
            std::arch::naked_asm!("b {}", sym $target);
        }
    };
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! forward_implemented {
    ($($module:ident: $($name:ident)*;)*) => {
        $($(forward!($name, softcuda::driver::$module::$name);)*)*
    };
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! forward_unsupported {
    ($($name:ident)*) => {
        $(forward!($name, softcuda::driver::unsupported::$name);)*
    };
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
softcuda::implemented_functions!(forward_implemented);
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
softcuda::unsupported_functions!(forward_unsupported);
