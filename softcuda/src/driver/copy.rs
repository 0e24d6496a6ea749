//! Copies between host and devices, in one, two or three dimensions.

use super::{
    abi::{CuResult, DevicePointer, Handle, In, call},
    address::{self, Side},
    capture, clock, context, device,
    error::{Code, Error},
    operation::Operation,
    stream,
};
use std::sync::Arc;

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

/// `CUDA_MEMCPY3D`; with contexts in place of `reserved`, `CUDA_MEMCPY3D_PEER`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Copy3d {
    pub(super) from: Volume,
    pub(super) to: Volume,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) depth: usize,
}

/// One side of [`Copy3d`].
#[repr(C)]
#[derive(Clone, Copy, Default)]
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
            memory: plane.memory,
            host: plane.host,
            device: plane.device,
            array: plane.array,
            pitch: plane.pitch,
            ..Volume::default()
        }
    }
}

impl Volume {
    /// Host memory, or what its address says.
    pub(super) fn host(host: u64) -> Volume {
        Volume { memory: MEMORY_HOST, host, ..Volume::default() }
    }

    pub(super) fn device(device: DevicePointer) -> Volume {
        Volume { memory: MEMORY_DEVICE, device, ..Volume::default() }
    }

    pub(super) fn any(device: DevicePointer) -> Volume {
        Volume { memory: MEMORY_UNIFIED, device, ..Volume::default() }
    }

    /// The same place with rows `pitch` bytes apart and layers of `height` rows.
    pub(super) fn with_layout(self, pitch: usize, height: usize) -> Volume {
        Volume { pitch, height, ..self }
    }

    fn base(&self) -> Result<(u64, Side), Error> {
        match self.memory {
            MEMORY_HOST => Ok((self.host, Side::Any)),
            MEMORY_DEVICE => Ok((self.device, Side::Device)),
            MEMORY_UNIFIED => Ok((self.device, Side::Any)),
            // Arrays belong to textures, which there are not.
            _ => Err(Code::NOT_SUPPORTED.into()),
        }
    }

    /// The memory of the row `row` of the layer `layer`.
    fn row(&self, layer: usize, row: usize, width: usize) -> Result<*mut u8, Error> {
        let (start, side) = self.row_address(layer, row, width)?;
        address::span(start, width, side)
    }

    fn row_address(&self, layer: usize, row: usize, width: usize) -> Result<(u64, Side), Error> {
        let (base, side) = self.base()?;
        let pitch = if self.pitch == 0 { width } else { self.pitch };
        let offset = || {
            let rows = (self.z + layer).checked_mul(self.height)?;
            rows.checked_add(self.y + row)?.checked_mul(pitch)?.checked_add(self.x)
        };
        let start = offset().and_then(|offset| base.checked_add(offset as u64));
        Ok((start.ok_or(Code::INVALID_VALUE)?, side))
    }

    /// Where it starts, as given; `None`: an array.
    pub(super) fn address(&self) -> Option<u64> {
        self.base().ok().map(|(base, _)| base)
    }

    fn is_pageable(&self) -> bool {
        self.base().is_ok_and(|(base, side)| side == Side::Any && address::is_pageable(base))
    }
}

/// A copy, and the bytes that it takes if its source was copied in advance.
#[derive(Clone)]
pub(super) struct Transfer {
    pub(super) all: Copy3d,
    staged: Option<Arc<[u8]>>,
}

impl Transfer {
    pub(super) fn new(all: Copy3d) -> Transfer {
        Transfer { all, staged: None }
    }

    pub(super) fn linear(to: Volume, from: Volume, bytes: usize) -> Transfer {
        Transfer::new(Copy3d { from, to, width: bytes, height: 1, depth: 1 })
    }

    fn rows(&self) -> impl Iterator<Item = (usize, usize)> {
        let (height, depth) = (self.all.height, self.all.depth);
        (0..depth).flat_map(move |layer| (0..height).map(move |row| (layer, row)))
    }

    /// An error unless both sides are inside of memory, as far as it can be told.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Copy3d { from, to, width, height, depth } = self.all;
        for side in [from, to] {
            if side.pitch != 0 && height.saturating_mul(depth) > 1 && side.pitch < width {
                return Err(Code::INVALID_VALUE.into());
            }
        }
        for (layer, row) in self.rows() {
            to.row(layer, row, width)?;
            from.row(layer, row, width)?;
        }
        Ok(())
    }

    /// The copy as it can wait its turn, and whether the call has to wait for it: a source in pageable memory is read
    /// now, a destination there must have been written when the call returns.
    pub(super) fn staged(self) -> Result<(Transfer, bool), Error> {
        let wait = self.all.to.is_pageable();
        if !self.all.from.is_pageable() {
            return Ok((self, wait));
        }
        let width = self.all.width;
        let mut bytes = Vec::with_capacity(width * self.all.height * self.all.depth);
        for (layer, row) in self.rows() {
            let source = self.all.from.row(layer, row, width)?;
            // SAFETY: the caller of the API promises that its memory holds what is to be copied.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(source, width) });
        }
        Ok((Transfer { all: self.all, staged: Some(bytes.into()) }, wait))
    }

    pub(super) fn run(&self) -> Result<(), Error> {
        let Copy3d { from, to, width, height, .. } = self.all;
        let from = match &self.staged {
            Some(bytes) => Volume { height, ..Volume::host(bytes.as_ptr() as u64) },
            None => from,
        };
        let on_device = |side: &Volume| side.base().is_ok_and(|(address, _)| device::owner(address).is_some());
        let by_host = !(on_device(&from) && on_device(&to));
        clock::move_bytes(width * height * self.all.depth, by_host);
        for (layer, row) in self.rows() {
            let (source, destination) = (from.row(layer, row, width)?, to.row(layer, row, width)?);
            if width > 0 {
                // SAFETY: device spans lie inside live allocations, staged bytes are held by `self`, and the caller
                // promises the host ones. They may overlap.
                unsafe { source.copy_to(destination, width) };
                address::note_copied(
                    to.row_address(layer, row, width)?.0,
                    from.row_address(layer, row, width)?.0,
                    width,
                )?;
            }
        }
        Ok(())
    }
}

