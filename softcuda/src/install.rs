//! Installing the software device into this process.

use crate::{
    chip::Architecture,
    config::{Config, ConfigError},
    driver,
};
use std::sync::{Mutex, PoisonError};

/// Why the software device cannot be installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// Neither Linux with glibc nor a machine with 64-bit little-endian ELF.
    #[error(
        "the software device needs Linux with glibc on x86-64 or aarch64; on this system, use a machine with a GPU"
    )]
    Unsupported,
    /// No architecture was asked for.
    #[error("no architecture given: a software device needs at least one of sm_80, sm_89, sm_90")]
    NoDevice,
    /// A driver is in this process already: what calls it now would not see another one.
    #[error("{0} is already loaded in this process: install the software device before the first CUDA call")]
    AlreadyLoaded(&'static str),
    /// Installed before, with other devices.
    #[error("the software device is already installed with {installed:?}; asked for {asked:?}")]
    Different {
        /// The devices there are.
        installed: Vec<Architecture>,
        /// The devices that this call wanted.
        asked: Vec<Architecture>,
    },
    /// An environment variable cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused a file or its loading.
    #[error("cannot load the software device as {soname}: {reason}")]
    Load {
        /// The library's name.
        soname: &'static str,
        /// The system's words.
        reason: String,
    },
}

/// The names by which programs open the driver.
const SONAMES: [&str; 2] = ["libcuda.so", "libcuda.so.1"];

/// Makes this process see a CUDA driver whose device `i` emulates `devices[i]`.
///
/// Must come before anything opens `libcuda.so` or `libcuda.so.1`. Asking again for the same devices does nothing;
/// there is no way back. A real driver on this machine stays untouched and unseen.
///
/// # Errors
///
/// See [`InstallError`]. When a call fails nothing is installed.
pub fn install(devices: &[Architecture]) -> Result<(), InstallError> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    if devices.is_empty() {
        return Err(InstallError::NoDevice);
    }
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*installed {
        loader::refuse_other_drivers()?;
    }
    let config = Config::from_environment()?;
    driver::configure(devices, config)
        .map_err(|there_are| InstallError::Different { installed: there_are, asked: devices.to_vec() })?;
    if !*installed {
        let functions = driver::functions();
        for soname in SONAMES {
            loader::load(soname, &functions)?;
        }
        *installed = true;
    }
    Ok(())
}

#[cfg(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod loader {
    use super::{InstallError, SONAMES};
    use crate::image::{self, Symbol};
    use std::{
        ffi::{CStr, CString},
        fs::File,
        io::Write,
        os::fd::{AsRawFd, FromRawFd, OwnedFd},
    };

    /// An error if a library of one of our names is in the process.
    pub(super) fn refuse_other_drivers() -> Result<(), InstallError> {
        for soname in SONAMES {
            let Ok(name) = CString::new(soname) else {
                continue;
            };
            // SAFETY: RTLD_NOLOAD only looks; a handle that it returns is closed once.
            unsafe {
                let handle = libc::dlopen(name.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY);
                if !handle.is_null() {
                    libc::dlclose(handle);
                    return Err(InstallError::AlreadyLoaded(soname));
                }
            }
        }
        Ok(())
    }

    /// Loads an image called `soname` for the rest of the process.
    pub(super) fn load(soname: &'static str, functions: &[Symbol]) -> Result<(), InstallError> {
        let image = image::build(soname, functions);
        let failed = |reason: String| InstallError::Load { soname, reason };
        // Where an anonymous file is not to be had or not to be loaded, a real one takes its place for a moment.
        match load_anonymous(&image) {
            Ok(()) => Ok(()),
            Err(first) => load_temporary(soname, &image)
                .map_err(|second| failed(format!("{first}; as a temporary file: {second}"))),
        }
    }

    fn load_anonymous(image: &[u8]) -> Result<(), String> {
        // SAFETY: creates a file that nobody else has; the name is a constant.
        let descriptor = unsafe { libc::memfd_create(c"softcuda".as_ptr(), libc::MFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error().to_string());
        }
        // SAFETY: the descriptor is new and ours.
        let mut file = File::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
        file.write_all(image).map_err(|error| error.to_string())?;
        open(&format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        // The loader knows libraries by their path: were this descriptor closed and its number used again for the
        // next image, the loader would take that for this one.
        std::mem::forget(file);
        Ok(())
    }

    fn load_temporary(soname: &str, image: &[u8]) -> Result<(), String> {
        let folder = std::env::temp_dir().join(format!("softcuda-{}", std::process::id()));
        let path = folder.join(soname);
        let attempt = || {
            std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
            std::fs::write(&path, image).map_err(|error| error.to_string())?;
            open(&path.to_string_lossy())
        };
        let result = attempt();
        // Loaded pages outlive the file; whatever cannot be removed stays in the temporary folder.
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_dir(&folder);
        result
    }

    /// Opens a library for good.
    fn open(path: &str) -> Result<(), String> {
        let path = CString::new(path).map_err(|error| error.to_string())?;
        // SAFETY: an image holds data only: loading it runs no code. The handle is never closed.
        unsafe {
            if libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL).is_null() {
                let error = libc::dlerror();
                return Err(if error.is_null() {
                    "dlopen failed".to_owned()
                } else {
                    CStr::from_ptr(error).to_string_lossy().into_owned()
                });
            }
        }
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        extern "C" fn answer() -> i32 {
            42
        }

        /// Looks `name` up in a loaded library.
        fn find(soname: &CStr, name: &CStr) -> usize {
            // SAFETY: only looks.
            unsafe {
                let library = libc::dlopen(soname.as_ptr(), libc::RTLD_NOLOAD | libc::RTLD_LAZY);
                assert!(!library.is_null(), "{soname:?}");
                libc::dlsym(library, name.as_ptr()) as usize
            }
        }

        #[test]
        fn functions_are_found_under_the_name_of_an_image_loaded_either_way() {
            let functions: [Symbol; 2] =
                [("first_function", 0x1234_5678_9abc), ("softcuda_answer", answer as *const () as usize)];
            load_anonymous(&image::build("libsoftcuda-anonymous.so", &functions)).unwrap();
            let soname = "libsoftcuda-temporary.so";
            load_temporary(soname, &image::build(soname, &functions)).unwrap();
            for soname in [c"libsoftcuda-anonymous.so", c"libsoftcuda-temporary.so"] {
                for (name, address) in functions {
                    let name = CString::new(name).unwrap();
                    assert_eq!(find(soname, &name), address, "{name:?} in {soname:?}");
                }
                assert_eq!(find(soname, c"softcuda_question"), 0);
            }
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod loader {
    use super::InstallError;
    use crate::image::Symbol;

    pub(super) fn refuse_other_drivers() -> Result<(), InstallError> {
        Err(InstallError::Unsupported)
    }

    pub(super) fn load(_: &'static str, _: &[Symbol]) -> Result<(), InstallError> {
        Err(InstallError::Unsupported)
    }
}
