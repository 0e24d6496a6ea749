//! Devices: a CUDA context with the kernels loaded into it.

use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex, RwLock, Weak};

use cudarc::driver::sys::{CUcontext, CUdevice_attribute as Attribute};
use cudarc::driver::{CudaContext, result};

use crate::launch::Functions;
use crate::{Error, Queue, Result};

/// A GPU, or the software device: a CUDA context and the kernels loaded into it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Device {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    context: ManuallyDrop<Arc<CudaContext>>,
    name: String,
    limits: Limits,
    functions: RwLock<Functions>,
}

/// What plans need to know of a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Compute capability: `(8, 6)`.
    pub compute_capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Most shared memory a block can ask for, in bytes.
    pub shared_bytes_per_block: u32,
    /// Level-2 cache, in bytes.
    pub l2_bytes: u32,
}

impl Limits {
    /// The limits of the smallest chip of a compute capability that is in use: what every plan must fit.
    ///
    /// Sizes of shared memory are those of the CUDA C++ Programming Guide's table of compute capabilities.
    pub fn of_capability(major: u32, minor: u32) -> Self {
        let shared_kib = match (major, minor) {
            (8, 0 | 7) => 163,
            (8, _) | (12, _) => 99,
            _ => 227,
        };
        Self {
            compute_capability: (major, minor),
            multiprocessors: 16,
            shared_bytes_per_block: shared_kib * 1024,
            l2_bytes: 2 << 20,
        }
    }

    /// `80` for sm_80.
    pub fn sm(&self) -> u32 {
        self.compute_capability.0 * 10 + self.compute_capability.1
    }
}

/// All devices in use: a context has its kernels loaded once, however often it is handed in.
static DEVICES: Mutex<Vec<Weak<Inner>>> = Mutex::new(Vec::new());

impl Device {
    /// A GPU by its number. The context that is current on this thread stays current.
    pub fn cuda(ordinal: usize) -> Result<Self> {
        let device = format!("cuda:{ordinal}");
        #[cfg(feature = "software")]
        if crate::software::installed() {
            let reason = format!("it is in use in this process, {device} can't be opened beside it");
            return Err(Error::Software { reason });
        }
        if !driver_present() {
            let hint = "; without a GPU use the software device (Device::software, LLM_KERNELS_DEVICE=software)";
            return Err(Error::NoDriver { device, hint });
        }
        Self::open_ordinal(ordinal, device)
    }

    /// The software device: every kernel really runs, checked, on this machine's processor.
    ///
    /// It must be asked for before anything in the process has used a CUDA driver, and from then on it is the
    /// process's only driver.
    #[cfg(feature = "software")]
    pub fn software(architecture: crate::software::Architecture) -> Result<Self> {
        let ordinal = crate::software::install(architecture)?;
        Self::open_ordinal(ordinal, format!("software:sm_{}", architecture.number()))
    }

    /// A device by name: `cuda:N`, `software`, `software:sm_80`, `software:sm_89`, `software:sm_90`, or `auto`: the
    /// first GPU if there is one, else the software device, saying so on standard error.
    pub fn open(name: &str) -> Result<Self> {
        let unknown = || Error::DeviceName { got: name.to_owned() };
        match name.split_once(':') {
            Some(("cuda", ordinal)) => Self::cuda(ordinal.parse().map_err(|_| unknown())?),
            None if name == "auto" && gpu_present() => Self::cuda(0),
            None if name == "auto" => {
                let device = Self::open_software("sm_80").and_then(|found| found.ok_or_else(unknown))?;
                eprintln!("no GPU found: running on {}, in software", device.name());
                Ok(device)
            }
            None if name == "software" => Self::open_software("sm_80")?.ok_or_else(unknown),
            Some(("software", architecture)) => Self::open_software(architecture)?.ok_or_else(unknown),
            _ => Err(unknown()),
        }
    }

    #[cfg(feature = "software")]
    fn open_software(architecture: &str) -> Result<Option<Self>> {
        crate::software::by_name(architecture).map(Self::software).transpose()
    }

    #[cfg(not(feature = "software"))]
    fn open_software(_: &str) -> Result<Option<Self>> {
        let reason = "this build has no software device (feature `software`)".to_owned();
        Err(Error::Software { reason })
    }

