//! Functions of the API that are not implemented: each says so once and returns CUDA_ERROR_NOT_SUPPORTED.

use super::{
    abi::{CuResult, call},
    error::{Code, Error},
};
use std::sync::atomic::{AtomicBool, Ordering};

fn not_supported(name: &str, told: &AtomicBool) -> CuResult {
    let text = format!("{name} is not supported by the software device");
    call(|| {
        Err(if told.swap(true, Ordering::Relaxed) {
            Error::new(Code::NOT_SUPPORTED, text)
        } else {
            Error::report(Code::NOT_SUPPORTED, text)
        })
    })
}

macro_rules! define {
    ($($name:ident)*) => {
        $(
            // The arguments are left where the caller put them: in the C calling conventions of the systems that
            // this runs on it is the caller who removes them.
            pub extern "C" fn $name() -> CuResult {
                static TOLD: AtomicBool = AtomicBool::new(false);
                not_supported(stringify!($name), &TOLD)
            }
        )*
    };
}

crate::unsupported_functions!(define);
