//! Copies between host and devices, in one, two or three dimensions.

use super::{
    abi::{CuResult, DevicePointer, Handle, In, call},
    context, device,
    error::{Code, Error},
    stream,
};
use crate::memory::MemoryError;

/// What a pointer of a copy may be.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    /// Memory that the device sees: its own, another device's, or host memory mapped into it.
    Device,
    /// Any address: which memory it is can be told from the number.
    Any,
}

/// The host pointer behind `bytes` bytes at `address`, checked as far as it can be.
fn span(address: u64, bytes: usize, side: Side) -> Result<*mut u8, Error> {
    let inside = |device: &device::Device| {
        let memory = device.memory()?;
        memory.span(address, bytes as u64).map_err(|error| out_of_bounds(&error, memory.nearest(address)))
    };
    match device::owner(address) {
        Some(device) => inside(device),
        None if side == Side::Device && bytes > 0 => inside(context::current()?.device),
        None if address == 0 && bytes > 0 => Err(Code::INVALID_VALUE.into()),
        None => Ok(address as *mut u8),
    }
}

/// An error that names the allocation nearest to a bad address.
pub(super) fn out_of_bounds(error: &MemoryError, nearest: Option<crate::memory::AllocationInfo>) -> Error {
    let nearest = nearest.map_or(String::new(), |allocation| {
        format!(
            "; the nearest {} is {:#x}, {} bytes",
            if allocation.freed { "(freed) allocation" } else { "allocation" },
            allocation.base,
            allocation.bytes
        )
    });
    Error::new(Code::INVALID_VALUE, format!("{error}{nearest}"))
}

fn copy(to: (u64, Side), from: (u64, Side), bytes: usize) -> Result<(), Error> {
    let source = span(from.0, bytes, from.1)?;
    let destination = span(to.0, bytes, to.1)?;
    if bytes > 0 {
        // SAFETY: device spans lie inside one live allocation; the caller promises the host ones. They may overlap.
        unsafe { source.copy_to(destination, bytes) };
    }
    Ok(())
}

fn copy_on(on_stream: Handle, to: (u64, Side), from: (u64, Side), bytes: usize) -> Result<(), Error> {
    stream::context_of(on_stream)?;
    copy(to, from, bytes)
}

pub extern "C" fn cuMemcpy(to: DevicePointer, from: DevicePointer, bytes: usize) -> CuResult {
    cuMemcpyAsync(to, from, bytes, 0)
}

pub extern "C" fn cuMemcpyAsync(to: DevicePointer, from: DevicePointer, bytes: usize, stream: Handle) -> CuResult {
    call(|| copy_on(stream, (to, Side::Any), (from, Side::Any), bytes))
}

pub extern "C" fn cuMemcpyHtoD_v2(to: DevicePointer, from: In<u8>, bytes: usize) -> CuResult {
    cuMemcpyHtoDAsync_v2(to, from, bytes, 0)
}

pub extern "C" fn cuMemcpyHtoDAsync_v2(to: DevicePointer, from: In<u8>, bytes: usize, stream: Handle) -> CuResult {
    let from = (from.address() as u64, Side::Any);
    call(|| copy_on(stream, (to, Side::Device), from, bytes))
}

pub extern "C" fn cuMemcpyDtoH_v2(to: usize, from: DevicePointer, bytes: usize) -> CuResult {
    cuMemcpyDtoHAsync_v2(to, from, bytes, 0)
}

pub extern "C" fn cuMemcpyDtoHAsync_v2(to: usize, from: DevicePointer, bytes: usize, stream: Handle) -> CuResult {
    call(|| copy_on(stream, (to as u64, Side::Any), (from, Side::Device), bytes))
}

pub extern "C" fn cuMemcpyDtoD_v2(to: DevicePointer, from: DevicePointer, bytes: usize) -> CuResult {
    cuMemcpyDtoDAsync_v2(to, from, bytes, 0)
}

pub extern "C" fn cuMemcpyDtoDAsync_v2(
    to: DevicePointer,
    from: DevicePointer,
    bytes: usize,
    stream: Handle,
) -> CuResult {
    call(|| copy_on(stream, (to, Side::Device), (from, Side::Device), bytes))
}

pub extern "C" fn cuMemcpyPeer(
    to: DevicePointer,
    to_context: Handle,
    from: DevicePointer,
    from_context: Handle,
    bytes: usize,
) -> CuResult {
    cuMemcpyPeerAsync(to, to_context, from, from_context, bytes, 0)
}

