//! Loads and stores: a whole warp's addresses checked at once, data moved between memory and register slots.

use super::engine::{Engine, Span};
use super::observe::Memory;
use super::registers::{Plain, Simd};
use super::shape::Shape;
use super::traffic::{self, lanes};
use super::transfer::{Staging, fetch, pack, put, scatter, unpack};
use super::value::Lanes;
use super::warp::Warp;
use crate::fault::Fault;
use crate::program::op::{Access, AddressWidth, Op};

pub(super) type Checked<T = ()> = Result<T, Box<Fault>>;

/// Loads or stores.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Load,
    Store,
}

/// A checked access to device memory.
pub(super) struct Place<'a> {
    pub(super) shape: Shape<'a>,
    /// Device address of offset 0.
    pub(super) low: u64,
    /// Host address of offset 0.
    pub(super) host: usize,
}

/// Addresses within a space of at most 4 GiB; what does not fit becomes the largest, which no space has.
#[inline(always)]
pub(super) fn narrow_addresses(warp: &Warp, slot: u16, width: AddressWidth, offset: i64) -> Lanes {
    let mut addresses = Lanes([0; 32]);
    match width {
        AddressWidth::Narrow => {
            for (address, &base) in addresses.0.iter_mut().zip(warp.registers.word(slot)) {
                *address = base.wrapping_add(offset as u32);
            }
        }
        AddressWidth::Wide => {
            for (address, &base) in addresses.0.iter_mut().zip(warp.registers.double(slot)) {
                *address = base.wrapping_add_signed(offset).min(u64::from(u32::MAX)) as u32;
            }
        }
        AddressWidth::Absolute => addresses.0 = [u32::try_from(offset).unwrap_or(u32::MAX); 32],
    }
    addresses
}

