//! Libraries: images that belong to no context. Their kernels become functions of a context when they are first used there.

use super::{
    abi::{CuResult, DeviceOrdinal, DevicePointer, Handle, In, Out, call},
    context::{self, Context},
    device::{self, driver},
    error::{Code, Error},
    function::{self, Function, Settings},
    jit::Options,
    module::{self, Module},
    primary, source,
    table::{Table, new_handle},
};
use std::{
    collections::BTreeMap,
    ffi::{CString, c_char},
    sync::{Arc, Mutex, PoisonError},
};

/// A loaded library.
struct Library {
    image: Vec<u8>,
    /// Kernels by name; in the order of the text in `kernels_in_order`.
    kernels: BTreeMap<String, Handle>,
    kernels_in_order: Vec<Handle>,
    /// Its module in each context that has used it.
    modules: Mutex<BTreeMap<Handle, Handle>>,
}

/// A kernel of a library, the same in every context.
struct Kernel {
    library: Handle,
    name: CString,
    /// What is set for it, by device.
    settings: Vec<Arc<Settings>>,
}

static LIBRARIES: Table<Library> = Table::new();
static KERNELS: Table<Kernel> = Table::new();

impl Drop for Library {
    fn drop(&mut self) {
        for kernel in &self.kernels_in_order {
            let _ = KERNELS.remove(*kernel);
        }
        let modules = self.modules.get_mut().unwrap_or_else(PoisonError::into_inner);
        for module in modules.values() {
            // A context that has gone took its modules with it.
            let _ = module::remove(*module);
        }
    }
}

impl Library {
    /// Its module in a context, loaded there if it is not yet.
    fn module_in(&self, context: &Arc<Context>) -> Result<(Handle, Arc<Module>), Error> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = modules.get(&context.handle)
            && let Ok(module) = module::get(*handle)
        {
            return Ok((*handle, module));
        }
        let (handle, module) = module::load(context, &self.image, &Options::default(), true)?;
        modules.insert(context.handle, handle);
        for (name, function) in &module.kernels {
            if let Some(kernel) = self.kernels.get(name).and_then(|kernel| KERNELS.get(*kernel).ok())
                && let Some(settings) = kernel.settings.get(context.device.ordinal as usize)
            {
                function::get(*function)?.inherit(settings.clone());
            }
        }
        Ok((handle, module))
    }
}

/// Whether a handle is that of a library's kernel.
pub(super) fn is_kernel(handle: Handle) -> bool {
    KERNELS.get(handle).is_ok()
}

/// The function that a kernel of a library is in a context.
pub(super) fn function(kernel: Handle, context: &Arc<Context>) -> Result<Handle, Error> {
    let kernel = KERNELS.get(kernel)?;
    let (_, module) = LIBRARIES.get(kernel.library)?.module_in(context)?;
    let name = kernel.name.to_str().map_err(|_| Code::NOT_FOUND)?;
    let function = module.kernels.get(name).copied();
    // Different texts of a fatbin may hold different kernels.
    function.ok_or_else(|| Error::new(Code::NOT_FOUND, format!("the library has no kernel {name} for this device")))
}

