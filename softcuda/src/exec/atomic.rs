//! Atomics: lane after lane, in lane order.

use super::access::narrow_addresses;
use super::engine::{Engine, SHARED_WINDOW, Span, WINDOW_BYTES};
use super::observe::{Does, Memory};
use super::registers::Simd;
use super::traffic::lanes;
use super::value::{Lanes, float, half_arithmetic, rounding::canonical_f64};
use super::warp::Warp;
use crate::check::variables::Effect;
use crate::fault::Fault;
use crate::profile::Access;
use crate::program::op::{Atomic, AtomicKind, AtomicSpace, AtomicType, Op};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

type Checked<T = ()> = Result<T, Box<Fault>>;

impl Engine<'_> {
    /// `atom` and `red`.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    pub(crate) unsafe fn atomic<S: Simd>(&mut self, warp: &mut Warp, op: &Op, at: u32, mask: u32) -> Checked {
        let kernel = self.kernel;
        let atomic = &kernel.tables.atomics[op.aux as usize];
        if atomic.space == AtomicSpace::Shared
            && atomic.element_bytes() == 4
            && let [slots] = atomic.elements[..]
            && self.watch.is_none()
        {
            // SAFETY: the caller's promise.
            return unsafe { self.shared_atomic::<S>(warp, op, at, mask, slots) };
        }
        let mut addresses = self.addresses(warp, op.a, atomic.address, atomic.offset);
        let shared = match atomic.space {
            AtomicSpace::Shared => mask,
            AtomicSpace::Global => 0,
            AtomicSpace::Generic => {
                let inside = lanes(mask)
                    .filter(|&lane| addresses[lane].wrapping_sub(SHARED_WINDOW) < WINDOW_BYTES)
                    .fold(0, |found, lane| found | 1 << lane);
                lanes(inside).for_each(|lane| addresses[lane] -= SHARED_WINDOW);
                inside
            }
        };
        let bytes = atomic.bytes();
        if shared != 0 {
            let narrow = addresses.map(|address| u32::try_from(address).unwrap_or(u32::MAX));
            // SAFETY: the caller's promise.
            unsafe { self.shared_shape::<S>(warp, at, &Lanes(narrow), shared, bytes, "shared atomic")? };
            if self.watch.is_some() {
                self.observe(warp, at, shared, &addresses, bytes, Memory::Shared, Does::Update)?;
            }
            // One wavefront a distinct address: lanes that meet are served one after the other.
            let mut distinct: Vec<u32> = lanes(shared).map(|lane| narrow[lane]).collect();
            distinct.sort_unstable();
            distinct.dedup();
            let wavefronts = u64::from(shared.count_ones()) - distinct.len() as u64 + 1;
            self.count_shared(warp.index, at, (wavefronts, 1));
        }
        // Lane by lane: device memory and mapped host memory lie at different distances from their device addresses.
        let mut hosts = [0; 32];
        let global = mask & !shared;
        if global != 0 {
            // Most lanes meet in one allocation.
            let mut span = Span::default();
            for lane in lanes(global) {
                let (address, bytes64) = (addresses[lane], u64::from(bytes));
                let known = address >= span.base && address < span.end && span.end - address >= bytes64;
                if !known || address % bytes64 != 0 {
                    span = self.find_span(warp, at, lane, address, bytes, "atomic", true)?;
                }
                hosts[lane] = span.shift.wrapping_add(addresses[lane] as usize);
            }
            self.check_sources(warp, at, &addresses, global, bytes)?;
            if self.watch.is_some() {
                self.observe(warp, at, global, &addresses, bytes, Memory::Device, Does::Update)?;
            }
            let sectors = self.note_lanes(Access::Update, &addresses, global);
            self.count_global(warp.index, at, sectors, global, bytes);
        }
        let shared_base = self.site.shared.pointer() as usize;
        for lane in lanes(shared) {
            hosts[lane] = shared_base.wrapping_add(addresses[lane] as usize);
        }
        let flush = mask & !shared;
        for lane in lanes(mask) {
            let flush = flush >> lane & 1 == 1;
            let mut wrote = false;
            for (element, &(d, b)) in atomic.elements.iter().enumerate() {
                let host = hosts[lane].wrapping_add(element * atomic.element_bytes() as usize);
                // SAFETY: the checks above have shown that all elements lie inside a live, writable allocation or shared
                // memory, aligned to the size of the whole access.
                wrote |= unsafe { update(warp, atomic, host, lane, (d, b, op.c), flush) };
            }
            if self.watch.is_some() {
                let effect = if wrote { Effect::Update } else { Effect::Read };
                self.strong_access(warp, op, lane, addresses[lane], effect, shared >> lane & 1 == 1);
            }
        }
        Ok(())
    }

    /// A word in shared memory, which this host thread alone touches: no operation of the host need be atomic.
    ///
    /// # Safety
    /// The host must have the instructions of `S`.
    #[inline(always)]
    unsafe fn shared_atomic<S: Simd>(
        &mut self,
        warp: &mut Warp,
        op: &Op,
        at: u32,
        mask: u32,
        (d, b): (u16, u16),
    ) -> Checked {
        let kernel = self.kernel;
        let atomic = &kernel.tables.atomics[op.aux as usize];
        let addresses = narrow_addresses(warp, op.a, atomic.address, atomic.offset);
        // SAFETY: the caller's promise.
        unsafe { self.shared_shape::<S>(warp, at, &addresses, mask, 4, "shared atomic")? };
        // SAFETY: as above.
        let distinct = unsafe { S::firsts(&addresses, mask) }.count_ones();
        // One wavefront a distinct address: lanes that meet are served one after the other.
        self.count_shared(warp.index, at, (u64::from(mask.count_ones() - distinct) + 1, 1));
        let shared = self.site.shared.pointer();
        let registers = &mut warp.registers;
        macro_rules! each {
            ($change:expr) => {
                for lane in lanes(mask) {
                    let (b, c) = (registers.word(b)[lane], registers.word(op.c)[lane]);
                    // SAFETY: shared_shape has shown that the lane's word lies inside the block's shared memory, aligned.
                    let cell = unsafe { AtomicU32::from_ptr(shared.add(addresses.0[lane] as usize).cast()) };
                    let old = cell.load(Relaxed);
                    cell.store($change(old, b, c), Relaxed);
                    if atomic.returns {
                        registers.word_mut(d)[lane] = old;
                    }
                }
            };
        }
        match (atomic.kind, atomic.ty) {
            (AtomicKind::Add, AtomicType::U32 | AtomicType::S32) => each!(|old: u32, b, _| old.wrapping_add(b)),
            _ => each!(|old, b, c| value32(atomic, old, b, c, false)),
        }
        Ok(())
    }
}

