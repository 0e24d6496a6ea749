//! Functions: kernels of a loaded module, and their attributes.

use super::{
    abi::{CuResult, Handle, Out, call},
    context::{self, Context},
    error::{Code, Error},
    jit::Options,
    library,
    occupancy::{self, Needs},
    source::Source,
    table::{Table, new_handle},
};
use crate::{
    chip::{MAX_BLOCK_THREADS, SHARED_PER_BLOCK, WARP_SIZE},
    program::Kernel,
};
use std::{
    ffi::{CString, c_char},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// Reported where no machine code says how many registers a kernel needs.
const NOMINAL_REGISTERS: u32 = 32;

/// A kernel that can be launched.
pub(super) struct Function {
    pub(super) context: Arc<Context>,
    pub(super) kernel: Arc<Kernel>,
    /// Registers of a thread; `None`: unknown, since there is no machine code for this chip.
    pub(super) registers: Option<u32>,
    module: Handle,
    name: CString,
    local_bytes: u32,
    /// Named barriers.
    barriers: u32,
    const_bytes: u64,
    ptx_target: u32,
    binary_architecture: u32,
    /// Reported where `registers` is unknown.
    nominal_registers: u32,
    settings: Settings,
    /// Those of the library's kernel: they count where the function has none of its own.
    inherited: OnceLock<Arc<Settings>>,
}

/// What a program has set for a function, or for a kernel of a library on one device.
#[derive(Default)]
pub(super) struct Settings(Mutex<Choices>);

#[derive(Clone, Copy, Default)]
struct Choices {
    max_dynamic_shared: Option<u32>,
    carveout: Option<i32>,
}

impl Settings {
    fn choices(&self) -> Choices {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Choices)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

static FUNCTIONS: Table<Function> = Table::new();

/// Adds a function.
pub(super) fn insert(function: Function) -> Handle {
    let handle = new_handle();
    FUNCTIONS.insert(handle, Arc::new(function));
    handle
}

/// The function of a handle; of a kernel of a library: its function in the calling thread's context.
pub(super) fn get(handle: Handle) -> Result<Arc<Function>, Error> {
    get_in(handle, context::current)
}

/// The function of a handle; of a kernel of a library: its function in `context`.
pub(super) fn get_in(
    handle: Handle,
    context: impl FnOnce() -> Result<Arc<Context>, Error>,
) -> Result<Arc<Function>, Error> {
    match FUNCTIONS.get(handle) {
        Err(_) if library::is_kernel(handle) => FUNCTIONS.get(library::function(handle, &context()?)?),
        found => found,
    }
}

/// Forgets the functions of a module.
pub(super) fn remove_all(handles: &[Handle]) {
    for handle in handles {
        let _ = FUNCTIONS.remove(*handle);
    }
}

impl Function {
    /// A kernel of `module`, with what `source` knows of its machine code.
    pub(super) fn new(
        module: Handle,
        context: Arc<Context>,
        kernel: Arc<Kernel>,
        source: &Source,
        options: &Options,
        ptx_target: u32,
        const_bytes: u64,
    ) -> Result<Function, Error> {
        let chip = context.device.chip;
        if kernel.static_shared_bytes > SHARED_PER_BLOCK {
            return Err(Error::report(
                Code::INVALID_PTX,
                format!(
                    "kernel {} declares {} bytes of shared memory; more than {SHARED_PER_BLOCK} must be dynamic",
                    kernel.name, kernel.static_shared_bytes
                ),
            ));
        }
        let known = source.resources.iter().find(|resources| resources.kernel == kernel.name);
        Ok(Function {
            module,
            name: CString::new(kernel.name.clone()).map_err(|_| Code::INVALID_PTX)?,
            registers: known.map(|known| known.registers),
            local_bytes: known.map_or(kernel.local_bytes, |known| known.local_bytes),
            // A kernel without any still has the one of `bar.sync 0`.
            barriers: known.map_or(1, |known| known.barriers.max(1)),
            const_bytes,
            ptx_target,
            binary_architecture: source.binary_architecture.unwrap_or(chip.architecture.number()),
            nominal_registers: options.max_registers.map_or(NOMINAL_REGISTERS, |most| most.min(NOMINAL_REGISTERS)),
            settings: Settings::default(),
            inherited: OnceLock::new(),
            context,
            kernel,
        })
    }

    /// Registers of a thread, or a nominal number where that is unknown.
    pub(super) fn registers_or_nominal(&self) -> u32 {
        self.registers.unwrap_or(self.nominal_registers)
    }

    /// Makes the settings of a library's kernel count.
    pub(super) fn inherit(&self, settings: Arc<Settings>) {
        // Set once, when the module of the library is loaded.
        let _ = self.inherited.set(settings);
    }

    /// What is set by `choice`, here or for the library's kernel.
    fn setting<T>(&self, choice: impl Fn(Choices) -> Option<T>) -> Option<T> {
        choice(self.settings.choices()).or_else(|| choice(self.inherited.get()?.choices()))
    }

    /// What a block of `threads` threads takes of a multiprocessor.
    pub(super) fn needs(&self, threads: u32, dynamic_shared_bytes: u32) -> Needs {
        Needs {
            threads,
            registers: self.registers_or_nominal(),
            shared_bytes: self.kernel.static_shared_bytes.saturating_add(dynamic_shared_bytes),
            barriers: self.barriers,
            carveout: self
                .setting(|choices| choices.carveout)
                .filter(|percent| *percent >= 0)
                .map(|percent| percent as u32),
        }
    }

    /// A line on what it needs.
    pub(super) fn describe(&self) -> String {
        let registers = match self.registers {
            Some(registers) => format!("{registers} registers"),
            None => format!("registers unknown, {} assumed", self.nominal_registers),
        };
        format!(
            "kernel `{}` for sm_{}: {registers}, {} bytes of shared, {} of local, {} of constant memory",
            self.kernel.name,
            self.binary_architecture,
            self.kernel.static_shared_bytes,
            self.local_bytes,
            self.const_bytes
        )
    }

    /// Dynamic shared memory of a block at most, as set.
    pub(super) fn max_dynamic_shared(&self) -> u32 {
        let usual = SHARED_PER_BLOCK - self.kernel.static_shared_bytes;
        self.setting(|choices| choices.max_dynamic_shared).unwrap_or(usual)
    }

    /// Threads of a block at most: by its directives and its registers.
    pub(super) fn max_threads(&self) -> u32 {
        let required = self.kernel.required_block;
        let required = required.map(|block| block.iter().product());
        let declared = required.or(self.kernel.max_threads);
        declared.unwrap_or(MAX_BLOCK_THREADS).min(max_threads_by_registers(self.registers_or_nominal()))
    }

    pub(super) fn attribute(&self, attribute: u32) -> Result<i32, Error> {
        // CU_FUNC_ATTRIBUTE_*, in the order of their numbers.
        Ok(match attribute {
            0 => self.max_threads() as i32,                              // MAX_THREADS_PER_BLOCK
            1 => self.kernel.static_shared_bytes as i32,                 // SHARED_SIZE_BYTES
            2 => self.const_bytes as i32,                                // CONST_SIZE_BYTES
            3 => self.local_bytes as i32,                                // LOCAL_SIZE_BYTES
            4 => self.registers_or_nominal() as i32,                     // NUM_REGS
            5 => self.ptx_target as i32,                                 // PTX_VERSION
            6 => self.binary_architecture as i32,                        // BINARY_VERSION
            7 => 0,                                                      // CACHE_MODE_CA
            8 => self.max_dynamic_shared() as i32,                       // MAX_DYNAMIC_SHARED_SIZE_BYTES
            9 => self.setting(|choices| choices.carveout).unwrap_or(-1), // PREFERRED_SHARED_MEMORY_CARVEOUT
            10..=15 => 0,                                                // CLUSTER_*
            _ => return Err(Code::INVALID_VALUE.into()),
        })
    }

    /// Sets an attribute of this function alone.
    fn set_attribute(&self, attribute: u32, value: i32) -> Result<(), Error> {
        self.set_attribute_in(&self.settings, attribute, value)
    }

    /// Sets an attribute in `settings`, within what this function allows.
    pub(super) fn set_attribute_in(&self, settings: &Settings, attribute: u32, value: i32) -> Result<(), Error> {
        const MAX_DYNAMIC_SHARED: u32 = 8;
        const CARVEOUT: u32 = 9;
        const CLUSTERS: std::ops::RangeInclusive<u32> = 10..=15;
        match attribute {
            MAX_DYNAMIC_SHARED => {
                let most = self.context.device.chip.shared_per_block_optin - self.kernel.static_shared_bytes;
                let asked = u32::try_from(value).ok().filter(|asked| *asked <= most);
                let asked = asked.ok_or_else(|| {
                    Error::new(
                        Code::INVALID_VALUE,
                        format!(
                            "kernel {}: {value} bytes of dynamic shared memory asked for, at most {most} on {}",
                            self.kernel.name, self.context.device.chip.name
                        ),
                    )
                })?;
                settings.change(|choices| choices.max_dynamic_shared = Some(asked));
            }
            CARVEOUT if (-1..=100).contains(&value) => {
                settings.change(|choices| choices.carveout = Some(value));
            }
            _ if CLUSTERS.contains(&attribute) && value == 0 => {}
            _ if CLUSTERS.contains(&attribute) => {
                let text = format!("kernel {}: clusters are not supported", self.kernel.name);
                return Err(Error::report(Code::NOT_SUPPORTED, text));
            }
            _ => return Err(Code::INVALID_VALUE.into()),
        }
        Ok(())
    }
}

/// Threads that the registers of a multiprocessor suffice for, in whole warps.
fn max_threads_by_registers(registers: u32) -> u32 {
    (occupancy::warps_by_registers(registers) * WARP_SIZE).min(MAX_BLOCK_THREADS)
}

pub extern "C" fn cuFuncGetAttribute(value: Out<i32>, attribute: u32, function: Handle) -> CuResult {
    call(|| value.set(get(function)?.attribute(attribute)?))
}

pub extern "C" fn cuFuncSetAttribute(function: Handle, attribute: u32, value: i32) -> CuResult {
    call(|| {
        let function = get(function)?;
        function.context.check()?;
        function.set_attribute(attribute, value)
    })
}

pub extern "C" fn cuFuncSetCacheConfig(function: Handle, _config: u32) -> CuResult {
    call(|| get(function).map(drop))
}

pub extern "C" fn cuFuncSetSharedMemConfig(function: Handle, _config: u32) -> CuResult {
    call(|| get(function).map(drop))
}

pub extern "C" fn cuFuncGetModule(out: Out<Handle>, function: Handle) -> CuResult {
    call(|| out.set(get(function)?.module))
}

/// The name stays valid as long as the module is loaded.
pub extern "C" fn cuFuncGetName(name: Out<*const c_char>, function: Handle) -> CuResult {
    call(|| name.set(get(function)?.name.as_ptr()))
}

pub extern "C" fn cuFuncGetParamCount(function: Handle, count: Out<usize>) -> CuResult {
    call(|| count.set(get(function)?.kernel.params.len()))
}

pub extern "C" fn cuFuncGetParamInfo(
    function: Handle,
    position: usize,
    offset: Out<usize>,
    bytes: Out<usize>,
) -> CuResult {
    call(|| {
        let function = get(function)?;
        let parameter = function.kernel.params.get(position);
        let (at, size) = *parameter.ok_or(Code::INVALID_VALUE)?;
        offset.set(at as usize)?;
        bytes.set_if_wanted(size as usize);
        Ok(())
    })
}

pub extern "C" fn cuFuncIsLoaded(state: Out<u32>, function: Handle) -> CuResult {
    const LOADED: u32 = 1;
    call(|| {
        get(function)?;
        state.set(LOADED)
    })
}

pub extern "C" fn cuFuncLoad(function: Handle) -> CuResult {
    call(|| get(function).map(drop))
}