impl Engine<'_> {
    /// 64-bit addresses.
    #[inline(always)]
    pub(super) fn addresses(&self, warp: &Warp, slot: u16, width: AddressWidth, offset: i64) -> [u64; 32] {
        let mut addresses = [0; 32];
        match width {
            AddressWidth::Wide => {
                for (address, &base) in addresses.iter_mut().zip(warp.registers.double(slot)) {
                    *address = base.wrapping_add_signed(offset);
                }
            }
            AddressWidth::Narrow => {
                for (address, &base) in addresses.iter_mut().zip(warp.registers.word(slot)) {
                    *address = u64::from(base).wrapping_add_signed(offset);
                }
            }
            AddressWidth::Absolute => addresses = [offset as u64; 32],
        }
        addresses
    }

    /// Shared addresses.
    #[inline(always)]
    pub(super) fn shared_addresses(&self, warp: &Warp, slot: u16, width: AddressWidth, offset: i64) -> Lanes {
        narrow_addresses(warp, slot, width, offset)
    }

    /// `ld.global`, `ld.const`, `st.global`.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn move_global<S: Simd>(
        &mut self,
        warp: &mut Warp,
        op: &Op,
        at: u32,
        mask: u32,
        direction: Direction,
    ) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = self.addresses(warp, op.a, access.address, access.offset);
        let span = self.access_spans[op.aux as usize];
        let mut offsets = Lanes([0; 32]);
        // SAFETY: the caller's promise.
        let Some(place) = (unsafe { place::<S>(&span, &addresses, mask, access.bytes(), direction, &mut offsets) })
        else {
            return self.move_global_slowly(warp, op, at, mask, &addresses, direction);
        };
        if direction == Direction::Store {
            self.check_sources(warp, at, &addresses, mask, access.bytes())?;
        }
        if self.watch.is_some() && !span.read_only {
            self.observe(warp, at, mask, &addresses, access.bytes(), Memory::Device, direction.into())?;
        }
        // SAFETY: the caller's promise.
        let sectors = unsafe { self.note_sectors::<S>(direction.into(), &place.shape, place.low, mask) };
        self.count_global(warp.index, at, sectors, mask, access.bytes());
        // SAFETY: `place` has shown that the lanes of `mask` lie inside a live allocation, writable for a store.
        unsafe { transfer::<S>(warp, access, place.host, &place.shape, mask, direction) };
        Ok(())
    }

    /// Lane by lane: fills the cache, serves lanes of several allocations, finds the lane at fault.
    #[cold]
    #[inline(never)]
    pub(super) fn move_global_slowly(
        &mut self,
        warp: &mut Warp,
        op: &Op,
        at: u32,
        mask: u32,
        addresses: &[u64; 32],
        direction: Direction,
    ) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let bytes = access.bytes();
        let action = if direction == Direction::Load { "global load" } else { "global store" };
        let mut spans = [Span::default(); 32];
        for lane in lanes(mask) {
            spans[lane] =
                self.find_span(warp, at, lane, addresses[lane], bytes, action, direction == Direction::Store)?;
            self.access_spans[op.aux as usize] = spans[lane];
        }
        if direction == Direction::Store {
            self.check_sources(warp, at, addresses, mask, bytes)?;
        }
        if self.watch.is_some() {
            self.observe(warp, at, mask, addresses, bytes, Memory::Device, direction.into())?;
        }
        let sectors = self.note_lanes(direction.into(), addresses, mask);
        self.count_global(warp.index, at, sectors, mask, bytes);
        for lane in lanes(mask) {
            let host = spans[lane].shift.wrapping_add(addresses[lane] as usize);
            let shape = Shape::scattered(&[0; 32], bytes);
            // SAFETY: find_span has shown that the lane lies inside a live allocation, writable for a store.
            unsafe { transfer::<Plain>(warp, access, host, &shape, 1 << lane, direction) };
        }
        Ok(())
    }

    /// The allocation around one lane's access, or the fault.
    #[expect(clippy::too_many_arguments, reason = "one lane's access: who, where, what")]
    pub(super) fn find_span(
        &self,
        warp: &Warp,
        at: u32,
        lane: usize,
        address: u64,
        bytes: u32,
        action: &str,
        writes: bool,
    ) -> Checked<Span> {
        let lane = lane as u32;
        let Some(span) = self.lookup(address, u64::from(bytes)) else {
            return Err(self.memory_fault(warp, at, lane, action, address, bytes));
        };
        if !address.is_multiple_of(u64::from(bytes)) {
            return Err(self.misaligned(warp, at, lane, action, address, bytes));
        }
        if writes && span.read_only {
            return Err(self.memory_fault(warp, at, lane, &format!("{action} to constant memory"), address, bytes));
        }
        Ok(span)
    }

    /// A store must not overwrite what a copy in flight still has to read.
    #[inline(always)]
    pub(super) fn check_sources(&self, warp: &Warp, at: u32, addresses: &[u64; 32], mask: u32, bytes: u32) -> Checked {
        if self.site.in_flight == 0 {
            return Ok(());
        }
        for lane in lanes(mask) {
            if let Some(op) = self.source_in_flight(addresses[lane], u64::from(bytes)) {
                return Err(self.overwritten_source(warp, at, lane as u32, addresses[lane], bytes, op));
            }
        }
        Ok(())
    }

    /// `ld.shared`, `st.shared`.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn move_shared<S: Simd>(
        &mut self,
        warp: &mut Warp,
        op: &Op,
        at: u32,
        mask: u32,
        direction: Direction,
    ) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = narrow_addresses(warp, op.a, access.address, access.offset);
        // SAFETY: the caller's promise.
        unsafe { self.move_shared_at::<S>(warp, access, at, mask, addresses, direction) }
    }

    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn move_shared_at<S: Simd>(
        &mut self,
        warp: &mut Warp,
        access: &Access,
        at: u32,
        mask: u32,
        addresses: Lanes,
        direction: Direction,
    ) -> Checked {
        let load = direction == Direction::Load;
        let action = if load { "shared load" } else { "shared store" };
        // SAFETY: the caller's promise.
        let shape = unsafe { self.shared_shape::<S>(warp, at, &addresses, mask, access.bytes(), action)? };
        if self.watch.is_some() {
            self.observe(
                warp,
                at,
                mask,
                &addresses.0.map(u64::from),
                access.bytes(),
                Memory::Shared,
                direction.into(),
            )?;
        }
        self.count_shared(warp.index, at, traffic::wavefronts(&shape, mask));
        let host = self.site.shared.pointer() as usize;
        // SAFETY: check_shared has shown that the lanes of `mask` lie inside the block's shared memory.
        unsafe { transfer::<S>(warp, access, host, &shape, mask, direction) };
        Ok(())
    }

    /// The shape of a shared access, its bounds, alignment and copies in flight checked.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn shared_shape<'a, S: Simd>(
        &self,
        warp: &Warp,
        at: u32,
        addresses: &'a Lanes,
        mask: u32,
        bytes: u32,
        action: &str,
    ) -> Checked<Shape<'a>> {
        // SAFETY: the caller's promise.
        let (shape, wrong) = unsafe { Shape::new::<S>(addresses, mask, bytes, self.site.shared.len() as u32) };
        if wrong != 0 {
            return Err(self.shared_fault(warp, at, &shape, wrong, action));
        }
        if self.site.in_flight > 0
            // SAFETY: the caller's promise; the bounds have just been checked.
            && let Some(lane) = unsafe { self.site.poisoned::<S>(&shape, mask) }
        {
            return Err(self.early_access(warp, at, lane, &shape, action));
        }
        Ok(shape)
    }
}

