//! `info`: the device, its limits, and the kernels in this build.

use cudarc::driver::sys::CUdevice_attribute as Attribute;
use llm_kernels::embedded::{self, EmbeddedInstance, InstanceResources};
use llm_kernels::{Device, Limits};
use serde_json::{Map, Value, json};

use crate::Global;
use crate::failure::Failure;
use crate::occupancy::{Block, Multiprocessor, Occupancy, occupancy};
use crate::output::{self, Table};

/// Limits of a chip: name in JSON, the driver's attribute.
const LIMITS: [(&str, Attribute); 12] = [
    ("multiprocessors", Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
    ("clock_khz", Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
    ("l2_bytes", Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE),
    ("warp_threads", Attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE),
    ("threads_per_block", Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK),
    ("shared_bytes_per_block", Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN),
    ("registers_per_block", Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK),
    ("threads_per_multiprocessor", Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR),
    ("blocks_per_multiprocessor", Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR),
    ("registers_per_multiprocessor", Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR),
    ("shared_bytes_per_multiprocessor", Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR),
    ("reserved_shared_bytes_per_block", Attribute::CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK),
];

/// Prints the device, or with `kernels` every kernel and the occupancy it allows on the device.
pub(crate) fn run(global: &Global, kernels: bool) -> Result<(), Failure> {
    let device = global.open()?;
    if kernels { print_kernels(global, &device) } else { print_device(global, &device) }
}

fn print_device(global: &Global, device: &Device) -> Result<(), Failure> {
    let (major, minor) = device.limits().compute_capability;
    let context = device.context();
    let memory = context.total_mem().map_err(|error| driver("total memory", error))?;
    let mut document = Map::new();
    document.insert("library".into(), env!("CARGO_PKG_VERSION").into());
    document.insert("device".into(), device.name().into());
    document.insert("software".into(), device.is_software().into());
    document.insert("driver".into(), driver_version()?.into());
    document.insert("compute_capability".into(), format!("{major}.{minor}").into());
    document.insert("memory_bytes".into(), memory.into());
    for (name, attribute) in LIMITS {
        let value = context.attribute(attribute).map_err(|error| driver(name, error))?;
        document.insert(name.into(), value.into());
    }
    document.insert("operators".into(), llm_kernels::verify::ops().map(|op| op.path).collect::<Vec<_>>().into());
    if global.json {
        return Ok(output::json(&Value::Object(document))?);
    }
    for (name, value) in &document {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        };
        let (name, unit) = match (name.strip_suffix("_bytes"), name.strip_suffix("_khz")) {
            (Some(name), _) => (name, "B"),
            (_, Some(name)) => (name, "kHz"),
            _ => (name.as_str(), ""),
        };
        output::line(format!("{:34} {text} {unit}", name.replace('_', " ")).trim_end())?;
    }
    Ok(())
}

/// One kernel on one chip.
struct Row {
    op: &'static str,
    variant: &'static str,
    instance: &'static str,
    resources: InstanceResources,
    /// How the operator launches it on this device: threads a block, dynamic shared memory.
    launch: Option<(u32, u32)>,
    /// `None` if the compiled code is not what this device runs.
    occupancy: Option<Occupancy>,
}

fn print_kernels(global: &Global, device: &Device) -> Result<(), Failure> {
    let chip = multiprocessor(device)?;
    let launches: Vec<_> = llm_kernels::verify::ops().flat_map(|op| (op.launches)(device.limits())).collect();
    let mut rows = Vec::new();
    for kernel in embedded::KERNELS {
        for instance in kernel.instances {
            let chosen = native(instance, device.limits());
            let plan = launches.iter().find(|plan| (plan.op, plan.instance) == (kernel.op, instance.name));
            let launch = plan.map(|plan| (plan.block.iter().product(), plan.shared_bytes));
            for &resources in instance.architectures {
                let block = launch.filter(|_| chosen == Some(resources.sm)).map(|(threads, shared)| Block {
                    threads,
                    registers: resources.registers,
                    shared_bytes: shared + resources.static_shared_bytes,
                });
                let occupancy = block.map(|block| occupancy(chip, block));
                let (op, variant, instance) = (kernel.op, kernel.variant, instance.name);
                rows.push(Row { op, variant, instance, resources, launch, occupancy });
            }
        }
    }
    if global.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        return Ok(output::json(&json!({ "device": device.name(), "kernels": rows }))?);
    }
    let mut table = Table::new(&[
        "kernel",
        "chip",
        "registers",
        "shared",
        "spills",
        "local",
        "threads",
        "blocks/SM",
        "warps/SM",
        "limited by",
    ]);
    for row in &rows {
        table.row(row.cells());
    }
    output::line(&table.render())?;
    Ok(output::line(&format!(
        "shared: bytes a block, static and dynamic; spills, local: bytes a thread; occupancy on {}",
        device.name()
    ))?)
}

