//! Virtual memory: addresses that belong to no device, and memory that is mapped there and may be mapped elsewhere, too.
//!
//! The system's own memory management does the work: device memory is an anonymous file, and mapping it maps the file
//! into a range of host addresses that runs beside the range of device addresses.

use super::reservation::Reservation;
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// Sizes and addresses of mappings are multiples of this.
pub const GRANULARITY: u64 = 2 << 20;

/// What a device may do with a mapping: CU_MEM_ACCESS_FLAGS_PROT_READ and READWRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads only.
    Read,
    /// Loads and stores.
    ReadWrite,
}

/// Memory without an address.
#[derive(Debug)]
pub struct Backing {
    file: File,
    bytes: u64,
}

impl Backing {
    /// `bytes` bytes of zeros.
    #[cfg(target_os = "linux")]
    pub fn new(bytes: u64) -> io::Result<Backing> {
        use std::os::fd::FromRawFd;
        // SAFETY: creates a file that nobody else has; the name is a constant.
        let descriptor = unsafe { libc::memfd_create(c"softcuda memory".as_ptr(), libc::MFD_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and ours.
        let file = unsafe { File::from_raw_fd(descriptor) };
        file.set_len(bytes)?;
        Ok(Backing { file, bytes })
    }

    /// There is no such memory on other systems.
    #[cfg(not(target_os = "linux"))]
    pub fn new(_bytes: u64) -> io::Result<Backing> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A mapping.
#[derive(Clone)]
pub struct Mapping {
    /// First address.
    pub base: u64,
    /// Length.
    pub bytes: u64,
    /// The memory.
    pub backing: Arc<Backing>,
    access: BTreeMap<i32, Access>,
}

impl Mapping {
    /// What a device may do.
    pub fn access(&self, device: i32) -> Option<Access> {
        self.access.get(&device).copied()
    }

    fn end(&self) -> u64 {
        self.base + self.bytes
    }
}

/// A range of addresses and what is mapped there.
pub struct VirtualMemory {
    base: u64,
    reservation: Reservation,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// Reserved ranges: start and length.
    ranges: BTreeMap<u64, u64>,
    mappings: BTreeMap<u64, Mapping>,
}

impl VirtualMemory {
    /// `bytes` addresses from `base` on, both multiples of [`GRANULARITY`].
    pub fn new(base: u64, bytes: u64) -> io::Result<VirtualMemory> {
        Ok(VirtualMemory { base, reservation: Reservation::addresses(bytes)?, state: RwLock::default() })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Host address of an address in the range.
    pub fn host(&self, address: u64) -> *mut u8 {
        self.reservation.pointer().wrapping_add((address - self.base) as usize)
    }

    /// Reserves addresses: at `wanted` if that is free, else at the lowest place that fits.
    pub fn reserve(&self, bytes: u64, alignment: u64, wanted: u64) -> Option<u64> {
        let mut state = self.write();
        let end = self.base + self.reservation.bytes();
        let fits = |start: u64, limit: u64| start.checked_add(bytes).is_some_and(|end| end <= limit);
        let is_free = |start: u64| {
            let before = state.ranges.range(..start.saturating_add(bytes)).next_back();
            start >= self.base && fits(start, end) && before.is_none_or(|(base, length)| base + length <= start)
        };
        let mut found = (wanted.is_multiple_of(alignment) && is_free(wanted)).then_some(wanted);
        let mut start = self.base.checked_next_multiple_of(alignment)?;
        for (base, length) in &state.ranges {
            if found.is_some() || fits(start, *base) {
                break;
            }
            start = (base + length).checked_next_multiple_of(alignment)?;
        }
        if found.is_none() && fits(start, end) {
            found = Some(start);
        }
        state.ranges.insert(found?, bytes);
        found
    }

    /// Gives reserved addresses back; `false`: no such range, or something is mapped there.
    pub fn unreserve(&self, base: u64, bytes: u64) -> bool {
        let mut state = self.write();
        let free = state.ranges.get(&base) == Some(&bytes) && state.mappings.range(base..base + bytes).next().is_none();
        if free {
            state.ranges.remove(&base);
        }
        free
    }

    /// Maps memory at reserved addresses; `false`: they are not reserved, or something is mapped there.
    pub fn map(&self, base: u64, bytes: u64, backing: Arc<Backing>) -> io::Result<bool> {
        let mut state = self.write();
        let Some(end) = base.checked_add(bytes) else {
            return Ok(false);
        };
        let range = state.ranges.range(..=base).next_back();
        let inside = range.is_some_and(|(start, length)| end <= start + length);
        let before = state.mappings.range(..end).next_back();
        if bytes == 0 || bytes > backing.bytes || !inside || before.is_some_and(|(_, mapping)| mapping.end() > base) {
            return Ok(false);
        }
        self.reservation.map_file(base - self.base, bytes, &backing.file)?;
        state.mappings.insert(base, Mapping { base, bytes, backing, access: BTreeMap::new() });
        Ok(true)
    }

    /// Unmaps whole mappings that fill a range; `None`: they do not.
    pub fn unmap(&self, base: u64, bytes: u64) -> Option<io::Result<Vec<Mapping>>> {
        let mut state = self.write();
        let keys = filled(&state, base, bytes)?;
        if let Err(error) = self.reservation.unmap(base - self.base, bytes) {
            return Some(Err(error));
        }
        Some(Ok(keys.into_iter().filter_map(|key| state.mappings.remove(&key)).collect()))
    }

    /// Sets what a device may do with mappings that fill a range; `false`: they do not.
    pub fn set_access(&self, base: u64, bytes: u64, device: i32, access: Option<Access>) -> bool {
        let mut state = self.write();
        let Some(keys) = filled(&state, base, bytes) else {
            return false;
        };
        for key in keys {
            state.mappings.entry(key).and_modify(|mapping| match access {
                Some(access) => drop(mapping.access.insert(device, access)),
                None => drop(mapping.access.remove(&device)),
            });
        }
        true
    }

    /// The mapping around an address.
    pub fn find(&self, address: u64) -> Option<Mapping> {
        let state = self.read();
        let (_, mapping) = state.mappings.range(..=address).next_back()?;
        (address < mapping.end()).then(|| mapping.clone())
    }

    /// The reserved range around an address: start and length.
    pub fn range(&self, address: u64) -> Option<(u64, u64)> {
        let state = self.read();
        let (base, bytes) = state.ranges.range(..=address).next_back()?;
        (address - base < *bytes).then_some((*base, *bytes))
    }

    /// The mappings around an address that touch one another and that a device may use alike, as one range: start,
    /// end, access.
    pub fn extent(&self, address: u64, device: i32) -> Option<(u64, u64, Access)> {
        let state = self.read();
        let (_, mapping) = state.mappings.range(..=address).next_back()?;
        let access = mapping.access(device)?;
        if address >= mapping.end() {
            return None;
        }
        let (mut start, mut end) = (mapping.base, mapping.end());
        while let Some((base, before)) = state.mappings.range(..start).next_back()
            && before.end() == start
            && before.access(device) == Some(access)
        {
            start = *base;
        }
        while let Some(after) = state.mappings.get(&end)
            && after.access(device) == Some(access)
        {
            end = after.end();
        }
        Some((start, end, access))
    }

    /// Whether all bytes of a range are mapped.
    pub fn is_mapped(&self, address: u64, bytes: u64) -> bool {
        let state = self.read();
        let Some(end) = address.checked_add(bytes) else {
            return false;
        };
        let mut reached = address;
        while reached < end {
            let found = state.mappings.range(..=reached).next_back();
            match found.filter(|(_, mapping)| mapping.end() > reached) {
                Some((_, mapping)) => reached = mapping.end(),
                None => return false,
            }
        }
        true
    }
}

/// The mappings that fill a range exactly.
fn filled(state: &State, base: u64, bytes: u64) -> Option<Vec<u64>> {
    let end = base.checked_add(bytes)?;
    let mut keys = Vec::new();
    let mut reached = base;
    while reached < end {
        let mapping = state.mappings.get(&reached)?;
        keys.push(reached);
        reached = mapping.end();
    }
    (reached == end && bytes > 0).then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x6000_0000_0000;

    fn memory() -> VirtualMemory {
        assert!(GRANULARITY.is_multiple_of(super::super::reservation::page_bytes() as u64));
        VirtualMemory::new(BASE, 64 * GRANULARITY).unwrap()
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no file in memory to map")]
    fn ranges_are_placed_where_they_are_wanted_or_lowest() {
        let memory = memory();
        let g = GRANULARITY;
        assert_eq!(memory.reserve(2 * g, g, 0), Some(BASE));
        assert_eq!(memory.reserve(g, g, BASE + 4 * g), Some(BASE + 4 * g));
        assert_eq!(memory.reserve(3 * g, g, BASE + 4 * g), Some(BASE + 5 * g), "taken, and too small a gap before");
        assert_eq!(memory.reserve(2 * g, g, 0), Some(BASE + 2 * g));
        assert_eq!(memory.reserve(64 * g, g, 0), None);
        assert!(!memory.unreserve(BASE, g));
        assert!(memory.unreserve(BASE, 2 * g));
        assert_eq!(memory.reserve(g, 16 * g, 0), Some(BASE));
    }

    #[test]
    #[cfg(target_os = "linux")]
    #[cfg_attr(miri, ignore = "Miri has no file in memory to map")]
    fn two_mappings_of_one_memory_show_the_same_bytes() {
        let memory = memory();
        let g = GRANULARITY;
        let base = memory.reserve(4 * g, g, 0).unwrap();
        let backing = Arc::new(Backing::new(g).unwrap());
        assert!(memory.map(base, g, backing.clone()).unwrap());
        assert!(!memory.map(base, g, backing.clone()).unwrap(), "mapped already");
        assert!(memory.map(base + 2 * g, g, backing).unwrap());
        // SAFETY: both places are mapped, readable and writable.
        unsafe {
            memory.host(base + 5).write(7);
            assert_eq!(memory.host(base + 2 * g + 5).read(), 7);
        }
        assert!(memory.is_mapped(base, g) && !memory.is_mapped(base, g + 1));
        assert!(memory.extent(base, 0).is_none());
        assert!(memory.set_access(base, g, 0, Some(Access::Read)));
        assert!(!memory.set_access(base, 2 * g, 0, Some(Access::Read)), "not mapped to its end");
        assert_eq!(memory.extent(base + 1, 0), Some((base, base + g, Access::Read)));
        assert!(!memory.unreserve(base, 4 * g), "something is mapped");
        assert!(memory.unmap(base, 3 * g).is_none());
        assert_eq!(memory.unmap(base, g).unwrap().unwrap().len(), 1);
        assert!(memory.find(base).is_none());
    }
}