/// Checks an access to device memory against one allocation.
///
/// # Safety
/// The host must have the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn place<'a, S: Simd>(
    span: &Span,
    addresses: &[u64; 32],
    mask: u32,
    bytes: u32,
    direction: Direction,
    offsets: &'a mut Lanes,
) -> Option<Place<'a>> {
    // Allocations of 4 GiB and more are looked at through a window that starts at the first active lane's 2 GiB.
    let lane = mask.trailing_zeros() as usize & 31;
    let large = span.end - span.base > u64::from(u32::MAX);
    let base = if large { (addresses[lane] & !0x7fff_ffff).max(span.base) } else { span.base };
    let size = span.end.wrapping_sub(base).min(u64::from(u32::MAX)) as u32;
    // Offsets tell alignment only from an aligned base; host memory can be registered anywhere.
    let uneven = base & u64::from(bytes - 1) != 0;
    if base >= span.end || uneven || direction == Direction::Store && span.read_only {
        return None;
    }
    for (offset, &address) in offsets.0.iter_mut().zip(addresses) {
        *offset = address.wrapping_sub(base).min(u64::from(u32::MAX)) as u32;
    }
    // SAFETY: the caller's promise.
    let (shape, wrong) = unsafe { Shape::new::<S>(offsets, mask, bytes, size) };
    if wrong != 0 {
        return None;
    }
    Some(Place { shape, low: base, host: span.shift.wrapping_add(base as usize) })
}

/// Moves the data of a checked access.
///
/// # Safety
/// The lanes of `mask` must lie inside mapped memory, `host` being the address of offset 0, aligned to their size.
#[inline(always)]
pub(super) unsafe fn transfer<S: Simd>(
    warp: &mut Warp,
    access: &Access,
    host: usize,
    shape: &Shape<'_>,
    mask: u32,
    direction: Direction,
) {
    // One word a lane, the most frequent access, needs no staging.
    if let [slot] = access.data[..]
        && access.element_bytes == 4
        && !access.wide
        && !shape.regular()
    {
        // SAFETY: the caller's promise.
        unsafe {
            if direction == Direction::Load {
                S::gather(warp.registers.word_mut(slot), host as *const u8, shape.offsets, mask);
            } else {
                scatter(warp.registers.word(slot), host, shape.offsets, mask);
            }
        }
        return;
    }
    let mut staging = Staging::new();
    // SAFETY: the caller's promise; a fetch or pack fills the staging area for the active lanes.
    unsafe {
        if direction == Direction::Load {
            fetch::<S>(&mut staging, host, shape, mask);
            unpack(warp, access, &staging, mask);
        } else {
            pack(warp, access, &mut staging);
            put::<S>(&mut staging, host, shape, mask);
        }
    }
}
