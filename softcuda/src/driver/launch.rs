//! Launching kernels: the checks that a driver makes, then the kernel's run.

use super::{
    abi::{CuResult, Handle, In, call},
    clock,
    context::Context,
    device::{Device, driver},
    error::{Code, Error},
    faults,
    function::{self, Function},
    limit, occupancy,
    operation::Operation,
    parameters,
    peer::KernelView,
    stream,
};
use crate::{
    chip::{MAX_BLOCK, MAX_BLOCK_THREADS, MAX_GRID, SHARED_PER_BLOCK, WARP_SIZE},
    config::Config,
    exec::{self, Launch, Machine},
    profile::{self, LaunchReport, Profile, record},
};
use std::{collections::BTreeMap, sync::Arc};

/// `CUlaunchAttributeValue`.
pub(super) type AttributeValue = [u32; 16];

/// CU_LAUNCH_ATTRIBUTE_COOPERATIVE.
pub(super) const COOPERATIVE: u32 = 2;

/// The shape of a launch, as asked for.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Shape {
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) dynamic_shared_bytes: u32,
    pub(super) cooperative: bool,
}

/// A launch that has passed the checks, with copies of its parameters.
pub(super) struct KernelCall {
    /// What the caller named: a function.
    pub(super) handle: Handle,
    pub(super) function: Arc<Function>,
    pub(super) shape: Shape,
    params: Box<[u8]>,
    /// Address of each parameter in `params`.
    pub(super) pointers: Box<[usize]>,
    /// Attributes that change no result, kept for questions.
    pub(super) attributes: BTreeMap<u32, AttributeValue>,
}

impl KernelCall {
    /// Checks a launch and gathers its parameters; a kernel of a library runs in `context`.
    pub(super) fn new(
        handle: Handle,
        context: impl FnOnce() -> Result<Arc<Context>, Error>,
        shape: Shape,
        parameters: In<usize>,
        extra: In<usize>,
    ) -> Result<KernelCall, Error> {
        let function = function::get_in(handle, context)?;
        let params = parameters::gather(&function, parameters, extra)?.into_boxed_slice();
        let start = params.as_ptr() as usize;
        let pointers = function.kernel.params.iter().map(|(offset, _)| start + *offset as usize).collect();
        let call = KernelCall { handle, function, shape, params, pointers, attributes: BTreeMap::new() };
        call.check()?;
        Ok(call)
    }

    /// The same launch in another shape.
    pub(super) fn reshaped(&self, shape: Shape) -> Result<KernelCall, Error> {
        let given = In::from_address(self.pointers.as_ptr() as usize);
        let call =
            KernelCall::new(self.handle, || Ok(self.function.context.clone()), shape, given, In::from_address(0))?;
        Ok(KernelCall { attributes: self.attributes.clone(), ..call })
    }

    /// The same launch with other attributes.
    pub(super) fn with_attributes(self, attributes: BTreeMap<u32, AttributeValue>) -> KernelCall {
        KernelCall { attributes, ..self }
    }

    fn check(&self) -> Result<(), Error> {
        let (function, shape, device) = (&self.function, &self.shape, self.function.context.device);
        check(function, shape, device)?;
        let resident_blocks = resident_blocks(function, shape, device);
        let blocks: u64 = shape.grid.iter().map(|count| u64::from(*count)).product();
        if shape.cooperative && blocks > resident_blocks {
            return Err(Error::new(
                Code::COOPERATIVE_LAUNCH_TOO_LARGE,
                format!(
                    "kernel {}: {blocks} blocks in a cooperative launch, at most {resident_blocks} are on the device at once",
                    function.kernel.name
                ),
            ));
        }
        Ok(())
    }

