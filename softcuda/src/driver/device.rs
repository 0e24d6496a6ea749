//! Devices: the emulated chips of this process, in the order in which they were asked for.

use super::{
    abi::{CuResult, DeviceOrdinal, In, Out, call},
    attribute,
    error::{Code, Error},
    pool::Pools,
    primary::Primary,
};
use crate::{
    chip::{self, Architecture, Chip},
    config::{self, Config, ConfigError},
    memory::GlobalMemory,
};
use std::{
    ffi::c_char,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// CUDA 13.0.
pub(super) const DRIVER_VERSION: i32 = 13_000;

/// The first device address of device 0, and the distance to the next device's.
const FIRST_ADDRESS: u64 = 0x7000_0000_0000;
const ADDRESSES: u64 = 1 << 40;

/// The devices and settings of this process.
pub(super) struct Driver {
    pub(super) devices: Vec<Device>,
    pub(super) config: Config,
}

/// One emulated device.
pub(super) struct Device {
    pub(super) ordinal: DeviceOrdinal,
    pub(super) chip: &'static Chip,
    pub(super) primary: Mutex<Primary>,
    pub(super) pools: Pools,
    memory: OnceLock<Option<GlobalMemory>>,
}

static DRIVER: OnceLock<Result<Driver, ConfigError>> = OnceLock::new();
static INITIALIZED: AtomicBool = AtomicBool::new(false);

/// Sets the devices of this process; the devices that there are already, if they are others.
pub(crate) fn configure(architectures: &[Architecture], config: Config) -> Result<(), Vec<Architecture>> {
    let driver = DRIVER.get_or_init(|| Ok(Driver::new(architectures, config)));
    let there_are: Vec<_> = match driver {
        Ok(driver) => driver.devices.iter().map(|device| device.chip.architecture).collect(),
        Err(_) => Vec::new(),
    };
    if there_are == architectures { Ok(()) } else { Err(there_are) }
}

/// The devices of this process: those that were configured, or else those of the environment.
pub(super) fn driver() -> Result<&'static Driver, Error> {
    let from_environment = || {
        let architectures = config::architectures_from_environment()?;
        Ok(Driver::new(&architectures, Config::from_environment()?))
    };
    DRIVER.get_or_init(from_environment).as_ref().map_err(|error| Error::report(Code::INVALID_VALUE, error.to_string()))
}

/// The device of an ordinal, once `cuInit` was called.
pub(super) fn device(ordinal: DeviceOrdinal) -> Result<&'static Device, Error> {
    let devices = &initialized()?.devices;
    usize::try_from(ordinal).ok().and_then(|ordinal| devices.get(ordinal)).ok_or(Code::INVALID_DEVICE.into())
}

/// The device that an address belongs to, allocated or not; `None`: the host.
pub(super) fn owner(address: u64) -> Option<&'static Device> {
    let position = address.checked_sub(FIRST_ADDRESS)? / ADDRESSES;
    driver().ok()?.devices.get(usize::try_from(position).ok()?)
}

/// All devices, once `cuInit` was called.
pub(super) fn devices() -> Result<&'static [Device], Error> {
    Ok(&initialized()?.devices)
}

fn initialized() -> Result<&'static Driver, Error> {
    if INITIALIZED.load(Ordering::Acquire) { driver() } else { Err(Code::NOT_INITIALIZED.into()) }
}

impl Driver {
    fn new(architectures: &[Architecture], config: Config) -> Driver {
        if let Some(chip) = config.chip
            && let Err(chip) = chip::replace(chip)
        {
            eprintln!("softcuda: SOFTCUDA_CHIP={}: too late, the chip of its architecture is in use", chip.name);
        }
        let device = |(ordinal, architecture): (usize, &Architecture)| Device {
            ordinal: ordinal as DeviceOrdinal,
            chip: architecture.chip(),
            primary: Mutex::default(),
            pools: Pools::new(),
            memory: OnceLock::new(),
        };
        Driver { devices: architectures.iter().enumerate().map(device).collect(), config }
    }
}

impl Device {
    /// Its memory, reserved at the first use.
    pub(super) fn memory(&self) -> Result<&GlobalMemory, Error> {
        let base = FIRST_ADDRESS + self.ordinal as u64 * ADDRESSES;
        let new = || {
            let memory = GlobalMemory::new(base, self.chip.memory_bytes).ok()?;
            if driver().is_ok_and(|driver| driver.config.checks.initialisation) {
                memory.recording().ok()
            } else {
                Some(memory)
            }
        };
        self.memory.get_or_init(new).as_ref().ok_or_else(|| {
            Error::report(Code::OUT_OF_MEMORY, "the system gives no address space for the memory of the device")
        })
    }

