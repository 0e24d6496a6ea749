//! Modules: loading PTX, and finding the kernels and variables in it.

use super::{
    abi::{CuResult, DevicePointer, Handle, In, Out, call},
    context::{self, Context},
    error::{Code, Error},
    function::{self, Function},
    jit::Options,
    source::{self, Source},
    table::{Table, new_handle},
};
use crate::{
    chip::Chip,
    memory::GlobalMemory,
    program::{Program, calls::function_address},
    ptx::{
        self,
        ast::{self, Linkage, Space, Symbol, Variable},
        link,
    },
};
use std::{
    collections::{BTreeMap, HashSet},
    ffi::c_char,
    sync::Arc,
    time::Instant,
};

/// The newest PTX that a driver of this version takes.
const NEWEST_PTX: (u32, u32) = (9, 0);

/// A loaded module.
pub(super) struct Module {
    context: Arc<Context>,
    /// Belongs to a library, with which it is unloaded.
    of_library: bool,
    /// Kernels by name; in the order of the text in `kernels_in_order`.
    pub(super) kernels: BTreeMap<String, Handle>,
    kernels_in_order: Vec<Handle>,
    /// `.global` and `.const` variables by name.
    pub(super) variables: BTreeMap<String, (DevicePointer, u64)>,
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

/// The module of a handle.
pub(super) fn get(handle: Handle) -> Result<Arc<Module>, Error> {
    MODULES.get(handle)
}

/// Unloads a module.
pub(super) fn remove(handle: Handle) -> Result<(), Error> {
    MODULES.remove(handle).map(drop)
}

/// Loads an image into a context, for itself or as a part of a library.
pub(super) fn load(
    context: &Arc<Context>,
    image: &[u8],
    options: &Options,
    of_library: bool,
) -> Result<(Handle, Arc<Module>), Error> {
    let start = Instant::now();
    let chip = context.device.chip;
    let result = options
        .check_target(chip)
        .and_then(|()| source::read(image, chip))
        .and_then(|source| translate(context.clone(), &source, options, of_library));
    match result {
        Ok((handle, module)) => {
            let functions = module.kernels_in_order.iter().filter_map(|handle| function::get(*handle).ok());
            let information: Vec<String> = functions.map(|function| function.describe()).collect();
            options.report(start, &information, "");
            let module = Arc::new(module);
            MODULES.insert(handle, module.clone());
            Ok((handle, module))
        }
        Err(error) => {
            options.report(start, &[], error.text().unwrap_or(""));
            Err(error)
        }
    }
}

fn load_for_program(out: Out<Handle>, image: &[u8], options: &Options) -> Result<(), Error> {
    let context = context::current()?;
    if out.is_null() {
        return Err(Code::INVALID_VALUE.into());
    }
    let (handle, _) = load(&context, image, options, false)?;
    out.set(handle)
}

/// PTX text to a syntax tree.
pub(super) fn parse(text: &str) -> Result<ast::Module, Error> {
    let tree = ptx::parse(text).map_err(|error| Error::report(Code::INVALID_PTX, error.to_string()))?;
    if tree.version > NEWEST_PTX {
        let ((major, minor), (newest, newest_minor)) = (tree.version, NEWEST_PTX);
        return Err(Error::report(
            Code::UNSUPPORTED_PTX_VERSION,
            format!("PTX {major}.{minor} is newer than {newest}.{newest_minor}, which this driver takes"),
        ));
    }
    Ok(tree)
}

/// An error unless the chip runs the module.
pub(super) fn check_target(tree: &ast::Module, chip: &Chip) -> Result<(), Error> {
    let chip = chip.architecture.number();
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

/// Translates PTX and gives its variables their addresses.
fn translate(
    context: Arc<Context>,
    source: &Source,
    options: &Options,
    of_library: bool,
) -> Result<(Handle, Module), Error> {
    let tree = parse(&source.ptx)?;
    check_target(&tree, context.device.chip)?;

    let handle = new_handle();
    // From here on dropping the module frees what it has got so far.
    let mut module = Module {
        context: context.clone(),
        of_library,
        kernels: BTreeMap::new(),
        kernels_in_order: Vec::new(),
        variables: BTreeMap::new(),
    };
    let memory = context.device.memory()?;
    let undefined: HashSet<&str> = link::undefined(&tree).into_iter().map(|(name, _)| name).collect();
    let mut addresses = Vec::with_capacity(tree.variables.len());
    for variable in &tree.variables {
        if undefined.contains(variable.name.as_str()) {
            return Err(at(variable, "is not defined: modules with `.extern` variables must be linked (cuLinkCreate)"));
        }
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
        let function = Function::new(handle, context.clone(), kernel, source, options, tree.target, const_bytes)?;
        let function = function::insert(function);
        module.kernels_in_order.push(function);
        module.kernels.insert(name, function);
    }
    Ok((handle, module))
}

/// The address of a variable; 0 where it has none of its own.
fn place(variable: &Variable, memory: &GlobalMemory) -> Result<DevicePointer, Error> {
    let read_only = match variable.space {
        Space::Const => true,
        Space::Global => false,
        _ => return Ok(0),
    };
    if variable.linkage == Linkage::Extern {
        // Declared, and never used.
        return Ok(0);
    }
    // An array of no elements still has an address.
    memory.allocate_variable(variable.bytes.max(1), read_only).ok_or(Code::OUT_OF_MEMORY.into())
}

/// The error that something is wrong with a variable.
fn at(variable: &Variable, what: &str) -> Error {
    let ast::Position { line, column } = variable.position;
    Error::report(Code::INVALID_PTX, format!("ptx:{line}:{column}: variable `{}` {what}", variable.name))
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
            at(
                variable,
                "is initialized with an address that is not that of a .global or .const variable or of a function",
            )
        };
        let target = match symbol {
            Symbol::Module(index) => addresses.get(*index as usize).copied(),
            Symbol::Function(index) => Some(function_address(*index)),
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
    call(|| load_for_program(out, &source::image(image)?, &Options::default()))
}

pub extern "C" fn cuModuleLoadDataEx(
    out: Out<Handle>,
    image: In<u8>,
    num_options: u32,
    options: In<u32>,
    values: Out<usize>,
) -> CuResult {
    call(|| {
        let options = Options::read(num_options, options, values)?;
        load_for_program(out, &source::image(image)?, &options)
    })
}

pub extern "C" fn cuModuleLoadFatBinary(out: Out<Handle>, image: In<u8>) -> CuResult {
    cuModuleLoadData(out, image)
}

pub extern "C" fn cuModuleLoad(out: Out<Handle>, path: In<c_char>) -> CuResult {
    call(|| {
        context::current()?;
        load_for_program(out, &read_file(&path.text()?)?, &Options::default())
    })
}

/// The contents of a file that holds an image.
pub(super) fn read_file(path: &str) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| Error::report(Code::FILE_NOT_FOUND, format!("{path}: {error}")))
}

pub extern "C" fn cuModuleUnload(module: Handle) -> CuResult {
    call(|| match MODULES.get(module)?.of_library {
        true => Err(Error::new(Code::NOT_PERMITTED, "the module belongs to a library: cuLibraryUnload unloads it")),
        false => remove(module),
    })
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
