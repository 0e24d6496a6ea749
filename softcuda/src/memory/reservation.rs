//! A range of host address space whose pages take memory only when they are touched.

use std::io;

/// The range, given back when dropped.
pub(super) struct Reservation {
    pointer: *mut u8,
    bytes: u64,
}

// SAFETY: the range is plain memory; who accesses which part of it is its users' affair.
unsafe impl Send for Reservation {}
// SAFETY: as above; the fields never change.
unsafe impl Sync for Reservation {}

/// A range smaller than this is of no use.
#[cfg(all(unix, not(miri)))]
const SMALLEST: u64 = 64 << 20;

/// Below this size writing zeros is cheaper than asking the system for fresh pages.
const WORTH_A_SYSTEM_CALL: usize = 1 << 20;

impl Reservation {
    /// Reserves `wanted` bytes, or half as much as long as the system refuses.
    #[cfg(all(unix, not(miri)))]
    pub(super) fn new(wanted: u64) -> io::Result<Reservation> {
        let mut bytes = wanted.next_multiple_of(page_bytes() as u64);
        loop {
            let length = usize::try_from(bytes).unwrap_or(usize::MAX);
            // SAFETY: a new anonymous mapping at an address of the system's choice touches no existing memory.
            let pointer = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    length,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                    -1,
                    0,
                )
            };
            if pointer != libc::MAP_FAILED {
                return Ok(Reservation { pointer: pointer.cast(), bytes });
            }
            if bytes / 2 < SMALLEST {
                return Err(io::Error::last_os_error());
            }
            bytes = (bytes / 2).next_multiple_of(page_bytes() as u64);
        }
    }

    /// Reserves `bytes` addresses that nothing may access until a file is mapped there.
    #[cfg(all(unix, not(miri)))]
    pub(super) fn addresses(bytes: u64) -> io::Result<Reservation> {
        let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the system's choice touches no existing memory.
        let pointer = unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) };
        if pointer == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Reservation { pointer: pointer.cast(), bytes })
    }

    /// Maps the first `bytes` bytes of a file at `offset`.
    #[cfg(all(unix, not(miri)))]
    pub(super) fn map_file(&self, offset: u64, bytes: u64, file: &std::fs::File) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        self.remap(offset, bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, file.as_raw_fd())
    }

    /// Makes a part inaccessible again.
    #[cfg(all(unix, not(miri)))]
    pub(super) fn unmap(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.remap(offset, bytes, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1)
    }

    #[cfg(all(unix, not(miri)))]
    fn remap(&self, offset: u64, bytes: u64, protection: i32, flags: i32, file: i32) -> io::Result<()> {
        if offset > self.bytes || bytes > self.bytes - offset {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let place = self.pointer.wrapping_add(offset as usize).cast();
        // SAFETY: the part lies inside of our own range, of which nothing but this module's users know addresses.
        let mapped = unsafe { libc::mmap(place, bytes as usize, protection, flags | libc::MAP_FIXED, file, 0) };
        if mapped == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    #[cfg(not(all(unix, not(miri))))]
    pub(super) fn addresses(_bytes: u64) -> io::Result<Reservation> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(not(all(unix, not(miri))))]
    pub(super) fn map_file(&self, _offset: u64, _bytes: u64, _file: &std::fs::File) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(not(all(unix, not(miri))))]
    pub(super) fn unmap(&self, _offset: u64, _bytes: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Miri, which looks for undefined behaviour, knows allocations better than mappings.
    #[cfg(miri)]
    pub(super) fn new(wanted: u64) -> io::Result<Reservation> {
        let bytes = wanted.next_multiple_of(page_bytes() as u64);
        let layout = Self::layout(bytes).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the layout has a size: a device has memory.
        let pointer = unsafe { std::alloc::alloc_zeroed(layout) };
        match pointer.is_null() {
            true => Err(io::ErrorKind::OutOfMemory.into()),
            false => Ok(Reservation { pointer: pointer.expose_provenance() as *mut u8, bytes }),
        }
    }

    #[cfg(miri)]
    fn layout(bytes: u64) -> Option<std::alloc::Layout> {
        std::alloc::Layout::from_size_align(usize::try_from(bytes).ok()?.max(1), page_bytes()).ok()
    }

    /// There is no device on other systems.
    #[cfg(not(unix))]
    pub(super) fn new(_wanted: u64) -> io::Result<Reservation> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Its first byte.
    pub(super) fn pointer(&self) -> *mut u8 {
        self.pointer
    }

    /// Its size.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes `bytes` bytes from `offset` on zero; whole pages of a large part are given back to the system.
    pub(super) fn clear(&self, offset: u64, bytes: u64) {
        let offset = offset.min(self.bytes) as usize;
        let length = bytes.min(self.bytes - offset as u64) as usize;
        let (whole, whole_end) = if length < WORTH_A_SYSTEM_CALL {
            (offset, offset)
        } else {
            let page = page_bytes();
            (offset.next_multiple_of(page), (offset + length) / page * page)
        };
        if whole < whole_end && !self.discard(whole, whole_end - whole) {
            self.zero(offset, length);
            return;
        }
        self.zero(offset, whole - offset);
        self.zero(whole_end.max(whole), offset + length - whole_end.max(whole));
    }

    fn zero(&self, offset: usize, length: usize) {
        // SAFETY: `clear` keeps both inside the range, which stays mapped as long as `self` lives.
        unsafe { self.pointer.add(offset).write_bytes(0, length) };
    }

    /// Gives whole pages back; they read as zero afterwards. `false`: the system cannot promise that.
    #[cfg(all(target_os = "linux", not(miri)))]
    fn discard(&self, offset: usize, length: usize) -> bool {
        // SAFETY: whole pages inside our own private anonymous mapping, for which the kernel documents zero-fill.
        unsafe { libc::madvise(self.pointer.add(offset).cast(), length, libc::MADV_DONTNEED) == 0 }
    }

    #[cfg(not(all(target_os = "linux", not(miri))))]
    fn discard(&self, _offset: usize, _length: usize) -> bool {
        false
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        #[cfg(miri)]
        if let Some(layout) = Self::layout(self.bytes) {
            // SAFETY: the allocation made in `new`, with the same layout.
            unsafe { std::alloc::dealloc(self.pointer, layout) };
        }
        #[cfg(all(unix, not(miri)))]
        // SAFETY: `pointer` and `bytes` are those of the mapping made in `new`.
        unsafe {
            libc::munmap(self.pointer.cast(), self.bytes as usize);
        }
    }
}

#[cfg(all(unix, not(miri)))]
pub(super) fn page_bytes() -> usize {
    // SAFETY: sysconf only reads a constant of the system.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).unwrap_or(4096)
}

#[cfg(not(all(unix, not(miri))))]
pub(super) fn page_bytes() -> usize {
    4096
}