    /// Runs the kernel to its end; a fault ends its context.
    pub(super) fn run(&self) -> Result<(), Error> {
        let (function, shape) = (&self.function, &self.shape);
        let context = &function.context;
        let device = context.device;
        let view = KernelView::new(context)?;
        let configured = driver()?.config.scheduled();
        let config = Config { profile: profile::profile_or(configured.profile), ..configured.into_owned() };
        let profile = config.profile;
        let machine = Machine { architecture: device.chip.architecture, memory: &view, config: &config };
        let blocks = shape.grid.iter().map(|count| u64::from(*count)).product();
        let resident_blocks = resident_blocks(function, shape, device);
        let traced = traced(profile, blocks);
        // Blocks that talk to one another cannot do without one another.
        let only_traced = profile.sample.is_some() && !function.kernel.communicates && !shape.cooperative;
        let workspace = shape.cooperative.then(|| Workspace::new(device)).transpose()?;
        let request = Launch {
            grid_workspace: workspace.as_ref().map_or(0, |workspace| workspace.address),
            grid: shape.grid,
            block: shape.block,
            dynamic_shared_bytes: shape.dynamic_shared_bytes,
            params: &self.params,
            resident_blocks,
            traced: &traced,
            only_traced,
            stack_bytes: context.limit(limit::STACK_SIZE as usize).min(1 << 19) as u32,
            heap_bytes: context.limit(limit::MALLOC_HEAP_SIZE as usize) as u64,
            ..Launch::default()
        };
        match exec::execute(&machine, &function.kernel, &request) {
            Ok(execution) => {
                let time = profile::time::model(&profile::time::Subject {
                    chip: device.chip,
                    kernel: &function.kernel,
                    execution: &execution,
                    blocks: blocks * u64::from(profile.copies.get()),
                    ran: execution.counters.blocks,
                    warps_per_block: shape.block.iter().product::<u32>().div_ceil(WARP_SIZE),
                    resident: (resident_blocks / u64::from(device.chip.multiprocessors)) as u32,
                });
                clock::advance(time.seconds);
                let lines = profile.lines.then(|| profile::lines(&function.kernel, &execution.tally).into());
                let report = LaunchReport {
                    kernel: function.kernel.name.clone(),
                    device: device.ordinal as usize,
                    grid: shape.grid,
                    block: shape.block,
                    dynamic_shared_bytes: shape.dynamic_shared_bytes,
                    registers: function.registers,
                    counters: execution.counters,
                    time,
                    lines,
                };
                record(report, machine.config.report.as_deref());
            }
            // A kernel's fault shows in the calls that follow, as on a GPU, where a launch only starts the kernel.
            Err(fault) => context.poison(faults::record(*fault)),
        }
        Ok(())
    }
}

/// The blocks of a grid whose steps the time model replays.
fn traced(profile: Profile, blocks: u64) -> Vec<u64> {
    const REPLAYED: u64 = 4;
    match profile.sample {
        Some(count) => profile::time::sample(blocks, u64::from(count.get())),
        None if profile.replay => profile::time::sample(blocks, REPLAYED),
        None => Vec::new(),
    }
}

/// Memory for the barrier of a cooperative launch: zeros, in which the grid's blocks count.
struct Workspace {
    device: &'static Device,
    address: u64,
}

impl Workspace {
    fn new(device: &'static Device) -> Result<Workspace, Error> {
        const BYTES: u64 = 64;
        let memory = device.memory()?;
        let address = memory.allocate(BYTES).ok_or(Code::OUT_OF_MEMORY)?;
        memory.note_written(address, BYTES);
        Ok(Workspace { device, address })
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Ok(memory) = self.device.memory() {
            // Nobody else knows of it, so it is there.
            let _ = memory.free(self.address);
        }
    }
}

fn launch(
    function: Handle,
    shape: Shape,
    on_stream: Handle,
    parameters: In<usize>,
    extra: In<usize>,
) -> Result<(), Error> {
    let context = stream::context_of(on_stream)?;
    let call = KernelCall::new(function, || Ok(context.clone()), shape, parameters, extra)?;
    if context.handle != call.function.context.handle {
        return Err(Error::new(
            Code::INVALID_HANDLE,
            format!("kernel {}: function and stream belong to different contexts", call.function.kernel.name),
        ));
    }
    stream::enqueue(on_stream, Operation::Kernel(Arc::new(call))).map(drop)
}

/// The limits of the chip and the kernel's own.
fn check(function: &Function, shape: &Shape, device: &Device) -> Result<(), Error> {
    let kernel = &function.kernel;
    let refuse = |code, text: String| Err(Error::new(code, format!("kernel {}: {text}", kernel.name)));
    for (what, sizes, most) in [("grid", shape.grid, MAX_GRID), ("block", shape.block, MAX_BLOCK)] {
        if sizes.contains(&0) || sizes.iter().zip(&most).any(|(size, most)| size > most) {
            return refuse(Code::INVALID_VALUE, format!("{what} {sizes:?} outside 1 to {most:?}"));
        }
    }
    let threads: u32 = shape.block.iter().product();
    if threads > MAX_BLOCK_THREADS {
        return refuse(Code::INVALID_VALUE, format!("{threads} threads in a block, at most {MAX_BLOCK_THREADS}"));
    }
    if let Some(required) = kernel.required_block.filter(|block| *block != shape.block) {
        return refuse(Code::INVALID_VALUE, format!("block {:?}, the kernel requires {required:?}", shape.block));
    }
    if let Some(most) = kernel.max_threads.filter(|most| threads > *most) {
        return refuse(
            Code::INVALID_VALUE,
            format!("{threads} threads in a block, the kernel is made for at most {most}"),
        );
    }
    if let Some(registers) = function.registers {
        let (needed, there_are) = (threads.div_ceil(WARP_SIZE), occupancy::warps_by_registers(registers));
        if needed > there_are {
            return refuse(
                Code::LAUNCH_OUT_OF_RESOURCES,
                format!(
                    "{threads} threads are {needed} warps; of {registers} registers a thread there are enough for {there_are}"
                ),
            );
        }
    }
    let most = function.max_dynamic_shared();
    if shape.dynamic_shared_bytes > most {
        return refuse(
            Code::INVALID_VALUE,
            format!(
                "{} bytes of dynamic shared memory, at most {most} unless MAX_DYNAMIC_SHARED_SIZE_BYTES is raised (static: {}, without raising {SHARED_PER_BLOCK} in all, {} at most on {})",
                shape.dynamic_shared_bytes,
                kernel.static_shared_bytes,
                device.chip.shared_per_block_optin,
                device.chip.name
            ),
        );
    }
    Ok(())
}

