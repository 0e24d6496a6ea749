//! The interpreter compiled once for each set of vector instructions of the host, and the choice among them.

use super::alu::Active;
use super::engine::Engine;
use super::parted::run_parted;
#[cfg(target_arch = "x86_64")]
use super::registers::{Avx2, Avx512};
use super::registers::{Plain, Simd};
use super::run::{Checked, Stop, run_path, run_warp, run_whole};
use super::warp::Warp;
use crate::program::Kernel;
use crate::program::op::Op;

/// One compilation of the interpreter for each instruction-set level.
macro_rules! level {
    ($module:ident, $simd:ty $(, $features:literal)?) => {
        pub(crate) mod $module {
            use super::*;

            /// Runs a warp until it stops.
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            pub(crate) unsafe fn alone(engine: &mut Engine<'_>, warp: &mut Warp, meet: u32) -> Checked<Stop> {
                // SAFETY: the caller's promise.
                unsafe { run_warp::<$simd>(engine, warp, meet) }
            }

            /// Runs warps in lock-step: see [`run_whole`].
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            pub(crate) unsafe fn whole(engine: &mut Engine<'_>, warps: &mut [Warp], meet: u32) -> Checked<Stop> {
                // SAFETY: the caller's promise.
                unsafe { run_whole::<$simd>(engine, warps, meet) }
            }

            /// Runs one path: see [`run_path`].
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            pub(crate) unsafe fn path(engine: &mut Engine<'_>, warp: &mut Warp, from: u32, end: u32, mask: u32) -> Checked<Stop> {
                // SAFETY: the caller's promise.
                unsafe { run_path::<$simd>(engine, warp, from, end, mask) }
            }

            /// Runs warps whose threads part: see [`run_parted`].
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            pub(crate) unsafe fn parted(engine: &mut Engine<'_>, warps: &mut [Warp], from: u32) -> Checked<Stop> {
                // SAFETY: the caller's promise.
                unsafe { run_parted::<$simd>(engine, warps, from) }
            }

            /// One 32-bit word a lane between memory and a slot, all lanes active.
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            pub(crate) unsafe fn words<const SHARED: bool, const LOAD: bool>(engine: &mut Engine<'_>, warps: &mut [Warp], op: &Op, at: u32) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { crate::exec::word::words::<$simd, SHARED, LOAD>(engine, warps, op, at) }
            }

            /// A shuffle of all lanes; `false` for any other.
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            pub(crate) unsafe fn shuffle(warp: &mut Warp, kernel: &Kernel, op: &Op) -> bool {
                // SAFETY: the caller's promise.
                unsafe { crate::exec::shuffle::shuffle::<$simd>(warp, &kernel.tables.warp_operations[op.aux as usize]) }
            }

            /// See [`fields::execute`](crate::exec::fields::execute).
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            pub(crate) unsafe fn fields(warp: &mut Warp, op: &Op, active: &Active) -> bool {
                crate::exec::fields::execute(warp, op, active)
            }

            /// An op that is no plain arithmetic, or a rare one.
            ///
            /// # Safety
            /// The host must have the level's instructions.
            $(#[target_feature(enable = $features)])?
            #[inline(never)]
            pub(crate) unsafe fn other(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32, active: &Active) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { crate::exec::other::other::<$simd>(engine, warp, op, at, active) }
            }
        }

        impl Level for $simd {
            #[inline(always)]
            unsafe fn whole(engine: &mut Engine<'_>, warps: &mut [Warp], meet: u32) -> Checked<Stop> {
                // SAFETY: the caller's promise.
                unsafe { $module::whole(engine, warps, meet) }
            }
            #[inline(always)]
            unsafe fn path(engine: &mut Engine<'_>, warp: &mut Warp, from: u32, end: u32, mask: u32) -> Checked<Stop> {
                // SAFETY: the caller's promise.
                unsafe { $module::path(engine, warp, from, end, mask) }
            }
            #[inline(always)]
            unsafe fn parted(engine: &mut Engine<'_>, warps: &mut [Warp], from: u32) -> Checked<Stop> {
                // SAFETY: the caller's promise.
                unsafe { $module::parted(engine, warps, from) }
            }
            #[inline(always)]
            unsafe fn words<const SHARED: bool, const LOAD: bool>(engine: &mut Engine<'_>, warps: &mut [Warp], op: &Op, at: u32) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { $module::words::<SHARED, LOAD>(engine, warps, op, at) }
            }
            #[inline(always)]
            unsafe fn shuffle(warp: &mut Warp, kernel: &Kernel, op: &Op) -> bool {
                // SAFETY: the caller's promise.
                unsafe { $module::shuffle(warp, kernel, op) }
            }
            #[inline(always)]
            unsafe fn fields(warp: &mut Warp, op: &Op, active: &Active) -> bool {
                // SAFETY: the caller's promise.
                unsafe { $module::fields(warp, op, active) }
            }
            #[inline(always)]
            unsafe fn other(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32, active: &Active) -> Checked<()> {
                // SAFETY: the caller's promise.
                unsafe { $module::other(engine, warp, op, at, active) }
            }
        }
    };
}

/// Functions compiled once a level, called from the loops. All need the level's instructions.
pub(super) trait Level: Simd {
    unsafe fn whole(engine: &mut Engine<'_>, warps: &mut [Warp], meet: u32) -> Checked<Stop>;
    unsafe fn path(engine: &mut Engine<'_>, warp: &mut Warp, from: u32, end: u32, mask: u32) -> Checked<Stop>;
    unsafe fn parted(engine: &mut Engine<'_>, warps: &mut [Warp], from: u32) -> Checked<Stop>;
    unsafe fn words<const SHARED: bool, const LOAD: bool>(
        engine: &mut Engine<'_>,
        warps: &mut [Warp],
        op: &Op,
        at: u32,
    ) -> Checked<()>;
    unsafe fn shuffle(warp: &mut Warp, kernel: &Kernel, op: &Op) -> bool;
    unsafe fn fields(warp: &mut Warp, op: &Op, active: &Active) -> bool;
    unsafe fn other(engine: &mut Engine<'_>, warp: &mut Warp, op: &Op, at: u32, active: &Active) -> Checked<()>;
}

level!(plain, Plain);
#[cfg(target_arch = "x86_64")]
level!(avx2, Avx2, "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt");
#[cfg(target_arch = "x86_64")]
level!(avx512, Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt");

/// The interpreter of one level.
#[derive(Clone, Copy)]
pub(crate) struct Interpreter {
    /// Runs a warp until it stops or meets others.
    pub(crate) alone: unsafe fn(&mut Engine<'_>, &mut Warp, u32) -> Checked<Stop>,
    /// Runs warps in lock-step.
    pub(crate) whole: unsafe fn(&mut Engine<'_>, &mut [Warp], u32) -> Checked<Stop>,
}

/// Chooses once a launch.
pub(crate) fn select(level: super::mma::HostLevel) -> Interpreter {
    match level {
        #[cfg(target_arch = "x86_64")]
        super::mma::HostLevel::Avx512 => Interpreter { alone: avx512::alone, whole: avx512::whole },
        #[cfg(target_arch = "x86_64")]
        super::mma::HostLevel::Avx2 => Interpreter { alone: avx2::alone, whole: avx2::whole },
        _ => Interpreter { alone: plain::alone, whole: plain::whole },
    }
}
