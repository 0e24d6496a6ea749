//! Installing beside other libraries, and what the environment sets.

use super::alone;
use cudarc::driver::{CudaContext, sys};
use softcuda::{InstallError, chip::Architecture};
use std::path::{Path, PathBuf};

/// A folder with a library called `name` that is not ours: a copy of one that this process uses.
fn folder_with(name: &str) -> PathBuf {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let library = maps
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().last())
        .find(|path| path.contains("libgcc_s"))
        .expect("Rust programs load libgcc_s");
    let folder = std::env::temp_dir().join(format!("softcuda-test-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(library, folder.join(name)).unwrap();
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn another_library_that_is_loaded_already_is_an_error() {
    let name = "libcuda.so.1";
    let folder = folder_with(name);
    alone("install::another_library_that_is_loaded_already_is_an_error", &[("LD_LIBRARY_PATH", text(&folder))], || {
        // SAFETY: the library is a copy of one that is loaded anyway.
        let other = unsafe { libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW) };
        assert!(!other.is_null());
        for _ in 0..2 {
            let error = softcuda::install(&[Architecture::Sm80]).unwrap_err();
            assert!(matches!(error, InstallError::AlreadyLoaded(_)), "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
    });
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_library_on_the_search_path_is_not_seen() {
    let folder = folder_with("libcuda.so");
    alone("install::another_library_on_the_search_path_is_not_seen", &[("LD_LIBRARY_PATH", text(&folder))], || {
        softcuda::install(&[Architecture::Sm89]).unwrap();
        // SAFETY: only looks whether a library opens.
        assert!(unsafe { sys::is_culib_present() });
        assert_eq!(CudaContext::device_count().unwrap(), 1);
        let context = CudaContext::new(0).unwrap();
        assert!(context.name().unwrap().contains("4090"));
    });
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn asking_for_a_driver_before_there_is_one_does_no_harm() {
    alone("install::asking_for_a_driver_before_there_is_one_does_no_harm", &[], || {
        // SAFETY: only looks whether a library opens.
        if unsafe { sys::is_culib_present() } {
            // A machine with a driver: it is loaded now, which must be an error instead.
            softcuda::install(&[Architecture::Sm80]).unwrap_err();
            return;
        }
        softcuda::install(&[Architecture::Sm80]).unwrap();
        CudaContext::new(0).unwrap();
    });
}

#[test]
fn a_setting_that_cannot_be_read_is_an_error_that_names_it() {
    alone("install::a_setting_that_cannot_be_read_is_an_error_that_names_it", &[("SOFTCUDA_TENSOR", "exakt")], || {
        let error = softcuda::install(&[Architecture::Sm80]).unwrap_err();
        assert_eq!(error.to_string(), "SOFTCUDA_TENSOR=\"exakt\": expected exact or fast");
    });
}

#[test]
fn the_last_release_of_the_primary_context_ends_it() {
    alone("install::the_last_release_of_the_primary_context_ends_it", &[], || {
        softcuda::install(&[Architecture::Sm90]).unwrap();
        let active = || {
            let (mut flags, mut active) = (0, 0);
            // SAFETY: valid pointers.
            unsafe { sys::cuDevicePrimaryCtxGetState(0, &mut flags, &mut active) }.result().unwrap();
            active
        };
        let first = CudaContext::new(0).unwrap();
        let second = CudaContext::new(0).unwrap();
        assert_eq!(first.cu_ctx(), second.cu_ctx());
        let (free, _) = first.mem_get_info().unwrap();
        let leaked = first.default_stream().alloc_zeros::<u8>(1 << 20).unwrap().leak();
        drop(first);
        assert_eq!(active(), 1);
        drop(second);
        assert_eq!(active(), 0);
        // What was left behind is freed with the context.
        let third = CudaContext::new(0).unwrap();
        assert_eq!(third.mem_get_info().unwrap().0, free);
        // SAFETY: an address that is no longer allocated is refused.
        let result = unsafe { sys::cuMemFree_v2(leaked) };
        assert_eq!(result, sys::CUresult::CUDA_ERROR_INVALID_VALUE);
    });
}
