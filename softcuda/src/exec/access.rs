//! Loads and stores: a whole warp's addresses checked at once, data moved between memory and register slots.

use super::engine::{Engine, LOCAL_WINDOW, SHARED_WINDOW, Span};
use super::registers::{Plain, Simd};
use super::shape::{KnownShape, Shape};
use super::traffic::{self, lanes};
use super::transfer::{Staging, fetch, in_window, load_known, load_words, pack, put, store_known, store_words, unpack};
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
fn narrow_addresses(warp: &Warp, slot: u16, width: AddressWidth, offset: i64) -> Lanes {
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
        let sectors = traffic::sectors(&place.shape, place.low, mask);
        self.count_global(direction, sectors, mask, access.bytes());
        // SAFETY: `place` has shown that the lanes of `mask` lie inside a live allocation, writable for a store.
        unsafe { transfer::<S>(warp, access, place.host, &place.shape, mask, direction) };
        Ok(())
    }

    #[inline(always)]
    fn count_global(&mut self, direction: Direction, sectors: u64, mask: u32, bytes: u32) {
        let counters = &mut self.counters;
        let counter =
            if direction == Direction::Load { &mut counters.global_loads } else { &mut counters.global_stores };
        traffic::count_global(counter, sectors, mask, bytes);
    }

    /// Lane by lane: fills the cache, serves lanes of several allocations, finds the lane at fault.
    #[cold]
    #[inline(never)]
    fn move_global_slowly(
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
        let mut sectors: Vec<u64> = lanes(mask).map(|lane| addresses[lane] >> 5).collect();
        sectors.sort_unstable();
        sectors.dedup();
        self.count_global(direction, sectors.len() as u64, mask, bytes);
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
        if address % u64::from(bytes) != 0 {
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
    unsafe fn move_shared_at<S: Simd>(
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
        let counters = &mut self.counters;
        let counter = if load { &mut counters.shared_loads } else { &mut counters.shared_stores };
        traffic::count_shared(counter, &shape, mask);
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
            && let Some(lane) = self.site.poisoned(&shape, mask)
        {
            return Err(self.early_access(warp, at, lane, &shape, action));
        }
        Ok(shape)
    }

    /// One 32-bit word a lane between shared memory and a slot, at addresses that are known: loops and unrolled code address
    /// shared memory by registers that seldom change. `false` when the addresses have to be looked at.
    #[inline(always)]
    pub(super) fn known_shared_word<const LOAD: bool>(&mut self, warp: &mut Warp, op: &Op) -> bool {
        let known = &warp.shapes[op.aux as usize];
        if known.version != warp.registers.version(op.a) || self.site.in_flight != 0 && self.site.poisoned_word(known) {
            return false;
        }
        let known = *known;
        let counters = &mut self.counters;
        let counter = if LOAD { &mut counters.shared_loads } else { &mut counters.shared_stores };
        counter.requests += 1;
        counter.ideal_wavefronts += 1;
        counter.wavefronts += known.wavefronts;
        let host = self.site.shared.pointer();
        // SAFETY: the register has not changed since its addresses were found to lie inside shared memory.
        unsafe {
            if LOAD {
                load_known(warp.registers.word_mut(op.d), host, &known);
            } else {
                store_known(warp.registers.word(op.d), host, &known);
            }
        }
        true
    }

    /// The same at any address; all lanes are active.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn shared_word<S: Simd, const LOAD: bool>(
        &mut self,
        warp: &mut Warp,
        op: &Op,
        at: u32,
    ) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = narrow_addresses(warp, op.a, access.address, access.offset);
        let action = if LOAD { "shared load" } else { "shared store" };
        // SAFETY: the caller's promise.
        let shape = unsafe { self.shared_shape::<S>(warp, at, &addresses, u32::MAX, 4, action)? };
        let counters = &mut self.counters;
        let counter = if LOAD { &mut counters.shared_loads } else { &mut counters.shared_stores };
        let before = counter.wavefronts;
        traffic::count_shared(counter, &shape, u32::MAX);
        if shape.regular() {
            let first = [shape.offsets[0], shape.offsets[16]];
            let (version, wavefronts) = (warp.registers.version(op.a), counter.wavefronts - before);
            warp.shapes[op.aux as usize] = KnownShape { version, runs: shape.runs, first, wavefronts };
        }
        let host = self.site.shared.pointer() as usize;
        // SAFETY: shared_shape has shown that all lanes lie inside the block's shared memory.
        unsafe {
            if LOAD {
                load_words::<S>(warp.registers.word_mut(op.d), host, &shape);
            } else {
                store_words::<S>(warp.registers.word(op.d), host, &shape);
            }
        }
        Ok(())
    }

    /// The same for device memory.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn global_word<S: Simd, const LOAD: bool>(
        &mut self,
        warp: &mut Warp,
        op: &Op,
        at: u32,
    ) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = self.addresses(warp, op.a, access.address, access.offset);
        let direction = if LOAD { Direction::Load } else { Direction::Store };
        let span = self.access_spans[op.aux as usize];
        let mut offsets = Lanes([0; 32]);
        // SAFETY: the caller's promise.
        let place = unsafe { place::<S>(&span, &addresses, u32::MAX, 4, direction, &mut offsets) };
        let Some(place) = place else {
            return self.move_global_slowly(warp, op, at, u32::MAX, &addresses, direction);
        };
        if !LOAD {
            self.check_sources(warp, at, &addresses, u32::MAX, 4)?;
        }
        let sectors = traffic::sectors(&place.shape, place.low, u32::MAX);
        self.count_global(direction, sectors, u32::MAX, 4);
        // SAFETY: `place` has shown that all lanes lie inside a live allocation, writable for a store.
        unsafe {
            if LOAD {
                load_words::<S>(warp.registers.word_mut(op.d), place.host, &place.shape);
            } else {
                store_words::<S>(warp.registers.word(op.d), place.host, &place.shape);
            }
        }
        Ok(())
    }

    /// `ld.local`, `st.local`: each thread has its own window.
    pub(super) fn move_local(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32, direction: Direction) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = narrow_addresses(warp, op.a, access.address, access.offset);
        self.move_local_at(warp, access, at, mask, addresses, direction)
    }

    fn move_local_at(
        &mut self,
        warp: &mut Warp,
        access: &Access,
        at: u32,
        mask: u32,
        mut addresses: Lanes,
        direction: Direction,
    ) -> Checked {
        let (bytes, frame) = (access.bytes(), self.kernel.local_bytes);
        for lane in lanes(mask) {
            let address = addresses.0[lane];
            if address > frame || frame - address < bytes {
                return Err(self.local_fault(warp, at, lane as u32, address, bytes));
            }
            if address % bytes != 0 {
                return Err(self.misaligned(warp, at, lane as u32, "local access", u64::from(address), bytes));
            }
            addresses.0[lane] += frame * (32 * warp.index + lane as u32);
        }
        let shape = Shape::scattered(&addresses.0, bytes);
        let host = self.site.local.pointer() as usize;
        // SAFETY: the loop above has put every lane of `mask` inside its thread's window.
        unsafe { transfer::<Plain>(warp, access, host, &shape, mask, direction) };
        Ok(())
    }

    /// Generic addresses: lanes in the shared and local windows go there, the rest to device memory.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    pub(super) unsafe fn move_generic<S: Simd>(
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
        let shared = in_window(&addresses, mask, SHARED_WINDOW);
        let local = in_window(&addresses, mask, LOCAL_WINDOW);
        let global = mask & !shared & !local;
        // A load may write the address register: every part works on the addresses taken above.
        if global != 0 {
            self.move_global_slowly(warp, op, at, global, &addresses, direction)?;
        }
        if shared != 0 {
            let within = Lanes(addresses.map(|address| address.wrapping_sub(SHARED_WINDOW) as u32));
            // SAFETY: the caller's promise.
            unsafe { self.move_shared_at::<S>(warp, access, at, shared, within, direction)? };
        }
        if local != 0 {
            let within = Lanes(addresses.map(|address| address.wrapping_sub(LOCAL_WINDOW) as u32));
            self.move_local_at(warp, access, at, local, within, direction)?;
        }
        Ok(())
    }

    /// `ld.param` at an address that is not constant.
    pub(super) fn load_param(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = narrow_addresses(warp, op.a, access.address, access.offset);
        let shape = Shape::scattered(&addresses.0, access.bytes());
        let (bytes, size) = (shape.bytes, self.launch.params.len() as u32);
        for lane in lanes(mask) {
            let address = shape.offsets[lane];
            if address > size || size - address < bytes {
                return Err(self.parameter_fault(warp, at, lane as u32, address, bytes));
            }
            if address % bytes != 0 {
                return Err(self.misaligned(warp, at, lane as u32, "parameter load", u64::from(address), bytes));
            }
        }
        let host = self.launch.params.as_ptr() as usize;
        // SAFETY: the loop above has shown that the lanes of `mask` lie inside the parameter block, which the driver
        // aligns to 16 bytes.
        unsafe { transfer::<Plain>(warp, access, host, &shape, mask, Direction::Load) };
        Ok(())
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
    if base >= span.end || direction == Direction::Store && span.read_only {
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
unsafe fn transfer<S: Simd>(
    warp: &mut Warp,
    access: &Access,
    host: usize,
    shape: &Shape<'_>,
    mask: u32,
    direction: Direction,
) {
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