/// One element of one lane; whether it has been written.
///
/// # Safety
/// The element must lie at `host` in mapped memory, aligned to its size.
unsafe fn update(
    warp: &mut Warp,
    atomic: &Atomic,
    host: usize,
    lane: usize,
    (d, b, c): (u16, u16, u16),
    flush: bool,
) -> bool {
    let registers = &mut warp.registers;
    let written = |equal: bool| equal || atomic.kind != AtomicKind::Cas;
    match atomic.element_bytes() {
        16 => {
            let operands = |slot: u16| [registers.double(slot)[lane], registers.double(slot + 2)[lane]];
            let (b, c) = (operands(b), operands(if atomic.kind == AtomicKind::Cas { c } else { b }));
            // SAFETY: the caller's promise. Kernels with atomics on device memory have one host thread, shared memory is that
            // of one: nothing comes between the halves.
            let cells = [0, 8].map(|half| unsafe { AtomicU64::from_ptr((host + half) as *mut u64) });
            let old = [cells[0].load(SeqCst), cells[1].load(SeqCst)];
            let new = match atomic.kind {
                AtomicKind::Cas if old != b => old,
                AtomicKind::Cas => c,
                _ => b,
            };
            cells.iter().zip(new).for_each(|(cell, half)| cell.store(half, SeqCst));
            if atomic.returns {
                registers.double_mut(d)[lane] = old[0];
                registers.double_mut(d + 2)[lane] = old[1];
            }
            written(old == b)
        }
        8 => {
            let (b, c) = (registers.double(b)[lane], registers.double(c)[lane]);
            // SAFETY: the caller's promise.
            let cell = unsafe { AtomicU64::from_ptr(host as *mut u64) };
            let old = update64(cell, |old| value64(atomic, old, b, c));
            if atomic.returns {
                registers.double_mut(d)[lane] = old;
            }
            written(old == b)
        }
        2 => {
            let (b, c) = (registers.word(b)[lane] as u16, registers.word(c)[lane] as u16);
            // SAFETY: the caller's promise.
            let cell = unsafe { AtomicU16::from_ptr(host as *mut u16) };
            let old = update16(cell, |old| value16(atomic, old, b, c));
            if atomic.returns {
                registers.word_mut(d)[lane] = u32::from(old);
            }
            written(old == b)
        }
        _ => {
            let (b, c) = (registers.word(b)[lane], registers.word(c)[lane]);
            // SAFETY: the caller's promise.
            let cell = unsafe { AtomicU32::from_ptr(host as *mut u32) };
            let old = update32(cell, |old| value32(atomic, old, b, c, flush));
            if atomic.returns {
                registers.word_mut(d)[lane] = old;
            }
            written(old == b)
        }
    }
}

impl Atomic {
    fn element_bytes(&self) -> u32 {
        match self.ty {
            AtomicType::B128 => 16,
            AtomicType::U64 | AtomicType::S64 | AtomicType::F64 => 8,
            AtomicType::F16 | AtomicType::Bf16 | AtomicType::B16 => 2,
            _ => 4,
        }
    }