/// Copies on a stream.
fn start(stream: Handle, transfer: Transfer) -> Result<(), Error> {
    stream::enqueue(stream, Operation::Copy(transfer)).map(drop)
}

/// Copies on the default stream and waits.
fn finish(transfer: Transfer) -> Result<(), Error> {
    capture::forbid_unsafe()?;
    stream::enqueue(0, Operation::Copy(transfer))?.wait()
}

pub extern "C" fn cuMemcpy(to: DevicePointer, from: DevicePointer, bytes: usize) -> CuResult {
    call(|| finish(Transfer::linear(Volume::any(to), Volume::any(from), bytes)))
}

pub extern "C" fn cuMemcpyAsync(to: DevicePointer, from: DevicePointer, bytes: usize, stream: Handle) -> CuResult {
    call(|| start(stream, Transfer::linear(Volume::any(to), Volume::any(from), bytes)))
}

pub extern "C" fn cuMemcpyHtoD_v2(to: DevicePointer, from: In<u8>, bytes: usize) -> CuResult {
    call(|| finish(Transfer::linear(Volume::device(to), Volume::host(from.address() as u64), bytes)))
}

pub extern "C" fn cuMemcpyHtoDAsync_v2(to: DevicePointer, from: In<u8>, bytes: usize, stream: Handle) -> CuResult {
    call(|| start(stream, Transfer::linear(Volume::device(to), Volume::host(from.address() as u64), bytes)))
}

pub extern "C" fn cuMemcpyDtoH_v2(to: usize, from: DevicePointer, bytes: usize) -> CuResult {
    call(|| finish(Transfer::linear(Volume::host(to as u64), Volume::device(from), bytes)))
}

pub extern "C" fn cuMemcpyDtoHAsync_v2(to: usize, from: DevicePointer, bytes: usize, stream: Handle) -> CuResult {
    call(|| start(stream, Transfer::linear(Volume::host(to as u64), Volume::device(from), bytes)))
}

pub extern "C" fn cuMemcpyDtoD_v2(to: DevicePointer, from: DevicePointer, bytes: usize) -> CuResult {
    call(|| finish(Transfer::linear(Volume::device(to), Volume::device(from), bytes)))
}

pub extern "C" fn cuMemcpyDtoDAsync_v2(
    to: DevicePointer,
    from: DevicePointer,
    bytes: usize,
    stream: Handle,
) -> CuResult {
    call(|| start(stream, Transfer::linear(Volume::device(to), Volume::device(from), bytes)))
}

/// Addresses of different devices differ, so the contexts need only be fit for work.
fn check_contexts(contexts: [Handle; 2]) -> Result<(), Error> {
    contexts.into_iter().try_for_each(|context| context::of_or_current(context).map(drop))
}

pub extern "C" fn cuMemcpyPeer(
    to: DevicePointer,
    to_context: Handle,
    from: DevicePointer,
    from_context: Handle,
    bytes: usize,
) -> CuResult {
    call(|| {
        check_contexts([to_context, from_context])?;
        finish(Transfer::linear(Volume::device(to), Volume::device(from), bytes))
    })
}

pub extern "C" fn cuMemcpyPeerAsync(
    to: DevicePointer,
    to_context: Handle,
    from: DevicePointer,
    from_context: Handle,
    bytes: usize,
    stream: Handle,
) -> CuResult {
    call(|| {
        check_contexts([to_context, from_context])?;
        start(stream, Transfer::linear(Volume::device(to), Volume::device(from), bytes))
    })
}

impl From<Copy2d> for Transfer {
    fn from(plane: Copy2d) -> Transfer {
        Transfer::new(Copy3d {
            from: plane.from.into(),
            to: plane.to.into(),
            width: plane.width,
            height: plane.height,
            depth: 1,
        })
    }
}

pub extern "C" fn cuMemcpy2D_v2(copy: In<Copy2d>) -> CuResult {
    call(|| finish(copy.get()?.into()))
}

pub extern "C" fn cuMemcpy2DUnaligned_v2(copy: In<Copy2d>) -> CuResult {
    cuMemcpy2D_v2(copy)
}

pub extern "C" fn cuMemcpy2DAsync_v2(copy: In<Copy2d>, stream: Handle) -> CuResult {
    call(|| start(stream, copy.get()?.into()))
}

pub extern "C" fn cuMemcpy3D_v2(copy: In<Copy3d>) -> CuResult {
    call(|| finish(Transfer::new(copy.get()?)))
}

pub extern "C" fn cuMemcpy3DAsync_v2(copy: In<Copy3d>, stream: Handle) -> CuResult {
    call(|| start(stream, Transfer::new(copy.get()?)))
}

/// The contexts of a copy between devices stand where other copies have a reserved word.
fn peers(copy: &Copy3d) -> Result<(), Error> {
    check_contexts([copy.from.reserved, copy.to.reserved])
}

pub extern "C" fn cuMemcpy3DPeer(copy: In<Copy3d>) -> CuResult {
    call(|| {
        let copy = copy.get()?;
        peers(&copy)?;
        finish(Transfer::new(copy))
    })
}

pub extern "C" fn cuMemcpy3DPeerAsync(copy: In<Copy3d>, stream: Handle) -> CuResult {
    call(|| {
        let copy = copy.get()?;
        peers(&copy)?;
        start(stream, Transfer::new(copy))
    })
}