/// Finds the kernels of an image, as the first device that runs it sees them.
fn names(image: &[u8]) -> Result<Vec<String>, Error> {
    let current = context::current().ok().map(|context| context.device);
    let mut first_error = None;
    for device in current.into_iter().chain(&driver()?.devices) {
        let tree = source::read(image, device.chip).and_then(|source| {
            let tree = module::parse(&source.ptx)?;
            module::check_target(&tree, device.chip).map(|()| tree)
        });
        match tree {
            Ok(tree) => {
                let kernels = tree.functions.into_iter().filter(|function| function.entry && function.body.is_some());
                return Ok(kernels.map(|function| function.name).collect());
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or(Code::NO_DEVICE.into()))
}

/// The arguments that both ways of loading have in common.
struct Arguments {
    options: In<u32>,
    values: Out<usize>,
    num_options: u32,
    library_options: In<u32>,
    num_library_options: u32,
}

fn load(out: Out<Handle>, image: Vec<u8>, arguments: &Arguments) -> Result<(), Error> {
    const BINARY_IS_PRESERVED: u32 = 1;
    let start = std::time::Instant::now();
    if out.is_null() {
        return Err(Code::INVALID_VALUE.into());
    }
    device::devices()?;
    for option in arguments.library_options.get_all(arguments.num_library_options as usize)? {
        // The image is copied in any case.
        if option != BINARY_IS_PRESERVED {
            let text = format!("library option {option} is not supported");
            return Err(Error::report(Code::NOT_SUPPORTED, text));
        }
    }
    let options = Options::read(arguments.num_options, arguments.options, arguments.values)?;
    let names = match names(&image) {
        Ok(names) => names,
        Err(error) => {
            options.report(start, &[], error.text().unwrap_or(""));
            return Err(error);
        }
    };
    options.report(start, &[format!("a library of {} kernels", names.len())], "");
    let handle = new_handle();
    let mut library =
        Library { image, kernels: BTreeMap::new(), kernels_in_order: Vec::new(), modules: Mutex::default() };
    for name in names {
        let kernel = new_handle();
        let settings = driver()?.devices.iter().map(|_| Arc::default()).collect();
        let entry = Kernel { library: handle, name: CString::new(name.clone()).unwrap_or_default(), settings };
        KERNELS.insert(kernel, Arc::new(entry));
        library.kernels_in_order.push(kernel);
        library.kernels.insert(name, kernel);
    }
    LIBRARIES.insert(handle, Arc::new(library));
    out.set(handle)
}

pub extern "C" fn cuLibraryLoadData(
    out: Out<Handle>,
    image: In<u8>,
    options: In<u32>,
    values: Out<usize>,
    num_options: u32,
    library_options: In<u32>,
    _library_values: Out<usize>,
    num_library_options: u32,
) -> CuResult {
    let arguments = Arguments { options, values, num_options, library_options, num_library_options };
    call(|| load(out, source::image(image)?, &arguments))
}

pub extern "C" fn cuLibraryLoadFromFile(
    out: Out<Handle>,
    path: In<c_char>,
    options: In<u32>,
    values: Out<usize>,
    num_options: u32,
    library_options: In<u32>,
    _library_values: Out<usize>,
    num_library_options: u32,
) -> CuResult {
    let arguments = Arguments { options, values, num_options, library_options, num_library_options };
    call(|| load(out, module::read_file(&path.text()?)?, &arguments))
}

pub extern "C" fn cuLibraryUnload(library: Handle) -> CuResult {
    call(|| LIBRARIES.remove(library).map(drop))
}

pub extern "C" fn cuLibraryGetKernel(out: Out<Handle>, library: Handle, name: In<c_char>) -> CuResult {
    call(|| {
        let library = LIBRARIES.get(library)?;
        let name = name.text()?;
        match library.kernels.get(&name) {
            Some(kernel) => out.set(*kernel),
            None => Err(Error::new(Code::NOT_FOUND, format!("the library has no kernel {name}"))),
        }
    })
}

pub extern "C" fn cuLibraryGetKernelCount(count: Out<u32>, library: Handle) -> CuResult {
    call(|| count.set(LIBRARIES.get(library)?.kernels_in_order.len() as u32))
}

pub extern "C" fn cuLibraryEnumerateKernels(kernels: Out<Handle>, room: u32, library: Handle) -> CuResult {
    call(|| {
        let library = LIBRARIES.get(library)?;
        let count = library.kernels_in_order.len().min(room as usize);
        kernels.set_all(&library.kernels_in_order[..count])
    })
}

pub extern "C" fn cuLibraryGetModule(out: Out<Handle>, library: Handle) -> CuResult {
    call(|| out.set(LIBRARIES.get(library)?.module_in(&context::current()?)?.0))
}

pub extern "C" fn cuLibraryGetGlobal(
    address: Out<DevicePointer>,
    bytes: Out<usize>,
    library: Handle,
    name: In<c_char>,
) -> CuResult {
    call(|| {
        let (_, module) = LIBRARIES.get(library)?.module_in(&context::current()?)?;
        let found = module.variables.get(&name.text()?);
        let (base, size) = found.copied().ok_or(Code::NOT_FOUND)?;
        address.set_if_wanted(base);
        bytes.set_if_wanted(size as usize);
        Ok(())
    })
}

/// `.attribute(.managed)` is not part of the PTX that is read here, so no library has such a variable.
pub extern "C" fn cuLibraryGetManaged(
    _address: Out<DevicePointer>,
    _bytes: Out<usize>,
    library: Handle,
    name: In<c_char>,
) -> CuResult {
    call(|| {
        LIBRARIES.get(library)?;
        Err(Error::new(Code::NOT_FOUND, format!("the library has no managed variable {}", name.text()?)))
    })
}

/// No library has functions that the host and the device share: the device says so, too (UNIFIED_FUNCTION_POINTERS).
pub extern "C" fn cuLibraryGetUnifiedFunction(_function: Out<usize>, library: Handle, name: In<c_char>) -> CuResult {
    call(|| {
        LIBRARIES.get(library)?;
        Err(Error::new(Code::NOT_FOUND, format!("the library has no unified function {}", name.text()?)))
    })
}

pub extern "C" fn cuKernelGetFunction(out: Out<Handle>, kernel: Handle) -> CuResult {
    call(|| out.set(function(kernel, &context::current()?)?))
}

pub extern "C" fn cuKernelGetLibrary(out: Out<Handle>, kernel: Handle) -> CuResult {
    call(|| out.set(KERNELS.get(kernel)?.library))
}

/// The name stays valid as long as the library is loaded.
pub extern "C" fn cuKernelGetName(name: Out<*const c_char>, kernel: Handle) -> CuResult {
    call(|| name.set(KERNELS.get(kernel)?.name.as_ptr()))
}

/// Works with the kernel's function on a device, in whatever context there is or in the primary one.
fn with_function<T>(
    kernel: Handle,
    ordinal: DeviceOrdinal,
    work: impl FnOnce(&Function) -> Result<T, Error>,
) -> Result<T, Error> {
    let device = device::device(ordinal)?;
    match context::current() {
        Ok(context) if context.device.ordinal == device.ordinal => work(&*function::get(function(kernel, &context)?)?),
        _ => primary::with_primary(ordinal, |context| work(&*function::get(function(kernel, context)?)?)),
    }
}

pub extern "C" fn cuKernelGetAttribute(
    value: Out<i32>,
    attribute: u32,
    kernel: Handle,
    ordinal: DeviceOrdinal,
) -> CuResult {
    call(|| {
        KERNELS.get(kernel)?;
        value.set(with_function(kernel, ordinal, |function| function.attribute(attribute))?)
    })
}

/// Counts in every context of the device whose function has no setting of its own.
pub extern "C" fn cuKernelSetAttribute(attribute: u32, value: i32, kernel: Handle, ordinal: DeviceOrdinal) -> CuResult {
    call(|| {
        let entry = KERNELS.get(kernel)?;
        let settings = entry.settings.get(ordinal as usize).ok_or(Code::INVALID_DEVICE)?;
        with_function(kernel, ordinal, |function| function.set_attribute_in(settings, attribute, value))
    })
}

pub extern "C" fn cuKernelSetCacheConfig(kernel: Handle, config: u32, ordinal: DeviceOrdinal) -> CuResult {
    const LAST_CONFIG: u32 = 3;
    call(|| {
        KERNELS.get(kernel)?;
        device::device(ordinal)?;
        if config > LAST_CONFIG { Err(Code::INVALID_VALUE.into()) } else { Ok(()) }
    })
}

/// The kernel's parameters, which are the same on all devices: of the current one, or else of the first that has it.
fn parameter(kernel: Handle, position: Option<usize>) -> Result<(usize, (u32, u32)), Error> {
    KERNELS.get(kernel)?;
    let read = |function: &Function| {
        let params = &function.kernel.params;
        let parameter = position.map(|position| params.get(position).copied().ok_or(Code::INVALID_VALUE));
        Ok((params.len(), parameter.transpose()?.unwrap_or_default()))
    };
    if let Ok(context) = context::current() {
        return read(&*function::get(function(kernel, &context)?)?);
    }
    let mut last = Err(Code::NO_DEVICE.into());
    for device in device::devices()? {
        last = with_function(kernel, device.ordinal, read);
        if last.is_ok() {
            break;
        }
    }
    last
}

pub extern "C" fn cuKernelGetParamInfo(
    kernel: Handle,
    position: usize,
    offset: Out<usize>,
    bytes: Out<usize>,
) -> CuResult {
    call(|| {
        let (_, (at, size)) = parameter(kernel, Some(position))?;
        offset.set(at as usize)?;
        bytes.set_if_wanted(size as usize);
        Ok(())
    })
}

pub extern "C" fn cuKernelGetParamCount(kernel: Handle, count: Out<usize>) -> CuResult {
    call(|| count.set(parameter(kernel, None)?.0))
}