/// Addresses of different devices differ, so the contexts need only be fit for work.
pub extern "C" fn cuMemcpyPeerAsync(
    to: DevicePointer,
    to_context: Handle,
    from: DevicePointer,
    from_context: Handle,
    bytes: usize,
    stream: Handle,
) -> CuResult {
    call(|| {
        context::of_or_current(to_context)?;
        context::of_or_current(from_context)?;
        copy_on(stream, (to, Side::Device), (from, Side::Device), bytes)
    })
}

const MEMORY_HOST: u32 = 1;
const MEMORY_DEVICE: u32 = 2;
const MEMORY_UNIFIED: u32 = 4;

/// `CUDA_MEMCPY2D`: sizes and offsets in bytes and rows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Copy2d {
    from: Plane,
    to: Plane,
    width: usize,
    height: usize,
}

/// One side of [`Copy2d`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Plane {
    x: usize,
    y: usize,
    memory: u32,
    host: u64,
    device: DevicePointer,
    array: Handle,
    pitch: usize,
}

/// `CUDA_MEMCPY3D`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Copy3d {
    from: Volume,
    to: Volume,
    width: usize,
    height: usize,
    depth: usize,
}

/// One side of [`Copy3d`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Volume {
    x: usize,
    y: usize,
    z: usize,
    level_of_detail: usize,
    memory: u32,
    host: u64,
    device: DevicePointer,
    array: Handle,
    reserved: usize,
    pitch: usize,
    height: usize,
}

impl From<Plane> for Volume {
    fn from(plane: Plane) -> Volume {
        Volume {
            x: plane.x,
            y: plane.y,
            z: 0,
            level_of_detail: 0,
            memory: plane.memory,
            host: plane.host,
            device: plane.device,
            array: plane.array,
            reserved: 0,
            pitch: plane.pitch,
            height: 0,
        }
    }
}

impl Volume {
    /// Address of the row `row` of the layer `layer`.
    fn row(&self, layer: usize, row: usize, width: usize) -> Result<(u64, Side), Error> {
        let (base, side) = match self.memory {
            MEMORY_HOST => (self.host, Side::Any),
            MEMORY_DEVICE => (self.device, Side::Device),
            MEMORY_UNIFIED => (self.device, Side::Any),
            // Arrays belong to textures, which there are not.
            _ => return Err(Code::NOT_SUPPORTED.into()),
        };
        let pitch = if self.pitch == 0 { width } else { self.pitch };
        let offset = || {
            let rows = (self.z + layer).checked_mul(self.height)?;
            rows.checked_add(self.y + row)?.checked_mul(pitch)?.checked_add(self.x)
        };
        let address = offset().and_then(|offset| base.checked_add(offset as u64));
        Ok((address.ok_or(Code::INVALID_VALUE)?, side))
    }
}

fn copy_volume(all: &Copy3d, on_stream: Handle) -> Result<(), Error> {
    stream::context_of(on_stream)?;
    for side in [&all.from, &all.to] {
        if side.pitch != 0 && all.height * all.depth > 1 && side.pitch < all.width {
            return Err(Code::INVALID_VALUE.into());
        }
    }
    for layer in 0..all.depth {
        for row in 0..all.height {
            let to = all.to.row(layer, row, all.width)?;
            copy(to, all.from.row(layer, row, all.width)?, all.width)?;
        }
    }
    Ok(())
}

pub extern "C" fn cuMemcpy2D_v2(copy: In<Copy2d>) -> CuResult {
    cuMemcpy2DAsync_v2(copy, 0)
}

pub extern "C" fn cuMemcpy2DUnaligned_v2(copy: In<Copy2d>) -> CuResult {
    cuMemcpy2DAsync_v2(copy, 0)
}

pub extern "C" fn cuMemcpy2DAsync_v2(copy: In<Copy2d>, stream: Handle) -> CuResult {
    call(|| {
        let plane = copy.get()?;
        let all =
            Copy3d { from: plane.from.into(), to: plane.to.into(), width: plane.width, height: plane.height, depth: 1 };
        copy_volume(&all, stream)
    })
}

pub extern "C" fn cuMemcpy3D_v2(copy: In<Copy3d>) -> CuResult {
    cuMemcpy3DAsync_v2(copy, 0)
}

pub extern "C" fn cuMemcpy3DAsync_v2(copy: In<Copy3d>, stream: Handle) -> CuResult {
    call(|| copy_volume(&copy.get()?, stream))
}
