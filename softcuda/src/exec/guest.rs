//! Single accesses to the guest's memory, which other host threads may be writing.
//!
//! A data race of the guest must not be one of Rust's, for which a race between atomic accesses of different sizes is one, too.
//! So these are instructions of the host, where 1, 2, 4 and 8 aligned bytes move whole; on other hosts, and for Miri, bytes
//! move one by one, each an atomic access of its own.

/// Whether 1, 2, 4 and 8 bytes, and rows, are moved by instructions of the host, which take no notice of what Rust knows of the
/// memory. Else bytes are read as atomics, which must not be behind a shared reference.
pub(super) const WHOLE_MOVES: bool = cfg!(all(target_arch = "x86_64", not(miri)));

/// Moves that the host does in one instruction.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod moves {
    use std::arch::asm;

    /// A move by way of a register.
    macro_rules! copy {
        ($name:ident, $register:literal, $class:ident) => {
            #[inline(always)]
            pub(super) unsafe fn $name(from: *const u8, to: *mut u8) {
                // SAFETY: the caller's promise.
                unsafe {
                    asm!(
                        concat!("mov {value", $register, "}, [{from}]"),
                        concat!("mov [{to}], {value", $register, "}"),
                        value = out($class) _,
                        from = in(reg) from,
                        to = in(reg) to,
                        options(nostack, preserves_flags),
                    );
                }
            }
        };
    }
    copy!(copy1, "", reg_byte);
    copy!(copy2, ":x", reg);
    copy!(copy4, ":e", reg);
    copy!(copy8, ":r", reg);

    #[inline(always)]
    pub(super) unsafe fn copy16(from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe {
            asm!(
                "movups {value}, [{from}]",
                "movups [{to}], {value}",
                value = out(xmm_reg) _,
                from = in(reg) from,
                to = in(reg) to,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    pub(super) unsafe fn load4(from: *const u8) -> u32 {
        let value: u32;
        // SAFETY: the caller's promise.
        unsafe {
            asm!("mov {value:e}, [{from}]", value = out(reg) value, from = in(reg) from,
                options(nostack, preserves_flags, readonly));
        }
        value
    }

    #[inline(always)]
    pub(super) unsafe fn store4(to: *mut u8, value: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            asm!("mov [{to}], {value:e}", value = in(reg) value, to = in(reg) to, options(nostack, preserves_flags));
        }
    }
}

/// Moves byte by byte.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod moves {
    use super::copy_bytes;

    #[inline(always)]
    pub(super) unsafe fn copy1(from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { copy_bytes(from, to, 1) }
    }
    #[inline(always)]
    pub(super) unsafe fn copy2(from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { copy_bytes(from, to, 2) }
    }
    #[inline(always)]
    pub(super) unsafe fn copy4(from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { copy_bytes(from, to, 4) }
    }
    #[inline(always)]
    pub(super) unsafe fn copy8(from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { copy_bytes(from, to, 8) }
    }
    #[inline(always)]
    pub(super) unsafe fn copy16(from: *const u8, to: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { copy_bytes(from, to, 16) }
    }
    #[inline(always)]
    pub(super) unsafe fn load4(from: *const u8) -> u32 {
        let mut bytes = [0; 4];
        // SAFETY: the caller's promise; the other side is a local of that size.
        unsafe { copy_bytes(from, bytes.as_mut_ptr(), 4) };
        u32::from_ne_bytes(bytes)
    }
    #[inline(always)]
    pub(super) unsafe fn store4(to: *mut u8, value: u32) {
        let mut bytes = value.to_ne_bytes();
        // SAFETY: the caller's promise; the other side is a local of that size.
        unsafe { copy_bytes(bytes.as_mut_ptr(), to, 4) }
    }
}

/// Copies byte by byte.
///
/// # Safety
/// Both ranges must be mapped, and none behind a shared reference.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline(always)]
pub(super) unsafe fn copy_bytes(from: *const u8, to: *mut u8, bytes: usize) {
    use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
    for offset in 0..bytes {
        // SAFETY: the caller's promise; single bytes are always aligned.
        unsafe {
            let value = (*from.add(offset).cast::<AtomicU8>()).load(Relaxed);
            (*to.add(offset).cast::<AtomicU8>()).store(value, Relaxed);
        }
    }
}

/// Copies what one lane accesses: 1, 2, 4 or a multiple of 8 bytes, between memory of the guest and our own.
///
/// # Safety
/// Both ranges must be mapped.
#[inline(always)]
pub(super) unsafe fn copy_lane(from: *const u8, to: *mut u8, bytes: u32) {
    // SAFETY: the caller's promise.
    unsafe {
        match bytes {
            1 => moves::copy1(from, to),
            2 => moves::copy2(from, to),
            4 => moves::copy4(from, to),
            16 => moves::copy16(from, to),
            _ => (0..bytes as usize / 8).for_each(|part| moves::copy8(from.add(8 * part), to.add(8 * part))),
        }
    }
}

/// The same for all lanes of a half of a warp: `from` gives each lane's address, lanes are side by side in `to`.
///
/// # Safety
/// As for [`copy_lane`].
#[inline(always)]
pub(super) unsafe fn gather_half(from: impl Fn(usize) -> *const u8, to: *mut u8, bytes: u32) {
    macro_rules! each {
        ($copy:ident, $bytes:literal) => {
            // Loops over closures, `for_each` above all, are not inlined where the host's features differ.
            for lane in 0..16 {
                // SAFETY: the caller's promise.
                unsafe { moves::$copy(from(lane), to.add($bytes * lane)) }
            }
        };
    }
    match bytes {
        1 => each!(copy1, 1),
        2 => each!(copy2, 2),
        4 => each!(copy4, 4),
        8 => each!(copy8, 8),
        16 => each!(copy16, 16),
        _ => {
            for lane in 0..16 {
                // SAFETY: the caller's promise.
                unsafe { copy_lane(from(lane), to.add(lane * bytes as usize), bytes) }
            }
        }
    }
}

/// Reads a word.
///
/// # Safety
/// It must be mapped.
#[inline(always)]
pub(super) unsafe fn load_word(from: *const u8) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { moves::load4(from) }
}

/// Writes a word.
///
/// # Safety
/// It must be mapped and writable.
#[inline(always)]
pub(super) unsafe fn store_word(to: *mut u8, value: u32) {
    // SAFETY: the caller's promise.
    unsafe { moves::store4(to, value) }
}
