//! Host memory that devices see: pinned, registered and managed. It has one address on the host and on every device.

use super::{
    abi::{CuResult, DevicePointer, Handle, Out, call},
    address, capture, context,
    device::{self, Device},
    error::{Code, Error},
    managed, memory,
};
use std::{
    alloc::Layout,
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// CU_MEMHOSTALLOC_PORTABLE, DEVICEMAP and WRITECOMBINED; those of registration besides DEVICEMAP: PORTABLE, IOMEMORY, READ_ONLY.
const ALLOC_FLAGS: u32 = 0b111;
const REGISTER_FLAGS: u32 = 0b1111;
const DEVICE_MAP: u32 = 2;

const PAGE: usize = 4096;

/// Where a block comes from.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// `cuMemHostAlloc`.
    Pinned,
    /// `cuMemHostRegister`: the program's own memory.
    Registered,
    /// `cuMemAllocManaged`.
    Managed,
}

/// A block of host memory known to the devices.
#[derive(Clone, Copy)]
pub(super) struct Block {
    pub(super) kind: Kind,
    pub(super) bytes: usize,
    pub(super) flags: u32,
    pub(super) context: Handle,
}

static BLOCKS: Mutex<BTreeMap<usize, Block>> = Mutex::new(BTreeMap::new());

fn blocks() -> MutexGuard<'static, BTreeMap<usize, Block>> {
    BLOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The block that contains `address`, and where it starts.
pub(super) fn find(address: usize) -> Option<(usize, Block)> {
    let blocks = blocks();
    let (base, block) = blocks.range(..=address).next_back()?;
    (address - base < block.bytes).then_some((*base, *block))
}

fn devices() -> Result<impl Iterator<Item = &'static Device>, Error> {
    Ok(device::driver()?.devices.iter())
}

/// Makes a block known; an error if part of it is known already.
fn map(base: usize, block: Block) -> Result<(), Error> {
    let mut blocks = blocks();
    let end = base.checked_add(block.bytes).ok_or(Code::INVALID_VALUE)?;
    let before = blocks.range(..end).next_back();
    if before.is_some_and(|(other, known)| other + known.bytes > base) {
        return Err(Code::HOST_MEMORY_ALREADY_REGISTERED.into());
    }
    for device in devices()? {
        // SAFETY: the block is valid until it is unmapped: ours until it is freed, the program's by its promise.
        unsafe { device.memory()?.map_host(base as *mut u8, block.bytes as u64) };
    }
    blocks.insert(base, block);
    Ok(())
}

/// Takes back the block that starts at `base` if it is of one of `kinds`, and frees it if it is ours.
fn unmap(base: usize, kinds: &[Kind]) -> Option<Block> {
    let mut blocks = blocks();
    let block = *blocks.get(&base)?;
    if !kinds.contains(&block.kind) {
        return None;
    }
    blocks.remove(&base);
    for device in devices().ok()? {
        if let Ok(memory) = device.memory() {
            memory.unmap_host(base as *mut u8);
        }
    }
    if block.kind != Kind::Registered
        && let Ok(layout) = Layout::from_size_align(block.bytes, PAGE)
    {
        // SAFETY: `allocate` got it with this layout; it has just left the table, so nobody frees it again.
        unsafe { std::alloc::dealloc(base as *mut u8, layout) };
    }
    Some(block)
}

/// Allocates zeroed pages and makes them known.
pub(super) fn allocate(kind: Kind, bytes: usize, flags: u32) -> Result<usize, Error> {
    capture::forbid_unsafe()?;
    let context = context::current()?;
    let layout = Layout::from_size_align(bytes, PAGE).map_err(|_| Code::INVALID_VALUE)?;
    if bytes == 0 {
        return Err(Code::INVALID_VALUE.into());
    }
    // SAFETY: the layout is not empty.
    let base = unsafe { std::alloc::alloc_zeroed(layout) } as usize;
    if base == 0 {
        return Err(Code::OUT_OF_MEMORY.into());
    }
    let block = Block { kind, bytes, flags, context: context.handle };
    map(base, block)?;
    Ok(base)
}

/// Frees managed memory; `false`: there is none at `address`.
pub(super) fn free_managed(address: DevicePointer) -> bool {
    match unmap(address as usize, &[Kind::Managed]) {
        Some(block) => {
            managed::forget(address, block.bytes);
            true
        }
        None => false,
    }
}

/// Frees everything that a context allocated or registered.
pub(super) fn free_all(context: Handle) {
    let theirs: Vec<usize> =
        blocks().iter().filter(|(_, block)| block.context == context).map(|(base, _)| *base).collect();
    for base in theirs {
        unmap(base, &[Kind::Pinned, Kind::Registered, Kind::Managed]);
    }
}

pub extern "C" fn cuMemHostAlloc(out: Out<usize>, bytes: usize, flags: u32) -> CuResult {
    call(|| {
        if flags & !ALLOC_FLAGS != 0 || out.is_null() {
            return Err(Code::INVALID_VALUE.into());
        }
        out.set(allocate(Kind::Pinned, bytes, flags | DEVICE_MAP)?)
    })
}

pub extern "C" fn cuMemAllocHost_v2(out: Out<usize>, bytes: usize) -> CuResult {
    cuMemHostAlloc(out, bytes, 0)
}

pub extern "C" fn cuMemFreeHost(address: usize) -> CuResult {
    call(|| {
        memory::settle()?;
        unmap(address, &[Kind::Pinned]).map(drop).ok_or(Code::INVALID_VALUE.into())
    })
}

pub extern "C" fn cuMemHostRegister_v2(address: usize, bytes: usize, flags: u32) -> CuResult {
    call(|| {
        let context = context::current()?;
        if address == 0 || bytes == 0 || flags & !REGISTER_FLAGS != 0 {
            return Err(Code::INVALID_VALUE.into());
        }
        capture::forbid_unsafe()?;
        if !address::is_pageable(address as u64) && find(address).is_none() {
            return Err(Code::INVALID_VALUE.into());
        }
        let block = Block { kind: Kind::Registered, bytes, flags, context: context.handle };
        map(address, block)
    })
}

pub extern "C" fn cuMemHostUnregister(address: usize) -> CuResult {
    call(|| {
        memory::settle()?;
        unmap(address, &[Kind::Registered]).map(drop).ok_or(Code::HOST_MEMORY_NOT_REGISTERED.into())
    })
}

/// The device sees host memory at the host's own address.
pub extern "C" fn cuMemHostGetDevicePointer_v2(out: Out<DevicePointer>, address: usize, flags: u32) -> CuResult {
    call(|| {
        context::current()?;
        if flags != 0 || find(address).is_none() {
            return Err(Code::INVALID_VALUE.into());
        }
        out.set(address as DevicePointer)
    })
}

pub extern "C" fn cuMemHostGetFlags(flags: Out<u32>, address: usize) -> CuResult {
    call(|| match find(address) {
        Some((_, block)) if block.kind == Kind::Pinned => flags.set(block.flags),
        _ => Err(Code::INVALID_VALUE.into()),
    })
}