    fn bytes(&self) -> u32 {
        self.element_bytes() * self.elements.len() as u32
    }
}

fn update16(cell: &AtomicU16, change: impl Fn(u16) -> u16) -> u16 {
    let mut old = cell.load(SeqCst);
    while let Err(seen) = cell.compare_exchange_weak(old, change(old), SeqCst, SeqCst) {
        old = seen;
    }
    old
}

fn update32(cell: &AtomicU32, change: impl Fn(u32) -> u32) -> u32 {
    let mut old = cell.load(SeqCst);
    while let Err(seen) = cell.compare_exchange_weak(old, change(old), SeqCst, SeqCst) {
        old = seen;
    }
    old
}

fn update64(cell: &AtomicU64, change: impl Fn(u64) -> u64) -> u64 {
    let mut old = cell.load(SeqCst);
    while let Err(seen) = cell.compare_exchange_weak(old, change(old), SeqCst, SeqCst) {
        old = seen;
    }
    old
}

/// The new value of 16 bits: an operation on a half, or `cas`.
fn value16(atomic: &Atomic, old: u16, b: u16, c: u16) -> u16 {
    match (atomic.kind, atomic.ty) {
        (AtomicKind::Cas, _) => {
            if old == b {
                c
            } else {
                old
            }
        }
        (kind, ty) => half(kind, ty)(old, b),
    }
}

/// Addition, minimum or maximum of halves.
fn half(kind: AtomicKind, ty: AtomicType) -> fn(u16, u16) -> u16 {
    let brain = matches!(ty, AtomicType::Bf16 | AtomicType::Bf16x2);
    match (kind, brain) {
        (AtomicKind::Min, false) => half_arithmetic::min_f16::<false>,
        (AtomicKind::Max, false) => half_arithmetic::max_f16::<false>,
        (AtomicKind::Min, true) => half_arithmetic::min_bf16::<false>,
        (AtomicKind::Max, true) => half_arithmetic::max_bf16::<false>,
        (_, false) => half_arithmetic::add_f16,
        (_, true) => half_arithmetic::add_bf16,
    }
}

/// The new value; `b` is the operand, `c` the value of cas. `flush`: the addition of f32 takes subnormal numbers for zero.
fn value32(atomic: &Atomic, old: u32, b: u32, c: u32, flush: bool) -> u32 {
    match (atomic.kind, atomic.ty) {
        (AtomicKind::And, _) => old & b,
        (AtomicKind::Or, _) => old | b,
        (AtomicKind::Xor, _) => old ^ b,
        (AtomicKind::Exch, _) => b,
        (AtomicKind::Cas, _) => {
            if old == b {
                c
            } else {
                old
            }
        }
        (AtomicKind::Inc, _) => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        (AtomicKind::Dec, _) => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        (AtomicKind::Add, AtomicType::F32) => {
            let (old, b) = (f32::from_bits(old), f32::from_bits(b));
            // On device memory, not on shared memory: as the PTX ISA says.
            let sum =
                if flush { float::flush(float::add(float::flush(old), float::flush(b))) } else { float::add(old, b) };
            sum.to_bits()
        }
        (kind, ty @ (AtomicType::F16x2 | AtomicType::Bf16x2)) => half_arithmetic::both(old, b, half(kind, ty)),
        (AtomicKind::Add, _) => old.wrapping_add(b),
        (AtomicKind::Min, AtomicType::S32) => (old as i32).min(b as i32) as u32,
        (AtomicKind::Max, AtomicType::S32) => (old as i32).max(b as i32) as u32,
        (AtomicKind::Min, _) => old.min(b),
        (AtomicKind::Max, _) => old.max(b),
    }
}

fn value64(atomic: &Atomic, old: u64, b: u64, c: u64) -> u64 {
    match (atomic.kind, atomic.ty) {
        (AtomicKind::And, _) => old & b,
        (AtomicKind::Or, _) => old | b,
        (AtomicKind::Xor, _) => old ^ b,
        (AtomicKind::Exch, _) => b,
        (AtomicKind::Cas, _) => {
            if old == b {
                c
            } else {
                old
            }
        }
        (AtomicKind::Inc, _) => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        (AtomicKind::Dec, _) => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        (AtomicKind::Add, AtomicType::F64) => canonical_f64(f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        (AtomicKind::Add, _) => old.wrapping_add(b),
        (AtomicKind::Min, AtomicType::S64) => (old as i64).min(b as i64) as u64,
        (AtomicKind::Max, AtomicType::S64) => (old as i64).max(b as i64) as u64,
        (AtomicKind::Min, _) => old.min(b),
        (AtomicKind::Max, _) => old.max(b),
    }
}