impl Row {
    fn shared_bytes(&self) -> u32 {
        self.resources.static_shared_bytes + self.launch.map_or(0, |(_, shared)| shared)
    }

    fn cells(&self) -> Vec<String> {
        let resources = &self.resources;
        let text = |value: Option<u32>| value.map(|value| value.to_string()).unwrap_or_default();
        let occupancy = self.occupancy.as_ref();
        vec![
            self.instance.to_owned(),
            self.chip(),
            resources.registers.to_string(),
            self.shared_bytes().to_string(),
            resources.spill_bytes.to_string(),
            resources.local_bytes.to_string(),
            text(self.launch.map(|(threads, _)| threads)),
            text(occupancy.map(|found| found.blocks)),
            occupancy.map(|found| format!("{} of {}", found.warps, found.warps_limit)).unwrap_or_default(),
            occupancy.map(|found| found.limited_by.to_owned()).unwrap_or_default(),
        ]
    }

    /// `sm_80`, or `sm_90a` for code of one chip only.
    fn chip(&self) -> String {
        match self.variant.strip_prefix("sm") {
            Some(number) => format!("sm_{number}"),
            None => format!("sm_{}", self.resources.sm),
        }
    }

    fn json(&self) -> Value {
        let resources = &self.resources;
        let occupancy = self.occupancy.as_ref().map(|found| {
            json!({
                "blocks_per_multiprocessor": found.blocks,
                "warps_per_multiprocessor": found.warps,
                "warps_limit": found.warps_limit,
                "limited_by": found.limited_by,
            })
        });
        json!({
            "op": self.op,
            "name": self.instance,
            "chip": self.chip(),
            "registers": resources.registers,
            "static_shared_bytes": resources.static_shared_bytes,
            "dynamic_shared_bytes": self.launch.map(|(_, shared)| shared),
            "spill_bytes": resources.spill_bytes,
            "local_bytes": resources.local_bytes,
            "threads_per_block": self.launch.map(|(threads, _)| threads),
            "occupancy": occupancy,
        })
    }
}

/// The architecture whose code the device runs: the newest of its own generation, else none (it compiles the PTX).
fn native(instance: &EmbeddedInstance, limits: &Limits) -> Option<u32> {
    let (major, minor) = limits.compute_capability;
    let runs = |sm: &u32| sm / 10 == major && sm % 10 <= minor;
    instance.architectures.iter().map(|resources| resources.sm).filter(runs).max()
}

fn multiprocessor(device: &Device) -> Result<Multiprocessor, Failure> {
    let attribute = |which| {
        let value = device.context().attribute(which).map_err(|error| driver("device attribute", error));
        value.map(|value| u32::try_from(value).unwrap_or(0))
    };
    Ok(Multiprocessor {
        threads: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR)?,
        blocks: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR)?,
        registers: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR)?,
        shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?,
        reserved_shared_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK)?,
    })
}

/// `13.0`
fn driver_version() -> Result<String, Failure> {
    let mut version = 0;
    // SAFETY: the argument points to an int, which the call fills in; a device is open, so there is a driver.
    let status = unsafe { cudarc::driver::sys::cuDriverGetVersion(&mut version) };
    status.result().map_err(|error| driver("driver version", error))?;
    Ok(format!("{}.{}", version / 1000, version % 1000 / 10))
}

fn driver(what: &str, error: cudarc::driver::DriverError) -> Failure {
    Failure::Message(format!("{what}: {error}"))
}
