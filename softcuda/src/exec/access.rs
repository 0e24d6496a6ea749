//! Loads and stores: addresses checked for a whole warp at once, data moved between memory and register slots.

use super::engine::{Engine, LOCAL_WINDOW, SHARED_WINDOW};
use super::traffic::{self, lanes};
use super::transfer::{Place, Staging, contiguous, count_sectors, extent, fetch, in_window, pack, put, unpack};
use super::warp::Warp;
use crate::fault::{Fault, FaultKind};
use crate::program::op::{Access, AddressWidth, Op};

type Checked<T = ()> = Result<T, Box<Fault>>;

/// Loads or stores.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Load,
    Store,
}

impl Engine<'_> {
    /// 64-bit addresses of an access.
    #[inline(always)]
    pub(crate) fn addresses(&self, warp: &Warp, slot: u16, width: AddressWidth, offset: i64) -> [u64; 32] {
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

    /// `ld.global`, `ld.const`.
    #[inline(always)]
    pub(crate) fn load_global(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = self.addresses(warp, op.a, access.address, access.offset);
        let bytes = access.bytes();
        let place = self.check_global(warp, op.aux, at, &addresses, mask, bytes, Direction::Load)?;
        let sectors = count_sectors(&addresses, mask, bytes, place.contiguous);
        traffic::count_global(&mut self.counters.global_loads, sectors, mask, bytes);
        let mut staging = Staging::new();
        // SAFETY: check_global has shown that the lanes of `mask` lie inside a live allocation.
        unsafe { fetch(&mut staging, &place, &addresses, mask, bytes) };
        unpack(warp, access, &staging, mask);
        Ok(())
    }

    /// `st.global`.
    #[inline(always)]
    pub(crate) fn store_global(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = self.addresses(warp, op.a, access.address, access.offset);
        let bytes = access.bytes();
        let place = self.check_global(warp, op.aux, at, &addresses, mask, bytes, Direction::Store)?;
        let sectors = count_sectors(&addresses, mask, bytes, place.contiguous);
        traffic::count_global(&mut self.counters.global_stores, sectors, mask, bytes);
        let mut staging = Staging::new();
        pack(warp, access, &mut staging);
        // SAFETY: check_global has shown that the lanes of `mask` lie inside a live, writable allocation.
        unsafe { put(&staging, &place, &addresses, mask, bytes) };
        Ok(())
    }

    /// `ld.shared`.
    #[inline(always)]
    pub(crate) fn load_shared(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = self.addresses(warp, op.a, access.address, access.offset);
        self.move_shared(warp, access, at, mask, &addresses, Direction::Load)
    }

    /// `st.shared`.
    #[inline(always)]
    pub(crate) fn store_shared(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = self.addresses(warp, op.a, access.address, access.offset);
        self.move_shared(warp, access, at, mask, &addresses, Direction::Store)
    }

    #[inline(always)]
    fn move_shared(
        &mut self,
        warp: &mut Warp,
        access: &Access,
        at: u32,
        mask: u32,
        addresses: &[u64; 32],
        direction: Direction,
    ) -> Checked {
        let bytes = access.bytes();
        let action = if direction == Direction::Load { "shared load" } else { "shared store" };
        let narrow = self.check_shared(warp, at, addresses, mask, bytes, action)?;
        let contiguous = contiguous(addresses, mask, bytes);
        let counter =
            if direction == Direction::Load { &mut self.counters.shared_loads } else { &mut self.counters.shared_stores };
        traffic::count_shared(counter, &narrow, mask, bytes as u32);
        let place = Place { origin: self.site.shared.pointer() as usize, contiguous };
        let mut staging = Staging::new();
        if direction == Direction::Load {
            // SAFETY: check_shared has shown that the lanes of `mask` lie inside the block's shared memory.
            unsafe { fetch(&mut staging, &place, addresses, mask, bytes) };
            unpack(warp, access, &staging, mask);
        } else {
            pack(warp, access, &mut staging);
            // SAFETY: as above.
            unsafe { put(&staging, &place, addresses, mask, bytes) };
        }
        Ok(())
    }

    /// `ld.local`, `st.local`: each thread has its own window.
    pub(crate) fn move_local(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32, store: bool) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = self.addresses(warp, op.a, access.address, access.offset);
        self.move_local_at(warp, access, at, mask, addresses, store)
    }

    fn move_local_at(
        &mut self,
        warp: &mut Warp,
        access: &Access,
        at: u32,
        mask: u32,
        mut addresses: [u64; 32],
        store: bool,
    ) -> Checked {
        let bytes = access.bytes();
        let frame = u64::from(self.kernel.local_bytes);
        for lane in lanes(mask) {
            let address = addresses[lane];
            if address > frame || address + bytes > frame {
                let what = format!("local access of {bytes} bytes at {address:#x}: a thread has {frame} bytes");
                return Err(self.fault(FaultKind::IllegalAddress, warp, at, lane as u32, &what));
            }
            if address % bytes != 0 {
                return Err(self.misaligned(warp, at, lane as u32, "local access", address, bytes));
            }
            addresses[lane] += frame * u64::from(32 * warp.index + lane as u32);
        }
        let place = Place { origin: self.site.local.pointer() as usize, contiguous: false };
        let mut staging = Staging::new();
        if store {
            pack(warp, access, &mut staging);
            // SAFETY: the loop above has put every lane of `mask` inside its thread's window.
            unsafe { put(&staging, &place, &addresses, mask, bytes) };
        } else {
            // SAFETY: as above.
            unsafe { fetch(&mut staging, &place, &addresses, mask, bytes) };
            unpack(warp, access, &staging, mask);
        }
        Ok(())
    }

    /// Generic addresses: lanes in the shared and local windows go there, the rest to device memory.
    pub(crate) fn move_generic(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32, store: bool) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let mut addresses = self.addresses(warp, op.a, access.address, access.offset);
        let shared = in_window(&addresses, mask, SHARED_WINDOW);
        let local = in_window(&addresses, mask, LOCAL_WINDOW);
        let global = mask & !shared & !local;
        if global != 0 {
            if store {
                self.store_global(warp, op, at, global)?;
            } else {
                self.load_global(warp, op, at, global)?;
            }
        }
        for lane in lanes(shared | local) {
            addresses[lane] -= if shared >> lane & 1 == 1 { SHARED_WINDOW } else { LOCAL_WINDOW };
        }
        if shared != 0 {
            let direction = if store { Direction::Store } else { Direction::Load };
            self.move_shared(warp, access, at, shared, &addresses, direction)?;
        }
        if local != 0 {
            self.move_local_at(warp, access, at, local, addresses, store)?;
        }
        Ok(())
    }

    /// `ld.param` at an address that is not constant.
    pub(crate) fn load_param(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let access = &kernel.tables.accesses[op.aux as usize];
        let addresses = self.addresses(warp, op.a, access.address, access.offset);
        let bytes = access.bytes();
        let mut staging = Staging::new();
        for lane in lanes(mask) {
            let start = addresses[lane] as usize;
            let source = start.checked_add(bytes as usize).and_then(|end| self.launch.params.get(start..end));
            let Some(source) = source else {
                let size = self.launch.params.len();
                let what = format!("load of {bytes} parameter bytes at {start:#x}: the kernel has {size}");
                return Err(self.fault(FaultKind::IllegalAddress, warp, at, lane as u32, &what));
            };
            staging.0[lane * bytes as usize..][..bytes as usize].copy_from_slice(source);
        }
        unpack(warp, access, &staging, mask);
        Ok(())
    }

    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "one access: who, where, what")]
    fn check_global(
        &mut self,
        warp: &Warp,
        index: u16,
        at: u32,
        addresses: &[u64; 32],
        mask: u32,
        bytes: u64,
        direction: Direction,
    ) -> Checked<Place> {
        let (low, high, unaligned) = extent(addresses, mask, bytes);
        let span = self.access_spans[index as usize];
        let inside = low >= span.base && high < span.end && span.end - high >= bytes;
        let writable = direction == Direction::Load || !span.read_only;
        if !inside || unaligned || !writable {
            return self.check_global_slowly(warp, index, at, addresses, mask, bytes, direction);
        }
        if direction == Direction::Store && !warp.copies.pending.is_empty() {
            self.check_sources(warp, at, addresses, mask, bytes)?;
        }
        let contiguous = contiguous(addresses, mask, bytes);
        Ok(Place { origin: span.shift, contiguous })
    }

    /// Fills the cache, or finds the lane at fault.
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "as check_global")]
    fn check_global_slowly(
        &mut self,
        warp: &Warp,
        index: u16,
        at: u32,
        addresses: &[u64; 32],
        mask: u32,
        bytes: u64,
        direction: Direction,
    ) -> Checked<Place> {
        let action = if direction == Direction::Load { "global load" } else { "global store" };
        let mut shift = None;
        for lane in lanes(mask) {
            let address = addresses[lane];
            let Some(span) = self.lookup(address, bytes) else {
                return Err(self.memory_fault(warp, at, lane as u32, action, address, bytes));
            };
            if address % bytes != 0 {
                return Err(self.misaligned(warp, at, lane as u32, action, address, bytes));
            }
            if direction == Direction::Store && span.read_only {
                return Err(self.memory_fault(warp, at, lane as u32, "store to constant memory", address, bytes));
            }
            // All of device memory is one host range: the shift is the same for every allocation but mapped host memory.
            if shift.is_some_and(|shift| shift != span.shift) {
                let what = "one access touches device memory and mapped host memory: not supported";
                return Err(self.fault(FaultKind::IllegalInstruction, warp, at, lane as u32, what));
            }
            shift = Some(span.shift);
            self.access_spans[index as usize] = span;
        }
        if direction == Direction::Store {
            self.check_sources(warp, at, addresses, mask, bytes)?;
        }
        Ok(Place { origin: shift.unwrap_or(0), contiguous: false })
    }

    /// A store must not overwrite what a copy in flight still has to read.
    fn check_sources(&self, warp: &Warp, at: u32, addresses: &[u64; 32], mask: u32, bytes: u64) -> Checked {
        for lane in lanes(mask) {
            if let Some(op) = warp.copies.source_at(addresses[lane], bytes) {
                let issued = self.place(op);
                let what = format!(
                    "global store of {bytes} bytes at {:#x} overwrites the source of a cp.async in flight\n  issued at {issued}",
                    addresses[lane]
                );
                return Err(self.fault(FaultKind::LaunchFailed, warp, at, lane as u32, &what));
            }
        }
        Ok(())
    }

    /// Bounds, alignment and copies in flight of a shared access; returns the addresses in 32 bits.
    #[inline(always)]
    pub(crate) fn check_shared(
        &self,
        warp: &Warp,
        at: u32,
        addresses: &[u64; 32],
        mask: u32,
        bytes: u64,
        action: &str,
    ) -> Checked<[u32; 32]> {
        let (_, high, unaligned) = extent(addresses, mask, bytes);
        let size = self.site.shared.len();
        if high > size || size - high < bytes || unaligned {
            return Err(self.shared_fault(warp, at, addresses, mask, bytes, action));
        }
        if self.site.in_flight > 0 {
            self.check_poison(warp, at, addresses, mask, bytes, action)?;
        }
        let mut narrow = [0; 32];
        for (narrow, &address) in narrow.iter_mut().zip(addresses) {
            *narrow = address as u32;
        }
        Ok(narrow)
    }

    #[cold]
    #[inline(never)]
    fn shared_fault(&self, warp: &Warp, at: u32, addresses: &[u64; 32], mask: u32, bytes: u64, action: &str) -> Box<Fault> {
        let size = self.site.shared.len();
        for lane in lanes(mask) {
            let address = addresses[lane];
            if address > size || size - address < bytes {
                let what = format!("{action} of {bytes} bytes at shared address {address:#x}: the block has {size} bytes");
                return self.fault(FaultKind::IllegalAddress, warp, at, lane as u32, &what);
            }
            if address % bytes != 0 {
                return self.misaligned(warp, at, lane as u32, action, address, bytes);
            }
        }
        self.fault(FaultKind::IllegalAddress, warp, at, 0, action)
    }

    fn check_poison(&self, warp: &Warp, at: u32, addresses: &[u64; 32], mask: u32, bytes: u64, action: &str) -> Checked {
        for lane in lanes(mask) {
            let first = (addresses[lane] / 4) as usize;
            let last = ((addresses[lane] + bytes - 1) / 4) as usize;
            if self.site.poison[first..=last].iter().any(|&copies| copies != 0) {
                let what = format!(
                    "{action} of {bytes} bytes at shared address {:#x}, to which a cp.async is in flight: no wait covers it yet",
                    addresses[lane]
                );
                return Err(self.fault(FaultKind::LaunchFailed, warp, at, lane as u32, &what));
            }
        }
        Ok(())
    }

    #[cold]
    pub(crate) fn misaligned(&self, warp: &Warp, at: u32, lane: u32, action: &str, address: u64, bytes: u64) -> Box<Fault> {
        let what = format!("{action} of {bytes} bytes at {address:#x}, which is not a multiple of {bytes}");
        self.fault(FaultKind::MisalignedAddress, warp, at, lane, &what)
    }
}