/// How many blocks are on the device at once.
fn resident_blocks(function: &Function, shape: &Shape, device: &Device) -> u64 {
    let threads = shape.block.iter().product();
    let per_multiprocessor = occupancy::blocks_per_multiprocessor(function, threads, shape.dynamic_shared_bytes);
    // A launch that passed the checks has room for a block.
    u64::from(per_multiprocessor.max(1)) * u64::from(device.chip.multiprocessors)
}

pub extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    dynamic_shared_bytes: u32,
    stream: Handle,
    parameters: In<usize>,
    extra: In<usize>,
) -> CuResult {
    let shape = Shape {
        grid: [grid_x, grid_y, grid_z],
        block: [block_x, block_y, block_z],
        dynamic_shared_bytes,
        cooperative: false,
    };
    call(|| launch(function, shape, stream, parameters, extra))
}

/// All blocks of a launch are on the device at once, or it is refused.
pub extern "C" fn cuLaunchCooperativeKernel(
    function: Handle,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    dynamic_shared_bytes: u32,
    stream: Handle,
    parameters: In<usize>,
) -> CuResult {
    let shape = Shape {
        grid: [grid_x, grid_y, grid_z],
        block: [block_x, block_y, block_z],
        dynamic_shared_bytes,
        cooperative: true,
    };
    call(|| launch(function, shape, stream, parameters, In::from_address(0)))
}

/// `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LaunchConfig {
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) dynamic_shared_bytes: u32,
    stream: Handle,
    attributes: In<Attribute>,
    num_attributes: u32,
}

/// `CUlaunchAttribute`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Attribute {
    kind: u32,
    padding: u32,
    value: AttributeValue,
}

/// What the attributes of a launch ask for beyond a plain launch; an error for what is not supported.
fn cooperative(config: &LaunchConfig) -> Result<bool, Error> {
    let mut cooperative = false;
    for attribute in config.attributes.get_all(config.num_attributes as usize)? {
        match attribute.kind {
            // Hints about caches, priorities, memory domains and the order of launches (IGNORE, ACCESS_POLICY_WINDOW,
            // SYNCHRONIZATION_POLICY, CLUSTER_SCHEDULING_POLICY_PREFERENCE, PROGRAMMATIC_STREAM_SERIALIZATION, PRIORITY,
            // MEM_SYNC_DOMAIN_MAP, MEM_SYNC_DOMAIN, PREFERRED_SHARED_MEMORY_CARVEOUT): the order here is a legal one anyway.
            0 | 1 | 3 | 5 | 6 | 8 | 9 | 10 | 14 => {}
            2 => cooperative = attribute.value[0] != 0,
            // CLUSTER_DIMENSION, PREFERRED_CLUSTER_DIMENSION: of one block each is what there is without clusters.
            4 | 11 if attribute.value[..3] == [1; 3] => {}
            kind => {
                return Err(Error::report(
                    Code::NOT_SUPPORTED,
                    format!("cuLaunchKernelEx: launch attribute {kind} is not supported"),
                ));
            }
        }
    }
    Ok(cooperative)
}

impl LaunchConfig {
    /// Whether the launch asks for clusters of more than one block, which no kernel here can have.
    pub(super) fn check_attributes(&self) -> Result<(), Error> {
        cooperative(self).map(drop)
    }
}

pub extern "C" fn cuLaunchKernelEx(
    config: In<LaunchConfig>,
    function: Handle,
    parameters: In<usize>,
    extra: In<usize>,
) -> CuResult {
    call(|| {
        let config = config.get()?;
        let shape = Shape {
            grid: config.grid,
            block: config.block,
            dynamic_shared_bytes: config.dynamic_shared_bytes,
            cooperative: cooperative(&config)?,
        };
        launch(function, shape, config.stream, parameters, extra)
    })
}
