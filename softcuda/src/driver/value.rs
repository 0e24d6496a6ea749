//! Streams that wait for a value in memory, and that write one.

use super::{
    abi::{CuResult, DevicePointer, Handle, In, call},
    address::{self, Side},
    context::Context,
    error::{Code, Error},
    operation::Operation,
    stream,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

/// CU_STREAM_WAIT_VALUE_FLUSH: what was written before is seen; here it always is.
const FLUSH: u32 = 1 << 30;
const CONDITIONS: u32 = 3;
/// CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER.
const NO_BARRIER: u32 = 1;

const WAIT_32: u32 = 1;
const WRITE_32: u32 = 2;
const WAIT_64: u32 = 4;
const WRITE_64: u32 = 5;
const BARRIER: u32 = 6;

/// `CUstreamBatchMemOpParams`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ValueParameters {
    operation: u32,
    /// The flags of a barrier.
    barrier: u32,
    address: DevicePointer,
    value: u64,
    flags: u32,
    padding: [u32; 3],
    reserved: u64,
}

impl ValueParameters {
    fn new(operation: u32, address: DevicePointer, value: u64, flags: u32) -> ValueParameters {
        ValueParameters { operation, barrier: 0, address, value, flags, padding: [0; 3], reserved: 0 }
    }

    fn is_wide(&self) -> bool {
        matches!(self.operation, WAIT_64 | WRITE_64)
    }

    fn waits(&self) -> bool {
        matches!(self.operation, WAIT_32 | WAIT_64)
    }

    fn bytes(&self) -> usize {
        if self.is_wide() { 8 } else { 4 }
    }

    /// An error unless this device can do it.
    fn check(&self) -> Result<(), Error> {
        let flags = match self.operation {
            WAIT_32 | WAIT_64 => FLUSH | CONDITIONS,
            WRITE_32 | WRITE_64 => NO_BARRIER,
            BARRIER => return if self.barrier <= 1 { Ok(()) } else { Err(Code::INVALID_VALUE.into()) },
            // Remote writes cannot be flushed, nor are there atomic reductions.
            3 | 8 => return Err(Code::NOT_SUPPORTED.into()),
            _ => return Err(Code::INVALID_VALUE.into()),
        };
        if self.flags & !flags != 0 || !self.address.is_multiple_of(self.bytes() as u64) {
            return Err(Code::INVALID_VALUE.into());
        }
        address::span(self.address, self.bytes(), Side::Device).map(drop)
    }

    fn load(&self) -> Result<u64, Error> {
        let place = address::span(self.address, self.bytes(), Side::Device)?;
        // SAFETY: `span` checked that the bytes are memory that devices see, `check` that they are aligned; whoever
        // else accesses them does so through atomics, as kernels do, or breaks the program's own rules.
        Ok(unsafe {
            match self.is_wide() {
                true => AtomicU64::from_ptr(place.cast()).load(Ordering::Acquire),
                false => u64::from(AtomicU32::from_ptr(place.cast()).load(Ordering::Acquire)),
            }
        })
    }

    fn store(&self) -> Result<(), Error> {
        let place = address::span(self.address, self.bytes(), Side::Device)?;
        // SAFETY: as in `load`.
        unsafe {
            match self.is_wide() {
                true => AtomicU64::from_ptr(place.cast()).store(self.value, Ordering::Release),
                false => AtomicU32::from_ptr(place.cast()).store(self.value as u32, Ordering::Release),
            }
        }
        address::note_written(self.address, self.bytes())
    }

    /// Whether what it waits for is there.
    fn satisfied(&self) -> Result<bool, Error> {
        let wanted = if self.is_wide() { self.value } else { u64::from(self.value as u32) };
        let value = self.load()?;
        Ok(match self.flags & CONDITIONS {
            // Cyclic: the difference as a signed number.
            0 if self.is_wide() => value.wrapping_sub(wanted) as i64 >= 0,
            0 => (value as u32).wrapping_sub(wanted as u32) as i32 >= 0,
            1 => value == wanted,
            2 => value & wanted != 0,
            _ if self.is_wide() => !(value | wanted) != 0,
            _ => !(value as u32 | wanted as u32) != 0,
        })
    }
}

/// Several such operations, one after the other.
pub(super) struct Values {
    pub(super) context: Arc<Context>,
    pub(super) given: Vec<ValueParameters>,
}

/// Reads and checks operations.
pub(super) fn read(
    context: Arc<Context>,
    operations: In<ValueParameters>,
    count: u32,
    flags: u32,
) -> Result<Values, Error> {
    if flags != 0 || count == 0 || count > 256 {
        return Err(Code::INVALID_VALUE.into());
    }
    let values = Values { context, given: operations.get_all(count as usize)? };
    values.check()?;
    Ok(values)
}

impl Values {
    pub(super) fn check(&self) -> Result<(), Error> {
        self.given.iter().try_for_each(ValueParameters::check)
    }

    /// Whether it may have to wait.
    pub(super) fn blocks(&self) -> bool {
        let mut waits = self.given.iter().filter(|operation| operation.waits());
        // What is written before it may be what it waits for; so only a single wait is looked at.
        self.given.len() > 1 && waits.next().is_some() || waits.any(|wait| !wait.satisfied().unwrap_or(true))
    }

    pub(super) fn run(&self) -> Result<(), Error> {
        for operation in &self.given {
            match operation.operation {
                WAIT_32 | WAIT_64 => {
                    while !operation.satisfied()? {
                        self.context.check()?;
                        std::thread::sleep(Duration::from_micros(50));
                    }
                }
                WRITE_32 | WRITE_64 => operation.store()?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn enqueue(on_stream: Handle, operations: Vec<ValueParameters>) -> Result<(), Error> {
    let values = Values { context: stream::context_of(on_stream)?, given: operations };
    values.check()?;
    stream::enqueue(on_stream, Operation::Values(Arc::new(values))).map(drop)
}

macro_rules! value_functions {
    ($($name:ident $older:ident $value:ty: $operation:ident;)*) => {$(
        pub extern "C" fn $name(stream: Handle, address: DevicePointer, value: $value, flags: u32) -> CuResult {
            call(|| enqueue(stream, vec![ValueParameters::new($operation, address, value.into(), flags)]))
        }

        pub extern "C" fn $older(stream: Handle, address: DevicePointer, value: $value, flags: u32) -> CuResult {
            $name(stream, address, value, flags)
        }
    )*};
}

value_functions! {
    cuStreamWaitValue32_v2 cuStreamWaitValue32 u32: WAIT_32;
    cuStreamWaitValue64_v2 cuStreamWaitValue64 u64: WAIT_64;
    cuStreamWriteValue32_v2 cuStreamWriteValue32 u32: WRITE_32;
    cuStreamWriteValue64_v2 cuStreamWriteValue64 u64: WRITE_64;
}

pub extern "C" fn cuStreamBatchMemOp_v2(
    on_stream: Handle,
    count: u32,
    operations: In<ValueParameters>,
    flags: u32,
) -> CuResult {
    call(|| {
        let values = read(stream::context_of(on_stream)?, operations, count, flags)?;
        stream::enqueue(on_stream, Operation::Values(Arc::new(values))).map(drop)
    })
}

pub extern "C" fn cuStreamBatchMemOp(
    stream: Handle,
    count: u32,
    operations: In<ValueParameters>,
    flags: u32,
) -> CuResult {
    cuStreamBatchMemOp_v2(stream, count, operations, flags)
}
