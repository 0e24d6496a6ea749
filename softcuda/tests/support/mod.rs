//! Runs kernels from PTX text on the executor itself, without a driver.

use softcuda::check::BenignRace;
use softcuda::chip::Architecture;
use softcuda::config::Config;
use softcuda::exec::{self, Execution, Launch, Machine};
use softcuda::fault::Fault;
use softcuda::memory::GlobalMemory;
use softcuda::profile::Counters;
use softcuda::program::calls::function_address;
use softcuda::program::{Kernel, Program};
use softcuda::ptx::ast::{self, Space, Symbol};

/// A device with one module.
pub(crate) struct Bench {
    /// Its memory.
    pub(crate) memory: GlobalMemory,
    /// Its settings.
    pub(crate) config: Config,
    /// Stack of a thread.
    pub(crate) stack_bytes: u32,
    /// Its chip.
    pub(crate) architecture: Architecture,
    program: Program,
}

#[allow(dead_code, reason = "each test binary uses its part")]
impl Bench {
    /// Loads a module.
    pub(crate) fn new(ptx: &str) -> Bench {
        Bench::with_memory(ptx, GlobalMemory::new(0x7000_0000_0000, 1 << 30).expect("address space for device memory"))
    }

    /// The same on a device that records which bytes have been written.
    pub(crate) fn recording(ptx: &str) -> Bench {
        let memory = GlobalMemory::new(0x7000_0000_0000, 1 << 30).and_then(GlobalMemory::recording);
        Bench::with_memory(ptx, memory.expect("address space for device memory"))
    }

    fn with_memory(ptx: &str, memory: GlobalMemory) -> Bench {
        let module = softcuda::ptx::parse(ptx).unwrap_or_else(|error| panic!("{error}"));
        let addresses = place_variables(&module, &memory);
        let program = Program::load(&module, &addresses).unwrap_or_else(|error| panic!("{error}"));
        Bench { memory, config: Config::default(), stack_bytes: 1024, architecture: Architecture::Sm80, program }
    }

    /// Device memory with these contents.
    pub(crate) fn upload<T: bytemuck::Pod>(&self, data: &[T]) -> u64 {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let address = self.memory.allocate(bytes.len() as u64).expect("device memory");
        self.memory.write(address, bytes).expect("the allocation is as long as the data");
        address
    }

    /// Contents of device memory.
    pub(crate) fn download<T: bytemuck::Pod>(&self, address: u64, count: usize) -> Vec<T> {
        let mut data = vec![T::zeroed(); count];
        self.memory.read(address, bytemuck::cast_slice_mut(&mut data)).expect("inside one allocation");
        data
    }

    /// Runs a kernel; each parameter is given by its bytes.
    pub(crate) fn launch(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared: u32,
        params: &[&[u8]],
    ) -> Result<Counters, Box<Fault>> {
        let shape = Launch { grid, block, dynamic_shared_bytes: shared, ..Launch::default() };
        self.run(kernel, shape, params).map(|execution| execution.counters)
    }

    /// The same; all that is known of it, with the steps of the blocks `traced`.
    pub(crate) fn execute(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        traced: &[u64],
        params: &[&[u8]],
    ) -> Result<Execution, Box<Fault>> {
        self.run(kernel, Launch { grid, block, traced, ..Launch::default() }, params)
    }

    /// A kernel of the module.
    pub(crate) fn kernel(&self, name: &str) -> &Kernel {
        self.program.kernels.iter().find(|known| known.name == name).expect("the kernel is in the module")
    }

    /// The same; `output` takes what it prints.
    pub(crate) fn launch_printing(
        &self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        params: &[&[u8]],
        output: &(dyn Fn(&[u8]) + Sync),
    ) -> Result<Counters, Box<Fault>> {
        self.run(kernel, Launch { grid, block, output, ..Launch::default() }, params)
            .map(|execution| execution.counters)
    }

    /// The same for blocks that may meet at the grid's barrier; `benign_races` takes the races that change nothing.
    pub(crate) fn launch_cooperative(
        &self,
        kernel: &str,
        (grid, block): ([u32; 3], [u32; 3]),
        shared: u32,
        params: &[&[u8]],
        benign_races: &(dyn Fn(&[BenignRace]) + Sync),
    ) -> Result<Counters, Box<Fault>> {
        let grid_workspace = self.upload(&[0u32; 16]);
        let shape =
            Launch { grid, block, dynamic_shared_bytes: shared, grid_workspace, benign_races, ..Launch::default() };
        self.run(kernel, shape, params).map(|execution| execution.counters)
    }

    /// The same for a launch of any shape.
    pub(crate) fn run(&self, kernel: &str, shape: Launch<'_>, params: &[&[u8]]) -> Result<Execution, Box<Fault>> {
        let kernel = self.kernel(kernel);
        let mut bytes = vec![0; kernel.param_bytes as usize];
        assert_eq!(params.len(), kernel.params.len(), "number of parameters");
        for (&(offset, size), value) in kernel.params.iter().zip(params) {
            assert_eq!(size as usize, value.len(), "size of a parameter");
            bytes[offset as usize..][..value.len()].copy_from_slice(value);
        }
        let machine = Machine { architecture: self.architecture, memory: &self.memory, config: &self.config };
        let launch = Launch { params: &bytes, resident_blocks: 108, stack_bytes: self.stack_bytes, ..shape };
        exec::execute(&machine, kernel, &launch)
    }
}

/// Device memory for a module's variables, initialised.
#[allow(dead_code, reason = "each test binary uses its part")]
pub(crate) fn place_variables(module: &ast::Module, memory: &GlobalMemory) -> Vec<u64> {
    let addresses: Vec<u64> = module
        .variables
        .iter()
        .map(|variable| match variable.space {
            Space::Global => memory.allocate_variable(variable.bytes.max(1), false).expect("device memory"),
            Space::Const => memory.allocate_variable(variable.bytes.max(1), true).expect("device memory"),
            _ => 0,
        })
        .collect();
    for (variable, &address) in module.variables.iter().zip(&addresses).filter(|(_, address)| **address != 0) {
        let mut bytes = variable.init.clone();
        bytes.resize(variable.bytes as usize, 0);
        for &(offset, symbol, addend) in &variable.relocations {
            let target = match symbol {
                Symbol::Module(target) => addresses[target as usize],
                Symbol::Function(target) => function_address(target),
                _ => panic!("{}: initialised with a name that has no address", variable.name),
            };
            bytes[offset as usize..][..8].copy_from_slice(&target.wrapping_add_signed(addend).to_le_bytes());
        }
        memory.write(address, &bytes).expect("inside the allocation");
    }
    addresses
}
