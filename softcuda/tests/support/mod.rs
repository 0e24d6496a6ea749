//! Runs kernels from PTX text on the executor itself, without a driver.

use softcuda::chip::Architecture;
use softcuda::config::Config;
use softcuda::exec::{self, Launch, Machine};
use softcuda::fault::Fault;
use softcuda::memory::GlobalMemory;
use softcuda::profile::Counters;
use softcuda::program::Program;

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
    /// Loads a module; a module's variables are not supported here.
    pub(crate) fn new(ptx: &str) -> Bench {
        let module = softcuda::ptx::parse(ptx).unwrap_or_else(|error| panic!("{error}"));
        let addresses = vec![0; module.variables.len()];
        let program = Program::load(&module, &addresses).unwrap_or_else(|error| panic!("{error}"));
        let memory = GlobalMemory::new(0x7000_0000_0000, 1 << 30).expect("address space for device memory");
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
        let kernel =
            self.program.kernels.iter().find(|known| known.name == kernel).expect("the kernel is in the module");
        let mut bytes = vec![0; kernel.param_bytes as usize];
        assert_eq!(params.len(), kernel.params.len(), "number of parameters");
        for (&(offset, size), value) in kernel.params.iter().zip(params) {
            assert_eq!(size as usize, value.len(), "size of a parameter");
            bytes[offset as usize..][..value.len()].copy_from_slice(value);
        }
        let machine = Machine { architecture: self.architecture, memory: &self.memory, config: &self.config };
        let launch = Launch {
            grid,
            block,
            dynamic_shared_bytes: shared,
            params: &bytes,
            resident_blocks: 108,
            stack_bytes: self.stack_bytes,
        };
        exec::launch(&machine, kernel, &launch)
    }
}
