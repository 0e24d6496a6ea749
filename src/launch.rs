//! Launching: a plan and its parameters go to a stream.

use std::collections::HashMap;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use cudarc::driver::sys::CUfunction_attribute_enum as FunctionAttribute;
use cudarc::driver::{CudaFunction, CudaModule, CudaStream, DeviceRepr, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

use crate::device::CurrentContext;
use crate::{Device, Error, Result, embedded};

/// A launch, as pure data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchPlan {
    /// The operator.
    pub op: &'static str,
    /// The kernel instance.
    pub instance: &'static str,
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads a block.
    pub block: [u32; 3],
    /// Dynamic shared memory a block, in bytes.
    pub shared_bytes: u32,
    /// Workspace, in bytes.
    pub workspace_bytes: usize,
}

/// Parameters of a kernel, passed by value: one `repr(C)` struct without padding, mirrored in its `.cu` file.
pub(crate) trait Params: bytemuck::Pod + DeviceRepr {}

/// Where work is submitted: a stream of a device. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Queue {
    device: Device,
    stream: ManuallyDrop<Arc<CudaStream>>,
}

/// The kernels loaded into a context.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    modules: HashMap<usize, Arc<CudaModule>>,
    functions: HashMap<(&'static str, &'static str), Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    function: CudaFunction,
    /// Dynamic shared memory that the function may use.
    shared_bytes: u32,
}

impl Queue {
    /// A queue on a stream of the caller. The stream must belong to the device's context.
    pub fn new(device: &Device, stream: Arc<CudaStream>) -> Result<Self> {
        if stream.context() != device.context() {
            return Err(Error::WrongDevice {
                op: "Queue::new",
                argument: "stream",
                got: format!("device {}, {:p}", stream.context().ordinal(), stream.context().cu_ctx()),
                expected: format!("device {}, {:p}", device.context().ordinal(), device.context().cu_ctx()),
            });
        }
        Ok(Self::on(device.clone(), stream))
    }

    pub(crate) fn on(device: Device, stream: Arc<CudaStream>) -> Self {
        Self { device, stream: ManuallyDrop::new(stream) }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The stream.
    pub fn stream(&self) -> &Arc<CudaStream> {
        &self.stream
    }

    /// Waits until all work submitted so far is done; reports what went wrong in it.
    pub fn synchronize(&self) -> Result<()> {
        let _current = CurrentContext::save()?;
        self.stream.synchronize().map_err(|error| Error::driver("synchronize", error))
    }

    /// Remembers the current context for as long as the operator works.
    pub(crate) fn enter(&self) -> Result<CurrentContext> {
        CurrentContext::save()
    }

    /// Launches a kernel.
    ///
    /// # Safety
    /// `params` must be the struct that the plan's kernel takes, and its addresses, shapes and strides must describe
    /// memory of this queue's context that stays alive and unused by others until the kernel is done with it.
    pub(crate) unsafe fn launch<P: Params>(&self, plan: &LaunchPlan, params: &P) -> Result<()> {
        let function = self.device.function(plan)?;
        let config = LaunchConfig {
            grid_dim: plan.grid.into(),
            block_dim: plan.block.into(),
            shared_mem_bytes: plan.shared_bytes,
        };
        // SAFETY: the caller's promise; the grid and the block come from the plan made for this kernel.
        let launched = unsafe { self.stream.launch_builder(&function).arg(params).launch(config) };
        launched.map(drop).map_err(|error| Error::driver(plan.to_string(), error))
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // Destroying a stream makes its context current; the caller's is to stay.
        let _current = CurrentContext::save();
        // SAFETY: the stream is not used after this.
        unsafe { ManuallyDrop::drop(&mut self.stream) };
    }
}

impl Device {
    /// Loads the kernel of a plan and sets its attributes, so that later launches do neither: call it before a
    /// stream is captured into a graph, or to keep the first launch quick.
    pub fn prepare(&self, plan: &LaunchPlan) -> Result<()> {
        let _current = CurrentContext::save()?;
        self.function(plan).map(drop)
    }

    /// The loaded kernel of a plan.
    fn function(&self, plan: &LaunchPlan) -> Result<CudaFunction> {
        let key = (plan.op, plan.instance);
        let enough = |loaded: &&Loaded| loaded.shared_bytes >= plan.shared_bytes;
        {
            let functions = self.functions().read().unwrap_or_else(|poisoned| poisoned.into_inner());
            if let Some(loaded) = functions.functions.get(&key).filter(enough) {
                return Ok(loaded.function.clone());
            }
        }
        let mut functions = self.functions().write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let loaded = functions.load(self, plan)?;
        functions.functions.insert(key, loaded.clone());
        Ok(loaded.function)
    }
}

impl Functions {
    fn load(&mut self, device: &Device, plan: &LaunchPlan) -> Result<Loaded> {
        let missing = Error::KernelMissing { op: plan.op, instance: plan.instance, available: embedded::KERNELS.len() };
        let (index, kernel) = embedded::find(plan.op, plan.instance).ok_or(missing)?;
        let error = |error| Error::driver(format!("{}: loading {}", plan.op, plan.instance), error);
        let module = match self.modules.get(&index) {
            Some(module) => module.clone(),
            None => {
                announce_compilation(device, kernel);
                let image = Ptx::from_binary(kernel.image.to_vec());
                let module = device.context().load_module(image).map_err(error)?;
                self.modules.insert(index, module.clone());
                module
            }
        };
        let function = module.load_function(plan.instance).map_err(error)?;
        // Up to 48 KB need no permission.
        if plan.shared_bytes > 48 * 1024 {
            let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            function.set_attribute(attribute, plan.shared_bytes as i32).map_err(error)?;
        }
        Ok(Loaded { function, shared_bytes: plan.shared_bytes.max(48 * 1024) })
    }
}

/// Says so when the driver has to compile a kernel file for a chip that it holds no code for: that takes a while.
fn announce_compilation(device: &Device, kernel: &embedded::EmbeddedKernel) {
    let (major, minor) = device.limits().compute_capability;
    // Code runs on chips of the same major and the same or a higher minor number.
    let runs = |sm: u32| sm / 10 == major && sm % 10 <= minor;
    let mut chips = kernel.instances.iter().flat_map(|instance| instance.architectures);
    if !device.is_software() && !chips.any(|chip| runs(chip.sm)) {
        eprintln!("llm-kernels: the driver compiles {} for sm_{}{}, once", kernel.op, major, minor);
    }
}

impl std::fmt::Display for LaunchPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { op, instance, grid, block, shared_bytes, workspace_bytes } = self;
        write!(
            f,
            "{op}: {instance} grid {grid:?} block {block:?} shared {shared_bytes} B workspace {workspace_bytes} B"
        )
    }
}
