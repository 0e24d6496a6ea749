//! Modules: loading PTX, and finding the kernels and variables in it.

use super::{
    abi::{CuResult, DevicePointer, Handle, In, Out, call},
    context::{self, Context},
    error::{Code, Error},
    function::{self, Function},
    jit::Logs,
    source::{self, Source},
    table::{Table, new_handle},
};
use crate::{
    memory::GlobalMemory,
    program::Program,
    ptx::{
        self,
        ast::{self, Space, Symbol, Variable},
    },
};
use std::{collections::BTreeMap, ffi::c_char, sync::Arc};

/// The newest PTX that a driver of this version takes.
const NEWEST_PTX: (u32, u32) = (9, 0);

/// A loaded module.
pub(super) struct Module {
    context: Arc<Context>,
    /// Kernels by name; in the order of the text in `kernels_in_order`.
    kernels: BTreeMap<String, Handle>,
    kernels_in_order: Vec<Handle>,
    /// `.global` and `.const` variables by name.
    variables: BTreeMap<String, (DevicePointer, u64)>,
}

static MODULES: Table<Module> = Table::new();

impl Drop for Module {
    fn drop(&mut self) {
        function::remove_all(&self.kernels_in_order);
        if let Ok(memory) = self.context.device.memory() {
            for (address, _) in self.variables.values() {
                // Nothing else frees a module's variables, so this finds them.
                let _ = memory.free(*address);
            }
        }
    }
}

/// Unloads the modules of a context.
pub(super) fn remove_all(context: Handle) {
    MODULES.remove_all(|module| module.context.handle == context);
}

fn load(out: Out<Handle>, image: In<u8>, logs: &Logs) -> Result<(), Error> {
    let context = context::current()?;
    if out.is_null() || image.is_null() {
        return Err(Code::INVALID_VALUE.into());
    }
    let result = source::read(image, context.device.chip).and_then(|source| link(context, &source)).and_then(
        |(handle, module)| {
            MODULES.insert(handle, Arc::new(module));
            out.set(handle)
        },
    );
    logs.write(result.as_ref().err().and_then(Error::text));
    result
}

/// Translates PTX and gives its variables their addresses.
fn link(context: Arc<Context>, source: &Source) -> Result<(Handle, Module), Error> {
    let tree = parse(&source.ptx)?;
    check_target(&tree, &context)?;

    let handle = new_handle();
    // From here on dropping the module frees what it has got so far.
    let mut module = Module {
        context: context.clone(),
        kernels: BTreeMap::new(),
        kernels_in_order: Vec::new(),
        variables: BTreeMap::new(),
    };
    let memory = context.device.memory()?;
    let mut addresses = Vec::with_capacity(tree.variables.len());
    for variable in &tree.variables {
        let address = place(variable, memory)?;
        addresses.push(address);
        if address != 0 {
            let entry = (address, variable.bytes);
            module.variables.insert(variable.name.clone(), entry);
        }
    }
    for (variable, address) in tree.variables.iter().zip(&addresses) {
        if *address != 0 {
            initialize(variable, *address, &addresses, memory)?;
        }
    }

    let program =
        Program::load(&tree, &addresses).map_err(|error| Error::report(Code::INVALID_PTX, error.to_string()))?;
    let const_bytes =
        tree.variables.iter().filter(|variable| variable.space == Space::Const).map(|variable| variable.bytes).sum();
    for kernel in program.kernels {
        let name = kernel.name.clone();
        let function = Function::new(handle, context.clone(), kernel, source, tree.target, const_bytes)?;
        let function = function::insert(function);
        module.kernels_in_order.push(function);
        module.kernels.insert(name, function);
    }
    Ok((handle, module))
}

/// PTX text to a syntax tree.
fn parse(text: &str) -> Result<ast::Module, Error> {
    ptx::parse(text).map_err(|error| Error::report(Code::INVALID_PTX, error.to_string()))
}

/// An error unless this device can run the module.
fn check_target(tree: &ast::Module, context: &Context) -> Result<(), Error> {
    if tree.version > NEWEST_PTX {
        return Err(Error::report(
            Code::UNSUPPORTED_PTX_VERSION,
            format!(
                "PTX {}.{} is newer than {}.{}, which this driver takes",
                tree.version.0, tree.version.1, NEWEST_PTX.0, NEWEST_PTX.1
            ),
        ));
    }
    let chip = context.device.chip.architecture.number();
    // `sm_90a` and the like run on that very architecture only.
    let fits = match tree.target_suffix {
        Some(_) => tree.target == chip,
        None => tree.target <= chip,
    };
    if fits {
        return Ok(());
    }
    let suffix = tree.target_suffix.map(String::from).unwrap_or_default();
    Err(Error::report(Code::INVALID_PTX, format!("PTX for sm_{}{suffix} on a device of sm_{chip}", tree.target)))
}