    /// 16 bytes that are the same for the same ordinal and chip on every machine.
    fn uuid(&self) -> [u8; 16] {
        let mut uuid = *b"softcuda-sm00-00";
        let number = self.chip.architecture.number();
        uuid[11] = b'0' + (number / 10) as u8;
        uuid[12] = b'0' + (number % 10) as u8;
        uuid[15] = self.ordinal as u8;
        uuid
    }

    fn pci_bus_id(&self) -> String {
        format!("0000:{:02X}:00.0", self.ordinal + 1)
    }
}

pub extern "C" fn cuInit(flags: u32) -> CuResult {
    call(|| {
        if flags != 0 {
            return Err(Code::INVALID_VALUE.into());
        }
        driver()?;
        INITIALIZED.store(true, Ordering::Release);
        Ok(())
    })
}

pub extern "C" fn cuDriverGetVersion(version: Out<i32>) -> CuResult {
    call(|| version.set(DRIVER_VERSION))
}

pub extern "C" fn cuDeviceGetCount(count: Out<i32>) -> CuResult {
    call(|| count.set(initialized()?.devices.len() as i32))
}

pub extern "C" fn cuDeviceGet(out: Out<DeviceOrdinal>, ordinal: i32) -> CuResult {
    call(|| out.set(device(ordinal)?.ordinal))
}

pub extern "C" fn cuDeviceGetName(name: Out<c_char>, room: i32, ordinal: DeviceOrdinal) -> CuResult {
    call(|| {
        let room = usize::try_from(room).map_err(|_| Code::INVALID_VALUE)?;
        name.set_text(device(ordinal)?.chip.name, room)
    })
}

pub extern "C" fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, ordinal: DeviceOrdinal) -> CuResult {
    call(|| uuid.set(device(ordinal)?.uuid()))
}

pub extern "C" fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, ordinal: DeviceOrdinal) -> CuResult {
    cuDeviceGetUuid(uuid, ordinal)
}

pub extern "C" fn cuDeviceTotalMem_v2(bytes: Out<usize>, ordinal: DeviceOrdinal) -> CuResult {
    call(|| bytes.set(device(ordinal)?.chip.memory_bytes as usize))
}

pub extern "C" fn cuDeviceGetAttribute(value: Out<i32>, attribute: i32, ordinal: DeviceOrdinal) -> CuResult {
    call(|| {
        let device = device(ordinal)?;
        value.set(attribute::of(device.chip, device.ordinal, attribute).ok_or(Code::INVALID_VALUE)?)
    })
}

pub extern "C" fn cuDeviceComputeCapability(major: Out<i32>, minor: Out<i32>, ordinal: DeviceOrdinal) -> CuResult {
    call(|| {
        let capability = device(ordinal)?.chip.compute_capability();
        major.set(capability.0 as i32)?;
        minor.set(capability.1 as i32)
    })
}

pub extern "C" fn cuDeviceGetPCIBusId(text: Out<c_char>, room: i32, ordinal: DeviceOrdinal) -> CuResult {
    call(|| {
        let room = usize::try_from(room).map_err(|_| Code::INVALID_VALUE)?;
        text.set_text(&device(ordinal)?.pci_bus_id(), room)
    })
}

pub extern "C" fn cuDeviceGetByPCIBusId(out: Out<DeviceOrdinal>, text: In<c_char>) -> CuResult {
    call(|| {
        let asked = text.text()?;
        let found = initialized()?.devices.iter().find(|device| device.pci_bus_id().eq_ignore_ascii_case(asked.trim()));
        out.set(found.ok_or(Code::INVALID_DEVICE)?.ordinal)
    })
}

/// No affinity of multiprocessors to contexts.
pub extern "C" fn cuDeviceGetExecAffinitySupport(supported: Out<i32>, _kind: i32, ordinal: DeviceOrdinal) -> CuResult {
    call(|| {
        device(ordinal)?;
        supported.set(0)
    })
}

pub extern "C" fn cuProfilerStart() -> CuResult {
    call(|| super::context::current().map(drop))
}

pub extern "C" fn cuProfilerStop() -> CuResult {
    call(|| super::context::current().map(drop))
}