    /// A device over a context that the caller already has.
    pub fn from_context(context: Arc<CudaContext>) -> Result<Self> {
        let mut devices = DEVICES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        devices.retain(|device| device.strong_count() > 0);
        if let Some(inner) = devices.iter().filter_map(Weak::upgrade).find(|inner| *inner.context == context) {
            return Ok(Self { inner });
        }
        let error = |error| Error::driver(format!("device {}", context.ordinal()), error);
        let name = context.name().map_err(error)?;
        let attribute = |which| context.attribute(which).map_err(error);
        let (major, minor) = context.compute_capability().map_err(error)?;
        if major < 8 {
            let device = format!("cuda:{}", context.ordinal());
            return Err(Error::ComputeCapability { device, name, major, minor });
        }
        let count = |which| attribute(which).map(|value| value.max(0) as u32);
        let limits = Limits {
            compute_capability: (major as u32, minor.max(0) as u32),
            multiprocessors: count(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_bytes_per_block: count(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
            l2_bytes: count(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
        };
        let inner = Arc::new(Inner { context: ManuallyDrop::new(context), name, limits, functions: RwLock::default() });
        devices.push(Arc::downgrade(&inner));
        Ok(Self { inner })
    }

    fn open_ordinal(ordinal: usize, device: String) -> Result<Self> {
        let error = |error| Error::driver(device.clone(), error);
        let count = match CudaContext::device_count() {
            Ok(count) => count.max(0) as usize,
            // "No device" is a count.
            Err(no_device) if no_device.0 as u32 == 100 => 0,
            Err(other) => return Err(error(other)),
        };
        if ordinal >= count {
            return Err(Error::NoSuchDevice { device, count });
        }
        let _current = CurrentContext::save()?;
        Self::from_context(CudaContext::new(ordinal).map_err(error)?)
    }

    /// The context.
    pub fn context(&self) -> &Arc<CudaContext> {
        &self.inner.context
    }

    /// The chip's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What plans need to know of the chip.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Whether it is the software device.
    pub fn is_software(&self) -> bool {
        #[cfg(feature = "software")]
        return crate::software::installed();
        #[cfg(not(feature = "software"))]
        false
    }

    /// A queue on the context's default stream.
    pub fn default_queue(&self) -> Queue {
        Queue::on(self.clone(), self.context().default_stream())
    }

    /// A queue on a new stream.
    pub fn new_queue(&self) -> Result<Queue> {
        let _current = CurrentContext::save()?;
        let stream = self.context().new_stream().map_err(|error| Error::driver("new stream", error))?;
        Ok(Queue::on(self.clone(), stream))
    }

    pub(crate) fn functions(&self) -> &RwLock<Functions> {
        &self.inner.functions
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Unloading and releasing make the context current; the caller's is to stay.
        let _current = CurrentContext::save();
        self.functions = RwLock::default();
        // SAFETY: the context is not used after this.
        unsafe { ManuallyDrop::drop(&mut self.context) };
    }
}

/// Remembers the context that is current on this thread and makes it current again when dropped.
#[derive(Debug)]
pub(crate) struct CurrentContext(CUcontext);

impl CurrentContext {
    /// Remembers the current context.
    pub(crate) fn save() -> Result<Self> {
        match result::ctx::get_current() {
            Ok(current) => Ok(Self(current.unwrap_or(std::ptr::null_mut()))),
            Err(error) => Err(Error::driver("current context", error)),
        }
    }
}

impl Drop for CurrentContext {
    fn drop(&mut self) {
        // SAFETY: it was current on this thread when it was saved; no context is current for null. If its owner has
        // destroyed it since, the driver says so, and there is nothing to restore.
        let _ = unsafe { result::ctx::set_current(self.0) };
    }
}

fn driver_library() -> Option<libloading::Library> {
    let names: &[&str] = if cfg!(windows) { &["nvcuda.dll"] } else { &["libcuda.so", "libcuda.so.1"] };
    // SAFETY: loading NVIDIA's driver library runs its initialisers, which have no preconditions.
    names.iter().find_map(|name| unsafe { libloading::Library::new(*name) }.ok())
}

/// Whether there is a driver library. Asked before any call of cudarc, which panics without one.
fn driver_present() -> bool {
    driver_library().is_some()
}

/// Whether a driver with a device is there, found out without cudarc, which could not let go of a driver again.
fn gpu_present() -> bool {
    #[cfg(feature = "software")]
    if crate::software::installed() {
        return false;
    }
    let Some(library) = driver_library() else {
        return false;
    };
    // SAFETY: these are the signatures of the driver API.
    unsafe {
        let init = library.get::<unsafe extern "C" fn(u32) -> i32>(b"cuInit\0");
        let count = library.get::<unsafe extern "C" fn(*mut i32) -> i32>(b"cuDeviceGetCount\0");
        let (Ok(init), Ok(count)) = (init, count) else {
            return false;
        };
        let mut devices = 0;
        init(0) == 0 && count(&mut devices) == 0 && devices > 0
    }
}

// Engines share devices and queues between threads.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Device>();
    shared::<Queue>();
    shared::<crate::TensorView<'static>>();
    shared::<crate::TensorViewMut<'static>>();
};

impl Error {
    /// Turns a driver's error into one that says what was being done and, where known, what helps.
    pub(crate) fn driver(during: impl Into<String>, error: cudarc::driver::DriverError) -> Self {
        let (during, code) = (during.into(), error.0 as u32);
        let text = error.error_string().map_or("unknown error".into(), |text| text.to_string_lossy().into_owned());
        // Invalid image, no binary for this GPU, PTX newer than the driver's compiler.
        match code {
            200 | 209 | 222 => Self::DriverTooOld { during, code, text },
            _ => Self::Driver { during, code, text },
        }
    }
}