/// The address of a variable; 0 where it has none of its own.
fn place(variable: &Variable, memory: &GlobalMemory) -> Result<DevicePointer, Error> {
    let read_only = match variable.space {
        Space::Const => true,
        Space::Global => false,
        _ => return Ok(0),
    };
    if variable.bytes == 0 {
        return Err(Error::report(
            Code::INVALID_PTX,
            format!(
                "PTX line {}: variable {} has no size: modules are not linked with each other",
                variable.position.line, variable.name
            ),
        ));
    }
    memory.allocate_variable(variable.bytes, read_only).ok_or(Code::OUT_OF_MEMORY.into())
}

/// Writes a variable's first value, addresses of other variables included.
fn initialize(
    variable: &Variable,
    address: DevicePointer,
    addresses: &[DevicePointer],
    memory: &GlobalMemory,
) -> Result<(), Error> {
    let mut bytes = variable.init.clone();
    bytes.resize(variable.bytes as usize, 0);
    for (offset, symbol, addend) in &variable.relocations {
        let bad = || {
            Error::report(
                Code::INVALID_PTX,
                format!(
                    "PTX line {}: variable {} is initialized with an address that is not that of a .global or .const variable",
                    variable.position.line, variable.name
                ),
            )
        };
        let target = match symbol {
            Symbol::Module(index) => addresses.get(*index as usize).copied(),
            _ => None,
        };
        let target = target.filter(|target| *target != 0).ok_or_else(bad)?;
        let value = target.wrapping_add_signed(*addend).to_le_bytes();
        let start = usize::try_from(*offset).map_err(|_| bad())?;
        let place = start.checked_add(value.len()).and_then(|end| bytes.get_mut(start..end));
        place.ok_or_else(bad)?.copy_from_slice(&value);
    }
    memory.write(address, &bytes).map_err(|error| Error::new(Code::INVALID_VALUE, error.to_string()))
}

pub extern "C" fn cuModuleLoadData(out: Out<Handle>, image: In<u8>) -> CuResult {
    call(|| load(out, image, &Logs::default()))
}

pub extern "C" fn cuModuleLoadDataEx(
    out: Out<Handle>,
    image: In<u8>,
    num_options: u32,
    options: In<u32>,
    values: Out<usize>,
) -> CuResult {
    call(|| {
        let logs = Logs::find(num_options, options, values)?;
        load(out, image, &logs)
    })
}

pub extern "C" fn cuModuleLoadFatBinary(out: Out<Handle>, image: In<u8>) -> CuResult {
    cuModuleLoadData(out, image)
}

pub extern "C" fn cuModuleLoad(out: Out<Handle>, path: In<c_char>) -> CuResult {
    call(|| {
        let path = path.text()?;
        let mut image =
            std::fs::read(&path).map_err(|error| Error::report(Code::FILE_NOT_FOUND, format!("{path}: {error}")))?;
        // PTX text in a file has no final zero.
        image.push(0);
        load(out, In::from_address(image.as_ptr() as usize), &Logs::default())
    })
}

pub extern "C" fn cuModuleUnload(module: Handle) -> CuResult {
    call(|| MODULES.remove(module).map(drop))
}

pub extern "C" fn cuModuleGetFunction(out: Out<Handle>, module: Handle, name: In<c_char>) -> CuResult {
    call(|| {
        context::current()?;
        let module = MODULES.get(module)?;
        let name = name.text()?;
        match module.kernels.get(&name) {
            Some(function) => out.set(*function),
            None => Err(Error::new(Code::NOT_FOUND, format!("the module has no kernel {name}"))),
        }
    })
}

pub extern "C" fn cuModuleGetFunctionCount(count: Out<u32>, module: Handle) -> CuResult {
    call(|| count.set(MODULES.get(module)?.kernels.len() as u32))
}

pub extern "C" fn cuModuleEnumerateFunctions(functions: Out<Handle>, room: u32, module: Handle) -> CuResult {
    call(|| {
        let module = MODULES.get(module)?;
        let count = module.kernels_in_order.len().min(room as usize);
        functions.set_all(&module.kernels_in_order[..count])
    })
}

pub extern "C" fn cuModuleGetGlobal_v2(
    address: Out<DevicePointer>,
    bytes: Out<usize>,
    module: Handle,
    name: In<c_char>,
) -> CuResult {
    call(|| {
        context::current()?;
        let module = MODULES.get(module)?;
        let found = module.variables.get(&name.text()?);
        let (base, size) = found.copied().ok_or(Code::NOT_FOUND)?;
        address.set_if_wanted(base);
        bytes.set_if_wanted(size as usize);
        Ok(())
    })
}

/// Modules are loaded whole.
pub extern "C" fn cuModuleGetLoadingMode(mode: Out<u32>) -> CuResult {
    const EAGER: u32 = 1;
    call(|| mode.set(EAGER))
}
